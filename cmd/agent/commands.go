package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"agent/command"
	"agent/command/mcp"
	"agent/command/program"
	"agent/command/salvage"
	"agent/internal/cli"
	"agent/internal/exit"
	"agent/internal/legible"
	"agent/internal/setup"
	"agent/internal/terminal"
)

func (a *app) commandsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "commands",
		Short: "What the agent may do: list, show, check, trust; and reading what a model meant",
		Long: `What the agent may do. Besides the stock commands there are files: each Python
file or executable in ~/.config/agent/commands, and in commands/ of a work dir
that you trust, is a command. docs/commands.md shows how to write one.`,
		Example: `  agent commands list
  agent commands show python
  agent commands check weather.py --run
  agent commands trust
  pbpaste | agent commands parse`,
	}
	var asJSON bool
	list := a.onCommands("list [key=value…]", "List the commands, those of files included",
		cobra.NoArgs, true,
		func(_ context.Context, all *setup.Commands, _ []string) error { return a.listCommands(all, asJSON) })
	show := a.onCommands("show NAME [key=value…]", "Show a command and its fields", cobra.ExactArgs(1),
		true,
		func(_ context.Context, all *setup.Commands, args []string) error {
			return a.showCommand(all, args[0], asJSON)
		})
	for _, c := range []*cobra.Command{list, show} {
		c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	}
	parse := a.onCommands("parse [key=value…]",
		"Read a model's reply on standard input, print the calls it meant and what was repaired",
		cobra.NoArgs, false, a.parseReply)
	parse.Flags().Bool("json", true, "print JSON, which is what it always prints")
	cmd.AddCommand(list, show, a.commandsCheckCmd(), a.commandsTrustCmd(), a.commandsAcceptCmd(),
		parse)
	return cmd
}

// onCommands is a command on all commands that a run would have here, those of
// files and, withServers, of MCP servers too. What is wrong with a file is a
// warning.
func (a *app) onCommands(use, short string, check cobra.PositionalArgs, withServers bool,
	run func(ctx context.Context, all *setup.Commands, args []string) error,
) *cobra.Command {
	var dir string
	cmd := &cobra.Command{Use: use, Short: short, Args: cli.WithOverrides(check),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, rest, err := a.openCommands(cmd, args, dir)
			if err != nil {
				return err
			}
			defer all.Close()
			if withServers {
				if err := a.Host.Connect(cmd.Context(), all, false); err != nil {
					return err
				}
			}
			for _, change := range all.Files.Refresh(cmd.Context()) {
				if change.Err == nil {
					continue
				}
				a.Warn(change.Err.Error())
				if hint := exit.Hint(change.Err); hint != "" {
					a.Note("hint: " + hint)
				}
			}
			if err := all.Disable(); err != nil {
				return err
			}
			return run(cmd.Context(), all, rest)
		}}
	workdirFlag(cmd, &dir)
	return cmd
}

// commandInfo is a command as `agent commands list --json` shows it.
type commandInfo struct {
	Name        string         `json:"name"`
	Description string         `json:"description"`
	Effect      string         `json:"effect"`
	Aliases     []string       `json:"aliases,omitempty"`
	Essential   bool           `json:"essential"`
	Slots       []command.Slot `json:"slots"`
	File        string         `json:"file,omitempty"`     // of one that is a file
	Needs       []string       `json:"needs,omitempty"`    // what it declares
	Metadata    []string       `json:"metadata,omitempty"` // keys that it is handed
}

// openCommands composes the configuration of a command line and gathers the
// commands of the work dir, without reading files. dir is that of --workdir,
// which wins where it is given. The other arguments are returned.
func (a *app) openCommands(cmd *cobra.Command, args []string, dir string,
) (*setup.Commands, []string, error) {
	cfg, rest, err := a.Compose(cmd, args, nil, setup.SectionAgent, setup.SectionSearch,
		setup.SectionMCP)
	if err != nil {
		return nil, nil, err
	}
	if cmd.Flags().Changed("workdir") {
		cfg.Agent.Workdir = dir
	}
	c, err := a.Host.Commands(cfg)
	return c, rest, err
}

// infos describes the commands of a registry, files with where they come from.
func infos(c *setup.Commands) []commandInfo {
	from := map[string]*program.Program{}
	for _, p := range c.Files.Programs() {
		from[p.Spec().Name] = p
	}
	var out []commandInfo
	for _, s := range c.Registry.Specs() {
		info := commandInfo{Name: s.Name, Description: s.Description, Effect: s.Effect.String(),
			Aliases: s.Aliases, Essential: s.Essential, Slots: s.Slots}
		if p := from[s.Name]; p != nil {
			info.File, info.Needs, info.Metadata = p.File(), p.Needs(), p.MetadataKeys()
		}
		out = append(out, info)
	}
	return out
}

