// Package cli is what the command lines of this repository's programs have in
// common: flags for all subcommands, clear usage errors, exit codes, JSON.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"agent/backend"
	"agent/inference"
	"agent/internal/config"
	"agent/internal/exit"
	"agent/internal/hub"
	"agent/internal/setup"
	"agent/internal/terminal"

	"github.com/spf13/cobra"
)

// App is one start of a program: its streams, and what it is set up by.
type App struct {
	terminal.Terminal
	Host setup.Host
}

// New makes the app of a program; custom backends join those built in.
func New(in io.Reader, out, err io.Writer, custom backend.Registry) *App {
	a := &App{Terminal: terminal.Terminal{In: in, Out: &terminal.Output{Writer: out}, Err: err}}
	a.Host = setup.Host{Backends: custom, In: in, Out: terminal.Undisguised(err),
		Attended: a.Attended() && terminal.Is(err), Warn: a.Warn, Tell: a.Terminal.Note,
		Loading: a.Loading,
		Confirm: func(ctx context.Context, shown, question string) (bool, error) {
			fmt.Fprint(a.Err, shown)
			return a.Confirm(ctx, question)
		},
		Fetching: func() *hub.Renderer {
			if a.Quiet {
				return nil
			}
			columns, isTerminal := terminal.Columns(a.Err)
			return hub.NewRenderer(terminal.Undisguised(a.Err), isTerminal, columns)
		}}
	return a
}

// Main runs a program on the process's own streams and arguments, and returns
// its exit code. root assembles its commands.
func Main(custom backend.Registry, root func(*App) *cobra.Command) int {
	if code, child := inference.RunChild(); child {
		return code
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	out, endOut := terminal.ToPerson(os.Stdout)
	defer endOut()
	err, endErr := terminal.ToPerson(os.Stderr)
	defer endErr()
	a := New(os.Stdin, out, err, custom)
	return a.Run(ctx, a.Root(root(a)), os.Args[1:])
}

// Root adds what all programs have to a command tree: flags, and errors about
// wrong command lines.
func (a *App) Root(root *cobra.Command) *cobra.Command {
	root.SilenceUsage, root.SilenceErrors = true, true
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return refuseEmpty(cmd.Flags()) }
	f := root.PersistentFlags()
	f.StringVar(&a.Host.Model, "model", "",
		"local model: a path, a catalog name, hf://OWNER/REPO[@REV][/FILE] or a hub id")
	f.StringArrayVar(&a.Host.ConfigDirs, "config-dir", nil,
		"search this folder for configuration before ./configs")
	f.BoolVar(&a.Host.TrustFolder, "trust-folder", false,
		"allow what configs and .env of this folder ask for, and follow its AGENTS.md and skills, this time")
	f.BoolVarP(&a.Quiet, "quiet", "q", false, "no progress on stderr")
	strictUsage(root)
	return root
}

// Run executes one command line and reports its error, if any, as one line
// with an optional hint.
func (a *App) Run(ctx context.Context, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	err := root.ExecuteContext(ctx)
	if out, ok := a.Out.(*terminal.Output); ok && out.Err != nil && ctx.Err() == nil {
		err = out.Err
	}
	if err == nil {
		return exit.OK
	}
	return a.Report(ctx, err)
}

// Report prints an error the one way that programs do here, and picks the code.
func (a *App) Report(ctx context.Context, err error) int {
	code := exit.Code(err)
	if code == exit.Interrupted || ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.Err, "agent: interrupted")
		return exit.Interrupted
	}
	fmt.Fprintf(a.Err, "agent: error: %v\n", err)
	if hint := exit.Hint(err); hint != "" {
		fmt.Fprintf(a.Err, "agent: hint: %s\n", hint)
	}
	return code
}

// WithDash puts back the "--" that the flag parser took out of args: what
// follows it is never an override.
func WithDash(cmd *cobra.Command, args []string) []string {
	if n := cmd.ArgsLenAtDash(); n >= 0 {
		return slices.Insert(slices.Clone(args), n, "--")
	}
	return args
}

// Split separates the overrides among a command's arguments from the rest.
func Split(cmd *cobra.Command, args []string) (overrides, rest []string) {
	return setup.SplitOverrides(WithDash(cmd, args))
}

// WithOverrides checks a command's arguments but for the overrides among them.
func WithOverrides(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		_, rest := Split(cmd, args)
		return argumentError(cmd, rest, check(cmd, rest))
	}
}

// OverridesOnly refuses arguments that are no overrides; what names the command.
func OverridesOnly(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if _, rest := Split(cmd, args); len(rest) > 0 {
			return exit.Usagef("%s takes key=value arguments, got %q", what, rest[0])
		}
		return nil
	}
}

// Compose makes the configuration of a command line and decodes the sections
// that the command reads. The other arguments are returned.
func (a *App) Compose(cmd *cobra.Command, args []string, flags []config.Value,
	sections ...setup.Section,
) (*setup.Config, []string, error) {
	overrides, rest := Split(cmd, args)
	cfg, err := a.Host.Compose(cmd.Context(), overrides, flags, sections...)
	return cfg, rest, err
}

// Open composes the configuration of a command line and opens its backend.
func (a *App) Open(cmd *cobra.Command, args []string, flags []config.Value,
) (*setup.Model, []string, error) {
	cfg, rest, err := a.Compose(cmd, args, flags, setup.SectionLLM)
	if err != nil {
		return nil, nil, err
	}
	m, err := a.Host.OpenModel(cmd.Context(), cfg)
	return m, rest, err
}

// JSON writes one value to standard output as indented JSON.
func (a *App) JSON(v any) error { return a.encode(v, "  ") }

// JSONLine writes one value on one line of standard output.
func (a *App) JSONLine(v any) error { return a.encode(v, "") }

func (a *App) encode(v any, indent string) error {
	enc := json.NewEncoder(a.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	return enc.Encode(v)
}

// ShownArgs are arguments in one line, without the secrets in them.
func ShownArgs(args []string) string {
	shown := make([]string, 0, len(args))
	for _, arg := range args {
		shown = append(shown, config.Shown(arg))
	}
	return strings.Join(shown, " ")
}
