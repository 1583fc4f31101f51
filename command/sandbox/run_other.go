//go:build !linux

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"time"

	"agent/internal/group"
)

const systemPath = "/usr/local/bin:/usr/bin:/bin"

// plan is empty here: nothing of this system is used to confine a program.
type plan struct{}

func probe(context.Context) (discovery, error) {
	return discovery{report: Report{
		Processes: "process group",
		Reasons:   []string{"confinement needs Linux, this is " + runtime.GOOS},
	}}, nil
}

func (plan) protects() bool { return false }

// execute runs a job unconfined, with a time limit and an output limit.
func execute(ctx context.Context, job Job, _ plan, _ [][]byte) (*Outcome, error) {
	tmp, err := os.MkdirTemp("", "agent-sandbox-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	ctx, cancel := context.WithTimeoutCause(ctx, job.Limits.Wall, errWall)
	defer cancel()
	output := newCapture(job.Limits.OutputBytes, cancel)
	cmd := exec.CommandContext(ctx, job.Path, job.Args...)
	cmd.Dir, cmd.Env = job.startFolder(), append(environment(job, tmp), requiredEnvironment()...)
	cmd.Stdin = bytes.NewReader(job.Stdin)
	cmd.Stdout, cmd.Stderr = output, output
	var stderr *capture
	if job.SplitStderr {
		stderr = newTailCapture(cancel)
		cmd.Stderr = stderr
	}
	cmd.WaitDelay = 2 * time.Second
	group.Own(cmd)
	cmd.Cancel = func() error { return group.Kill(cmd.Process) }
	start := time.Now()
	err = cmd.Run()
	out := &Outcome{Wall: time.Since(start), ExitCode: -1}
	output.fill(out)
	stderr.fillStderr(out)
	out.TimedOut = context.Cause(ctx) == errWall
	var exit *exec.ExitError
	switch {
	case out.TimedOut || out.Flooded:
		return out, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.As(err, &exit):
		out.ExitCode, out.Signal = exit.ExitCode(), signalName(exit)
		return out, nil
	case err != nil:
		return nil, err
	}
	out.ExitCode = 0
	return out, nil
}
