package inference

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"agent/inference/internal/llama"
)

// Sampling is how the next token is drawn, in llama.cpp's terms. The zero
// value is greedy decoding with everything off.
type Sampling struct {
	Temperature   float64 // 0: greedy
	TopK          int     // 0: off
	TopP          float64 // 0 or 1: off
	MinP          float64 // 0: off
	RepeatPenalty float64 // 0 or 1: off
	RepeatLastN   int     // tokens that the penalty looks back (default 64)
	// Frequency is taken off a logit for each time that its token stands in the reply, Presence
	// once where it does: -2 to 2. Bias is added to the logits of token ids: -100 to 100.
	Frequency, Presence float64
	Bias                map[int32]float64
	Seed                *uint32 // nil: drawn at random
}

// GenerateRequest is one reply to compute.
type GenerateRequest struct {
	Prompt    []int32
	Shared    int // leading tokens that other prompts have too: kept on disk, where there is a store
	Sampling  Sampling
	TokensMax int      // 0: until the end or a full context
	Stop      []string // ends the reply; not part of it
	// StopTokens end the reply as the vocabulary's end tokens do.
	StopTokens []int32
	Grammar    string // GBNF; empty: none
	// Until, if set, ends the reply once it is true of the text so far. It runs
	// between two ticks of every request, so it must be quick.
	Until       func(text string) bool
	Logprobs    bool
	TopLogprobs int // 0 to 20
}

// Finish says why a reply ended.
type Finish string

// Why a reply ended.
const (
	FinishStop    Finish = "stop"    // an end token or a stop string
	FinishLength  Finish = "length"  // TokensMax was reached
	FinishContext Finish = "context" // the context is full
)

// TokenLogprob is a token with its natural-log probability.
type TokenLogprob struct {
	ID      int32
	Text    []byte
	Logprob float32
	Top     []TokenLogprob
}

// Output is one sampled token. Text holds whole runes that are safe to show,
// often one token's, sometimes none or several tokens'. The last Output has
// Finish and Stats and may carry held-back text.
type Output struct {
	ID      int32 // -1: no token, only Finish
	Text    string
	Logprob *TokenLogprob // when asked for
	Finish  Finish
	Stop    string // the stop string that ended the reply, if one did
	Stats   *RequestStats
}

// stopMax bounds the stop strings of one request, and the stop tokens.
const stopMax = 64

