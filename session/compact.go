package session

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"agent/backend"
	"agent/command"
)

const (
	messageOverhead   = 8   // tokens of a chat template around one message, generously
	summaryTokensMax  = 300 // what the model writes of older exchanges
	digestLinesMax    = 24  // calls listed in a summary
	digestResultRunes = 120
	shrinkRoundsMax   = 200
	resultTokensMin   = 80 // a result is not cut below this to make room: the statement of what is gone takes 30
)

// promptLimit is the most tokens that a prompt may have before it is
// compacted: what the context leaves beside a reply.
func (s *Session) promptLimit() int {
	length := s.opts.Backend.ContextLength()
	reserve := min(s.opts.Limits.FieldTokensMax+s.opts.Limits.NoteTokensMax+256, length*2/5)
	limit := length - reserve
	history := s.opts.Limits.HistoryTokensMax
	if history <= 0 {
		history = length * 4 / 5
	}
	return min(limit, history)
}

// countText counts plain text. A backend that can't count gives no reason to
// stop here: what is sent is counted again by the backend itself.
func (s *Session) countText(ctx context.Context, text string) int {
	if c, ok := backend.As[backend.Counter](s.opts.Backend); ok {
		if n, err := c.CountText(ctx, text); err == nil {
			return n.Tokens
		}
	}
	n, err := s.opts.Backend.CountTokens(ctx, []backend.Message{{Role: backend.RoleUser, Content: text}})
	if err != nil {
		return len(text)/3 + 1
	}
	return n
}

// entryTokens counts an entry once.
func (s *Session) entryTokens(ctx context.Context, e *entry) int {
	if e.tokens == 0 {
		e.tokens = s.countText(ctx, e.Text) + messageOverhead
	}
	return e.tokens
}

// estimate adds up the entries' counts: cheap, and rather too much than too
// little.
func (s *Session) estimate(ctx context.Context) int {
	total := s.systemTokens(ctx)
	for _, e := range s.entries {
		total += s.entryTokens(ctx, e)
	}
	return total
}

func (s *Session) systemTokens(ctx context.Context) int {
	if s.systemCount == 0 {
		s.systemCount = s.countText(ctx, s.system) + 2*messageOverhead
	}
	return s.systemCount
}

// fit compacts the conversation when its prompt would be too long. Only near
// the limit is the whole prompt counted.
func (s *Session) fit(ctx context.Context) error {
	limit := s.promptLimit()
	if s.estimate(ctx) <= limit {
		return nil
	}
	n, err := s.promptTokens(ctx)
	if err != nil || n <= limit {
		return err
	}
	return s.compact(ctx, limit)
}

// promptTokens counts the whole prompt exactly.
func (s *Session) promptTokens(ctx context.Context) (int, error) {
	n, err := s.opts.Backend.CountTokens(ctx, messages(s.system, s.entries))
	if err != nil {
		return 0, backendError(ctx, err)
	}
	return n, nil
}

// compact makes the prompt fit: older exchanges become a summary, the user's
// words and the last exchanges stay. When that is not enough the exchanges
// that stay are cut too. Only a task that alone is too long does not fit.
func (s *Session) compact(ctx context.Context, limit int) error {
	before := len(s.entries)
	costs := make([]int, before)
	room := limit - s.systemTokens(ctx) - 2*summaryTokens(limit)
	for i, e := range s.entries {
		costs[i] = s.entryTokens(ctx, e)
		if e.Kind == kindTask {
			room -= costs[i]
		}
	}
	plan := planCompaction(s.entries, costs, room/2)
	if len(plan.older) > 0 {
		summary, err := s.summarise(ctx, plan.older, limit/2)
		if err != nil {
			return err
		}
		s.entries = plan.rebuild(summary)
		s.renewSystem()
	}
	if err := s.shrink(ctx, limit); err != nil {
		return err
	}
	s.keep(record{Type: recCompacted, Entries: s.entries})
	message := "the conversation was shortened to make room"
	if n := len(s.entries); n < before {
		message += fmt.Sprintf(": %d messages became %d", before, n)
	}
	s.warn(message)
	return nil
}

// summaryTokens is the room for each of the two parts of a summary, the calls
// and the model's words, in a prompt of at most limit tokens.
func summaryTokens(limit int) int { return min(summaryTokensMax, limit/5) }

// compaction says which entries stay and which are summed up.
type compaction struct {
	tasks []*entry // the user's words
	older []*entry // become the summary
	tail  []*entry // stay as they are
}

