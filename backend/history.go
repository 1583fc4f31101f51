package backend

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"
)

// Exchange is one call to a model with what came of it.
type Exchange struct {
	ID      int    // counts from 1 and is never reused
	Kind    string // "chat" or "choose"
	Model   string
	Input   []Message
	Prefill string
	Output  string // the reply, as far as it came
	Parsed  any    // what [Parse] made of Output
	Options []string
	Chosen  *Choice
	Finish  FinishReason
	Usage   Usage // zero when the backend told none
	Started time.Time
	// FirstDelta is the time to the first text; zero when none came.
	FirstDelta time.Duration
	Wall       time.Duration
	Err        error
	// Broken is set when the caller stopped reading before the end.
	Broken bool
}

// HistoryConfig bounds a [History]. Zero fields mean the defaults.
type HistoryConfig struct {
	ExchangesMax int // default 1000
	BytesMax     int // of all input and output text; default 64 MiB
}

// History records what was asked of a backend and what came back, for
// debugging, for traces and for training data. The oldest exchanges are dropped
// when a bound is reached. It is safe for concurrent use.
type History struct {
	LanguageBackend
	cfg HistoryConfig

	mu        sync.Mutex
	lastID    int
	exchanges []*Exchange // finished ones, oldest first
	bytes     int
	dropped   int
}

// WithHistory records all calls to b within the default bounds.
func WithHistory(b LanguageBackend) *History { return NewHistory(b, HistoryConfig{}) }

// NewHistory records all calls to b within the given bounds.
func NewHistory(b LanguageBackend, cfg HistoryConfig) *History {
	if cfg.ExchangesMax == 0 {
		cfg.ExchangesMax = 1000
	}
	if cfg.BytesMax == 0 {
		cfg.BytesMax = 64 << 20
	}
	return &History{LanguageBackend: b, cfg: cfg}
}

// Unwrap gives the backend that is recorded.
func (h *History) Unwrap() LanguageBackend { return h.LanguageBackend }

// Exchanges are the recorded calls, in the order in which they ended, and the number of older
// ones that were dropped. The caller owns the slice.
func (h *History) Exchanges() (exchanges []Exchange, dropped int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Exchange, len(h.exchanges))
	for i, e := range h.exchanges {
		out[i] = *e
	}
	return out, h.dropped
}

// Last is the call that ended last; ok is false when there is none.
func (h *History) Last() (e Exchange, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.exchanges) == 0 {
		return Exchange{}, false
	}
	return *h.exchanges[len(h.exchanges)-1], true
}

// Usage is the sum over all recorded calls, dropped ones not included.
func (h *History) Usage() Usage {
	h.mu.Lock()
	defer h.mu.Unlock()
	var sum Usage
	for _, e := range h.exchanges {
		sum.Add(e.Usage)
	}
	return sum
}

// Clear forgets everything.
func (h *History) Clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.exchanges, h.bytes, h.dropped = nil, 0, 0
}

// ChatCompletion records the completion when it ends, in whatever way.
func (h *History) ChatCompletion(ctx context.Context, req *Request) iter.Seq2[Delta, error] {
	return func(yield func(Delta, error) bool) {
		e := h.begin("chat", req)
		var output strings.Builder
		defer func() {
			e.Output = output.String()
			h.end(ctx, e)
		}()
		for d, err := range h.LanguageBackend.ChatCompletion(ctx, req) {
			if e.FirstDelta == 0 && d.Text != "" {
				e.FirstDelta = time.Since(e.Started)
			}
			output.WriteString(d.Text)
			if d.Usage != nil {
				e.Usage = *d.Usage
			}
			e.Finish, e.Err = d.Finish, err
			if !yield(d, err) {
				e.Broken = err == nil && d.Finish == ""
				return
			}
		}
	}
}

// ChooseFromOptions records the decision.
func (h *History) ChooseFromOptions(ctx context.Context, req *Request, options []Option,
) (*Choice, error) {
	e := h.begin("choose", req)
	e.Options = optionTexts(options)
	c, err := h.LanguageBackend.ChooseFromOptions(ctx, req, options)
	e.Err = err
	if c != nil {
		copied := *c
		copied.Options = slices.Clone(c.Options)
		e.Chosen = &copied
		e.Usage = c.Usage()
	}
	h.end(ctx, e)
	return c, err
}

func (h *History) begin(kind string, req *Request) *Exchange {
	e := &Exchange{Kind: kind, Model: h.ModelID(), Started: time.Now()}
	if req != nil {
		e.Input, e.Prefill = slices.Clone(req.Messages), req.Prefill
	}
	return e
}

func (h *History) end(ctx context.Context, e *Exchange) {
	e.Wall = time.Since(e.Started)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lastID++
	e.ID = h.lastID
	h.exchanges = append(h.exchanges, e)
	h.bytes += e.size()
	for len(h.exchanges) > 1 && (len(h.exchanges) > h.cfg.ExchangesMax || h.bytes > h.cfg.BytesMax) {
		h.bytes -= h.exchanges[0].size()
		h.exchanges[0] = nil
		h.exchanges = h.exchanges[1:]
		h.dropped++
	}
	if slot, ok := ctx.Value(parseKey{}).(*parseSlot); ok {
		slot.history, slot.exchange = h, e
	}
}

// size is the text that an exchange holds, in bytes.
func (e *Exchange) size() int {
	n := len(e.Prefill) + len(e.Output)
	for _, m := range e.Input {
		n += len(m.Content)
	}
	for _, o := range e.Options {
		n += len(o)
	}
	return n
}

// parseKey finds the parseSlot in a context.
type parseKey struct{}

// parseSlot is how Parse learns which exchange its reply was recorded as.
type parseSlot struct {
	history  *History
	exchange *Exchange
}

// Parse runs a completion to its end and reads the reply with parse. A
// [History] in b's chain records the result next to the reply. On a parse
// error the reply is returned with it.
func Parse[T any](ctx context.Context, b LanguageBackend, req *Request,
	parse func(reply string) (T, error),
) (parsed T, reply string, err error) {
	slot := &parseSlot{}
	reply, _, err = Collect(b.ChatCompletion(context.WithValue(ctx, parseKey{}, slot), req))
	if err != nil {
		return parsed, reply, err
	}
	parsed, err = parse(reply)
	slot.record(parsed, err)
	return parsed, reply, err
}

func (s *parseSlot) record(parsed any, err error) {
	if s.history == nil {
		return
	}
	s.history.mu.Lock()
	defer s.history.mu.Unlock()
	if err != nil {
		s.exchange.Err = errors.Join(s.exchange.Err, err)
		return
	}
	s.exchange.Parsed = parsed
}
