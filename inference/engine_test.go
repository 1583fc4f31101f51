package inference

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agent/inference/internal/llama"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience bounds what should happen at once.
const patience = 20 * time.Second

// closeFake closes an engine and checks what it leaves.
func closeFake(t *testing.T, e *Engine, d *fakeDevice) {
	t.Helper()
	e.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	assert.True(t, d.closed)
	assert.Empty(t, d.faults[:min(3, len(d.faults))])
	assert.Zero(t, d.live.Load(), "samplers are left")
}

// collect reads a whole reply.
func collect(ctx context.Context, e *Engine, req *GenerateRequest) (text string, last Output, err error) {
	for o, err := range e.Generate(ctx, req) {
		if err != nil {
			return text, last, err
		}
		text += o.Text
		last = o
	}
	return text, last, nil
}

// within fails the test when f takes too long, which means a deadlock.
func within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("it hangs")
	}
}

// waitFor polls for what another goroutine will do.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// Many requests with common beginnings, a cache too small for them, aborts and
// cancellations: every reply is still exactly what its prompt brings.
func TestSchedulerKeepsRepliesRight(t *testing.T) {
	for seed := range 20 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(seed), 1))
			d := newFakeDevice(130 + rng.IntN(200))
			var aborts atomic.Int32
			abortEvery := 7 + rng.IntN(20)
			d.before = func(n int, s *llama.Step) (int, error) {
				if n%abortEvery == abortEvery-1 && aborts.Add(1) < 10 {
					return len(s.Rows) / 2, llama.ErrAborted
				}
				return 0, nil
			}
			e := newFakeEngine(d, 128, 1+rng.IntN(4), 32)
			var wg sync.WaitGroup
			for i := range 40 {
				prompt := fakePrompt(rng.IntN(3), 1+rng.IntN(90))
				most, kind := 1+rng.IntN(30), rng.IntN(10)
				wg.Go(func() { oneOfMany(t, e, i, kind, most, prompt) })
			}
			within(t, wg.Wait)
			waitFor(t, "nothing is left to do", func() bool { s := e.Stats(); return s.Waiting+s.Running == 0 })
			closeFake(t, e, d)
		})
	}
}

func oneOfMany(t *testing.T, e *Engine, i, kind, most int, prompt []int32) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	switch {
	case kind < 2: // breaks off
		for range e.Generate(ctx, &GenerateRequest{Prompt: prompt}) {
			if most--; most <= 0 {
				break
			}
		}
	case kind < 4:
		checkFakeScore(t, e, prompt)
	default:
		text, last, err := collect(ctx, e, &GenerateRequest{Prompt: prompt, TokensMax: most})
		if assert.NoError(t, err, "request %d", i) {
			assert.Equal(t, fakeReply(prompt, min(most, 128-len(prompt))), text, "request %d, prompt of %d", i, len(prompt))
			assert.NotEmpty(t, last.Finish)
		}
	}
}

// checkFakeScore compares scores of options that branch with their definition.
func checkFakeScore(t *testing.T, e *Engine, prompt []int32) {
	with := func(ids ...int32) []int32 { return append(prompt[:len(prompt):len(prompt)], ids...) }
	req := &ScoreRequest{Prompt: prompt, Ends: []int32{fakeEnd},
		Options: [][]int32{with(5), with(5, 6), with(5, 6, 7), with(8), with(9, 6), with()}}
	for i := range int32(12) {
		req.Options = append(req.Options, with(100+i, 200+i))
	}
	res, err := e.Score(t.Context(), req)
	if !assert.NoError(t, err) {
		return
	}
	for i, o := range req.Options {
		for k, got := range res.Scores[i].Tokens {
			assert.Equal(t, fakeLogprob(o[:res.Shared+k], o[res.Shared+k]), got, "option %d, token %d", i, k)
		}
		assert.Equal(t, fakeLogprob(o, -1), res.Scores[i].End, "option %d", i)
	}
}

