package backend

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"agent/internal/bounded"
	"agent/internal/legible"
)

// ErrInputEnded is wrapped by the error of a [Human] backend whose input ends
// where a reply was wanted.
var ErrInputEnded = errors.New("the input has ended")

const (
	humanLineBytesMax  = 1 << 20
	humanReplyBytesMax = 16 << 20
	humanTriesMax      = 3 // at naming an option
)

// HumanConfig configures [NewHuman]. The zero value talks to the terminal.
type HumanConfig struct {
	ModelID       string `yaml:"model_id"`       // default "human"
	ContextLength int    `yaml:"context_length"` // default 9999
	// Editor is the command that ":e" runs; default $VISUAL or $EDITOR.
	Editor string `yaml:"editor"`

	In  io.Reader `yaml:"-"` // default os.Stdin
	Out io.Writer `yaml:"-"` // default os.Stderr, since stdout may be for programs
}

// Human is a person in the place of a model, at a terminal or a pipe: to debug
// what stands above a model, and to see a task with the model's eyes.
//
// A reply goes over as many lines as one likes, up to an empty line, a line
// with only "." or the end of input. (A line that is to be "." is written as
// "..".) ":e" opens an editor with what was written so far; there a reply may
// have empty lines too. An option is chosen by its text or its number; "-"
// abstains. Of a conversation that goes on, only what is new is shown.
//
// One person answers one question at a time: concurrent calls wait. A cancelled
// context ends a question at once; what is typed then counts for the next.
type Human struct {
	*Scripted // counts, limits, stop strings
	cfg       HumanConfig
	lines     lineReader
	turn      chan struct{} // held by the question being asked
	shown     []Message
}

// NewHuman makes a backend of the person at cfg.In and cfg.Out.
func NewHuman(cfg HumanConfig) *Human {
	cfg.ModelID = or(cfg.ModelID, "human")
	cfg.ContextLength = or(cfg.ContextLength, 9999)
	if cfg.In == nil {
		cfg.In = os.Stdin
	}
	if cfg.Out == nil {
		cfg.Out = os.Stderr
	}
	h := &Human{cfg: cfg, lines: lineReader{in: bufio.NewReader(cfg.In)}, turn: make(chan struct{}, 1)}
	h.Scripted = NewScripted(ScriptedConfig{ModelID: cfg.ModelID, ContextLength: cfg.ContextLength,
		Reply: h.reply, Choose: h.choose, Claims: &Capabilities{Prefill: true}})
	return h
}

// take waits for the person to be free.
func (h *Human) take(ctx context.Context) (release func(), err error) {
	select {
	case h.turn <- struct{}{}:
		return func() { <-h.turn }, ctx.Err()
	case <-ctx.Done():
		return func() {}, ctx.Err()
	}
}

// reply shows the conversation and reads what the person writes.
func (h *Human) reply(ctx context.Context, req *Request) (string, error) {
	release, err := h.take(ctx)
	defer release()
	if err != nil {
		return "", err
	}
	h.show(req.Messages)
	if req.Prefill != "" {
		h.printf("[the reply begins with] %s\n", req.Prefill)
	}
	h.printf("[your reply; an empty line or \".\" ends it, \":e\" opens an editor]\n")
	text, err := h.readReply(ctx)
	if err != nil {
		return "", h.failed("reply", err)
	}
	return text, nil
}

// readReply reads lines up to the end of the reply.
func (h *Human) readReply(ctx context.Context) (string, error) {
	var text []string
	size := 0
	for {
		h.printf("> ")
		line, err := h.lines.next(ctx)
		size += len(line) + 1
		switch {
		case size > humanReplyBytesMax:
			return "", errors.New("the reply is too long")
		case errors.Is(err, io.EOF) && len(text) > 0:
			return strings.Join(text, "\n"), nil
		case err != nil:
			return "", err
		case line == ".":
			return strings.Join(text, "\n"), nil
		case line == "" && len(text) > 0:
			return strings.Join(text, "\n"), nil
		case line == "": // nothing was written yet
		case line == ":e":
			return h.edit(ctx, strings.Join(text, "\n"))
		case line == "..":
			text = append(text, ".")
		default:
			text = append(text, line)
		}
	}
}

