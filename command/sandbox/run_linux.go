package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const systemPath = "/usr/local/bin:/usr/bin:/bin"

// The names under which this program re-executes itself.
const (
	initName   = "agent-sandbox-init"
	launchName = "agent-sandbox-launch"
)

func init() {
	switch os.Args[0] {
	case initName:
		os.Exit(initMain())
	case launchName:
		os.Exit(launchMain())
	}
}

// killGrace is how long the init may take to kill everything before it is killed
// itself, which ends the rest.
const killGrace = 2 * time.Second

// order is what the init and the launcher are told, as JSON on a pipe.
type order struct {
	Job  Job
	Plan plan
	// read-only within the job's folder, slash-separated; JSON takes only bytes as they are
	Protect [][]byte
	Env     []string
	// Scratch is an empty folder of this job: the place to mount the private
	// root, or the job's temporary folder when there is none.
	Scratch string
	// Canary and Listener turn the launcher into a test of the confinement: it
	// must fail to open the one and to connect to the other.
	Canary   string
	Listener int // TCP port on 127.0.0.1
}

// status is what the init reports, as JSON on a pipe.
type status struct {
	ExitCode int
	Signal   int
	Error    string // the program was not started
	Left     []string
}

// execute runs a job under a plan.
func execute(ctx context.Context, job Job, p plan, protect [][]byte) (*Outcome, error) {
	o := order{Job: job, Plan: p, Protect: protect}
	start := time.Now()
	out, err := o.run(ctx)
	if err := errors.Join(err, dropRoot(job, start)); err != nil {
		return nil, err
	}
	return out, nil
}

func (o *order) run(ctx context.Context) (*Outcome, error) {
	scratch, err := os.MkdirTemp("", "agent-sandbox-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	o.Scratch = scratch
	o.Env = environment(o.Job, o.tmp())
	stdin := o.Job.Stdin
	o.Job.Stdin = nil
	ctx, cancel := context.WithTimeoutCause(ctx, o.Job.Limits.Wall, errWall)
	defer cancel()
	child, err := o.start(ctx, stdin, cancel)
	if err != nil {
		return nil, err
	}
	child.watch = startWatch(child.cmd.Process.Pid, o, func(pids []int) { child.end(o.Plan, pids) })
	return child.wait(ctx)
}

// tmp is the temporary folder as the job sees it.
func (o *order) tmp() string {
	if o.Plan.View {
		return "/tmp"
	}
	return o.Scratch
}

// child is a running init.
type child struct {
	cmd      *exec.Cmd
	output   *capture
	stderr   *capture // nil: it goes to output
	status   *os.File // read end
	lifeline *os.File // write end: closing it makes the init kill everything
	watch    *watch
	start    time.Time
}

// start starts the init with its three pipes.
func (o *order) start(ctx context.Context, stdin []byte, stop func()) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var files pipes
	defer files.closeChildEnds()
	orderR, orderW := files.toChild()
	statusR, statusW := files.fromChild()
	lifeR, lifeW := files.toChild()
	if files.err != nil {
		files.closeAll()
		return nil, files.err
	}
	c := &child{output: newCapture(o.Job.Limits.OutputBytes, stop), status: statusR, lifeline: lifeW,
		start: time.Now()}
	c.cmd = exec.CommandContext(ctx, exe)
	c.cmd.Args = []string{initName}
	c.cmd.Dir = "/"
	c.cmd.Env = ownEnvironment()
	c.cmd.Stdin = bytes.NewReader(stdin)
	c.cmd.Stdout, c.cmd.Stderr = c.output, c.output
	if o.Job.SplitStderr {
		c.stderr = newTailCapture(stop)
		c.cmd.Stderr = c.stderr
	}
	c.cmd.ExtraFiles = []*os.File{orderR, statusW, lifeR}
	c.cmd.SysProcAttr = o.attributes()
	c.cmd.Cancel = lifeW.Close
	c.cmd.WaitDelay = killGrace
	if err := c.cmd.Start(); err != nil {
		files.closeAll()
		return nil, fmt.Errorf("start: %w", err)
	}
	err = json.NewEncoder(orderW).Encode(o)
	if closeErr := orderW.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		lifeW.Close()
		statusR.Close()
		_ = c.cmd.Wait()
		return nil, fmt.Errorf("start: %w", err)
	}
	return c, nil
}