// A stop token ends a reply where it comes, whatever its text, and text that was
// held back for the sake of a stop string comes out whole.
func TestStopTokens(t *testing.T) {
	d := newFakeDevice(300)
	e := newFakeEngine(d, 128, 1, 32)
	prompt := fakePrompt(1, 9)
	context := slices.Clone(prompt)
	for range 3 {
		context = append(context, fakeNext(context))
	}
	stop := fakeNext(context)
	for name, c := range map[string]struct {
		stops     []int32
		text      string
		finish    Finish
		generated int
	}{
		"comes":       {[]int32{fakeVocab - 1, stop}, fakeReply(prompt, 3), FinishStop, 4},
		"comes first": {[]int32{stop, context[len(prompt)]}, "", FinishStop, 1},
		"never comes": {[]int32{fakeVocab - 1}, fakeReply(prompt, 4), FinishLength, 4},
	} {
		text, last, err := collect(t.Context(), e, &GenerateRequest{Prompt: prompt, TokensMax: 4,
			Stop: []string{fakeReply(prompt, 4) + "never"}, StopTokens: c.stops})
		require.NoError(t, err, name)
		assert.Equal(t, c.text, text, name)
		assert.Equal(t, c.finish, last.Finish, name)
		assert.Equal(t, c.generated, last.Stats.Generated, name)
	}
	closeFake(t, e, d)
}

func TestPromptLogprobsFake(t *testing.T) {
	d := newFakeDevice(1024)
	e := newFakeEngine(d, 512, 2, 64)
	prompt := fakePrompt(1, 513)
	for _, c := range []struct{ tokens, evaluated int }{{300, 299}, {300, 0}, {200, 0}, {512, 212}, {511, 0}} {
		prompt := prompt[:c.tokens]
		got, stats, err := e.PromptLogprobs(t.Context(), prompt, 0)
		require.NoError(t, err)
		require.Len(t, got, len(prompt)-1)
		assert.Equal(t, c.evaluated, stats.Evaluated)
		for i, lp := range got {
			assert.Equal(t, fakeLogprob(prompt[:i+1], prompt[i+1]), lp.Logprob)
		}
	}
	_, _, err := e.PromptLogprobs(t.Context(), prompt, 0)
	assert.ErrorContains(t, err, "prompt has 513 tokens", "a whole context is no more")
	forked := append(slices.Clone(prompt[:250]), fakePrompt(7, 30)...)
	got, stats, err := e.PromptLogprobs(t.Context(), forked, 0)
	require.NoError(t, err)
	assert.Equal(t, 30, stats.Evaluated)
	for i, lp := range got {
		assert.Equal(t, fakeLogprob(forked[:i+1], forked[i+1]), lp.Logprob)
	}
	closeFake(t, e, d)
}

func TestReuse(t *testing.T) {
	d := newFakeDevice(1024)
	e := newFakeEngine(d, 512, 2, 64)
	prompt := fakePrompt(1, 200)
	_, first, err := collect(t.Context(), e, &GenerateRequest{Prompt: prompt, TokensMax: 3})
	require.NoError(t, err)
	assert.Equal(t, 200, first.Stats.Evaluated)
	assert.Equal(t, 0, first.Stats.Reused)
	_, again, err := collect(t.Context(), e, &GenerateRequest{Prompt: prompt, TokensMax: 3})
	require.NoError(t, err)
	assert.Equal(t, 1, again.Stats.Evaluated, "only the last token, to have its logits")
	assert.Equal(t, 199, again.Stats.Reused)
	grown := append(append([]int32(nil), prompt...), 1, 2, 3)
	_, more, err := collect(t.Context(), e, &GenerateRequest{Prompt: grown, TokensMax: 3})
	require.NoError(t, err)
	assert.Equal(t, 3, more.Stats.Evaluated)
	closeFake(t, e, d)
}

// from is for blocked: all steps but the first n.
func from(n int) func(int, *llama.Step) bool {
	return func(at int, _ *llama.Step) bool { return at >= n }
}

