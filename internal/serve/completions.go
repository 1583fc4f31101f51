package serve

import (
	"context"
	"errors"
	"iter"
	"math"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"agent/backend"
)

// TextModel is a backend that works on plain text and tokens, below its chat template, as a
// local model does. /v1/completions needs one, and so do the plain prompts of a FastChat
// cluster.
type TextModel interface {
	// TokenizePrompt reads text of control tokens as control tokens. The first
	// added tokens are not in the text (a beginning-of-sequence token).
	TokenizePrompt(text string) (ids []int, added int, err error)
	// DetokenizePrompt is the text of tokens, control tokens included.
	DetokenizePrompt(ids []int) (string, error)
	// CompleteTokens continues tokens. Of req, Messages and Prefill are ignored.
	CompleteTokens(ctx context.Context, ids []int,
		req *backend.Request) iter.Seq2[backend.Delta, error]
	// PromptLogprobsTokens gives each token its log-probability after those before it,
	// and its top rivals. That of the first one means nothing.
	PromptLogprobsTokens(ctx context.Context, ids []int,
		top int) ([]backend.TokenLogprob, backend.Usage, error)
}

// textPrompt is a prompt of plain text in tokens.
type textPrompt struct {
	text  string
	ids   []int
	added int // tokens at the start that are not in the text
}

// textCall is one completion of plain text.
type textCall struct {
	prompt textPrompt
	req    *backend.Request
	echo   bool // the prompt comes first, with its log-probabilities when asked for
	none   bool // max_tokens is 0: nothing is generated
}

// start is the reply to a textCall.
func (c *textCall) start(m TextModel) reply {
	return func(ctx context.Context) iter.Seq2[backend.Delta, error] {
		return func(yield func(backend.Delta, error) bool) {
			usage := &backend.Usage{PromptTokens: len(c.prompt.ids)}
			if c.echo {
				d, err := c.echoed(ctx, m, usage)
				if !yield(d, err) || err != nil {
					return
				}
			}
			if c.none {
				yield(backend.Delta{Finish: backend.FinishLength, Usage: usage}, nil)
				return
			}
			for d, err := range constrained(m.CompleteTokens(ctx, c.prompt.ids, c.req), c.req) {
				if !yield(d, err) {
					return
				}
			}
		}
	}
}

// echoed is the prompt as a delta. The first token has no log-probability.
func (c *textCall) echoed(ctx context.Context, m TextModel, usage *backend.Usage,
) (backend.Delta, error) {
	d := backend.Delta{Text: c.prompt.text}
	if !c.req.Logprobs {
		return d, nil
	}
	tokens, used, err := m.PromptLogprobsTokens(ctx, c.prompt.ids, c.req.TopLogprobs)
	if err != nil {
		return d, err
	}
	tokens[0].Logprob, tokens[0].Top = math.NaN(), nil
	for i := range c.prompt.added {
		tokens[i].Text, tokens[i].Bytes = "", []byte{}
	}
	*usage = used
	d.Tokens = tokens
	return d, nil
}

// completionCall is a request to /v1/completions, understood.
type completionCall struct {
	model             string
	texts             TextModel
	calls             []textCall // n for each prompt
	n                 int
	stream, withUsage bool
	logprobs          bool
}

// readCompletion understands a request.
func (m *model) readCompletion(f *fields) (*completionCall, error) {
	texts, ok := backend.As[TextModel](m.backend)
	if !ok {
		return nil, &apiError{status: http.StatusBadRequest, code: "unsupported_endpoint",
			message: "The backend of this server completes no plain text; use /v1/chat/completions."}
	}
	c := &completionCall{texts: texts, n: f.count()}
	common := textCall{ // to all prompts
		req: &backend.Request{Sampling: f.sampling(), Stop: f.stops("stop"), TokensMax: completionTokens}}
	c.stream, c.withUsage = f.streaming()
	f.textLimits("max_tokens", &common)
	c.logprobs = common.req.Logprobs
	common.echo = f.flag("echo")
	f.bestOf(c.n)
	f.constraint(common.req)
	prompts := f.prompts(texts)
	var err error
	if c.model, err = m.end(f); err != nil {
		return nil, err
	}
	if len(prompts)*c.n > choicesMax {
		return nil, badValue("n", "%d prompts of %d replies each are more than %d.", len(prompts), c.n,
			choicesMax)
	}
	for _, p := range prompts {
		n, most := len(p.ids), m.backend.ContextLength()
		if n > most || n == most && !common.none {
			return nil, contextExceeded(&backend.ContextError{Tokens: n, Max: most})
		}
		for i := range c.n {
			call := common
			call.prompt, call.req = p, seeded(common.req, i)
			c.calls = append(c.calls, call)
		}
	}
	return c, m.able(common.req, nil)
}

