// Package backendtest checks that a [backend.LanguageBackend] keeps the
// promises of the interface. Every backend of this program passes it, and so
// should yours:
//
//	func TestMine(t *testing.T) {
//		backendtest.Run(t, func(t *testing.T) backend.LanguageBackend { return New(…) }, backendtest.Options{})
//	}
//
// It asks for no particular words: what a model says is its own affair, how it
// comes is not.
package backendtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
)

// Options say what can be expected of the backend under test.
type Options struct {
	// Prompt is a question with a long answer, of some 20 tokens or more.
	Prompt string
	// Timeout bounds each call; default one minute.
	Timeout time.Duration
	// CancelWithin is how soon a cancelled call must return; default 5 s.
	CancelWithin time.Duration
	// Deterministic: the same request at temperature 0 has the same reply, also
	// while other requests run.
	Deterministic bool
	// OneDelta: the backend can't stream; a reply comes in one piece.
	OneDelta bool
	// Parallel is how many calls run at once; default 4.
	Parallel int
	// OptionsMany is the size of the largest choice; default 40.
	OptionsMany int
	// Skip names checks that don't apply, with the reason.
	Skip map[string]string
}

// tokensMax bounds replies, so that the suite is quick with real models.
const tokensMax = 48

// Run checks everything. newBackend is called once for each check and may
// return the same backend each time.
func Run(t *testing.T, newBackend func(t *testing.T) backend.LanguageBackend, o Options) {
	t.Helper()
	s := &suite{Options: o.withDefaults()}
	for _, check := range []struct {
		name string
		run  func(*suite, *testing.T, backend.LanguageBackend)
	}{
		{"identity", (*suite).identity},
		{"stream", (*suite).stream},
		{"whole_runes", (*suite).wholeRunes},
		{"tokens_max", (*suite).tokensMax},
		{"stop", (*suite).stop},
		{"stop_tokens", (*suite).stopTokens},
		{"cancel_before", (*suite).cancelBefore},
		{"cancel_midstream", (*suite).cancelMidstream},
		{"break", (*suite).breakLoop},
		{"context_overflow", (*suite).contextOverflow},
		{"bad_requests", (*suite).badRequests},
		{"unsupported", (*suite).unsupported},
		{"sampling", (*suite).sampling},
		{"schema", (*suite).schema},
		{"logprobs", (*suite).logprobs},
		{"prefill", (*suite).prefill},
		{"counts", (*suite).counts},
		{"choose", (*suite).choose},
		{"choose_refusals", (*suite).chooseRefusals},
		{"choose_many", (*suite).chooseMany},
		{"choose_cancel", (*suite).chooseCancel},
		{"concurrent", (*suite).concurrent},
		{"goroutines", (*suite).goroutines},
	} {
		t.Run(check.name, func(t *testing.T) {
			if reason, skip := s.Skip[check.name]; skip {
				t.Skip(reason)
			}
			check.run(s, t, newBackend(t))
		})
	}
}

func (o Options) withDefaults() Options {
	if o.Prompt == "" {
		o.Prompt = "Count from one to fifty in words, separated by commas."
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if o.CancelWithin == 0 {
		o.CancelWithin = 5 * time.Second
	}
	if o.Parallel == 0 {
		o.Parallel = 4
	}
	if o.OptionsMany == 0 {
		o.OptionsMany = 40
	}
	return o
}

type suite struct{ Options }

func (s *suite) ctx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), s.Timeout)
	t.Cleanup(cancel)
	return ctx
}

// request asks for a long reply, without chance.
func (s *suite) request() *backend.Request {
	zero, seed := 0.0, uint32(1)
	return &backend.Request{
		Messages: []backend.Message{
			{Role: backend.RoleSystem, Content: "You are a helpful assistant."},
			{Role: backend.RoleUser, Content: s.Prompt},
		},
		Sampling:  &backend.Sampling{Temperature: &zero, Seed: &seed},
		TokensMax: tokensMax,
	}
}

// reply collects a reply and checks what holds for all of them.
func (s *suite) reply(t *testing.T, b backend.LanguageBackend, req *backend.Request,
) (string, backend.Delta) {
	t.Helper()
	var text strings.Builder
	var last backend.Delta
	for d, err := range b.ChatCompletion(s.ctx(t), req) {
		require.NoError(t, err)
		require.Empty(t, last.Finish, "a delta came after the last one")
		require.True(t, utf8.ValidString(d.Text), "a delta is not whole runes: %q", d.Text)
		text.WriteString(d.Text)
		tokens := append(last.Tokens, d.Tokens...)
		last = d
		last.Tokens = tokens
	}
	require.NotEmpty(t, last.Finish, "the last delta says no reason to end")
	require.NotNil(t, last.Usage, "the last delta has no usage")
	return text.String(), last
}

