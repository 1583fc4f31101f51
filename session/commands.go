package session

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"agent/command"
	"agent/session/journal"
)

// Commands may come, change and go during a run. The model is told at the end of
// the conversation: behind a changed word in the system's message everything
// would be evaluated again. Compaction and resuming make that message anew.

// refreshCommands takes up changes of the commands, tells them, and tells the
// model what it should know of them.
func (s *Session) refreshCommands(ctx context.Context) {
	var changes []CommandChange
	if s.opts.Refresh != nil {
		changes = s.opts.Refresh(ctx)
	}
	now := fingerprints(s.opts.offered())
	changes = append(changes, s.unreported(changes, now)...)
	if len(changes) == 0 {
		return
	}
	s.book.emit(&Commands{Step: s.clock.steps, Changes: changes})
	news := s.commandNews(changes, now)
	s.talk.known = now
	if news.none() {
		return
	}
	s.add(&journal.Entry{Kind: journal.KindResult, Step: s.clock.steps, Text: s.talk.tell(s.words.render("commands.tmpl", news)), Next: s.phase})
}

// fingerprints tell when what a command says of itself has changed, by name.
func fingerprints(specs []command.Spec) map[string]string {
	out := make(map[string]string, len(specs))
	for _, spec := range specs {
		out[spec.Name] = fmt.Sprintf("%#v", spec)
	}
	return out
}

// unreported finds what changed besides what was reported: commands that the
// program registered or took away by itself.
func (s *Session) unreported(reported []CommandChange, now map[string]string) []CommandChange {
	told := map[string]bool{}
	for _, c := range reported {
		told[c.Command] = true
	}
	var out []CommandChange
	add := func(change, name string) {
		if !told[name] {
			out = append(out, CommandChange{Change: change, Command: name})
		}
	}
	for name, print := range now {
		switch before, ok := s.talk.known[name]; {
		case !ok:
			add(CommandAdded, name)
		case before != print:
			add(CommandChanged, name)
		}
	}
	for name := range s.talk.known {
		if _, ok := now[name]; !ok {
			add(CommandRemoved, name)
		}
	}
	slices.SortFunc(out, func(a, b CommandChange) int {
		return cmp.Or(strings.Compare(a.Change, b.Change), strings.Compare(a.Command, b.Command))
	})
	return out
}

// commandNews is what the model is told of changed commands.
type commandNews struct {
	Added, Changed []command.Spec
	Redone         []string // changed inside, and described as before
	Removed        []string
}

func (n commandNews) none() bool {
	return len(n.Added)+len(n.Changed)+len(n.Redone)+len(n.Removed) == 0
}

// commandNews sorts out what is new to the model: not what it was told at the
// start, and not what it may not use.
func (s *Session) commandNews(changes []CommandChange, now map[string]string) commandNews {
	var news commandNews
	specs := map[string]command.Spec{}
	for _, spec := range s.opts.offered() {
		specs[spec.Name] = spec
	}
	seen := map[string]bool{}
	for _, c := range changes {
		if c.Command == "" || seen[c.Command] || c.Change == CommandBroken || c.Change == CommandRefused {
			continue
		}
		seen[c.Command] = true
		s.calls.circles.forget(c.Command)
		before, had := s.talk.known[c.Command]
		print, has := now[c.Command]
		switch {
		case has && !had:
			news.Added = append(news.Added, specs[c.Command])
		case has && before != print:
			news.Changed = append(news.Changed, specs[c.Command])
		case has && c.Change == CommandChanged:
			news.Redone = append(news.Redone, c.Command)
		case had && !has:
			news.Removed = append(news.Removed, c.Command)
		}
	}
	return news
}
