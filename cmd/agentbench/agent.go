package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"agent/command"
	"agent/command/stock"
	"agent/internal/bench"
	"agent/internal/bench/engine"
	"agent/internal/bench/tasks"
	"agent/internal/cli"
	"agent/internal/config"
	"agent/internal/exit"
	"agent/internal/legible"
	"agent/internal/setup"
	"agent/session"
)

// agentFlags are the flags of `agentbench agent`.
type agentFlags struct {
	json, screen                 bool
	tasks, out, transcripts, run string
	half                         string
	ways                         []string
	rounds, tokensMax            int
}

func (a *app) agentCmd() *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use:   "agent [flags] [key=value …]",
		Short: "Which of the tasks in bench/tasks the agent solves, and at what cost",
		Long: `Which of the tasks in bench/tasks the agent solves, and at what cost: each task in a
fresh folder, in each of the ways of working, in several rounds. The model is
loaded once. Round 0 runs at temperature 0, the others at ` + fmt.Sprint(benchTemperature) + ` with a seed each; the
ways take turns, so that all see the same load of the machine.

What each aid of the turn is worth, --screen tells: in each of its 16 ways half
of the aids are off, so that every run says something of every aid (a
fractional factorial design; odd rounds are the complement of even ones).

Each run is kept in --out when it ends: after Ctrl-C the same command goes on.
Ways of working:
` + describeBenchWays(),
		Example: `  agentbench agent --model qwen2.5-coder-0.5b-instruct
  agentbench agent --ways full,plain --rounds 3 --model model.gguf llm.threads=1 llm.threads_batch=1
  agentbench agent --screen --rounds 2 --model model.gguf llm.threads=1 llm.threads_batch=1
  agentbench agent --only '^csv' --ways full --transcripts build/transcripts`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.screen && cmd.Flags().Changed("ways") {
				return exit.Usagef("--screen has its own ways of working: leave out --ways")
			}
			return a.agent(cmd, args, &f)
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&f.json, "json", false, "print JSON")
	fs.StringVar(&f.tasks, "tasks", filepath.Join("bench", "tasks"), "`folder` of the tasks")
	fs.StringVar(&f.out, "out", filepath.Join("build", "bench-agent.jsonl"),
		"`file` in which each run is kept")
	fs.StringVar(&f.transcripts, "transcripts", "",
		"also write what happened in each run into this `folder`")
	fs.StringVar(&f.run, "only", "", "only tasks whose name this `regexp` matches")
	fs.StringVar(&f.half, "half", "", "only the tasks that are `looked` at while working, or those that are only counted")
	fs.StringSliceVar(&f.ways, "ways", []string{"full", "plain"},
		"ways of working; more than one at once joined by +")
	fs.BoolVar(&f.screen, "screen", false, "estimate what each aid does, instead of comparing ways")
	fs.IntVar(&f.rounds, "rounds", 2, "rounds of all tasks")
	fs.IntVar(&f.tokensMax, "max-tokens", 10_000,
		"tokens that a run may cost, evaluated and generated")
	return cmd
}

// benchTemperature is that of all rounds but the first: warm enough for another
// course of things, and what such tasks are run with.
const benchTemperature = 0.3

// agentBench is one sitting of the suite.
type agentBench struct {
	app    *app
	flags  *agentFlags
	args   []string // overrides
	suite  *tasks.Suite
	ways   []benchWay
	ledger *tasks.Ledger
	model  *setup.Model
}

func (a *app) agent(cmd *cobra.Command, args []string, f *agentFlags) error {
	ctx := cmd.Context()
	overrides, rest := cli.Split(cmd, args)
	b := &agentBench{app: a, flags: f, args: overrides}
	if err := b.prepare(); err != nil {
		return err
	}
	if len(rest) > 0 {
		return exit.Usagef("bench takes key=value arguments, got %q", rest[0])
	}
	model, _, err := a.Open(cmd, args, nil)
	if err != nil {
		return err
	}
	defer model.Close()
	b.model = model
	key, err := b.key()
	if err != nil {
		return err
	}
	if b.ledger, err = tasks.OpenLedger(f.out, key); err != nil {
		return err
	}
	defer b.ledger.Close()
	load := bench.OtherLoad()
	err = b.runAll(ctx)
	if err != nil && ctx.Err() == nil {
		return err
	}
	if err := b.print(load()); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return exit.With(exit.Interrupted,
			fmt.Errorf("interrupted; %s holds what was done, and the same command goes on", f.out))
	}
	return nil
}

