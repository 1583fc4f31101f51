package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// trap is set outside of the sandbox before an attack.
type trap struct {
	args []string // of the attack
	// caught looks, from outside, at what the attack did, and says what got out.
	caught func(output string) string
	change func(*Job) // of a job that carries it out; nil: none
	dir    string     // where it is carried out; empty: a new folder
}

// into sets the trap in a job.
func (t trap) into(j *Job) {
	if t.dir != "" {
		j.Dir = t.dir
	}
	if t.change != nil {
		t.change(j)
	}
}

// escape is one attempt to get out, seen from outside.
type escape struct {
	name   string
	attack string // of the program inside; see attacks
	set    func(t *testing.T) trap
	// control: without a sandbox the attack succeeds, so the trap works.
	control bool
	needs   func(p plan) string // what a plan lacks for this, empty when nothing
}

// controlTries is how often an attack may be tried without a sandbox.
const controlTries = 20

// TestEscapes runs each attack under each plan. Without a sandbox the harmless
// ones must succeed, or else the test would prove nothing.
func TestEscapes(t *testing.T) {
	t.Setenv("AGENT_TEST_SECRET", canary)
	for _, e := range escapes() {
		if e.control {
			t.Run("control/"+e.name, func(t *testing.T) {
				// A race is not won at once on a machine that has other work.
				caught, out := "", ""
				for try := 0; caught == "" && try < controlTries; try++ {
					trap := e.set(t)
					out = attackFreely(t, e.attack, trap.args, trap.dir)
					caught = trap.caught(out)
				}
				assert.NotEmpty(t, caught, "unconfined, the attack must succeed:\n%s", out)
			})
		}
	}
	eachPlan(t, func(t *testing.T, p plan) {
		for _, e := range escapes() {
			t.Run(e.name, func(t *testing.T) {
				if e.needs != nil && e.needs(p) != "" {
					t.Skip(e.needs(p))
				}
				trap := e.set(t)
				out, err := attackConfined(t, p, e.attack, trap.args, trap.into)
				require.NoError(t, err)
				text := string(out.Head) + string(out.Tail)
				assert.Empty(t, trap.caught(text), "%s", text)
				assert.Contains(t, text, "attack over", "the attack ran to its end")
			})
		}
	})
}

// attackConfined runs an attack in a sandbox.
func attackConfined(t *testing.T, p plan, name string, args []string, change func(*Job)) (*Outcome, error) {
	t.Helper()
	return run(context.Background(), attackJob(t, name, args, change), p)
}

func attackJob(t *testing.T, name string, args []string, change func(*Job)) Job {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	job := Job{
		Path: exe, Args: args, Dir: t.TempDir(), Env: []string{attackVar + "=" + name}, ReadOnly: []string{exe},
		Limits: Limits{Wall: 60 * time.Second, OutputBytes: 200_000, MemoryBytes: 4 << 30}.orDefaults(), // the Go runtime is large
	}
	if change != nil {
		change(&job)
	}
	return job
}

// attackFreely runs an attack without any sandbox.
func attackFreely(t *testing.T, name string, args []string, dir string) string {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, args...)
	cmd.Dir, cmd.Env = cmp.Or(dir, t.TempDir()), append(os.Environ(), attackVar+"="+name)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

const canary = "canary-7d1f3a"

// contains is a trap for output that holds one of some words.
func contains(words ...string) func(string) string {
	return func(output string) string {
		for _, w := range words {
			if strings.Contains(output, w) {
				return "the output has " + w
			}
		}
		return ""
	}
}

func needsFilter(p plan) string {
	if !p.Seccomp {
		return "needs a kernel with seccomp filters, on amd64 or arm64"
	}
	return ""
}

