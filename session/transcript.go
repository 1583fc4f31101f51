package session

import (
	"context"
	"slices"
	"strings"

	"agent/backend"
	"agent/session/prose"
)

// entryKind says what an entry of the transcript is, which decides what
// compaction may do with it.
type entryKind string

const (
	kindTask    entryKind = "task"    // the user's words: kept as they are, always
	kindTurn    entryKind = "turn"    // what the model wrote
	kindResult  entryKind = "result"  // data for the model
	kindSummary entryKind = "summary" // what older turns and results became
)

// entry is one part of the conversation. The transcript only grows, except
// when it is compacted, so that an evaluated prompt stays a prefix of the next.
type entry struct {
	Kind   entryKind `json:"kind"`
	Step   int       `json:"step"`
	Text   string    `json:"text"`
	Raw    string    `json:"raw,omitempty"`    // the model's own text where Text is its canonical form
	Digest string    `json:"digest,omitempty"` // a turn and its result in one line, for a summary

	Next phase `json:"next,omitempty"` // of the run, after this

	tokens int // counted once, 0 = not yet
}

func (e *entry) role() backend.Role {
	if e.Kind == kindTurn {
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
	restate bool // [DeviceRestate] is on

	task        string            // the newest, in the user's words
	system      string            // the fixed part of every prompt
	systemCount int               // its tokens, counted once
	renew       func() string     // makes the fixed part anew
	known       map[string]string // what the model was told of the commands: fingerprints by name
	entries     []*entry
}

// add appends an entry, here and in the session file. The record may hold more
// than its text.
func (c *conversation) add(e *entry, r record) {
	e.Text, e.Raw, e.Digest = c.scrub.Text(e.Text), c.scrub.Text(e.Raw), c.scrub.Text(e.Digest)
	c.entries = append(c.entries, e)
	r.Type, r.Entry = recMessage, e
	c.book.keep(r)
}

// replace puts other entries in the place of all.
func (c *conversation) replace(entries []*entry) {
	c.entries = entries
	c.book.keep(record{Type: recCompacted, Entries: entries})
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
		case kindTask:
			return results >= restateAfter
		case kindSummary:
			return true
		case kindResult:
			results++
		}
	}
	return true
}

// has reports an entry of a kind.
func (c *conversation) has(kind entryKind) bool {
	return slices.ContainsFunc(c.entries, func(e *entry) bool { return e.Kind == kind })
}

// shown is all that the model was shown but its own words.
func (c *conversation) shown() []string {
	var out []string
	for _, e := range c.entries {
		if e.Kind != kindTurn {
			out = append(out, e.Text)
		}
	}
	return out
}

// doneSoFar is the run in one line per call.
func (c *conversation) doneSoFar() string {
	return prose.LastLines(strings.Join(digestsOf(c.entries), "\n"), digestLinesMax)
}

func digestsOf(entries []*entry) []string {
	var out []string
	for _, e := range entries {
		if e.Digest != "" {
			out = append(out, e.Digest)
		}
	}
	return out
}

// tokensOf counts an entry once.
func (c *conversation) tokensOf(ctx context.Context, e *entry) int {
	if e.tokens == 0 {
		e.tokens = c.count(ctx, e.Text) + messageOverhead
	}
	return e.tokens
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
func messages(system string, entries []*entry) []backend.Message {
	out := []backend.Message{{Role: backend.RoleSystem, Content: system}}
	for _, e := range entries {
		last := &out[len(out)-1]
		if last.Role == e.role() {
			last.Content = strings.TrimRight(last.Content, "\n") + "\n\n" + e.Text
			continue
		}
		out = append(out, backend.Message{Role: e.role(), Content: e.Text})
	}
	return out
}
