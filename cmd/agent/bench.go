package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"agent/internal/bench"
	"agent/internal/bench/engine"
	"agent/internal/cli"
)

func (a *app) benchCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "bench", Short: "How fast the model runs here"}
	cmd.AddCommand(a.benchEngineCmd())
	return cmd
}

func (a *app) benchEngineCmd() *cobra.Command {
	var f engine.Flags
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
			if err := cli.AtLeastOne(cmd, "prompt", "gen", "repeat", "parallel"); err != nil {
				return err
			}
			return a.benchEngine(cmd, args, &f, c)
		},
	}
	f.Add(cmd)
	fs := cmd.Flags()
	fs.IntVar(&c.PromptTokens, "prompt", 512, "tokens of the prompt")
	fs.IntVar(&c.GenTokens, "gen", 64, "tokens to generate")
	fs.IntVar(&c.Repeat, "repeat", 3, "measurements, after one that is not counted")
	fs.IntVar(&c.Parallel, "parallel", 1, "requests at the same time, while generating")
	return cmd
}

// speedReport is what `bench engine --json` prints.
type speedReport struct {
	*bench.SpeedResult
	LoadMS  int64  `json:"load_ms"`
	Model   string `json:"model"`
	Backend string `json:"backend"`
	Threads int    `json:"threads"`
}

func (a *app) benchEngine(cmd *cobra.Command, args []string, f *engine.Flags, c bench.SpeedConfig,
) error {
	subject, err := engine.Open(a.App, cmd, f, args, c.PromptTokens+c.GenTokens+2, c.Parallel)
	if err != nil {
		return err
	}
	defer subject.Close()
	r, err := bench.Speed(cmd.Context(), subject.Engine, c)
	if err != nil {
		return err
	}
	report := speedReport{SpeedResult: r, LoadMS: subject.Backend.Model().Loaded.Milliseconds(),
		Model: subject.Backend.ModelID(), Backend: subject.Backend.Device(),
		Threads: subject.Settings.Threads}
	if f.JSON {
		return a.JSON(report)
	}
	fmt.Fprintf(a.Out, "%s on %s, %d threads, loaded in %d ms\n", report.Model, report.Backend,
		report.Threads, report.LoadMS)
	fmt.Fprintf(a.Out, "prompt %5d tokens  %8.1f ± %.1f tokens/s\n", r.PromptTokens,
		r.PromptTokensPerSecond.Mean, r.PromptTokensPerSecond.Stddev)
	fmt.Fprintf(a.Out, "reply  %5d tokens  %8.1f ± %.1f tokens/s", r.GenTokens,
		r.GenTokensPerSecond.Mean, r.GenTokensPerSecond.Stddev)
	if r.Parallel > 1 {
		fmt.Fprintf(a.Out, ", %d requests together", r.Parallel)
	}
	_, err = fmt.Fprintln(a.Out)
	return err
}
