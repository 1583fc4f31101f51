package serve

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"math"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"agent/backend"
)

// Settings that every generating endpoint has, with the names that OpenAI's
// protocol, vLLM and llama.cpp's server give them.

// sampling reads how tokens are drawn.
func (f *fields) sampling() *backend.Sampling {
	s := &backend.Sampling{
		Temperature: f.number("temperature", 0, 2),
		TopP:        f.number("top_p", 0, 1),
		MinP:        f.number("min_p", 0, 1),

		FrequencyPenalty: f.number("frequency_penalty", -2, 2),
		PresencePenalty:  f.number("presence_penalty", -2, 2),
		LogitBias:        f.bias(),
	}
	if k := f.integer("top_k", -1, 1<<20); k != nil {
		n := int(max(*k, 0)) // -1 and 0 both mean off
		s.TopK = &n
	}
	for _, name := range []string{"repeat_penalty", "repetition_penalty"} {
		if p := f.number(name, 0.01, 10); p != nil {
			s.RepeatPenalty = p
		}
	}
	if s.TopP != nil && *s.TopP == 0 {
		// Only the likeliest token is left, which is what temperature 0 means.
		s.TopP, s.Temperature = nil, new(float64)
	}
	if n := f.integer("seed", math.MinInt64, math.MaxInt64); n != nil {
		seed := *n
		folded := uint32(seed) ^ uint32(uint64(seed)>>32)
		s.Seed = &folded
	}
	return s
}

// biasesMax: each is added at every token.
const biasesMax = 1024

// bias reads what is added to the logits of token ids.
func (f *fields) bias() map[int32]float64 {
	var bias map[int32]float64
	if !f.read("logit_bias", "an object from token ids to numbers", &bias) || len(bias) == 0 {
		return nil
	}
	if len(bias) > biasesMax {
		f.fail(badValue("logit_bias", "%d tokens, at most %d are supported.", len(bias), biasesMax))
	}
	for id, b := range bias {
		if !(math.Abs(b) <= 100) {
			f.fail(badValue("logit_bias", "token %d: %v is not in -100 to 100.", id, b))
		}
	}
	return bias
}

// stops reads the stop strings; empty ones are refused.
func (f *fields) stops(name string) []string {
	stops := f.texts(name)
	if len(stops) > stopStringsMax {
		f.fail(badValue(name, "%d strings, at most %d are supported.", len(stops), stopStringsMax))
	}
	for _, s := range stops {
		if s == "" {
			f.fail(badValue(name, "an empty string would stop before the first token."))
		}
	}
	return stops
}

// count reads how many replies are wanted.
func (f *fields) count() int {
	if n := f.integer("n", 1, choicesMax); n != nil {
		return int(*n)
	}
	return 1
}

// streaming reads whether and how a reply streams.
func (f *fields) streaming() (stream, withUsage bool) {
	stream = f.flag("stream")
	f.object("stream_options", func(opts *fields) {
		withUsage = opts.flag("include_usage")
		opts.flag("include_obfuscation")
		if !stream {
			f.fail(badValue("stream_options", "it is only allowed when stream is true."))
		}
	})
	return stream, withUsage
}

// constraint reads what form the reply must have.
func (f *fields) constraint(req *backend.Request) {
	req.Grammar = f.text("grammar")
	if raw := f.take("response_format"); raw != nil {
		f.format(raw, "response_format", req)
	}
	if len(req.Schema) > 0 && req.Grammar != "" {
		f.fail(badValue("grammar", "it can't be given together with a JSON response_format."))
	}
}