// blocked makes some steps wait until they are released or aborted, as a long
// prefill is.
func blocked(d *fakeDevice, which func(n int, s *llama.Step) bool) (entered <-chan int, release chan struct{}) {
	in := make(chan int, 1)
	release = make(chan struct{})
	d.before = func(n int, s *llama.Step) (int, error) {
		if !which(n, s) {
			return 0, nil
		}
		select {
		case in <- n:
		default:
		}
		select {
		case <-release:
			return 0, nil
		case <-d.abort():
			return len(s.Rows) / 2, llama.ErrAborted
		}
	}
	return in, release
}

func TestCancelAbortsTheRunningTick(t *testing.T) {
	d := newFakeDevice(1024)
	entered, release := blocked(d, from(1))
	e := newFakeEngine(d, 512, 2, 64)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("changed my mind")
	go func() { <-entered; cancel(why) }()
	within(t, func() {
		_, _, err := collect(ctx, e, &GenerateRequest{Prompt: fakePrompt(1, 300)})
		assert.ErrorIs(t, err, why)
	})
	waitFor(t, "the request is retired", func() bool { return e.Stats().Running == 0 })
	close(release)
	text, last, err := collect(t.Context(), e, &GenerateRequest{Prompt: fakePrompt(1, 300), TokensMax: 5})
	require.NoError(t, err)
	assert.Equal(t, fakeReply(fakePrompt(1, 300), 5), text)
	assert.Equal(t, 64, last.Stats.Reused, "the tick before the abort was kept, the aborted one not")
	closeFake(t, e, d)
}

func TestCancelOfOneLeavesTheTickOfOthers(t *testing.T) {
	d := newFakeDevice(1024)
	var e *Engine
	entered, release := blocked(d, func(n int, s *llama.Step) bool { // rows of both
		waitFor(t, "both requests are there", func() bool {
			stats := e.Stats()
			return n > 0 || stats.Running+stats.Waiting == 2
		})
		return s.Rows[0].Seqs[0] != s.Rows[len(s.Rows)-1].Seqs[0]
	})
	e = newFakeEngine(d, 512, 2, 64)
	ctx, cancel := context.WithCancel(t.Context())
	prompt := longReply(40, 100)
	replies, gone := make(chan string, 1), make(chan error, 1)
	go func() {
		text, _, _ := collect(t.Context(), e, &GenerateRequest{Prompt: prompt, TokensMax: 100})
		replies <- text
	}()
	go func() {
		_, _, err := collect(ctx, e, &GenerateRequest{Prompt: fakePrompt(1, 500)})
		gone <- err
	}()
	<-entered
	cancel()
	within(t, func() { assert.ErrorIs(t, <-gone, context.Canceled) })
	close(release)
	within(t, func() { assert.Equal(t, fakeReply(prompt, 100), <-replies) })
	for _, s := range d.steps {
		assert.NoError(t, s.err, "nothing was aborted")
	}
	closeFake(t, e, d)
}

