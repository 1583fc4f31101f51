// Package bench measures speed, alone and against llama.cpp's own tools.
//
// [Speed] times prefill and decode of one [Engine] in the terms of llama-bench.
// [Compare] runs several [Probe]s in many short rounds. Each round measures the
// two sides of a comparison right after one another, in alternating order, and
// what counts is the median of the rounds' ratios: a machine that is busy, hot
// or throttled then slows both sides of a ratio, not one of them.
//
// Promises: both sides do the same work with the same settings; every number
// printed comes with its spread; a missed target is reported, never hidden, and
// is no error, because the next machine may well meet it.
package bench

import (
	"context"
	"fmt"
	"time"
)

// Work is tokens computed in a time.
type Work struct {
	Tokens int
	Wall   time.Duration
}

// PerSecond is the speed in tokens per second.
func (w Work) PerSecond() float64 {
	if w.Wall <= 0 {
		return 0
	}
	return float64(w.Tokens) / w.Wall.Seconds()
}

// Engine is a loaded model reduced to what a benchmark times. Prompts are
// random tokens, new ones for each call, so that nothing comes from a cache
// unless the method says so.
type Engine interface {
	// Prefill computes a prompt of n tokens and the first token after it.
	Prefill(ctx context.Context, n int) (Work, error)
	// Decode generates n tokens one after another, starting from one token.
	Decode(ctx context.Context, n int) (Work, error)
	// DecodeTogether runs several requests at once, each with a prompt of its
	// own and n tokens of reply. All tokens, prompts included, are counted.
	DecodeTogether(ctx context.Context, requests, prompt, n int) (Work, error)
	// DecodePrompted generates n tokens after a fixed prompt that asks for a
	// list, freely or under a JSON schema.
	DecodePrompted(ctx context.Context, n int, schema bool) (Work, error)
	// NewQuestion computes a new prompt of n tokens, which the next calls of
	// Choose decide about.
	NewQuestion(ctx context.Context, n int) (Work, error)
	// Choose scores options after the prompt of NewQuestion, in one request or
	// one by one; either way the prompt itself comes from the cache.
	Choose(ctx context.Context, options int, oneByOne bool) (Work, error)
}

// SpeedConfig says how much work [Speed] times. Zero fields are the defaults.
type SpeedConfig struct {
	PromptTokens int // default 512
	GenTokens    int // default 64
	Repeat       int // default 3
	Parallel     int // requests decoded at the same time, default 1
}

// Limits of one benchmark, so that a typing error does not run for a day.
const (
	tokensMax = 1 << 17
	repeatMax = 1000
)

func (c *SpeedConfig) complete() error {
	for _, f := range []struct {
		name string
		n    *int
		def  int
		most int
	}{
		{"prompt", &c.PromptTokens, 512, tokensMax}, {"gen", &c.GenTokens, 64, tokensMax},
		{"repeat", &c.Repeat, 3, repeatMax}, {"parallel", &c.Parallel, 1, 128},
	} {
		if *f.n == 0 {
			*f.n = f.def
		}
		if *f.n < 1 || *f.n > f.most {
			return fmt.Errorf("bench: %s is %d, must be 1 to %d", f.name, *f.n, f.most)
		}
	}
	return nil
}

// SpeedResult is what `agent bench engine` reports.
type SpeedResult struct {
	PromptTokensPerSecond Spread `json:"prompt_tokens_per_second"`
	GenTokensPerSecond    Spread `json:"gen_tokens_per_second"`
	PromptTokens          int    `json:"prompt_tokens"`
	GenTokens             int    `json:"gen_tokens"`
	Parallel              int    `json:"parallel"`
	Repeat                int    `json:"repeat"`
}

// Speed times prefill and decode, each after one warm-up run that is not
// counted, as llama-bench does.
func Speed(ctx context.Context, e Engine, c SpeedConfig) (*SpeedResult, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	prefill := func() (Work, error) { return e.Prefill(ctx, c.PromptTokens) }
	decode := func() (Work, error) { return e.Decode(ctx, c.GenTokens) }
	if c.Parallel > 1 {
		decode = func() (Work, error) { return e.DecodeTogether(ctx, c.Parallel, 1, c.GenTokens) }
	}
	r := &SpeedResult{PromptTokens: c.PromptTokens, GenTokens: c.GenTokens, Parallel: c.Parallel,
		Repeat: c.Repeat}
	for _, m := range []struct {
		run  func() (Work, error)
		into *Spread
	}{{prefill, &r.PromptTokensPerSecond}, {decode, &r.GenTokensPerSecond}} {
		if _, err := m.run(); err != nil {
			return nil, err
		}
		var speeds []float64
		for range c.Repeat {
			w, err := m.run()
			if err != nil {
				return nil, err
			}
			speeds = append(speeds, w.PerSecond())
		}
		*m.into = NewSpread(speeds)
	}
	return r, nil
}
