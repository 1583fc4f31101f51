package stock

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
	"agent/command/python"
)

// newPython returns the python command, or skips where it can't be tested.
func newPython(t *testing.T) command.Command {
	t.Helper()
	if raceEnabled {
		t.Skip("needs a build without the race detector, which can't start under a memory limit")
	}
	if _, err := python.Find(context.Background(), ""); err != nil {
		t.Skipf("needs python3: %v", err)
	}
	report, err := SandboxReport(context.Background(), "")
	require.NoError(t, err)
	if !report.Confined() {
		t.Skipf("needs a system that confines: %v", report.Reasons)
	}
	return Python()
}

func TestPython(t *testing.T) {
	python := newPython(t)
	tests := []struct {
		name   string
		code   string
		want   string
		failed bool
	}{
		{"last expression", "x = 20\nx + 22", "42", false},
		{"string expression", "'a\\nb'", "a\nb", false},
		{"none", "None", "(no output)", false},
		{"no output", "def f():\n    x = 1\nf()", "(no output)", false},
		{"no output, but a value", "if True:\n    n = sum([1, 2])", "n = 3", false},
		{"no output, values that tell nothing", "import re\np = re.compile('x')", "(no output)", false},
		{"no output, a value that is too long", "x = 'y' * 1000", "(no output)", false},
		{"a loop adds to it", "total = 0\nfor amount in [1.5, 2]:\n    price = amount\n    total += price", "total = 3.5", false},
		{"a loop fills it", "seen = {}\nfor word in ['a', 'b', 'a']:\n    n = seen.get(word, 0)\n    seen[word] = n + 1", "seen = {'a': 2, 'b': 1}", false},
		{"a loop appends to it", "out = []\nfor x in (1, 2):\n    y = x * x\n    out.append(y)", "out = [1, 4]", false},
		{"computed after a loop", "n = 0\nfor x in (1, 2):\n    n += x\nmean = n / 2", "mean = 1.5", false},
		{"a leftover of a loop", "for row in ['1', '36.78']:\n    amount = float(row)", "(no output)", false},
		{"a leftover that was set before", "amount = 0\nfor row in ['1', '36.78']:\n    amount = float(row)", "(no output)", false},
		{"a leftover within a condition", "if True:\n    for row in ['1', '2']:\n        if row:\n            last = row", "(no output)", false},
		{"a loop's own variable", "for i in range(3):\n    pass", "(no output)", false},
		{"what a loop counts by", "i = 0\nwhile i < 3:\n    i += 1", "(no output)", false},
		{"a leftover of a loop that adds to two", "n = m = 0\nfor x in (1, 2):\n    n += x\n    m += 1", "(no output)", false},
		{"output and a value", "x = 1\nprint('a')", "a", false},
		{"interleaved", "import sys\nprint('a')\nprint('b', file=sys.stderr)\nprint('c')", "a\nb\nc", false},
		{"fences", "```python\nprint(1)\n```", "1", false},
		{"indented", "    x = 1\n    print(x)", "1", false},
		{"unicode", "print('größe 😀')", "größe 😀", false},
		{"lone surrogate", "print('\\ud800')", "\\ud800", false},
		{"main guard", "def f():\n    return 1\nif __name__ == '__main__':\n    print(f())", "1", false},
		{"dataclass", "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 1\nA()", "A(x=1)", false},
		{"error", "a = 1\nb = a + 'x'\n", "Error in line 2: b = a + 'x'\nTypeError: unsupported operand type(s) for +: 'int' and 'str'\na is 1", true},
		{"error in a function", "def f(x):\n    return 1 / x\nf(0)", "Error in line 3: f(0)\nError in line 2: return 1 / x\nZeroDivisionError: division by zero\nx is 0", true},
		{"error with long values", "n = list(range(99))\ns = 'x' * 999\nn + s", "Error in line 3: n + s\nTypeError: can only concatenate list (not \"str\") to list\nn is [0, 1, 2, 3, 4, 5, ...]\ns is 'xxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxx'", true},
		{"error in a library", "import json\njson.loads('{')", "Error in line 2: json.loads('{')\njson.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)", true},
		{"syntax error", "x = 1\nif x\n  y", "Error in line 2: if x\nSyntaxError: expected ':'", true},
		{"exit", "import sys\nprint('x')\nsys.exit()", "x", false},
		{"exit code", "import sys\nsys.exit(3)", "Exit code 3.", true},
		{"exit message", "import sys\nsys.exit('bad')", "bad", true},
		{"input", "input()", "Error in line 1: input()\nEOFError: EOF when reading a line", true},
		{"crash", "import os\nos.abort()", "Stopped by signal SIGABRT.", true},
		{"null byte", "print('a\\0b')", "a\x00b", false},
		{"empty", " ", `Give the code as "code".`, true},
	}
	env := workDir(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := runCommand(t, python, env, map[string]any{"code": tt.code})
			assert.Equal(t, tt.want, r.Text)
			assert.Equal(t, tt.failed, r.Failed)
			assert.Empty(t, r.Files)
		})
	}
}

