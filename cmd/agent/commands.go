package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"agent/command"
	"agent/command/program"
	"agent/command/salvage"
	"agent/internal/config"
)

func (a *app) commandsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "commands",
		Short: "What the agent may do: list, show, check, trust; and reading what a model meant",
		Long: `What the agent may do. Besides the stock commands there are files: each Python
file or executable in ~/.config/agent/commands, and in commands/ of a work dir
that you trust, is a command. docs/commands.md shows how to write one.`,
		Example: "  agent commands list\n  agent commands show python\n  agent commands check weather.py --run\n  agent commands trust\n  pbpaste | agent commands parse",
		Args:    subcommandOnly,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.commandsListCmd(), a.commandsShowCmd(), a.commandsCheckCmd(), a.commandsTrustCmd(), a.commandsAcceptCmd(), a.commandsParseCmd())
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

func infoOf(s command.Spec) commandInfo {
	return commandInfo{Name: s.Name, Description: s.Description, Effect: s.Effect.String(), Aliases: s.Aliases, Essential: s.Essential, Slots: s.Slots}
}

// withOverrides checks a command's arguments but for the overrides among them.
func withOverrides(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		_, rest := splitOverrides(withDash(cmd, args))
		return argumentError(cmd, rest, check(cmd, rest))
	}
}

// commandsPlace is where commands are looked for, and how.
type commandsPlace struct {
	cfg   *config.Config
	agent *agentConfig
}

// commandsPlaceOf composes the configuration of a command line and returns its
// other arguments. dir is that of --workdir, which wins where it is given.
func (a *app) commandsPlaceOf(cmd *cobra.Command, args []string, dir string) (*commandsPlace, []string, error) {
	cfg, rest, err := a.compose(withDash(cmd, args))
	if err != nil {
		return nil, nil, err
	}
	c, err := decodeAgent(cfg)
	if err != nil {
		return nil, nil, configError(err)
	}
	if cmd.Flags().Changed("workdir") {
		c.Workdir = dir
	}
	return &commandsPlace{cfg, c}, rest, nil
}

// allCommands are the stock commands, those that are configured, and those of
// files in force here. What is wrong with a file is a warning. The tools of MCP
// servers can only be looked at: the servers are gone again.
func (a *app) allCommands(ctx context.Context, p *commandsPlace, withServers bool) (*command.Registry, *fileCommands, error) {
	cfg := p.cfg
	registry, files, err := p.hereCommands()
	if err != nil {
		return nil, nil, err
	}
	s, err := addSearch(cfg, registry)
	if err != nil {
		return nil, nil, err
	}
	defer s.Close()
	if withServers {
		servers, err := a.addServers(ctx, cfg, registry, nil)
		if err != nil {
			return nil, nil, err
		}
		defer servers.Close()
	}
	for _, c := range files.set.Refresh(ctx) {
		if c.Err != nil {
			a.warn(c.Err.Error())
			if hint := hintOf(c.Err); hint != "" && !a.flags.quiet {
				fmt.Fprintf(a.err, "agent: hint: %s\n", hint)
			}
		}
	}
	return registry, files, disableCommands(registry, p.agent.Disable)
}

// hereCommands are the stock commands, and the files of a work dir before they
// are read.
func (p *commandsPlace) hereCommands() (*command.Registry, *fileCommands, error) {
	dir, err := workDir(p.agent.Workdir)
	if err != nil {
		return nil, nil, err
	}
	registry, err := stockCommands()
	if err != nil {
		return nil, nil, err
	}
	files, err := newFileCommands(registry, &command.Env{WorkDir: dir, Limits: p.agent.commandLimits(), AllowUnsandboxed: p.agent.AllowUnsandboxed})
	return registry, files, err
}

