package hf

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"agent/backend"
	"agent/inference"
)

const (
	// tieNats is a lead too small to mean anything: options this close are tied.
	tieNats = 1e-4
	// rotationsMax bounds the orders that Rotate averages over; with more
	// options the rotations are spread evenly.
	rotationsMax = 16
	// contentFree is what contextual calibration asks instead of the question
	// (Zhao et al. 2021, arXiv:2102.09690, use it among others).
	contentFree = "N/A"
)

// ChooseFromOptions implements backend.LanguageBackend by option scoring: the
// prompt is computed once, then the tokens of all options as one trie.
func (b *Backend) ChooseFromOptions(ctx context.Context, req *backend.Request,
	options []backend.Option,
) (*backend.Choice, error) {
	start := time.Now()
	cfg, err := checkChoice(req, options)
	if err != nil {
		return nil, err
	}
	c := &chooser{b: b, ctx: ctx, req: req, cfg: cfg, options: options}
	scores, err := c.scores()
	if err != nil {
		return nil, b.translate(ctx, err)
	}
	choice := c.decide(scores)
	choice.EvaluatedTokens, choice.CachedTokens = c.evaluated, c.cached
	choice.Wall = time.Since(start)
	b.reportPaging()
	return choice, nil
}

func checkChoice(req *backend.Request, options []backend.Option) (backend.ChooseConfig, error) {
	var cfg backend.ChooseConfig
	if err := backend.CheckRequest(req); err != nil {
		return cfg, err
	}
	if err := backend.CheckOptions(options); err != nil {
		return cfg, err
	}
	if req.Choose != nil {
		cfg = *req.Choose
	}
	cfg.Scoring = cmp.Or(cfg.Scoring, backend.ScoreSum)
	known := []backend.Scoring{backend.ScoreSum, backend.ScoreMean, backend.ScorePerByte,
		backend.ScorePMI}
	switch {
	case !slices.Contains(known, cfg.Scoring):
		return cfg, fmt.Errorf("choose: unknown method %q; known are sum, mean, per_byte, pmi",
			cfg.Scoring)
	case cfg.Rotate && !cfg.List:
		return cfg, fmt.Errorf("choose: rotating the listed order needs the options to be listed")
	case math.IsNaN(cfg.MarginMin) || cfg.MarginMin < 0:
		return cfg, fmt.Errorf("choose: the least margin is %v, must be 0 or more nats", cfg.MarginMin)
	}
	return cfg, nil
}

// chooser carries one decision.
type chooser struct {
	b       *Backend
	ctx     context.Context
	req     *backend.Request
	cfg     backend.ChooseConfig
	options []backend.Option

	tokens            []int // of each option
	evaluated, cached int
}

// scores gives each option its number under the configured method.
func (c *chooser) scores() ([]float64, error) {
	n := len(c.options)
	if !c.cfg.Rotate {
		return c.oneOrder(0)
	}
	rounds := min(n, rotationsMax)
	total := make([][]float64, n)
	for r := range rounds {
		got, err := c.oneOrder(r * n / rounds)
		if err != nil {
			return nil, err
		}
		for i, s := range got {
			total[i] = append(total[i], s)
		}
	}
	out := make([]float64, n)
	for i, s := range total {
		out[i] = logSumExp(s) - math.Log(float64(rounds)) // the mean probability
	}
	return out, nil
}

// oneOrder scores with the options listed in one cyclic order.
func (c *chooser) oneOrder(from int) ([]float64, error) {
	msgs, err := c.listed(c.req.Messages, from)
	if err != nil {
		return nil, err
	}
	scores, err := c.raw(msgs)
	if err != nil {
		return nil, err
	}
	if c.cfg.Scoring == backend.ScorePMI {
		base, err := c.raw(withQuestion(c.req.Messages, ""))
		if err != nil {
			return nil, err
		}
		subtract(scores, base)
	}
	if c.cfg.Calibrate {
		msgs, err := c.listed(c.contentFree(), from)
		if err != nil {
			return nil, err
		}
		base, err := c.raw(msgs)
		if err != nil {
			return nil, err
		}
		subtract(scores, base)
	}
	return scores, nil
}

func (c *chooser) listed(msgs []backend.Message, from int) ([]backend.Message, error) {
	if !c.cfg.List {
		return msgs, nil
	}
	question, text, about := backend.SplitAt(msgs, c.cfg.ListAt)
	listed, err := backend.ListOptions(question, c.options, from)
	if err == nil && about {
		listed[len(listed)-1].Content += "\n\n" + text
	}
	return listed, err
}

// contentFree is the chat without what it is about.
func (c *chooser) contentFree() []backend.Message {
	question, _, about := backend.SplitAt(c.req.Messages, c.cfg.ListAt)
	if !about {
		return withQuestion(c.req.Messages, contentFree)
	}
	question[len(question)-1].Content += "\n\n" + contentFree
	return question
}

// withQuestion replaces the last user message.
func withQuestion(msgs []backend.Message, text string) []backend.Message {
	out := slices.Clone(msgs)
	for i := len(out) - 1; i >= 0; i-- {
		if out[i].Role == backend.RoleUser {
			out[i].Content = text
			break
		}
	}
	return out
}

