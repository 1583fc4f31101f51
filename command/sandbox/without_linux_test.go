package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// withoutVar names what this test binary does without, as on a system that has
// it not or does not allow it.
const withoutVar = "SANDBOX_TEST_WITHOUT"

// takeAway refuses what mechanisms are made of, to this process and all that it
// starts.
func takeAway(f *program, mechanism string) bool {
	const otherNamespaces = namespaceFlags &^ unix.CLONE_NEWUSER
	switch mechanism {
	case "nothing":
	case "Landlock":
		f.refuse(unix.ENOSYS, unix.SYS_LANDLOCK_CREATE_RULESET)
	case "user namespaces":
		f.refuseIf(unix.SYS_CLONE, unix.EPERM, hasBits(0, unix.CLONE_NEWUSER))
		f.refuseIf(unix.SYS_UNSHARE, unix.EPERM, hasBits(0, unix.CLONE_NEWUSER))
	case "namespaces":
		f.refuseIf(unix.SYS_CLONE, unix.EPERM, hasBits(0, otherNamespaces))
		f.refuseIf(unix.SYS_UNSHARE, unix.EPERM, hasBits(0, otherNamespaces))
	case "mounts":
		f.refuse(unix.EPERM, unix.SYS_MOUNT, unix.SYS_PIVOT_ROOT)
	case "recent mount calls":
		f.refuse(unix.ENOSYS, unix.SYS_MOUNT_SETATTR, unix.SYS_OPEN_TREE, unix.SYS_OPENAT2)
	case "seccomp":
		f.refuse(unix.ENOSYS, unix.SYS_SECCOMP)
	case "limits":
		f.refuse(unix.EPERM, unix.SYS_PRLIMIT64, unix.SYS_SETRLIMIT)
	default:
		return false
	}
	return true
}

func doWithout(mechanisms string) error {
	var f program
	f.load(seccompNumber)
	for m := range strings.SplitSeq(mechanisms, ", ") {
		if !takeAway(&f, m) {
			return fmt.Errorf("unknown mechanism %q", m)
		}
	}
	f.refuse(unix.ENOSYS, unix.SYS_CLONE3)
	f.ret(unix.SECCOMP_RET_ALLOW)
	fprog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	// This is set on one thread, which must be the one that the filter starts from.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(f)
	if errno != 0 {
		return errno
	}
	return nil
}

// TestWithoutAMechanism runs the escapes on systems that lack one mechanism or
// two, as root and as an ordinary user. Either all of them fail, or no program
// is run at all.
func TestWithoutAMechanism(t *testing.T) {
	if raceEnabled {
		t.Skip("needs a build without the race detector, which can't start under a memory limit")
	}
	if !seccompWorks() {
		t.Skip("needs a kernel with seccomp filters, on amd64 or arm64")
	}
	exe := programForAll(t)
	const private, landlock, perhaps, refused = "private root", "Landlock", "", "refused"
	for _, row := range []struct {
		missing            string
		asRoot, asOrdinary string // what confines files where the system has all the rest
	}{
		{"nothing", private, private},
		{"Landlock", private, private},
		{"user namespaces", private, landlock},
		{"namespaces", landlock, landlock},
		{"mounts", landlock, landlock},
		{"recent mount calls", landlock, landlock},
		{"user namespaces, mounts", landlock, landlock},
		{"Landlock, user namespaces", private, refused},
		{"Landlock, namespaces", refused, refused},
		{"Landlock, mounts", refused, refused},
		{"seccomp", refused, refused},
		{"limits", refused, refused},
	} {
		for _, user := range []struct {
			uid  int
			want string
		}{{0, row.asRoot}, {ordinaryUID, row.asOrdinary}} {
			if os.Geteuid() != 0 && user.uid == 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s, user %d", row.missing, user.uid), func(t *testing.T) {
				t.Parallel()
				want := user.want
				if want != refused && !hasAll() {
					want = perhaps
				}
				out := anotherRun(t, exe, user.uid, "^TestHoldsHere$", withoutVar+"="+row.missing, "SANDBOX_TEST_WANT="+want)
				assert.Contains(t, out, "--- PASS: TestHoldsHere", "the test really ran")
			})
		}
	}
}

