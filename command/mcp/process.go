package mcp

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"agent/internal/group"
)

const (
	messageBytesMax = 8 << 20         // of one message of a server
	stderrBytesMax  = 2048            // kept of what a program prints, the end of it
	stopGrace       = 2 * time.Second // for a program to end by itself
)

// process is the program of a server.
type process struct {
	cmd    *exec.Cmd
	in     *os.File // its standard input
	out    *os.File // its standard output
	stderr *tail
	exited chan struct{}
	once   sync.Once
}

// startProcess starts a program in a process group of its own, in a folder,
// with a small environment.
func startProcess(c Server, dir string) (*process, error) {
	path, err := programPath(c.Command)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(path, c.Args...), stderr: &tail{max: stderrBytesMax},
		exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stderr = dir, environment(c.Env), p.stderr
	p.cmd.WaitDelay = stopGrace
	group.Own(p.cmd)
	theirIn, ourIn, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ourOut, theirOut, err := os.Pipe()
	if err != nil {
		closeAll(theirIn, ourIn)
		return nil, err
	}
	p.cmd.Stdin, p.cmd.Stdout, p.in, p.out = theirIn, theirOut, ourIn, ourOut
	err = p.cmd.Start()
	closeAll(theirIn, theirOut)
	if err != nil {
		closeAll(ourIn, ourOut)
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		_ = group.Kill(p.cmd.Process) // what it left behind would keep its output open
		close(p.exited)
	}()
	return p, nil
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// programPath finds a program in PATH; one that is given with a folder is
// relative to where the agent runs, not to where the program will.
func programPath(command string) (string, error) {
	path, err := exec.LookPath(command)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// stop closes the program's input, which tells it to end, and kills it with
// all that it started when it does not.
func (p *process) stop() {
	p.once.Do(func() {
		_ = p.in.Close()
		select {
		case <-p.exited:
		case <-time.After(stopGrace):
			_ = group.Kill(p.cmd.Process)
			<-p.exited
		}
	})
}

// kill ends the program at once, with all that it started. On nil it does nothing.
func (p *process) kill() {
	if p == nil {
		return
	}
	select {
	case <-p.exited:
	default:
		_ = group.Kill(p.cmd.Process)
	}
}

// printed is the end of what the program wrote to its standard error.
func (p *process) printed() string { return p.stderr.String() }

// environment is what a program gets: what every program needs, and what is
// configured for it. The agent's own variables may hold keys.
func environment(configured map[string]string) []string {
	names := []string{"PATH", "HOME", "LANG", "LC_ALL", "LOGNAME", "SHELL", "TERM", "TMPDIR", "TZ",
		"USER"}
	if runtime.GOOS == "windows" {
		names = []string{"APPDATA", "COMSPEC", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA", "PATH", "PATHEXT",
			"PROCESSOR_ARCHITECTURE",
			"PROGRAMFILES", "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "TMP", "USERNAME", "USERPROFILE"}
	}
	var env []string
	for _, name := range names {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	for name, value := range configured {
		env = append(env, name+"="+value)
	}
	slices.Sort(env[len(env)-len(configured):])
	return env // of a name given twice the last counts
}

// tail keeps the end of what is written to it.
type tail struct {
	max int

	mu   sync.Mutex
	kept []byte
	cut  bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cut = t.cut || len(p) > t.max
	t.kept = append(t.kept, p[max(0, len(p)-t.max):]...)
	if over := len(t.kept) - t.max; over > 0 {
		t.kept, t.cut = slices.Clone(t.kept[over:]), true
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.ToValidUTF8(string(t.kept), "")
	if t.cut {
		text = fmt.Sprintf("[only the last %d bytes] %s", t.max, text)
	}
	return text
}
