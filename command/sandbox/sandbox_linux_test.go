package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// eachPlan runs a test under every plan that confines on this system, so that
// the weaker ones are tested on a machine that has the stronger.
func eachPlan(t *testing.T, test func(t *testing.T, p plan)) {
	t.Helper()
	if raceEnabled {
		t.Skip("needs a build without the race detector, which can't start under a memory limit")
	}
	tried := false
	for _, c := range candidates() {
		p := c.plan
		if c.err != nil {
			t.Logf("%s: not on this system: %v", p, c.err)
			continue
		}
		tried = true
		t.Run(strings.ReplaceAll(fmt.Sprintf("%s, user namespace: %t", p, p.User), " ", "_"), func(t *testing.T) {
			t.Parallel() // most of the time is waiting
			test(t, p)
		})
	}
	if !tried {
		t.Skip("needs a kernel with user namespaces, or with Landlock and seccomp")
	}
}

// candidate is a plan and why it does not confine here.
type candidate struct {
	plan plan
	err  error
}

// candidates are the plans of this system, and those of kernels without
// Landlock or with its first version, each tried once.
var candidates = sync.OnceValue(func() []candidate {
	var out []candidate
	all := append(plans(), plan{User: true, Namespaces: true, View: true, Seccomp: seccompWorks()})
	if landlockABI() > 1 {
		all = append(all, plan{Landlock: 1, Seccomp: seccompWorks()})
	}
	for _, p := range all {
		out = append(out, candidate{p, try(context.Background(), p)})
	}
	return out
})

// shell runs a shell script under a plan.
func shell(t *testing.T, p plan, dir, script string, change ...func(*Job)) *Outcome {
	t.Helper()
	out, err := shellContext(t, context.Background(), p, dir, script, change...)
	require.NoError(t, err)
	return out
}

func shellContext(t *testing.T, ctx context.Context, p plan, dir, script string, change ...func(*Job)) (*Outcome, error) {
	t.Helper()
	path, err := exec.LookPath("sh")
	require.NoError(t, err)
	job := Job{Path: path, Args: []string{"-c", script}, Dir: dir, Limits: Limits{Wall: 20 * time.Second, OutputBytes: 4000}.orDefaults()}
	for _, c := range change {
		c(&job)
	}
	return run(ctx, job, p)
}

func TestRunsAndReports(t *testing.T) {
	eachPlan(t, func(t *testing.T, p plan) {
		dir := filepath.Join(t.TempDir(), "a b", "größe")
		require.NoError(t, os.MkdirAll(dir, 0o755))
		out := shell(t, p, dir, `pwd; cat; echo err >&2; echo hello > out.txt; mkdir sub && mv out.txt sub/; exit 3`,
			func(j *Job) { j.Stdin = []byte("from stdin\n") })
		assert.Equal(t, dir+"\nfrom stdin\nerr\n", string(out.Head))
		assert.Equal(t, 3, out.ExitCode)
		data, err := os.ReadFile(filepath.Join(dir, "sub", "out.txt"))
		require.NoError(t, err)
		assert.Equal(t, "hello\n", string(data))

		if p.Namespaces || p.Landlock >= 6 { // else no signals are sent at all
			out = shell(t, p, dir, `kill -SEGV $$`)
			assert.Equal(t, "SIGSEGV", out.Signal)
			assert.Equal(t, -1, out.ExitCode)
		}

		_, err = run(context.Background(), Job{Path: "/no/such/program", Dir: dir, Limits: DefaultLimits()}, p)
		assert.ErrorContains(t, err, "run /no/such/program: no such file")
	})
}