func TestPythonNamesALineOnce(t *testing.T) {
	python := newPython(t) // until version 3.12 a comprehension had a frame of its own
	r := runCommand(t, python, workDir(t, nil), map[string]any{"code": "rows = ['1', 'n/a']\n[float(r) for r in rows]"})
	assert.True(t, r.Failed)
	assert.Equal(t, 1, strings.Count(r.Text, "Error in line 2"), r.Text)
	assert.Contains(t, r.Text, "\nrows is ['1', 'n/a']")
}

func TestPythonFiles(t *testing.T) {
	python := newPython(t)
	env := workDir(t, map[string]string{"in.csv": "a,b\n1,2\n", "gone.txt": "x", "helper.py": "def twice(x):\n    return 2 * x\n", "a b/ü.txt": "deep"})
	r := runCommand(t, python, env, map[string]any{"code": `
import os, helper
open('out.txt', 'w').write(str(helper.twice(21)))
open('in.csv', 'a').write('3,4\n')
os.remove('gone.txt')
print(open('a b/ü.txt').read())
`})
	assert.Equal(t, "deep\nCreated: out.txt. Changed: in.csv. Removed: gone.txt.", r.Text)
	assert.Equal(t, []string{"out.txt", "in.csv"}, r.Files)
	assert.False(t, r.Failed)
	_, err := os.Stat(filepath.Join(env.WorkDir, "__pycache__"))
	assert.ErrorIs(t, err, os.ErrNotExist, "nothing is left in the work dir")

	r = runCommand(t, python, env, map[string]any{"file": "helper.py"})
	assert.Equal(t, "(no output)", r.Text)
}

// Code that wrote a file did what it was to do: a variable that it left says
// nothing about that, and would pass for the result.
func TestPythonShowsNoVariableBesideFiles(t *testing.T) {
	python := newPython(t)
	for name, code := range map[string]string{
		"created":            "amount = 36.78\nopen('total.txt', 'w').write('90.86')\namount = 22.82",
		"changed":            "with open('a.txt', 'a') as f:\n    f.write('x')\nlast = 'x'",
		"removed":            "import os\nos.remove('a.txt')\nleft = 0",
		"moved":              "import os\nos.rename('a.txt', 'b.txt')\nname = 'b.txt'",
		"last":               "f = open('a.txt', 'w')\nf.write('36.78')",
		"by path":            "import pathlib\npathlib.Path('a.txt').write_text('36.78')",
		"by another program": "import subprocess\nsubprocess.run(['cp', 'a.txt', 'c.txt'])\ncode = 0",
		"accumulated":        "total = 0\nfor n in (1, 2):\n    total += n\nf = open('n.txt', 'w')\nf.write('3')\nf.close()\nn = 1",
	} {
		t.Run(name, func(t *testing.T) {
			r := runCommand(t, python, workDir(t, map[string]string{"a.txt": "1\n"}), map[string]any{"code": code})
			require.False(t, r.Failed, r.Text)
			assert.NotContains(t, r.Text, " = ")
			assert.NotRegexp(t, `(?m)^\d+$`, r.Text)
			assert.NotContains(t, r.Text, valueMark)
			assert.NotEmpty(t, r.Text)
		})
	}
}

