package inference

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"agent/inference/internal/llama"
)

// ScoreRequest asks for the log-probabilities of several continuations of one
// prompt. Options are whole token sequences, prompt and option tokenised
// together; never glue token lists across a boundary that merges.
type ScoreRequest struct {
	Prompt  []int32
	Shared  int // leading tokens that other prompts have too, as in [GenerateRequest]
	Options [][]int32
	// Ends are the tokens that may end an option; their summed probability
	// after the option is its End. None: no end term, and an option's last
	// token need not be computed.
	Ends []int32
}

// OptionScore is what the model gives one option. Its log-probability is the
// sum of Tokens, plus End when asked for.
type OptionScore struct {
	Tokens []float32 // log p of each token after the shared part, natural log
	End    float32   // log of the summed probability of Ends after it
}

// Sum adds the tokens' log-probabilities up.
func (o *OptionScore) Sum() float64 {
	total := 0.0
	for _, lp := range o.Tokens {
		total += float64(lp)
	}
	return total
}

// ScoreResult has one score per option.
type ScoreResult struct {
	Scores []OptionScore
	Shared int // leading tokens that all options and the prompt agree on
	Stats  RequestStats
	Wall   time.Duration
}

// Score evaluates the shared prefix once (or reuses it from the cache), then
// the token trie of all options, each node once, in as few batches as the
// engine's scratch sequences allow: one, up to 64 options.
func (e *Engine) Score(ctx context.Context, req *ScoreRequest) (*ScoreResult, error) {
	shared, err := e.checkScore(req)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	s := &scoring{ends: req.Ends, size: len(e.leaves.seqs), root: req.Prompt[shared-1],
		rootPos: int32(shared - 1), scores: make([]OptionScore, len(req.Options))}
	for i, o := range req.Options {
		s.tails = append(s.tails, o[shared:])
		s.scores[i].Tokens = make([]float32, len(o)-shared)
	}
	done := make(chan error, 1)
	j := &job{ctx: ctx, tokens: slices.Clone(req.Prompt[:shared-1]), promptLen: shared,
		reusable: shared - 1, keep: min(req.Shared, shared-1), after: s.run}
	j.stats.Prompt = shared
	s.job = j
	j.finish = func(err error) { done <- err }
	if err := e.submit(j); err != nil {
		return nil, err
	}
	// The owner retires the job on every path, a cancelled context included.
	if err := <-done; err != nil {
		return nil, err
	}
	j.stats.Queue = j.started.Sub(j.submitted)
	return &ScoreResult{Scores: s.scores, Shared: shared, Stats: j.stats, Wall: time.Since(start)}, nil
}

func (e *Engine) checkScore(req *ScoreRequest) (shared int, err error) {
	if len(req.Options) == 0 {
		return 0, errors.New("score: no options")
	}
	if err := e.checkPrompt(req.Prompt, 1); err != nil {
		return 0, err
	}
	longest := 0
	for i, o := range req.Options {
		if err := e.checkPrompt(o, 1); err != nil {
			return 0, fmt.Errorf("option %d: %w", i+1, err)
		}
		longest = max(longest, len(o))
	}
	for _, id := range req.Ends {
		if id < 0 || int(id) >= e.traits.vocabSize {
			return 0, fmt.Errorf("score: end token %d is outside the vocabulary", id)
		}
	}
	shared = sharedPrefix(append(slices.Clone(req.Options), req.Prompt))
	if shared == 0 {
		return 0, errors.New("score: the options and the prompt do not begin with the same token")
	}
	return shared, nil
}

// scoring is the exclusive part of a score request.
type scoring struct {
	job     *job
	tails   [][]int32 // options after the shared part
	root    int32     // last shared token, computed again to have its logits
	rootPos int32
	ends    []int32
	scores  []OptionScore
	from    int // options before this one are done
	size    int // options to try in one trie
}

// run scores as many options as there are scratch sequences. A cache without
// room for them makes room, or takes fewer at a time.
func (s *scoring) run(e *Engine) (done bool, err error) {
	if s.job.stats.Prefill == 0 {
		s.job.stats.Prefill = time.Since(s.job.started)
	}
	start := time.Now()
	to := min(s.from+s.size, len(s.tails))
	err = s.chunk(e, s.from, to)
	s.job.stats.Decode += time.Since(start)
	switch {
	case err == nil:
		s.from = to
	case !errors.Is(err, llama.ErrKVFull):
		return false, err
	case e.makeRoom(s.job):
	case to-s.from > 1:
		s.size = (to - s.from) / 2
	default:
		return false, &ContextError{Tokens: len(s.job.tokens) + 1 + len(s.tails[s.from]),
			Max: e.traits.contextMax}
	}
	return s.from == len(s.tails), nil
}