func TestFilesAreConfined(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("top secret"), 0o644))
	home, err := os.UserHomeDir()
	require.NoError(t, err)
	eachPlan(t, func(t *testing.T, p plan) {
		dir := t.TempDir()
		require.NoError(t, os.Symlink(secret, filepath.Join(dir, "link")))
		require.NoError(t, os.Symlink(outside, filepath.Join(dir, "folder")))
		for _, script := range []string{
			"cat /etc/passwd", "cat /etc/shadow", "ls " + home, "cat " + secret, "cat link", "ls folder/",
			"cat /proc/1/environ | tr -d '\\0' | grep .", "ls /proc/1/root/", "cat /proc/1/root/etc/passwd",
			"echo x > " + outside + "/new", "echo x > folder/new", "echo x > link", "rm " + secret, "echo x > /usr/x", "echo x > /etc/x",
			"ln " + secret + " hard", "mkdir /new", "echo 1 > /proc/sys/vm/overcommit_memory", "echo b > /proc/sysrq-trigger",
			"mount -t tmpfs x /tmp", "chroot / true",
		} {
			out := shell(t, p, dir, script)
			assert.NotEqual(t, 0, out.ExitCode, script)
			assert.NotContains(t, string(out.Head), "top secret", script)
		}
		left, err := os.ReadDir(outside)
		require.NoError(t, err)
		assert.Len(t, left, 1)
		data, err := os.ReadFile(secret)
		require.NoError(t, err)
		assert.Equal(t, "top secret", string(data))

		out := shell(t, p, dir, `echo x > "$TMPDIR/t" && cat "$TMPDIR/t" && echo y > /dev/null && ls / > /dev/null; true`)
		assert.Contains(t, string(out.Head), "x\n", "the temporary folder is there")
	})
}

func TestNothingIsInherited(t *testing.T) {
	t.Setenv("AGENT_TEST_SECRET", "s3cret")
	inherited, err := os.Open(os.Args[0])
	require.NoError(t, err)
	t.Cleanup(func() { inherited.Close() })
	_, err = unix.FcntlInt(inherited.Fd(), unix.F_SETFD, 0) // as a careless parent would leave it
	require.NoError(t, err)
	eachPlan(t, func(t *testing.T, p plan) {
		out := shell(t, p, t.TempDir(), "env; for i in 3 4 5 6 7 8 9; do (true <&$i) 2>/dev/null && echo open $i; done; true", func(j *Job) { j.Env = []string{"GIVEN=1"} })
		assert.NotContains(t, string(out.Head), "s3cret")
		assert.NotContains(t, string(out.Head), "open ")
		assert.Contains(t, string(out.Head), "GIVEN=1")
	})
}

func TestStartFolderAndStderr(t *testing.T) {
	eachPlan(t, func(t *testing.T, p plan) {
		shown := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(shown, "data"), []byte("shown\n"), 0o600))
		out := shell(t, p, t.TempDir(), "cat data; echo advice >&2; (: > new) && echo writable", func(j *Job) {
			j.Start, j.ReadOnly, j.SplitStderr = shown, []string{shown}, true
		})
		assert.Equal(t, "shown\n", string(out.Head), "stdout alone, and nothing could be written")
		assert.Contains(t, string(out.Stderr), "advice\n")
		assert.NoFileExists(t, filepath.Join(shown, "new"))
	})
}

func TestTimeout(t *testing.T) {
	eachPlan(t, func(t *testing.T, p plan) {
		start := time.Now()
		out := shell(t, p, t.TempDir(), "echo before; sleep 60", func(j *Job) { j.Limits.Wall = 700 * time.Millisecond })
		assert.True(t, out.TimedOut)
		assert.Equal(t, "before\n", string(out.Head))
		assert.Less(t, time.Since(start), 30*time.Second)
	})
}

func TestCancel(t *testing.T) {
	eachPlan(t, func(t *testing.T, p plan) {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(500*time.Millisecond, cancel)
		start := time.Now()
		_, err := shellContext(t, ctx, p, t.TempDir(), "trap '' TERM INT HUP; sleep 60")
		assert.ErrorIs(t, err, context.Canceled)
		assert.Less(t, time.Since(start), 30*time.Second)
	})
}

