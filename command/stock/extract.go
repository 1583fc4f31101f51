package stock

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"agent/command"
	"agent/internal/legible"
)

// Bounds of finding by the model.
const (
	askBytesDefault     = 6000     // text in one question, where Env does not say
	extractChunksMax    = 12       // questions about one text
	extractWhatMax      = 500      // bytes of what is asked
	extractTokensMax    = 200      // of one answer
	extractBytesMax     = 16 << 20 // of a text that are looked through
	chunkOverlapLines   = 2        // shown again, so that nothing is torn apart
	chunkOverlapBytes   = 200      // the same, of a line that is cut
	extractPromptSpared = 600      // bytes of a question that are not the text
)

// chunk is a piece of a text, from one line to another.
type chunk struct {
	from, to int
	text     string
}

// extract asks the model what each piece of a text says about a question, and
// joins the answers with their places. Without a model it searches for the words.
func (r *reading) extract(p *paper, what string, from, to int) (*command.Result, error) {
	if r.env.Ask == nil {
		return r.part(p, map[string]any{"find": what}, from, to), nil
	}
	what = legible.Head(what, extractWhatMax)
	room := cmp.Or(max(0, r.env.AskBytesMax), askBytesDefault)
	chunks, rest := p.chunks(from, to, max(room-extractPromptSpared-len(what), minimumShown))
	picked := likeliest(chunks, what)
	var found []string
	last := ""
	for _, c := range picked {
		answer, err := r.ask(p, what, c)
		if err != nil {
			return nil, err
		}
		if answer != "" && answer != last { // pieces overlap
			last = answer
			found = append(found, texts.Say("extracted",
				map[string]any{"From": c.from, "To": c.to, "Text": answer}))
		}
	}
	return r.extracted(found, map[string]any{
		"Head": p.head(1, p.total), "What": clip(what), "Found": len(found), "Chunks": len(chunks),
		"Asked": len(picked), "Next": rest.line, "Within": rest.within,
	}), nil
}

// ask puts the question to the model about one piece. "Nothing" gives an empty
// answer. Numbers that the piece does not contain are listed.
func (r *reading) ask(p *paper, what string, c chunk) (string, error) {
	prompt := texts.Say("extract", map[string]any{
		"Path": clip(p.name), "What": what, "From": c.from, "To": c.to, "Fence": legible.Fence(c.text),
		"Text": c.text,
	})
	answer, err := r.env.Ask(r.ctx, prompt, extractTokensMax)
	if err != nil {
		return "", fmt.Errorf("reader: extract from %s: %w", p.name, err)
	}
	answer = strings.TrimSpace(answer)
	if nothing.MatchString(answer) {
		return "", nil
	}
	if made := madeUp(answer, c.text+" "+what); len(made) > 0 {
		answer += "\n" + texts.Say("made_up", made)
	}
	return answer, nil
}

// nothing is how a model says that a piece holds nothing about the question.
var nothing = regexp.MustCompile(`(?i)^\W*(?:nothing|none|n/?a|no (?:relevant )?information|not (?:mentioned|found|given))\b.{0,80}$|^\W*$`)

var numberPattern = regexp.MustCompile(`\d+(?:[.,]\d+)*`)

