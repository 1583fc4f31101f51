package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"agent/command/sandbox"
	"agent/internal/cli"
	"agent/internal/exit"
	"agent/internal/legible"
	"agent/internal/setup"
	"agent/internal/terminal"
	"agent/session"
)

// runApp is the app with the flags of `agent run`, and of `agent sessions resume`.
type runApp struct {
	*app

	json, stream, text, multirun bool
	trust                        bool // use the commands of the work dir in this run
	resume                       string
	noSession                    bool
	disable                      []string
	values                       setup.Flags
}

func (a *app) runCmd() *cobra.Command {
	f := &runApp{app: a}
	cmd := &cobra.Command{
		Use:   "run [flags] [key=value …] TASK",
		Short: "Work on a task until it is answered",
		Long: `The main job: the agent works on the task with the files of the work dir, step by step, until it answers.
A task can also come on standard input.`,
		Example: `  agent run "Which of the CSV files here has the most rows?"
  agent run --model qwen2.5-coder-0.5b-instruct --approve auto "Sort names.txt into sorted.txt"
  agent run llm=openai llm.model_id=gpt-4o-mini --json "Summarise notes.md" | jq .
  git log -5 | agent run "Write a changelog entry of what comes on standard input"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.multirun {
				return f.sweep(cmd, args)
			}
			return f.run(cmd, args)
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.json, "json", false, "print events as JSON lines, and nothing else, on standard output")
	fl.BoolVar(&f.stream, "stream", false, "also show the model's text as it is written")
	fl.BoolVar(&f.text, "text", false, "use the plain JSON form of a turn also where the model could do better")
	fl.BoolVarP(&f.multirun, "multirun", "m", false,
		"run once for each value of overrides such as llm=hf,openai")
	fl.StringVar(&f.resume, "resume", "", "go on with the session `ID` (last: the newest)")
	fl.BoolVar(&f.noSession, "no-session", false,
		"keep no session file: the run can't be shown or resumed")
	bindWork(cmd, &f.values)
	fl.BoolVar(&f.trust, "trust", false,
		"use the commands that lie in commands/ of the work dir, in this run")
	fl.StringArrayVar(&f.disable, "disable", nil, "take the command `NAME` away (may be repeated)")
	return cmd
}

// bindWork adds the flags of how a task is worked on.
func bindWork(cmd *cobra.Command, values *setup.Flags) {
	fl := cmd.Flags()
	values.Bind(fl, "workdir", "agent.workdir", "", "work in this `folder`")
	values.Bind(fl, "approve", "agent.approve", "",
		"ask, auto or never: before what writes, runs or reaches out")
	values.Bind(fl, "overseer", "agent.overseer", "",
		"a `model` that also looks at what writes or runs: self, or e.g. \"openai model_id=gpt-4o-mini\"")
	values.Bind(fl, "qa", "agent.qa", false,
		"let the model check its answer, and go on if it falls short")
	values.Bind(fl, "max-steps", "agent.max_steps", 0, "stop after so many turns")
	values.Bind(fl, "max-tokens", "agent.max_tokens", 0,
		"stop after so many tokens, evaluated and generated")
	values.Bind(fl, "timeout", "agent.timeout", time.Duration(0), "stop after this time, such as 10m")
	values.Bind(fl, "seed", "llm.seed", 0, "of the random numbers of sampling")
	values.Bind(fl, "temperature", "llm.temperature", 0.0,
		"of sampling; 0 always takes the likeliest token")
	values.Bind(fl, "allow-unsandboxed", "agent.allow_unsandboxed", false,
		"run code although it can't be confined here")
	_ = cmd.RegisterFlagCompletionFunc("approve",
		cobra.FixedCompletions([]string{"ask", "auto", "never"}, cobra.ShellCompDirectiveNoFileComp))
}

// run composes, opens, runs and reports one task.
func (a *runApp) run(cmd *cobra.Command, args []string) error {
	cfg, rest, err := a.Compose(cmd, args, a.values.Values(), setup.RunSections()...)
	if err != nil {
		return err
	}
	// Where answers to questions come on standard input, it holds no task.
	answers := cfg.Agent.Approve == string(session.ApproveAsk) && !a.Attended()
	task, err := a.taskText(cmd.Context(), rest, answers)
	if err != nil {
		return err
	}
	_, err = a.once(cmd.Context(), cfg, task)
	return err
}

// once works on a task with one configuration. The result is nil when the
// work did not begin.
func (a *runApp) once(ctx context.Context, cfg *setup.Config, task string,
) (*session.Result, error) {
	run, err := setup.Open(ctx, setup.Settings{Host: &a.Host, Config: cfg, Approver: a.Approver(),
		Attended: a.Attended(),
		JSON:     a.json, Disable: a.disable, TrustCommands: a.trust, Stream: a.stream, Text: a.text,
		Resume: a.resume, OwnDir: a.values.Given("workdir"), NoSession: a.noSession})
	if err != nil {
		return nil, err
	}
	defer run.Close()
	unwatch := a.watch(run)
	result, err := a.work(ctx, task, run.Options)
	unwatch()
	if result != nil && !a.json {
		if result.Answer != "" {
			fmt.Fprintln(a.Out, result.Answer)
		}
		if !a.Quiet {
			fmt.Fprintf(a.Err, "\n%s%s: %s\n", run.Model.ModelID(), run.Model.Place(),
				session.SummaryLine(result))
		}
	}
	if err != nil {
		return result, runError(ctx, err)
	}
	return result, stopError(result, run.Options.SessionsDir != "")
}

// watch makes a run seen: as JSON lines, live on a terminal, or line by line.
// Call unwatch when it has ended. A person who plays the model has the terminal
// to themselves.
func (a *runApp) watch(run *setup.Run) (unwatch func()) {
	o := &run.Options
	if a.json {
		enc := json.NewEncoder(a.Out)
		enc.SetEscapeHTML(false)
		o.Sink = func(ev session.Event) { _ = enc.Encode(ev) }
		return func() {}
	}
	if !run.Model.Human() {
		if sink, unwatch, ok := a.Watch(o.Approver != nil); ok {
			o.Sink, o.Stream = sink, true
			return unwatch
		}
	}
	o.Sink = a.Events(a.stream, o.Approver != nil)
	return func() {}
}

// work runs a new session or goes on with an earlier one, and again for as long
// as its steps are used up and the person at the terminal lets it go on.
func (a *runApp) work(ctx context.Context, task string, opts session.Options,
) (*session.Result, error) {
	s, err := openRun(opts, a.resume)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for {
		r, err := s.Run(ctx, task)
		if err != nil || r.Stop != session.StopSteps || a.json || a.Quiet || !a.Attended() {
			return r, err
		}
		if r.Answer != "" {
			fmt.Fprintln(a.Err, session.Visible(r.Answer))
		}
		more, err := a.Confirm(ctx, fmt.Sprintf("%d steps are used up without an answer. Go on for as many more?", r.Steps))
		if err != nil || !more {
			return r, nil
		}
		task = "" // the same one
	}
}

func openRun(opts session.Options, resume string) (*session.Session, error) {
	if resume == "" {
		return session.New(opts)
	}
	path, err := session.Find(opts.SessionsDir, resume)
	if err != nil {
		return nil, err
	}
	return session.Resume(path, opts)
}

// sweep runs the task once for each combination of the overrides that have
// several values, one after another, and ends with a table.
func (a *runApp) sweep(cmd *cobra.Command, args []string) error {
	if a.resume != "" {
		return exit.Usagef("--multirun begins new runs; it can't go on with --resume")
	}
	ctx := cmd.Context()
	overrides, rest := cli.Split(cmd, args)
	jobs, err := a.Host.Sweep(overrides)
	if err != nil {
		return err
	}
	task, err := a.taskText(ctx, rest, false)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(a.Err, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "job\tended\tsteps\tseconds\tevaluated\treused\tgenerated\tanswer")
	var failures []error
	for i, job := range jobs {
		name := cli.ShownArgs(job)
		fmt.Fprintf(a.Err, "# job %d of %d: %s\n", i+1, len(jobs), name)
		var r *session.Result
		cfg, err := a.Host.Compose(ctx, job, a.values.Values(), setup.RunSections()...)
		if err == nil {
			r, err = a.once(ctx, cfg, task)
		}
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			failures = append(failures, err)
			a.Report(ctx, err)
		}
		fmt.Fprintf(table, "%s\t%s\n", name, sweepRow(r, err))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(failures) > 0 {
		return exit.With(exit.Shared(failures),
			fmt.Errorf("%d of %d jobs ended without an answer", len(failures), len(jobs)))
	}
	return nil
}

// sweepRow is the cells of a job after its name.
func sweepRow(r *session.Result, err error) string {
	if r == nil {
		return fmt.Sprintf("error\t\t\t\t\t\t%s", legible.Line(err.Error(), 40))
	}
	u := r.Usage
	return fmt.Sprintf("%s\t%d\t%.1f\t%d\t%d\t%d\t%s", r.Stop, r.Steps, float64(r.WallMS)/1000,
		u.EvaluatedTokens, u.CachedTokens, u.CompletionTokens,
		legible.Line(r.Answer, 40))
}

// taskText is the task: the arguments, and standard input when it is piped and
// not for answers.
func (a *runApp) taskText(ctx context.Context, args []string, answers bool) (string, error) {
	task := strings.Join(args, " ")
	if answers {
		if strings.TrimSpace(task) == "" && a.resume == "" {
			return "", exit.Usagef("no task given: with --approve ask standard input is for your answers, " +
				"so the task must be an argument")
		}
		return task, terminal.CheckText("the task", task)
	}
	piped, err := a.Piped(ctx)
	if err != nil {
		return "", err
	}
	if task = withPiped(task, piped); strings.TrimSpace(task) == "" && a.resume == "" {
		return "", exit.Usagef("no task given: agent run \"what to do\"; one that looks like a setting goes after --")
	}
	return task, terminal.CheckText("the task", task)
}

// withPiped puts what came on standard input below the words of the command line.
func withPiped(words, piped string) string {
	switch {
	case piped == "":
		return words
	case words == "":
		return piped
	}
	return words + "\n\n" + piped
}

// stopError makes the exit code of how a run ended.
func stopError(r *session.Result, kept bool) error {
	switch r.Stop {
	case session.StopAnswered:
		return nil
	case session.StopSteps, session.StopTokens, session.StopTime, session.StopLoop:
		return exit.With(exit.Budget, &stoppedError{r, kept})
	case session.StopRefused:
		return exit.With(exit.Refused, notAllowedError{})
	case session.StopUnmet:
		return exit.With(exit.Unmet, fmt.Errorf("not done: %s", r.Unmet))
	case session.StopInterrupted:
		return exit.ErrInterrupted
	}
	return fmt.Errorf("stopped: %s", r.Stop)
}

// runError finds the exit code of a run that failed.
func runError(ctx context.Context, err error) error {
	var be *session.BackendError
	var refused *sandbox.RefusedError
	switch {
	case ctx.Err() != nil:
		return exit.ErrInterrupted
	case errors.As(err, &refused):
		return exit.With(exit.Refused, err)
	case errors.As(err, &be):
		return backendError(err)
	}
	return err
}

// stoppedError is a run that a limit ended.
type stoppedError struct {
	result *session.Result
	kept   bool
}

func (e *stoppedError) Error() string {
	return fmt.Sprintf("stopped without an answer: %s", e.result.Stop)
}

// Hint says how to go on.
func (e *stoppedError) Hint() string {
	if !e.kept {
		return ""
	}
	return "agent sessions resume " + e.result.ID + " goes on from here"
}

// notAllowedError is a run that ended since nothing that it wanted to do was
// allowed.
type notAllowedError struct{}

func (notAllowedError) Error() string { return "stopped: what the task needs was refused" }

// Hint says how to allow it.
func (notAllowedError) Hint() string {
	return "the events above say what was refused and by whom; --approve ask or auto allows more, " +
		"agent.approve_rules just some of it"
}
