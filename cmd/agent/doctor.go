package main

import (
	"agent/command/search"
	"agent/internal/cli"
	"agent/internal/exit"
	"agent/internal/setup"
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"agent/command/python"
	"agent/command/stock"
	"agent/inference"
	"agent/internal/config"
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
			_, err := fmt.Fprintf(a.Out, "agent %s (%s %s/%s; %s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, native)
			return err
		},
	}
}

// finding is one line of doctor.
type finding struct {
	What   string `json:"what"`
	Status string `json:"status"` // ok, warn or missing
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
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
			findings := a.examine(cmd.Context(), cfg, err, selfTest)
			if asJSON {
				return a.JSON(map[string]any{"findings": findings})
			}
			return a.printFindings(findings)
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&asJSON, "json", false, "print JSON")
	fs.BoolVar(&selfTest, "selftest", false, "test again whether the native code computes rightly on this machine")
	fs.BoolVar(&measure, "bench", false, "measure the model's speed on each device")
	fs.IntVar(&rounds, "rounds", 3, "measurements of each with --bench, after one that is not counted")
	fs.BoolVar(&write, "write", false, "with --bench, put the quickest into your own configuration")
	return cmd
}

// examine looks at every part that a run may need. wrong is why there is no
// configuration; selfTest repeats the self-test.
func (a *app) examine(ctx context.Context, cfg *config.Config, wrong error, selfTest bool) []finding {
	out := examineEngine(ctx, selfTest)
	out = append(out, a.examineModel(ctx), examinePython(ctx), examineSandbox(ctx, cfg))
	out = append(out, examineSystem(runtime.GOOS)...)
	return append(out, a.examineOutside(cfg, wrong)...)
}

func examineEngine(ctx context.Context, selfTest bool) []finding {
	if !inference.Built() {
		return []finding{{"native engine", "missing", "this binary was built without cgo", inference.BuildHint}}
	}
	sys, err := inference.System()
	if err != nil {
		return []finding{{"native engine", "missing", err.Error(), cmp.Or(exit.Hint(err), inference.BuildHint)}}
	}
	out := []finding{{What: "native engine", Status: "ok", Detail: "llama.cpp v0.5.0, build " + inference.BuildID}}
	for _, d := range sys.Devices {
		detail := d.Description
		if d.TotalBytes > 0 {
			detail += fmt.Sprintf(", %.1f of %.1f GiB free", float64(d.FreeBytes)/(1<<30), float64(d.TotalBytes)/(1<<30))
		}
		if !d.Accelerator {
			detail += fmt.Sprintf(", %d physical cores", inference.PhysicalCores())
		}
		out = append(out, finding{What: "device " + d.Name, Status: "ok", Detail: detail})
	}
	if missing := sys.Missing(); missing != "" {
		out = append(out, finding{"accelerator", "warn", missing, "models run on the CPU; install the driver of the device, or use the build for the CPU"})
	}
	out = append(out, finding{What: "features", Status: "ok", Detail: strings.TrimSpace(sys.Features)})
	return append(out, examineComputing(ctx, selfTest)...)
}

// examineComputing is the self-test's verdict, a line for each place where weights may lie.
func examineComputing(ctx context.Context, again bool) []finding {
	exe, err := os.Executable()
	if err != nil {
		return []finding{{"self-test", "missing", err.Error(), ""}}
	}
	t, err := inference.SelfTestInChild(ctx, exe, setup.VetDir(), again)
	if err != nil {
		return []finding{{"self-test", "missing", err.Error(), exit.Hint(err)}}
	}
	var out []finding
	for _, b := range t.Buffers {
		f := finding{What: "computing in " + b.Name, Status: "ok",
			Detail: fmt.Sprintf("%d weight types, relative error at most %.1g: %s", len(b.Types), b.Worst, strings.Join(b.Types, " "))}
		if b.Fault != "" {
			f.Status, f.Detail, f.Hint = "warn", b.Fault, "it is switched off on this machine; `agent doctor --selftest` tests again"
		}
		out = append(out, f)
	}
	return out
}

