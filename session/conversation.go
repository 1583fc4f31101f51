package session

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"agent/backend"
	"agent/command"
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
	guides      string   // what joins the newest task, rendered
	skills      []string // names of those that were shown
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

const (
	messageOverhead   = 8   // tokens of a chat template around one message, generously
	summaryTokensMax  = 300 // what the model writes of older exchanges
	digestLinesMax    = 24  // calls listed in a summary
	digestResultRunes = 120
	shrinkRoundsMax   = 200
	// a result is not cut below this to make room: the statement of what is gone takes 30
	resultTokensMin = 80
)

// fit compacts the conversation when its prompt would be too long. Only near
// the limit is the whole prompt counted.
func (c *conversation) fit(ctx context.Context) error {
	limit := c.promptLimit()
	if c.estimate(ctx) <= limit {
		return nil
	}
	n, err := c.tokens(ctx)
	if err != nil || n <= limit {
		return err
	}
	return c.compact(ctx, limit)
}

// compact makes the prompt fit: older exchanges become a summary, and what stays
// is cut if need be. Only a task that alone is too long does not fit.
func (c *conversation) compact(ctx context.Context, limit int) error {
	before := len(c.entries)
	costs := make([]int, before)
	room := limit - c.systemTokens(ctx) - 2*summaryTokens(limit)
	for i, e := range c.entries {
		costs[i] = c.tokensOf(ctx, e)
		if e.Kind == journal.KindTask {
			room -= costs[i]
		}
	}
	plan := planCompaction(c.entries, costs, room/2)
	if len(plan.older) > 0 {
		summary, err := c.summarise(ctx, plan.older, limit/2)
		if err != nil {
			return err
		}
		c.entries = plan.rebuild(summary)
		if system := c.renew(); system != c.system {
			c.system, c.systemCount = system, 0
		}
	}
	if err := c.shrink(ctx, limit); err != nil {
		return err
	}
	c.replace(c.entries)
	message := "the conversation was shortened to make room"
	if n := len(c.entries); n < before {
		message += fmt.Sprintf(": %d messages became %d", before, n)
	}
	c.warn(message)
	return nil
}

// summaryTokens is the room for each of the two parts of a summary, the calls
// and the model's words, in a prompt of at most limit tokens.
func summaryTokens(limit int) int { return min(summaryTokensMax, limit/5) }

// compaction says which entries stay and which are summed up.
type compaction struct {
	tasks []*journal.Entry // the user's words
	older []*journal.Entry // become the summary
	tail  []*journal.Entry // stay as they are
}

// planCompaction keeps as many of the last exchanges as cost at most room
// tokens, and the newest whatever it costs: the model has not seen its result.
// The tail begins with the model's turn, so that roles alternate.
func planCompaction(entries []*journal.Entry, costs []int, room int) compaction {
	start, sum := lastExchange(entries), 0
	for i := len(entries) - 1; i >= 0 && entries[i].Kind != journal.KindSummary; i-- {
		if entries[i].Kind != journal.KindTask { // it stays anyway
			sum += costs[i]
		}
		if sum > room {
			break
		}
		if entries[i].Kind == journal.KindTurn {
			start = min(start, i)
		}
	}
	var c compaction
	for _, e := range entries[:start] {
		if e.Kind == journal.KindTask {
			c.tasks = append(c.tasks, e)
		} else {
			c.older = append(c.older, e)
		}
	}
	c.tail = entries[start:]
	return c
}

// lastExchange is where the newest exchange begins: with the model's last turn,
// or with what it was told where it has not said anything since the summary.
func lastExchange(entries []*journal.Entry) int {
	start := len(entries)
	for i := len(entries) - 1; i >= 0 && entries[i].Kind != journal.KindSummary; i-- {
		switch entries[i].Kind {
		case journal.KindTurn:
			return i
		case journal.KindResult:
			start = i
		}
	}
	return start
}

func (c compaction) rebuild(summary *journal.Entry) []*journal.Entry {
	return slices.Concat(c.tasks, []*journal.Entry{summary}, c.tail)
}

