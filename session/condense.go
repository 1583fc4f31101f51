package session

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"agent/command"
	"agent/session/journal"
	"agent/session/prose"
)

// A result over its limit is shown as its exact head and tail, the gist of what
// lies between them, and a statement of what was left out and where the whole is.

// LongResults says how the gist of a long result is made.
type LongResults string

// Kinds of gist.
const (
	// ResultsCut picks the lines that share rare words with the task and the last
	// note, and those unlike all others.
	ResultsCut LongResults = "cut"
	// ResultsSummary lets the model say what matters for the task. It costs the
	// evaluation of the whole result.
	ResultsSummary LongResults = "summary"
)

func (l LongResults) check() error {
	if l == ResultsCut || l == ResultsSummary {
		return nil
	}
	return fmt.Errorf("unknown way with long results %q: known are cut, summary", l)
}

// Bounds of condensing.
const (
	endsShare        = 0.6 // of a result's room for its head and tail
	gistShare        = 0.3 // for the gist; what is left is for the statement
	chunkTokensMax   = 1200
	chunkTokensMin   = 256
	chunksMax        = 6 // read of one result; what lies beyond is counted as not read
	chunkReplyTokens = 40
	condenseRounds   = 6
	wholeBytesMax    = 1 << 20 // of a result kept in the session file
)

// gist is what is told of the middle of a long result.
type gist struct {
	text    string
	byModel bool
	unread  int // characters at the end of the middle that the model did not read
}

type condensedData struct {
	Lines, Chars int
	Gist         string
	ByModel      bool
	Unread       int
	Step         int  // under which the session file has the whole; 0: no file is kept
	InParts      bool // the command can show a part
}

// condenser shows the result of a call in part, where it is long.
type condenser struct {
	*conversation
	how     LongResults
	call    *command.Call
	inParts bool // the command can be asked for some lines alone
}

// short makes a result fit its limit. The whole goes into the session file
// first.
func (c condenser) short(ctx context.Context, text string) (string, bool) {
	text = strings.ToValidUTF8(text, "\uFFFD") // so that characters can be counted and cut
	limit := c.limits.ResultTokensMax
	tokens := c.count(ctx, text)
	if tokens <= limit {
		return text, false
	}
	c.keepWhole(text)
	keep := int(float64(utf8.RuneCountInString(text)) * float64(limit) * endsShare / float64(tokens))
	_, middle, _ := prose.SplitMiddle(text, keep)
	g := c.gistOf(ctx, middle, int(float64(limit)*gistShare))
	out := text
	for range condenseRounds {
		out = c.condensed(text, keep, g)
		if c.count(ctx, out) <= limit {
			return out, true
		}
		keep = keep * 8 / 10
	}
	return c.shorten(ctx, out, limit)
}

// condensed puts a long result together: keep characters of its ends, and the
// gist between them.
func (c condenser) condensed(text string, keep int, g gist) string {
	head, middle, tail := prose.SplitMiddle(text, keep)
	d := condensedData{
		Lines: strings.Count(middle, "\n"), Chars: utf8.RuneCountInString(middle),
		Gist: g.text, ByModel: g.byModel, Unread: g.unread, InParts: c.inParts,
	}
	if c.book.log != nil {
		d.Step = c.clock.steps
	}
	return strings.TrimRight(head, "\n") + "\n" + c.words.render("condensed.tmpl", d) + "\n" + tail
}

// keepWhole writes a result that is shown in part into the session file, where
// a person finds it.
func (c condenser) keepWhole(text string) {
	if len(text) > wholeBytesMax {
		text = strings.ToValidUTF8(text[:wholeBytesMax], "")
	}
	c.book.keep(journal.Record{Type: journal.TypeWhole, Steps: c.clock.steps, Reason: c.call.Command,
		Raw: text})
}

// gistOf makes the gist of the middle of a result. A model that fails costs
// the summary, not the run.
func (c condenser) gistOf(ctx context.Context, middle string, tokensMax int) gist {
	if c.how == ResultsSummary {
		g, err := c.summaryOf(ctx, middle, tokensMax)
		if err == nil {
			return g
		}
		if ctx.Err() == nil {
			c.warn("no summary of a long result by the model: " + err.Error())
		}
	}
	lines := prose.LinesAbout(c.task+" "+c.call.Summary, middle, tokensMax,
		func(t string) int { return c.count(ctx, t) })
	return gist{text: strings.Join(lines, "\n")}
}

// summaryOf lets the model read text in chunks and say of each what matters
// for the task.
func (c condenser) summaryOf(ctx context.Context, text string, tokensMax int) (gist, error) {
	chunks, unread := c.chunksOf(ctx, text)
	g := gist{byModel: true, unread: utf8.RuneCountInString(unread)}
	var notes []string
	for _, chunk := range chunks {
		note, err := c.ask(ctx, c.words.render("condense_system.tmpl", nil),
			c.words.render("condense.tmpl", map[string]string{
				"Task": prose.OneLine(c.task, taskLineRunes), "Command": c.call.Command,
				"Block": prose.Fenced(chunk),
			}), max(tokensMax/len(chunks), chunkReplyTokens), prose.ProseRut().Until())
		if err != nil {
			return g, err
		}
		if !strings.EqualFold(strings.Trim(note, ".-* "), c.words.render("nothing", nil)) {
			notes = append(notes, note)
		}
	}
	g.text, _ = c.shorten(ctx, strings.Join(notes, "\n"), tokensMax)
	return g, nil
}

// chunksOf cuts text at line ends into chunks that fit beside the conversation,
// so that reading them does not push it out of the model's cache.
func (c condenser) chunksOf(ctx context.Context, text string) (chunks []string, unread string) {
	free := c.backend.ContextLength() - c.estimate(ctx) - 2*summaryTokensMax
	tokensEach := min(chunkTokensMax, max(free, chunkTokensMin))
	tokens := max(c.count(ctx, text), 1)
	size := max(utf8.RuneCountInString(text)*tokensEach/tokens, 1)
	for text != "" && len(chunks) < chunksMax {
		chunk := prose.FirstChunk(text, size)
		chunks, text = append(chunks, chunk), text[len(chunk):]
	}
	return chunks, text
}