// madeUp lists the numbers of an answer that are not in the text: small models
// invent them.
func madeUp(answer, text string) []string {
	var out []string
	for _, n := range numberPattern.FindAllString(answer, -1) {
		if !strings.Contains(text, n) && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// extracted reports what was found and what was not searched.
func (r *reading) extracted(found []string, head map[string]any) *command.Result {
	out := &command.Result{Text: texts.Say("extract_head", head)}
	for i, f := range found {
		if text := out.Text + "\n" + f; i == 0 ||
			len(text) <= r.left && (r.env.Fits == nil || r.env.Fits(text)) {
			out.Text = text
			continue
		}
		out.Text += "\n" + texts.Say("extract_more", len(found)-i)
		out.Truncated = true
		break
	}
	return out
}

// chunks cuts the lines from..to into pieces of at most size bytes. Each piece
// repeats the last lines of the one before, or the end of a line that is too long
// for one piece. Of an enormous text only the start is used.
func (p *paper) chunks(from, to, size int) (out []chunk, rest unread) {
	c := chunker{size: size}
	room, tail := extractBytesMax, "" // of a line, what is not given to the chunker yet
	for n, next := range p.each {
		if n < from {
			continue
		}
		if n > to || rest.line > 0 {
			break
		}
		text := next.text[:runeStart(next.text, room)]
		if len(text) < len(next.text) {
			rest = unread{line: n, within: text+tail != ""}
			if !rest.within {
				break
			}
		}
		room -= len(text)
		tail = c.cut(n, tail+text)
		if next.last || rest.within {
			c.add(n, tail)
			tail = ""
		}
	}
	c.flush()
	return c.out, rest
}

// unread is the part of an enormous text that was not searched.
type unread struct {
	line   int  // with which it begins, 0: there is none
	within bool // in the middle of that line
}

// chunker puts lines together into chunks.
type chunker struct {
	size  int
	lines []string
	first int // number of the first of the lines
	last  int // number of the line that was added last
	used  int
	out   []chunk
}

// cut takes full pieces off the start of a line and returns the rest.
func (c *chunker) cut(n int, line string) (tail string) {
	for len(line) > c.size {
		end := wordEnd(line, c.size)
		c.add(n, line[:end])
		line = line[runeStart(line, end-c.overlap()):]
	}
	return line
}

// overlap is how much two pieces of one line have in common.
func (c *chunker) overlap() int { return min(chunkOverlapBytes, c.size/4) }

// add adds the next line, or the next piece of a long one. Pieces of one line
// never share a chunk, where they would look like two lines.
func (c *chunker) add(n int, text string) {
	switch {
	case n == c.last:
		c.flush()
	case c.used > 0 && c.used+len(text)+1 > c.size:
		kept := slices.Clone(c.lines[len(c.lines)-min(chunkOverlapLines, len(c.lines)):])
		c.flush()
		if byteCount(kept)+len(text) <= c.size {
			c.lines, c.first, c.used = kept, n-len(kept), byteCount(kept)
		}
	}
	if len(c.lines) == 0 {
		c.first = n
	}
	c.lines, c.last, c.used = append(c.lines, text), n, c.used+len(text)+1
}

func (c *chunker) flush() {
	if len(c.lines) > 0 {
		c.out = append(c.out, chunk{from: c.first, to: c.last, text: strings.Join(c.lines, "\n")})
	}
	c.lines, c.used = nil, 0
}

// wordEnd is where to cut a text of at most n bytes: after a word if one ends
// near, else between two characters.
func wordEnd(text string, n int) int {
	n = runeStart(text, n)
	if space := strings.LastIndexAny(text[:n], " \t"); space >= n-n/4 {
		return space + 1
	}
	return n
}

func byteCount(lines []string) int {
	n := 0
	for _, line := range lines {
		n += len(line) + 1
	}
	return n
}

// likeliest picks the pieces to ask about, in order: all of them, or those that
// contain most of the words of the question.
func likeliest(chunks []chunk, what string) []chunk {
	if len(chunks) <= extractChunksMax {
		return chunks
	}
	words := strings.Fields(strings.ToLower(what))
	type rated struct{ at, score int }
	order := make([]rated, len(chunks))
	for i, c := range chunks {
		order[i].at = i
		lower := strings.ToLower(c.text)
		for _, w := range words {
			if strings.Contains(lower, strings.Trim(w, ".,;:?!\"'")) {
				order[i].score += len(w) // long words say more than short ones
			}
		}
	}
	slices.SortStableFunc(order, func(a, b rated) int { return b.score - a.score })
	order = order[:extractChunksMax]
	slices.SortFunc(order, func(a, b rated) int { return a.at - b.at })
	out := make([]chunk, len(order))
	for i, r := range order {
		out[i] = chunks[r.at]
	}
	return out
}