// Generate streams one reply. Breaking out of the loop, or cancelling ctx,
// ends the work within one tick. An error is the last thing yielded.
func (e *Engine) Generate(ctx context.Context, req *GenerateRequest) iter.Seq2[Output, error] {
	return func(yield func(Output, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s, err := e.startReply(ctx, req)
		if err != nil {
			yield(Output{}, err)
			return
		}
		for {
			out, err, more := s.next(ctx)
			if err != nil {
				yield(Output{}, err)
				return
			}
			if !more || !yield(out, nil) {
				return
			}
		}
	}
}

// checkPrompt refuses what must not reach native code, and what can't fit with more tokens after it.
func (e *Engine) checkPrompt(prompt []int32, more int) error {
	if len(prompt) == 0 {
		return errors.New("the prompt is empty")
	}
	for i, id := range prompt {
		if id < 0 || int(id) >= e.traits.vocabSize {
			return fmt.Errorf("token %d of the prompt has id %d, outside the vocabulary of %d", i+1, id,
				e.traits.vocabSize)
		}
	}
	if len(prompt)+more > e.traits.contextMax {
		return &ContextError{Tokens: len(prompt), Max: e.traits.contextMax}
	}
	return nil
}

// checkSampling refuses settings that are out of bounds.
func (r *GenerateRequest) checkSampling() error {
	s := r.Sampling
	bad := func(name string, v any, want string) error {
		return fmt.Errorf("sampling: %s is %v, must be %s", name, v, want)
	}
	switch {
	case math.IsNaN(s.Temperature) || s.Temperature < 0 || s.Temperature > 100:
		return bad("temperature", s.Temperature, "0 to 100")
	case s.TopK < 0:
		return bad("top_k", s.TopK, "0 (off) or more")
	case math.IsNaN(s.TopP) || s.TopP < 0 || s.TopP > 1:
		return bad("top_p", s.TopP, "0 to 1")
	case math.IsNaN(s.MinP) || s.MinP < 0 || s.MinP > 1:
		return bad("min_p", s.MinP, "0 to 1")
	case math.IsNaN(s.RepeatPenalty) || s.RepeatPenalty < 0 || s.RepeatPenalty > 10:
		return bad("repeat_penalty", s.RepeatPenalty, "0 to 10")
	case !isWithin(s.Frequency, 2):
		return bad("frequency_penalty", s.Frequency, "-2 to 2")
	case !isWithin(s.Presence, 2):
		return bad("presence_penalty", s.Presence, "-2 to 2")
	case r.TopLogprobs < 0 || r.TopLogprobs > 20:
		return bad("top_logprobs", r.TopLogprobs, "0 to 20")
	case r.TokensMax < 0:
		return bad("max_tokens", r.TokensMax, "0 (no limit) or more")
	case len(r.Stop) > stopMax:
		return bad("number of stop strings", len(r.Stop), fmt.Sprintf("at most %d", stopMax))
	case len(r.StopTokens) > stopMax:
		return bad("number of stop tokens", len(r.StopTokens), fmt.Sprintf("at most %d", stopMax))
	}
	for _, b := range s.Bias {
		if !isWithin(b, 100) {
			return bad("logit_bias", b, "-100 to 100")
		}
	}
	if r.Grammar != "" {
		return CheckGrammar(r.Grammar)
	}
	return nil
}

// params are the checked settings as the native sampler takes them.
func (r *GenerateRequest) params() (llama.SamplerParams, error) {
	if err := r.checkSampling(); err != nil {
		return llama.SamplerParams{}, err
	}
	s := r.Sampling
	bias := make(map[int32]float32, len(s.Bias))
	for id, b := range s.Bias {
		bias[id] = float32(b)
	}
	seed := rand.Uint32()
	if s.Seed != nil {
		seed = *s.Seed
	}
	return llama.SamplerParams{Temperature: float32(s.Temperature),
		TopK: int32(min(s.TopK, math.MaxInt32)),
		TopP: float32(cmp.Or(s.TopP, 1)), MinP: float32(s.MinP),
		RepeatPenalty: float32(cmp.Or(s.RepeatPenalty, 1)),
		RepeatLastN:   int32(min(cmp.Or(s.RepeatLastN, 64), 4096)), Seed: seed, Logprobs: r.Logprobs,
		TopLogprobs: int32(r.TopLogprobs), Grammar: r.Grammar, Frequency: float32(s.Frequency),
		Presence: float32(s.Presence), Bias: bias}, nil
}

// isWithin reports a number from -limit to limit.
func isWithin(x, limit float64) bool { return math.Abs(x) <= limit }

// startReply submits a request and returns the stream of its tokens.
func (e *Engine) startReply(ctx context.Context, req *GenerateRequest) (*stream, error) {
	if err := e.checkPrompt(req.Prompt, 1); err != nil {
		return nil, err
	}
	params, err := req.params()
	if err != nil {
		return nil, err
	}
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.callers.Done()
	sampler, err := e.dev.NewSampler(params)
	if err != nil {
		return nil, err
	}
	if params.RepeatPenalty != 1 {
		tail := req.Prompt[max(0, len(req.Prompt)-int(params.RepeatLastN)):]
		if err := sampler.Accept(tail, false); err != nil {
			sampler.Close()
			return nil, err
		}
	}
	s := &stream{ready: make(chan struct{}, 1)}
	j := &job{ctx: ctx, tokens: slices.Clone(req.Prompt), promptLen: len(req.Prompt),
		reusable: len(req.Prompt) - 1, keep: req.Shared, sampler: sampler}
	j.stats.Prompt = len(req.Prompt)
	r := &reply{engine: e, job: j, req: req, gate: newTextGate(req.Stop), out: s}
	j.taker = r.take
	j.finish = func(err error) {
		sampler.Close()
		s.close(err)
	}
	if err := e.submit(j); err != nil {
		sampler.Close()
		return nil, err
	}
	return s, nil
}

// errNoNumber ends what has nothing but NaN to go by.
var errNoNumber = &Error{Op: "compute",
	Err:    errors.New("the model computed no valid number for the next token: its file is damaged"),
	Advice: "download the model again, or try another quantisation"}

// errGrammarBudget ends a reply whose grammar leaves too much open at a time.
var errGrammarBudget = &Error{Op: "grammar",
	Err:    errors.New("following it takes too much work: too many of its ways stay open at a time"),
	Advice: "let fewer alternatives begin alike, and repetitions not contain what may be empty"}

// reply turns sampled tokens into outputs and decides when to end.
type reply struct {
	engine *Engine
	job    *job
	req    *GenerateRequest
	gate   *textGate
	out    *stream
	text   strings.Builder // for Until
	first  time.Time

	waiting []waiting // for text that is held back, where log-probabilities are wanted
	written int       // bytes of all tokens
}

const noToken = -1

// waiting is the output of a token whose text begins at start.
type waiting struct {
	Output
	start int
}

// take handles one sampled token; done ends the job.
func (r *reply) take(s *llama.Sample) (done bool, err error) {
	j := r.job
	if r.first.IsZero() {
		r.first = time.Now()
		j.stats.Queue = j.started.Sub(j.submitted)
		j.stats.Prefill = r.first.Sub(j.started)
	}
	switch {
	case s.Token == llama.TokenNoNumber:
		return true, errNoNumber
	case s.Token == llama.TokenBudget:
		return true, errGrammarBudget
	case s.Token < 0:
		return true, errors.New("the grammar allows no further token of this vocabulary")
	}
	j.stats.Generated++
	out := Output{ID: s.Token, Logprob: r.logprob(s)}
	ended := s.IsEnd || slices.Contains(r.req.StopTokens, s.Token)
	var piece []byte
	if !ended {
		piece = r.engine.traits.piece(s.Token)
		out.Text = r.gate.push(piece)
		j.tokens = append(j.tokens, s.Token)
	}
	switch {
	case ended, r.gate.stopped, r.wanted(out.Text):
		out.Finish = FinishStop
	case r.req.TokensMax > 0 && j.stats.Generated >= r.req.TokensMax:
		out.Finish = FinishLength
	case len(j.tokens) >= r.engine.traits.contextMax:
		out.Finish = FinishContext
	default:
		r.push(out, len(piece))
		return false, nil
	}
	out.Text += r.gate.flush()
	out.Stop = r.gate.by
	j.stats.Decode = time.Since(r.first)
	out.Stats = new(j.stats)
	r.push(out, len(piece))
	return true, nil
}

// push passes an output on. Where log-probabilities are wanted they go out with their
// text, and end where it ends: of what a stop string takes away there are none.
func (r *reply) push(out Output, size int) {
	if out.Logprob == nil {
		r.out.push(out)
		return
	}
	text := out.Text
	out.Text = ""
	r.waiting = append(r.waiting, waiting{out, r.written})
	r.written += size
	n := len(r.waiting)
	if out.Finish == "" {
		n = 0
		for n < len(r.waiting) && r.waiting[n].start+len(r.waiting[n].Logprob.Text) <= r.gate.sent {
			n++
		}
		if n == 0 && text != "" { // of a token that is not whole yet
			r.out.push(Output{ID: noToken, Text: text})
		}
	}
	for i, w := range r.waiting[:n] {
		if i == 0 {
			w.Text = text
		}
		if r.gate.stopped {
			w.Logprob = w.Logprob.within(r.gate.sent - w.start)
		}
		r.out.push(w.Output)
	}
	r.waiting = r.waiting[n:]
}

// within is a token as far as its text goes, nil if nothing of it does.
func (t *TokenLogprob) within(size int) *TokenLogprob {
	if size <= 0 {
		return nil
	}
	cut := *t
	cut.Text = t.Text[:min(size, len(t.Text))]
	return &cut
}

// wanted reports that the caller wants no more.
func (r *reply) wanted(text string) bool {
	if r.req.Until == nil || text == "" {
		return false
	}
	r.text.WriteString(text)
	return r.req.Until(r.text.String())
}

func (r *reply) logprob(s *llama.Sample) *TokenLogprob {
	if !r.req.Logprobs && r.req.TopLogprobs == 0 {
		return nil
	}
	lp := &TokenLogprob{ID: s.Token, Text: r.engine.traits.piece(s.Token), Logprob: s.Logprob}
	for _, t := range s.Top {
		lp.Top = append(lp.Top, TokenLogprob{ID: t.ID, Text: r.engine.traits.piece(t.ID),
			Logprob: t.Logprob})
	}
	return lp
}

// stream carries outputs from the owner to one consumer. The owner never
// blocks on it: a reply is bounded by the context, so the buffer is too.
type stream struct {
	mu    sync.Mutex
	buf   []Output
	ended bool
	err   error
	ready chan struct{}
}

func (s *stream) push(o Output) {
	s.mu.Lock()
	s.buf = append(s.buf, o)
	s.mu.Unlock()
	s.signal()
}

func (s *stream) close(err error) {
	s.mu.Lock()
	s.ended, s.err = true, err
	s.mu.Unlock()
	s.signal()
}

func (s *stream) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// next waits for the next output; more is false after the last.
func (s *stream) next(ctx context.Context) (out Output, err error, more bool) {
	for {
		s.mu.Lock()
		if len(s.buf) > 0 {
			out = s.buf[0]
			s.buf = s.buf[1:]
			s.mu.Unlock()
			return out, nil, true
		}
		ended, err := s.ended, s.err
		s.mu.Unlock()
		if ended {
			return Output{}, err, false
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return Output{}, context.Cause(ctx), false
		}
	}
}
