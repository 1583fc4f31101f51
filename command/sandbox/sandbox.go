// Package sandbox runs a program that nobody vouches for: it sees the system's
// libraries and one folder, which it may write but for its repositories, and no network
// unless the job may have it; it has limits for time, memory, disk, output and
// processes; and nothing of it is left when Run returns, whatever it forked.
//
// On Linux the program re-executes itself twice: as an init that owns the
// process namespace and reaps and kills, and as a launcher that locks itself in
// and then becomes the program to run. Which mechanisms the kernel offers is
// found out by trying them ([Sandbox.Probe]): user, mount, PID and network
// namespaces with a private root, Landlock, and a seccomp filter. Files and
// network must each be confined by at least one of them, else Run refuses.
// Elsewhere Run refuses, unless the job allows running unconfined.
//
// The re-execution is recognised when this package is initialised, before main,
// so that every program that imports it can run jobs, tests included, and none
// can re-execute itself without end because it forgot a call.
package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Job is one program to run.
type Job struct {
	Path  string   // absolute path of the program
	Args  []string // without the program's name
	Dir   string   // absolute; the working folder and the only one that can be written
	Stdin []byte   // then end of file
	// Start is the folder it starts in, when that is not Dir: one of ReadOnly.
	Start string
	// SplitStderr keeps stderr out of Head and Tail; its end is in Stderr.
	SplitStderr bool
	// Env is added to a minimal environment; nothing else is inherited.
	Env []string
	// ReadOnly are files and folders that can be read and executed besides the
	// system's libraries and programs. What does not exist is skipped.
	ReadOnly []string
	// Writable are folders besides Dir that the program may write; they exist.
	Writable []string
	// Network lets the program reach the network, this machine's own services
	// included. It is for commands that declare it and were allowed.
	Network bool
	Limits  Limits
	// AllowUnconfined runs the job even where it can't be confined.
	AllowUnconfined bool
}

// Limits of a job. Zero fields mean the defaults of DefaultLimits.
type Limits struct {
	Wall        time.Duration // then everything is killed
	MemoryBytes int64         // address space of each process, and memory of all together
	FileBytes   int64         // size of each file written
	DiskBytes   int64         // by which the disk's free space may fall while it runs
	Files       int           // by which the files of the disk may grow meanwhile
	OutputBytes int           // kept of stdout and stderr together
	Processes   int           // processes and threads at one time
}

// DefaultLimits suit a script of a few seconds.
func DefaultLimits() Limits {
	return Limits{
		Wall:        time.Minute,
		MemoryBytes: 2 << 30,
		FileBytes:   256 << 20,
		DiskBytes:   2 << 30,
		Files:       200_000,
		OutputBytes: 64 << 10,
		Processes:   256,
	}
}

func (l Limits) orDefaults() Limits {
	d := DefaultLimits()
	l.Wall = cmp.Or(max(l.Wall, 0), d.Wall)
	l.MemoryBytes = cmp.Or(max(l.MemoryBytes, 0), d.MemoryBytes)
	l.FileBytes = cmp.Or(max(l.FileBytes, 0), d.FileBytes)
	l.DiskBytes = cmp.Or(max(l.DiskBytes, 0), d.DiskBytes)
	l.Files = cmp.Or(max(l.Files, 0), d.Files)
	l.OutputBytes = cmp.Or(max(l.OutputBytes, 0), d.OutputBytes)
	l.Processes = cmp.Or(max(l.Processes, 0), d.Processes)
	return l
}

// errWall tells a job's own time limit from a deadline of the caller.
var errWall = errors.New("the job's time limit")

// Outcome is how a job ended.
type Outcome struct {
	// Head and Tail are the start and end of stdout and stderr, interleaved as
	// they were written; Dropped bytes between them were not kept.
	Head, Tail []byte
	Dropped    int64
	Stderr     []byte // end of stderr, when Job.SplitStderr asks for it apart
	ExitCode   int    // -1 when a signal ended it
	Signal     string // name of that signal
	TimedOut   bool   // the wall limit was reached
	Flooded    bool   // it was killed for printing without end
	// Exceeded names what the job took more of than it may, all its processes
	// together, and was killed for: "memory", "processes", "disk" or "files".
	Exceeded string
	// SetAside are repositories that it made in Dir, under the names that they
	// were given to put them out of use, or their HEADs where their name is not
	// what makes them repositories: a person's next git command would run their
	// hooks outside. A name that can't stand in a line as it is is quoted.
	SetAside []string
	// Left are files that it wrote to its temporary folder and left there, the first
	// ten; they are gone.
	Left     []string
	Wall     time.Duration
	Confined bool
}

// RefusedError says that a job did not run because it could not be confined.
type RefusedError struct {
	Reasons []string
	// Unseen: it is not the system that stands in the way but the work dir, in
	// which repositories may be that could not be made read-only.
	Unseen bool
	// Repository is what stands in the way: a repository that this system can't
	// make read-only, though it can confine a program.
	Repository string
}

