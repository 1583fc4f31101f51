package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"agent/backend"
	"agent/internal/cli"
	"agent/internal/exit"
	"agent/internal/launch"
	"agent/internal/serve"
	"agent/internal/setup"
	"agent/internal/terminal"
)

func (a *app) launchCmd() *cobra.Command {
	var values setup.Flags
	var show bool
	cmd := &cobra.Command{
		Use:   "launch [flags] [key=value …] CLIENT [-- ARGUMENT…]",
		Short: "Serve the model, and start a coding client on it",
		Long: `Serve the model on a free port and start a coding client on it: ` + strings.Join(launch.Names(), ", ") + `.

The client gets settings of its own, in a private folder, in variables and in arguments;
nothing of the user's own settings is changed. What stands after -- goes to the client.
When the client ends, so does the server. --print shows the settings for a server that
runs already, and starts nothing.`,
		Example: `  agent launch opencode --model qwen2.5-coder-1.5b-instruct
  agent launch codex -- exec "add a test for parse.py"
  agent launch claude --print`,
		Args: cli.WithOverrides(func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exit.Usagef("no client given: name one of %s", strings.Join(launch.Names(), ", "))
			}
			return nil
		}),
		ValidArgs: launch.Names(),
		RunE:      func(cmd *cobra.Command, args []string) error { return a.launch(cmd, args, &values, show) },
	}
	f := cmd.Flags()
	values.Bind(f, "port", "serve.port", setup.PortDefault, "of the server that --print is about")
	values.Bind(f, "model-names", "serve.model_names", []string(nil),
		"names under which the model is served")
	f.BoolVar(&show, "print", false, "show the settings and start nothing")
	return cmd
}

// replyShare of the context is the most that a client is told a reply may take.
const replyShare = 4

func (a *app) launch(cmd *cobra.Command, args []string, values *setup.Flags, show bool) error {
	cfg, rest, err := a.Compose(cmd, args, values.Values(), setup.SectionServe, setup.SectionLLM)
	if err != nil {
		return err
	}
	client, err := launch.Find(rest[0])
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	program, err := exec.LookPath(client.Program)
	if err != nil && !show {
		return &backend.Error{Op: "launch",
			Err:    fmt.Errorf("there is no program %s here", client.Program),
			Advice: "install it: " + client.Install}
	}
	a.Host.Serving = true
	model, err := a.Host.OpenModel(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	defer model.Close()
	on := launch.Server{
		Dir:     filepath.Join(setup.StateDir(), "launch", client.Name),
		Context: model.ContextLength(),
		Reply:   model.ContextLength() / replyShare,
	}
	c := launched{app: a, client: client, program: program, on: on, args: rest[1:]}
	if show {
		return c.print(model, cfg.Serve)
	}
	return c.run(cmd.Context(), model, cfg.Serve)
}

// print shows what a client needs for a server that runs as configured.
func (c *launched) print(model *setup.Model, cfg *setup.Serve) error {
	s, err := serve.New(model, serve.Config{ModelNames: cfg.ModelNames})
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	c.on.URL, c.on.Key, c.on.Model = fmt.Sprintf("http://127.0.0.1:%d", cfg.Port), "none", s.Names()[0]
	settings, err := c.client.Settings(c.on)
	if err != nil {
		return err
	}
	return settings.Print(c.Out, c.client.Program, c.args)
}

// launched is a client and what it is started with.
type launched struct {
	*app
	client  launch.Client
	program string
	on      launch.Server
	args    []string
}

// run serves until the client has ended.
func (c *launched) run(ctx context.Context, model *setup.Model, cfg *setup.Serve) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	log, err := c.log()
	if err != nil {
		return err
	}
	defer log.Close()
	c.on.Key = rand.Text()
	s, err := c.server(model, cfg, log)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	c.on.URL, c.on.Model = "http://"+l.Addr().String(), s.Names()[0]
	settings, err := c.client.Settings(c.on)
	if err == nil {
		err = settings.Write()
	}
	if err != nil {
		return err
	}
	c.Note(fmt.Sprintf("starting %s on %s; its settings and the log of requests are in %s",
		c.client.Name, c.on.Model, c.on.Dir))
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- s.Serve(serving, l) }()
	err = c.attach(ctx, settings)
	stop()
	if failed := <-served; err == nil {
		err = failed
	}
	u := s.Usage()
	c.Note(fmt.Sprintf("%s: prompt tokens: %d evaluated, %d reused; %d generated",
		c.client.Name, u.EvaluatedTokens, u.CachedTokens, u.CompletionTokens))
	return err
}

// log is the file that requests are logged to: the client has the terminal.
func (c *launched) log() (*os.File, error) {
	if err := os.MkdirAll(c.on.Dir, 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(c.on.Dir, "server.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC,
		0o600)
}

// server is for this client alone.
func (c *launched) server(model *setup.Model, cfg *setup.Serve, log io.Writer,
) (*serve.Server, error) {
	config := cfg.Server(slog.New(slog.NewTextHandler(log, nil)))
	config.APIKey, config.Origins, config.Worker = backend.Secret(c.on.Key), nil, nil
	config.DrainWithin = time.Second
	config.FirstTokenWithin = config.RequestWithin // nobody else waits, and prompts are long
	config.Page = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "agent is running") // clients look whether somebody is there
	})
	return serve.New(model, config)
}

// attach runs the client on this program's own streams. Ctrl-C is the client's.
func (c *launched) attach(ctx context.Context, s launch.Settings) error {
	signal.Reset(os.Interrupt)
	caught := make(chan os.Signal, 1) // caught and not ignored: a client would inherit that
	signal.Notify(caught, os.Interrupt)
	defer signal.Stop(caught)
	const lastWords = 5 * time.Second
	cmd := exec.CommandContext(ctx, c.program, append(s.Args, c.args...)...)
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.In, plainOut(c.Out), terminal.Undisguised(c.Err)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = lastWords
	err := cmd.Run()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%s ended with %s", filepath.Base(c.program), ended.ProcessState)
		return exit.With(max(ended.ExitCode(), exit.Failed), err)
	}
	return err
}

// plainOut is standard output itself: a client draws on the terminal.
func plainOut(w io.Writer) io.Writer {
	if out, ok := w.(*terminal.Output); ok {
		return terminal.Undisguised(out.Writer)
	}
	return w
}