// infos describes the commands of a registry, files with where they come from.
func infos(r *command.Registry, files *fileCommands) []commandInfo {
	from := map[string]*program.Program{}
	for _, p := range files.set.Programs() {
		from[p.Spec().Name] = p
	}
	var out []commandInfo
	for _, s := range r.Specs() {
		info := infoOf(s)
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

func (a *app) commandsListCmd() *cobra.Command {
	var asJSON bool
	var dir string
	cmd := &cobra.Command{
		Use: "list [key=value…]", Short: "List the commands, those of files included", Args: withOverrides(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, _, err := a.commandsPlaceOf(cmd, args, dir)
			if err != nil {
				return err
			}
			r, files, err := a.allCommands(cmd.Context(), p, true)
			if err != nil {
				return err
			}
			list := infos(r, files)
			if asJSON {
				return a.printJSON(map[string]any{"commands": list})
			}
			w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
			for _, c := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", c.Name, c.Effect, c.Description, c.File)
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	workdirFlag(cmd, &dir)
	return cmd
}

func (a *app) commandsShowCmd() *cobra.Command {
	var asJSON bool
	var dir string
	cmd := &cobra.Command{
		Use: "show NAME [key=value…]", Short: "Show a command and its fields", Args: withOverrides(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, rest, err := a.commandsPlaceOf(cmd, args, dir)
			if err != nil {
				return err
			}
			r, files, err := a.allCommands(cmd.Context(), p, true)
			if err != nil {
				return err
			}
			l := r.Lookup(rest[0])
			if l.Disabled {
				return fmt.Errorf("the command %q is disabled here (agent.disable)", l.Name)
			}
			if l.Command == nil || l.Match == command.MatchFuzzy {
				return &command.UnknownError{Name: rest[0], Suggestion: l.Suggestion}
			}
			for _, info := range infos(r, files) {
				switch {
				case info.Name != l.Name:
				case asJSON:
					return a.printJSON(info)
				default:
					return writeInfo(a.out, info)
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	workdirFlag(cmd, &dir)
	return cmd
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

func (a *app) commandsParseCmd() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "parse [key=value…]", Short: "Read a model's reply on standard input, print the calls it meant and what was repaired", Args: withOverrides(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, _, err := a.commandsPlaceOf(cmd, args, dir)
			if err != nil {
				return err
			}
			raw, err := io.ReadAll(io.LimitReader(a.in, inputBytesMax))
			if err != nil {
				return fmt.Errorf("read standard input: %w", err)
			}
			r, _, err := a.allCommands(cmd.Context(), p, false)
			if err != nil {
				return err
			}
			out, err := json.Marshal(salvage.Parse(string(raw), r))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, string(out))
			return err
		},
	}
	workdirFlag(cmd, &dir)
	return cmd
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
		Long:  "Check command files: the header, the syntax, the names; with --run also the example of the header, in the sandbox\nand without metadata. Without arguments those are checked that a run would take up here.",
		Example: `  agent commands check
  agent commands check weather.py --run`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, names, err := a.commandsPlaceOf(cmd, args, dir)
			if err != nil {
				return err
			}
			_, files, err := p.hereCommands()
			if err != nil {
				return err
			}
			checks, err := files.check(cmd.Context(), names, run)
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

// check checks the named files, or all that a run would take up.
func (f *fileCommands) check(ctx context.Context, paths []string, run bool) ([]fileCheck, error) {
	var checks []fileCheck
	add := func(path string, p *program.Program, err error) {
		c := fileCheck{File: path, Status: "ok"}
		if p != nil {
			c.Name = p.Spec().Name
		}
		if err == nil && run && p.Example() != nil {
			c.Output, err = f.runExample(ctx, p)
		}
		if err != nil {
			c.Status, c.Problem, c.Hint = "error", err.Error(), hintOf(err)
		}
		checks = append(checks, c)
	}
	changes := f.set.Refresh(ctx)
	if len(paths) > 0 {
		for _, path := range paths {
			p, err := f.set.CheckFile(ctx, path)
			add(path, p, err)
		}
		return checks, ctx.Err()
	}
	for _, p := range f.set.Programs() {
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
func (f *fileCommands) runExample(ctx context.Context, p *program.Program) (string, error) {
	res, err := p.Run(ctx, f.env, p.Example())
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
		if err := a.printJSON(map[string]any{"ok": failed == 0, "checks": checks}); err != nil {
			return err
		}
	} else {
		for _, c := range checks {
			printFileCheck(a.out, c)
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
		fmt.Fprintf(w, "       %s\n", oneLine(c.Output, 200))
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
				return a.listTrusted()
			}
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return a.changeTrust(dir, revoke)
		},
	}
	cmd.Flags().BoolVar(&revoke, "revoke", false, "take the trust back, that in the folder's settings too")
	cmd.Flags().BoolVar(&list, "list", false, "list the trusted folders, and those whose settings were allowed")
	return cmd
}

func (a *app) listTrusted() error {
	folders, err := program.OpenTrust(trustPath()).List()
	if err != nil {
		return err
	}
	configured, err := folderTrust().List()
	if err != nil {
		return err
	}
	folders = append(folders, configured...)
	slices.Sort(folders)
	for _, f := range slices.Compact(folders) {
		fmt.Fprintln(a.out, f)
	}
	return nil
}

func (a *app) changeTrust(dir string, revoke bool) error {
	trust := program.OpenTrust(trustPath())
	if revoke {
		removed, err := trust.Remove(dir)
		settings, settingsErr := folderTrust().Remove(dir)
		if err = errors.Join(err, settingsErr); err == nil && !removed && !settings {
			err = fmt.Errorf("%s was not trusted", dir)
		}
		return err
	}
	abs, err := workDir(dir)
	if err != nil {
		return err
	}
	found, err := program.Find(projectFolder(abs))
	if err != nil {
		return err
	}
	if err := trust.Add(abs, found, false); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "trusted: %s%s%s\n", abs, string(os.PathSeparator), commandsFolder)
	for _, f := range found {
		fmt.Fprintf(a.out, "  %s\n", f.Name)
	}
	return nil
}
