package stock

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
)

const square = "def square(x):\n    return x * x\n"

// Processes of a pool find what the code defines, however they are started and
// whether or not the code guards what it does.
func TestPythonProcessPools(t *testing.T) {
	python := newPython(t)
	const imports = "import multiprocessing as mp\nfrom concurrent.futures import ProcessPoolExecutor\n"
	for name, code := range map[string]string{
		"spawn":            imports + square + "if __name__ == '__main__':\n    with mp.get_context('spawn').Pool(2) as pool:\n        print(pool.map(square, [2, 3]))",
		"spawn, no guard":  imports + square + "with mp.get_context('spawn').Pool(2) as pool:\n    print(pool.map(square, [2, 3]))",
		"fork":             imports + square + "with mp.get_context('fork').Pool(2) as pool:\n    print(pool.map(square, [2, 3]))",
		"an executor":      imports + square + "with ProcessPoolExecutor(2, mp_context=mp.get_context('spawn')) as pool:\n    print(list(pool.map(square, [2, 3])))",
		"a global":         imports + "POWER = 2\ndef square(x):\n    return x ** POWER\nwith mp.get_context('spawn').Pool(2) as pool:\n    print(pool.map(square, [2, 3]))",
		"a class":          imports + "class Square:\n    def __call__(self, x):\n        return x * x\nwith mp.get_context('spawn').Pool(2) as pool:\n    print(pool.map(Square(), [2, 3]))",
		"a single process": imports + "def show(x):\n    print([x * x, 9])\np = mp.get_context('spawn').Process(target=show, args=(2,))\np.start()\np.join()",
	} {
		t.Run(name, func(t *testing.T) {
			env := &command.Env{WorkDir: t.TempDir(), Limits: command.Limits{TimeoutMS: 20_000}}
			out, err := python.Run(context.Background(), env, &command.Call{Content: []map[string]any{{"code": code}}})
			require.NoError(t, err)
			assert.Equal(t, "[4, 9]", out.Text)
		})
	}
	env := &command.Env{WorkDir: t.TempDir(), StateDir: t.TempDir(), Limits: command.Limits{TimeoutMS: 20_000}}
	var out *command.Result
	for _, code := range []string{"import math\n" + square, imports + "with mp.get_context('spawn').Pool(2) as pool:\n    print(pool.map(square, [2, 3]))"} {
		var err error
		out, err = python.Run(context.Background(), env, &command.Call{Content: []map[string]any{{"code": code}}})
		require.NoError(t, err)
	}
	assert.Equal(t, "[4, 9]", out.Text, "a function of an earlier call")
	out, err := python.Run(context.Background(), env, &command.Call{Content: []map[string]any{{"code": imports + square + "mp.get_context('forkserver').Pool(2).map(square, [2, 3])"}}})
	require.NoError(t, err)
	assert.True(t, out.Text == "[4, 9]" || strings.Contains(out.Text, "Use threads"), out.Text)
}

// What is left outside of the work dir is told, since it is gone.
func TestPythonTellsWhatIsLost(t *testing.T) {
	python := newPython(t)
	for code, lost := range map[string]string{
		"open('/tmp/report.csv', 'w').write('a,b')":                                   "/tmp/report.csv",
		"import os\nopen(os.path.expanduser('~/notes.md'), 'w').write('x')":           "/notes.md",
		"import tempfile\nopen(tempfile.gettempdir() + '/a b.txt', 'w').write('x')":   "/a b.txt",
		"import os\nos.makedirs('/tmp/out/deep')\nopen('/tmp/out/deep/x.png', 'w')":   "/tmp/out/deep/x.png",
		"import subprocess\nsubprocess.run(['sh', '-c', 'echo 1 > /tmp/one.txt'])\n0": "/tmp/one.txt",
		"open('/tmp/half.csv', 'w').write('x')\n1 / 0":                                "/tmp/half.csv",
	} {
		out := runCode(t, python, t.TempDir(), code)
		assert.Contains(t, out.Text, "Lost: ", code)
		assert.Contains(t, out.Text, lost, code)
	}
	for _, code := range []string{
		"open('report.csv', 'w').write('a,b')",
		"import os\nopen('/tmp/x', 'w').close()\nos.remove('/tmp/x')",
		"import tempfile\nwith tempfile.TemporaryDirectory() as d:\n    open(d + '/x', 'w').write('x')",
		"import os\nos.makedirs('/tmp/.cache/font')\nopen('/tmp/.cache/font/x', 'w').close()",
	} {
		assert.NotContains(t, runCode(t, python, t.TempDir(), code).Text, "Lost", code)
	}
}

func runCode(t *testing.T, python command.Command, dir, code string) *command.Result {
	t.Helper()
	out, err := python.Run(context.Background(), &command.Env{WorkDir: dir}, &command.Call{Content: []map[string]any{{"code": code}}})
	require.NoError(t, err)
	return out
}

