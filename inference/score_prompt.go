package inference

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"

	"agent/inference/internal/llama"
)

// PromptLogprobs evaluates a prompt and returns the log-probability of each of
// its tokens but the first, given all before it, with the top rivals (0 to 20).
// What was computed of a prompt that begins alike is not computed again.
func (e *Engine) PromptLogprobs(ctx context.Context, prompt []int32, top int,
) ([]TokenLogprob, RequestStats, error) {
	if err := e.checkPrompt(prompt, 0); err != nil {
		return nil, RequestStats{}, err
	}
	params, err := (&GenerateRequest{Logprobs: true, TopLogprobs: top}).params()
	if err != nil {
		return nil, RequestStats{}, err
	}
	if err := e.enter(); err != nil {
		return nil, RequestStats{}, err
	}
	defer e.callers.Done()
	sampler, err := e.dev.NewSampler(params)
	if err != nil {
		return nil, RequestStats{}, err
	}
	defer sampler.Close()
	out := e.scored.known(prompt, top)
	if len(out) == len(prompt)-1 {
		return out, RequestStats{Prompt: len(prompt), Reused: len(prompt)}, nil
	}
	from := len(out) // rows before it are known
	p := &promptScoring{prompt: prompt, sampler: sampler,
		out: append(out, make([]TokenLogprob, len(prompt)-1-from)...)}
	done := make(chan error, 1)
	j := &job{ctx: ctx, tokens: slices.Clone(prompt[:from]), promptLen: len(prompt), reusable: from,
		after: p.run, finish: func(err error) { done <- err }}
	j.stats.Prompt = len(prompt)
	p.job = j
	if err := e.submit(j); err != nil {
		return nil, RequestStats{}, err
	}
	if err := <-done; err != nil {
		return nil, RequestStats{}, err
	}
	e.scored.keep(prompt, p.out, top)
	return p.out, j.stats, nil
}

// scoredMax bounds the tokens whose log-probabilities are remembered; a token takes some 50
// bytes, and as much for each rival.
const scoredMax = 1 << 16

// scoredPrompts remembers log-probabilities of prompts, newest first: programs that score
// many endings of one text send the text with each.
type scoredPrompts struct {
	mu   sync.Mutex
	list []scoredPrompt
}

type scoredPrompt struct {
	tokens []int32
	out    []TokenLogprob // of tokens[1:]
	top    int            // rivals of each
}

// known is a copy of what is remembered of a prompt's second token and those after it.
func (s *scoredPrompts) known(prompt []int32, top int) []TokenLogprob {
	s.mu.Lock()
	defer s.mu.Unlock()
	best := []TokenLogprob{}
	for _, p := range s.list {
		if n := commonPrefix(p.tokens, prompt); p.top == top && n-1 > len(best) {
			best = p.out[:n-1]
		}
	}
	return slices.Clone(best)
}

func (s *scoredPrompts) keep(prompt []int32, out []TokenLogprob, top int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := []scoredPrompt{{slices.Clone(prompt), slices.Clone(out), top}}
	total := len(prompt)
	for _, p := range s.list {
		if p.top == top && commonPrefix(p.tokens, prompt) == len(p.tokens) {
			continue // the new one has all of it
		}
		if total += len(p.tokens); total > scoredMax {
			break
		}
		kept = append(kept, p)
	}
	s.list = kept
}

// promptScoring is the exclusive part of PromptLogprobs. Its slot's record of
// the cache says how far it came, so that it can be put back and start again.
type promptScoring struct {
	job     *job
	prompt  []int32
	sampler llama.Sampler
	out     []TokenLogprob
}

// run computes the next rows of the prompt.
func (p *promptScoring) run(e *Engine) (done bool, err error) {
	if p.job.ctx.Err() != nil {
		return false, context.Cause(p.job.ctx)
	}
	slot := p.job.slot
	at, end := len(slot.cache), len(p.prompt)-1
	if at == end {
		return true, nil
	}
	to := min(at+outputsMax, end)
	p.fill(e, slot.seq, at, to)
	switch err := e.compute(); {
	case errors.Is(err, llama.ErrKVFull) && e.makeRoom(p.job):
		return false, nil
	case errors.Is(err, llama.ErrKVFull):
		return false, &ContextError{Tokens: len(p.prompt), Max: e.traits.contextMax}
	case err != nil:
		return false, err
	}
	slot.cache = append(slot.cache, p.prompt[at:to]...)
	p.job.stats.Evaluated += to - at
	return to == end, p.read(e, at, to)
}

// fill makes a step of the rows [from, to).
func (p *promptScoring) fill(e *Engine, seq int32, from, to int) {
	e.step = llama.Step{Rows: e.step.Rows[:0], Samples: e.step.Samples[:0]}
	for i := from; i < to; i++ {
		e.step.Rows = append(e.step.Rows, llama.Row{Token: p.prompt[i], Pos: int32(i), Seqs: []int32{seq},
			Output: true})
		e.step.Samples = append(e.step.Samples, llama.Sample{Row: i - from, Sampler: p.sampler})
		e.step.Wants = append(e.step.Wants, llama.Want{Row: i - from, Token: p.prompt[i+1]})
	}
}

func (p *promptScoring) read(e *Engine, from, to int) error {
	for i := from; i < to; i++ {
		id := p.prompt[i+1]
		lp := TokenLogprob{ID: id, Text: e.traits.piece(id), Logprob: e.step.Wants[i-from].Logprob}
		if math.IsNaN(float64(lp.Logprob)) {
			return errNoNumber
		}
		for _, t := range e.step.Samples[i-from].Top {
			lp.Top = append(lp.Top, TokenLogprob{ID: t.ID, Text: e.traits.piece(t.ID), Logprob: t.Logprob})
		}
		p.out[i] = lp
	}
	return nil
}