// choose shows the options by number and reads the choice.
func (h *Human) choose(ctx context.Context, req *Request, options []Option) (*Choice, error) {
	release, err := h.take(ctx)
	defer release()
	if err != nil {
		return nil, err
	}
	h.show(req.Messages)
	for i, o := range options {
		h.printf("%4d) %s\n", i+1, o.Text)
	}
	for range humanTriesMax {
		h.printf("[number or text of an option; \"-\" for none]\n> ")
		line, err := h.lines.next(ctx)
		if err != nil {
			return nil, h.failed("choose", err)
		}
		if strings.TrimSpace(line) == "-" {
			return noneOf(options, "the person chose none"), nil
		}
		if c := ChooseByText(line, options); !c.Abstained {
			return ChooseOption("human", c.Text, options)
		}
		h.printf("[that is none of the %d options]\n", len(options))
	}
	return noneOf(options, fmt.Sprintf("%d answers were none of the options", humanTriesMax)), nil
}

func noneOf(options []Option, reason string) *Choice {
	c := &Choice{Method: "human", Margin: math.NaN(), OutsideMass: math.NaN()}
	for _, o := range options {
		c.Options = append(c.Options, ScoredOption{Text: o.Text, Logprob: math.NaN(),
			Probability: math.NaN()})
	}
	return c.abstain("%s", reason)
}

// show prints the messages that were not shown before.
func (h *Human) show(msgs []Message) {
	from := len(h.shown)
	if from > len(msgs) || !slices.EqualFunc(h.shown, msgs[:from],
		func(a, b Message) bool { return a.Role == b.Role && a.Content == b.Content }) {
		from = 0
		h.printf("[a new conversation]\n")
	}
	for _, m := range msgs[from:] {
		h.printf("--- %s ---\n%s\n", m.Role, m.Content)
	}
	h.shown = slices.Clone(msgs)
}

// printf shows what is no text as escapes: a terminal could be told to lie by
// what a tool has read.
func (h *Human) printf(format string, args ...any) {
	_, _ = io.WriteString(h.cfg.Out, legible.Visible(fmt.Sprintf(format, args...)))
}

// failed explains why no answer could be read.
func (h *Human) failed(verb string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = ErrInputEnded
	}
	return &Error{Op: h.cfg.ModelID + ": " + verb, Err: err,
		Advice: "give an answer on standard input, or choose another llm"}
}

// edit lets the person write in an editor.
func (h *Human) edit(ctx context.Context, text string) (string, error) {
	command := strings.Fields(or(h.cfg.Editor, or(os.Getenv("VISUAL"), os.Getenv("EDITOR"))))
	if len(command) == 0 {
		return "", errors.New("no editor is set; set EDITOR")
	}
	file, err := os.CreateTemp("", "agent-reply-*.md")
	if err != nil {
		return "", err
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(text)
	if err := errors.Join(err, file.Close()); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, command[0], append(command[1:], file.Name())...)
	cmd.Stdout, cmd.Stderr = h.cfg.Out, h.cfg.Out
	if terminal, ok := h.cfg.In.(*os.File); ok {
		cmd.Stdin = terminal // no line is being read now
	}
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("editor %s: %w", command[0], err)
	}
	reply, err := bounded.File(file.Name(), humanReplyBytesMax)
	if err != nil {
		return "", fmt.Errorf("the reply: %w", err)
	}
	return strings.TrimRight(string(reply), "\n"), nil
}

// lineReader reads lines for callers that may go away. A read can't be
// cancelled, so that one that nobody waits for any more serves the next caller;
// and nothing is read while nobody asks, so that an editor has the terminal to
// itself.
type lineReader struct {
	in *bufio.Reader

	mu      sync.Mutex
	pending chan readLine
}

type readLine struct {
	text string
	err  error
}

func (r *lineReader) next(ctx context.Context) (string, error) {
	r.mu.Lock()
	if r.pending == nil {
		r.pending = make(chan readLine, 1)
		go func(to chan<- readLine) { to <- r.read() }(r.pending)
	}
	pending := r.pending
	r.mu.Unlock()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case line := <-pending:
		r.mu.Lock()
		r.pending = nil
		r.mu.Unlock()
		return line.text, line.err
	}
}

// read reads one line without its end. The last line needs none.
func (r *lineReader) read() readLine {
	var line []byte
	for {
		part, more, err := r.in.ReadLine()
		line = append(line, part...)
		switch {
		case err != nil && len(line) == 0:
			return readLine{err: err}
		case len(line) > humanLineBytesMax:
			return readLine{err: errors.New("a line is too long")}
		case !more || err != nil:
			return readLine{text: strings.ToValidUTF8(string(line), "\uFFFD")}
		}
	}
}
