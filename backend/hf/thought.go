package hf

import (
	"context"
	"iter"
	"regexp"
	"strings"
	"sync"

	"agent/backend"
	"agent/inference"
)

// reasoningDefault is how many tokens a model may think before a reply, where the
// configuration does not say.
const reasoningDefault = 1024

// thoughts are how a model marks what it thinks, found out by rendering a chat once.
type thoughts struct {
	once        sync.Once
	open, close string // the marks; empty: it has none that are known
	opened      bool   // the template opens the thought: a reply begins inside it
	break_      string // what stands after an opened mark
	warn        sync.Once
}

// openMark is a mark at the end of a prompt that opens something.
var openMark = regexp.MustCompile(`(<([A-Za-z_]+)>|\[([A-Z_]+)\])([ \t\r\n]*)$`)

// find renders a chat and looks at its end: a mark that is opened there and that the
// template or its turns close is a thought. A template that leaves a thought out of an
// earlier turn knows its marks, too.
func (t *thoughts) find(ctx context.Context, m *inference.Model) {
	ask := inference.Message{Role: "user", Content: "?"}
	parts, err := m.Render(ctx, inference.Chat{Messages: []inference.Message{ask}}, "")
	if err != nil {
		return // it is told when the chat is rendered
	}
	if found := openMark.FindStringSubmatch(inference.Text(parts)); found != nil {
		name := found[2] + found[3]
		closing := strings.Replace(strings.Replace(found[1], "<", "</", 1), "[", "[/", 1)
		if strings.Contains(m.ChatTemplate(), closing) ||
			strings.HasPrefix(strings.ToLower(name), "think") {
			t.open, t.close, t.break_, t.opened = found[1], closing, found[4], true
			return
		}
	}
	for _, name := range []string{"<think>", "[THINK]", "<thinking>", "<thought>"} {
		closing := strings.Replace(strings.Replace(name, "<", "</", 1), "[", "[/", 1)
		const thought, answer = "\x02thought\x03", "\x02answer\x03"
		parts, err := m.Render(ctx, inference.Chat{Messages: []inference.Message{
			ask, {Role: "assistant", Content: name + "\n" + thought + "\n" + closing + "\n\n" + answer},
			ask}}, "")
		if text := inference.Text(parts); err == nil && strings.Contains(text, answer) &&
			!strings.Contains(text, thought) {
			t.open, t.close = name, closing
			return
		}
	}
}

// thinking is how b's model thinks.
func (b *Backend) thinking(ctx context.Context) *thoughts {
	b.thoughts.once.Do(func() { b.thoughts.find(context.WithoutCancel(ctx), b.model) })
	return &b.thoughts
}

// closed is what stands behind a prompt that opens a thought, so that the reply comes
// after it; empty where there is none.
func (t *thoughts) closed() string {
	if !t.opened {
		return ""
	}
	return strings.Repeat("\n", max(1, 2-strings.Count(t.break_, "\n"))) + t.close + "\n\n"
}

// budget is how many tokens a reply may think. Constrained replies and those that are
// begun already come after a closed thought.
func (b *Backend) budget(req *backend.Request) int {
	if req.Prefill != "" || req.Grammar != "" || len(req.Schema) > 0 {
		return 0
	}
	n := reasoningDefault
	if b.cfg.ReasoningBudget != nil {
		n = *b.cfg.ReasoningBudget
	}
	if req.TokensMax > 0 {
		n = min(n, req.TokensMax/2) // a reply follows in any case
	}
	return n
}

// sayClosed says once that a model that thinks does not, where it can't.
func (b *Backend) sayClosed() {
	b.thoughts.warn.Do(func() {
		b.cfg.Warn(
			"the model thinks before it replies; choices, constrained replies and those with a beginning come " +
				"after an empty thought")
	})
}

// withoutThought is what an assistant said, without the thought before it.
func (t *thoughts) withoutThought(text string) string {
	if t.close == "" {
		return text
	}
	begun := strings.HasPrefix(strings.TrimSpace(text), t.open)
	if before, after, ok := strings.Cut(text, t.close); ok &&
		(begun || t.opened && !strings.Contains(before, t.open)) {
		return strings.TrimLeft(after, "\n")
	}
	return text
}

// thought makes a call the reply after the thought that the template opens. The model
// thinks first, as far as it may; yield is told what. ok is false where the call ends here.
func (b *Backend) thought(ctx context.Context, req *backend.Request,
	call *inference.GenerateRequest, parts []inference.Part,
	yield func(backend.Delta, error) bool,
) (spent backend.Usage, ok bool) {
	t := b.thinking(ctx)
	if !t.opened || req.Prefill != "" {
		return spent, true
	}
	text := ""
	if tokens := b.budget(req); tokens > 0 {
		if text, spent, ok = b.think(ctx, call, tokens, yield); !ok {
			return spent, false
		}
	} else if req.Grammar != "" || len(req.Schema) > 0 {
		b.sayClosed()
	}
	end := t.closed()
	if text != "" {
		parts, end = append(parts, inference.Part{Text: text, Input: true}), "\n"+t.close+"\n\n"
	}
	ids, err := b.model.EncodeWithin(append(parts, inference.Part{Text: end}), b.ContextLength())
	if err == nil && len(ids) >= b.ContextLength() {
		err = &backend.ContextError{Tokens: len(ids), Max: b.ContextLength()}
	}
	if err != nil {
		yield(backend.Delta{}, b.translate(ctx, err))
		return spent, false
	}
	call.Prompt = ids
	if call.TokensMax > 0 {
		call.TokensMax = max(call.TokensMax-spent.CompletionTokens, 1)
	}
	return spent, true
}

