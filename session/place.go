package session

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"agent/command"
	"agent/session/prose"
)

// A place in a file is chosen among its own lines, which are scored: nothing can be
// misquoted. Of a long file that part is shown, and can be chosen from, which
// shares the most with the task.
const (
	placeLinesMax = 24 // shown of a file
	placeWindow   = 10 // lines that are looked at together
	placeRunes    = 160
)

// passage is what a field of the kind place is chosen from.
type passage struct {
	lines  func(path string) []string // of a file; nil: they may not be shown
	task   string
	file   string
	texts  []string // all lines of the file; nil: not looked at yet
	shown  []int    // numbers of those that were shown, from 1
	middle int      // of them, where the most is shared with the task
	first  int      // the line that was chosen before
}

// chose takes note of what an earlier field says.
func (p *passage) chose(slot command.Slot, value any) {
	if text, ok := value.(string); ok && slot.Kind == command.SlotFile && p != nil {
		*p = passage{lines: p.lines, task: p.task, file: text}
	}
}

// fillPlace picks a line of the file that an earlier field names. The value is its
// number and its text.
func (d *draft) fillPlace(ctx context.Context, slot command.Slot) (any, error) {
	p := d.place
	if p.texts == nil {
		p.texts = p.lines(p.file)
		p.shown, p.middle = linesToShow(p.task, p.texts)
		if len(p.shown) == 0 {
			return d.fillLine(ctx, slot)
		}
		d.write("\n" + prose.Fenced(p.excerpt()))
	}
	numbers := p.options()
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		texts[i] = p.text(n)
	}
	d.begin(slot)
	i, err := d.pick(ctx, texts)
	if err != nil {
		return nil, err
	}
	p.first = numbers[i]
	return fmt.Sprintf("%d: %s", p.first, p.texts[p.first-1]), nil
}

// text is a line as it can be chosen.
func (p *passage) text(n int) string {
	return prose.OneLine(p.texts[n-1], placeRunes)
}

// options are the numbers of the lines shown, without empty ones, and of those that
// look the same the one that is nearest to what the task is about. After the first
// line was chosen they are those that follow it.
func (p *passage) options() []int {
	nearest := map[string]int{}
	var out []int
	for _, n := range p.shown {
		text := p.text(n)
		if text == "" || n < p.first {
			continue
		}
		before, seen := nearest[text]
		switch {
		case !seen:
			out = append(out, n)
		case p.first == 0 && max(n-p.middle, p.middle-n) < max(before-p.middle, p.middle-before):
			out[slices.Index(out, before)] = n
		default:
			continue
		}
		nearest[text] = n
	}
	return out
}

// excerpt is the text of the lines shown, with a mark where some are left out.
func (p *passage) excerpt() string {
	var out []string
	for i, n := range p.shown {
		if i > 0 && n != p.shown[i-1]+1 {
			out = append(out, "…")
		}
		out = append(out, prose.Cut(p.texts[n-1], placeRunes))
	}
	return strings.Join(out, "\n")
}

// linesToShow are the numbers, from 1, of the lines to choose from: all of a short
// file, else those around the part that shares the most with the task. The middle
// of that part is one of them.
func linesToShow(task string, lines []string) (numbers []int, middle int) {
	from, to, _ := prose.BestWindow(task, lines, placeWindow)
	middle = (from + to) / 2
	from, to = 0, len(lines)
	if to > placeLinesMax {
		from = min(max(middle-placeLinesMax/2, 0), to-placeLinesMax)
		to = from + placeLinesMax
	}
	for i := from; i < to; i++ {
		numbers = append(numbers, i+1)
	}
	return numbers, middle + 1
}

// linesOf are the lines of a text file that may be shown.
func (s *Session) linesOf(path string) []string {
	lines := s.watch.textOf(path)
	if text := strings.Join(lines, "\n"); s.book.scrub.Text(text) != text {
		return nil
	}
	return lines
}

// Bounds of the passages that are shown of a long file beside its beginning.
const (
	passagesMax  = 3
	passageLines = 6
	passageRunes = 800  // of each of its lines
	passageShare = 0.15 // of what the best one shares with the task
)

// excerpt is a passage of a file.
type excerpt struct {
	From, To int
	Text     string
}

// withPassages adds to the beginning of a file, which is what its reader shows, the
// passages that share the most with the task; a call for a part of the file has
// chosen itself.
func (s *Session) withPassages(ctx context.Context, j job, res *command.Result, text string,
) string {
	alone := len(j.call.Content) == 1 && len(j.call.Content[0]) == 1
	if res.Failed || !res.Truncated || !readsFile(j.spec) || !s.opts.has(AidPassages) || !alone {
		return text
	}
	found := passagesAbout(s.talk.task, s.linesOf(s.watch.last))
	if len(found) == 0 {
		return text
	}
	text, _ = s.speaker.shorten(ctx, text, s.opts.Limits.ResultTokensMax/2)
	return s.words.render("passages.tmpl", map[string]any{"Text": text, "Passages": found})
}

// passagesAbout are the passages that share the most with a query, in their order.
func passagesAbout(query string, lines []string) []excerpt {
	var out []excerpt
	var best float64
	left := slices.Clone(lines)
	for range passagesMax {
		from, to, score := prose.BestWindow(query, left, passageLines)
		if best = max(best, score); to == 0 || score < best*passageShare {
			break
		}
		around := (passageLines - (to - from) + 1) / 2
		from, to = max(from-around, 0), min(to+around, len(lines))
		shown := slices.Clone(lines[from:to])
		for i, line := range shown {
			shown[i] = prose.Cut(line, passageRunes)
		}
		out = append(out, excerpt{from + 1, to, strings.Join(shown, "\n")})
		clear(left[from:to])
	}
	slices.SortFunc(out, func(a, b excerpt) int { return a.From - b.From })
	return out
}