func TestCancelWhileWaiting(t *testing.T) {
	d := newFakeDevice(1024)
	entered, release := blocked(d, from(0))
	e := newFakeEngine(d, 512, 1, 64)
	first := make(chan error, 1)
	go func() {
		_, _, err := collect(t.Context(), e, &GenerateRequest{Prompt: fakePrompt(1, 60), TokensMax: 2})
		first <- err
	}()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	within(t, func() {
		_, _, err := collect(ctx, e, &GenerateRequest{Prompt: fakePrompt(2, 60)})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
	close(release)
	within(t, func() { assert.NoError(t, <-first) })
	closeFake(t, e, d)
}

// Two replies that fit alone but not together: one is put back and goes on.
func TestPreemptionWhenTheCacheIsFull(t *testing.T) {
	d := newFakeDevice(200)
	e := newFakeEngine(d, 190, 2, 64)
	var wg sync.WaitGroup
	for seed := range 2 {
		wg.Go(func() {
			prompt := fakePrompt(seed+5, 120)
			text, last, err := collect(t.Context(), e, &GenerateRequest{Prompt: prompt, TokensMax: 60})
			if assert.NoError(t, err) {
				assert.Equal(t, fakeReply(prompt, 60), text)
				assert.NotEqual(t, FinishContext, last.Finish)
			}
		})
	}
	within(t, wg.Wait)
	closeFake(t, e, d)
}

func TestFullCacheEvictsIdlePrefixes(t *testing.T) {
	d := newFakeDevice(300)
	e := newFakeEngine(d, 190, 4, 64)
	for seed := range 8 {
		prompt := fakePrompt(seed, 150)
		text, last, err := collect(t.Context(), e, &GenerateRequest{Prompt: prompt, TokensMax: 10})
		require.NoError(t, err)
		assert.Equal(t, fakeReply(prompt, 10), text)
		assert.Zero(t, last.Stats.Reused)
	}
	prompt := fakePrompt(7, 150)
	_, last, err := collect(t.Context(), e, &GenerateRequest{Prompt: prompt, TokensMax: 10})
	require.NoError(t, err)
	assert.Equal(t, 149, last.Stats.Reused, "the newest prefix was kept")
	closeFake(t, e, d)
}

func TestFullCacheWithNothingToDropNamesBothNumbers(t *testing.T) {
	d := newFakeDevice(100)
	e := newFakeEngine(d, 190, 2, 64)
	var tooLong *ContextError
	_, _, err := collect(t.Context(), e, &GenerateRequest{Prompt: fakePrompt(1, 150)})
	require.ErrorAs(t, err, &tooLong)
	assert.Equal(t, ContextError{Tokens: 150, Max: 190}, *tooLong)
	_, _, err = e.PromptLogprobs(t.Context(), fakePrompt(1, 150), 0)
	require.ErrorAs(t, err, &tooLong)
	text, _, err := collect(t.Context(), e, &GenerateRequest{Prompt: fakePrompt(1, 50), TokensMax: 4})
	require.NoError(t, err, "it goes on serving")
	assert.Equal(t, fakeReply(fakePrompt(1, 50), 4), text)
	closeFake(t, e, d)
}

// Options need cells too: a long reply beside them gives way, they do not fail.
func TestScoreMakesRoomBesideALongReply(t *testing.T) {
	d := newFakeDevice(240)
	var e *Engine
	running := make(chan struct{})
	d.before = func(n int, _ *llama.Step) (int, error) {
		if n == 5 { // the reply is under way; the decision arrives now
			close(running)
			waitFor(t, "the decision is queued", func() bool { return e.Stats().Waiting == 1 })
		}
		return 0, nil
	}
	e = newFakeEngine(d, 190, 2, 64)
	long := longReply(130, 40)
	reply := make(chan string, 1)
	go func() {
		text, _, _ := collect(t.Context(), e, &GenerateRequest{Prompt: long, TokensMax: 40})
		reply <- text
	}()
	<-running
	within(t, func() { checkFakeScore(t, e, fakePrompt(4, 95)) })
	within(t, func() { assert.Equal(t, fakeReply(long, 40), <-reply) })
	closeFake(t, e, d)
}

// A prefill of many chunks does not hold a running reply up: each tick has its row.
func TestDecodeGoesOnBesidePrefill(t *testing.T) {
	d := newFakeDevice(4096)
	started := make(chan struct{})
	var once sync.Once
	var e *Engine
	d.before = func(n int, _ *llama.Step) (int, error) {
		if n == 1 { // the first reply decodes; the second arrives now
			once.Do(func() { close(started) })
			waitFor(t, "the second request is queued", func() bool { return e.Stats().Waiting == 1 })
		}
		return 0, nil
	}
	e = newFakeEngine(d, 2048, 2, 64)
	var wg sync.WaitGroup
	decoding := longReply(10, 30)
	wg.Go(func() {
		_, last, err := collect(t.Context(), e, &GenerateRequest{Prompt: decoding, TokensMax: 30})
		assert.NoError(t, err)
		assert.Equal(t, 30, last.Stats.Generated)
	})
	wg.Go(func() {
		<-started
		_, _, err := collect(t.Context(), e, &GenerateRequest{Prompt: fakePrompt(2, 1000), TokensMax: 1})
		assert.NoError(t, err)
	})
	within(t, wg.Wait)
	both := 0
	for _, s := range d.steps {
		if len(s.rows) == 2 {
			both++
			assert.Contains(t, []int{s.rows[0], s.rows[1]}, 1, "one row for the running reply")
		}
		assert.LessOrEqual(t, s.rows[0]+s.rows[1], 64)
	}
	assert.Equal(t, 16, both, "1000 tokens in chunks of 63")
	closeFake(t, e, d)
}

// longReply finds a prompt of length tokens whose reply does not end before n.
func longReply(length, n int) []int32 {
	for seed := 1; ; seed++ {
		prompt, context := fakePrompt(seed, length), fakePrompt(seed, length)
		for len(context) < length+n && fakeNext(context) != fakeEnd {
			context = append(context, fakeNext(context))
		}
		if len(context) == length+n {
			return prompt
		}
	}
}

// Decisions that keep coming do not starve a reply.
func TestDecisionsAndRepliesTakeTurns(t *testing.T) {
	d := newFakeDevice(4096)
	d.before = func(int, *llama.Step) (int, error) {
		time.Sleep(200 * time.Microsecond) // time for the next decision to arrive
		return 0, nil
	}
	e := newFakeEngine(d, 512, 4, 64)
	prompt := longReply(10, 40)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, err := e.Score(ctx, &ScoreRequest{Prompt: prompt, Options: [][]int32{append(prompt[:10:10], 3), append(prompt[:10:10], 4)}})
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	waitFor(t, "decisions run", func() bool { return e.Stats().Ticks > 20 })
	first := e.Stats().Ticks
	_, _, err := collect(t.Context(), e, &GenerateRequest{Prompt: prompt, TokensMax: 40})
	require.NoError(t, err)
	last := e.Stats().Ticks
	cancel()
	within(t, wg.Wait)
	closeFake(t, e, d)
	decisions, row := 0, 0
	for _, s := range d.steps[first:last] {
		if s.rows[4] > 0 { // the first scratch sequence
			decisions++
			row++
			assert.LessOrEqual(t, row, 8, "decisions in a row: as many as were there before the reply got a slot, then one")
			continue
		}
		row = 0
	}
	assert.Greater(t, decisions, 10)
}

func TestFailingDevice(t *testing.T) {
	d := newFakeDevice(1024)
	broken := &llama.Error{Op: "compute", Detail: "out of luck"}
	var fail atomic.Bool
	d.before = func(_ int, s *llama.Step) (int, error) {
		if fail.Load() {
			d.lose(20)
			return 0, broken
		}
		return 0, nil
	}
	e := newFakeEngine(d, 512, 2, 64)
	_, _, err := collect(t.Context(), e, &GenerateRequest{Prompt: fakePrompt(1, 100), TokensMax: 2})
	require.NoError(t, err)

	fail.Store(true)
	_, _, err = collect(t.Context(), e, &GenerateRequest{Prompt: append(fakePrompt(1, 100), fakePrompt(2, 50)...)})
	require.ErrorIs(t, err, broken)
	assert.ErrorContains(t, err, "compute: ")
	options := [][]int32{append(fakePrompt(1, 100), 5), append(fakePrompt(1, 100), 6)}
	_, err = e.Score(t.Context(), &ScoreRequest{Prompt: fakePrompt(1, 100), Options: options})
	require.ErrorIs(t, err, broken)
	_, _, err = e.PromptLogprobs(t.Context(), fakePrompt(1, 100), 0)
	require.ErrorIs(t, err, broken)
	_, _, err = collect(t.Context(), e, &GenerateRequest{Prompt: fakePrompt(1, 100), Grammar: grammarRefused})
	require.ErrorContains(t, err, "refused")

	fail.Store(false)
	prompt := append(fakePrompt(1, 100), fakePrompt(2, 50)...)
	text, _, err := collect(t.Context(), e, &GenerateRequest{Prompt: prompt, TokensMax: 9})
	require.NoError(t, err)
	assert.Equal(t, fakeReply(prompt, 9), text)
	checkFakeScore(t, e, fakePrompt(1, 100))
	closeFake(t, e, d)
}

// What native code throws when cached tokens are shared or dropped ends the
// request that needed it, with its words; others are as right as ever.
func TestThrowingCache(t *testing.T) {
	thrown := &llama.Error{Op: "share cached tokens", Detail: "std::bad_alloc"}
	prompt := fakePrompt(1, 100)
	options := [][]int32{append(slices.Clone(prompt), 5), append(slices.Clone(prompt), 6)}
	asks := map[string]func(e *Engine) error{
		"score": func(e *Engine) error {
			_, err := e.Score(t.Context(), &ScoreRequest{Prompt: prompt, Options: options})
			return err
		},
		"generate": func(e *Engine) error {
			_, _, err := collect(t.Context(), e, &GenerateRequest{Prompt: append(slices.Clone(prompt[:60]), fakePrompt(2, 9)...), TokensMax: 2})
			return err
		},
	}
	for _, function := range []string{"SeqCopy", "SeqRemove"} {
		for name, ask := range asks {
			t.Run(name+", "+function, func(t *testing.T) {
				d := newFakeDevice(2048)
				e := newFakeEngine(d, 512, 2, 64)
				for _, seed := range []int{1, 3} { // both slots hold something
					_, _, err := collect(t.Context(), e, &GenerateRequest{Prompt: fakePrompt(seed, 100), TokensMax: 2})
					require.NoError(t, err)
				}
				throw := func(err error) {
					d.mu.Lock()
					defer d.mu.Unlock()
					d.throws = map[string]error{function: err}
				}
				throw(thrown)
				err := ask(e)
				if function == "SeqCopy" && name == "generate" {
					require.NoError(t, err, "it needs no copy, being in the slot")
				} else {
					require.ErrorIs(t, err, thrown)
				}
				throw(nil)
				within(t, func() { checkFakeScore(t, e, fakePrompt(4, 50)) })
				text, _, err := collect(t.Context(), e, &GenerateRequest{Prompt: prompt, TokensMax: 9})
				require.NoError(t, err)
				assert.Equal(t, fakeReply(prompt, 9), text)
				closeFake(t, e, d)
			})
		}
	}
}

func TestCloseWithWorkInFlight(t *testing.T) {
	d := newFakeDevice(1024)
	entered, _ := blocked(d, from(1))
	released := 0
	tr := traits{vocabSize: fakeVocab, contextMax: 512, partial: true, piece: fakePiece}
	e := newEngine(d, tr, 2, 64, 8, nil, nil, func() { released++ })
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			_, _, err := collect(t.Context(), e, &GenerateRequest{Prompt: fakePrompt(i, 300)})
			assert.ErrorIs(t, err, ErrClosed)
		})
		wg.Go(func() {
			_, err := e.Score(t.Context(), &ScoreRequest{Prompt: fakePrompt(i, 300), Options: [][]int32{fakePrompt(i, 310)}})
			assert.ErrorIs(t, err, ErrClosed)
		})
		wg.Go(func() {
			_, _, err := e.PromptLogprobs(t.Context(), fakePrompt(i, 300), 0)
			assert.ErrorIs(t, err, ErrClosed)
		})
	}
	<-entered
	within(t, func() {
		var closers sync.WaitGroup
		for range 3 {
			closers.Go(e.Close)
		}
		closers.Wait()
		wg.Wait()
	})
	assert.Equal(t, 1, released)
	_, _, err := collect(t.Context(), e, &GenerateRequest{Prompt: fakePrompt(1, 10)})
	assert.ErrorIs(t, err, ErrClosed)
	(*Engine)(nil).Close()
	closeFake(t, e, d)
}