// think lets the model think for at most so many tokens.
func (b *Backend) think(ctx context.Context, call *inference.GenerateRequest, tokens int,
	yield func(backend.Delta, error) bool,
) (text string, spent backend.Usage, ok bool) {
	first := *call
	first.TokensMax, first.Stop, first.Until, first.Logprobs, first.TopLogprobs = tokens,
		[]string{b.thoughts.close}, nil, false, 0
	var thought strings.Builder
	for out, err := range b.engine.Generate(ctx, &first) {
		if err != nil {
			yield(backend.Delta{}, b.translate(ctx, err))
			return "", spent, false
		}
		thought.WriteString(out.Text)
		if out.Stats != nil {
			spent = usage(*out.Stats)
		}
		if out.Text != "" && !yield(backend.Delta{Thought: out.Text}, nil) {
			return "", spent, false
		}
	}
	return strings.TrimRight(thought.String(), "\n"), spent, true
}

// splitThought tells the thought that a model opens by itself from its reply. Where
// the template opens one, what looks like a thought is none of the reply anywhere.
func (t *thoughts) splitThought(seq iter.Seq2[backend.Delta, error]) iter.Seq2[backend.Delta, error] {
	if t.close == "" {
		return seq
	}
	return func(yield func(backend.Delta, error) bool) {
		s := splitter{open: t.open, close: t.close, anywhere: t.opened}
		for d, err := range seq {
			if err == nil {
				s.part(&d)
			}
			if d.Thought != "" && !yield(backend.Delta{Thought: d.Thought}, nil) {
				return
			}
			d.Thought = ""
			if !yield(d, err) {
				return
			}
		}
	}
}

// Where a splitter is.
const (
	atStart = iota
	inThought
	afterThought // only line ends came since
	inReply
)

// splitter parts a stream of text. It holds back what may become a mark.
type splitter struct {
	open, close string
	anywhere    bool // marks are none of the reply at any place
	state       int
	held        string
	tokens      int // of the thought
}

// part moves the thought within a delta to its own field.
func (s *splitter) part(d *backend.Delta) {
	thought, text := s.push(d.Text)
	if s.state == inThought {
		s.tokens += d.Count
		d.Tokens = nil // they are none of the reply
	}
	if d.Finish != "" {
		moreThought, moreText := s.flush()
		thought, text = thought+moreThought, text+moreText
	}
	d.Thought, d.Text = d.Thought+thought, text
	if d.Usage != nil {
		d.Usage.ReasoningTokens += s.tokens
	}
}

func (s *splitter) push(text string) (thought, reply string) {
	s.held += text
	for {
		before := s.state
		switch {
		case s.state == atStart:
			start := strings.TrimLeft(s.held, " \t\r\n")
			switch {
			case strings.HasPrefix(start, s.open):
				s.state, s.held = inThought, start[len(s.open):]
			case s.anywhere && strings.HasPrefix(start, s.close):
				s.state, s.held = afterThought, start[len(s.close):]
			case s.anywhere && strings.HasPrefix(s.close, start):
			case !strings.HasPrefix(s.open, start):
				s.state = inReply
			}
		case s.state == inThought:
			if at := strings.Index(s.held, s.close); at >= 0 {
				thought += s.held[:at]
				s.state, s.held = afterThought, s.held[at+len(s.close):]
				break
			}
			keep := partial(s.held, s.close)
			thought, s.held = thought+s.held[:len(s.held)-keep], s.held[len(s.held)-keep:]
		case s.state == afterThought:
			if s.held = strings.TrimLeft(s.held, "\r\n"); s.held != "" {
				s.state = inReply
			}
		case !s.anywhere:
			reply, s.held = reply+s.held, ""
		default:
			var more string
			more, s.state = s.cut()
			reply += more
		}
		if s.state == before {
			return thought, reply
		}
	}
}

// cut takes the reply up to the next mark out of what is held.
func (s *splitter) cut() (reply string, next int) {
	open, end := strings.Index(s.held, s.open), strings.Index(s.held, s.close)
	switch {
	case end >= 0 && (open < 0 || end < open):
		reply, s.held = s.held[:end], s.held[end+len(s.close):]
		return reply, afterThought
	case open >= 0:
		reply, s.held = s.held[:open], s.held[open+len(s.open):]
		return reply, inThought
	}
	keep := max(partial(s.held, s.open), partial(s.held, s.close))
	reply, s.held = s.held[:len(s.held)-keep], s.held[len(s.held)-keep:]
	return reply, inReply
}

// flush is what was held back when the stream ends.
func (s *splitter) flush() (thought, reply string) {
	rest := s.held
	s.held = ""
	if s.state == inThought {
		return rest, ""
	}
	return "", rest
}

// partial is how many bytes at the end of text begin mark.
func partial(text, mark string) int {
	for n := min(len(mark)-1, len(text)); n > 0; n-- {
		if strings.HasSuffix(text, mark[:n]) {
			return n
		}
	}
	return 0
}
