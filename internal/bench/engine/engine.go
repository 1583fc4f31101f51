// Package engine measures a model in this process, through the calls that serve
// users.
package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"agent/backend"
	"agent/backend/hf"
	"agent/inference"
	"agent/internal/bench"
)

// Engine is a local model as the benchmarks see it. Each method drives
// the engine through the same calls that serve users, and reads the clock
// where a user would.
type Engine struct {
	model    *inference.Model
	single   *inference.Engine // one sequence, as llama-bench has
	together *inference.Engine // several sequences; may be nil

	question []int32 // prompt that Choose decides about
	options  [][]int32
	list     []int32 // prompt of DecodePrompted
	grammar  string
}

// New prepares what is not to be timed. The model and both engines
// stay the caller's.
func New(ctx context.Context, b *hf.Backend, together *inference.Engine) (*Engine, error) {
	e := &Engine{model: b.Model(), single: b.Engine(), together: together}
	var err error
	if e.grammar, err = inference.SchemaToGrammar(bench.ListSchema); err != nil {
		return nil, err
	}
	for _, text := range bench.Options() {
		ids, err := e.model.Tokenize(text, inference.TokenizeOptions{})
		if err != nil {
			return nil, err
		}
		e.options = append(e.options, ids)
	}
	if !e.model.HasTemplate() {
		e.list, err = e.model.Tokenize(bench.ListPrompt, inference.TokenizeOptions{AddSpecial: true})
		return e, err
	}
	parts, err := e.model.Render(ctx,
		inference.Chat{Messages: []inference.Message{{Role: string(backend.RoleUser),
			Content: bench.ListPrompt}}}, "")
	if err != nil {
		return nil, err
	}
	e.list, err = e.model.Encode(parts)
	return e, err
}

// Of is the model with an engine of its own in place of the backend's, for
// prefill and decode alone.
func Of(b *hf.Backend, single *inference.Engine) *Engine {
	return &Engine{model: b.Model(), single: single}
}

// randomPrompt draws n ordinary tokens, as llama-bench does.
func (e *Engine) randomPrompt(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		for ids[i] = rand.Int32N(int32(e.model.Info.VocabSize)); e.model.IsControl(ids[i]); {
			ids[i] = rand.Int32N(int32(e.model.Info.VocabSize))
		}
	}
	return ids
}

// reply is what timing one generation gave.
type reply struct {
	tokens      int
	first, last time.Duration // from the call to the first and to the last token
}

func timeReply(ctx context.Context, engine *inference.Engine, req *inference.GenerateRequest,
) (reply, error) {
	var r reply
	start := time.Now()
	for out, err := range engine.Generate(ctx, req) {
		if err != nil {
			return r, err
		}
		if out.ID < 0 {
			continue
		}
		r.last = time.Since(start)
		if r.tokens == 0 {
			r.first = r.last
		}
		r.tokens++
	}
	return r, nil
}

// errEndedEarly: the model ended its reply before enough tokens were timed.
var errEndedEarly = errors.New("the model ended its reply too early to be timed")

// endTries is how many random prompts are tried until a reply is long enough.
const endTries = 16

// untilLong repeats work on new random prompts while the model ends too early.
func untilLong(work func() (bench.Work, error)) (w bench.Work, err error) {
	for range endTries {
		if w, err = work(); !errors.Is(err, errEndedEarly) {
			return w, err
		}
	}
	return w, err
}

// Prefill implements bench.Engine.
func (e *Engine) Prefill(ctx context.Context, n int) (bench.Work, error) {
	r, err := timeReply(ctx, e.single, &inference.GenerateRequest{Prompt: e.randomPrompt(n),
		TokensMax: 1})
	return bench.Work{Tokens: n, Wall: r.first}, err
}

// warmUpTokens are generated before a timed reply: llama-bench, too, has just
// touched all weights when it starts its clock.
const warmUpTokens = 16

