package inference

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"agent/inference/internal/llama"
)

// Message is one turn of a chat, as a chat template sees it.
type Message struct {
	Role    string
	Content string
	Calls   []Call // what the assistant asked for; Content may be empty then
}

// Chat is what a chat template renders.
type Chat struct {
	Messages []Message
	Tools    []Tool // offered to the model, where its template knows of tools
}

// Part is a piece of a rendered prompt. Input marks text that came from
// message contents: text in it that looks like a control token stays text.
type Part struct {
	Text  string `json:"text"`
	Input bool   `json:"input"`
}

// ErrNoTemplate: the file has no chat template, and none was given.
var ErrNoTemplate = errors.New("the model has no chat template")

// Render renders a chat by the model's own template with the generation
// prompt, and appends prefill, the beginning of the assistant's reply.
// Cancelling ctx ends a template that takes long, where templates are rendered
// in a child; see [ModelOptions].RenderExecutable. One that misbehaves is an
// [ErrTemplate].
func (m *Model) Render(ctx context.Context, chat Chat, prefill string) ([]Part, error) {
	return m.render(ctx, chat, prefill, true)
}

func (m *Model) render(ctx context.Context, chat Chat, prefill string, generation bool,
) ([]Part, error) {
	msgs := chat.Messages
	if m.template == "" {
		return nil, &Error{Op: "render chat", Err: ErrNoTemplate,
			Advice: "give one with llm.chat_template=FILE, or use a model made for chat (an -Instruct or -chat variant)"}
	}
	for i, msg := range msgs {
		if !utf8.ValidString(msg.Content) {
			return nil, fmt.Errorf("render chat: message %d is not valid UTF-8", i+1)
		}
	}
	guard := m.newSpecialGuard()
	extra := map[string]any{"enable_thinking": false}
	if len(chat.Tools) > 0 {
		extra["tools"] = guard.tools(chat.Tools)
	}
	in, err := json.Marshal(map[string]any{
		"template": m.template, "messages": guard.messages(msgs), "bos": m.SpecialText(m.Info.BOS),
		"eos":                   m.SpecialText(m.Info.EOS),
		"add_generation_prompt": generation, "typed_content": m.typedContent, "extra": extra,
	})
	if err != nil {
		return nil, fmt.Errorf("render chat: %w", err)
	}
	out, err := m.renderers.render(ctx, in)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, &Error{Op: "render chat", Err: err, Advice: templateAdvice(err)}
	}
	var reply struct{ Parts []Part }
	if err := json.Unmarshal(out, &reply); err != nil {
		return nil, fmt.Errorf("render chat: %w", err)
	}
	reply.Parts = guard.undo(reply.Parts)
	if prefill != "" {
		reply.Parts = append(reply.Parts, Part{Text: prefill, Input: true})
	}
	return reply.Parts, nil
}

// templateAdvice is what helps against a template that refuses. Why it does it says itself.
func templateAdvice(err error) string {
	const another = "give another with llm.chat_template=FILE, or get a newer file of this model"
	switch text := err.Error(); {
	case errors.Is(err, ErrTemplate):
		return "the fault is in the template, for this chat at least; " + another
	case strings.Contains(text, "Parser Error"), strings.Contains(text, "lexer"):
		return "the chat template itself is broken; " + another
	case strings.Contains(text, "Jinja Exception"):
		return "these are the template's own words; change the messages as it wants them, or " + another
	}
	return "the template does not take this chat; " + another
}

// SpecialText is the text of a special token; empty when the vocabulary has none.
func (m *Model) SpecialText(id int32) string {
	if id < 0 || int(id) >= m.vocab.Len() {
		return ""
	}
	return string(m.vocab.Piece(id))
}

// Encode turns a rendered prompt into token ids. Control tokens are recognised
// in template parts only. A beginning-of-sequence token is added when the
// vocabulary asks for one and the template did not write it.
//
// Text between two control tokens is tokenised as one string, across parts,
// as the model saw it in training; such stretches are cached, so that a
// growing chat costs only its new messages.
func (m *Model) Encode(parts []Part) ([]int32, error) { return m.EncodeWithin(parts, 0) }

