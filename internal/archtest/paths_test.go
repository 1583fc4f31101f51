package archtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// machinePath finds paths that exist on one machine only: somebody's home, root's,
// or a checkout. It is put together so that it does not find itself.
var machinePath = regexp.MustCompile(`(^|[^\w.~*})-])/(` + `root|work|home/[a-z][\w.-]*|Users/[A-Za-z][\w.-]*)/`)

// madeUp are homes in examples and tests that belong to nobody.
var madeUp = regexp.MustCompile(`/(home|Users)/(you|user|me|name|someone|alice|bob|ann)/`)

func TestTrackedFilesNameNoPlaceOnOneMachine(t *testing.T) {
	var findings []string
	for name, text := range tracked(t) {
		findings = append(findings, machinePaths(name, text)...)
	}
	report(t, findings, "Use a path from the repository's root, a temporary folder or an environment variable.")
}

func machinePaths(name string, text []byte) []string {
	var findings []string
	for i, line := range bytes.Split(text, []byte("\n")) {
		for _, m := range machinePath.FindAll(line, -1) {
			if !madeUp.Match(m) {
				findings = append(findings, fmt.Sprintf("%s:%d: %s…", name, i+1, bytes.TrimSpace(m)))
			}
		}
	}
	return findings
}

// tracked reads every file that git tracks.
func tracked(t *testing.T) map[string][]byte {
	t.Helper()
	top := root(t)
	if _, err := os.Stat(filepath.Join(top, ".git")); err != nil {
		t.Skip("not a git checkout: which files are tracked is not known")
	}
	list, err := exec.Command("git", "-C", top, "ls-files", "-z").Output()
	require.NoError(t, err, "git ls-files")
	files := map[string][]byte{}
	for _, name := range strings.Split(strings.TrimRight(string(list), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join(top, filepath.FromSlash(name)))
		if os.IsNotExist(err) { // deleted and not yet committed
			continue
		}
		require.NoError(t, err)
		files[name] = text
	}
	require.NotEmpty(t, files)
	return files
}

func TestMachinePathsAreSeen(t *testing.T) {
	for line, seen := range map[string]bool{
		"see /ro" + "ot/.cache/x":               true,
		`"/ho` + `me/jdoe/models"`:              true,
		"cd /wo" + "rk/main":                    true,
		"file:///Us" + "ers/jd/x":               true,
		"/home/you/models is an example":        false,
		"https://example.org/wo" + "rk/a":       false,
		"${dir}/wo" + "rk/a and ../wo" + "rk/b": false,
		"/homework/ and /rooted/":               false,
	} {
		assert.Equal(t, seen, len(machinePaths("f", []byte("first\n"+line))) == 1, line)
	}
}
