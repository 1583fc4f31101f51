package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"agent/command"
	"agent/command/program"
	"agent/command/stock"
	"agent/session"
)

// commandsFolder is the name of a folder of command files.
const commandsFolder = "commands"

// userCommandsDir is where the user's own commands lie, empty where there is
// no home.
func userCommandsDir() string {
	base := os.Getenv("XDG_CONFIG_HOME")
	if home, err := os.UserHomeDir(); base == "" && err == nil {
		base = filepath.Join(home, ".config")
	}
	if !filepath.IsAbs(base) {
		return ""
	}
	return filepath.Join(base, "agent", commandsFolder)
}

// projectFolder is where the commands of a work dir lie.
func projectFolder(workDir string) program.Folder {
	return program.Folder{Path: filepath.Join(workDir, commandsFolder), Inside: workDir}
}

func trustPath() string { return filepath.Join(stateDir(), "trusted_commands.json") }

// fileCommands are the commands of a run that are files, and the one by which
// the agent makes such.
type fileCommands struct {
	set     *program.Set
	trust   *program.Trust
	project program.Folder
	env     *command.Env
}

// newFileCommands prepares the files of a work dir and of the user. Nothing is
// read before the set is refreshed.
func newFileCommands(registry *command.Registry, env *command.Env) (*fileCommands, error) {
	f := &fileCommands{trust: program.OpenTrust(trustPath()), project: projectFolder(env.WorkDir), env: env}
	user := userCommandsDir()
	c := program.Config{Registry: registry, Trust: f.trust, Limits: env.Limits, AllowUnsandboxed: env.AllowUnsandboxed}
	if user != "" {
		c.Folders = append(c.Folders, program.Folder{Path: user})
	}
	if user != f.project.Path {
		c.Folders = append(c.Folders, f.project)
	}
	f.set = program.NewSet(c)
	if user == "" {
		return f, nil
	}
	return f, stock.Add(registry, stock.Parts{Create: program.Create(f.set, user)})
}

// addFileCommands gives a run its commands that are files, and has them looked
// at again at each step.
func (a *app) addFileCommands(ctx context.Context, opts *session.Options, trustOnce bool) error {
	files, err := newFileCommands(opts.Registry, opts.Env)
	if err != nil {
		return err
	}
	if err := a.settleTrust(ctx, files, opts, trustOnce); err != nil {
		return err
	}
	first := files.set.Refresh(ctx)
	var told sync.Once
	opts.Refresh = func(ctx context.Context) []session.CommandChange {
		changes := files.set.Refresh(ctx)
		told.Do(func() { changes = append(first, changes...) })
		return sessionChanges(changes)
	}
	return ctx.Err()
}

// settleTrust trusts the work dir's commands for this run, or asks a person who
// is there whether to trust them for good.
func (a *app) settleTrust(ctx context.Context, files *fileCommands, opts *session.Options, trustOnce bool) error {
	trusted, err := files.trust.Trusted(files.project.Inside)
	if err != nil || trusted {
		return nil // the refresh tells an error
	}
	asks := opts.Approve == session.ApproveAsk && opts.Approver != nil && isTerminal(a.in)
	if !trustOnce && !asks {
		return nil
	}
	found, err := program.Find(files.project)
	if err != nil || len(found) == 0 {
		return nil // the refresh tells an error
	}
	if trustOnce {
		return files.trust.Add(files.project.Inside, found, true)
	}
	yes, err := a.askTrust(ctx, files.project, found)
	if err != nil || !yes {
		return err
	}
	return files.trust.Add(files.project.Inside, found, false)
}

// askTrust asks whether to trust the commands of a work dir.
func (a *app) askTrust(ctx context.Context, folder program.Folder, found []program.FoundFile) (bool, error) {
	names := make([]string, len(found))
	for i, f := range found {
		names[i] = session.Visible(f.Name)
	}
	fmt.Fprintf(a.err, "%s has commands of its own: %s\nUse them in runs here, now and later? Look at them first. [y/N] ", folder.Path, strings.Join(names, ", "))
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(a.in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case line := <-answer:
		return line == "y" || line == "yes", nil
	}
}

// sessionChanges tells a session of changes in its own words.
func sessionChanges(changes []program.Change) []session.CommandChange {
	var out []session.CommandChange
	for _, c := range changes {
		change := session.CommandChange{Change: string(c.Kind), Command: c.Name, File: c.File, Kept: c.Kept}
		if c.Err != nil {
			change.Problem, change.Hint = c.Err.Error(), hintOf(c.Err)
		}
		out = append(out, change)
	}
	return out
}
