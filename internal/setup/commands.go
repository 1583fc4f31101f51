package setup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"agent/backend"
	"agent/command"
	"agent/command/mcp"
	"agent/command/program"
	"agent/command/stock"
	"agent/internal/exit"
	"agent/session"
)

// commandsFolder is the name of a folder of command files.
const commandsFolder = "commands"

// ProjectCommands is where the commands of a work dir lie.
func ProjectCommands(workDir string) program.Folder {
	return program.Folder{Path: filepath.Join(workDir, commandsFolder), Inside: workDir}
}

// CommandTrust lists the folders whose commands may be used.
func CommandTrust() *program.Trust {
	return program.OpenTrust(filepath.Join(StateDir(), "trusted_commands.json"))
}

// Commands are the commands of a run, from wherever they come. Close them.
type Commands struct {
	Registry *command.Registry
	Files    *program.Set // those that are files, once they are refreshed
	Servers  *mcp.Servers // nil before they are connected
	Env      *command.Env

	cfg     *Config
	trust   *program.Trust
	project program.Folder
	search  io.Closer
}

// standard are the commands that every run begins with: those that work by
// themselves, and those that work on the run itself.
func standard() (*command.Registry, error) {
	reg, err := stock.Standard()
	if err != nil {
		return nil, err
	}
	return reg, stock.Add(reg, stock.Parts{Delegate: session.Delegate()})
}