// prepare reads the suite and finds the ways of working.
func (b *agentBench) prepare() (err error) {
	f := b.flags
	if f.rounds < 1 {
		return exit.Usagef("--rounds is %d; it must be at least 1", f.rounds)
	}
	for _, name := range f.ways {
		way, err := findWay(name)
		if err != nil {
			return err
		}
		b.ways = append(b.ways, way)
	}
	if b.suite, err = tasks.Load(f.tasks); err != nil {
		return err
	}
	only, err := regexp.Compile(f.run)
	if err != nil {
		return exit.Usagef("--only: %v", err)
	}
	half := tasks.Half(f.half)
	if !slices.Contains([]tasks.Half{"", tasks.Looked, tasks.Counted}, half) {
		return exit.Usagef("--half is %q; it must be %s or %s", f.half, tasks.Looked, tasks.Counted)
	}
	if half == tasks.Counted && f.transcripts != "" {
		return exit.Usagef("--transcripts shows runs, and those of --half %s are not looked at",
			tasks.Counted)
	}
	b.suite.Tasks = slices.DeleteFunc(b.suite.Half(half),
		func(t *tasks.Task) bool { return !only.MatchString(t.Name) })
	if len(b.suite.Tasks) == 0 {
		return exit.Usagef("--only %q matches no task of %s", f.run, f.tasks)
	}
	return nil
}

