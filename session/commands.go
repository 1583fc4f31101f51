package session

import (
	"context"
	"fmt"
	"maps"
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
	c := comparison{s.talk.known, fingerprints(s.about.offered())}
	if changes = append(changes, c.unreported(changes)...); len(changes) == 0 {
		return
	}
	s.book.emit(&Commands{Step: s.clock.steps, Changes: changes})
	news := s.commandNews(changes, c)
	s.talk.known = c.now
	if news.none() {
		return
	}
	text := s.talk.tell(s.words.render("commands.tmpl", news))
	s.add(&journal.Entry{Kind: journal.KindResult, Step: s.clock.steps, Text: text, Next: s.phase})
}

// fingerprints tell when what a command says of itself has changed, by name.
func fingerprints(specs []command.Spec) map[string]string {
	out := make(map[string]string, len(specs))
	for _, spec := range specs {
		out[spec.Name] = fmt.Sprintf("%#v", spec)
	}
	return out
}

// comparison holds the fingerprints that the model knows against those there are.
type comparison struct{ known, now map[string]string }

// of says what became of a command; empty: nothing that can be seen.
func (c comparison) of(name string) string {
	before, had := c.known[name]
	print, has := c.now[name]
	switch {
	case had && !has:
		return CommandRemoved
	case has && !had:
		return CommandAdded
	case before != print:
		return CommandChanged
	}
	return ""
}

// unreported finds what changed besides what was reported: commands that the
// program registered or took away by itself.
func (c comparison) unreported(reported []CommandChange) []CommandChange {
	names := slices.AppendSeq(slices.Collect(maps.Keys(c.known)), maps.Keys(c.now))
	slices.Sort(names)
	var out []CommandChange
	for _, name := range slices.Compact(names) {
		told := slices.ContainsFunc(reported, func(r CommandChange) bool { return r.Command == name })
		if change := c.of(name); change != "" && !told {
			out = append(out, CommandChange{Change: change, Command: name})
		}
	}
	slices.SortStableFunc(out, func(a, b CommandChange) int { return strings.Compare(a.Change, b.Change) })
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
func (s *Session) commandNews(changes []CommandChange, c comparison) commandNews {
	var news commandNews
	seen := map[string]bool{"": true}
	for _, change := range changes {
		name := change.Command
		if seen[name] || change.Change == CommandBroken || change.Change == CommandRefused {
			continue
		}
		seen[name] = true
		s.calls.circles.forget(name)
		specs := matching(s.about.offered(), func(spec command.Spec) bool { return spec.Name == name })
		switch c.of(name) {
		case CommandAdded:
			news.Added = append(news.Added, specs...)
		case CommandChanged:
			news.Changed = append(news.Changed, specs...)
		case CommandRemoved:
			news.Removed = append(news.Removed, name)
		default:
			if len(specs) > 0 && change.Change == CommandChanged {
				news.Redone = append(news.Redone, name)
			}
		}
	}
	return news
}
