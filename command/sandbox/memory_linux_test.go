package sandbox

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// systemPython finds an interpreter that every job can read.
func systemPython(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("/usr/bin/python3")
	if err != nil {
		t.Skip("needs /usr/bin/python3")
	}
	return path
}

// memoryBombs take memory that is not resident in any process, or not for long.
func memoryBombs() map[string]string {
	return map[string]string{
		"private, of many processes": `
def child():
    held = b"x" * (LIMIT // 4)
    time.sleep(15)
spread(child)`,
		"shared mappings that are let go of": `
def child():
    held, block = [], b"x" * (1 << 20)
    for _ in range(3):
        m = mmap.mmap(-1, LIMIT // 8)
        for at in range(0, len(m), 1 << 20):
            m[at:at + (1 << 20)] = block
        m.madvise(mmap.MADV_DONTNEED)
        held.append(m)
    time.sleep(15)
spread(child)`,
		"memfd": `
def child():
    block = b"x" * (1 << 20)
    for n in range(LIMIT // 2 >> 20):
        if n % 64 == 0:
            fd = os.memfd_create("m")
        os.write(fd, block)
    time.sleep(15)
spread(child)`,
		"segments of System V": `
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
def child():
    for _ in range(8):
        number = libc.shmget(0, ctypes.c_size_t(LIMIT // 16), 0o1600)
        at = libc.shmat(number, None, 0)
        if number < 0 or at is None:
            return
        ctypes.memset(at, 1, LIMIT // 16)
        libc.shmdt(ctypes.c_void_p(at))
spread(child)`,
		"files in memory": `
def child():
    block = b"x" * (1 << 20)
    for folder in ("/dev/shm", "/tmp"):
        for n in range(LIMIT // 2 >> 20):
            with open(f"{folder}/{os.getpid()}-{n}", "wb") as f:
                f.write(block)
    time.sleep(15)
spread(child)`,
		"empty files in memory": `
def child():
    for n in range(10**6):
        open(f"/dev/shm/{os.getpid()}-{n}", "wb").close()
spread(child)`,
		"what waits in sockets": `
def child():
    held, block = [], b"x" * 4096
    for _ in range(500):
        pair = socket.socketpair()
        for end in pair:
            end.setblocking(False)
            try:
                while True:
                    end.send(block)
            except BlockingIOError:
                pass
        held.append(pair)
    time.sleep(15)
spread(child)`,
		"what waits in pipes": `
def child():
    held, block = [], b"x" * 4096
    for _ in range(500):
        ends = os.pipe()
        try:
            fcntl.fcntl(ends[1], 1031, 1 << 20)
        except OSError:
            pass
        os.set_blocking(ends[1], False)
        try:
            while True:
                os.write(ends[1], block)
        except BlockingIOError:
            pass
        held.append(ends)
    time.sleep(15)
spread(child)`,
	}
}

const bombHead = `
import ctypes, fcntl, mmap, os, socket, sys, time
LIMIT = 1 << 30
def spread(child, times=24):
    for _ in range(times):
        try:
            if os.fork() == 0:
                try:
                    child()
                except BaseException as error:
                    print(type(error).__name__, str(error)[:80])
                os._exit(0)
        except OSError:
            break
    for _ in range(times):
        os.wait()
    print("survived")
`

// memoryTries is how often a bomb may be tried on a machine whose memory others
// take, too.
const memoryTries = 3

// TestMemoryOfTheMachine lets bombs go off one after the other and looks at what
// the machine has left: never less, by a fifth more than the job may take.
func TestMemoryOfTheMachine(t *testing.T) {
	python := systemPython(t)
	const limit = 1 << 30
	if availableMemory() < 4*limit {
		t.Skip("needs 4 GiB of free memory")
	}
	inTurn(t, func(t *testing.T, p plan) {
		for name, script := range memoryBombs() {
			t.Run(name, func(t *testing.T) {
				var most uint64
				for range memoryTries {
					var out *Outcome
					most, out = memoryTaken(t, p, Job{
						Path: python, Args: []string{"-I", "-B", "-c", bombHead + script}, Dir: t.TempDir(),
						Limits: Limits{Wall: 20 * time.Second, MemoryBytes: limit}.orDefaults(),
					})
					t.Logf("%d MiB of %d MiB, exceeded: %q, %.2f s, %s", most>>20, limit>>20, out.Exceeded, out.Wall.Seconds(), firstLine(out.Head))
					if most <= limit+limit/5 {
						return
					}
				}
				assert.LessOrEqual(t, most, uint64(limit+limit/5))
			})
		}
	})
}

