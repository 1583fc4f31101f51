// Package doctor examines this machine: [Examine] says whether all that the agent
// needs is there, [Measure] on which device a model runs fastest.
//
// Examine never fails: what is missing is a [Finding], with what to do about it.
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"agent/command/python"
	"agent/command/search"
	"agent/command/stock"
	"agent/inference"
	"agent/internal/config"
	"agent/internal/exit"
	"agent/internal/setup"
)

// Finding is the state of one part.
type Finding struct {
	What   string `json:"what"`
	Status string `json:"status"` // ok, warn or missing
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// Examine looks at every part that a run may need. wrong is why there is no
// configuration; selfTest repeats the self-test.
func Examine(ctx context.Context, host *setup.Host, cfg *config.Config, wrong error, selfTest bool,
) []Finding {
	out := examineEngine(ctx, selfTest)
	out = append(out, examineModel(ctx, host), examinePython(ctx), examineSandbox(ctx, cfg))
	out = append(out, examineSystem(runtime.GOOS)...)
	return append(out, examineOutside(host, cfg, wrong)...)
}

func examineEngine(ctx context.Context, selfTest bool) []Finding {
	if !inference.Built() {
		return []Finding{{"native engine", "missing", "this binary was built without cgo",
			inference.BuildHint}}
	}
	sys, err := inference.System()
	if err != nil {
		return []Finding{{"native engine", "missing", err.Error(),
			cmp.Or(exit.Hint(err), inference.BuildHint)}}
	}
	out := []Finding{{What: "native engine", Status: "ok", Detail: "llama.cpp v0.5.0, build " +
		inference.BuildID}}
	for _, d := range sys.Devices {
		detail := d.Description
		if d.TotalBytes > 0 {
			detail += fmt.Sprintf(", %.1f of %.1f GiB free", float64(d.FreeBytes)/(1<<30),
				float64(d.TotalBytes)/(1<<30))
		}
		if !d.Accelerator {
			detail += fmt.Sprintf(", %d physical cores", inference.PhysicalCores())
		}
		out = append(out, Finding{What: "device " + d.Name, Status: "ok", Detail: detail})
	}
	if missing := sys.Missing(); missing != "" {
		out = append(out, Finding{"accelerator", "warn", missing,
			"models run on the CPU; install the driver of the device, or use the build for the CPU"})
	}
	out = append(out, Finding{What: "features", Status: "ok", Detail: strings.TrimSpace(sys.Features)})
	return append(out, examineComputing(ctx, selfTest)...)
}

// examineComputing is the self-test's verdict, a line for each place where weights may lie.
func examineComputing(ctx context.Context, again bool) []Finding {
	exe, err := os.Executable()
	if err != nil {
		return []Finding{{"self-test", "missing", err.Error(), ""}}
	}
	t, err := inference.SelfTestInChild(ctx, exe, setup.VetDir(), again)
	if err != nil {
		return []Finding{{"self-test", "missing", err.Error(), exit.Hint(err)}}
	}
	var out []Finding
	for _, b := range t.Buffers {
		f := Finding{What: "computing in " + b.Name, Status: "ok",
			Detail: fmt.Sprintf("%d weight types, relative error at most %.1g: %s", len(b.Types), b.Worst,
				strings.Join(b.Types, " "))}
		if b.Fault != "" {
			f.Status, f.Detail, f.Hint = "warn", b.Fault,
				"it is switched off on this machine; `agent doctor --selftest` tests again"
		}
		out = append(out, f)
	}
	return out
}

func examineModel(ctx context.Context, host *setup.Host) Finding {
	f := Finding{What: "default model", Status: "missing",
		Hint: "make model, or agent models pull smollm2-135m-instruct"}
	store, done, err := host.Store()
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
	return Finding{What: "default model", Status: "ok", Detail: m.Path}
}

func examinePython(ctx context.Context) Finding {
	found, err := python.Find(ctx, "")
	if err != nil {
		return Finding{"python", "missing", err.Error(), exit.Hint(err)}
	}
	return Finding{What: "python", Status: "ok", Detail: found.Executable}
}

// examineSandbox tries to confine, and looks at the work dir as the python command does.
func examineSandbox(ctx context.Context, cfg *config.Config) Finding {
	dir, err := filepath.Abs(workDir(cfg))
	if err != nil {
		return Finding{"sandbox", "missing", err.Error(), exit.Hint(err)}
	}
	r, err := stock.SandboxReport(ctx, dir)
	if err != nil {
		return Finding{"sandbox", "missing", err.Error(), exit.Hint(err)}
	}
	f := Finding{What: "sandbox", Status: "ok",
		Detail: fmt.Sprintf("files: %s; network: %s; processes: %s", cmp.Or(r.Files, "open"),
			cmp.Or(r.Network, "open"), cmp.Or(r.Processes, "open"))}
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

// examineSystem names what works on Linux only, so that nobody counts on it
// elsewhere. Confinement has a line of its own.
func examineSystem(goos string) []Finding {
	if goos == "linux" {
		return nil
	}
	out := []Finding{{"memory", "warn", "free memory is unknown on " + goos,
		"a model that does not fit is not refused before it is loaded: mind its size"}}
	if goos == "windows" {
		out = append(out,
			Finding{"processes", "warn", "what a stopped program has started goes on",
				"end the programs of MCP servers yourself"},
			Finding{"terminal", "warn", "progress and colours need a console that knows escape sequences",
				"use Windows Terminal, or --quiet"})
	}
	return out
}

// examineOutside says what is configured, without reaching out. err is why there
// is no configuration.
func examineOutside(host *setup.Host, raw *config.Config, err error) []Finding {
	cfg := &setup.Config{}
	if err == nil {
		cfg, err = host.Decode(raw, setup.SectionMCP, setup.SectionSearch)
	}
	if err != nil {
		return []Finding{{"configuration", "warn", err.Error(), "agent config check tells more"}}
	}
	out := []Finding{{What: "search", Status: "ok",
		Detail: "the files of the work dir; no web search is configured"}}
	if p := cfg.Search.Provider; p != "" && p != search.Local {
		out[0].Detail = "the web with " + p + ", and the files of the work dir"
	}
	if len(cfg.Servers) > 0 {
		out = append(out, Finding{What: "mcp servers", Status: "ok",
			Detail: strings.Join(slices.Sorted(maps.Keys(cfg.Servers)), ", ") +
				"; agent commands list connects to them"})
	}
	return out
}