func escapes() []escape {
	return []escape{
		{name: "keys of ssh", attack: "read", set: setSSH, control: true},
		{name: "passwords", attack: "read", control: true, set: func(*testing.T) trap {
			return trap{args: []string{"/etc/shadow", "/etc/passwd", "/etc/gshadow"}, caught: contains("root:")}
		}},
		{name: "folders of others", attack: "list", control: true, set: func(*testing.T) trap {
			folders := []string{"/home", "/root", "/var", "/run", "/sys", "/boot", "/srv", "/mnt", "/media"}
			shown := func(folder string) bool { return strings.HasPrefix(os.TempDir(), folder) } // a way to the work dir
			return trap{args: slices.DeleteFunc(folders, shown), caught: contains("listed")}
		}},
		{name: "write outside", attack: "write", set: setVictimFile, control: true},
		{name: "symlink race", attack: "links", set: setFolder, control: true},
		{name: "TCP", attack: "dial", set: setListener("tcp", "127.0.0.1:0"), control: true},
		{name: "UDP", attack: "dial", set: setPacketTrap, control: true},
		{name: "unix socket", attack: "dial", set: setListener("unix", ""), control: true},
		{name: "abstract socket", attack: "dial", set: setListener("unix", "@"), control: true},
		{name: "DNS", attack: "resolve", set: setNameServer, control: true},
		{name: "ptrace", attack: "trace", set: func(t *testing.T) trap {
			v := startVictim(t)
			return trap{args: []string{v.pid(), fmt.Sprint(os.Getpid())}, caught: contains("traced", "read memory")}
		}},
		{name: "environ of processes", attack: "proc", control: true, set: func(t *testing.T) trap {
			v := startVictim(t)
			return trap{args: []string{v.pid(), fmt.Sprint(os.Getpid())}, caught: contains(canary)}
		}},
		{name: "signals", attack: "signal", set: setSignals, control: true},
		{name: "environment", attack: "environ", control: true, set: func(*testing.T) trap { return trap{caught: contains(canary)} }},
		{name: "system calls", attack: "calls", needs: needsFilter, control: true, set: func(*testing.T) trap {
			return trap{caught: contains("available")}
		}},
		{name: "keyring", attack: "keyring", needs: needsFilter, set: setKeyring},
		{name: "programs that act as their owner", attack: "modes", set: setModes, control: true},
		{name: "services in the work dir", attack: "services", set: setServices, control: true},
		{name: "mount", attack: "mount", set: setMount},
		{name: "devices", attack: "devices", set: func(*testing.T) trap { return trap{caught: contains("opened")} }},
		{name: "privileges", attack: "privileges", set: func(*testing.T) trap {
			return trap{caught: func(output string) string {
				if bad := contains("limit raised", "became", "safe from")(output); bad != "" {
					return bad
				}
				if !strings.Contains(output, "capabilities 0 <nil>") || !strings.Contains(output, "no new privileges 1 <nil>") {
					return "there are privileges left"
				}
				return ""
			}}
		}},
	}
}

// setModes looks for files that let others act as their owner: in the work dir,
// which has one already, and in a folder that can only be read.
func setModes(t *testing.T) trap {
	dir, shown := t.TempDir(), t.TempDir()
	already, program := filepath.Join(dir, "already"), filepath.Join(shown, "program")
	require.NoError(t, errors.Join(os.WriteFile(already, []byte("as it is"), 0o755), os.WriteFile(program, nil, 0o755)))
	require.NoError(t, os.Chmod(already, 0o755|os.ModeSetuid))
	bad := func() string {
		var out []string
		for _, folder := range []string{dir, shown} {
			_ = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				data, _ := os.ReadFile(path)
				info, err := os.Lstat(path)
				if err == nil && info.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 && string(data) != "as it is" && info.Mode().IsRegular() {
					out = append(out, path)
				}
				return nil
			})
		}
		if os.Geteuid() != 0 { // looked for after jobs of root alone
			out = slices.DeleteFunc(out, func(path string) bool { return path == already })
		}
		return strings.Join(out, " ")
	}
	return trap{args: []string{program}, dir: dir, change: func(j *Job) { j.ReadOnly = append(j.ReadOnly, shown) }, caught: func(string) string { return bad() }}
}

// setServices listens on local sockets in the work dir, as a service may that
// keeps them in a home folder.
func setServices(t *testing.T) trap {
	dir, err := os.MkdirTemp("", "s") // such paths may not be long
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	var came atomic.Int64
	stream, err := net.Listen("unix", filepath.Join(dir, "stream"))
	require.NoError(t, err)
	t.Cleanup(func() { stream.Close() })
	datagram, err := net.ListenPacket("unixgram", filepath.Join(dir, "datagram"))
	require.NoError(t, err)
	t.Cleanup(func() { datagram.Close() })
	go func() {
		for {
			conn, err := stream.Accept()
			if err != nil {
				return
			}
			came.Add(1)
			conn.Close()
		}
	}()
	go func() {
		if _, _, err := datagram.ReadFrom(make([]byte, 100)); err == nil {
			came.Add(1)
		}
	}()
	return trap{dir: dir, caught: func(string) string {
		time.Sleep(100 * time.Millisecond)
		for _, name := range []string{"mine", "bound"} {
			if conn, err := net.Dial("unix", filepath.Join(dir, name)); err == nil {
				conn.Close()
				return "it serves at the socket " + name
			}
		}
		if n := came.Load(); n > 0 {
			return fmt.Sprintf("a service was reached %d times", n)
		}
		return ""
	}}
}

