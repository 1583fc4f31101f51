// Package work is what the wires that offer whole tasks have in common: an
// [Opener] makes the run of an [Order] ready, and [Folder] keeps clients inside
// the folders that they may work in.
//
// Promise: what changes something is decided about by the person at the client, or
// not done.
package work

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"agent/command"
	"agent/command/mcp"
	"agent/internal/legible"
	"agent/session"
)

// Order is a task as a client asks for it.
type Order struct {
	Folder  string                // absolute
	Ask     session.Approver      // the person at the client; nil: nobody can be asked
	Mode    session.ApproveMode   // "": as configured
	Servers map[string]mcp.Server // besides those configured
	Resume  string                // the session to go on with
}

// Run is a run that is ready.
type Run struct {
	Options session.Options
	Close   func() // when it has ended
}

// Opener makes runs ready, several at a time.
type Opener func(ctx context.Context, o Order) (*Run, error)

// Start begins the session of an order, or goes on with the one that it names.
func (r *Run) Start(resume string) (*session.Session, error) {
	if resume == "" {
		return session.New(r.Options)
	}
	path, err := session.Find(r.Options.SessionsDir, resume)
	if err != nil {
		return nil, err
	}
	old, err := session.Load(path)
	if err != nil {
		return nil, err
	}
	if old.WorkDir != r.Options.Env.WorkDir {
		return nil, fmt.Errorf("the session %s was in another folder, %s", legible.OneLine(resume),
			old.WorkDir)
	}
	return session.Resume(path, r.Options)
}

// Folder is the folder that a client names, which must lie in root, by whatever
// links. Empty is root itself.
func Folder(root, name string) (string, error) {
	if name == "" {
		return root, nil
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(root, name)
	}
	base, err := filepath.EvalSymlinks(root)
	if err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(name)
	if err != nil {
		return "", fmt.Errorf("there is no folder %s", legible.OneLine(name))
	}
	if rel, err := filepath.Rel(base, dir); err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s is outside of %s, where this server works", legible.OneLine(name), root)
	}
	return dir, nil
}

// previewMax bounds what a person is shown of a call. Nobody reads more, and a yes
// to what was not shown is none.
const previewMax = 32 << 10

// Shown is a call in the form in which a person is asked about it. False: it is too long to
// show.
func Shown(p *session.Proposal) (string, bool) {
	if len(p.Preview) > previewMax {
		return "", false
	}
	return legible.Visible(p.Preview), true
}

// TooLong refuses a call that can't be shown whole.
func TooLong(p *session.Proposal) session.Decision {
	return session.Decision{
		Reason: fmt.Sprintf("what %s would do is too long to be shown: %d bytes. Do it in smaller parts.",
			p.Call.Command, len(p.Preview)),
	}
}

// Title is a call in one line.
func Title(command, summary string) string {
	if summary = strings.TrimSpace(summary); summary == "" {
		return command
	}
	return command + ": " + legible.Line(summary, titleRunes)
}

const titleRunes = 120

// Effect says what a call would do.
func Effect(p *session.Proposal) string {
	switch p.Spec.Effect {
	case command.EffectWrite:
		return "write files"
	case command.EffectExecute:
		return "run code"
	case command.EffectNetwork:
		return "reach the network"
	}
	return "read files"
}