// Making a sampler takes a while with a large grammar; closing waits for it.
func TestCloseWaitsForSamplersBeingMade(t *testing.T) {
	d := newFakeDevice(64)
	d.slow = make(chan struct{})
	e := newFakeEngine(d, 60, 1, 64)
	ended := make(chan error, 1)
	go func() {
		_, _, err := collect(t.Context(), e, &GenerateRequest{Prompt: []int32{1}, Grammar: grammarSlow})
		ended <- err
	}()
	d.slow <- struct{}{} // it is being made
	closed := make(chan struct{})
	go func() { e.Close(); close(closed) }()
	time.AfterFunc(20*time.Millisecond, func() { close(d.slow) })
	within(t, func() { <-closed })
	within(t, func() { assert.ErrorIs(t, <-ended, ErrClosed) })
	closeFake(t, e, d)
}

func TestQueueHasALimit(t *testing.T) {
	d := newFakeDevice(64)
	entered, release := blocked(d, from(0))
	e := newFakeEngine(d, 60, 1, 64)
	j := func() *job {
		return &job{ctx: t.Context(), tokens: []int32{1}, promptLen: 1, finish: func(error) {},
			after: func(*Engine) (bool, error) { return true, nil }}
	}
	require.NoError(t, e.submit(j()))
	<-entered
	for range queueMax {
		require.NoError(t, e.submit(j()))
	}
	assert.ErrorIs(t, e.submit(j()), ErrBusy)
	close(release)
	waitFor(t, "the queue is worked off", func() bool { s := e.Stats(); return s.Waiting+s.Running == 0 })
	closeFake(t, e, d)
}

