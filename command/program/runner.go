package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"agent/command"
	"agent/command/outcome"
	"agent/command/python"
	"agent/command/sandbox"
	"agent/internal/legible"
)

// Limits of the jobs that look at files before they are commands.
const (
	describeTimeout = 10 * time.Second // of one program answering --describe
	checkTimeout    = 30 * time.Second // of Python reading the files of a folder
	reportBytesMax  = 256 << 10        // of what such a job answers
)

// runner runs programs in the sandbox, and Python's parser on them.
type runner struct {
	limits           command.Limits // of jobs that look at files
	allowUnsandboxed bool           // for these

	sandbox sandbox.Sandbox
	python  python.Finder
}

// workspace is a folder of one job: the program's copy, which it can read, and
// an empty folder, which it can write.
type workspace struct{ dir, program, scratch string }

func newWorkspace() (workspace, error) {
	dir, err := os.MkdirTemp("", "agent-program-")
	if err != nil {
		return workspace{}, err
	}
	w := workspace{dir, filepath.Join(dir, "program"), filepath.Join(dir, "scratch")}
	if err := errors.Join(os.Mkdir(w.program, 0o700), os.Mkdir(w.scratch, 0o700)); err != nil {
		w.remove()
		return workspace{}, err
	}
	return w, nil
}

func (w workspace) remove() { _ = os.RemoveAll(w.dir) }

// run calls a program with a request on its standard input. It gets the access
// that it declared and no more.
func (r *runner) run(ctx context.Context, env *command.Env, p *Program, stdin []byte,
) (*sandbox.Outcome, error) {
	w, err := newWorkspace()
	if err != nil {
		return nil, err
	}
	defer w.remove()
	path, err := p.placeCopy(w.program)
	if err != nil {
		return nil, err
	}
	job := sandbox.Job{
		Path: path, Dir: w.scratch, ReadOnly: []string{w.program}, Stdin: stdin, SplitStderr: true,
		Limits: outcome.Limits(p.limits(env)), AllowUnconfined: env.AllowUnsandboxed,
		Env: outcome.ThreadPools(p.limits(env)),
	}
	if err := grant(&job, p, env); err != nil {
		return nil, err
	}
	if p.python {
		if err := r.throughPython(ctx, &job); err != nil {
			return nil, err
		}
	}
	out, err := r.sandbox.Run(ctx, job)
	if err != nil {
		return nil, err
	}
	out.Stderr = []byte(withoutFolder(string(out.Stderr), w.program))
	return out, nil
}

// grant gives a job the access that its program declared.
func grant(job *sandbox.Job, p *Program, env *command.Env) error {
	job.Network = slices.Contains(p.needs, needNetwork)
	dir, err := filepath.Abs(env.WorkDir)
	if err != nil {
		return err
	}
	switch {
	case slices.Contains(p.needs, needWrite):
		job.Dir = dir
	case slices.Contains(p.needs, needRead):
		job.Start = dir
		job.ReadOnly = append(job.ReadOnly, dir)
	}
	return nil
}

// throughPython makes a job run its program, or the given arguments, with Python.
func (r *runner) throughPython(ctx context.Context, job *sandbox.Job, args ...string) error {
	found, err := r.python.Find(ctx, "")
	if err != nil {
		return err
	}
	if len(args) == 0 {
		args = []string{job.Path}
	}
	job.Path, job.Args = found.Executable, python.Isolated(args...)
	job.ReadOnly = append(job.ReadOnly, found.Paths...)
	return nil
}

// lookLimits are those of a job that looks at files.
func (r *runner) lookLimits(wall time.Duration) sandbox.Limits {
	l := outcome.Limits(r.limits.OrDefaults())
	l.Wall, l.OutputBytes = wall, reportBytesMax
	return l
}

