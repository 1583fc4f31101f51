package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"agent/backend"
	"agent/backend/hf"
	"agent/inference"
	"agent/internal/bench"
	"agent/internal/config"
)

func (a *app) benchCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "How fast the model runs here, alone or beside llama.cpp's own tools, and what the agent gets done with it",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownSubcommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.benchEngineCmd(), a.benchCompareCmd(), a.benchAgentCmd())
	return cmd
}

// benchFlags are what both benchmarks take.
type benchFlags struct {
	json   bool
	values flagValues
}

func (f *benchFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVar(&f.json, "json", false, "print JSON")
	f.values.bind(fs, "threads", "llm.threads", 0, "threads; default: one per physical core")
	f.values.bind(fs, "ubatch", "llm.ubatch_size", 0, "prompt tokens evaluated at once")
	f.values.bind(fs, "kv-type", "llm.kv_type", "", "type of the KV cache")
	f.values.bind(fs, "flash-attn", "llm.flash_attn", false, "flash attention; --flash-attn=false switches it off")
}

func (a *app) benchEngineCmd() *cobra.Command {
	var f benchFlags
	var c bench.SpeedConfig
	cmd := &cobra.Command{
		Use:   "engine [key=value…]",
		Short: "Prefill and decode speed, in the terms of llama-bench",
		Long: `Prefill and decode speed, in the terms of llama-bench: a prompt of random
tokens (pp), and tokens generated one after another from an empty context (tg).
With --parallel N the replies of N requests are generated at the same time and
their speeds add up.`,
		Example: `  agent bench engine
  agent bench engine --model qwen2.5-coder-0.5b-instruct --prompt 2048 --threads 4
  agent bench engine --parallel 4 --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := atLeastOne(cmd, "prompt", "gen", "repeat", "parallel"); err != nil {
				return err
			}
			return a.benchSpeed(cmd.Context(), &f, c, withDash(cmd, args))
		},
	}
	f.add(cmd)
	fs := cmd.Flags()
	fs.IntVar(&c.PromptTokens, "prompt", 512, "tokens of the prompt")
	fs.IntVar(&c.GenTokens, "gen", 64, "tokens to generate")
	fs.IntVar(&c.Repeat, "repeat", 3, "measurements, after one that is not counted")
	fs.IntVar(&c.Parallel, "parallel", 1, "requests at the same time, while generating")
	return cmd
}

// atLeastOne refuses numbers of which there is nothing to measure.
func atLeastOne(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		if n, err := cmd.Flags().GetInt(name); err != nil || n < 1 {
			return usagef("--%s is %d; it must be at least 1", name, n)
		}
	}
	return nil
}

// speedReport is what `bench engine --json` prints.
type speedReport struct {
	*bench.SpeedResult
	LoadMS  int64  `json:"load_ms"`
	Model   string `json:"model"`
	Backend string `json:"backend"`
	Threads int    `json:"threads"`
}

func (a *app) benchSpeed(ctx context.Context, f *benchFlags, c bench.SpeedConfig, args []string) error {
	subject, err := a.openBench(ctx, f, args, c.PromptTokens+c.GenTokens+2, c.Parallel)
	if err != nil {
		return err
	}
	defer subject.close()
	r, err := bench.Speed(ctx, subject.engine, c)
	if err != nil {
		return err
	}
	report := speedReport{SpeedResult: r, LoadMS: subject.backend.Model().Loaded.Milliseconds(), Model: subject.backend.ModelID(),
		Backend: subject.backend.Device(), Threads: subject.settings.Threads}
	if f.json {
		return a.printJSON(report)
	}
	fmt.Fprintf(a.out, "%s on %s, %d threads, loaded in %d ms\n", report.Model, report.Backend, report.Threads, report.LoadMS)
	fmt.Fprintf(a.out, "prompt %5d tokens  %8.1f ± %.1f tokens/s\n", r.PromptTokens, r.PromptTokensPerSecond.Mean, r.PromptTokensPerSecond.Stddev)
	fmt.Fprintf(a.out, "reply  %5d tokens  %8.1f ± %.1f tokens/s", r.GenTokens, r.GenTokensPerSecond.Mean, r.GenTokensPerSecond.Stddev)
	if r.Parallel > 1 {
		fmt.Fprintf(a.out, ", %d requests together", r.Parallel)
	}
	_, err = fmt.Fprintln(a.out)
	return err
}

func (a *app) benchCompareCmd() *cobra.Command {
	var f benchFlags
	var c comparison
	cmd := &cobra.Command{
		Use:   "compare [key=value…]",
		Short: "Speed beside llama.cpp's own tools, in alternating rounds, with targets",
		Long: `Speed beside llama-bench, llama-batched-bench and llama-server, which ` + "`make bench`" + `
builds from the same sources as this program. Both sides run in turn, many times,
with the same settings; the median of the rounds' ratios is compared with a
target. A missed target is shown and is no error.`,
		Example: `  agent bench compare --tools build/cpu/bin
  agent bench compare --tools build/cpu/bin --rounds 15 --threads 1 --json
  agent bench compare --only delegate`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := atLeastOne(cmd, "rounds"); err != nil {
				return err
			}
			return a.benchCompare(cmd.Context(), &f, c, withDash(cmd, args))
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&c.tools, "tools", "build/cpu/bin", "folder of llama-bench, llama-batched-bench and llama-server")
	cmd.Flags().IntVar(&c.rounds, "rounds", 7, "rounds that count, after one that does not")
	cmd.Flags().StringVar(&c.only, "only", "", "only the checks whose name contains this `word`")
	return cmd
}

// comparison is what is to be compared, and how often.
type comparison struct {
	tools  string // folder of llama.cpp's programs
	rounds int
	only   string // a word in the names of the checks
}

func (a *app) benchCompare(ctx context.Context, f *benchFlags, c comparison, args []string) error {
	subject, err := a.openBench(ctx, f, args, bench.ContextNeeded, 4)
	if err != nil {
		return err
	}
	defer subject.close()
	parts, closeParts, err := a.openBenchParts(ctx, f, args)
	if err != nil {
		return err
	}
	defer closeParts()
	tools, err := bench.NewTools(c.tools, subject.settings)
	if err != nil {
		return err
	}
	otherLoad := bench.OtherLoad()
	outcomes, err := a.runComparison(ctx, subject, parts, tools, c)
	if err != nil {
		return err
	}
	report := &bench.Report{Machine: bench.ThisMachine(), Backend: subject.backend.Device(), Settings: subject.settings, Rounds: c.rounds,
		Commands: benchCommands(tools), Outcomes: outcomes, OtherLoad: otherLoad()}
	if f.json {
		return a.printJSON(report)
	}
	return report.Print(a.out)
}

// runComparison measures with both servers running where a check needs them.
// They are gone when it returns; only then are they no longer counted as load
// of others.
func (a *app) runComparison(ctx context.Context, subject *benchSubject, parts *benchParts, tools *bench.Tools, c comparison) ([]bench.Outcome, error) {
	probes := func(servers *bench.Servers) []bench.Probe {
		all := append(bench.StandardProbes(subject.engine, tools, servers), bench.DelegateProbe(parts.work, tools))
		return bench.Matching(all, c.only)
	}
	chosen := probes(nil)
	if len(chosen) == 0 {
		return nil, usagef("no check has %q in its name", c.only)
	}
	if bench.NeedServers(chosen) {
		agent, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("bench: find this program: %w", err)
		}
		servers, err := bench.StartServers(ctx, agent, tools)
		if err != nil {
			return nil, err
		}
		defer servers.Close()
		chosen = probes(servers)
	}
	return bench.Compare(ctx, chosen, c.rounds, func(round int) { a.showRound(round, c.rounds) })
}

// showRound tells on stderr how far a comparison is.
func (a *app) showRound(round, rounds int) {
	if a.flags.quiet {
		return
	}
	if round == 0 {
		fmt.Fprintln(a.err, "agent: warming up")
		return
	}
	fmt.Fprintf(a.err, "agent: round %d of %d\n", round, rounds)
}

// benchCommands are the command lines of one round, so that anyone can repeat it.
func benchCommands(t *bench.Tools) []string {
	line := func(name string, args []string) string {
		return filepath.Join(t.Dir, name) + " " + strings.Join(args, " ")
	}
	return []string{shownArgs(os.Args), line("llama-bench", t.BenchArgs(512, 0)), line("llama-bench", t.BenchArgs(0, 64)),
		line("llama-batched-bench", t.BatchedArgs(4, 16, 64)), os.Args[0] + " " + strings.Join(t.AgentServeArgs(8080), " "),
		line("llama-server", t.LlamaServerArgs(8081))}
}

// benchSubject is an open model with what a benchmark must know of it.
type benchSubject struct {
	backend  *hf.Backend
	engine   *benchEngine
	settings bench.Settings
	close    func()
}

// openBench opens the configured local model with one sequence, and beside it
// an engine of several when the benchmark wants requests to run together.
func (a *app) openBench(ctx context.Context, f *benchFlags, args []string, contextLength, parallel int) (*benchSubject, error) {
	if err := a.checkBench(args); err != nil {
		return nil, err
	}
	values := append(f.values.list(), config.Value{Key: "llm.context_length", Value: contextLength, Source: "the benchmark"},
		config.Value{Key: "llm.parallel", Value: 1, Source: "the benchmark"})
	o, _, err := a.open(ctx, args, values...)
	if err != nil {
		return nil, err
	}
	s := &benchSubject{close: o.close}
	if err := a.prepareBench(ctx, s, o, parallel); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// errNotLocal: the benchmarks need the engine of this program.
var errNotLocal = withCode(exitUsage, errors.New("bench: only a local model can be measured (llm=hf)"))

// checkBench finds wrong arguments before a model is loaded, and another
// backend's model before settings of a local one are put into its section.
func (a *app) checkBench(args []string) error {
	cfg, rest, err := a.compose(args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("bench takes key=value arguments, got %q", rest[0])
	}
	target, err := cfg.Target("llm")
	if err != nil {
		return configError(err)
	}
	if name, known := backendTargets()[target]; known && name != backendHF {
		return errNotLocal
	}
	return nil
}

func (a *app) prepareBench(ctx context.Context, s *benchSubject, o *opened, parallel int) (err error) {
	b, ok := backend.As[*hf.Backend](o.LanguageBackend)
	if !ok {
		return errNotLocal
	}
	s.backend = b
	s.settings = benchSettings(o.settings.Local, b.Model().Path)
	var together *inference.Engine
	if parallel > 1 {
		together, err = b.Model().NewEngine(&inference.EngineOptions{ContextLength: b.ContextLength(), Parallel: parallel,
			Cells: max(b.ContextLength()*parallel, bench.CellsNeeded), Ubatch: s.settings.Ubatch, Threads: s.settings.Threads,
			KVType: s.settings.KVType, NoFlashAttn: s.settings.FlashAttn == "off"})
		if err != nil {
			return err
		}
		outer := s.close
		s.close = func() { together.Close(); outer() }
	}
	s.engine, err = newBenchEngine(ctx, b, together)
	return err
}

// benchSettings are the settings in use, defaults filled in, in llama.cpp's terms.
func benchSettings(c *localSettings, path string) bench.Settings {
	s := bench.Settings{Model: path, Threads: cmp.Or(c.Threads, inference.PhysicalCores()), Ubatch: cmp.Or(c.Ubatch, 512),
		KVType: cmp.Or(c.KVType, "f16"), FlashAttn: "auto", LoadMode: "mmap", GPULayers: -1}
	if !c.FlashAttn {
		s.FlashAttn = "off"
	}
	switch {
	case !c.Mmap && c.Mlock:
		s.LoadMode = "mlock"
	case !c.Mmap:
		s.LoadMode = "none"
	case c.Mlock:
		s.LoadMode = "mmap+mlock"
	}
	if c.GPULayers != nil {
		s.GPULayers = *c.GPULayers
	}
	return s
}