func (s *suite) identity(t *testing.T, b backend.LanguageBackend) {
	assert.NotEmpty(t, b.ModelID())
	assert.Positive(t, b.ContextLength())
}

func (s *suite) stream(t *testing.T, b backend.LanguageBackend) {
	text, last := s.reply(t, b, s.request())
	assert.NotEmpty(t, text)
	assert.Positive(t, last.Usage.PromptTokens, "prompt tokens")
	assert.Positive(t, last.Usage.CompletionTokens, "completion tokens")
	if !s.OneDelta {
		deltas := 0
		for _, err := range b.ChatCompletion(s.ctx(t), s.request()) {
			require.NoError(t, err)
			deltas++
		}
		assert.Greater(t, deltas, 1, "the reply did not stream")
	}
	if s.Deterministic {
		again, _ := s.reply(t, b, s.request())
		assert.Equal(t, text, again, "the same request had another reply")
	}
}

func (s *suite) wholeRunes(t *testing.T, b backend.LanguageBackend) {
	req := s.request()
	req.Messages[1].Content = "Repeat exactly: 👩‍👩‍👧 naïve 漢字 🇩🇪 ✓"
	s.reply(t, b, req)
}

func (s *suite) tokensMax(t *testing.T, b backend.LanguageBackend) {
	req := s.request()
	req.TokensMax = 3
	text, last := s.reply(t, b, req)
	assert.LessOrEqual(t, last.Usage.CompletionTokens, 3)
	assert.Equal(t, backend.FinishLength, last.Finish)
	if s.Deterministic {
		whole, _ := s.reply(t, b, s.request())
		assert.True(t, strings.HasPrefix(whole, text), "%q does not begin with %q", whole, text)
	}
}

// stop takes the stop string out of the middle of the reply itself, so that it
// lies across deltas.
func (s *suite) stop(t *testing.T, b backend.LanguageBackend) {
	whole, _ := s.reply(t, b, s.request())
	runes := []rune(whole)
	require.GreaterOrEqual(t, len(runes), 12,
		"the reply %q is too short to test with; set Options.Prompt", whole)
	middle := len(runes) / 2
	stop := string(runes[middle-3 : middle+3])
	req := s.request()
	req.Stop = []string{"\x01never\x01", stop}
	text, last := s.reply(t, b, req)
	assert.NotContains(t, text, stop)
	if s.Deterministic {
		before, _, _ := strings.Cut(whole, stop)
		assert.Equal(t, before, text)
		assert.Equal(t, backend.FinishStop, last.Finish)
	}
}

// stopTokens: the reply ends before the first token with one of these ids, which
// counts as generated.
func (s *suite) stopTokens(t *testing.T, b backend.LanguageBackend) {
	if caps := backend.CapabilitiesOf(b); !caps.StopTokens || !caps.Logprobs {
		t.Skip("needs stop tokens and the tokens' ids")
	}
	req := s.request()
	req.TokensMax, req.Logprobs = 8, true
	_, last := s.reply(t, b, req)
	require.Len(t, last.Tokens, 8)
	for _, token := range last.Tokens[4:] {
		req.StopTokens = append(req.StopTokens, token.ID)
	}
	req.TokensMax = 64
	text, last := s.reply(t, b, req)
	before := ""
	for i, token := range last.Tokens {
		isLast := i == len(last.Tokens)-1
		assert.Equal(t, isLast, slices.Contains(req.StopTokens, token.ID), "token %d of %d, %q", i+1,
			len(last.Tokens), token.Text)
		if !isLast {
			before += string(token.Bytes)
		}
	}
	assert.Equal(t, before, text)
	assert.Equal(t, backend.FinishStop, last.Finish)
	assert.Equal(t, len(last.Tokens), last.Usage.CompletionTokens)
}

func (s *suite) cancelBefore(t *testing.T, b backend.LanguageBackend) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start := time.Now()
	_, _, err := backend.Collect(b.ChatCompletion(ctx, s.request()))
	assert.ErrorIs(t, err, context.Canceled)
	assert.Less(t, time.Since(start), s.CancelWithin)
}

func (s *suite) cancelMidstream(t *testing.T, b backend.LanguageBackend) {
	ctx, cancel := context.WithCancel(s.ctx(t))
	defer cancel()
	var last error
	var cancelled time.Time
	finished := false
	for d, err := range b.ChatCompletion(ctx, s.request()) {
		if cancelled.IsZero() {
			cancelled = time.Now()
			cancel()
		}
		last, finished = err, d.Finish != ""
	}
	assert.Less(t, time.Since(cancelled), s.CancelWithin)
	if !finished || !s.OneDelta {
		assert.ErrorIs(t, last, context.Canceled)
	}
	s.reply(t, b, s.request()) // and the backend goes on working
}