// summarise makes one entry of older ones: their calls in a line each, and what
// they brought in the model's own words, if it has any.
func (c *conversation) summarise(ctx context.Context, older []*journal.Entry, roomTokens int,
) (*journal.Entry, error) {
	var texts []string
	for _, e := range older {
		texts = append(texts, e.Text)
	}
	digest := c.boundedDigest(ctx, strings.Join(digestsOf(older), "\n"), summaryTokens(2*roomTokens))
	words, err := c.summaryByModel(ctx, strings.Join(texts, "\n\n"), roomTokens)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		c.warn("no summary by the model: " + err.Error())
	}
	shown := map[string]string{"Digest": prose.Fenced(digest), "Summary": ""}
	if words != "" {
		shown["Summary"] = prose.Fenced(words)
	}
	text := c.tell(c.words.render("summary.tmpl", shown))
	return &journal.Entry{Kind: journal.KindSummary, Step: c.clock.steps, Text: c.scrub.Text(text),
		Digest: digest}, nil
}

func (c *conversation) summaryByModel(ctx context.Context, log string, roomTokens int,
) (string, error) {
	wanted := summaryTokens(2 * roomTokens)
	log, _ = c.shorten(ctx, log, max(roomTokens-wanted, resultTokensMin))
	return c.ask(ctx, c.words.render("summary_system.tmpl", nil),
		c.words.render("summary_request.tmpl", map[string]string{
			"Task": prose.OneLine(c.task, taskLineRunes), "Block": prose.Fenced(log),
		}), wanted, nil)
}

// shrink makes the prompt fit whatever is in it: it cuts the largest entries,
// then lets the oldest exchanges go. The user's words stay.
func (c *conversation) shrink(ctx context.Context, limit int) error {
	n := 0
	for range shrinkRoundsMax {
		var err error
		if n, err = c.tokens(ctx); err != nil {
			return err
		}
		if n <= limit {
			return nil
		}
		if !c.cutLargest(ctx) && !c.dropOldest() {
			break
		}
	}
	if n <= c.backend.ContextLength()*9/10 {
		return nil // over the limit of comfort, but it can be sent
	}
	return &BackendError{&backend.ContextError{Tokens: n, Max: c.backend.ContextLength()}}
}

// cutLargest halves the largest entry that is not the user's words. It reports
// false when all are small.
func (c *conversation) cutLargest(ctx context.Context) bool {
	largest, most := -1, resultTokensMin
	for i, e := range c.entries {
		if n := c.tokensOf(ctx, e); e.Kind != journal.KindTask && n > most {
			largest, most = i, n
		}
	}
	if largest < 0 {
		return false
	}
	e := *c.entries[largest]
	e.Text, _ = c.shorten(ctx, e.Text, most/2)
	e.Tokens = 0
	if c.tokensOf(ctx, &e) >= most {
		e.Tokens = resultTokensMin // it can't be cut, and must not be tried for ever
	}
	c.entries[largest] = &e
	return true
}

// dropOldest takes out the oldest entry that is neither the user's words nor
// the summary nor of the newest exchange.
func (c *conversation) dropOldest() bool {
	for i, e := range c.entries[:lastExchange(c.entries)] {
		if e.Kind != journal.KindTask && e.Kind != journal.KindSummary {
			c.entries = slices.Delete(slices.Clone(c.entries), i, i+1)
			return true
		}
	}
	return false
}

// aboutCall is the shortest field of a call: a file name or a question rather
// than code.
func aboutCall(call *command.Call) string {
	best := ""
	for _, entry := range call.Content {
		for _, v := range entry {
			text := strings.TrimSpace(fmt.Sprint(v))
			if text != "" && (best == "" || len(text) < len(best) || len(text) == len(best) && text < best) {
				best = text
			}
		}
	}
	return best
}

// boundedDigest keeps of a digest what fits tokensMax.
func (c *conversation) boundedDigest(ctx context.Context, digest string, tokensMax int) string {
	lines := digestLinesMax
	out := prose.LastLines(digest, lines)
	for lines > 1 && c.count(ctx, out) > tokensMax {
		lines = lines * 3 / 4
		out = prose.LastLines(digest, lines)
	}
	return out
}