// EncodeWithin is Encode for a prompt that must fit: one of far more tokens than
// tokensMax is a [ContextError] before all of it is read. One of a little more
// is still returned. 0: any number.
func (m *Model) EncodeWithin(parts []Part, tokensMax int) ([]int32, error) {
	e := encoding{m: m, tokensMax: tokensMax}
	for _, p := range parts {
		text := p.Text
		for !p.Input {
			at, id, length := m.specials.find(text)
			if at < 0 {
				break
			}
			e.add(text[:at])
			if err := e.flush(m.vocab.Attrs[id]&llama.AttrLstrip != 0); err != nil {
				return nil, err
			}
			e.ids = append(e.ids, id)
			e.trimLeft = m.vocab.Attrs[id]&llama.AttrRstrip != 0
			text = text[at+length:]
		}
		e.add(text)
	}
	if err := e.flush(false); err != nil {
		return nil, err
	}
	ids := e.ids
	if m.Info.AddBOS && m.Info.BOS >= 0 && (len(ids) == 0 || ids[0] != m.Info.BOS) {
		ids = append([]int32{m.Info.BOS}, ids...)
	}
	return ids, nil
}

// encoding is a prompt that is being turned into tokens.
type encoding struct {
	m         *Model
	tokensMax int
	ids       []int32
	pending   strings.Builder // text since the last control token
	trimLeft  bool            // that token takes the white space after it
}

// blanks are the white space that control tokens take.
const blanks = " \t\n\r\v\f"

func (e *encoding) add(text string) {
	if e.trimLeft && e.pending.Len() == 0 {
		text = strings.TrimLeft(text, blanks)
	}
	e.trimLeft = e.trimLeft && e.pending.Len() == 0 && text == ""
	e.pending.WriteString(text)
}

// flush tokenises the text that waits, without the white space at its end if the
// control token after it takes that.
func (e *encoding) flush(trimRight bool) error {
	text := e.pending.String()
	e.pending.Reset()
	if trimRight {
		text = strings.TrimRight(text, blanks)
	}
	if e.tokensMax > 0 {
		if len(e.ids) > tooLongBy*e.tokensMax {
			return &ContextError{Tokens: len(e.ids), Max: e.tokensMax, AtLeast: true}
		}
		if err := e.m.checkLength(text, len(e.ids), e.tokensMax); err != nil {
			return err
		}
	}
	got, err := e.m.fragment(text)
	e.ids = append(e.ids, got...)
	return err
}

// fragment tokenises text that holds no control tokens, through the cache.
func (m *Model) fragment(text string) ([]int32, error) {
	if text == "" {
		return nil, nil
	}
	if ids, ok := m.fragments.get(text); ok {
		return ids, nil
	}
	ids, err := m.Tokenize(text, TokenizeOptions{})
	if err != nil {
		return nil, err
	}
	m.fragments.put(text, ids)
	return ids, nil
}

// fragmentCache remembers tokenised stretches of text. It forgets everything
// when it holds too much, which costs one pass of tokenising.
type fragmentCache struct {
	mu    sync.Mutex
	ids   map[string][]int32
	bytes int
}

// fragmentBytesMax bounds the text that the cache holds.
const fragmentBytesMax = 8 << 20

func (c *fragmentCache) get(text string) ([]int32, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids, ok := c.ids[text]
	return ids, ok
}

func (c *fragmentCache) put(text string, ids []int32) {
	if len(text) > fragmentBytesMax/8 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ids == nil || c.bytes+len(text) > fragmentBytesMax {
		c.ids, c.bytes = make(map[string][]int32), 0
	}
	c.ids[text] = ids
	c.bytes += len(text)
}

// specialIndex finds control tokens in template text, longest first.
type specialIndex map[byte][]special

type special struct {
	text string
	id   int32
}

func newSpecialIndex(v *llama.Vocab) specialIndex {
	idx := specialIndex{}
	for id := range int32(v.Len()) {
		text := string(v.Piece(id))
		if text != "" && v.Attrs[id]&(llama.AttrControl|llama.AttrUnknown) != 0 {
			idx[text[0]] = append(idx[text[0]], special{text, id})
		}
	}
	return idx
}

// find returns the first control token in text: its position, id and length;
// at is -1 when there is none.
func (x specialIndex) find(text string) (at int, id int32, length int) {
	for at := range len(text) {
		for _, s := range x[text[at]] {
			if len(s.text) > length && strings.HasPrefix(text[at:], s.text) {
				id, length = s.id, len(s.text)
			}
		}
		if length > 0 {
			return at, id, length
		}
	}
	return -1, 0, 0
}
