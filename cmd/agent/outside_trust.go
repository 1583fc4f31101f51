package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"agent/command/mcp"
	"agent/session"
)

// asker asks a person about the tools of servers.
type asker struct {
	change func(context.Context, mcp.Change) (bool, error)
}

// askChange shows a changed tool and asks whether to use it as it is now.
func (a *app) askChange(_ context.Context, c mcp.Change) (bool, error) {
	showChange(a.err, c)
	return a.confirm("Use it as it is now?")
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
	cmd := &cobra.Command{
		Use:   "accept NAME [key=value…]",
		Short: "Accept a changed tool of an MCP server",
		Long: `Show how a tool of an MCP server differs from what was approved, and approve it as
it is now. Until then it is refused, and a model is shown its old description.`,
		Example: "  agent commands accept create_issue",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, rest, err := a.compose(withDash(cmd, args))
			if err != nil {
				return err
			}
			if len(rest) != 1 {
				return usagef("commands accept takes one name")
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
	return cmd
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