func TestPythonLimits(t *testing.T) {
	python := newPython(t)
	env := workDir(t, nil)
	limits := command.Limits{TimeoutMS: 60_000, MemoryBytes: 512 << 20, OutputBytes: 500, FileBytes: 1 << 20}
	tests := []struct {
		name, code, want string
	}{
		{"time", "print('start', flush=True)\nwhile True: pass", "start\nStopped after 3s: the time limit. What it printed is above."},
		{"memory", "x = 'a' * 10**9", "Error in line 1: x = 'a' * 10**9\nMemoryError\nOut of memory: the limit is 536 MB for all of it, threads included (agent.limits.memory_bytes)."},
		{"file", "open('big', 'wb').write(b'x' * 10**7)", "Error in line 1: open('big', 'wb').write(b'x' * 10**7)\nOSError: [Errno 27] File too large\nCreated: big."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			env.Limits = limits
			if tt.name == "time" { // the others are not about how fast the machine is
				env.Limits.TimeoutMS = 3000
			}
			r := runCommand(t, python, env, map[string]any{"code": tt.code})
			assert.Equal(t, tt.want, r.Text)
		})
	}
	env.Limits = limits
	t.Run("output", func(t *testing.T) {
		r := runCommand(t, python, env, map[string]any{"code": "print('first')\nfor i in range(100000): print('line', i)\nprint('last')"})
		assert.True(t, r.Truncated)
		assert.False(t, r.Failed)
		assert.Less(t, len(r.Text), 600)
		assert.True(t, strings.HasPrefix(r.Text, "first\nline 0\n"))
		assert.True(t, strings.HasSuffix(r.Text, "line 99999\nlast"))
		assert.Regexp(t, `\n\[\d+ bytes of output left out here\]\n`, r.Text)
	})
	t.Run("cancel", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(300*time.Millisecond, cancel)
		start := time.Now()
		_, err := python.Run(ctx, env, &command.Call{Content: []map[string]any{{"code": "import time\ntime.sleep(60)"}}})
		assert.ErrorIs(t, err, context.Canceled)
		assert.Less(t, time.Since(start), 30*time.Second)
	})
}

func TestPythonIsConfined(t *testing.T) {
	t.Setenv("AGENT_TEST_API_KEY", "s3cret")
	python := newPython(t)
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret.txt")
	require.NoError(t, os.WriteFile(secret, []byte("top secret"), 0o644))
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	home, err := os.UserHomeDir()
	require.NoError(t, err)
	env := workDir(t, nil)
	env.Metadata = map[string]string{"api_key": "s3cret"}
	require.NoError(t, os.Symlink(secret, filepath.Join(env.WorkDir, "link")))
	for _, code := range []string{
		"open('/etc/passwd').read()",
		fmt.Sprintf("import os; os.listdir(%q)", home),
		fmt.Sprintf("open(%q).read()", secret),
		"open('link').read()",
		fmt.Sprintf("open(%q, 'w')", filepath.Join(outside, "new")),
		fmt.Sprintf("import os; os.rename('link', %q)", filepath.Join(outside, "new")),
		fmt.Sprintf("import socket; socket.create_connection(('127.0.0.1', %d), 2)", listener.Addr().(*net.TCPAddr).Port),
		"import urllib.request; urllib.request.urlopen('http://example.org', timeout=2)",
		"import os; os.environ['AGENT_TEST_API_KEY']",
		"import subprocess; subprocess.run(['cat', '/etc/passwd'], check=True)",
		"import os; os.kill(os.getppid(), 9)",
	} {
		r := runCommand(t, python, env, map[string]any{"code": code})
		assert.NotContains(t, r.Text, "s3cret", code)
		assert.NotContains(t, r.Text, "top secret", code)
		assert.True(t, r.Failed, "%s: %s", code, r.Text)
	}
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	assert.Len(t, entries, 1)
}

func TestPythonMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		t.Skip("needs a system without /usr/bin/python3")
	}
	_, err := Python().Run(context.Background(), workDir(t, nil), &command.Call{Content: []map[string]any{{"code": "1"}}})
	var hinter interface{ Hint() string }
	require.ErrorAs(t, err, &hinter)
	assert.Contains(t, hinter.Hint(), "install python3")
}