// hasAll reports that this system has every mechanism, so that what is left
// without some of them is known.
func hasAll() bool {
	for _, c := range candidates() {
		if c.err == nil && c.plan.User && c.plan.View && c.plan.Landlock > 0 {
			return true
		}
	}
	return false
}

// TestHoldsHere is what each of these runs.
func TestHoldsHere(t *testing.T) {
	if os.Getenv(withoutVar) == "" {
		t.Skip("needs to be run by TestWithoutAMechanism")
	}
	t.Setenv("AGENT_TEST_SECRET", canary)
	var s Sandbox
	report, err := s.Probe(context.Background())
	require.NoError(t, err)
	want, missing := os.Getenv("SANDBOX_TEST_WANT"), os.Getenv(withoutVar)
	t.Logf("files: %s, network: %s, processes: %s, reasons: %q", report.Files, report.Network, report.Processes, report.Reasons)
	for _, e := range escapes() {
		trap := e.set(t)
		job := attackJob(t, e.attack, trap.args, trap.into)
		out, err := s.Run(context.Background(), job)
		if _, ok := errors.AsType[*RefusedError](err); ok {
			assert.Contains(t, []string{"", "refused"}, want, "%v", err)
			continue
		}
		require.NoError(t, err, e.name)
		assert.NotEqual(t, "refused", want, e.name)
		assert.Contains(t, report.Files, want)
		assert.NotContains(t, report.Files, missing)
		text := string(out.Head) + string(out.Tail)
		assert.Empty(t, trap.caught(text), "%s: %s", e.name, text)
		assert.Contains(t, text, "attack over", e.name)
	}
	if want == "refused" {
		assert.NotEmpty(t, report.Reasons)
		assert.False(t, report.Confined())
	}
	testRepositoryHolds(t, &s, report)
}

// testRepositoryHolds: where a repository can't be protected, nothing runs.
func testRepositoryHolds(t *testing.T, s *Sandbox, report Report) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, ".git", "hooks"), 0o755))
	hook := filepath.Join(dir, ".git", "hooks", "pre-commit")
	path, err := exec.LookPath("sh")
	require.NoError(t, err)
	_, err = s.Run(context.Background(), Job{Path: path, Args: []string{"-c", "echo x > .git/hooks/pre-commit; echo x > ran"}, Dir: dir})
	if strings.Contains(report.Files, "private root") {
		require.NoError(t, err)
	} else {
		var refused *RefusedError
		require.ErrorAs(t, err, &refused)
		assert.NoFileExists(t, filepath.Join(dir, "ran"))
	}
	assert.NoFileExists(t, hook)
}

// programForAll is a copy of this binary that every user can run. It is made
// while nothing else is started: a child that got hold of it would keep it busy.
func programForAll(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent-program-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	exe := filepath.Join(dir, "sandbox.test")
	require.NoError(t, errors.Join(os.Chmod(dir, 0o755), copyProgram(exe)))
	return exe
}

// anotherRun runs tests of this binary in a process of its own, as another user
// where this one is root, and gives its output.
func anotherRun(t *testing.T, exe string, uid int, tests string, env ...string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent-ordinary-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	tmp, home := filepath.Join(dir, "tmp"), filepath.Join(dir, "home")
	require.NoError(t, errors.Join(os.Chmod(dir, 0o755), os.Mkdir(tmp, 0o700), os.Mkdir(home, 0o700)))
	cmd := exec.Command(exe, "-test.v", "-test.run="+tests, "-test.skip=^TestAsOrdinaryUser$|^TestWithoutAMechanism$")
	cmd.Dir, cmd.Env = tmp, append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + tmp, "HOME=" + home}, env...)
	if os.Geteuid() == 0 && uid != 0 {
		require.NoError(t, errors.Join(os.Chown(tmp, uid, uid), os.Chown(home, uid, uid)))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		t.Skipf("needs to become user %d: %v", uid, err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "not on this system") || strings.Contains(line, "needs ") || strings.Contains(line, "files: ") && strings.Contains(line, "reasons: ") {
			t.Log(strings.TrimSpace(line))
		}
	}
	require.NoError(t, err, "%s", out)
	return string(out)
}