// describe asks an executable what it is.
func (r *runner) describe(ctx context.Context, name string, code []byte) ([]byte, error) {
	w, err := newWorkspace()
	if err != nil {
		return nil, err
	}
	defer w.remove()
	p := &Program{file: name, code: code}
	path, err := p.placeCopy(w.program)
	if err != nil {
		return nil, err
	}
	out, err := r.sandbox.Run(ctx, sandbox.Job{
		Path: path, Args: []string{"--describe"}, Dir: w.scratch, ReadOnly: []string{w.program},
		SplitStderr: true, Limits: r.lookLimits(describeTimeout), AllowUnconfined: r.allowUnsandboxed,
	})
	if err != nil {
		return nil, err
	}
	if out.ExitCode != 0 || out.Dropped > 0 {
		return nil, describeError(out)
	}
	return append(out.Head, out.Tail...), nil
}

func describeError(out *sandbox.Outcome) error {
	switch {
	case out.TimedOut:
		return fmt.Errorf("--describe did not answer within %s", describeTimeout)
	case out.Dropped > 0:
		return fmt.Errorf("--describe answered more than %d bytes", reportBytesMax)
	}
	return fmt.Errorf("--describe ended with exit code %d %s: %s", out.ExitCode, out.Signal,
		legible.Line(validText(out.Stderr), 300))
}

// source is Python code to look at.
type source struct {
	Name string `json:"name"`
	Code string `json:"code"`
}

// verdict is what Python says about a source.
type verdict struct {
	Line      int        `json:"line"` // of the error
	Error     string     `json:"error"`
	Functions []function `json:"functions"` // at the top level
	Loose     [][2]int   `json:"loose"`     // first and last lines of statements that run when the file is loaded
	Assigned  []string   `json:"assigned"`  // names set at the top level
	Stdin     bool       `json:"stdin"`     // it names sys.stdin or calls input
}

// function is one that a source defines.
type function struct {
	Name      string      `json:"name"`
	Line      int         `json:"line"`
	Arguments []parameter `json:"arguments"`
}

// parameter is an argument of a function.
type parameter struct {
	Name     string `json:"name"`
	Optional bool   `json:"optional"`
}

// check lets Python parse sources in one process, without running them. If that
// process fails, each source gets its own, so that one that breaks the parser
// does not affect the others.
func (r *runner) check(ctx context.Context, sources []source) ([]verdict, error) {
	if len(sources) == 0 {
		return nil, nil
	}
	verdicts, err := r.checkTogether(ctx, sources)
	if err == nil || len(sources) == 1 || ctx.Err() != nil {
		return verdicts, err
	}
	verdicts = make([]verdict, len(sources))
	for i := range sources {
		one, err := r.checkTogether(ctx, sources[i:i+1])
		var broke *parserError
		switch {
		case errors.As(err, &broke):
			verdicts[i] = verdict{Line: 1, Error: broke.Error()}
		case err != nil:
			return nil, err
		default:
			verdicts[i] = one[0]
		}
	}
	return verdicts, nil
}

// parserError is a Python process that ended without a verdict.
type parserError struct{ how string }

func (e *parserError) Error() string { return "python could not read it: " + e.how }

func (r *runner) checkTogether(ctx context.Context, sources []source) ([]verdict, error) {
	stdin, err := json.Marshal(sources)
	if err != nil {
		return nil, err
	}
	w, err := newWorkspace()
	if err != nil {
		return nil, err
	}
	defer w.remove()
	job := sandbox.Job{Dir: w.scratch, Stdin: stdin, SplitStderr: true,
		Limits: r.lookLimits(checkTimeout), AllowUnconfined: r.allowUnsandboxed}
	if err := r.throughPython(ctx, &job, "-c", texts.Text("check.py")); err != nil {
		return nil, err
	}
	out, err := r.sandbox.Run(ctx, job)
	if err != nil {
		return nil, err
	}
	var verdicts []verdict
	answer := append(out.Head, out.Tail...)
	if out.ExitCode != 0 || out.Dropped > 0 || json.Unmarshal(answer, &verdicts) != nil ||
		len(verdicts) != len(sources) {
		said := fmt.Sprintf("exit code %d %s %s", out.ExitCode, out.Signal, validText(out.Stderr))
		return nil, &parserError{legible.Line(said, 200)}
	}
	return verdicts, nil
}
