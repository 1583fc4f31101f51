package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"agent/internal/bench"
	"agent/internal/bench/engine"
	"agent/internal/cli"
	"agent/internal/exit"
)

func (a *app) compareCmd() *cobra.Command {
	var f engine.Flags
	var c comparison
	cmd := &cobra.Command{
		Use:   "compare [key=value…]",
		Short: "Speed beside llama.cpp's own tools, in alternating rounds, with targets",
		Long: `Speed beside llama-bench, llama-batched-bench and llama-server, which ` + "`make bench`" + `
builds from the same sources as this program. Both sides run in turn, many times,
with the same settings; the median of the rounds' ratios is compared with a
target. A missed target is shown and is no error.`,
		Example: `  agentbench compare --tools build/cpu/bin
  agentbench compare --tools build/cpu/bin --rounds 15 --threads 1 --json
  agentbench compare --only delegate`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cli.AtLeastOne(cmd, "rounds"); err != nil {
				return err
			}
			return a.compare(cmd, args, &f, c)
		},
	}
	f.Add(cmd)
	cmd.Flags().StringVar(&c.tools, "tools", "build/cpu/bin",
		"folder of llama-bench, llama-batched-bench and llama-server")
	cmd.Flags().IntVar(&c.rounds, "rounds", 7, "rounds that count, after one that does not")
	cmd.Flags().StringVar(&c.agent, "agent", "bin/agent", "the `program` whose server is measured")
	cmd.Flags().StringVar(&c.only, "only", "", "only the checks whose name contains this `word`")
	return cmd
}

// comparison is what is to be compared, and how often.
type comparison struct {
	tools  string // folder of llama.cpp's programs
	rounds int
	only   string // a word in the names of the checks
	agent  string // the program that serves
}

func (a *app) compare(cmd *cobra.Command, args []string, f *engine.Flags, c comparison) error {
	ctx := cmd.Context()
	subject, err := engine.Open(a.App, cmd, f, args, bench.ContextNeeded, 4)
	if err != nil {
		return err
	}
	defer subject.Close()
	parts, closeParts, err := a.openParts(cmd, f, args)
	if err != nil {
		return err
	}
	defer closeParts()
	tools, err := bench.NewTools(c.tools, subject.Settings)
	if err != nil {
		return err
	}
	otherLoad := bench.OtherLoad()
	outcomes, err := a.runComparison(ctx, subject, parts, tools, c)
	if err != nil {
		return err
	}
	report := &bench.Report{Machine: bench.ThisMachine(), Backend: subject.Backend.Device(),
		Settings: subject.Settings, Rounds: c.rounds,
		Commands: commandLines(tools, c.agent), Outcomes: outcomes, OtherLoad: otherLoad()}
	if f.JSON {
		return a.JSON(report)
	}
	return report.Print(a.Out)
}

// runComparison measures with both servers running where a check needs them.
// They are gone when it returns; only then are they no longer counted as load
// of others.
func (a *app) runComparison(ctx context.Context, subject *engine.Subject, parts *partsWorker,
	tools *bench.Tools, c comparison,
) ([]bench.Outcome, error) {
	probes := func(servers *bench.Servers) []bench.Probe {
		all := append(bench.StandardProbes(subject.Engine, tools, servers),
			bench.DelegateProbe(parts.work, tools))
		return bench.Matching(all, c.only)
	}
	chosen := probes(nil)
	if len(chosen) == 0 {
		return nil, exit.Usagef("no check has %q in its name", c.only)
	}
	if bench.NeedServers(chosen) {
		servers, err := bench.StartServers(ctx, c.agent, tools)
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
	if a.Quiet {
		return
	}
	if round == 0 {
		fmt.Fprintln(a.Err, "agent: warming up")
		return
	}
	fmt.Fprintf(a.Err, "agent: round %d of %d\n", round, rounds)
}

// commandLines are the command lines of one round, so that anyone can repeat it.
func commandLines(t *bench.Tools, agent string) []string {
	line := func(name string, args []string) string {
		return filepath.Join(t.Dir, name) + " " + strings.Join(args, " ")
	}
	return []string{cli.ShownArgs(os.Args), line("llama-bench", t.BenchArgs(512, 0)),
		line("llama-bench", t.BenchArgs(0, 64)),
		line("llama-batched-bench", t.BatchedArgs(4, 16, 64)),
		agent + " " + strings.Join(t.AgentServeArgs(8080), " "),
		line("llama-server", t.LlamaServerArgs(8081))}
}
