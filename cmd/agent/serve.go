package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"agent/backend"
	"agent/internal/cli"
	"agent/internal/exit"
	"agent/internal/serve"
	"agent/internal/serve/page"
	"agent/internal/setup"
)

func (a *app) serveCmd() *cobra.Command {
	var values setup.Flags
	var o serveFlags
	cmd := &cobra.Command{
		Use:   "serve [flags] [key=value …]",
		Short: "Serve any backend over HTTP as OpenAI does, or as a FastChat worker",
		Long: `Serve any backend over HTTP.

The protocol is OpenAI's: /v1/models, /v1/chat/completions, /v1/completions (with
echo and the prompt's log-probabilities), /v1/embeddings, /v1/decisions; and
/tokenize, /health, /metrics. With --fastchat-controller the server is a worker
of that FastChat cluster too. docs/serve.md has the details.

Only this machine is served unless there is an API key: in the environment
variable AGENT_API_KEY, in --api-key-file, or as serve.api_key.

A browser gets a page at /, to chat and to decide among options. With --workdir whoever
may call the server can also have tasks worked on there; what would be written or run is
asked about at the page.`,
		Example: `  agent serve
  agent serve --model qwen2.5-coder-0.5b-instruct --port 8000 llm.parallel=8
  AGENT_API_KEY=$(cat key) agent serve --host 0.0.0.0
  agent serve --also qwen2.5-coder-0.5b-instruct --also "openai model_id=gpt-4o-mini"
  agent serve --workdir ~/notes --model qwen2.5-coder-1.5b-instruct
  agent serve --fastchat-controller http://127.0.0.1:21001 --model-names smollm2`,
		Args: cli.OverridesOnly("serve"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.serve(cmd, args, &values, &o) },
	}
	o.bind(cmd.Flags(), &values)
	return cmd
}

func (o *serveFlags) bind(f *pflag.FlagSet, values *setup.Flags) {
	values.Bind(f, "host", "serve.host", setup.HostDefault, "address to listen on")
	values.Bind(f, "port", "serve.port", setup.PortDefault, "port to listen on; 0 takes a free one")
	f.StringVar(&o.keyFile, "api-key-file", "", "file with the key that clients must send")
	values.Bind(f, "model-names", "serve.model_names", []string(nil),
		"names under which the model is served")
	values.Bind(f, "origin", "serve.origins", []string(nil),
		"web origins whose pages may call the server")
	values.Bind(f, "max-requests", "serve.max_requests", serve.RequestsMaxDefault,
		"most replies in work and waiting")
	values.Bind(f, "fastchat-controller", "serve.fastchat_controller", "",
		"URL of a FastChat controller to join as a worker")
	values.Bind(f, "worker-address", "serve.worker_address", "",
		"URL under which the cluster reaches this worker")
	values.Bind(f, "worker-allow", "serve.worker_allow", []string(nil),
		"addresses or networks, besides the controller's, that may call the worker")
	f.StringVar(&o.workDir, "workdir", "",
		"also work on tasks in this `FOLDER`, which people at the page begin and decide about")
	f.StringArrayVar(&o.also, "also", nil,
		"serve this `MODEL` too, loaded when it is asked for: as for --model, or as for --llm of agent compare "+
			"(may be repeated)")
	f.DurationVar(&o.keepAlive, "keep-alive", serve.KeepAliveDefault,
		"unload models of --also that nobody has used for so long; -1s: never")
	f.BoolVar(&o.logJSON, "log-json", false, "log as JSON lines")
}

// serveFlags are the flags that are no settings.
type serveFlags struct {
	keyFile, workDir string
	logJSON          bool
	also             []string
	keepAlive        time.Duration
}

// serve composes, opens, listens and serves until interrupted.
func (a *app) serve(cmd *cobra.Command, args []string, values *setup.Flags, o *serveFlags) error {
	ctx := cmd.Context()
	sections := []setup.Section{setup.SectionServe, setup.SectionLLM}
	if o.workDir != "" {
		sections = append(setup.RunSections(), setup.SectionServe)
	}
	cfg, _, err := a.Compose(cmd, args, values.Values(), sections...)
	if err != nil {
		return err
	}
	c := cfg.Serve
	if err := c.ReadKey(o.keyFile); err != nil {
		return err
	}
	// The port is taken before the model is loaded, so that a mistake shows at
	// once; clients that come early wait in the listener's queue.
	l, err := listen(ctx, c)
	if err != nil {
		return err
	}
	defer l.Close()
	a.Host.Serving = true
	b, err := a.Host.OpenModel(ctx, cfg)
	if err != nil {
		return err
	}
	defer b.Close()
	server := c.Server(a.serveLog(o.logJSON))
	server.Page, server.KeepAlive = page.Static(), o.keepAlive
	for _, spec := range o.also {
		server.Others = append(server.Others, a.another(spec))
	}
	if o.workDir != "" {
		tasks, err := a.tasks(cfg, b, o.workDir)
		if err != nil {
			return err
		}
		defer tasks.Close()
		server.Tasks = tasks.Handler()
	}
	s, err := serve.New(b.LanguageBackend, server)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	a.Note(fmt.Sprintf("serving %s at http://%s/v1", strings.Join(s.Names(), ", "), l.Addr()))
	a.Note(fmt.Sprintf("a page for browsers at http://%s/", l.Addr()))
	return s.Serve(ctx, l)
}

// another is a model of --also.
func (a *app) another(spec string) serve.Another {
	name := spec
	if words := strings.Fields(spec); strings.Contains(spec, "=") {
		name = words[0]
		for _, word := range words {
			if id, ok := strings.CutPrefix(strings.TrimPrefix(word, "llm."), "model_id="); ok {
				name = id
			}
		}
	} else {
		spec = "hf model_id=" + spec
	}
	name = strings.TrimSuffix(path.Base(filepath.ToSlash(name)), ".gguf")
	return serve.Another{Name: name, Open: func(ctx context.Context) (backend.LanguageBackend, error) {
		m, err := a.Host.OpenSecond(ctx, spec)
		if err != nil {
			return nil, err
		}
		return m.LanguageBackend, nil
	}}
}

// tasks works on what pages ask for, in a folder and on the model that is served.
func (a *app) tasks(cfg *setup.Config, model *setup.Model, folder string) (*page.Tasks, error) {
	dir, err := setup.WorkDir(folder)
	if err != nil {
		return nil, err
	}
	a.unattended()
	return page.NewTasks(page.Config{Open: a.opener(cfg, model, nil), Folder: dir,
		Sessions: setup.SessionsDir()}), nil
}

// serveLog logs requests to stderr; with --quiet only what is wrong.
func (a *app) serveLog(asJSON bool) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelInfo}
	if a.Quiet {
		opts.Level = slog.LevelWarn
	}
	if asJSON {
		return slog.New(slog.NewJSONHandler(a.Err, opts))
	}
	return slog.New(slog.NewTextHandler(a.Err, opts))
}

// listen takes the port, unless strangers could reach it without a key.
func listen(ctx context.Context, c *setup.Serve) (net.Listener, error) {
	address := net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, &backend.Error{Op: "serve", Err: err,
			Advice: "another program may use the port; choose one with --port (0: any free one)"}
	}
	if err := serve.CheckBind(l.Addr(), c.APIKey); err != nil {
		l.Close()
		return nil, exit.With(exit.Usage, err)
	}
	return l, nil
}