// A library that gets no memory says so in its own words; the limit is named.
func TestPythonNamesTheMemoryLimit(t *testing.T) {
	python := newPython(t)
	for _, said := range []string{
		"RuntimeError: can't start new thread",
		"OpenBLAS error: Memory allocation still failed after 10 retries, giving up.",
		"terminate called after throwing an instance of 'std::bad_alloc'",
		"OpenBLAS blas_thread_init: pthread_create failed for thread 3 of 64: Resource temporarily unavailable",
		"ImportError: x.so: failed to map segment from shared object",
		"OSError: [Errno 12] Cannot allocate memory",
		"DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000000000 bytes.",
		"OMP: Error #34: System unable to allocate necessary resources for OMP thread:",
		"libgomp: Thread creation failed: Resource temporarily unavailable",
		"  what():  Resource temporarily unavailable",
		"memory allocation of 800000000 bytes failed",
		"runtime: failed to create new OS thread (have 12 already; errno=11)",
		"There is insufficient memory for the Java Runtime Environment to continue.",
	} {
		out := runCode(t, python, t.TempDir(), "import sys\nsys.exit(\""+said+"\")")
		assert.Contains(t, out.Text, "agent.limits.memory_bytes", said)
	}
	assert.NotContains(t, runCode(t, python, t.TempDir(), "print(\"RuntimeError: can't start new thread\")").Text, "agent.limits")
	for _, other := range []string{"BlockingIOError: [Errno 11] Resource temporarily unavailable", "KeyError: 'memory'", "The thread is done."} {
		assert.NotContains(t, runCode(t, python, t.TempDir(), "import sys\nsys.exit(\""+other+"\")").Text, "agent.limits", other)
	}
	out := runCode(t, python, t.TempDir(), "import os\nint(os.environ['OPENBLAS_NUM_THREADS']) <= 8 and os.environ['OMP_NUM_THREADS'] == os.environ['OPENBLAS_NUM_THREADS']")
	assert.Equal(t, "True", out.Text)
}

// A native library that gives up ends the call, even where it would then wait for its
// threads; what others printed is kept.
func TestPythonEndsWhereALibraryGivesUp(t *testing.T) {
	python := newPython(t)
	dir := t.TempDir()
	source := filepath.Join(dir, "stuck.c")
	require.NoError(t, os.WriteFile(source, []byte("#include <unistd.h>\n__attribute__((destructor)) static void wait_(void) { for (;;) sleep(1); }\n"), 0o644))
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-o", filepath.Join(dir, "stuck.so"), source).CombinedOutput(); err != nil {
		t.Skipf("needs a C compiler: %v: %s", err, out)
	}
	const load = "import ctypes, os\nlibc = ctypes.CDLL(None)\nctypes.CDLL(os.path.abspath('stuck.so'))\nlibc.printf(b'half a line')\n"
	for _, end := range []string{"libc.exit(3)", "import threading\nthreading.Thread(target=libc.exit, args=(3,)).start()\nimport time\ntime.sleep(9)", "raise SystemExit(3)"} {
		env := &command.Env{WorkDir: dir, Limits: command.Limits{TimeoutMS: 8_000}}
		out, err := python.Run(context.Background(), env, &command.Call{Content: []map[string]any{{"code": load + end}}})
		require.NoError(t, err)
		assert.Contains(t, out.Text, "half a line", end)
		assert.Contains(t, out.Text, "Exit code 3", end)
	}
}

// The interpreter is the one that a person gets in the folder, and an error about a
// module names it.
func TestPythonOfTheFolder(t *testing.T) {
	newPython(t)
	dir := t.TempDir()
	out := runCode(t, Python(), dir, "import not_there")
	assert.Contains(t, out.Text, "This is Python 3.")
	assert.Contains(t, out.Text, "python3")

	bin := t.TempDir()
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	seen := filepath.Join(t.TempDir(), "seen")
	shim := "#!/bin/sh\necho \"$PYENV_VERSION\" >> " + seen + "\nexit 1\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "python3"), []byte(shim), 0o755))
	for file, want := range map[string]string{
		"3.12.1\n": "3.12.1", "3.12.1\n3.11.7\n": "3.12.1:3.11.7", "my-env": "my-env", "../evil\n": "", "$(touch x)\n": "", "": "",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".python-version"), []byte(file), 0o644))
		require.NoError(t, os.RemoveAll(seen))
		runCode(t, Python(), dir, "1")
		told, err := os.ReadFile(seen)
		require.NoError(t, err)
		first, _, _ := strings.Cut(string(told), "\n")
		assert.Equal(t, want, first, file)
	}
}