// setSSH puts a key into a home of its own, and looks into the real one too.
func setSSH(t *testing.T) trap {
	home := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(home, ".ssh"), 0o700))
	key := filepath.Join(home, ".ssh", "id_ed25519")
	require.NoError(t, os.WriteFile(key, []byte(canary), 0o600))
	args := []string{key}
	if u, err := user.Current(); err == nil {
		for _, name := range []string{"id_ed25519", "id_rsa", "authorized_keys", "known_hosts", "config"} {
			args = append(args, filepath.Join(u.HomeDir, ".ssh", name))
		}
	}
	return trap{args: args, caught: contains(canary, "PRIVATE KEY", "ssh-rsa", "ssh-ed25519")}
}

// setVictimFile is a folder with a file that is to stay as it is.
func setVictimFile(t *testing.T) trap {
	folder := filepath.Join(t.TempDir(), "folder")
	require.NoError(t, os.Mkdir(folder, 0o755))
	victim := filepath.Join(folder, "victim")
	require.NoError(t, os.WriteFile(victim, []byte(canary), 0o644))
	before := describe(folder)
	return trap{args: []string{victim}, caught: func(string) string {
		if after := describe(folder); after != before {
			return "outside is " + after + ", it was " + before
		}
		return ""
	}}
}

func setFolder(t *testing.T) trap {
	folder := t.TempDir()
	before := describe(folder)
	return trap{args: []string{folder}, caught: func(string) string {
		if after := describe(folder); after != before {
			return "outside is " + after
		}
		return ""
	}}
}

// describe is the state of a folder and all below it, in one text.
func describe(folder string) string {
	var out []string
	_ = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			out = append(out, err.Error())
			return nil
		}
		info, err := d.Info()
		if err != nil {
			out = append(out, err.Error())
			return nil
		}
		data, _ := os.ReadFile(path)
		attributes := make([]byte, 256)
		n, _ := unix.Listxattr(path, attributes)
		out = append(out, fmt.Sprint(path, info.Mode(), info.ModTime(), string(data), string(attributes[:max(n, 0)])))
		return nil
	})
	sort.Strings(out)
	return strings.Join(out, "\n")
}

// setListener listens on a socket and counts who comes.
func setListener(network, address string) func(t *testing.T) trap {
	return func(t *testing.T) trap {
		where := address
		switch {
		case network == "unix" && address == "":
			dir, err := os.MkdirTemp("", "s") // such paths may not be long
			require.NoError(t, err)
			t.Cleanup(func() { os.RemoveAll(dir) })
			where = filepath.Join(dir, "socket")
		case network == "unix":
			where = fmt.Sprintf("@agent-sandbox-%d-%d", os.Getpid(), time.Now().UnixNano())
		}
		l, err := net.Listen(network, where)
		require.NoError(t, err)
		var came atomic.Int64
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				came.Add(1)
				conn.Close()
			}
		}()
		t.Cleanup(func() { l.Close() })
		return trap{args: []string{network + "=" + l.Addr().String()}, caught: func(output string) string {
			return reached(output, func() bool { return came.Load() > 0 })
		}}
	}
}

// reached waits a little for what has been sent to arrive, if the attack says
// that it sent something.
func reached(output string, arrived func() bool) string {
	for range 100 {
		if arrived() {
			return "it was reached"
		}
		if !strings.Contains(output, "sent") {
			return ""
		}
		time.Sleep(20 * time.Millisecond)
	}
	return ""
}

// packetTrap listens for packets on the loopback.
func packetTrap(t *testing.T) (address string, came *atomic.Int64) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	came = new(atomic.Int64)
	go func() {
		for {
			if _, _, err := conn.ReadFrom(make([]byte, 2000)); err != nil {
				return
			}
			came.Add(1)
		}
	}()
	return conn.LocalAddr().String(), came
}

