package archtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLinkedModulesAreCredited compares THIRD_PARTY.md with what the go command
// says is compiled into the program, at which version.
func TestLinkedModulesAreCredited(t *testing.T) {
	page := read(t, "THIRD_PARTY.md")
	list := exec.Command("go", "list", "-deps", "-f",
		"{{with .Module}}{{if .Version}}{{.Path}} {{.Version}}{{end}}{{end}}", "./cmd/agent")
	list.Dir = root(t)
	// With cgo on, whatever this test runs under: the tokenizers count, too.
	list.Env = append(os.Environ(), "CGO_ENABLED=1")
	out, err := list.Output()
	require.NoError(t, err, "go list")
	modules := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Greater(t, len(modules), 5)
	reportUncredited(t, page, modules)
}

// TestRequiredModulesAreCredited covers the modules that go.mod names itself,
// those that only tests use among them.
func TestRequiredModulesAreCredited(t *testing.T) {
	var modules []string
	for _, m := range requirement.FindAllStringSubmatch(read(t, "go.mod"), -1) {
		if m[3] == "" {
			modules = append(modules, m[1]+" "+m[2])
		}
	}
	reportUncredited(t, read(t, "THIRD_PARTY.md"), modules)
}

// requirement finds "PATH VERSION" lines of go.mod; its third group is the
// remark that a module is needed only by others.
var requirement = regexp.MustCompile(`(?m)^(?:require)?\s+([\w./~-]+\.[\w./~-]+) (v\S+)( // indirect)?$`)

func TestRequirementsAreRead(t *testing.T) {
	var got []string
	for _, m := range requirement.FindAllStringSubmatch("module agent\n\ngo 1.26.0\n\nrequire (\n\ta.b/c v1.0.0\n\td.e/f v0.1.0-pre // indirect\n)\n\nrequire g.h/i/v2 v2.0.0\n", -1) {
		got = append(got, m[1]+m[3])
	}
	assert.Equal(t, []string{"a.b/c", "d.e/f // indirect", "g.h/i/v2"}, got)
}

func reportUncredited(t *testing.T, page string, modules []string) {
	t.Helper()
	var findings []string
	for _, m := range uncredited(page, modules) {
		findings = append(findings, "THIRD_PARTY.md: no row for "+m)
	}
	report(t, findings, "Run scripts/third-party.sh and commit what it writes.")
}

// uncredited lists the "PATH VERSION" modules that have no row with that version.
func uncredited(page string, modules []string) []string {
	var missing []string
	seen := map[string]bool{}
	for _, m := range modules {
		path, version, _ := strings.Cut(m, " ")
		if path == "" || seen[m] {
			continue
		}
		seen[m] = true
		if !strings.Contains(page, "| ["+path+"](https://pkg.go.dev/"+path+"@"+version+") | "+version+" |") {
			missing = append(missing, m)
		}
	}
	return missing
}

func TestUncreditedModulesAreSeen(t *testing.T) {
	page := "| [a.b/c](https://pkg.go.dev/a.b/c@v1.0.0) | v1.0.0 | MIT | x |"
	assert.Equal(t, []string{"a.b/c v1.0.1", "a.b/d v1.0.0"},
		uncredited(page, []string{"a.b/c v1.0.0", "a.b/c v1.0.1", "a.b/d v1.0.0", "a.b/d v1.0.0", ""}))
}

// read gives a file of the repository by its path from the root.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(name)))
	require.NoError(t, err)
	return string(text)
}