// planCompaction keeps as many of the last exchanges as cost at most room
// tokens, and the newest whatever it costs: the model has not seen its result.
// The tail begins with the model's turn, so that roles alternate.
func planCompaction(entries []*entry, costs []int, room int) compaction {
	start, sum := lastExchange(entries), 0
	for i := len(entries) - 1; i >= 0 && entries[i].Kind != kindSummary; i-- {
		if entries[i].Kind != kindTask { // it stays anyway
			sum += costs[i]
		}
		if sum > room {
			break
		}
		if entries[i].Kind == kindTurn {
			start = min(start, i)
		}
	}
	var c compaction
	for _, e := range entries[:start] {
		if e.Kind == kindTask {
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
func lastExchange(entries []*entry) int {
	start := len(entries)
	for i := len(entries) - 1; i >= 0 && entries[i].Kind != kindSummary; i-- {
		switch entries[i].Kind {
		case kindTurn:
			return i
		case kindResult:
			start = i
		}
	}
	return start
}

func (c compaction) rebuild(summary *entry) []*entry {
	out := append([]*entry{}, c.tasks...)
	out = append(out, summary)
	return append(out, c.tail...)
}

// summarise makes one entry of older ones: the calls and their results in a
// line each, and the model's own words about what they brought. Without the
// model, the lines alone.
func (s *Session) summarise(ctx context.Context, older []*entry, roomTokens int) (*entry, error) {
	var texts, digests []string
	for _, e := range older {
		texts = append(texts, e.Text)
		if e.Digest != "" {
			digests = append(digests, e.Digest)
		}
	}
	digest := s.boundedDigest(ctx, strings.Join(digests, "\n"), summaryTokens(2*roomTokens))
	words, err := s.summaryByModel(ctx, strings.Join(texts, "\n\n"), roomTokens)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		s.warn("no summary by the model: " + err.Error())
	}
	text := s.tell(s.words.render("summary.tmpl", map[string]string{"Digest": fenced(digest), "Summary": fencedIf(words)}))
	return &entry{Kind: kindSummary, Step: s.steps, Text: s.scrub.text(text), Digest: digest}, nil
}

func fencedIf(text string) string {
	if text == "" {
		return ""
	}
	return fenced(text)
}

func (s *Session) summaryByModel(ctx context.Context, log string, roomTokens int) (string, error) {
	wanted := summaryTokens(2 * roomTokens)
	tokensMax, err := s.allowance(wanted)
	if err != nil {
		return "", err
	}
	log, _ = shorten(log, max(roomTokens-wanted, resultTokensMin), func(t string) int { return s.countText(ctx, t) }, s.leftOut)
	text, _, err := s.completion(ctx, &backend.Request{
		Messages: []backend.Message{
			{Role: backend.RoleSystem, Content: s.words.render("summary_system.tmpl", nil)},
			{Role: backend.RoleUser, Content: s.words.render("summary_request.tmpl", map[string]string{
				"Task": oneLine(s.task, taskLineRunes), "Block": fenced(log),
			})},
		},
		Sampling: s.opts.Sampling, TokensMax: tokensMax,
	}, nil)
	return strings.TrimSpace(text), err
}

// shrink makes the prompt fit whatever is in it: it cuts the largest entries,
// then lets the oldest exchanges go. The user's words stay.
func (s *Session) shrink(ctx context.Context, limit int) error {
	n := 0
	for range shrinkRoundsMax {
		var err error
		if n, err = s.promptTokens(ctx); err != nil {
			return err
		}
		if n <= limit {
			return nil
		}
		if !s.cutLargest(ctx) && !s.dropOldest() {
			break
		}
	}
	if n <= s.opts.Backend.ContextLength()*9/10 {
		return nil // over the limit of comfort, but it can be sent
	}
	return &BackendError{&backend.ContextError{Tokens: n, Max: s.opts.Backend.ContextLength()}}
}

// cutLargest halves the largest entry that is not the user's words. It reports
// false when all are small.
func (s *Session) cutLargest(ctx context.Context) bool {
	largest, most := -1, resultTokensMin
	for i, e := range s.entries {
		if n := s.entryTokens(ctx, e); e.Kind != kindTask && n > most {
			largest, most = i, n
		}
	}
	if largest < 0 {
		return false
	}
	e := *s.entries[largest]
	e.Text, _ = shorten(e.Text, most/2, func(t string) int { return s.countText(ctx, t) }, s.leftOut)
	e.tokens = 0
	if s.entryTokens(ctx, &e) >= most {
		e.tokens = resultTokensMin // it can't be cut, and must not be tried for ever
	}
	s.entries[largest] = &e
	return true
}

// dropOldest takes out the oldest entry that is neither the user's words nor
// the summary nor of the newest exchange.
func (s *Session) dropOldest() bool {
	for i, e := range s.entries[:lastExchange(s.entries)] {
		if e.Kind != kindTask && e.Kind != kindSummary {
			s.entries = slices.Delete(slices.Clone(s.entries), i, i+1)
			return true
		}
	}
	return false
}

// digest is a call and its result in one line.
func (s *Session) digest(call *command.Call, r reply) string {
	about := ""
	if !r.withheld { // a withheld answer must not come out later
		about = oneLine(aboutCall(call), 60)
	}
	return s.words.render("digest.tmpl", map[string]any{
		"Step": s.steps, "Command": call.Command, "About": about,
		"Failed": r.failed, "Result": oneLine(r.short, digestResultRunes),
	})
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
func (s *Session) boundedDigest(ctx context.Context, digest string, tokensMax int) string {
	lines := digestLinesMax
	out := lastLines(digest, lines)
	for lines > 1 && s.countText(ctx, out) > tokensMax {
		lines = lines * 3 / 4
		out = lastLines(digest, lines)
	}
	return out
}

// lastLines keeps the last lines of a digest and says how many are gone.
func lastLines(digest string, n int) string {
	lines := strings.Split(digest, "\n")
	if len(lines) <= n {
		return digest
	}
	gone := len(lines) - n + 1
	return fmt.Sprintf("[… %d …]\n%s", gone, strings.Join(lines[gone:], "\n"))
}