func setPacketTrap(t *testing.T) trap {
	address, came := packetTrap(t)
	return trap{args: []string{"udp=" + address}, caught: func(output string) string {
		return reached(output, func() bool { return came.Load() > 0 })
	}}
}

func setNameServer(t *testing.T) trap {
	address, came := packetTrap(t)
	return trap{args: []string{address}, caught: func(output string) string {
		if came.Load() > 0 {
			return "the name server was asked"
		}
		return contains("<nil>")(output)
	}}
}

// victim is a process outside that holds a secret.
type victim struct {
	cmd  *exec.Cmd
	dead chan struct{}
}

func startVictim(t *testing.T) *victim {
	exe, err := os.Executable()
	require.NoError(t, err)
	v := &victim{cmd: exec.Command(exe), dead: make(chan struct{})}
	v.cmd.Env = append(os.Environ(), attackVar+"=wait", "VICTIM_SECRET="+canary)
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, v.cmd.Start())
	go func() {
		_ = v.cmd.Wait()
		close(v.dead)
	}()
	t.Cleanup(func() {
		_ = v.cmd.Process.Kill()
		<-v.dead
	})
	return v
}

func (v *victim) pid() string { return fmt.Sprint(v.cmd.Process.Pid) }

// setSignals asks afterwards whether the process is still there. A process that
// was killed is seen to be so when a further signal can't reach it.
func setSignals(t *testing.T) trap {
	v := startVictim(t)
	return trap{args: []string{v.pid()}, caught: func(string) string {
		for range 10 {
			select {
			case <-v.dead:
				return "the process outside is dead"
			case <-time.After(20 * time.Millisecond):
			}
		}
		return ""
	}}
}

// setKeyring looks for the key as the same user outside.
func setKeyring(t *testing.T) trap {
	name := fmt.Sprintf("agent-escape-%d", time.Now().UnixNano())
	return trap{args: []string{name}, caught: func(output string) string {
		if id, err := unix.KeyctlSearch(unix.KEY_SPEC_USER_KEYRING, "user", name, 0); err == nil {
			return fmt.Sprintf("key %d is outside", id)
		}
		return ""
	}}
}

func setMount(t *testing.T) trap {
	name := fmt.Sprintf("agent-escape-%d", time.Now().UnixNano())
	return trap{args: []string{name}, caught: func(output string) string {
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return err.Error()
		}
		if bytes.Contains(mounts, []byte(name)) {
			return "it is mounted outside"
		}
		if strings.Contains(output, "<nil>") || !strings.Contains(output, "mounted entries: 0") {
			return "it could mount"
		}
		return ""
	}}
}

// TestDaemonsEndWithTheJob leaves processes behind that belong to nobody, when
// the job ends and when its time is over.
func TestDaemonsEndWithTheJob(t *testing.T) {
	eachPlan(t, func(t *testing.T, p plan) {
		for name, wall := range map[string]time.Duration{"the job ends": time.Minute, "its time is over": 2 * time.Second} {
			mark := fmt.Sprintf("daemon-%d", time.Now().UnixNano())
			var dir string
			out, err := attackConfined(t, p, "daemon", []string{mark}, func(j *Job) {
				dir, j.Limits.Wall = j.Dir, wall
				if wall < time.Minute {
					j.Args = append(j.Args, "stay")
				}
			})
			require.NoError(t, err, name)
			assert.Empty(t, processesWith(t, mark), name)
			if wall == time.Minute {
				assert.Contains(t, string(out.Head), "daemon lives", name)
			} else {
				assert.True(t, out.TimedOut, name)
			}
			if _, err := os.Stat(filepath.Join(dir, "alive")); err != nil {
				t.Logf("%s: the machine was too slow for a daemon to live", name)
				continue
			}
			assertStill(t, filepath.Join(dir, "alive"))
		}
	})
}

// assertStill sees that nobody writes a file any more.
func assertStill(t *testing.T, path string) {
	t.Helper()
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	time.Sleep(300 * time.Millisecond)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after))
}