// workdirFlag is where the commands of a project are looked for.
func workdirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "workdir", ".", "look for commands/ in this `folder` (agent.workdir)")
}

func (a *app) listCommands(all *setup.Commands, asJSON bool) error {
	list := infos(all)
	if asJSON {
		return a.JSON(map[string]any{"commands": list})
	}
	w := tabwriter.NewWriter(a.Out, 0, 4, 2, ' ', 0)
	for _, c := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", c.Name, c.Effect, c.Description, c.File)
	}
	return w.Flush()
}

func (a *app) showCommand(all *setup.Commands, name string, asJSON bool) error {
	l := all.Registry.Lookup(name)
	if l.Disabled {
		return fmt.Errorf("the command %q is disabled here (agent.disable)", l.Name)
	}
	list := infos(all)
	i := slices.IndexFunc(list, func(c commandInfo) bool { return c.Name == l.Name })
	switch {
	case l.Command == nil || l.Match == command.MatchFuzzy || i < 0:
		return &command.UnknownError{Name: name, Suggestion: l.Suggestion}
	case asJSON:
		return a.JSON(list[i])
	}
	return writeInfo(a.Out, list[i])
}

// writeInfo describes a command to a person.
func writeInfo(out io.Writer, c commandInfo) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "%s: %s\n", c.Name, c.Description)
	for _, line := range [][2]string{
		{"effect", c.Effect}, {"also called", strings.Join(c.Aliases, ", ")}, {"file", c.File},
		{"needs", strings.Join(c.Needs, ", ")}, {"is handed", strings.Join(c.Metadata, ", ")},
	} {
		if line[1] != "" {
			fmt.Fprintf(w, "%s:\t%s\n", line[0], line[1])
		}
	}
	for _, s := range c.Slots {
		kind := s.Kind.String()
		if s.Optional {
			kind += ", optional"
		}
		if len(s.Options) > 0 {
			kind += " of " + strings.Join(s.Options, ", ")
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", s.Name, kind, s.Help)
	}
	return w.Flush()
}

func (a *app) parseReply(ctx context.Context, all *setup.Commands, _ []string) error {
	text, err := terminal.ReadBounded(a.Input(ctx), "standard input", terminal.InputBytesMax)
	if err != nil {
		return err
	}
	out, err := json.Marshal(salvage.Parse(text, all.Registry))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.Out, string(out))
	return err
}

// fileCheck is what `agent commands check` says about one file.
type fileCheck struct {
	File    string `json:"file"`
	Name    string `json:"name,omitempty"`
	Status  string `json:"status"` // ok or error
	Problem string `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`
	Output  string `json:"output,omitempty"` // of the example, with --run
}