// textLimits reads how long a completion of plain text may be, and which log-probabilities
// it has.
func (f *fields) textLimits(tokens string, c *textCall) {
	if n := f.integer(tokens, 0, 1<<31-1); n != nil {
		c.req.TokensMax, c.none = int(*n), *n == 0
	}
	if n := f.integer("logprobs", 0, backend.TopLogprobsMax); n != nil {
		c.req.Logprobs, c.req.TopLogprobs = true, int(*n)
	}
}

// bestOf takes best_of where it changes nothing.
func (f *fields) bestOf(n int) {
	if best := f.integer("best_of", 1, choicesMax); best != nil && int(*best) != n {
		f.fail(unsupported("best_of", "other than n is not supported by this server."))
	}
}

// prompts reads a text, a list of texts, a list of token ids, or a list of such
// lists.
func (f *fields) prompts(m TextModel) (out []textPrompt) {
	lists, tokens := f.tokenLists("prompt")
	if !tokens {
		return f.textPrompts(m)
	}
	for _, ids := range lists {
		text, err := m.DetokenizePrompt(ids)
		if err == nil && len(ids) == 0 {
			f.fail(badValue("prompt", "it is empty."))
		}
		if err != nil {
			f.fail(badValue("prompt", "%v.", err))
		}
		out = append(out, textPrompt{text: text, ids: ids})
	}
	return out
}

func (f *fields) textPrompts(m TextModel) []textPrompt {
	texts := f.texts("prompt")
	if texts == nil {
		f.fail(badValue("prompt", "it is missing."))
		return nil
	}
	if len(texts) > choicesMax {
		f.fail(badValue("prompt", "%d prompts are more than %d.", len(texts), choicesMax))
		return nil
	}
	var out []textPrompt
	for _, text := range texts {
		p, err := newTextPrompt(m, text)
		if err != nil {
			f.fail(err)
			break
		}
		if len(p.ids) == 0 {
			f.fail(badValue("prompt", "it is empty."))
		}
		out = append(out, p)
	}
	if len(texts) == 0 {
		f.fail(badValue("prompt", "it is empty."))
	}
	return out
}

func newTextPrompt(m TextModel, text string) (textPrompt, error) {
	ids, added, err := m.TokenizePrompt(text)
	var tooLong *backend.ContextError
	switch {
	case errors.As(err, &tooLong):
		err = contextExceeded(tooLong)
	case err != nil:
		err = badValue("prompt", "%v.", err)
	}
	return textPrompt{text: text, ids: ids, added: added}, err
}

// completions serves /v1/completions.
func (m *model) completions(f *fields, w http.ResponseWriter, r *http.Request) error {
	c, err := m.readCompletion(f)
	if err != nil {
		return err
	}
	var replies []reply
	for i := range c.calls {
		replies = append(replies, c.calls[i].start(c.texts))
	}
	if c.stream {
		out := newEvents(w)
		defer out.close()
		return m.answer(r, replies, newTextStream(out, c))
	}
	return m.answer(r, replies, newTextWhole(w, c))
}

// The answers of /v1/completions.
type (
	textAnswer struct {
		ID      string       `json:"id"`
		Object  string       `json:"object"`
		Created int64        `json:"created"`
		Model   string       `json:"model"`
		Choices []textChoice `json:"choices"`
		Usage   *usageBody   `json:"usage"`
	}
	textChoice struct {
		Index        int           `json:"index"`
		Text         string        `json:"text"`
		Logprobs     *textLogprobs `json:"logprobs"`
		FinishReason *string       `json:"finish_reason"`
	}
	// textLogprobs are lists of equal length. The first token of an echoed
	// prompt has null for its log-probability.
	textLogprobs struct {
		Tokens        []string             `json:"tokens"`
		TokenLogprobs []*float64           `json:"token_logprobs"`
		TopLogprobs   []map[string]float64 `json:"top_logprobs"`
		TextOffset    []int                `json:"text_offset"` // in characters

		runes int // whole characters so far
		tail  int // bytes so far of a character that is not whole
	}
)

func newTextLogprobs() *textLogprobs {
	return &textLogprobs{Tokens: []string{}, TokenLogprobs: []*float64{},
		TopLogprobs: []map[string]float64{}, TextOffset: []int{}}
}