// end kills the job at once. The init of a PID namespace takes all of it along;
// without one, a second pass kills what started since the processes were listed.
func (c *child) end(p plan, pids []int) {
	if p.Namespaces {
		_ = c.cmd.Process.Kill()
	} else {
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	c.lifeline.Close()
}

// ownEnvironment is what this program needs to start itself again.
func ownEnvironment() []string {
	env := []string{"GOMAXPROCS=2"}
	for _, name := range []string{"LD_LIBRARY_PATH", "GOCOVERDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// wait waits for the end of the job and tells how it ended.
func (c *child) wait(ctx context.Context) (*Outcome, error) {
	report, readErr := io.ReadAll(io.LimitReader(c.status, 64<<10))
	waitErr := c.cmd.Wait()
	c.status.Close()
	c.lifeline.Close()
	out := &Outcome{Wall: time.Since(c.start), ExitCode: -1, Exceeded: c.watch.stop()}
	c.output.fill(out)
	c.stderr.fillStderr(out)
	switch {
	case out.Flooded:
		return out, nil
	case context.Cause(ctx) == errWall:
		out.TimedOut = true
		return out, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case out.Exceeded != "":
		return out, nil
	}
	var st status
	if err := json.Unmarshal(report, &st); err != nil {
		return nil, fmt.Errorf("the sandbox's init ended early: %w", errors.Join(waitErr, readErr))
	}
	if st.Error != "" {
		return nil, errors.New(st.Error)
	}
	out.ExitCode, out.Left = st.ExitCode, st.Left
	if st.Signal != 0 {
		out.ExitCode, out.Signal = -1, unix.SignalName(syscall.Signal(st.Signal))
	}
	return out, nil
}

// pipes makes the pipes between this process and a child, and closes them.
type pipes struct {
	child, parent []*os.File
	err           error
}

func (p *pipes) toChild() (childEnd, parentEnd *os.File) {
	r, w := p.pipe()
	p.child, p.parent = append(p.child, r), append(p.parent, w)
	return r, w
}

func (p *pipes) fromChild() (parentEnd, childEnd *os.File) {
	r, w := p.pipe()
	p.child, p.parent = append(p.child, w), append(p.parent, r)
	return r, w
}

func (p *pipes) pipe() (r, w *os.File) {
	r, w, err := os.Pipe()
	if err != nil && p.err == nil {
		p.err = err
	}
	return r, w
}

func (p *pipes) closeChildEnds() {
	for _, f := range p.child {
		f.Close()
	}
}

func (p *pipes) closeAll() {
	p.closeChildEnds()
	for _, f := range p.parent {
		f.Close()
	}
}

// readOrder reads the order from the first inherited pipe.
func readOrder() (*order, error) {
	f := os.NewFile(3, "order")
	defer f.Close()
	var o order
	if err := json.NewDecoder(io.LimitReader(f, 16<<20)).Decode(&o); err != nil {
		return nil, fmt.Errorf("read order: %w", err)
	}
	return &o, nil
}

// systemPaths are readable for every job: libraries, programs, and the few files
// of /etc that the C library needs. None holds a secret.
func systemPaths() []string {
	return []string{
		"/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/gnu/store",
		"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives",
		"/etc/localtime", "/etc/timezone", "/etc/mime.types",
	}
}

// networkPaths are what programs need to find hosts and to verify them.
func networkPaths() []string {
	return []string{
		"/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf",
		"/etc/services", "/etc/protocols",
		"/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs",
		"/etc/pki/ca-trust/extracted", "/etc/ca-certificates",
	}
}

// devices are harmless and expected everywhere.
func devices() []string {
	return []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}
}

// readable lists what a job may read, as written and with links resolved, since
// programs use both forms.
func (o *order) readable() []string {
	var out []string
	seen := map[string]bool{}
	paths := append(systemPaths(), o.Job.ReadOnly...)
	if o.Job.Network {
		paths = append(paths, networkPaths()...)
	}
	for _, path := range paths {
		real, err := filepath.EvalSymlinks(path)
		if err != nil || real == "/" {
			continue
		}
		for _, p := range []string{filepath.Clean(path), real} {
			if !seen[p] {
				seen[p] = true
				out = append(out, p)
			}
		}
	}
	return out
}
