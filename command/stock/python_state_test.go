package stock

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Variables are kept from call to call as in a notebook, and what can't be kept
// is named when it is missed.
func TestPythonKeepsVariables(t *testing.T) {
	python := newPython(t)
	env := workDir(t, nil)
	env.StateDir = filepath.Join(t.TempDir(), "state")
	for _, step := range []struct{ code, want string }{
		{"total = 40\nrows = [{'a': 1}, {'a': 2}]\nimport math\nfrom collections import Counter as C\nc = C('aab')", "c = Counter({'a': 2, 'b': 1})"},
		{"total += 2\ntotal, len(rows), math.floor(2.5), c['a'], C('x')['x']", "(42, 2, 2, 2, 1)"},
		{"def twice(x):\n    return factor * x\nfactor = 2\nclass Point:\n    def __init__(self, x):\n        self.x = x\n    def __repr__(self):\n        return f'Point({twice(self.x)})'\np = [Point(3)]\nprint('once')", "once"},
		{"twice(total)", "84"},
		{"factor = 3\np", "[Point(9)]"},
		{"from dataclasses import dataclass\n@dataclass\nclass D:\n    x: int = 1\nd = D(5)", "(no output)"},
		{"d", "D(x=5)"},
		{"def fails():\n    return 1 / 0", "(no output)"},
		{"fails()", "Error in line 1: fails()\nError in earlier fails, line 2: return 1 / 0\nZeroDivisionError: division by zero"},
		{"f = open('x.txt', 'w')\ng = (i for i in range(3))\nh = lambda x: x", "Created: x.txt."},
		{"g", "Error in line 1: g\nNameError: name 'g' is not defined\ng was not kept from the earlier call: a generator can't be kept. Make it again."},
		{"kept = 1\n1 / 0", "Error in line 2: 1 / 0\nZeroDivisionError: division by zero"},
		{"kept", "1"},
		{"del kept", "(no output)"},
		{"kept", "Error in line 1: kept\nNameError: name 'kept' is not defined"},
		{"sorted(n for n in globals() if n in ('total', 'rows', 'f'))", "['rows', 'total']"},
		{"big = bytes(9 << 20)", "(no output)"},
		{"big", "Error in line 1: big\nNameError: name 'big' is not defined\nbig was not kept from the earlier call: it has more than 8 MiB. Make it again."},
		{"if x", "Error in line 1: if x\nSyntaxError: expected ':'"},
		{"total", "42"},
		{"import sys\nlast = 7\nsys.exit()", "(no output)"},
		{"last", "7"},
	} {
		r := runCommand(t, python, env, map[string]any{"code": step.code})
		require.Equal(t, step.want, r.Text, step.code)
	}

	below := *env
	below.StateDir = filepath.Join(env.WorkDir, ".state")
	r := runCommand(t, python, &below, map[string]any{"code": "x = 1\nopen('y.txt', 'w').close()\nprint('ok')"})
	require.Equal(t, "ok\nCreated: y.txt.", r.Text, "what is kept is no file of the user's")

	other := *env
	other.StateDir = filepath.Join(t.TempDir(), "other")
	r = runCommand(t, python, &other, map[string]any{"code": "total"})
	assert.Contains(t, r.Text, "NameError", "another session has its own")
	other.StateDir = ""
	r = runCommand(t, python, &other, map[string]any{"code": "total"})
	assert.Contains(t, r.Text, "NameError", "without a folder nothing is kept")
}

// What is kept lies outside of the work dir, readable for its owner alone, and
// survives whatever the code does to it.
func TestPythonStateHostile(t *testing.T) {
	python := newPython(t)
	env := workDir(t, nil)
	env.Limits.TimeoutMS = 20_000
	env.StateDir = filepath.Join(t.TempDir(), "state")
	run := func(code string) string { return runCommand(t, python, env, map[string]any{"code": code}).Text }
	run("x = 1")
	folder := filepath.Join(env.StateDir, "python")
	info, err := os.Stat(folder)
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	}
	left, err := os.ReadDir(env.WorkDir)
	require.NoError(t, err)
	assert.Empty(t, left)

	assert.Equal(t, "2", run("class Evil:\n    def __reduce__(self):\n        return (__import__, ('no_such_module',))\ne = Evil()\n1 + 1"))
	assert.Contains(t, run("e"), "e was not kept from the earlier call: it can't be made again (ModuleNotFoundError")
	assert.Equal(t, "1", run("x"))
	assert.Contains(t, run("import os\nos._exit(0)"), "(no output)")
	assert.Equal(t, "1", run("x"))
	assert.Contains(t, run("def loop():\n    return loop()\nr = loop()"), "RecursionError")
	assert.Equal(t, "1", run("x"))

	index := filepath.Join(folder, "index.json")
	for _, damaged := range []string{"\x00{", `{"names": 1, "lost": {}}`, `{"names": {"x": {"kind": "pickle", "file": "../../secret"}, "z": 5}, "lost": {}}`, `{"names": {"x": {"kind": "source", "text": "x = ("}}, "lost": {}}`} {
		require.NoError(t, os.WriteFile(index, []byte(damaged), 0o600))
		assert.Equal(t, "gone", run("try:\n    x, z\nexcept NameError:\n    print('gone')"), damaged)
	}
	assert.Equal(t, "v = 1", run("for i in range(1000): globals()[f'n{i}'] = i\n"+strings.Repeat("v = 1\n", 3)))
	assert.Contains(t, run("n999"), "999")
}
