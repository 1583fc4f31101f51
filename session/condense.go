package session

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"agent/command"
)

// A result that is over its limit is shown as its head, its tail, and the gist
// of what lies between them: the lines that matter by their words, or what the
// model says of it. The head and tail are exact, the statement says what was
// left out and where the whole is.

// LongResults says how the gist of a long result is made.
type LongResults string

// Kinds of gist.
const (
	// ResultsCut picks the lines that share the rarest words with the task and
	// the last note, and those unlike all others. It costs nothing and quotes
	// exactly.
	ResultsCut LongResults = "cut"
	// ResultsSummary lets the model read the result in chunks and say what
	// matters for the task. It finds what is worded otherwise, and costs the
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
	_, middle, _ := splitMiddle(text, keep)
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
	head, middle, tail := splitMiddle(text, keep)
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
	c.book.keep(record{Type: recWhole, Steps: c.clock.steps, Reason: c.call.Command, Raw: text})
}

// recWhole is a result before it was condensed.
const recWhole = "whole_result"

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
	lines := linesAbout(c.task+" "+c.call.Summary, middle, tokensMax, func(t string) int { return c.count(ctx, t) })
	return gist{text: strings.Join(lines, "\n")}
}

// summaryOf lets the model read text in chunks and say of each what matters
// for the task.
func (c condenser) summaryOf(ctx context.Context, text string, tokensMax int) (gist, error) {
	chunks, unread := c.chunksOf(ctx, text)
	g := gist{byModel: true, unread: utf8.RuneCountInString(unread)}
	var notes []string
	for _, chunk := range chunks {
		note, err := c.ask(ctx, c.words.render("condense_system.tmpl", nil), c.words.render("condense.tmpl", map[string]string{
			"Task": oneLine(c.task, taskLineRunes), "Command": c.call.Command, "Block": fenced(chunk),
		}), max(tokensMax/len(chunks), chunkReplyTokens), proseRut.until())
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
		chunk := firstChunk(text, size)
		chunks, text = append(chunks, chunk), text[len(chunk):]
	}
	return chunks, text
}

// firstChunk is at most n characters from the start of text, to the end of a
// line where there is one in its second half.
func firstChunk(text string, n int) string {
	count := 0
	for i := range text {
		if count == n {
			if at := strings.LastIndexByte(text[:i], '\n'); at >= i/2 {
				return text[:at+1]
			}
			return text[:i]
		}
		count++
	}
	return text
}

const (
	commonWord = 0.2 // of all lines: a word in more of them does not tell one line from another
	rareWord   = 0.01
	oddLines   = 0.1 // of all lines: where more have rare words, all are different and none is odd
)

// linesAbout are the lines of text that share the rarest words with a query,
// and those that are unlike all others, as a failure is in a log: in their
// order, as far as tokensMax allows.
func linesAbout(query, text string, tokensMax int, counted func(string) int) []string {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	if len(lines) < 2 {
		return nil
	}
	scores := aboutScores(query, lines)
	for i, odd := range oddOnes(lines) {
		if odd {
			scores[i] += math.Log(float64(len(lines))) / 2
		}
	}
	best := make([]int, len(lines))
	for i := range best {
		best[i] = i
	}
	slices.SortStableFunc(best, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	var chosen []int
	for _, i := range best {
		if tokensMax -= counted(shortLine(lines[i])) + 1; scores[i] == 0 || tokensMax < 0 {
			break
		}
		chosen = append(chosen, i)
	}
	slices.Sort(chosen)
	out := make([]string, len(chosen))
	for i, n := range chosen {
		out[i] = shortLine(lines[n])
	}
	return out
}

func shortLine(line string) string { return cutRunes(strings.TrimSpace(line), 2*lineCharsMax) }

// aboutScores weighs the words that lines share with a query by how few lines
// have them.
func aboutScores(query string, lines []string) []float64 {
	wanted, inLines, words := wordSet(query), map[string]int{}, make([]map[string]bool, len(lines))
	for i, line := range lines {
		words[i] = wordSet(line)
		for w := range words[i] {
			inLines[w]++
		}
	}
	scores := make([]float64, len(lines))
	for i := range lines {
		for w := range words[i] {
			if n := inLines[w]; wanted[w] && float64(n) <= max(commonWord*float64(len(lines)), 1) {
				scores[i] += math.Log(float64(len(lines)) / float64(n))
			}
		}
	}
	return scores
}

// oddOnes finds the few lines with words that hardly any other line has, where
// lines are alike otherwise. Numbers differ anyway and do not count.
func oddOnes(lines []string) []bool {
	inLines, words := map[string]int{}, make([]map[string]bool, len(lines))
	for i, line := range lines {
		words[i] = wordSet(strings.Map(dropDigits, line))
		for w := range words[i] {
			inLines[w]++
		}
	}
	odd, count := make([]bool, len(lines)), 0
	for i := range lines {
		for w := range words[i] {
			odd[i] = odd[i] || float64(inLines[w]) <= max(rareWord*float64(len(lines)), 1)
		}
		if odd[i] {
			count++
		}
	}
	if float64(count) > max(oddLines*float64(len(lines)), 1) {
		return make([]bool, len(lines))
	}
	return odd
}

func dropDigits(r rune) rune {
	if unicode.IsDigit(r) {
		return -1
	}
	return r
}

// stemRunes is how much of a word is compared: "failed" and "failing" are the
// same.
const stemRunes = 5

// wordSet are the words of text, lower case and cut to their stems. Short ones
// tell too little, numbers a lot.
func wordSet(text string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		runes := []rune(w)
		if len(runes) >= 3 || unicode.IsDigit(runes[0]) {
			set[string(runes[:min(len(runes), stemRunes)])] = true
		}
	}
	return set
}