// gather takes the stock commands and search, and prepares those that are
// files: nothing is read before the set is refreshed.
func (c *Config) gather(workDir string) (*Commands, error) {
	registry, err := standard()
	if err != nil {
		return nil, err
	}
	out := &Commands{Registry: registry, cfg: c, trust: CommandTrust(),
		project: ProjectCommands(workDir), Env: c.Env(workDir)}
	files := program.Config{Registry: registry, Trust: out.trust, Limits: out.Env.Limits,
		AllowUnsandboxed: out.Env.AllowUnsandboxed}
	user := userCommandsDir()
	if user != "" {
		files.Folders = append(files.Folders, program.Folder{Path: user})
	}
	if user != out.project.Path {
		files.Folders = append(files.Folders, out.project)
	}
	out.Files = program.NewSet(files)
	if c.Search != nil {
		s, err := c.Search.searcher()
		if err != nil {
			return nil, err
		}
		out.search = s
		if err := stock.Add(registry, stock.Parts{Search: s.Commands()}); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if user != "" {
		err = stock.Add(registry, stock.Parts{Create: program.Create(out.Files, user)})
	}
	return out, err
}

// Env is the environment of the commands of a work dir.
func (c *Config) Env(workDir string) *command.Env {
	a := c.Agent
	return &command.Env{WorkDir: workDir, Metadata: a.Metadata, Limits: a.commandLimits(),
		AllowUnsandboxed: a.AllowUnsandboxed, Web: a.web}
}

// Close ends what the commands have started.
func (c *Commands) Close() {
	if c.Servers != nil {
		_ = c.Servers.Close()
	}
	if c.search != nil {
		_ = c.search.Close()
	}
}

// Commands gathers the commands of the configured work dir, without reading
// files or starting servers.
func (h *Host) Commands(c *Config) (*Commands, error) {
	dir, err := WorkDir(c.Agent.Workdir)
	if err != nil {
		return nil, err
	}
	return c.gather(dir)
}

// Connect adds the tools of the MCP servers that are configured. asked says that
// a person is asked about a tool that has changed when it is wanted.
func (h *Host) Connect(ctx context.Context, c *Commands, asked bool) error {
	o := mcp.Options{
		Servers: c.cfg.Servers, StateDir: StateDir(), Warn: h.Warn, Version: h.Version,
		Taken: func(name string) bool {
			match := c.Registry.Lookup(name).Match
			return match == command.MatchExact || match == command.MatchAlias
		},
	}
	if asked {
		o.Accept = func(ctx context.Context, change mcp.Change) (bool, error) {
			return h.Confirm(ctx, ShowChange(change), "Use it as it is now?")
		}
	}
	servers, err := mcp.Open(ctx, o)
	if err != nil {
		return err
	}
	c.Servers = servers
	if !asked {
		for _, change := range servers.Changed() {
			h.Warn((&mcp.ChangedError{Change: change}).Error() +
				"; see the change and accept it with: agent commands accept " + change.Command)
		}
	}
	for _, tool := range servers.Commands() {
		if err := c.Registry.Register(tool); err != nil {
			return err
		}
	}
	return nil
}

// ShowChange shows what a server says of a tool now, and what it said when the
// tool was approved.
func ShowChange(c mcp.Change) string {
	indentMore := func(text string) string { return strings.ReplaceAll(session.Visible(text), "\n", "\n  ") }
	var b strings.Builder
	fmt.Fprintf(&b, "The tool %s of the server %s has changed since it was approved.\n", c.Tool,
		c.Server)
	if c.Before != c.Now {
		fmt.Fprintf(&b, "- %s\n+ %s\n", indentMore(c.Before), indentMore(c.Now))
	}
	if before, now := strings.Join(c.FieldsBefore, ", "),
		strings.Join(c.FieldsNow, ", "); before != now {
		fmt.Fprintf(&b, "- fields: %s\n+ fields: %s\n", before, now)
	}
	if c.Before == c.Now && slices.Equal(c.FieldsBefore, c.FieldsNow) {
		b.WriteString("  the details of its fields differ\n")
	}
	return b.String()
}

// anyFiles reports that there are command files, of the user or of the work dir.
func (c *Commands) anyFiles() bool {
	for _, folder := range []program.Folder{{Path: userCommandsDir()}, c.project} {
		if found, err := program.Find(folder); folder.Path != "" && (err != nil || len(found) > 0) {
			return true
		}
	}
	return false
}

// unknown reports a name that no command has.
func (c *Commands) unknown(name string) bool {
	l := c.Registry.Lookup(name)
	return l.Command == nil || l.Match == command.MatchFuzzy
}

// Disable takes commands away, those that the configuration names and more.
// Without python there is no making of commands either, which would be another
// way to run Python.
func (c *Commands) Disable(more ...string) error {
	for _, name := range slices.Concat(c.cfg.Agent.Disable, more) {
		if err := c.Registry.Disable(name); err != nil {
			return exit.With(exit.Usage, err)
		}
	}
	made := c.Registry.Lookup(program.CreateName)
	if c.Registry.Lookup("python").Disabled && made.Match == command.MatchExact && !made.Disabled {
		return c.Registry.Disable(program.CreateName)
	}
	return nil
}

// settleTrust trusts the work dir's commands for this run, or asks a person who
// is there whether to trust them for good. The refresh tells what is wrong.
func (h *Host) settleTrust(ctx context.Context, c *Commands, once, asks bool) error {
	folder := c.project
	trusted, err := c.trust.Trusted(folder.Inside)
	if err != nil || trusted || !once && !asks {
		return nil
	}
	found, err := program.Find(folder)
	if err != nil || len(found) == 0 {
		return nil
	}
	if !once {
		names := make([]string, len(found))
		for i, f := range found {
			names[i] = session.Visible(f.Name)
		}
		shown := fmt.Sprintf("%s has commands of its own: %s\n", folder.Path, strings.Join(names, ", "))
		yes, err := h.Confirm(ctx, shown, "Use them in runs here, now and later? Look at them first.")
		if err != nil || !yes {
			return err
		}
	}
	return c.trust.Add(folder.Inside, found, once)
}

// refresher has the command files looked at again at each step; what the first
// look told is told with it.
func (c *Commands) refresher(ctx context.Context) func(context.Context) []session.CommandChange {
	first := c.Files.Refresh(ctx)
	var told sync.Once
	return func(ctx context.Context) (out []session.CommandChange) {
		changes := c.Files.Refresh(ctx)
		told.Do(func() { changes = append(first, changes...) })
		for _, c := range changes {
			change := session.CommandChange{Change: string(c.Kind), Command: c.Name, File: c.File,
				Kept: c.Kept}
			if c.Err != nil {
				change.Problem, change.Hint = c.Err.Error(), exit.Hint(c.Err)
			}
			out = append(out, change)
		}
		return out
	}
}

// spareSmall takes away what a model of fewer than least parameters does not
// manage: to split a task. Each command more that it can choose makes its choices
// worse.
func spareSmall(registry *command.Registry, b backend.LanguageBackend, least int64) error {
	const split = "delegate"
	parameters := backend.ParametersOf(b)
	if parameters <= 0 || parameters >= least || !slices.Contains(registry.Names(), split) {
		return nil
	}
	return registry.Disable(split)
}
