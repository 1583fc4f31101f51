package session

import (
	"context"
	"slices"
	"strings"

	"agent/backend"
	"agent/session/journal"
	"agent/session/prose"
)

func role(e *journal.Entry) backend.Role {
	if e.Kind == journal.KindTurn {
		return backend.RoleAssistant
	}
	return backend.RoleUser // results are data: never the system's words
}

// conversation is what the model is shown: a fixed part, and entries that are
// only added to until it is compacted.
type conversation struct {
	*speaker
	book    *book
	clock   *clock
	restate bool // [AidRestate] is on

	task        string            // the newest, in the user's words
	system      string            // the fixed part of every prompt
	systemCount int               // its tokens, counted once
	renew       func() string     // makes the fixed part anew
	known       map[string]string // what the model was told of the commands: fingerprints by name
	entries     []*journal.Entry
}

// add appends an entry, here and in the session file. The record may hold more
// than its text.
func (c *conversation) add(e *journal.Entry, r journal.Record) {
	e.Text, e.Raw, e.Digest = c.scrub.Text(e.Text), c.scrub.Text(e.Raw), c.scrub.Text(e.Digest)
	c.entries = append(c.entries, e)
	r.Type, r.Entry = journal.TypeMessage, e
	c.book.keep(r)
}

// replace puts other entries in the place of all.
func (c *conversation) replace(entries []*journal.Entry) {
	c.entries = entries
	c.book.keep(journal.Record{Type: journal.TypeCompacted, Entries: entries})
}

// tell makes one message to the model of parts, with the task at its end where
// that is far back, and the steps that are left where those are few.
func (c *conversation) tell(parts ...string) string {
	r := c.reminder()
	if !c.restate || !c.taskIsFar() {
		r.Task = ""
	}
	if text := c.words.render("reminder.tmpl", r); text != "" {
		parts = append(parts, text)
	}
	return strings.Join(parts, "\n\n")
}

func (c *conversation) reminder() reminder {
	return reminder{Task: prose.OneLine(c.task, taskLineRunes), StepsLeft: c.clock.left()}
}

// restateAfter is how many results may follow a task before each restates it.
// Right after it that did more harm than good: the next note was the task once more.
const restateAfter = 3

// taskIsFar reports a task that stands before a summary, or so many results.
func (c *conversation) taskIsFar() bool {
	results := 0
	for _, e := range slices.Backward(c.entries) {
		switch e.Kind {
		case journal.KindTask:
			return results >= restateAfter
		case journal.KindSummary:
			return true
		case journal.KindResult:
			results++
		}
	}
	return true
}

// has reports an entry of a kind.
func (c *conversation) has(kind journal.Kind) bool {
	return slices.ContainsFunc(c.entries, func(e *journal.Entry) bool { return e.Kind == kind })
}

// shown is all that the model was shown but its own words.
func (c *conversation) shown() []string {
	var out []string
	for _, e := range c.entries {
		if e.Kind != journal.KindTurn {
			out = append(out, e.Text)
		}
	}
	return out
}

// doneSoFar is the run in one line per call.
func (c *conversation) doneSoFar() string {
	return prose.LastLines(strings.Join(digestsOf(c.entries), "\n"), digestLinesMax)
}

func digestsOf(entries []*journal.Entry) []string {
	var out []string
	for _, e := range entries {
		if e.Digest != "" {
			out = append(out, e.Digest)
		}
	}
	return out
}

// tokensOf counts an entry once.
func (c *conversation) tokensOf(ctx context.Context, e *journal.Entry) int {
	if e.Tokens == 0 {
		e.Tokens = c.count(ctx, e.Text) + messageOverhead
	}
	return e.Tokens
}

// estimate adds up the entries' counts: cheap, and rather too much than too
// little.
func (c *conversation) estimate(ctx context.Context) int {
	total := c.systemTokens(ctx)
	for _, e := range c.entries {
		total += c.tokensOf(ctx, e)
	}
	return total
}

func (c *conversation) systemTokens(ctx context.Context) int {
	if c.systemCount == 0 {
		c.systemCount = c.count(ctx, c.system) + 2*messageOverhead
	}
	return c.systemCount
}

// tokens counts the whole prompt exactly.
func (c *conversation) tokens(ctx context.Context) (int, error) {
	n, err := c.backend.CountTokens(ctx, c.messages())
	if err != nil {
		return 0, backendError(ctx, err)
	}
	return n, nil
}

func (c *conversation) messages() []backend.Message { return messages(c.system, c.entries) }

// messages renders a chat. Neighbours of one role become one message, since
// many chat templates refuse two in a row.
func messages(system string, entries []*journal.Entry) []backend.Message {
	out := []backend.Message{{Role: backend.RoleSystem, Content: system}}
	for _, e := range entries {
		last := &out[len(out)-1]
		if last.Role == role(e) {
			last.Content = strings.TrimRight(last.Content, "\n") + "\n\n" + e.Text
			continue
		}
		out = append(out, backend.Message{Role: role(e), Content: e.Text})
	}
	return out
}