func (a *app) examineModel(ctx context.Context) finding {
	f := finding{What: "default model", Status: "missing", Hint: "make model, or agent models pull smollm2-135m-instruct"}
	store, done, err := a.Host.Store()
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	defer done()
	m, err := store.Locate(ctx, setup.DefaultModel)
	if err != nil {
		f.Detail = "not on this machine"
		return f
	}
	return finding{What: "default model", Status: "ok", Detail: m.Path}
}

func examinePython(ctx context.Context) finding {
	found, err := python.Find(ctx, "")
	if err != nil {
		return finding{"python", "missing", err.Error(), exit.Hint(err)}
	}
	return finding{What: "python", Status: "ok", Detail: found.Executable}
}

// examineSandbox tries to confine, and looks at the work dir as the python command does.
func examineSandbox(ctx context.Context, cfg *config.Config) finding {
	dir, err := filepath.Abs(workDir(cfg))
	if err != nil {
		return finding{"sandbox", "missing", err.Error(), exit.Hint(err)}
	}
	r, err := stock.SandboxReport(ctx, dir)
	if err != nil {
		return finding{"sandbox", "missing", err.Error(), exit.Hint(err)}
	}
	f := finding{What: "sandbox", Status: "ok", Detail: fmt.Sprintf("files: %s; network: %s; processes: %s", cmp.Or(r.Files, "open"), cmp.Or(r.Network, "open"), cmp.Or(r.Processes, "open"))}
	if !r.Confined() {
		f.Status = "warn"
		if len(r.Reasons) > 0 {
			f.Detail += "; " + strings.Join(r.Reasons, "; ")
		}
		f.Hint = "the python command will refuse to run; --allow-unsandboxed runs it unconfined"
	}
	return f
}

// workDir is the configured one.
func workDir(cfg *config.Config) string {
	if cfg != nil {
		if dir, err := cfg.Get("agent.workdir"); err == nil {
			if dir, ok := dir.(string); ok {
				return dir
			}
		}
	}
	return "."
}

// examineSystem names what only Linux has of the program, so that nobody counts
// on it elsewhere. Confinement is the sandbox's line.
func examineSystem(goos string) []finding {
	if goos == "linux" {
		return nil
	}
	out := []finding{{"memory", "warn", "free memory is unknown on " + goos, "a model that does not fit is not refused before it is loaded: mind its size"}}
	if goos == "windows" {
		out = append(out,
			finding{"processes", "warn", "what a stopped program has started goes on", "end the programs of MCP servers yourself"},
			finding{"terminal", "warn", "progress and colours need a console that knows escape sequences", "use Windows Terminal, or --quiet"})
	}
	return out
}

func (a *app) printFindings(findings []finding) error {
	w := tabwriter.NewWriter(a.Out, 0, 4, 2, ' ', 0)
	for _, f := range findings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Status, f.What, f.Detail)
		if f.Hint != "" && f.Status != "ok" {
			fmt.Fprintf(w, "\t\thint: %s\n", f.Hint)
		}
	}
	return w.Flush()
}

// examineOutside says what is configured, without reaching out. err is why there
// is no configuration.
func (a *app) examineOutside(raw *config.Config, err error) []finding {
	cfg := &setup.Config{}
	if err == nil {
		cfg, err = a.Host.Decode(raw, setup.SectionMCP, setup.SectionSearch)
	}
	if err != nil {
		return []finding{{"configuration", "warn", err.Error(), "agent config check tells more"}}
	}
	out := []finding{{What: "search", Status: "ok", Detail: "the files of the work dir; no web search is configured"}}
	if p := cfg.Search.Provider; p != "" && p != search.Local {
		out[0].Detail = "the web with " + p + ", and the files of the work dir"
	}
	if len(cfg.Servers) > 0 {
		out = append(out, finding{What: "mcp servers", Status: "ok", Detail: strings.Join(slices.Sorted(maps.Keys(cfg.Servers)), ", ") + "; agent commands list connects to them"})
	}
	return out
}