// format reads a response_format.
func (f *fields) format(raw json.RawMessage, at string, req *backend.Request) {
	format, err := parseFieldsAt(at, raw)
	if err != nil {
		f.fail(err)
		return
	}
	switch format.text("type") {
	case "text":
	case "json_object": // llama-server takes a schema beside it
		if req.Schema = format.take("schema"); req.Schema == nil {
			req.Schema = json.RawMessage(`{"type":"object"}`)
		}
	case "json_schema":
		inner := format // in /v1/responses the schema stands beside the type
		if raw := format.take("json_schema"); raw != nil {
			if inner, err = parseFieldsAt(at+".json_schema", raw); err != nil {
				f.fail(err)
				return
			}
		}
		for _, name := range []string{"name", "description", "strict"} {
			inner.take(name) // a schema is enforced, or refused
		}
		if req.Schema = inner.take("schema"); req.Schema == nil {
			f.fail(badValue(at, "its schema is missing."))
		}
		f.fail(inner.end())
	default:
		f.fail(badValue(at, "its type must be text, json_object or json_schema."))
	}
	f.fail(format.end())
}

// able refuses what the backend can't do. tools are nil where none may be called.
func (m *model) able(req *backend.Request, tools *backend.ToolChoice) error {
	switch {
	case len(req.Schema) > 0 && !m.caps.Schema:
		return unsupported("response_format",
			"asks for JSON, which the backend of this server can't enforce.")
	case req.Grammar != "" && !m.caps.Grammar:
		return unsupported("grammar", "is not known to the backend of this server.")
	case req.Logprobs && !m.caps.Logprobs:
		return unsupported("logprobs", "are not given by the backend of this server.")
	case len(req.StopTokens) > 0 && !m.caps.StopTokens:
		return unsupported("stop_token_ids", "are not known to the backend of this server.")
	case req.Prefill != "" && !m.caps.Prefill:
		return unsupported("continue_final_message", "is not possible with the backend of this server.")
	}
	return m.ableTools(req, tools)
}

// enter counts n replies in, or refuses them when too many wait. leave undoes it.
func (m *model) enter(n int) (leave func(), err error) {
	if m.draining.Load() {
		return nil, errShutdown
	}
	if m.load.Add(int64(n)) > int64(m.cfg.RequestsMax) {
		m.load.Add(-int64(n))
		return nil, errBusy
	}
	return func() { m.load.Add(-int64(n)) }, nil
}

// reply is one stream of a backend.
type reply = func(ctx context.Context) iter.Seq2[backend.Delta, error]

// event is a delta of one of several replies.
type event struct {
	choice int
	backend.Delta
}

// run produces the replies of one request within the limits of queue and time,
// and yields their deltas as they come. An error ends it.
func (m *model) run(r *http.Request, replies []reply) iter.Seq2[event, error] {
	return func(yield func(event, error) bool) {
		leave, err := m.enter(len(replies))
		if err != nil {
			yield(event{}, err)
			return
		}
		defer leave()
		start := time.Now()
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		whole := time.AfterFunc(m.cfg.RequestWithin, func() { cancel(errTooLong) })
		defer whole.Stop()
		first := time.AfterFunc(m.cfg.FirstTokenWithin, func() { cancel(errSlow) })
		defer first.Stop()
		began := false
		for ev, err := range merge(ctx, replies) {
			if panicked, ok := errors.AsType[*panicError](err); ok {
				logPanic(m.log, r.URL.Path, panicked.value, panicked.stack)
				err = errMistake
			}
			if err != nil {
				yield(ev, explain(ctx, err))
				return
			}
			if !began {
				began = true
				first.Stop()
				m.metrics.firstToken.observe(time.Since(start))
			}
			if ev.Usage != nil {
				m.metrics.usage(ev.Usage)
				if c, ok := r.Context().Value(costKey{}).(*cost); ok {
					c.add(ev.Usage)
				}
			}
			if !yield(ev, nil) {
				return
			}
		}
	}
}

// timed carries out what is no stream of tokens, within the same limits.
func (m *model) timed(r *http.Request, do func(*http.Request) error) error {
	leave, err := m.enter(1)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeoutCause(r.Context(), m.cfg.RequestWithin, errTooLong)
	defer cancel()
	if err := do(r.WithContext(ctx)); err != nil {
		return explain(ctx, err)
	}
	return nil
}

// writer puts replies into the form of a wire, in one piece or as events.
type writer interface {
	// add takes a delta and sends what is to be sent of it.
	add(event) error
	// fail tells of an error where a part of the answer is out; else it returns what is
	// to be the answer.
	fail(error) error
	// end completes the answer.
	end() error
}