// add appends tokens.
func (l *textLogprobs) add(tokens []backend.TokenLogprob) {
	for _, t := range tokens {
		l.Tokens = append(l.Tokens, t.Text)
		l.TextOffset = append(l.TextOffset, l.runes)
		l.advance(t)
		if math.IsNaN(t.Logprob) {
			l.TokenLogprobs = append(l.TokenLogprobs, nil)
			l.TopLogprobs = append(l.TopLogprobs, nil)
			continue
		}
		p := finite(t.Logprob)
		l.TokenLogprobs = append(l.TokenLogprobs, &p)
		top := map[string]float64{}
		for _, rival := range t.Top {
			// Tokens that are parts of characters share a text.
			if q, known := top[rival.Text]; !known || finite(rival.Logprob) > q {
				top[rival.Text] = finite(rival.Logprob)
			}
		}
		if len(top) > 0 {
			top[t.Text] = p // the token itself is always there
		}
		l.TopLogprobs = append(l.TopLogprobs, top)
	}
}

// advance counts the characters that a token completes.
func (l *textLogprobs) advance(t backend.TokenLogprob) {
	raw := t.Bytes
	if raw == nil {
		raw = []byte(t.Text)
	}
	for _, b := range raw {
		switch {
		case b < utf8.RuneSelf:
			l.runes++
			l.tail = 0
		case utf8.RuneStart(b):
			l.tail = runeLength(b) - 1
		case l.tail > 0:
			if l.tail--; l.tail == 0 {
				l.runes++
			}
		}
	}
}

// runeLength is how many bytes a character has that begins with b.
func runeLength(b byte) int {
	switch {
	case b >= 0xf0:
		return 4
	case b >= 0xe0:
		return 3
	}
	return 2
}

// since is what was added after the first n tokens.
func (l *textLogprobs) since(n int) *textLogprobs {
	return &textLogprobs{Tokens: l.Tokens[n:], TokenLogprobs: l.TokenLogprobs[n:],
		TopLogprobs: l.TopLogprobs[n:], TextOffset: l.TextOffset[n:]}
}

func newTextAnswer(c *completionCall) textAnswer {
	return textAnswer{ID: newID("cmpl-"), Object: "text_completion", Created: time.Now().Unix(),
		Model: c.model}
}

// textWhole answers in one piece.
type textWhole struct {
	whole
	answer textAnswer
	texts  []strings.Builder // of the choices
	n      int               // choices of a prompt
}

func newTextWhole(w http.ResponseWriter, c *completionCall) *textWhole {
	t := &textWhole{whole: whole{w}, answer: newTextAnswer(c),
		texts: make([]strings.Builder, len(c.calls)), n: c.n}
	t.answer.Usage = &usageBody{}
	for i := range c.calls {
		t.answer.Choices = append(t.answer.Choices, textChoice{Index: i})
		if c.logprobs {
			t.answer.Choices[i].Logprobs = newTextLogprobs()
		}
	}
	return t
}

func (t *textWhole) add(ev event) error {
	choice := &t.answer.Choices[ev.choice]
	t.texts[ev.choice].WriteString(ev.Text)
	if choice.Logprobs != nil {
		choice.Logprobs.add(ev.Tokens)
	}
	if ev.Finish != "" {
		choice.FinishReason = finishReason(ev.Finish)
		t.answer.Usage.add(ev.Usage, ev.choice%t.n == 0)
	}
	return nil
}

func (t *textWhole) end() error {
	for i := range t.answer.Choices {
		t.answer.Choices[i].Text = t.texts[i].String()
	}
	return writeJSON(t.w, http.StatusOK, t.answer)
}

// textStream answers as events.
type textStream struct {
	*events
	*completionCall
	frame  textAnswer
	usage  usageBody
	tokens []*textLogprobs // of the choices
}

func newTextStream(out *events, c *completionCall) *textStream {
	t := &textStream{events: out, completionCall: c, frame: newTextAnswer(c)}
	for range c.calls {
		t.tokens = append(t.tokens, newTextLogprobs())
	}
	return t
}

func (t *textStream) add(ev event) error {
	choice := textChoice{Index: ev.choice, Text: ev.Text, FinishReason: finishReason(ev.Finish)}
	if t.logprobs {
		all := t.tokens[ev.choice]
		before := len(all.Tokens)
		all.add(ev.Tokens)
		choice.Logprobs = all.since(before)
	}
	if ev.Finish != "" {
		t.usage.add(ev.Usage, ev.choice%t.n == 0)
	}
	if ev.Text == "" && ev.Finish == "" && len(ev.Tokens) == 0 {
		return nil
	}
	t.frame.Choices = []textChoice{choice}
	return t.send(t.frame)
}

func (t *textStream) end() error {
	if t.withUsage {
		t.frame.Choices, t.frame.Usage = []textChoice{}, &t.usage
		if err := t.send(t.frame); err != nil {
			return err
		}
	}
	return t.done()
}
