package main

import (
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"agent/inference"
	"agent/internal/bench/engine"
	"agent/internal/cli"
	"agent/internal/doctor"
	"agent/internal/exit"
)

// version is set at link time.
var version = "unknown"

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version and what is built in",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			native := "without the native engine"
			if inference.Built() {
				native = "llama.cpp v0.5.0, native build " + inference.BuildID
			}
			_, err := fmt.Fprintf(a.Out, "agent %s (%s %s/%s; %s)\n", version, runtime.Version(),
				runtime.GOOS, runtime.GOARCH, native)
			return err
		},
	}
}

func (a *app) doctorCmd() *cobra.Command {
	var asJSON, selfTest, measure, write bool
	var rounds int
	cmd := &cobra.Command{
		Use:   "doctor [key=value…]",
		Short: "What was built, what hardware is used, what is missing and how to get it",
		Long: `What was built, what hardware is used, what is missing and how to get it.
With --bench the model runs on each device, on the CPU with flash attention and
without, and the quickest is named; --write makes it the choice of all later runs.`,
		Args: cli.WithOverrides(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case !measure && (write || cmd.Flags().Changed("rounds")):
				return exit.Usagef("--write and --rounds belong to --bench")
			case rounds < 1:
				return exit.Usagef("--rounds is %d; it must be at least 1", rounds)
			case measure:
				return a.doctorBench(cmd, args, rounds, write, asJSON)
			}
			overrides, _ := cli.Split(cmd, args)
			cfg, err := a.Host.Look(overrides)
			if exit.Has(err) { // the command line's mistake; what is wrong in files is a finding
				return err
			}
			findings := doctor.Examine(cmd.Context(), &a.Host, cfg, err, selfTest)
			if asJSON {
				return a.JSON(map[string]any{"findings": findings})
			}
			return printFindings(a.Out, findings)
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&asJSON, "json", false, "print JSON")
	fs.BoolVar(&selfTest, "selftest", false,
		"test again whether the native code computes rightly on this machine")
	fs.BoolVar(&measure, "bench", false, "measure the model's speed on each device")
	fs.IntVar(&rounds, "rounds", 3, "measurements of each with --bench, after one that is not counted")
	fs.BoolVar(&write, "write", false, "with --bench, put the quickest into your own configuration")
	return cmd
}

func printFindings(out io.Writer, findings []doctor.Finding) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	for _, f := range findings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Status, f.What, f.Detail)
		if f.Hint != "" && f.Status != "ok" {
			fmt.Fprintf(w, "\t\thint: %s\n", f.Hint)
		}
	}
	return w.Flush()
}

// doctorBench measures the configured model on each device, and writes the
// choice down when asked.
func (a *app) doctorBench(cmd *cobra.Command, args []string, rounds int, write, asJSON bool) error {
	var none engine.Flags
	cfg, err := engine.Compose(a.App, cmd, args, none.Values(doctor.TokensMax, 1))
	if err != nil {
		return err
	}
	speeds, err := doctor.Measure(cmd.Context(), &a.Host, cfg, rounds)
	if err != nil {
		return err
	}
	if asJSON {
		err = a.JSON(speeds)
	} else {
		err = speeds.Print(a.Out)
	}
	if err != nil || !write {
		return err
	}
	path, err := speeds.Write()
	if err == nil {
		_, err = fmt.Fprintf(a.Err, "agent: %s is the choice in %s\n", speeds.Best, path)
	}
	return err
}