// TestNothingIsLeft starts processes that leave their parent, their session
// and their standard streams behind, and looks for them afterwards.
func TestNothingIsLeft(t *testing.T) {
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip("needs setsid")
	}
	eachPlan(t, func(t *testing.T, p plan) {
		for name, script := range map[string]string{"normal end": "exit 0", "timeout": "sleep 60"} {
			wall := 10 * time.Second
			if name == "timeout" {
				wall = 1500 * time.Millisecond
			}
			mark := fmt.Sprintf("98%d", time.Now().UnixNano()%1e9)
			out := shell(t, p, t.TempDir(), fmt.Sprintf("setsid sh -c 'sleep %s & sleep %s' </dev/null >/dev/null 2>&1 & (sleep %s &) & sleep 0.2; %s", mark, mark, mark, script),
				func(j *Job) { j.Limits.Wall = wall })
			assert.Equal(t, name == "timeout", out.TimedOut)
			assert.Empty(t, processesWith(t, mark), name)
		}
	})
}

// processesWith lists the processes whose command line holds a word.
func processesWith(t *testing.T, word string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var out []string
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && strings.Contains(string(data), word) && !strings.Contains(f, fmt.Sprint(os.Getpid())) {
			out = append(out, strings.ReplaceAll(string(data), "\x00", " "))
		}
	}
	return out
}

// TestParentDies kills the program that runs a job, as kill -9 would.
func TestParentDies(t *testing.T) {
	if dir := os.Getenv("SANDBOX_TEST_DIR"); dir != "" {
		var s Sandbox
		path, _ := exec.LookPath("sh")
		_, _ = s.Run(context.Background(), Job{Path: path, Args: []string{"-c", "touch started; sleep " + os.Getenv("SANDBOX_TEST_MARK")}, Dir: dir})
		return
	}
	var s Sandbox
	if r, err := s.Probe(context.Background()); raceEnabled || err != nil || !r.Confined() {
		t.Skip("needs a system that confines")
	}
	dir, mark := t.TempDir(), fmt.Sprintf("97%d", time.Now().UnixNano()%1e9)
	cmd := exec.Command(os.Args[0], "-test.run=^TestParentDies$")
	cmd.Env = append(os.Environ(), "SANDBOX_TEST_DIR="+dir, "SANDBOX_TEST_MARK="+mark)
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(dir, "started")); return err == nil }, 20*time.Second, 20*time.Millisecond)
	require.NotEmpty(t, processesWith(t, mark))
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	assert.Eventually(t, func() bool { return len(processesWith(t, mark)) == 0 }, 10*time.Second, 20*time.Millisecond)
}

func TestOutputIsBounded(t *testing.T) {
	eachPlan(t, func(t *testing.T, p plan) {
		out := shell(t, p, t.TempDir(), "echo first; head -c 100000000 /dev/zero | tr '\\0' x; echo; echo last")
		assert.Equal(t, 0, out.ExitCode)
		assert.True(t, strings.HasPrefix(string(out.Head), "first\nxxx"))
		assert.True(t, strings.HasSuffix(string(out.Tail), "x\nlast\n"))
		assert.Equal(t, 4000, len(out.Head)+len(out.Tail))
		assert.EqualValues(t, 100_000_000+len("first\n\nlast\n")-4000, out.Dropped)
	})
}

func TestLimits(t *testing.T) {
	eachPlan(t, func(t *testing.T, p plan) {
		out := shell(t, p, t.TempDir(), "head -c 5000000 /dev/zero > big; ls -l big", func(j *Job) { j.Limits.FileBytes = 1 << 20 })
		assert.Contains(t, string(out.Head), "1048576")

		out = shell(t, p, t.TempDir(), "ulimit -v; ulimit -c", func(j *Job) { j.Limits.MemoryBytes = 512 << 20 })
		assert.Equal(t, fmt.Sprintf("%d\n0\n", 512<<10), string(out.Head))
	})
}

