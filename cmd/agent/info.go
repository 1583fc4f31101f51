package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"agent/command"
	"agent/inference"
	"agent/session"
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
			_, err := fmt.Fprintf(a.out, "agent %s (%s %s/%s; %s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, native)
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
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "What was built, what hardware is used, what is missing and how to get it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings := a.examine(cmd.Context())
			if asJSON {
				return a.printJSON(map[string]any{"findings": findings})
			}
			return a.printFindings(findings)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// examine looks at every part that a run may need.
func (a *app) examine(ctx context.Context) []finding {
	out := examineEngine()
	out = append(out, a.examineModel(ctx), examinePython(ctx), examineSandbox(ctx))
	return append(out, a.examineOutside()...)
}

func examineEngine() []finding {
	if !inference.Built() {
		return []finding{{"native engine", "missing", "this binary was built without cgo", inference.BuildHint}}
	}
	sys, err := inference.System()
	if err != nil {
		return []finding{{"native engine", "missing", err.Error(), inference.BuildHint}}
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
	return append(out, finding{What: "features", Status: "ok", Detail: strings.TrimSpace(sys.Features)})
}

func (a *app) examineModel(ctx context.Context) finding {
	f := finding{What: "default model", Status: "missing", Hint: "make model, or agent models pull smollm2-135m-instruct"}
	store, done, err := a.modelStore()
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	defer done()
	m, err := store.Locate(ctx, "smollm2-135m-instruct")
	if err != nil {
		f.Detail = "not on this machine"
		return f
	}
	return finding{What: "default model", Status: "ok", Detail: m.Path}
}

func examinePython(ctx context.Context) finding {
	path, err := command.PythonPath(ctx)
	if err != nil {
		return finding{"python", "missing", err.Error(), hintOf(err)}
	}
	return finding{What: "python", Status: "ok", Detail: path}
}

func examineSandbox(ctx context.Context) finding {
	r, err := command.SandboxReport(ctx)
	if err != nil {
		return finding{"sandbox", "missing", err.Error(), hintOf(err)}
	}
	f := finding{What: "sandbox", Status: "ok", Detail: fmt.Sprintf("files: %s; network: %s; processes: %s", or(r.Files, "open"), or(r.Network, "open"), or(r.Processes, "open"))}
	if !r.Confined() {
		f.Status = "warn"
		f.Hint = "the python command will refuse to run; --allow-unsandboxed runs it unconfined"
	}
	return f
}

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

func (a *app) printFindings(findings []finding) error {
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	for _, f := range findings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Status, f.What, f.Detail)
		if f.Hint != "" && f.Status != "ok" {
			fmt.Fprintf(w, "\t\thint: %s\n", f.Hint)
		}
	}
	return w.Flush()
}

func (a *app) sessionsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "sessions",
		Short:   "Past runs, and going on with one",
		Example: "  agent sessions list\n  agent sessions show last\n  agent sessions resume last",
		Args:    subcommandOnly,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.sessionsListCmd(), a.sessionsShowCmd(), a.sessionsResumeCmd())
	return cmd
}

func (a *app) sessionsListCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List past runs, the newest last", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			list, err := session.List(sessionsDir())
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(map[string]any{"sessions": list})
			}
			w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
			for _, s := range list {
				fmt.Fprintf(w, "%s\t%s\t%d steps\t%s\t%s\n", s.ID, or(string(s.Stop), "unfinished"), s.Steps, s.Model, oneLine(s.Task, 60))
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// oneLine cuts text to one line of n runes.
func oneLine(s string, n int) string {
	r := []rune(strings.Join(strings.Fields(s), " "))
	if len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return string(r)
}

func (a *app) sessionsShowCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show what happened in a run", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := session.Find(sessionsDir(), args[0])
			if err != nil {
				return err
			}
			run, err := session.Load(path)
			if err != nil {
				return err
			}
			for _, ev := range run.Events {
				if asJSON {
					err = a.printJSONLine(ev)
				} else {
					err = showEvent(a.out, ev)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print events as JSON lines")
	return cmd
}

// showEvent writes an event, and the answer, which RenderText leaves out.
func showEvent(w io.Writer, ev session.Event) error {
	if err := session.RenderText(w, ev, session.RenderOptions{LinesMax: -1}); err != nil {
		return err
	}
	if r, ok := ev.Data.(*session.Result); ok && r.Answer != "" {
		_, err := fmt.Fprintln(w, r.Answer)
		return err
	}
	return nil
}

func (a *app) sessionsResumeCmd() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use: "resume ID [key=value …] [MESSAGE]", Short: "Go on with a run, perhaps with more words", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.resume = args[0]
			return a.runTask(cmd, args[1:], &f)
		},
	}
	cmd.Flags().BoolVar(&f.json, "json", false, "print events as JSON lines")
	f.values.bind(cmd.Flags(), "approve", "agent.approve", "", "ask, auto or never")
	cmd.Flags().BoolVar(&f.trust, "trust", false, "use the commands that lie in commands/ of the work dir, in this run")
	return cmd
}

func subcommandOnly(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownSubcommand(cmd, args[0])
	}
	return nil
}