// TestBombs take more than a job may, by processes that are each within their
// own limits. All of it is gone afterwards.
func TestBombs(t *testing.T) {
	for _, bomb := range []struct {
		name, script, exceeded string
		limits                 Limits
	}{
		{"memory", "for i in 1 2 3 4; do (head -c 60000000 /dev/zero; exec sleep MARK) | tail -c 60000000 & done; wait; echo survived", exceededMemory,
			Limits{MemoryBytes: 100 << 20}},
		{"disk", "i=0; while [ $i -lt 4000 ]; do head -c 1000000 /dev/zero > f$i; i=$((i+1)); done; echo survived", exceededDisk,
			Limits{DiskBytes: 50 << 20, FileBytes: 2 << 20}},
		{"processes", "n=0; while [ $n -lt 2000 ]; do sleep MARK & n=$((n+1)); done 2>/dev/null; echo survived; wait", "",
			Limits{Processes: 50}},
	} {
		t.Run(bomb.name, func(t *testing.T) {
			eachPlan(t, func(t *testing.T, p plan) {
				mark := fmt.Sprintf("94%d", time.Now().UnixNano()%1e9)
				if free, ok := roomOf(t.TempDir()); bomb.name == "disk" && (!ok || free.bytes < 1<<30) {
					t.Skip("needs 1 GiB of free disk")
				}
				limits := bomb.limits
				limits.Wall = 30 * time.Second
				if bomb.name == "processes" {
					limits.Wall = 5 * time.Second // a shell that can't fork tries again and again
				}
				out := shell(t, p, t.TempDir(), strings.ReplaceAll(bomb.script, "MARK", mark), func(j *Job) { j.Limits = limits.orDefaults() })
				assert.NotContains(t, string(out.Head), "survived")
				assert.Empty(t, processesWith(t, mark))
				if bomb.exceeded != "" {
					assert.Equal(t, bomb.exceeded, out.Exceeded)
				}
			})
		})
	}
}

// TestBombsOnAnotherDisk fill a folder that a job may write besides its own.
func TestBombsOnAnotherDisk(t *testing.T) {
	eachPlan(t, func(t *testing.T, p plan) {
		dir, other := t.TempDir(), dirInMemory(t)
		var here, there unix.Stat_t
		require.NoError(t, errors.Join(unix.Stat(dir, &here), unix.Stat(other, &there)))
		if free, ok := roomOf(other); here.Dev == there.Dev || !ok || free.bytes < 1<<30 {
			t.Skip("needs 1 GiB on another disk than that of temporary files")
		}
		script := "cd '" + other + "' || exit; i=0; while [ $i -lt 200 ]; do head -c 1000000 /dev/zero > f$i; i=$((i+1)); done; sleep 5; echo survived"
		out := shell(t, p, dir, script, func(j *Job) {
			j.Writable = []string{other}
			j.Limits = Limits{DiskBytes: 50 << 20, FileBytes: 2 << 20, Wall: 30 * time.Second}.orDefaults()
		})
		assert.Equal(t, exceededDisk, out.Exceeded)
		assert.NotContains(t, string(out.Head), "survived")
	})
}

// TestNetworkWhenAllowed: a job that may have the network reaches it, and
// nothing else that is outside.
func TestNetworkWhenAllowed(t *testing.T) {
	eachPlan(t, func(t *testing.T, p plan) {
		allowed := func(j *Job) { j.Network = true }
		for _, name := range []string{"TCP", "UDP", "unix socket", "abstract socket", "services in the work dir", "keys of ssh", "environ of processes", "signals"} {
			i := indexOf(name)
			require.GreaterOrEqual(t, i, 0)
			e := escapes()[i]
			trap := e.set(t)
			out, err := attackConfined(t, p, e.attack, trap.args, func(j *Job) { trap.into(j); allowed(j) })
			require.NoError(t, err)
			caught := trap.caught(string(out.Head))
			if name == "TCP" || name == "UDP" {
				assert.NotEmpty(t, caught, "%s must work: %s", name, out.Head)
			} else {
				assert.Empty(t, caught, "%s: %s", name, out.Head)
			}
		}
	})
}

func indexOf(name string) int {
	for i, e := range escapes() {
		if e.name == name {
			return i
		}
	}
	return -1
}

