package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"

	"agent/internal/legible"
	"agent/session"
)

// Bounds of what a person is shown before they decide, and of what they say.
const (
	previewLinesMax  = 40
	previewTailLines = 8 // of a text that is cut, its end is shown too
	previewColumns   = 200
	previewTail      = 60 // columns of a line that is cut: its end is shown too
	previewBlanks    = 40 // in a row; more would push what follows out of sight
	questionsMax     = 5  // in a row, about one call: "show" asks again
)

// approver asks the person at standard input. Runs that delegate share one; it
// asks one question at a time.
type approver struct {
	t *Terminal

	mu     sync.Mutex
	always map[string]bool // commands allowed for the rest of the run
	ended  bool            // there is no more input
}

// Approver asks about each call of a run that needs a yes.
func (t *Terminal) Approver() session.Approver {
	return (&approver{t: t, always: map[string]bool{}}).decide
}

// decide shows what a call would do and waits for an answer.
func (q *approver) decide(ctx context.Context, p *session.Proposal) (session.Decision, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	name := p.Call.Command
	if q.always[name] && !p.MayHaveRun {
		return session.Decision{Allow: true, Reason: "always in this run"}, nil
	}
	if q.ended {
		return session.Decision{Reason: "the input has ended, so nobody can be asked."}, nil
	}
	if q.t.calls != nil {
		q.t.calls.asked(name)
	}
	shown, cut := boundedPreview(p.Preview)
	for range questionsMax {
		answer, err := q.question(ctx, p, shown, cut)
		if errors.Is(err, io.EOF) {
			q.ended = true
			fmt.Fprintln(q.t.Err)
			return session.Decision{Reason: "the input has ended, so nobody can be asked."}, nil
		}
		if err != nil {
			return session.Decision{}, err
		}
		d, again := readAnswer(answer)
		if !again && !(d.Allow && cut) {
			q.always[name] = d.Allow && d.Reason != ""
			return d, nil
		}
		if d.Allow {
			fmt.Fprintln(q.t.Err, "Not all of it was shown, so this is no yes yet. Here is the whole:")
		}
		shown, cut = legible.Visible(p.Preview), false
	}
	return session.Decision{}, nil
}

// question shows the call and asks about it.
func (q *approver) question(ctx context.Context, p *session.Proposal, shown string, cut bool,
) (string, error) {
	show := ""
	if cut {
		show = ", [s]how all"
	}
	w := q.t.Err
	if p.MayHaveRun {
		fmt.Fprintln(w,
			"This call had begun when the run was cut off. It may have taken effect; look before you "+
				"allow it again.")
	}
	name := legible.Visible(p.Call.Command)
	fmt.Fprintf(w, "%s wants to %s:\n%s\n", name, effectWords(p), indented(shown))
	return q.t.ask(ctx,
		fmt.Sprintf("allow? [y]es, [N]o, [a]lways %s in this run%s, [q]uit, or a reason for no: ", name,
			show))
}

// effectWords say what a call would do.
func effectWords(p *session.Proposal) string {
	words := map[string]string{"write": "write files", "execute": "run code",
		"network": "reach the network", "read": "read files"}
	if w := words[p.Spec.Effect.String()]; w != "" {
		return w
	}
	return "do this"
}

// readAnswer is what a person decided; again when they want to see more. What
// is neither yes nor no is a reason for no.
func readAnswer(line string) (d session.Decision, again bool) {
	line = strings.TrimSpace(line)
	switch strings.ToLower(line) {
	case "y", "yes":
		return session.Decision{Allow: true}, false
	case "a", "always":
		return session.Decision{Allow: true, Reason: "always in this run"}, false
	case "", "n", "no":
		return session.Decision{}, false
	case "q", "quit":
		return session.Decision{Reason: "the user ended the run.", Quit: true}, false
	case "s", "show":
		return session.Decision{}, true
	}
	if word, rest, ok := strings.Cut(line, " "); ok {
		if w := strings.ToLower(strings.Trim(word, ",.:;")); w == "n" || w == "no" {
			line = strings.TrimSpace(rest)
		}
	}
	return session.Decision{Reason: line}, false
}

// boundedPreview cuts a text to what fits a screen or two: its beginning and
// its end, and says what it leaves out. Nothing in it can act on the terminal.
func boundedPreview(text string) (shown string, cut bool) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > previewLinesMax {
		head := previewLinesMax - previewTailLines
		left := len(lines) - head - previewTailLines
		tail := lines[len(lines)-previewTailLines:]
		lines = append(append(lines[:head:head], fmt.Sprintf("… %d lines not shown …", left)), tail...)
		cut = true
	}
	for i, line := range lines {
		short := boundedLine(line)
		lines[i], cut = short, cut || short != line
	}
	return legible.Visible(strings.Join(lines, "\n")), cut
}

// boundedLine cuts a line to some columns, with its end, and makes long blanks
// short: what stands behind them must be seen.
func boundedLine(line string) string {
	runes := []rune(withoutLongBlanks(line))
	if len(runes) <= previewColumns {
		return string(runes)
	}
	head, tail := previewColumns-previewTail, len(runes)-previewTail
	return fmt.Sprintf("%s … %d characters not shown … %s", string(runes[:head]), tail-head,
		string(runes[tail:]))
}

// withoutLongBlanks puts their number in the place of many blank characters in
// a row.
func withoutLongBlanks(line string) string {
	var out strings.Builder
	runes := []rune(line)
	for i := 0; i < len(runes); {
		end := i
		for end < len(runes) && isBlank(runes[end]) {
			end++
		}
		if end-i > previewBlanks {
			fmt.Fprintf(&out, " … %d blank characters … ", end-i)
		} else {
			end = max(end, i+1)
			out.WriteString(string(runes[i:end]))
		}
		i = end
	}
	return out.String()
}

// isBlank reports what leaves no mark on a screen.
func isBlank(r rune) bool {
	const fillers = "\u115f\u1160\u2800\u3164\uffa0"
	return unicode.IsSpace(r) || strings.ContainsRune(fillers, r)
}

func indented(text string) string { return "    " + strings.ReplaceAll(text, "\n", "\n    ") }