// chunk scores options [from, to) in one trie.
func (s *scoring) chunk(e *Engine, from, to int) error {
	leaves := e.leaves.seqs[:to-from]
	if e.leaves.unclean {
		if err := e.clearLeaves(e.leaves.seqs); err != nil {
			return err
		}
	}
	defer func() { _ = e.clearLeaves(leaves) }() // those that stay are cleared before the next use
	for _, leaf := range leaves {
		if len(s.job.slot.cache) > 0 {
			if err := e.dev.SeqCopy(s.job.slot.seq, leaf, 0, -1); err != nil {
				return err
			}
		}
	}
	b := s.batch(e.traits.partial, leaves, from, to)
	for at := 0; at < len(b.rows); at += outputsMax {
		if s.job.ctx.Err() != nil {
			return context.Cause(s.job.ctx)
		}
		if err := b.compute(e, at, min(at+outputsMax, len(b.rows))); err != nil {
			return err
		}
	}
	s.job.stats.Evaluated += len(b.rows)
	e.mu.Lock()
	e.stats.Evaluated += len(b.rows)
	e.mu.Unlock()
	return nil
}

// clearLeaves empties the sequences of options.
func (e *Engine) clearLeaves(leaves []int32) error {
	var failed error
	for _, leaf := range leaves {
		if _, err := e.dev.SeqRemove(leaf, -1, -1); err != nil {
			failed = err
		}
	}
	e.leaves.unclean = failed != nil
	return failed
}

// scoreBatch is a trie as rows; wants[i] are read from the logits of row i.
type scoreBatch struct {
	rows  []llama.Row
	wants [][]scoreWant
	ends  [][]int32
}

// scoreWant is a number wanted, and where it goes.
type scoreWant struct {
	token int32 // -1: the end set
	into  []*float32
}

// batch lays the trie of options [from, to) out.
func (s *scoring) batch(share bool, leaves []int32, from, to int) *scoreBatch {
	tails := s.tails[from:to]
	trie := buildTrie(tails, s.rootPos+1, share)
	b := &scoreBatch{}
	if len(s.ends) > 0 {
		b.ends = [][]int32{s.ends}
	}
	rootRows := make([]int, len(tails)) // row of the last shared token, per option
	if share {
		b.add(s.root, s.rootPos, leaves)
	} else {
		for i := range tails {
			rootRows[i] = b.add(s.root, s.rootPos, leaves[i:i+1])
		}
	}
	rowOf := make([]int, len(trie.nodes))
	for n, node := range trie.nodes {
		row := rootRows[node.leaves[0]]
		if node.parent >= 0 {
			row = rowOf[node.parent]
		}
		want := scoreWant{token: node.token}
		for _, i := range node.leaves {
			want.into = append(want.into, &s.scores[from+i].Tokens[node.pos-s.rootPos-1])
		}
		b.wants[row] = append(b.wants[row], want)
		seqs := make([]int32, len(node.leaves))
		for k, i := range node.leaves {
			seqs[k] = leaves[i]
		}
		rowOf[n] = b.add(node.token, node.pos, seqs)
	}
	for i := range tails {
		last := rootRows[i]
		if p := trie.path[i]; len(p) > 0 {
			last = rowOf[p[len(p)-1]]
		}
		if len(s.ends) > 0 {
			b.wants[last] = append(b.wants[last],
				scoreWant{token: -1, into: []*float32{&s.scores[from+i].End}})
		}
	}
	b.prune()
	return b
}

func (b *scoreBatch) add(token, pos int32, seqs []int32) (row int) {
	b.rows = append(b.rows, llama.Row{Token: token, Pos: pos, Seqs: seqs, Output: true})
	b.wants = append(b.wants, nil)
	return len(b.rows) - 1
}

// prune drops rows that nobody wants a number from: without an end term, the
// last token of each option. Such rows have no children, so nothing needs them.
func (b *scoreBatch) prune() {
	rows, wants := b.rows[:0], b.wants[:0]
	for i := range b.rows {
		if len(b.wants[i]) > 0 {
			rows, wants = append(rows, b.rows[i]), append(wants, b.wants[i])
		}
	}
	b.rows, b.wants = rows, wants
}

// compute runs rows [from, to) as one step and stores what was wanted.
func (b *scoreBatch) compute(e *Engine, from, to int) error {
	e.step = llama.Step{Rows: append(e.step.Rows[:0], b.rows[from:to]...), Ends: b.ends}
	for row := from; row < to; row++ {
		for _, w := range b.wants[row] {
			e.step.Wants = append(e.step.Wants, llama.Want{Row: row - from, Token: w.token})
		}
	}
	if err := e.compute(); err != nil {
		return err
	}
	at := 0
	for row := from; row < to; row++ {
		for _, w := range b.wants[row] {
			lp := e.step.Wants[at].Logprob
			at++
			if math.IsNaN(float64(lp)) {
				return errNoNumber
			}
			for _, p := range w.into {
				*p = lp
			}
		}
	}
	return nil
}
