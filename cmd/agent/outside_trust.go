package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"agent/command/mcp"
	"agent/internal/config"
	"agent/internal/legible"
	"agent/session"
)

// asker asks a person about servers and their tools.
type asker struct {
	change func(context.Context, mcp.Change) (bool, error)
	server func(context.Context, string, mcp.Server) (bool, error)
}

// askChange shows a changed tool and asks whether to use it as it is now.
func (a *app) askChange(ctx context.Context, c mcp.Change) (bool, error) {
	showChange(a.err, c)
	return a.askYes(ctx, "Use it as it is now?")
}

// askServer shows a server that the folder configures and asks whether to
// start it.
func (a *app) askServer(ctx context.Context, name string, s mcp.Server) (bool, error) {
	showServer(a.err, name, s)
	return a.askYes(ctx, "Use it here, now and later?")
}

// askYes asks a question whose answer is no unless it is yes.
func (a *app) askYes(ctx context.Context, question string) (bool, error) {
	fmt.Fprint(a.err, question+" [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, _ := readLine(a.in) // the end of the input is no
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case line := <-answer:
		a.answered()
		return line == "y" || line == "yes", nil
	}
}

// showServer shows what would be started, or asked. The values of variables
// and headers may be secrets.
func showServer(w io.Writer, name string, s mcp.Server) {
	fmt.Fprintf(w, "This folder configures the MCP server %s", name)
	if u, err := url.Parse(s.URL); err == nil && s.URL != "" {
		fmt.Fprintf(w, ":\n  %s\n", legible.Visible(u.Redacted()))
		return
	}
	fmt.Fprintf(w, ", a program that would run unconfined:\n  %s\n", legible.Visible(fmt.Sprintf("%q", append([]string{s.Command}, s.Args...))))
	if len(s.Env) > 0 {
		fmt.Fprintf(w, "  with the variables %s\n", legible.Visible(strings.Join(slices.Sorted(maps.Keys(s.Env)), ", ")))
	}
}

// foreignServers are those that the folder configures in which the agent was
// started, or its .env: as soon as its ./configs takes part, all that is not
// from the command line. Folders given with --config-dir are the user's word.
func (a *app) foreignServers(cfg *config.Config, servers map[string]mcp.Server) []string {
	const here = "configs"
	named := slices.ContainsFunc(a.flags.configDirs, func(dir string) bool { return filepath.Clean(dir) == here })
	origins := cfg.Origins()
	takesPart := false
	for _, at := range origins {
		takesPart = takesPart || !named && strings.HasPrefix(filepath.ToSlash(at.File), here+"/")
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		if !ownServer(origins, name, takesPart) {
			out = append(out, name)
		}
	}
	return out
}

// ownServer reports that nothing of a server's configuration can have come
// with the folder.
func ownServer(origins map[string]config.Origin, name string, takesPart bool) bool {
	for key, at := range origins {
		if key != "mcp.servers."+name && !strings.HasPrefix(key, "mcp.servers."+name+".") {
			continue
		}
		if strings.HasPrefix(at.File, "environment") || takesPart && at.File != "command line" {
			return false
		}
	}
	return true
}

// showChange shows what a server says of a tool now, and what it said when the
// tool was approved.
func showChange(w io.Writer, c mcp.Change) {
	fmt.Fprintf(w, "The tool %s of the server %s has changed since it was approved.\n", c.Tool, c.Server)
	if c.Before != c.Now {
		fmt.Fprintf(w, "- %s\n+ %s\n", indentMore(c.Before), indentMore(c.Now))
	}
	if before, now := strings.Join(c.FieldsBefore, ", "), strings.Join(c.FieldsNow, ", "); before != now {
		fmt.Fprintf(w, "- fields: %s\n+ fields: %s\n", before, now)
	}
	if c.Before == c.Now && slices.Equal(c.FieldsBefore, c.FieldsNow) {
		fmt.Fprintln(w, "  the details of its fields differ")
	}
}

func indentMore(text string) string { return strings.ReplaceAll(session.Visible(text), "\n", "\n  ") }

func (a *app) commandsAcceptCmd() *cobra.Command {
	var server bool
	cmd := &cobra.Command{
		Use:   "accept NAME [key=value…]",
		Short: "Accept a changed tool of an MCP server, or a server that a folder configures",
		Long: `Show how a tool of an MCP server differs from what was approved, and approve it as
it is now. Until then it is refused, and a model is shown its old description.

With --server, show a server that ./configs of this folder configures, and let it
be started here. Until then it is not.`,
		Example: "  agent commands accept create_issue\n  agent commands accept --server tracker",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, rest, err := a.compose(withDash(cmd, args))
			if err != nil {
				return err
			}
			if len(rest) != 1 {
				return usagef("commands accept takes one name")
			}
			if server {
				return a.acceptServer(cfg, rest[0])
			}
			registry, err := stockCommands()
			if err != nil {
				return err
			}
			servers, err := a.addServers(cmd.Context(), cfg, registry, nil)
			if err != nil {
				return err
			}
			defer servers.Close()
			return a.acceptChange(servers, rest[0])
		},
	}
	cmd.Flags().BoolVar(&server, "server", false, "NAME is a server, not a command")
	return cmd
}

func (a *app) acceptServer(cfg *config.Config, name string) error {
	configured, err := decodeMCP(cfg)
	if err != nil {
		return configError(err)
	}
	s, ok := configured[name]
	if !ok {
		return fmt.Errorf("no MCP server %q is configured here", name)
	}
	if !slices.Contains(a.foreignServers(cfg, configured), name) {
		return fmt.Errorf("the MCP server %q is configured by you and not by this folder; there is nothing to accept", name)
	}
	folder, err := os.Getwd()
	if err != nil {
		return err
	}
	showServer(a.out, name, s)
	if err := mcp.AcceptServer(stateDir(), folder, name, s); err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, "accepted")
	return err
}

func (a *app) acceptChange(servers *mcp.Servers, name string) error {
	for _, c := range servers.Changed() {
		if c.Command == name {
			showChange(a.out, c)
			if err := servers.Accept(name); err != nil {
				return err
			}
			_, err := fmt.Fprintln(a.out, "accepted")
			return err
		}
	}
	for _, c := range servers.Commands() {
		if c.Spec().Name == name {
			return fmt.Errorf("the tool %q has not changed; there is nothing to accept", name)
		}
	}
	return fmt.Errorf("no MCP server that is configured has a tool %q", name)
}
