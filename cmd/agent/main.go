// Command agent runs a language-model agent with the model inside the process,
// and the same agent on OpenAI, FastChat or a human. See docs/ and `agent --help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"agent/backend"
	"agent/inference"
)

// Exit codes that scripts rely on.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitBudget      = 3
	exitRefused     = 4
	exitBackend     = 5
	exitInterrupted = 130
)

// exitError carries an exit code with an error.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// withCode makes err end the program with the given exit code.
func withCode(code int, err error) error {
	if err == nil {
		return nil
	}
	return &codedError{code, err}
}

// usagef is an error in how the command line was written.
func usagef(format string, args ...any) error {
	return withCode(exitUsage, fmt.Errorf(format, args...))
}

func main() {
	if code, child := inference.RunChild(); child {
		os.Exit(code)
	}
	os.Exit(mainCode(customBackends()))
}

// mainCode runs the program and returns its exit code, so that testscript can
// run it in a process of its own.
func mainCode(custom backend.Registry) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	out, endOut := toPerson(os.Stdout)
	defer endOut()
	err, endErr := toPerson(os.Stderr)
	defer endErr()
	a := &app{in: os.Stdin, out: out, err: err, custom: custom}
	return a.run(ctx, os.Args[1:])
}

// app is what every subcommand needs: the streams, the global flags, and the
// backends that were added to those built in.
type app struct {
	in       io.Reader
	out, err io.Writer
	flags    globalFlags
	custom   backend.Registry
	stopped  <-chan struct{}  // closed when the program is to end
	note     func(msg string) // told how a local model is used, where a command shows that

	toldRefused bool // which names of .env are not taken
}

// run executes one command line and reports its error, if any, as one line
// with an optional hint.
func (a *app) run(ctx context.Context, args []string) int {
	a.stopped = ctx.Done()
	root := a.rootCmd()
	root.SetArgs(args)
	out := &output{Writer: a.out}
	a.out = out
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	if out.err != nil && ctx.Err() == nil {
		err = out.err
	}
	if err == nil {
		return exitOK
	}
	return a.report(ctx, err)
}

// codeOf is the exit code that goes with an error.
func codeOf(err error) int {
	var coded *codedError
	if errors.As(err, &coded) {
		return coded.code
	}
	return exitError
}

// sharedCode is the exit code of several failures: the one that all have.
func sharedCode(failures []error) int {
	code := codeOf(failures[0])
	for _, err := range failures {
		if codeOf(err) != code {
			return exitError
		}
	}
	return code
}

// report prints an error the one way this program does, and picks the code.
func (a *app) report(ctx context.Context, err error) int {
	code := codeOf(err)
	if code == exitInterrupted || ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.err, "agent: interrupted")
		return exitInterrupted
	}
	fmt.Fprintf(a.err, "agent: error: %v\n", err)
	var hinter interface{ Hint() string }
	if errors.As(err, &hinter) && hinter.Hint() != "" {
		fmt.Fprintf(a.err, "agent: hint: %s\n", hinter.Hint())
	}
	return code
}
