package bench

import "context"

// The work of the check of delegation: so many parts of a task, each with some
// prompt of its own behind the part that all share, and a long reply.
const (
	partsCount  = togetherCount
	partPrompt  = 64
	PartReply   = 128 // most tokens of a part's reply
	PartContext = 2048
)

// Parts works on prompts as parts of one task, at most atOnce at a time, each
// in a session of its own. The tokens of the work are those of the replies.
type Parts func(ctx context.Context, prompts []string, atOnce int) (PartsWork, error)

// PartsWork is how long the parts took, and how many tokens of their prompts were computed.
type PartsWork struct {
	Work
	Evaluated, Prompts int // prompt tokens computed, and all of them
}

// DelegateProbe compares what four parts of a task gain by being worked on at
// once with what llama-batched-bench gains by four sequences, and what of their
// prompts is computed with what it would be were nothing shared.
func DelegateProbe(parts Parts, t *Tools) Probe {
	round := 0
	return Probe{
		Checks: []Check{
			{Name: "delegate 4", Ours: "gain", Theirs: "llama-batched-bench's gain", Unit: "×",
				Target: delegateTarget},
			{Name: "delegate prompts", Ours: "computed", Theirs: "sent", Unit: "tokens", Target: 0.25,
				AtMost: true},
		},
		Round: func(ctx context.Context, flip bool) ([]Pair, error) {
			round++
			var alone, together PartsWork
			for _, atOnce := range []bool{flip, !flip} {
				var err error
				// New prompts each time: nothing but the shared part is in the cache.
				prompts := storyPrompts(partsCount, 2*round+map[bool]int{true: 1}[atOnce])
				if atOnce {
					together, err = parts(ctx, prompts, partsCount)
				} else {
					alone, err = parts(ctx, prompts, 1)
				}
				if err != nil {
					return nil, err
				}
			}
			one, err := t.DecodeTogether(ctx, 1, partPrompt, PartReply)
			if err != nil {
				return nil, err
			}
			four, err := t.DecodeTogether(ctx, partsCount, partPrompt, PartReply)
			if err != nil {
				return nil, err
			}
			return []Pair{
				{together.PerSecond() / alone.PerSecond(), four / one},
				{float64(together.Evaluated), float64(together.Prompts)},
			}, nil
		},
	}
}
