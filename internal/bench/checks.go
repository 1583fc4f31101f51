package bench

import (
	"context"
	"fmt"
)

// The work of the standard checks. Short, so that many rounds fit into the
// time that a person waits, and a burst of other work spoils few of them.
const (
	promptTokens    = 512
	genTokens       = 64
	decodeTokens    = 256 // alone, which wanders the most from round to round
	togetherCount   = 4
	togetherPrompt  = 16
	questionTokens  = 1000
	questionOptions = 32
)

// The work of the checks of servers: so many clients at a time, each with a
// new prompt of some 60 tokens that asks for a long reply.
const (
	fewClients  = serveSlots / 2
	manyClients = serveSlots
	serveTokens = 64
)

// ContextNeeded is the longest sequence of the standard checks, with room for
// options; CellsNeeded is what all sequences of one check take together.
const (
	ContextNeeded = questionTokens + 256
	CellsNeeded   = ContextNeeded + 512
)

// Targets of the standard checks.
const (
	decodeTarget   = 0.97
	prefillTarget  = 0.95
	chooseTarget   = 0.20
	oneByOneTarget = 2.5
	togetherTarget = 0.95
	schemaTarget   = 0.95
	serveTarget    = 0.95
	// A first token must come no later than from llama-server. The 5 % are what
	// two runs of the same server differ by.
	firstTokenTarget = 1.05
	// What parts of a task gain by being worked on at once, as a part of what
	// llama.cpp gains by computing as many sequences at once.
	delegateTarget = 0.90
)

// StandardProbes compares e with llama.cpp's own tools, `agent serve` with its
// server, and what e does beyond them with itself.
func StandardProbes(e Engine, t *Tools, s *Servers) []Probe {
	return []Probe{
		against("prefill 512", "llama-bench pp512", prefillTarget,
			func(ctx context.Context) (Work, error) { return e.Prefill(ctx, promptTokens) },
			func(ctx context.Context) (float64, error) { return t.Prefill(ctx, promptTokens) }),
		against("decode 256", "llama-bench tg256", decodeTarget,
			func(ctx context.Context) (Work, error) { return e.Decode(ctx, decodeTokens) },
			func(ctx context.Context) (float64, error) { return t.Decode(ctx, decodeTokens) }),
		against("4 at once", "llama-batched-bench", togetherTarget,
			func(ctx context.Context) (Work, error) {
				return e.DecodeTogether(ctx, togetherCount, togetherPrompt, genTokens)
			},
			func(ctx context.Context) (float64, error) {
				return t.DecodeTogether(ctx, togetherCount, togetherPrompt, genTokens)
			}),
		s.probe(fewClients), s.probe(manyClients), schemaProbe(e), chooseProbe(e)}
}

// against compares a speed of the agent with that of a tool of llama.cpp.
func against(name, tool string, target float64, ours func(context.Context) (Work, error),
	theirs side,
) Probe {
	return Probe{
		Checks: []Check{{Name: name, Ours: "agent", Theirs: tool, Unit: "tokens/s", Target: target}},
		Round:  alternate(speed(ours), theirs),
	}
}

func schemaProbe(e Engine) Probe {
	decode := func(schema bool) side {
		return speed(func(ctx context.Context) (Work, error) { return e.DecodePrompted(ctx, genTokens, schema) })
	}
	return Probe{
		Checks: []Check{{Name: "JSON schema", Ours: "constrained", Theirs: "free", Unit: "tokens/s",
			Target: schemaTarget}},
		Round: alternate(decode(true), decode(false)),
	}
}

// chooseProbe measures the prompt first, since it must be in the cache before
// options can be scored after it.
func chooseProbe(e Engine) Probe {
	return Probe{
		Checks: []Check{
			{Name: "choose of 32", Ours: "choose", Theirs: "prefill of its 1000 tokens", Unit: "s",
				Target: chooseTarget, AtMost: true},
			{Name: "choose gain", Ours: "together", Theirs: "one by one, prefix reused", Unit: "options/s",
				Target: oneByOneTarget},
		},
		Round: func(ctx context.Context, flip bool) ([]Pair, error) {
			prompt, err := e.NewQuestion(ctx, questionTokens)
			if err != nil {
				return nil, err
			}
			var together, single Work
			for _, oneByOne := range []bool{flip, !flip} {
				w, err := e.Choose(ctx, questionOptions, oneByOne)
				if err != nil {
					return nil, err
				}
				if oneByOne {
					single = w
				} else {
					together = w
				}
			}
			return []Pair{
				{together.Wall.Seconds(), prompt.Wall.Seconds()},
				{questionOptions / together.Wall.Seconds(), questionOptions / single.Wall.Seconds()},
			}, nil
		},
	}
}

// probe compares the servers while n clients ask one of them; the other is idle
// meanwhile. Both get the same prompts, which are new in each round.
func (s *Servers) probe(n int) Probe {
	round := 0
	return Probe{
		Checks: []Check{
			{Name: fmt.Sprintf("%d clients", n), Ours: "agent serve", Theirs: llamaServer, Unit: "tokens/s",
				Target: serveTarget},
			{Name: fmt.Sprintf("%d clients, first token", n), Ours: "after", Theirs: llamaServer, Unit: "s",
				Target: firstTokenTarget, AtMost: true},
		},
		Round: func(ctx context.Context, flip bool) ([]Pair, error) {
			round++
			prompts := storyPrompts(n, round)
			var ours, theirs Served
			runs := []struct {
				server *server
				into   *Served
			}{{s.ours, &ours}, {s.theirs, &theirs}}
			if flip {
				runs[0], runs[1] = runs[1], runs[0]
			}
			for _, r := range runs {
				var err error
				if *r.into, err = r.server.measure(ctx, prompts, serveTokens); err != nil {
					return nil, err
				}
			}
			return []Pair{
				{ours.PerSecond(), theirs.PerSecond()},
				{ours.FirstToken.Seconds(), theirs.FirstToken.Seconds()},
			}, nil
		},
	}
}