// key says what results are results of. Another build of this program is
// another agent.
func (b *agentBench) key() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("bench: find this program: %w", err)
	}
	file, err := os.Open(exe)
	if err != nil {
		return "", fmt.Errorf("bench: read this program: %w", err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", fmt.Errorf("bench: read this program: %w", err)
	}
	fmt.Fprintf(sum, "%q %q %q %d", b.suite.Sum, b.model.ModelID(), b.args, b.flags.tokensMax)
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// runAll makes all runs that are not kept yet. The ways take turns, and so does
// which of them is first.
func (b *agentBench) runAll(ctx context.Context) error {
	n := 0
	for round := range b.flags.rounds {
		ways, err := b.waysOf(round)
		if err != nil {
			return err
		}
		total := b.flags.rounds * len(b.suite.Tasks) * len(ways)
		for i, task := range b.suite.Tasks {
			for j := range ways {
				way := ways[(i+j)%len(ways)]
				n++
				if b.ledger.Has(task.Name, way.name, round) {
					continue
				}
				row, err := b.runTask(ctx, task, way, round)
				if err != nil {
					return fmt.Errorf("bench: task %s, %s, round %d: %w", task.Name, way.name, round, err)
				}
				if err := b.ledger.Add(*row); err != nil {
					return err
				}
				b.show(row, task.Counted, n, total)
			}
		}
	}
	return nil
}

// waysOf are the ways of working of a round.
func (b *agentBench) waysOf(round int) ([]benchWay, error) {
	if !b.flags.screen {
		return b.ways, nil
	}
	var ways []benchWay
	for _, off := range tasks.Screen(withoutEach(), round) {
		way, err := screenWay(off)
		if err != nil {
			return nil, err
		}
		ways = append(ways, way)
	}
	return ways, nil
}

// show tells on stderr how a run went; of one that is only counted no more than
// whether it was solved.
func (b *agentBench) show(r *tasks.Row, counted bool, n, total int) {
	if b.app.Quiet {
		return
	}
	verdict := "solved"
	switch {
	case !r.Solved && counted:
		verdict = "failed"
	case !r.Solved:
		verdict = "failed (" + legible.Line(strings.Join(r.Wrong, "; "), 80) + ")"
	}
	fmt.Fprintf(b.app.Err, "agent: %d of %d: %s, %s, round %d: %s, %d steps, %.1f s\n", n, total,
		r.Task, r.Configuration, r.Round, verdict, r.Steps, float64(r.WallMS)/1000)
}

// runTask makes one run in a folder of its own, and verifies what it left.
func (b *agentBench) runTask(ctx context.Context, task *tasks.Task, way benchWay, round int,
) (*tasks.Row, error) {
	dir, err := os.MkdirTemp("", "agent-task-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := task.Lay(dir); err != nil {
		return nil, err
	}
	opts, err := b.options(ctx, task, way, round, dir)
	if err != nil {
		return nil, err
	}
	watch := &callWatch{}
	if err := watch.over(opts.Registry, task); err != nil {
		return nil, err
	}
	transcript, err := b.transcript(task, way, round)
	if err != nil {
		return nil, err
	}
	defer transcript.Close()
	opts.Sink = func(ev session.Event) { _ = session.RenderText(transcript, ev, session.RenderOptions{LinesMax: -1}) }
	s, err := session.New(opts)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	start, work := time.Now(), bench.OwnSeconds()
	result, runErr := s.Run(ctx, task.Prompt)
	wall := time.Since(start)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	row := newRow(task, way, round, result, wall)
	row.ProcessorMS = int64((bench.OwnSeconds() - work) * 1000)
	row.InvalidRun = int(watch.invalid.Load())
	if runErr != nil {
		row.Error = runErr.Error()
	}
	row.Wrong, err = task.Verify(ctx, tasks.Outcome{Dir: dir, Answer: result.Answer,
		Run: pythonRunner(opts.Env)})
	row.Solved = len(row.Wrong) == 0
	fmt.Fprintf(transcript, "\n%s\n%s\nsolved %v %q\n", result.Answer, session.SummaryLine(result),
		row.Solved, row.Wrong)
	return row, err
}

// options are those of `agent run` in this folder, with what a way of working
// changes. The configuration is composed anew, since commands may depend on the
// work dir.
func (b *agentBench) options(ctx context.Context, task *tasks.Task, way benchWay, round int,
	dir string,
) (session.Options, error) {
	cfg, err := b.app.Host.Compose(ctx, b.args, []config.Value{engine.Fixed("agent.workdir", dir),
		engine.Fixed("agent.approve", string(session.ApproveAuto)),
		engine.Fixed("agent.max_steps", task.Steps),
		engine.Fixed("agent.max_tokens", b.flags.tokensMax)}, setup.SectionAgent)
	if err != nil {
		return session.Options{}, err
	}
	run, err := setup.OpenStock(setup.Settings{Host: &b.app.Host, Config: cfg, NoSession: true},
		b.model)
	if err != nil {
		return session.Options{}, err
	}
	opts := run.Options
	sampling := b.model.Sampling
	sampling.Temperature, sampling.Seed = new(0.0), new(uint32(round))
	if round > 0 {
		*sampling.Temperature = benchTemperature
	}
	opts.Sampling = &sampling
	way.change(&opts)
	return opts, nil
}

// transcript is the file for what happens in a run, or nothing.
func (b *agentBench) transcript(task *tasks.Task, way benchWay, round int) (io.WriteCloser, error) {
	if b.flags.transcripts == "" {
		return struct {
			io.Writer
			io.Closer
		}{io.Discard, io.NopCloser(nil)}, nil
	}
	if err := os.MkdirAll(b.flags.transcripts, 0o755); err != nil {
		return nil, err
	}
	return os.Create(filepath.Join(b.flags.transcripts,
		fmt.Sprintf("%s.%s.%d.txt", task.Name, way.name, round)))
}

func newRow(task *tasks.Task, way benchWay, round int, r *session.Result, wall time.Duration,
) *tasks.Row {
	return &tasks.Row{
		Task: task.Name, Kind: task.Kind, Configuration: way.name, Round: round, Answer: r.Answer,
		Stop:  string(r.Stop),
		Steps: r.Steps, InvalidReplies: r.Usage.InvalidReplies, EvaluatedTokens: r.Usage.EvaluatedTokens,
		CachedTokens: r.Usage.CachedTokens, GeneratedTokens: r.Usage.CompletionTokens,
		WallMS: wall.Milliseconds(),
	}
}

// pythonRunner runs a verifier's code where the agent's own code runs.
func pythonRunner(env *command.Env) func(ctx context.Context, code string) (string, bool, error) {
	return func(ctx context.Context, code string) (string, bool, error) {
		r, err := stock.Python().Run(ctx, env, &command.Call{Content: []map[string]any{{"code": code}}})
		if err != nil {
			return "", false, err
		}
		return r.Text, !r.Failed, nil
	}
}

// print writes the report of what the ledger holds of this suite.
func (b *agentBench) print(otherLoad float64) error {
	f := b.flags
	var names []string
	for round := range f.rounds {
		ways, err := b.waysOf(round)
		if err != nil {
			return err
		}
		for _, w := range ways {
			if !slices.Contains(names, w.name) {
				names = append(names, w.name)
			}
		}
	}
	rows := slices.DeleteFunc(slices.Clone(b.ledger.Rows()), func(r tasks.Row) bool {
		known := slices.ContainsFunc(b.suite.Tasks, func(t *tasks.Task) bool { return t.Name == r.Task })
		return !known || r.Round >= f.rounds || !slices.Contains(names, r.Configuration)
	})
	report := &tasks.Report{
		Machine: bench.ThisMachine(), Device: b.model.Device(), Model: b.model.ModelID(),
		Command: cli.ShownArgs(os.Args), Suite: b.suite.Sum,
		Tasks: len(b.suite.Tasks), Rounds: f.rounds, OtherLoad: otherLoad,
		Configurations: tasks.Summarise(rows, names), Rows: rows,
	}
	if f.screen {
		report.Effects = tasks.Effects(rows, withoutEach())
	}
	if local := b.model.Local(); local != nil {
		report.Threads = engine.SettingsOf(local, "").Threads
	}
	if f.json {
		return b.app.JSON(report)
	}
	return report.Print(b.app.Out)
}