// Decode implements bench.Engine. The first token belongs to the prompt, so n
// more are generated and timed.
func (e *Engine) Decode(ctx context.Context, n int) (bench.Work, error) {
	warmUp := &inference.GenerateRequest{Prompt: e.randomPrompt(1), TokensMax: warmUpTokens}
	if _, err := timeReply(ctx, e.single, warmUp); err != nil {
		return bench.Work{}, err
	}
	return untilLong(func() (bench.Work, error) { return decodeAfter(ctx, e.single, e.randomPrompt(1), n, "") })
}

func decodeAfter(ctx context.Context, engine *inference.Engine, prompt []int32, n int,
	grammar string,
) (bench.Work, error) {
	r, err := timeReply(ctx, engine, &inference.GenerateRequest{Prompt: prompt, TokensMax: n + 1,
		Grammar: grammar})
	if err == nil && r.tokens < n+1 {
		err = fmt.Errorf("%w: %d of %d tokens", errEndedEarly, r.tokens, n+1)
	}
	return bench.Work{Tokens: r.tokens - 1, Wall: r.last - r.first}, err
}

// DecodePrompted implements bench.Engine. A free reply may end before n tokens;
// what there is of it is timed.
func (e *Engine) DecodePrompted(ctx context.Context, n int, schema bool) (bench.Work, error) {
	grammar := ""
	if schema {
		grammar = e.grammar
	}
	w, err := decodeAfter(ctx, e.single, e.list, n, grammar)
	if errors.Is(err, errEndedEarly) && w.Tokens >= min(n, 16) {
		err = nil
	}
	return w, err
}

// DecodeTogether implements bench.Engine.
func (e *Engine) DecodeTogether(ctx context.Context, requests, prompt, n int) (bench.Work, error) {
	return untilLong(func() (bench.Work, error) {
		prompts := make([][]int32, requests)
		for i := range prompts {
			prompts[i] = e.randomPrompt(prompt)
		}
		replies := make([]reply, requests)
		errs := make([]error, requests)
		var all sync.WaitGroup
		start := time.Now()
		for i := range requests {
			all.Go(func() {
				replies[i], errs[i] = timeReply(ctx, e.together,
					&inference.GenerateRequest{Prompt: prompts[i], TokensMax: n + 1})
			})
		}
		all.Wait()
		w := bench.Work{Tokens: requests * (prompt + n), Wall: time.Since(start)}
		for _, r := range replies {
			if r.tokens < n+1 {
				errs = append(errs, fmt.Errorf("%w: %d of %d tokens", errEndedEarly, r.tokens, n+1))
			}
		}
		return w, errors.Join(errs...)
	})
}

// NewQuestion implements bench.Engine.
func (e *Engine) NewQuestion(ctx context.Context, n int) (bench.Work, error) {
	e.question = e.randomPrompt(n)
	r, err := timeReply(ctx, e.single, &inference.GenerateRequest{Prompt: e.question, TokensMax: 1})
	return bench.Work{Tokens: n, Wall: r.first}, err
}

// Choose implements bench.Engine. Prompt and option are put together token by
// token, which is right here only because nobody looks at the winner.
func (e *Engine) Choose(ctx context.Context, options int, oneByOne bool) (bench.Work, error) {
	if options > len(e.options) {
		return bench.Work{}, fmt.Errorf("bench: %d options, there are %d", options, len(e.options))
	}
	whole := make([][]int32, options)
	tokens := 0
	for i, o := range e.options[:options] {
		whole[i] = slices.Concat(e.question, o)
		tokens += len(o)
	}
	calls := [][][]int32{whole}
	if oneByOne {
		calls = slices.Collect(slices.Chunk(whole, 1))
	}
	start := time.Now()
	for _, c := range calls {
		req := &inference.ScoreRequest{Prompt: e.question, Options: c, Ends: e.model.EndTokens()}
		if _, err := e.single.Score(ctx, req); err != nil {
			return bench.Work{}, err
		}
	}
	return bench.Work{Tokens: tokens, Wall: time.Since(start)}, nil
}