// TestSmallMemory starts programs in less memory than the Go runtime has.
func TestSmallMemory(t *testing.T) {
	eachPlan(t, func(t *testing.T, p plan) {
		for range 20 {
			out := shell(t, p, t.TempDir(), "echo ok", func(j *Job) { j.Limits.MemoryBytes = 32 << 20 })
			require.Equal(t, "ok\n", string(out.Head))
		}
	})
}

// TestForkBomb starts processes without end. The time limit ends it, and the
// machine goes on.
func TestForkBomb(t *testing.T) {
	eachPlan(t, func(t *testing.T, p plan) {
		start := time.Now()
		mark := fmt.Sprintf("96%d", time.Now().UnixNano()%1e9)
		out := shell(t, p, t.TempDir(), "n=0; while [ $n -lt 1000 ]; do sleep "+mark+" & n=$((n+1)); done; echo all started; wait",
			func(j *Job) { j.Limits.Wall = 2 * time.Second; j.Limits.Processes = 64 })
		root := os.Geteuid() == 0 // RLIMIT_NPROC does not hold it back, but the namespace's own pid_max does
		if !root || p.View && kernelAtLeast(6, 14) {
			assert.NotContains(t, string(out.Head), "all started")
		}
		assert.Empty(t, processesWith(t, mark))
		assert.Less(t, time.Since(start), 30*time.Second)
	})
}

func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	var gotMajor, gotMinor int
	if unix.Uname(&u) != nil {
		return false
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &gotMajor, &gotMinor); err != nil {
		return false
	}
	return gotMajor > major || gotMajor == major && gotMinor >= minor
}

