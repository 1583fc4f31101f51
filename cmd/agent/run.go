package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"agent/backend"
	"agent/backend/hf"
	"agent/command"
	"agent/command/program"
	"agent/command/sandbox"
	"agent/internal/config"
	"agent/session"
)

// runFlags are the flags of `agent run` that are no configuration keys.
type runFlags struct {
	json, stream, text, multirun bool
	trust                        bool // use the commands of the work dir in this run
	resume                       string
	noSession                    bool
	values                       flagValues
}

func (a *app) runCmd() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [flags] [key=value …] TASK",
		Short: "Work on a task until it is answered",
		Long:  "The main job: the agent works on the task with the files of the work dir, step by step, until it answers.\nA task can also come on standard input.",
		Example: `  agent run "Which of the CSV files here has the most rows?"
  agent run --model qwen2.5-coder-0.5b-instruct --approve auto "Sort names.txt into sorted.txt"
  agent run llm=openai llm.model_id=gpt-4o-mini --json "Summarise notes.md" | jq .
  git log -5 | agent run "Write a changelog entry of what comes on standard input"`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runTask(cmd, args, &f) },
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.json, "json", false, "print events as JSON lines, and nothing else, on standard output")
	fl.BoolVar(&f.stream, "stream", false, "also show the model's text as it is written")
	fl.BoolVar(&f.text, "text", false, "use the plain JSON form of a turn also where the model could do better")
	fl.BoolVarP(&f.multirun, "multirun", "m", false, "run once for each value of overrides such as llm=hf,openai")
	fl.StringVar(&f.resume, "resume", "", "go on with the session `ID` (last: the newest)")
	fl.BoolVar(&f.noSession, "no-session", false, "keep no session file: the run can't be shown or resumed")
	f.values.bind(fl, "workdir", "agent.workdir", "", "work in this `folder`")
	f.values.bind(fl, "approve", "agent.approve", "", "ask, auto or never: before what writes, runs or reaches out")
	f.values.bind(fl, "overseer", "agent.overseer", "", "a `model` that also looks at what writes or runs: self, or e.g. \"openai model_id=gpt-4o-mini\"")
	f.values.bind(fl, "qa", "agent.qa", false, "let the model check its answer, and go on if it falls short")
	f.values.bind(fl, "max-steps", "agent.max_steps", 0, "stop after so many turns")
	f.values.bind(fl, "max-tokens", "agent.max_tokens", 0, "stop after so many tokens, evaluated and generated")
	f.values.bind(fl, "timeout", "agent.timeout", time.Duration(0), "stop after this time, such as 10m")
	f.values.bind(fl, "seed", "llm.seed", 0, "of the random numbers of sampling")
	f.values.bind(fl, "temperature", "llm.temperature", 0.0, "of sampling; 0 always takes the likeliest token")
	f.values.bind(fl, "allow-unsandboxed", "agent.allow_unsandboxed", false, "run code although it can't be confined here")
	fl.BoolVar(&f.trust, "trust", false, "use the commands that lie in commands/ of the work dir, in this run")
	fl.StringArrayVar(&f.values.disable, "disable", nil, "take the command `NAME` away (may be repeated)")
	_ = cmd.RegisterFlagCompletionFunc("approve", cobra.FixedCompletions([]string{"ask", "auto", "never"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// runTask composes, opens, runs and reports one task, or with --multirun one
// for each job of the sweep.
func (a *app) runTask(cmd *cobra.Command, args []string, f *runFlags) error {
	if f.multirun {
		return a.runSweep(cmd, args, f)
	}
	cfg, rest, err := a.compose(withDash(cmd, args), f.values.list()...)
	if err != nil {
		return err
	}
	answers, err := a.answersPiped(cfg)
	if err != nil {
		return err
	}
	task, err := a.taskText(rest, f.resume != "", answers)
	if err != nil {
		return err
	}
	_, err = a.runOnce(cmd.Context(), cfg, task, f)
	return err
}

// runOnce works on a task with one configuration. The result is nil when the
// work did not begin.
func (a *app) runOnce(ctx context.Context, cfg *config.Config, task string, f *runFlags) (*session.Result, error) {
	opts, done, err := a.runOptions(ctx, cfg, f)
	if err != nil {
		return nil, err
	}
	defer done()
	b, err := a.openBackend(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer b.close()
	opts.Backend = b
	if local, ok := backend.As[*hf.Backend](b); ok && opts.SessionsDir != "" {
		local.Remember() // for `agent sessions resume`
	}
	if err := a.spare(cfg, &opts); err != nil {
		return nil, err
	}
	if err := a.checkInput(b, &opts); err != nil {
		return nil, err
	}
	overseer, closeOverseer, err := a.openOverseer(ctx, cfg, b)
	if err != nil {
		return nil, err
	}
	defer closeOverseer()
	opts.Overseer = overseer
	unwatch := a.watch(&opts, b, f)
	result, err := a.work(ctx, task, opts, f)
	unwatch()
	if result != nil && !f.json {
		a.showResult(b, result)
	}
	if err != nil {
		return result, runError(ctx, err)
	}
	return result, stopError(result, opts.SessionsDir != "")
}

// spare applies agent.small_model to a run.
func (a *app) spare(cfg *config.Config, opts *session.Options) error {
	c, err := decodeAgent(cfg)
	if err != nil {
		return configError(err)
	}
	note, err := spareSmall(opts.Registry, opts.Backend, c.SmallModel)
	if note != "" && !a.flags.quiet {
		fmt.Fprintln(a.err, "agent:", note)
	}
	return err
}

// runSweep runs the task once for each combination of the overrides that have
// several values, one after another, and ends with a table.
func (a *app) runSweep(cmd *cobra.Command, args []string, f *runFlags) error {
	if f.resume != "" {
		return usagef("--multirun begins new runs; it can't go on with --resume")
	}
	jobs, rest, err := a.sweep(withDash(cmd, args))
	if err != nil {
		return err
	}
	task, err := a.taskText(rest, false, false)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(a.err, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "job\tended\tsteps\tseconds\tevaluated\treused\tgenerated\tanswer")
	var failures []error
	for i, job := range jobs {
		name := shownArgs(job)
		fmt.Fprintf(a.err, "# job %d of %d: %s\n", i+1, len(jobs), name)
		r, err := a.runJob(cmd.Context(), job, task, f)
		if cmd.Context().Err() != nil {
			return err
		}
		if err != nil {
			failures = append(failures, err)
			a.report(cmd.Context(), err)
		}
		fmt.Fprintf(table, "%s\t%s\n", name, sweepRow(r, err))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(failures) > 0 {
		return withCode(sharedCode(failures), fmt.Errorf("%d of %d jobs ended without an answer", len(failures), len(jobs)))
	}
	return nil
}

func (a *app) runJob(ctx context.Context, overrides []string, task string, f *runFlags) (*session.Result, error) {
	cfg, err := a.composeOverrides(overrides, f.values.list()...)
	if err != nil {
		return nil, err
	}
	return a.runOnce(ctx, cfg, task, f)
}

// sweepRow is the cells of a job after its name.
func sweepRow(r *session.Result, err error) string {
	if r == nil {
		return fmt.Sprintf("error\t\t\t\t\t\t%s", oneLine(err.Error(), 40))
	}
	u := r.Usage
	return fmt.Sprintf("%s\t%d\t%.1f\t%d\t%d\t%d\t%s", r.Stop, r.Steps, float64(r.WallMS)/1000, u.EvaluatedTokens, u.CachedTokens, u.CompletionTokens, oneLine(r.Answer, 40))
}

// work runs a new session or goes on with an earlier one.
func (a *app) work(ctx context.Context, task string, opts session.Options, f *runFlags) (*session.Result, error) {
	if f.resume == "" {
		s, err := session.New(opts)
		if err != nil {
			return nil, err
		}
		defer s.Close()
		return a.runOn(ctx, s, task, f)
	}
	path, err := session.Find(opts.SessionsDir, f.resume)
	if err != nil {
		return nil, err
	}
	s, err := session.Resume(path, opts)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return a.runOn(ctx, s, task, f)
}

// taskText is the task: the arguments, and standard input when it is piped and
// not for answers.
func (a *app) taskText(args []string, resume, answers bool) (string, error) {
	task := strings.Join(args, " ")
	if answers {
		if strings.TrimSpace(task) == "" && !resume {
			return "", usagef("no task given: with --approve ask standard input is for your answers, so the task must be an argument")
		}
		return task, checkText("the task", task)
	}
	piped, err := a.pipedInput()
	if err != nil {
		return "", err
	}
	switch {
	case piped != "" && task != "":
		task += "\n\n" + piped
	case piped != "":
		task = piped
	}
	if strings.TrimSpace(task) == "" && !resume {
		return "", usagef("no task given: agent run \"what to do\"")
	}
	return task, checkText("the task", task)
}

// inputBytesMax bounds what is read from standard input.
const inputBytesMax = 64 << 20

// pipedInput reads standard input when it is a pipe or a file. A closed or
// absent standard input is empty.
func (a *app) pipedInput() (string, error) {
	f, ok := a.in.(*os.File)
	if ok {
		st, err := f.Stat()
		if err != nil || st.Mode()&os.ModeCharDevice != 0 {
			return "", nil
		}
	}
	raw, err := io.ReadAll(io.LimitReader(a.in, inputBytesMax+1))
	if err != nil {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	if len(raw) > inputBytesMax {
		return "", fmt.Errorf("standard input has more than %d MiB", inputBytesMax>>20)
	}
	text := strings.TrimRight(string(raw), "\n")
	return text, checkText("standard input", text)
}

// runOptions are the options of a run, whose commands may also be files, or
// reach out. Call done when it has ended.
func (a *app) runOptions(ctx context.Context, cfg *config.Config, f *runFlags) (opts session.Options, done func(), err error) {
	opts, unwanted, err := a.stockOptions(cfg, f)
	if err != nil {
		return opts, nil, err
	}
	if done, err = a.addOutside(ctx, cfg, &opts); err != nil {
		return opts, nil, err
	}
	if err = a.addFileCommands(ctx, &opts, f.trust); err == nil {
		err = checkRules(cfg, opts.Rules.Check(opts.Registry))
	}
	if err == nil {
		err = disableCommands(opts.Registry, unwanted)
	}
	if err != nil {
		done()
	}
	return opts, done, err
}

// sessionOptions are the options of a run with the stock commands alone.
func (a *app) sessionOptions(cfg *config.Config, f *runFlags) (session.Options, error) {
	opts, unwanted, err := a.stockOptions(cfg, f)
	if err == nil {
		err = disableCommands(opts.Registry, unwanted)
	}
	return opts, err
}

// disableCommands takes commands away. Without python there is no making of
// commands either, which would be another way to run Python.
func disableCommands(registry *command.Registry, names []string) error {
	for _, name := range names {
		if err := registry.Disable(name); err != nil {
			return withCode(exitUsage, err)
		}
	}
	made := registry.Lookup(program.CreateName)
	if registry.Lookup("python").Disabled && made.Match == command.MatchExact && !made.Disabled {
		return registry.Disable(program.CreateName)
	}
	return nil
}

// stockOptions reads the section agent. The commands to take away are returned:
// there may be more to come.
func (a *app) stockOptions(cfg *config.Config, f *runFlags) (opts session.Options, unwanted []string, err error) {
	c, err := decodeAgent(cfg)
	if err != nil {
		return opts, nil, configError(err)
	}
	web, err := c.Web.web(cfg)
	if err != nil {
		return opts, nil, configError(err)
	}
	dir, err := f.taskDir(c.Workdir)
	if err != nil {
		return opts, nil, err
	}
	sessions, err := f.sessionsDir()
	if err != nil {
		return opts, nil, err
	}
	registry, err := stockCommands()
	if err != nil {
		return opts, nil, err
	}
	folder, err := a.readFolder()
	if err != nil {
		return opts, nil, err
	}
	mode, approver := a.approval(c, f.json)
	return session.Options{
		Registry: registry, Secrets: slices.Concat(cfg.Secrets(), config.SecretVariables(append(os.Environ(), folder.config().Environ...))),
		Env: &command.Env{WorkDir: dir, Metadata: c.Metadata, Limits: c.commandLimits(), AllowUnsandboxed: c.AllowUnsandboxed, Web: web},
		Limits: session.Limits{StepsMax: c.StepsMax, TokensMax: c.TokensMax, Timeout: c.Timeout,
			ResultTokensMax: c.ResultTokensMax, HistoryTokensMax: c.HistoryTokensMax,
			DepthMax: c.DelegateMax.Depth, WidthMax: c.DelegateMax.Width},
		LongResults: c.LongResults,
		Approve:     mode, Approver: approver, Rules: c.ApproveRules, Stream: f.stream, Text: f.text, QA: c.QA, Aids: c.aids(),
		SessionsDir: sessions,
	}, slices.Concat(c.Disable, f.values.disable), nil
}

// workDir is the absolute work dir, which must exist.
func workDir(dir string) (string, error) {
	if dir == "" {
		return "", usagef("the work dir is empty: name a folder with --workdir, or leave it out for this one")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("work dir: %w", err)
	}
	st, err := os.Stat(abs)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("work dir: there is no folder %s; make it, or name another with --workdir", abs)
	}
	if err != nil {
		return "", fmt.Errorf("work dir: %w", err)
	}
	if !st.IsDir() {
		return "", fmt.Errorf("work dir: %s is not a folder", dir)
	}
	return abs, nil
}

// watch makes a run seen: live on a terminal, else as eventSink does. Call
// unwatch when it has ended. A person who plays the model has the terminal to
// themselves.
func (a *app) watch(opts *session.Options, b *opened, f *runFlags) (unwatch func()) {
	file, ok := terminalFile(a.err)
	if !ok || f.json || a.flags.quiet || !canWatch(file) || b.settings.Backend == backendHuman {
		opts.Sink = a.eventSink(f)
		return func() {}
	}
	v, before := watchRun(file), a.err
	opts.Sink, opts.Stream = v.event, true
	a.err = v
	return func() {
		a.err = before
		_ = v.Close()
	}
}

// eventSink shows events: JSON lines on standard output, or text on standard error.
func (a *app) eventSink(f *runFlags) func(session.Event) {
	if f.json {
		enc := json.NewEncoder(a.out)
		enc.SetEscapeHTML(false)
		return func(ev session.Event) { _ = enc.Encode(ev) }
	}
	if a.flags.quiet {
		return func(session.Event) {}
	}
	o := session.RenderOptions{Streamed: f.stream}
	if useColor(a.err) {
		o = styles()
		o.Streamed = f.stream
	}
	w := undisguised(a.err)
	return func(ev session.Event) {
		if _, end := ev.Data.(*session.Result); !end { // showResult tells more
			_ = session.RenderText(w, ev, o)
		}
	}
}

// showResult prints the answer on standard output, and the cost beside it.
func (a *app) showResult(b *opened, r *session.Result) {
	if r.Answer != "" {
		fmt.Fprintln(a.out, r.Answer)
	}
	if !a.flags.quiet {
		fmt.Fprintf(a.err, "\n%s\n", runLine(b, r))
	}
}

// place is where a model ran.
func place(b *opened) string {
	switch {
	case b.device != "":
		return " on " + b.device
	case b.settings.Backend == backendOpenAI || b.settings.Backend == backendFastChat:
		return " on a server"
	}
	return ""
}

// runLine says in one line which model, where, how fast, and at what cost.
func runLine(b *opened, r *session.Result) string {
	return fmt.Sprintf("%s%s: %s", b.ModelID(), place(b), session.SummaryLine(r))
}

// stopError makes the exit code of how a run ended.
func stopError(r *session.Result, kept bool) error {
	switch r.Stop {
	case session.StopAnswered:
		return nil
	case session.StopSteps, session.StopTokens, session.StopTime, session.StopLoop:
		return withCode(exitBudget, &stoppedError{r, kept})
	case session.StopRefused:
		return withCode(exitRefused, notAllowedError{})
	case session.StopInterrupted:
		return withCode(exitInterrupted, errors.New("interrupted"))
	}
	return fmt.Errorf("stopped: %s", r.Stop)
}

// runError finds the exit code of a run that failed.
func runError(ctx context.Context, err error) error {
	var be *session.BackendError
	var refused *sandbox.RefusedError
	switch {
	case ctx.Err() != nil:
		return withCode(exitInterrupted, errors.New("interrupted"))
	case errors.As(err, &refused):
		return withCode(exitRefused, err)
	case errors.As(err, &be):
		return chooseError(err)
	}
	return err
}
