package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// plan is a set of mechanisms that work together on this system.
type plan struct {
	User       bool // a user namespace, so that the others need no privileges
	Namespaces bool // PID, network, IPC and host name
	View       bool // a private root with only what the job may see
	Landlock   int  // ABI version, 0 without
	Seccomp    bool
}

// plans lists what to try, strongest first. All use the filter: nothing else
// keeps a job from local sockets of the work dir, from files that make others
// root, and from memory that belongs to no visible process.
func plans() []plan {
	landlock := landlockABI()
	if !seccompWorks() {
		return nil
	}
	var out []plan
	add := func(p plan) {
		p.Landlock, p.Seccomp = landlock, true
		if p.files() != "" {
			out = append(out, p)
		}
	}
	add(plan{User: true, Namespaces: true, View: true})
	add(plan{User: true, Namespaces: true})
	if os.Geteuid() == 0 {
		add(plan{Namespaces: true, View: true})
		add(plan{Namespaces: true})
	}
	add(plan{})
	return out
}

func (p plan) files() string {
	var by []string
	if p.View {
		by = append(by, "private root")
	}
	if p.Landlock > 0 {
		by = append(by, fmt.Sprintf("Landlock %d", p.Landlock))
	}
	return strings.Join(by, " + ")
}

func (p plan) network() string {
	var by []string
	if p.Namespaces {
		by = append(by, "network namespace")
	}
	if p.Seccomp {
		by = append(by, "seccomp")
	}
	return strings.Join(by, " + ")
}

func (p plan) processes() string {
	if p.Namespaces {
		return "PID namespace"
	}
	return "process tree"
}

func (p plan) String() string {
	if p == (plan{}) {
		return "nothing"
	}
	return "files: " + p.files() + ", network: " + p.network() + ", processes: " + p.processes()
}

// protects reports whether parts of the work dir can be made read-only: only a
// private root can exclude a folder from a writable one.
func (p plan) protects() bool { return p.View }

// attributes are the namespaces that the init starts in. The private root
// comes later, with the launcher.
func (o *order) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if o.Plan.Namespaces {
		attr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	}
	if o.Plan.Namespaces && !o.Job.Network {
		attr.Cloneflags |= unix.CLONE_NEWNET
	}
	if o.Plan.User {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return attr
}

// probe tries the plans in order and returns the first that really confines.
func probe(ctx context.Context) (discovery, error) {
	temporary, err := os.MkdirTemp("", "agent-sandbox-probe-")
	if err != nil {
		return discovery{}, &tempError{err} // and no fault of what confines
	}
	os.RemoveAll(temporary)
	var reasons []string
	all := plans()
	if len(all) == 0 {
		reasons = []string{
			"there are no seccomp filters; they need Linux on amd64 or arm64, and a kernel and container " +
				"that have them"}
	}
	for _, p := range all {
		err := try(ctx, p)
		if err == nil {
			return discovery{p, Report{
				Files: p.files(), Network: p.network(), Processes: p.processes(), Reasons: reasons,
			}}, nil
		}
		if ctx.Err() != nil {
			return discovery{}, ctx.Err()
		}
		reasons = append(reasons, fmt.Sprintf("%s: %v", p, err))
	}
	return discovery{plan{}, Report{Reasons: reasons}}, nil
}

// try runs the self-test of the launcher under a plan: a file outside must not
// open, and a listening port must not be reached.
func try(ctx context.Context, p plan) error {
	outside, err := os.MkdirTemp("", "agent-sandbox-probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(outside)
	dir := filepath.Join(outside, "dir")
	canary := filepath.Join(outside, "canary")
	if err := errors.Join(os.Mkdir(dir, 0o755),
		os.WriteFile(canary, []byte("canary"), 0o644)); err != nil {
		return err
	}
	o := order{Plan: p, Canary: canary,
		Job: Job{Path: "/proc/self/exe", Dir: dir, Limits: Limits{Wall: 10 * time.Second}.orDefaults()}}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err == nil {
		defer listener.Close()
		o.Listener = listener.Addr().(*net.TCPAddr).Port
	}
	out, err := o.run(ctx)
	switch {
	case err != nil:
		return err
	case out.TimedOut:
		return errors.New("the self-test took too long")
	case out.ExitCode != 0:
		return fmt.Errorf("the self-test found a leak: %s", strings.TrimSpace(string(out.Head)))
	}
	return nil
}