func (e *RefusedError) Error() string {
	if e.Unseen {
		return "sandbox: the work dir can't be searched for git repositories, which a program must not change: " +
			strings.Join(e.Reasons, "; ")
	}
	if e.Repository != "" {
		return fmt.Sprintf(
			"sandbox: %s is a git repository, which this system can't keep from a program that may write around "+
				"it: %s", e.Repository, strings.Join(e.Reasons, "; "))
	}
	return "sandbox: this system can't confine a program: " + strings.Join(e.Reasons, "; ")
}

// Refused marks the error as a refusal, for code that does not know its type.
func (e *RefusedError) Refused() bool { return true }

// Hint says how to allow it anyway.
func (e *RefusedError) Hint() string {
	if e.Unseen {
		return "choose a smaller folder as the work dir, or make what is named readable or take it away, or " +
			"accept the risk with --allow-unsandboxed"
	}
	if e.Repository != "" {
		return "choose a work dir without a repository, or let this program mount: user namespaces, or a " +
			"container with --cap-add SYS_ADMIN; or accept the risk with --allow-unsandboxed"
	}
	return "allow user namespaces (on Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0), or " +
		"accept the risk with --allow-unsandboxed"
}

// Report says what a system offers for confinement.
type Report struct {
	// Files and Network say what confines each: "private root + Landlock 7",
	// empty when nothing does.
	Files, Network, Processes string
	// Reasons say why better ways do not work here.
	Reasons []string
}

// Confined reports whether jobs run confined on this system.
func (r Report) Confined() bool { return r.Files != "" && r.Network != "" }

// Sandbox runs jobs. It finds out once what the system offers. The zero value
// is ready to use; methods are safe for concurrent use.
type Sandbox struct {
	mu    sync.Mutex
	found *discovery
}

// discovery is the result of trying the mechanisms.
type discovery struct {
	plan   plan
	report Report
}

// Probe tries what this system offers and describes it, for `agent doctor`.
func (s *Sandbox) Probe(ctx context.Context) (Report, error) {
	d, err := s.discover(ctx)
	return d.report, err
}

func (s *Sandbox) discover(ctx context.Context) (discovery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.found == nil {
		d, err := probe(ctx)
		if err != nil {
			return discovery{}, err
		}
		s.found = &d
	}
	return *s.found, nil
}

// Check says why a job in a folder would be refused, or nil.
func (s *Sandbox) Check(ctx context.Context, dir string) error {
	d, err := s.discover(ctx)
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	if !d.report.Confined() {
		return &RefusedError{Reasons: d.report.Reasons}
	}
	_, err = repositoriesBefore(ctx, Job{Dir: dir}, d.plan)
	return err
}

// tempError is a system without a folder for temporary files.
type tempError struct{ err error }

func (e *tempError) Error() string { return "no folder for temporary files: " + e.err.Error() }
func (e *tempError) Unwrap() error { return e.err }

// Hint says what to do.
func (e *tempError) Hint() string { return "set TMPDIR to a folder that can be written" }

// Run runs a job to its end. An error means that it could not be run or that
// ctx was cancelled; how the program ended is in the Outcome.
func (s *Sandbox) Run(ctx context.Context, job Job) (*Outcome, error) {
	if err := job.check(); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	job.Limits = job.Limits.orDefaults()
	d, err := s.discover(ctx)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	if !d.report.Confined() && !job.AllowUnconfined {
		return nil, &RefusedError{Reasons: d.report.Reasons}
	}
	out, err := run(ctx, job, d.plan)
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		if !refused.Unseen {
			refused.Reasons = append(refused.Reasons, d.report.Reasons...)
		}
		return nil, refused
	}
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	out.Confined = d.report.Confined()
	return out, nil
}

// run runs a job under a plan and keeps repositories out of its reach.
func run(ctx context.Context, job Job, p plan) (*Outcome, error) {
	before, err := repositoriesBefore(ctx, job, p)
	if err != nil {
		return nil, err
	}
	out, err := execute(ctx, job, p, before.paths())
	aside, asideErr := before.setAsideNew(job.Dir)
	if err := errors.Join(err, asideErr); err != nil {
		return nil, err
	}
	out.SetAside = aside
	return out, nil
}

// startFolder is the folder that the program starts in.
func (j *Job) startFolder() string {
	if j.Start != "" {
		return j.Start
	}
	return j.Dir
}

func (j *Job) check() error {
	if !filepath.IsAbs(j.Path) || !filepath.IsAbs(j.Dir) {
		return fmt.Errorf("program %q and folder %q must be absolute paths", j.Path, j.Dir)
	}
	if j.Start != "" && !filepath.IsAbs(j.Start) {
		return fmt.Errorf("folder %q must be an absolute path", j.Start)
	}
	j.Dir = filepath.Clean(j.Dir)
	if filepath.Dir(j.Dir) == j.Dir {
		return errors.New("the root of the file system can't be the work dir; choose a folder")
	}
	info, err := os.Stat(j.Dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no folder", j.Dir)
	}
	return nil
}

// environment is what a job starts with: nothing of this process, whose variables
// may hold secrets.
func environment(job Job, tmp string) []string {
	env := []string{
		"PATH=" + filepath.Dir(job.Path) + string(os.PathListSeparator) + systemPath,
		"HOME=" + tmp,
		"TMPDIR=" + tmp,
		"LANG=C.UTF-8",
	}
	return append(env, job.Env...)
}