// inTurn runs a test that looks at the whole machine under one plan after the
// other: the strongest and the weakest, or all with AGENT_TEST_FULL=1.
func inTurn(t *testing.T, test func(t *testing.T, p plan)) {
	t.Helper()
	if raceEnabled {
		t.Skip("needs a build without the race detector, which can't start under a memory limit")
	}
	tried := slices.DeleteFunc(slices.Clone(candidates()), func(c candidate) bool { return c.err != nil })
	if len(tried) == 0 {
		t.Skip("needs a kernel with user namespaces, or with Landlock and seccomp")
	}
	if os.Getenv("AGENT_TEST_FULL") == "" && len(tried) > 2 {
		tried = []candidate{tried[0], tried[len(tried)-1]}
	}
	for _, c := range tried {
		t.Run(c.plan.String(), func(t *testing.T) { test(t, c.plan) })
	}
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// memoryTaken runs a job and tells by how much the machine had less memory.
func memoryTaken(t *testing.T, p plan, job Job) (uint64, *Outcome) {
	t.Helper()
	before, least := availableMemory(), availableMemory()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				least = min(least, availableMemory())
			}
		}
	}()
	out, err := run(context.Background(), job, p)
	close(stop)
	<-done
	require.NoError(t, err)
	return before - min(least, before), out
}

// TestFileBombs make files, folders and links without end.
func TestFileBombs(t *testing.T) {
	for name, one := range map[string]string{"empty files": "open(name, 'w').close()", "folders": "os.mkdir(name)", "links": "os.symlink('x', name)"} {
		t.Run(name, func(t *testing.T) {
			python := systemPython(t)
			inTurn(t, func(t *testing.T, p plan) {
				dir := t.TempDir()
				if left, ok := roomOf(dir); !ok || left.files < 1_000_000 {
					t.Skip("needs a disk that counts its files")
				}
				out, err := run(context.Background(), Job{
					Path: python, Args: []string{"-I", "-c", "import os\nfor n in range(10**6):\n    name = str(n)\n    " + one + "\nprint('survived')"}, Dir: dir,
					Limits: Limits{Wall: 30 * time.Second, Files: 2000}.orDefaults(),
				}, p)
				require.NoError(t, err)
				assert.Equal(t, exceededFiles, out.Exceeded, "%s", out.Head)
				entries, err := os.ReadDir(dir)
				require.NoError(t, err)
				assert.Less(t, len(entries), 200_000)
			})
		})
	}
}

// TestOrdinaryProgramsStillRun does what scripts do that have nothing to hide.
func TestOrdinaryProgramsStillRun(t *testing.T) {
	python := systemPython(t)
	eachPlan(t, func(t *testing.T, p plan) {
		for name, script := range map[string]string{
			"an event loop": "import asyncio\nasync def f():\n    p = await asyncio.create_subprocess_exec('true')\n    return await p.wait()\nprint(asyncio.run(f()) == 0)",
			"a pair":        "import socket\na, b = socket.socketpair()\na.send(b'x')\nprint(b.recv(1) == b'x')",
			"a pool":        "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(2) as pool:\n    print(pool.map(abs, [-1]) == [1])",
			"modes":         "import os, stat\nopen('f', 'w').close()\nos.chmod('f', 0o700)\nfd = os.open('g', os.O_CREAT | os.O_WRONLY, 0o640)\nos.fchmod(fd, 0o600)\nos.mkdir('d', 0o750)\nprint(True)",
			"copies":        "import shutil, os\nos.mkdir('a')\nopen('a/x', 'w').write('x')\nshutil.copytree('a', 'b')\nshutil.make_archive('c', 'tar', 'a')\nprint(open('b/x').read() == 'x')",
			"a database":    "import sqlite3\nd = sqlite3.connect('d.sqlite')\nd.execute('create table t (a)')\nd.commit()\nprint(True)",
		} {
			if name == "a pool" && !p.View {
				continue // its locks need a /dev/shm
			}
			out, err := run(context.Background(), Job{
				Path: python, Args: []string{"-I", "-B", "-c", script}, Dir: t.TempDir(), Limits: Limits{Wall: 20 * time.Second}.orDefaults(),
			}, p)
			require.NoError(t, err)
			assert.Equal(t, "True\n", string(out.Head), name)
		}
	})
}