func (s *suite) breakLoop(t *testing.T, b backend.LanguageBackend) {
	start := time.Now()
	for _, err := range b.ChatCompletion(s.ctx(t), s.request()) {
		require.NoError(t, err)
		start = time.Now()
		break
	}
	assert.Less(t, time.Since(start), s.CancelWithin)
	s.reply(t, b, s.request())
}

func (s *suite) contextOverflow(t *testing.T, b backend.LanguageBackend) {
	req := s.request()
	req.Messages[1].Content = strings.Repeat("seven green bottles ", b.ContextLength()/2+100)
	_, _, err := backend.Collect(b.ChatCompletion(s.ctx(t), req))
	checkContextError(t, err, b)
	_, err = b.ChooseFromOptions(s.ctx(t), req, backend.Options("yes", "no"))
	checkContextError(t, err, b)
}

func checkContextError(t *testing.T, err error, b backend.LanguageBackend) {
	t.Helper()
	var tooLong *backend.ContextError
	require.ErrorAs(t, err, &tooLong)
	assert.Equal(t, b.ContextLength(), tooLong.Max)
	assert.Greater(t, tooLong.Tokens, tooLong.Max)
	assert.Contains(t, err.Error(), fmt.Sprint(tooLong.Tokens))
	assert.Contains(t, err.Error(), fmt.Sprint(tooLong.Max))
}

func (s *suite) badRequests(t *testing.T, b backend.LanguageBackend) {
	for name, spoil := range map[string]func(*backend.Request){
		"no messages":          func(r *backend.Request) { r.Messages = nil },
		"unknown role":         func(r *backend.Request) { r.Messages[0].Role = "wizard" },
		"schema and grammar":   func(r *backend.Request) { r.Schema, r.Grammar = json.RawMessage(`{}`), `root ::= "a"` },
		"too many logprobs":    func(r *backend.Request) { r.Logprobs, r.TopLogprobs = true, 21 },
		"negative tokens":      func(r *backend.Request) { r.TokensMax = -1 },
		"an empty stop string": func(r *backend.Request) { r.Stop = []string{""} },
	} {
		req := s.request()
		spoil(req)
		_, _, err := backend.Collect(b.ChatCompletion(s.ctx(t), req))
		assert.Error(t, err, name)
	}
}

// unsupported: what is not in the capabilities is refused, not left out.
func (s *suite) unsupported(t *testing.T, b backend.LanguageBackend) {
	caps := backend.CapabilitiesOf(b)
	for _, c := range []struct {
		name string
		able bool
		ask  func(*backend.Request)
	}{
		{"prefill", caps.Prefill, func(r *backend.Request) { r.Prefill = "One" }},
		{"grammar", caps.Grammar, func(r *backend.Request) { r.Grammar = `root ::= "a"` }},
		{"schema", caps.Schema, func(r *backend.Request) { r.Schema = json.RawMessage(`{"type":"string"}`) }},
		{"stop tokens", caps.StopTokens, func(r *backend.Request) { r.StopTokens = []int{1} }},
		{"logprobs", caps.Logprobs, func(r *backend.Request) { r.Logprobs = true }},
	} {
		if c.able {
			continue
		}
		req := s.request()
		c.ask(req)
		_, _, err := backend.Collect(b.ChatCompletion(s.ctx(t), req))
		assert.ErrorIs(t, err, backend.ErrUnsupported, c.name)
	}
}

func (s *suite) sampling(t *testing.T, b backend.LanguageBackend) {
	temperature, topP, seed := 0.7, 0.9, uint32(42)
	req := s.request()
	req.Sampling = &backend.Sampling{Temperature: &temperature, TopP: &topP, Seed: &seed}
	text, _ := s.reply(t, b, req)
	assert.NotEmpty(t, text)
}