func (a *app) commandsCheckCmd() *cobra.Command {
	var asJSON, run bool
	var dir string
	cmd := &cobra.Command{
		Use:   "check [FILE…] [key=value…]",
		Short: "Check command files, those in force or these",
		Long: `Check command files: the header, the syntax, the names; with --run also the example of the header, in the sandbox
and without metadata. Without arguments those are checked that a run would take up here.`,
		Example: `  agent commands check
  agent commands check weather.py --run`,
		RunE: func(cmd *cobra.Command, args []string) error {
			here, names, err := a.openCommands(cmd, args, dir)
			if err != nil {
				return err
			}
			defer here.Close()
			checks, err := checkFiles(cmd.Context(), here, names, run)
			if err != nil {
				return err
			}
			return a.printFileChecks(checks, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&run, "run", false, "also run the example")
	workdirFlag(cmd, &dir)
	return cmd
}

// checkFiles checks the named files, or all that a run would take up.
func checkFiles(ctx context.Context, here *setup.Commands, paths []string, run bool,
) ([]fileCheck, error) {
	var checks []fileCheck
	add := func(path string, p *program.Program, err error) {
		c := fileCheck{File: path, Status: "ok"}
		if p != nil {
			c.Name = p.Spec().Name
		}
		if err == nil && run && p.Example() != nil {
			c.Output, err = runExample(ctx, here.Env, p)
		}
		if err != nil {
			c.Status, c.Problem, c.Hint = "error", err.Error(), exit.Hint(err)
		}
		checks = append(checks, c)
	}
	changes := here.Files.Refresh(ctx)
	if len(paths) > 0 {
		for _, path := range paths {
			p, err := here.Files.CheckFile(ctx, path)
			add(path, p, err)
		}
		return checks, ctx.Err()
	}
	for _, p := range here.Files.Programs() {
		add(p.File(), p, nil)
	}
	for _, c := range changes {
		if c.Err != nil {
			add(c.File, nil, c.Err)
		}
	}
	return checks, ctx.Err()
}

// runExample calls a program as its header shows.
func runExample(ctx context.Context, env *command.Env, p *program.Program) (string, error) {
	res, err := p.Run(ctx, env, p.Example())
	if err != nil {
		return "", err
	}
	if res.Failed {
		return "", errors.New("its example failed: " + res.Text)
	}
	return res.Text, nil
}

func (a *app) printFileChecks(checks []fileCheck, asJSON bool) error {
	failed := 0
	for _, c := range checks {
		if c.Status != "ok" {
			failed++
		}
	}
	if asJSON {
		if err := a.JSON(map[string]any{"ok": failed == 0, "checks": checks}); err != nil {
			return err
		}
	} else {
		for _, c := range checks {
			printFileCheck(a.Out, c)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d command files can't be used", failed, len(checks))
	}
	return nil
}

func printFileCheck(w io.Writer, c fileCheck) {
	if c.Status == "ok" {
		fmt.Fprintf(w, "ok     %s  %s\n", c.Name, c.File)
	} else {
		fmt.Fprintf(w, "error  %s\n", c.Problem)
	}
	if c.Hint != "" {
		fmt.Fprintf(w, "       hint: %s\n", c.Hint)
	}
	if c.Output != "" {
		fmt.Fprintf(w, "       %s\n", legible.Line(c.Output, 200))
	}
}

func (a *app) commandsTrustCmd() *cobra.Command {
	var revoke, list bool
	cmd := &cobra.Command{
		Use:   "trust [DIR]",
		Short: "Let runs in a folder use the commands that lie in its commands/",
		Long: `Let runs in DIR, or here, use the commands that lie in its commands/, those that
are put there later too. Look at them first: they run in the sandbox, but what
they declare to need they get. A file that wants the network or metadata (keys,
user data) is bound to its contents: when it is new or has changed, trust again.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if list {
				return listTrusted(a.Out)
			}
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return changeTrust(a.Out, dir, revoke)
		},
	}
	cmd.Flags().BoolVar(&revoke, "revoke", false,
		"take the trust back, that in the folder's settings too")
	cmd.Flags().BoolVar(&list, "list", false,
		"list the trusted folders, and those whose settings were allowed")
	return cmd
}

func listTrusted(out io.Writer) error {
	folders, err := setup.CommandTrust().List()
	if err != nil {
		return err
	}
	configured, err := setup.FolderTrust().List()
	if err != nil {
		return err
	}
	folders = append(folders, configured...)
	slices.Sort(folders)
	for _, f := range slices.Compact(folders) {
		fmt.Fprintln(out, f)
	}
	return nil
}

func changeTrust(out io.Writer, dir string, revoke bool) error {
	trust := setup.CommandTrust()
	if revoke {
		removed, err := trust.Remove(dir)
		settings, settingsErr := setup.FolderTrust().Remove(dir)
		if err = errors.Join(err, settingsErr); err == nil && !removed && !settings {
			err = fmt.Errorf("%s was not trusted", dir)
		}
		return err
	}
	abs, err := setup.WorkDir(dir)
	if err != nil {
		return err
	}
	found, err := program.Find(setup.ProjectCommands(abs))
	if err != nil {
		return err
	}
	if err := trust.Add(abs, found, false); err != nil {
		return err
	}
	fmt.Fprintf(out, "trusted: %s\n", setup.ProjectCommands(abs).Path)
	for _, f := range found {
		fmt.Fprintf(out, "  %s\n", f.Name)
	}
	return nil
}

func (a *app) commandsAcceptCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "accept NAME [key=value…]",
		Short: "Accept a changed tool of an MCP server",
		Long: `Show how a tool of an MCP server differs from what was approved, and approve it as
it is now. Until then it is refused, and a model is shown its old description.`,
		Example: "  agent commands accept create_issue",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, rest, err := a.openCommands(cmd, args, "")
			if err != nil {
				return err
			}
			defer all.Close()
			if len(rest) != 1 {
				return exit.Usagef("commands accept takes one name")
			}
			if err := a.Host.Connect(cmd.Context(), all, false); err != nil {
				return err
			}
			return acceptChange(a.Out, all.Servers, rest[0])
		},
	}
	return cmd
}

func acceptChange(out io.Writer, servers *mcp.Servers, name string) error {
	for _, c := range servers.Changed() {
		if c.Command == name {
			fmt.Fprint(out, setup.ShowChange(c))
			if err := servers.Accept(name); err != nil {
				return err
			}
			_, err := fmt.Fprintln(out, "accepted")
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
