package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"agent/backend"
	"agent/backend/hf"
	tools "agent/command/mcp"
	"agent/internal/cli"
	"agent/internal/exit"
	"agent/internal/serve"
	"agent/internal/serve/mcp"
	"agent/internal/serve/work"
	"agent/internal/setup"
)

// mcpApp is the app with the flags of `agent mcp`.
type mcpApp struct {
	*app

	http    bool
	keyFile string
	disable []string
	values  setup.Flags
}

func (a *app) mcpCmd() *cobra.Command {
	f := &mcpApp{app: a}
	cmd := &cobra.Command{
		Use:   "mcp [flags] [key=value …]",
		Short: "Offer the agent to other programs as an MCP server",
		Long: `Offer the agent to other programs as an MCP server, on standard input and output, or
with --http as streamable HTTP at /mcp.

Its tools are run (a task in the folder), choose, classify, count_tokens and
read_document. What a task would write or run is asked about by elicitation; where the
client can't ask, it is refused, unless --approve or agent.approve_rules allow it.`,
		Example: `  agent mcp --workdir ~/notes
  agent mcp --http --port 8090 --model qwen2.5-coder-1.5b-instruct`,
		Args: cli.OverridesOnly("mcp"),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	fl := cmd.Flags()
	bindWork(cmd, &f.values)
	fl.StringArrayVar(&f.disable, "disable", nil, "take the command `NAME` away (may be repeated)")
	fl.BoolVar(&f.http, "http", false, "serve streamable HTTP instead of standard input and output")
	f.values.Bind(fl, "host", "serve.host", setup.HostDefault, "address to listen on, with --http")
	f.values.Bind(fl, "port", "serve.port", setup.PortDefault,
		"port to listen on, with --http; 0 takes a free one")
	fl.StringVar(&f.keyFile, "api-key-file", "",
		"file with the key that clients must send, with --http")
	return cmd
}

// desk is what the wires that offer whole tasks work with.
type desk struct {
	cfg   *setup.Config
	model *setup.Model
	open  work.Opener
}

// openDesk composes and opens the model. Nobody is at standard input: a client is.
func (a *app) openDesk(cmd *cobra.Command, args []string, values *setup.Flags, disable []string,
) (*desk, error) {
	a.unattended()
	cfg, _, err := a.Compose(cmd, args, values.Values(),
		append(setup.RunSections(), setup.SectionServe)...)
	if err != nil {
		return nil, err
	}
	if cfg.Agent.Workdir, err = setup.WorkDir(cfg.Agent.Workdir); err != nil {
		return nil, err
	}
	a.Host.Serving = true
	model, err := a.Host.OpenModel(cmd.Context(), cfg)
	if err != nil {
		return nil, err
	}
	if model.Human() {
		return nil, exit.Usagef("llm=human reads standard input, where the client is; choose another model")
	}
	if local, ok := backend.As[*hf.Backend](model); ok {
		local.Remember()
	}
	return &desk{cfg, model, a.opener(cfg, model, disable)}, nil
}

// unattended makes questions to the terminal be answered with no: the person is elsewhere.
func (a *app) unattended() {
	a.Host.Attended, a.Host.Confirm = false,
		func(context.Context, string, string) (bool, error) { return false, nil }
}

// opener makes runs ready on one model.
func (a *app) opener(cfg *setup.Config, model *setup.Model, disable []string) work.Opener {
	return func(ctx context.Context, o work.Order) (*work.Run, error) {
		own, agent := *cfg, *cfg.Agent
		own.Agent, agent.Workdir = &agent, o.Folder
		if o.Mode != "" {
			agent.Approve = string(o.Mode)
		}
		own.Servers = maps.Clone(cfg.Servers)
		for name, s := range o.Servers {
			if own.Servers == nil {
				own.Servers = map[string]tools.Server{}
			}
			own.Servers[name] = s
		}
		run, err := setup.Open(ctx, setup.Settings{Host: &a.Host, Config: &own, Model: model,
			Approver: o.Ask, Attended: o.Ask != nil, Disable: disable, Resume: o.Resume, OwnDir: true})
		if err != nil {
			return nil, err
		}
		if o.Ask != nil { // whatever the mode is now
			run.Options.Approver = o.Ask
		}
		return &work.Run{Options: run.Options, Close: run.Close}, nil
	}
}

func (a *mcpApp) run(cmd *cobra.Command, args []string) error {
	d, err := a.openDesk(cmd, args, &a.values, a.disable)
	if err != nil {
		return err
	}
	defer d.model.Close()
	ctx := cmd.Context()
	s := mcp.New(mcp.Config{Model: d.model, Open: d.open, Env: d.cfg.Env(d.cfg.Agent.Workdir),
		Rules: d.cfg.Agent.ApproveRules, Version: version})
	if !a.http {
		return s.Stdio(ctx, a.In, a.Out)
	}
	c := d.cfg.Serve
	if err := c.ReadKey(a.keyFile); err != nil {
		return err
	}
	l, err := listen(ctx, c)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/mcp", s.Handler())
	a.Note(fmt.Sprintf("serving %s over MCP at http://%s/mcp", strings.TrimSpace(d.model.ModelID()),
		l.Addr()))
	return serve.Door{APIKey: c.APIKey, Origins: c.Origins}.Serve(ctx, l, mux, a.serveLog(false))
}