func subtract(a, b []float64) {
	for i := range a {
		a[i] -= b[i]
	}
}

// raw scores the options after one chat: sums of log-probabilities, with the
// end term for the methods that need it, or averages.
func (c *chooser) raw(msgs []backend.Message) ([]float64, error) {
	parts, prompt, err := c.b.encode(c.ctx, msgs, c.req.Tools, c.req.Prefill, c.b.ContextLength())
	if err != nil {
		return nil, err
	}
	if c.req.Prefill == "" {
		if closed := c.b.closedThought(c.ctx, parts, ""); len(closed) > len(parts) {
			parts = closed
			if prompt, err = c.b.model.EncodeWithin(parts, c.b.ContextLength()); err != nil {
				return nil, err
			}
		}
	}
	if len(prompt) >= c.b.ContextLength() { // seen before each option is tokenised with it
		return nil, &backend.ContextError{Tokens: len(prompt), Max: c.b.ContextLength()}
	}
	req := &inference.ScoreRequest{Prompt: prompt,
		Shared: c.b.systemTokens(c.ctx, msgs, c.req.Tools, prompt)}
	if c.cfg.Scoring == backend.ScoreSum || c.cfg.Scoring == backend.ScorePMI {
		req.Ends = c.b.ends(c.cfg.EndTexts)
	}
	for _, o := range c.options {
		// Prompt and option are tokenised together: a boundary may merge.
		ids, err := c.b.model.EncodeWithin(append(parts[:len(parts):len(parts)],
			inference.Part{Text: o.Text, Input: true}), c.b.ContextLength())
		if err != nil {
			return nil, err
		}
		req.Options = append(req.Options, ids)
	}
	res, err := c.b.engine.Score(c.ctx, req)
	if err != nil {
		return nil, err
	}
	c.evaluated += res.Stats.Evaluated
	c.cached += res.Stats.Reused
	return c.combine(res), nil
}

// combine makes one number of each option's token scores.
func (c *chooser) combine(res *inference.ScoreResult) []float64 {
	out := make([]float64, len(res.Scores))
	c.tokens = make([]int, len(res.Scores))
	for i := range res.Scores {
		s := &res.Scores[i]
		c.tokens[i] = len(s.Tokens)
		switch c.cfg.Scoring {
		case backend.ScoreMean:
			out[i] = s.Sum() / float64(max(1, len(s.Tokens)))
		case backend.ScorePerByte:
			out[i] = s.Sum() / float64(len(c.options[i].Text))
		default:
			out[i] = s.Sum() + float64(s.End)
		}
	}
	return out
}

// ends are the tokens that may follow a finished option.
func (b *Backend) ends(texts []string) []int32 {
	ends := slices.Clone(b.model.EndTokens())
	for _, text := range texts {
		b.endsMu.Lock()
		ids, ok := b.endsOf[text]
		if !ok {
			ids = b.model.TokensStarting(text)
			b.endsOf[text] = ids
		}
		b.endsMu.Unlock()
		ends = append(ends, ids...)
	}
	slices.Sort(ends)
	return slices.Compact(ends)
}

// decide picks the best score and says how sure it is.
func (c *chooser) decide(scores []float64) *backend.Choice {
	choice := &backend.Choice{Method: c.method(), OutsideMass: math.NaN(), Margin: math.Inf(1)}
	total := logSumExp(scores)
	for i, s := range scores {
		choice.Options = append(choice.Options, backend.ScoredOption{Text: c.options[i].Text, Logprob: s,
			Probability: math.Exp(s - total), Tokens: c.tokens[i]})
		if s > scores[choice.Index] {
			choice.Index = i
		}
	}
	choice.Text = c.options[choice.Index].Text
	for i, s := range scores {
		if i != choice.Index {
			choice.Margin = min(choice.Margin, scores[choice.Index]-s)
		}
	}
	choice.Tie = choice.Margin < tieNats
	if c.cfg.Scoring == backend.ScoreSum && !c.cfg.Calibrate {
		choice.OutsideMass = max(0, 1-math.Exp(total))
	}
	if c.cfg.MarginMin > 0 && choice.Margin < c.cfg.MarginMin {
		choice.Abstained = true
		choice.Reason = fmt.Sprintf("%q leads by %.3f nats, less than the %.3f asked for", choice.Text,
			choice.Margin, c.cfg.MarginMin)
		choice.Index, choice.Text = -1, ""
	}
	return choice
}

// method names how the choice was made, as "logits/sum+calibrate+rotate".
func (c *chooser) method() string {
	name := []string{"logits/" + string(c.cfg.Scoring)}
	if c.cfg.Calibrate {
		name = append(name, "calibrate")
	}
	if c.cfg.Rotate {
		name = append(name, "rotate")
	}
	return strings.Join(name, "+")
}

func logSumExp(x []float64) float64 {
	top := slices.Max(x)
	if math.IsInf(top, -1) {
		return top
	}
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(v - top)
	}
	return top + math.Log(sum)
}