func TestNetworkIsCutOff(t *testing.T) {
	python, err := exec.LookPath("/usr/bin/python3")
	if err != nil {
		t.Skip("needs /usr/bin/python3")
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	abstract, err := net.Listen("unix", "@agent-sandbox-test")
	require.NoError(t, err)
	t.Cleanup(func() { abstract.Close() })
	path := filepath.Join(t.TempDir(), "s")
	named, err := net.Listen("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { named.Close() })
	attempts := map[string]string{
		"tcp":             fmt.Sprintf("socket.create_connection(('127.0.0.1', %d), 2)", listener.Addr().(*net.TCPAddr).Port),
		"udp":             "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))",
		"ipv6":            "socket.socket(socket.AF_INET6, socket.SOCK_STREAM).connect(('::1', 9))",
		"raw":             "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
		"netlink":         "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
		"packet":          "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
		"vsock":           "socket.socket(40, socket.SOCK_STREAM)",
		"dns":             "socket.getaddrinfo('example.org', 80)",
		"abstract socket": "socket.socket(socket.AF_UNIX).connect('\\0agent-sandbox-test')",
		"local socket":    fmt.Sprintf("socket.socket(socket.AF_UNIX).connect(%q)", path),
	}
	eachPlan(t, func(t *testing.T, p plan) {
		for name, attempt := range attempts {
			out, err := run(context.Background(), Job{
				Path: python, Args: []string{"-I", "-B", "-c", "import socket\n" + attempt + "\nprint('connected')"}, Dir: t.TempDir(),
				Limits: Limits{Wall: 20 * time.Second}.orDefaults(),
			}, p)
			require.NoError(t, err)
			assert.Equal(t, 1, out.ExitCode, "%s: %s", name, out.Head)
			assert.Contains(t, string(out.Head), "Traceback", name)
		}
	})
}

func TestSystemCallFilter(t *testing.T) {
	python, err := exec.LookPath("/usr/bin/python3")
	if err != nil || !seccompWorks() {
		t.Skip("needs /usr/bin/python3 and seccomp")
	}
	calls := map[string]string{
		"ptrace": fmt.Sprint(unix.SYS_PTRACE) + ", 0, 0, 0, 0", "bpf": fmt.Sprint(unix.SYS_BPF) + ", 0, 0, 0", "keyctl": fmt.Sprint(unix.SYS_KEYCTL) + ", 0, -3, 1",
		"io_uring": fmt.Sprint(unix.SYS_IO_URING_SETUP) + ", 1, 0", "mount": fmt.Sprint(unix.SYS_MOUNT) + ", 0, 0, 0, 0, 0",
		"unshare": fmt.Sprint(unix.SYS_UNSHARE, ", ", unix.CLONE_NEWUSER), "clone": fmt.Sprint(unix.SYS_CLONE, ", ", unix.CLONE_NEWUSER|int(unix.SIGCHLD), ", 0, 0, 0, 0"),
	}
	eachPlan(t, func(t *testing.T, p plan) {
		if !p.Seccomp {
			t.Skip("this plan has no filter")
		}
		for name, call := range calls {
			script := "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nprint(libc.syscall(" + call + "), ctypes.get_errno())"
			out, err := run(context.Background(), Job{Path: python, Args: []string{"-I", "-B", "-c", script}, Dir: t.TempDir(), Limits: DefaultLimits()}, p)
			require.NoError(t, err)
			assert.Equal(t, "-1 1\n", string(out.Head), "%s must give EPERM", name)
		}
	})
}

func TestGitFolderIsReadOnly(t *testing.T) {
	eachPlan(t, func(t *testing.T, p plan) {
		if !p.View {
			t.Skip("needs a private root; Landlock can't take a folder out of a writable one")
		}
		dir := t.TempDir()
		require.NoError(t, os.MkdirAll(filepath.Join(dir, ".git", "hooks"), 0o755))
		out := shell(t, p, dir, "echo x > .git/hooks/pre-commit")
		assert.NotEqual(t, 0, out.ExitCode)
	})
}

func TestRefuses(t *testing.T) {
	if raceEnabled {
		t.Skip("needs a build without the race detector, which can't start under a memory limit")
	}
	path, err := exec.LookPath("true")
	require.NoError(t, err)
	// A sandbox that found nothing to confine with.
	s := Sandbox{found: &discovery{report: Report{Reasons: []string{"no namespaces"}}}}
	_, err = s.Run(context.Background(), Job{Path: path, Dir: t.TempDir()})
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	assert.Contains(t, err.Error(), "no namespaces")
	assert.Contains(t, refused.Hint(), "--allow-unsandboxed")

	out, err := s.Run(context.Background(), Job{Path: path, Dir: t.TempDir(), AllowUnconfined: true})
	require.NoError(t, err)
	assert.Equal(t, 0, out.ExitCode)
	assert.False(t, out.Confined)

	for _, job := range []Job{{Path: "true", Dir: "/tmp"}, {Path: path, Dir: "/"}, {Path: path, Dir: "relative"}, {Path: path, Dir: path}, {Path: path, Dir: "/no/such/folder"}} {
		_, err := s.Run(context.Background(), job)
		assert.Error(t, err, "%v", job)
		assert.False(t, errors.As(err, &refused), "%v", job)
	}
}

func TestUnconfinedLeavesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("needs a build without the race detector, which can't start under a memory limit")
	}
	mark := fmt.Sprintf("95%d", time.Now().UnixNano()%1e9)
	out := shell(t, plan{}, t.TempDir(), "(setsid sleep "+mark+" &) & (sleep "+mark+" &) & sleep 0.2; exit 0")
	assert.Equal(t, 0, out.ExitCode)
	assert.Empty(t, processesWith(t, mark))
}

func TestCapture(t *testing.T) {
	for _, size := range []int{1, 3, 7, 50} {
		c := newCapture(16, func() {})
		text := strings.Repeat("0123456789", 10)
		for i := 0; i < len(text); i += size {
			_, _ = c.Write([]byte(text[i:min(i+size, len(text))]))
		}
		head, tail, dropped := c.result()
		assert.Equal(t, text[:12], string(head))
		assert.Equal(t, text[96:], string(tail))
		assert.EqualValues(t, 84, dropped)
	}
	c := newCapture(16, func() {})
	_, _ = c.Write([]byte("short"))
	head, tail, dropped := c.result()
	assert.Equal(t, "short", string(head)+string(tail))
	assert.Zero(t, dropped)
}
