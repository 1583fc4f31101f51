package archtest

import (
	"go/build"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// builds are all the ways in which this program is built or tested. A file that
// takes part in none of them is dead: it rots unseen.
func builds() []build.Context {
	var all []build.Context
	for _, system := range []string{"linux", "darwin", "windows", "freebsd"} {
		for _, arch := range []string{"amd64", "arm64", "riscv64"} {
			for _, tag := range []string{"", "cuda", "metal", "rpc", "package", "race"} {
				for _, cgo := range []bool{true, false} {
					c := build.Default
					c.GOOS, c.GOARCH, c.CgoEnabled = system, arch, cgo
					c.BuildTags = nil
					if tag != "" {
						c.BuildTags = []string{tag}
					}
					all = append(all, c)
				}
			}
		}
	}
	return all
}

func TestEveryFileTakesPartInSomeBuild(t *testing.T) {
	top := root(t)
	var findings []string
	for _, s := range sources(t) {
		if !takesPart(t, filepath.Join(top, filepath.FromSlash(s.dir)), path.Base(s.name)) {
			findings = append(findings, s.name+":1: its build constraints exclude it from every build")
		}
	}
	report(t, findings, "Accelerators are tags (cuda, metal, rpc) and so is package; everything else follows the system. Remove the file or its constraint.")
}

func takesPart(t *testing.T, dir, name string) bool {
	t.Helper()
	for _, c := range builds() {
		ok, err := c.MatchFile(dir, name)
		require.NoError(t, err)
		if ok {
			return true
		}
	}
	return false
}

func TestFilesOutsideEveryBuildAreSeen(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"plain.go":     {"package p", true},
		"ignored.go":   {"//go:build ignore\n\npackage p", false},
		"nowhere.go":   {"//go:build linux && windows\n\npackage p", false},
		"x_linux.go":   {"//go:build !linux\n\npackage p", false},
		"y_linux.go":   {"//go:build arm64\n\npackage p", true},
		"metal.go":     {"//go:build cgo && metal && darwin\n\npackage p", true},
		"two.go":       {"//go:build cuda && metal\n\npackage p", false},
		"misspelt.go":  {"//go:build !cgo && cdua\n\npackage p", false},
		"some_test.go": {"//go:build !windows\n\npackage p", true},
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(c.text+"\n"), 0o600))
		assert.Equal(t, c.want, takesPart(t, dir, name), name)
	}
}