func TestRefusedRequests(t *testing.T) {
	d := newFakeDevice(64)
	e := newFakeEngine(d, 60, 1, 64)
	reply := func(r GenerateRequest) error {
		_, _, err := collect(t.Context(), e, &r)
		return err
	}
	score := func(r ScoreRequest) error {
		_, err := e.Score(t.Context(), &r)
		return err
	}
	one := []int32{1}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"empty prompt":        {reply(GenerateRequest{}), "the prompt is empty"},
		"foreign token":       {reply(GenerateRequest{Prompt: []int32{1, fakeVocab}}), "token 2 of the prompt has id 1000, outside the vocabulary of 1000"},
		"negative token":      {reply(GenerateRequest{Prompt: []int32{-1}}), "id -1"},
		"long prompt":         {reply(GenerateRequest{Prompt: fakePrompt(1, 60)}), "prompt has 60 tokens, more than the context length of 60 allows"},
		"negative max tokens": {reply(GenerateRequest{Prompt: one, TokensMax: -1}), "max_tokens is -1"},
		"top p":               {reply(GenerateRequest{Prompt: one, Sampling: Sampling{TopP: 3}}), "top_p is 3, must be 0 to 1"},
		"stops":               {reply(GenerateRequest{Prompt: one, Stop: make([]string, 65)}), "at most 64"},
		"stop tokens":         {reply(GenerateRequest{Prompt: one, StopTokens: make([]int32, 65)}), "number of stop tokens is 65, must be at most 64"},
		"grammar":             {reply(GenerateRequest{Prompt: one, Grammar: "root ::= \"a\"{3000}"}), "{3000}"},
		"no options":          {score(ScoreRequest{Prompt: one}), "no options"},
		"nothing shared":      {score(ScoreRequest{Prompt: one, Options: [][]int32{{2}}}), "do not begin with the same token"},
		"empty option":        {score(ScoreRequest{Prompt: one, Options: [][]int32{{}}}), "option 1: the prompt is empty"},
		"foreign end":         {score(ScoreRequest{Prompt: one, Options: [][]int32{{1, 2}}, Ends: []int32{-5}}), "end token -5"},
	} {
		assert.ErrorContains(t, c.err, c.want, name)
	}
	assert.Empty(t, d.steps, "nothing of it reached the device")
	closeFake(t, e, d)
}