// TestRepositories: a job can't change a repository of the work dir, wherever
// it lies, and one that it makes is put out of use.
func TestRepositories(t *testing.T) {
	eachPlan(t, func(t *testing.T, p plan) {
		dir := t.TempDir()
		made := shell(t, p, dir, "mkdir -p .git/hooks deep/er/.git; echo x > .git/hooks/post-checkout; echo gitdir: /elsewhere > deep/.git; chmod 500 deep/er")
		assert.Equal(t, 0, made.ExitCode)
		assert.ElementsMatch(t, []string{"git-set-aside-1", "deep/git-set-aside-1", "deep/er/git-set-aside-1"}, made.SetAside)
		assert.Empty(t, repositoriesIn(t, dir))

		for _, path := range []string{".git/hooks", "sub/.git/hooks"} {
			require.NoError(t, os.MkdirAll(filepath.Join(dir, path), 0o755))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".git", "config"), []byte(canary), 0o644))
		script := "echo x > .git/hooks/pre-commit; echo x > .git/config; rm -rf .git; mv .git gone; chmod 777 .git; echo x > sub/.git/hooks/pre-commit; ln -sf /bin .git/hooks; mv sub moved; mkdir -p sub/.git; cat .git/config"
		if !p.protects() {
			_, err := shellContext(t, context.Background(), p, dir, script)
			var refused *RefusedError
			require.ErrorAs(t, err, &refused, "what can't be protected is not put at risk")
			assert.ErrorContains(t, err, ".git in the work dir")
			return
		}
		out := shell(t, p, dir, script)
		assert.Contains(t, string(out.Head), canary, "it can be read")
		data, err := os.ReadFile(filepath.Join(dir, ".git", "config"))
		require.NoError(t, err)
		assert.Equal(t, canary, string(data))
		assert.NoFileExists(t, filepath.Join(dir, ".git", "hooks", "pre-commit"))
		assert.NoFileExists(t, filepath.Join(dir, "moved", ".git", "hooks", "pre-commit"))
		assert.Len(t, out.SetAside, 2, "both the moved one and its replacement are not where a repository was")
	})
}

// TestRepositoryLinks: a link named .git leads nobody out.
func TestRepositoryLinks(t *testing.T) {
	outside := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(outside, ".git"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(outside, "secret"), []byte(canary), 0o644))
	before := describe(outside)
	eachPlan(t, func(t *testing.T, p plan) {
		if !p.protects() {
			t.Skip("needs a private root")
		}
		parent := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(parent, "secret"), []byte(canary), 0o644))
		for _, target := range []string{outside, "..", filepath.Join(outside, ".git")} {
			dir := filepath.Join(parent, "dir")
			require.NoError(t, os.MkdirAll(dir, 0o755))
			require.NoError(t, os.Symlink(target, filepath.Join(dir, ".git")))
			out := shell(t, p, dir, "cat .git/secret ../secret; ls -a .git/ ..; echo x > .git/new")
			assert.NotContains(t, string(out.Head), canary, target)
			require.NoError(t, os.RemoveAll(dir))
		}
	})
	assert.Equal(t, before, describe(outside))
}

// TestSetAsideFollowsNoLinks renames repositories while a folder above them is
// swapped for a link that leads out, as a job on the same work dir could do.
func TestSetAsideFollowsNoLinks(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(outside, ".git"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "real"), 0o755))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "fake")))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				err := unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, "real"), unix.AT_FDCWD, filepath.Join(dir, "fake"), unix.RENAME_EXCHANGE)
				if err != nil && !errors.Is(err, unix.ENOENT) {
					return
				}
			}
		}
	}()
	for range 500 {
		_ = os.Mkdir(filepath.Join(dir, "real", ".git"), 0o755)
		_, _ = (&survey{}).setAsideNew(dir)
	}
	close(stop)
	<-done
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.Equal(t, ".git", entries[0].Name())
}

// ordinaryUID is the user that the tests run as once more when they run as
// root; nobody, nearly everywhere.
const ordinaryUID = 65534

// TestAsOrdinaryUser runs the tests of what is contained once more without the
// rights of root, or all of this package with AGENT_TEST_FULL=1.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root; these tests run as an ordinary user already")
	}
	if raceEnabled {
		t.Skip("needs a build without the race detector, which can't start under a memory limit")
	}
	tests := "^Test(Escapes|Daemons.*|Bombs|Network.*|Repositor.*|Files.*|Nothing.*)$"
	if os.Getenv("AGENT_TEST_FULL") != "" {
		tests = "."
	}
	assert.Contains(t, anotherRun(t, programForAll(t), ordinaryUID, tests), "--- PASS: TestEscapes", "the tests really ran")
}

func copyProgram(to string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(exe)
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Chmod(0o755), f.Close())
}
