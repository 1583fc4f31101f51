package inference

import (
	"context"
	"time"

	"agent/inference/internal/llama"
)

// job is one request while the engine has it. Its fields belong to the owner
// goroutine once it is submitted.
type job struct {
	ctx    context.Context
	tokens []int32 // what its sequence must hold: the prompt, then the reply so far
	// promptLen tells prompt from reply in tokens; reusable is the most tokens
	// that may come from the cache.
	promptLen, reusable int
	// keep is how many leading tokens other prompts begin with: worth a place on disk.
	keep int

	slot      *slot
	retired   bool
	submitted time.Time
	started   time.Time
	unwatch   func() bool
	// startBelow holds a preempted job back until fewer jobs are active.
	startBelow int
	stats      RequestStats

	// A reply: one sampler, and a consumer of its tokens.
	sampler llama.Sampler
	taker   func(*llama.Sample) (done bool, err error)
	// An exclusive step that runs once the prompt is in the cache, again and
	// again until it is done.
	after func(*Engine) (done bool, err error)

	finish func(error)
}

// RequestStats are the cost of one request.
type RequestStats struct {
	Prompt    int           // tokens of the prompt
	Evaluated int           // of them, computed (for a score: option tokens too)
	Reused    int           // of them, taken from the cache
	Generated int           // tokens of the reply
	Queue     time.Duration // until it was started
	Prefill   time.Duration // until the first token of the reply
	Decode    time.Duration // from then to the end
}

// pending is the number of tokens that wait to be computed.
func (j *job) pending() int { return max(0, len(j.tokens)-len(j.slot.cache)) }

// decoding: the prompt is done, one sampled token waits to be computed.
func (j *job) decoding() bool {
	return len(j.tokens) > j.promptLen && j.pending() == 1
}

// ready: everything it needs is in the cache and its own step can run.
func (j *job) ready() bool {
	return j.after != nil && !j.retired && j.pending() == 0
}