func (s *suite) schema(t *testing.T, b backend.LanguageBackend) {
	if !backend.CapabilitiesOf(b).Schema {
		t.Skip("no schemas")
	}
	req := s.request()
	req.Messages[1].Content = "Is water wet? Answer in JSON."
	req.Schema = json.RawMessage(`{"type":"object","properties":{"wet":{"type":"string","enum":["yes","no"]}},"required":["wet"],"additionalProperties":false}`)
	text, _ := s.reply(t, b, req)
	var v struct {
		Wet string `json:"wet"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &v), "%q", text)
	assert.Contains(t, []string{"yes", "no"}, v.Wet)
}

func (s *suite) logprobs(t *testing.T, b backend.LanguageBackend) {
	if !backend.CapabilitiesOf(b).Logprobs {
		t.Skip("no log-probabilities")
	}
	req := s.request()
	req.TokensMax, req.Logprobs = 8, true
	text, last := s.reply(t, b, req)
	require.NotEmpty(t, last.Tokens)
	var whole strings.Builder
	for _, token := range last.Tokens {
		assert.LessOrEqual(t, token.Logprob, 1e-6)
		if token.Bytes != nil {
			whole.Write(token.Bytes)
		} else {
			whole.WriteString(token.Text)
		}
	}
	assert.Contains(t, whole.String(), text)
}

func (s *suite) prefill(t *testing.T, b backend.LanguageBackend) {
	if !backend.CapabilitiesOf(b).Prefill {
		t.Skip("no prefill")
	}
	req := s.request()
	free, _ := s.reply(t, b, req)
	if !s.Deterministic || len([]rune(free)) < 12 {
		t.Skip("needs a reply that comes again")
	}
	cut := strings.IndexByte(free[1:], ' ') + 1
	if cut <= 0 {
		cut = strings.IndexAny(free, ",.") + 1
	}
	req.Prefill = free[:cut]
	rest, _ := s.reply(t, b, req)
	assert.False(t, strings.HasPrefix(rest, req.Prefill), "the prefill %q is repeated in %q",
		req.Prefill, rest)
}

func (s *suite) counts(t *testing.T, b backend.LanguageBackend) {
	ctx := s.ctx(t)
	short := []backend.Message{{Role: backend.RoleUser, Content: "hello"}}
	long := []backend.Message{{Role: backend.RoleUser,
		Content: "hello" + strings.Repeat(" seven green bottles", 20)}}
	nShort, err := b.CountTokens(ctx, short)
	require.NoError(t, err)
	nLong, err := b.CountTokens(ctx, long)
	require.NoError(t, err)
	assert.Positive(t, nShort)
	assert.GreaterOrEqual(t, nLong, nShort+20)
	_, err = b.CountTokens(ctx, []backend.Message{{Role: "wizard", Content: "x"}})
	assert.Error(t, err, "an unknown role")

	counter, ok := backend.As[backend.Counter](b)
	if !ok {
		return
	}
	text, err := counter.CountText(ctx, long[0].Content)
	require.NoError(t, err)
	chat, err := counter.CountChat(ctx, long)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, chat.Tokens, text.Tokens, "a chat counts less than its text")
	assert.Equal(t, nLong, chat.Tokens)
	assert.NotEmpty(t, text.Source)
	assert.NotEmpty(t, chat.Source)
	withNUL, err := counter.CountText(ctx, "a\x00"+long[0].Content)
	if err == nil {
		assert.GreaterOrEqual(t, withNUL.Tokens, text.Tokens, "the text after a NUL byte is not counted")
	}
}

// concurrent mixes all methods, with some callers that go away.
func (s *suite) concurrent(t *testing.T, b backend.LanguageBackend) {
	want, _ := s.reply(t, b, s.request())
	ctx, cancel := context.WithTimeout(t.Context(), s.Timeout*time.Duration(s.Parallel))
	defer cancel()
	var wg sync.WaitGroup
	for i := range s.Parallel {
		wg.Go(func() {
			got, last, err := backend.Collect(b.ChatCompletion(ctx, s.request()))
			if assert.NoError(t, err) {
				assert.NotEmpty(t, last.Finish)
			}
			if s.Deterministic {
				assert.Equal(t, want, got, "another reply while others ran")
			}
		})
		wg.Go(func() {
			c, err := b.ChooseFromOptions(ctx, s.request(), backend.Options("yes", "no"))
			if assert.NoError(t, err) {
				assert.Len(t, c.Options, 2)
			}
		})
		wg.Go(func() {
			_, err := b.CountTokens(ctx, s.request().Messages)
			assert.NoError(t, err)
		})
		if i%2 == 0 {
			wg.Go(func() {
				for range b.ChatCompletion(ctx, s.request()) {
					break
				}
			})
		}
	}
	wg.Wait()
}

// goroutines: calls that were broken off or cancelled leave nothing running.
func (s *suite) goroutines(t *testing.T, b backend.LanguageBackend) {
	const calls, slack = 24, 12 // slack: idle connections and the like
	s.reply(t, b, s.request())
	before := runtime.NumGoroutine()
	for i := range calls {
		ctx, cancel := context.WithTimeout(t.Context(), s.Timeout)
		for _, err := range b.ChatCompletion(ctx, s.request()) {
			if i%2 == 0 {
				break
			}
			cancel()
			if err != nil {
				require.True(t, errors.Is(err, context.Canceled), "%v", err)
			}
		}
		cancel()
	}
	assert.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+slack }, 5*time.Second,
		10*time.Millisecond, "%d goroutines before, many more after %d broken-off calls", before, calls)
}
