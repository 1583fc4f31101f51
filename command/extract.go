package command

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"

	"agent/command/internal/legible"
)

// Bounds of finding by the model.
const (
	askBytesDefault     = 6000     // text in one question, where Env does not say
	extractChunksMax    = 12       // questions about one text
	extractWhatMax      = 500      // bytes of what is asked
	extractTokensMax    = 200      // of one answer
	extractBytesMax     = 16 << 20 // of a text that are looked through
	chunkOverlapLines   = 2        // shown again, so that nothing is torn apart
	extractPromptSpared = 600      // bytes of a question that are not the text
)

// chunk is a piece of a text, from one line to another.
type chunk struct {
	from, to int
	text     string
}

// extract lets the model say what each piece of a text holds of what is asked,
// and joins the answers with their places. Without a model to ask it looks for
// the words.
func (r *reading) extract(p *paper, what string, from, to int) (*Result, error) {
	if r.env.Ask == nil {
		return r.part(p, map[string]any{"find": what}, from, to), nil
	}
	what = cutHead(what, extractWhatMax)
	room := r.env.AskBytesMax
	if room <= 0 {
		room = askBytesDefault
	}
	chunks, next := p.chunks(from, to, max(room-extractPromptSpared-len(what), minimumShown))
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
			found = append(found, message("extracted", map[string]any{"From": c.from, "To": c.to, "Text": answer}))
		}
	}
	return r.extracted(found, map[string]any{
		"Head": p.head(1, p.total), "What": clip(what), "Found": len(found), "Chunks": len(chunks), "Asked": len(picked), "Next": next,
	}), nil
}

// ask puts the question about one piece. An answer that there is nothing is
// empty; numbers in it that the piece does not have are named.
func (r *reading) ask(p *paper, what string, c chunk) (string, error) {
	prompt := message("extract", map[string]any{
		"Path": clip(p.name), "What": what, "From": c.from, "To": c.to, "Fence": legible.Fence(c.text), "Text": c.text,
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
		answer += "\n" + message("made_up", made)
	}
	return answer, nil
}

// nothing is how a model says that a piece holds nothing of what is asked.
var nothing = regexp.MustCompile(`(?i)^\W*(?:nothing|none|n/?a|no (?:relevant )?information|not (?:mentioned|found|given))\b.{0,80}$|^\W*$`)

var numberPattern = regexp.MustCompile(`\d+(?:[.,]\d+)*`)

// madeUp lists the numbers of an answer that do not stand in the text: a small
// model makes them up.
func madeUp(answer, text string) []string {
	var out []string
	for _, n := range numberPattern.FindAllString(answer, -1) {
		if !strings.Contains(text, n) && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// extracted words what was found, and what was not looked at.
func (r *reading) extracted(found []string, head map[string]any) *Result {
	out := &Result{Text: message("extract_head", head)}
	for i, f := range found {
		if text := out.Text + "\n" + f; i == 0 || len(text) <= r.left && (r.env.Fits == nil || r.env.Fits(text)) {
			out.Text = text
			continue
		}
		out.Text += "\n" + message("extract_more", len(found)-i)
		out.Truncated = true
		break
	}
	return out
}

// chunks cuts the lines from..to into pieces of at most size bytes. Each begins
// with the last lines of the one before. Of an enormous text the start is taken:
// next is the line at which the rest begins, 0 when there is none.
func (p *paper) chunks(from, to, size int) (out []chunk, next int) {
	var lines []string
	first, used, held := from, 0, 0
	flush := func(last int) {
		out = append(out, chunk{from: first, to: last, text: strings.Join(lines, "\n")})
	}
	for n, line := range p.each {
		if n < from {
			continue
		}
		if n > to {
			break
		}
		text := cutHead(line.text, size)
		if held += len(text); held > extractBytesMax {
			next = n
			break
		}
		if used > 0 && used+len(text)+1 > size {
			flush(n - 1)
			keep := min(chunkOverlapLines, len(lines))
			if byteCount(lines[len(lines)-keep:])+len(text) > size {
				keep = 0
			}
			lines = slices.Clone(lines[len(lines)-keep:])
			first, used = n-keep, byteCount(lines)
		}
		lines, used = append(lines, text), used+len(text)+1
	}
	if len(lines) > 0 {
		flush(first + len(lines) - 1)
	}
	return out, next
}

func byteCount(lines []string) int {
	n := 0
	for _, line := range lines {
		n += len(line) + 1
	}
	return n
}

// likeliest picks the pieces to ask about, in their order: all of them, or else
// those with the most of the words that are asked for.
func likeliest(chunks []chunk, what string) []chunk {
	if len(chunks) <= extractChunksMax {
		return chunks
	}
	words := strings.Fields(strings.ToLower(what))
	score := make([]int, len(chunks))
	order := make([]int, len(chunks))
	for i, c := range chunks {
		order[i] = i
		lower := strings.ToLower(c.text)
		for _, w := range words {
			if strings.Contains(lower, strings.Trim(w, ".,;:?!\"'")) {
				score[i] += len(w) // long words say more than short ones
			}
		}
	}
	sort.SliceStable(order, func(a, b int) bool { return score[order[a]] > score[order[b]] })
	picked := order[:extractChunksMax]
	slices.Sort(picked)
	out := make([]chunk, len(picked))
	for i, n := range picked {
		out[i] = chunks[n]
	}
	return out
}
