package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode"

	"agent/internal/config"
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
	answerBytesMax   = 4 << 10
	questionsMax     = 5 // in a row, about one call: "show" asks again
)

// approval decides how consequential calls are allowed: asked for on a
// terminal, refused where nobody could answer, unless configured. Where rules
// are configured and nobody is there, they decide alone.
func (a *app) approval(c *agentConfig, asJSON bool) (session.ApproveMode, session.Approver) {
	mode := session.ApproveMode(c.Approve)
	switch {
	case mode == "" && isTerminal(a.in) && !asJSON:
		mode = session.ApproveAsk
	case mode == "" && len(c.ApproveRules) > 0:
		return session.ApproveAsk, nil
	case mode == "":
		mode = session.ApproveNever
	}
	if mode == session.ApproveNever {
		return mode, nil
	}
	if mode == session.ApproveAuto && (!isTerminal(a.in) || asJSON) {
		return mode, nil // a rule that asks finds nobody
	}
	return mode, (&approver{app: a, always: map[string]bool{}}).decide
}

// answersPiped reports that standard input is for the answers to approval
// questions, and so holds no task.
func (a *app) answersPiped(cfg *config.Config) (bool, error) {
	c, err := decodeAgent(cfg)
	if err != nil {
		return false, configError(err)
	}
	return c.Approve == string(session.ApproveAsk) && !isTerminal(a.in), nil
}

// checkRules finds what is wrong with the approval rules, with its place in
// the configuration.
func checkRules(cfg *config.Config, err error) error {
	var bad *session.RuleError
	if !errors.As(err, &bad) {
		return err
	}
	rule := fmt.Sprintf("agent.approve_rules.%d", bad.Index)
	e := badValue(cfg, rule+"."+bad.Key, bad.Problem)
	if e.Origin.File == "" {
		e.Origin, _ = cfg.Origin(rule)
	}
	e.Advice = bad.Advice
	return configError(e)
}

// approver asks the person at standard input. Runs that delegate share one; it
// asks one question at a time.
type approver struct {
	app *app

	mu     sync.Mutex
	always map[string]bool // commands allowed for the rest of the run
	ended  bool            // there is no more input
	lines  chan string     // of the read that is under way
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
	shown, cut := boundedPreview(p.Preview)
	for range questionsMax {
		q.ask(p, shown, cut)
		answer, err := q.answer(ctx)
		if errors.Is(err, io.EOF) {
			q.ended = true
			fmt.Fprintln(q.app.err)
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
			fmt.Fprintln(q.app.err, "Not all of it was shown, so this is no yes yet. Here is the whole:")
		}
		shown, cut = legible.Visible(p.Preview), false
	}
	return session.Decision{}, nil
}

// ask prints the call and the question. On a terminal nothing counts that was
// typed before the question stood there.
func (q *approver) ask(p *session.Proposal, shown string, cut bool) {
	show := ""
	if cut {
		show = ", [s]how all"
	}
	if p.MayHaveRun {
		fmt.Fprintln(q.app.err, "This call had begun when the run was cut off. It may have taken effect; look before you allow it again.")
	}
	name := legible.Visible(p.Call.Command)
	fmt.Fprintf(q.app.err, "%s wants to %s:\n%s\n", name, effectWords(p), indented(shown))
	if isTerminal(q.app.in) {
		q.forgetTyped()
	}
	fmt.Fprintf(q.app.err, "allow? [y]es, [N]o, [a]lways %s in this run%s, [q]uit, or a reason for no: ", name, show)
}

// forgetTyped drops the input that waits, and a line that was read for a
// question that nobody had answered.
func (q *approver) forgetTyped() {
	q.app.forgetTyped()
	select {
	case <-q.lines:
		q.lines = nil
	default:
	}
}

// forgetTyped drops what was typed on a terminal and not read yet.
func (a *app) forgetTyped() {
	if f, ok := a.in.(*os.File); ok {
		flushInput(f)
	}
}

// effectWords say what a call would do.
func effectWords(p *session.Proposal) string {
	words := map[string]string{"write": "write files", "execute": "run code", "network": "reach the network", "read": "read files"}
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

// answer reads one line. A read that a cancelled run left behind is waited for
// by the next question, so that no line is lost.
func (q *approver) answer(ctx context.Context) (string, error) {
	if q.lines == nil {
		lines := make(chan string, 1)
		q.lines = lines
		go func() {
			defer close(lines)
			if line, ok := readLine(q.app.in); ok {
				lines <- line
			}
		}()
	}
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case line, ok := <-q.lines:
		q.lines = nil
		q.app.answered()
		if !ok {
			return "", io.EOF
		}
		return line, nil
	}
}

// readLine reads up to the end of a line, byte by byte, so that what follows
// stays for whoever reads it. What is too long for an answer is dropped.
func readLine(in io.Reader) (string, bool) {
	var line []byte
	one := make([]byte, 1)
	for {
		n, err := in.Read(one)
		switch {
		case n == 1 && one[0] == '\n':
			return strings.ToValidUTF8(string(line), "\uFFFD"), true
		case n == 1 && len(line) < answerBytesMax:
			line = append(line, one[0])
		}
		if err != nil {
			return "", false // a line without its end is no answer
		}
	}
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
	return fmt.Sprintf("%s … %d characters not shown … %s", string(runes[:head]), tail-head, string(runes[tail:]))
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

// openOverseer makes the overseer that the configuration names: none, the
// model that works ("self"), or another one, as --llm of `agent compare` names
// it.
func (a *app) openOverseer(ctx context.Context, working *config.Config, b *opened) (session.Overseer, func(), error) {
	c, err := decodeAgent(working)
	if err != nil {
		return nil, nil, configError(err)
	}
	switch c.Overseer {
	case "":
		return nil, func() {}, nil
	case "self":
		o, err := session.NewOverseer(b)
		return o, func() {}, err
	}
	second, err := a.openSecond(ctx, c.Overseer)
	if err != nil {
		return nil, nil, fmt.Errorf("agent.overseer: %w", err)
	}
	o, err := session.NewOverseer(second)
	return o, second.close, err
}

// openSecond opens a model beside the one that works.
func (a *app) openSecond(ctx context.Context, spec string) (*opened, error) {
	overrides, err := specOverrides(spec)
	if err != nil {
		return nil, err
	}
	other := *a
	other.flags.model = "" // it names the one that works
	cfg, err := other.composeOverrides(overrides)
	if err != nil {
		return nil, err
	}
	return other.openBackend(ctx, cfg)
}

// checkInput refuses a pipe that two would read: a person who plays the model,
// and one who is asked.
func (a *app) checkInput(b *opened, opts *session.Options) error {
	if _, piped := a.in.(*os.File); piped && !isTerminal(a.in) && b.settings.Backend == backendHuman && opts.Approver != nil {
		return usagef("llm=human and --approve ask would both read standard input; use --approve auto or never")
	}
	return nil
}

// notAllowedError is a run that ended since nothing that it wanted to do was
// allowed.
type notAllowedError struct{}

func (notAllowedError) Error() string { return "stopped: what the task needs was refused" }

// Hint says how to allow it.
func (notAllowedError) Hint() string {
	return "the events above say what was refused and by whom; --approve ask or auto allows more, agent.approve_rules just some of it"
}