// whole is what writers of one piece share: an error is the answer.
type whole struct{ w http.ResponseWriter }

func (whole) fail(err error) error { return err }

// answer has replies produced and written.
func (m *model) answer(r *http.Request, replies []reply, to writer) error {
	for ev, err := range m.run(r, replies) {
		if err != nil {
			return to.fail(err)
		}
		if err := to.add(ev); err != nil {
			return err
		}
	}
	return to.end()
}

// merge runs replies side by side. The first one starts alone, so that the
// others find its prompt computed.
func merge(ctx context.Context, replies []reply) iter.Seq2[event, error] {
	if len(replies) == 1 {
		return func(yield func(event, error) bool) {
			for d, err := range replies[0](ctx) {
				if !yield(event{0, d}, err) {
					return
				}
			}
		}
	}
	return func(yield func(event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		j := &joint{ctx: ctx, items: make(chan item)}
		defer j.wait.Wait()
		defer cancel()
		j.start(0, replies[0])
		for started, running := 1, 1; running > 0; {
			var it item
			select {
			case it = <-j.items:
			case <-ctx.Done():
				yield(event{}, ctx.Err())
				return
			}
			if it.done {
				running--
				continue
			}
			if !yield(it.event, it.err) || it.err != nil {
				return
			}
			for ; started < len(replies); started++ {
				j.start(started, replies[started])
				running++
			}
		}
	}
}

// joint is where replies that run side by side come together.
type joint struct {
	ctx   context.Context // of all of them
	items chan item
	wait  sync.WaitGroup
}

type item struct {
	event
	err  error
	done bool // the reply is complete
}

func (j *joint) send(it item) bool {
	select {
	case j.items <- it:
		return true
	case <-j.ctx.Done():
		return false
	}
}

// start runs reply i. A panic in its goroutine would end the process; one in the handler's
// own does not, so it goes there.
func (j *joint) start(i int, r reply) {
	j.wait.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				j.send(item{err: &panicError{p, debug.Stack()}})
			}
		}()
		for d, err := range r(j.ctx) {
			if !j.send(item{event: event{i, d}, err: err}) {
				return
			}
		}
		j.send(item{done: true})
	})
}

// usageBody is usage as OpenAI's protocol has it.
type usageBody struct {
	PromptTokens        int `json:"prompt_tokens"`
	CompletionTokens    int `json:"completion_tokens"`
	TotalTokens         int `json:"total_tokens"`
	PromptTokensDetails struct {
		CachedTokens int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
	CompletionTokensDetails struct {
		ReasoningTokens int `json:"reasoning_tokens"`
	} `json:"completion_tokens_details"`
}

// add counts one reply in. Of several replies to one prompt, the prompt counts
// once, as the first reply saw it.
func (u *usageBody) add(v *backend.Usage, firstOfPrompt bool) {
	if v == nil {
		return
	}
	if firstOfPrompt {
		u.PromptTokens += v.PromptTokens
		u.PromptTokensDetails.CachedTokens += v.CachedTokens
	}
	u.CompletionTokens += v.CompletionTokens
	u.CompletionTokensDetails.ReasoningTokens += v.ReasoningTokens
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
}

// finishReason is OpenAI's word for how a reply ended.
func finishReason(f backend.FinishReason) *string {
	word := "stop"
	switch f {
	case "":
		return nil
	case backend.FinishLength, backend.FinishContext:
		word = "length"
	case backend.FinishCalls:
		word = "tool_calls"
	}
	return &word
}

// seeded gives each of several replies a seed of its own, so that they differ
// and still come again.
func seeded(req *backend.Request, i int) *backend.Request {
	if i == 0 || req.Sampling == nil || req.Sampling.Seed == nil {
		return req
	}
	own, sampling := *req, *req.Sampling
	sampling.Seed = new(*sampling.Seed + uint32(i))
	own.Sampling = &sampling
	return &own
}
