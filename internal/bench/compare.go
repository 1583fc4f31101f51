package bench

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Check is a comparison with a target. Its ratio is ours over theirs, of
// speeds in tokens per second or of times in seconds, as Unit says.
type Check struct {
	Name   string  `json:"name"`
	Ours   string  `json:"ours"`   // what is measured
	Theirs string  `json:"theirs"` // what it is compared with
	Unit   string  `json:"unit"`
	Target float64 `json:"target"`
	AtMost bool    `json:"at_most"` // the ratio must not exceed Target; else it must reach it
}

// Pair is one measurement of both sides.
type Pair struct{ Ours, Theirs float64 }

// Probe is one measurement of a round, which answers one or more checks.
type Probe struct {
	Checks []Check
	// Round measures every check once, in the order of Checks. flip asks for
	// the other side to be measured first, where the order is free.
	Round func(ctx context.Context, flip bool) ([]Pair, error)
}

// Outcome is a check with what was measured.
type Outcome struct {
	Check
	OursSpread   Spread `json:"ours_values"`
	TheirsSpread Spread `json:"theirs_values"`
	Ratio        Spread `json:"ratio"`
	Met          bool   `json:"met"`
	// best round of ours over best of theirs: what noise hides least
	OfBest float64 `json:"ratio_of_best"`
}

// Matching are the probes that answer a check whose name contains a word.
func Matching(probes []Probe, word string) []Probe {
	return slices.DeleteFunc(slices.Clone(probes), func(p Probe) bool {
		return !slices.ContainsFunc(p.Checks,
			func(c Check) bool { return strings.Contains(c.Name, word) })
	})
}

// NeedServers reports whether any of the probes compares servers.
func NeedServers(probes []Probe) bool {
	return slices.ContainsFunc(probes, func(p Probe) bool { return p.Checks[0].Theirs == llamaServer })
}

// roundsMax bounds a comparison.
const roundsMax = 1000

// Compare runs rounds of all probes. The first round warms both sides up and
// is not counted. progress, if any, hears of each round before it starts; its
// number is 0 for the warm-up.
func Compare(ctx context.Context, probes []Probe, rounds int, progress func(round int),
) ([]Outcome, error) {
	if rounds < 1 || rounds > roundsMax {
		return nil, fmt.Errorf("bench: %d rounds, must be 1 to %d", rounds, roundsMax)
	}
	pairs := make([][][]Pair, len(probes)) // by probe, check, round
	for round := range rounds + 1 {
		if progress != nil {
			progress(round)
		}
		for i, p := range probes {
			got, err := p.Round(ctx, round%2 == 1)
			if err != nil {
				return nil, fmt.Errorf("bench: %s: %w", p.Checks[0].Name, err)
			}
			if len(got) != len(p.Checks) {
				return nil, fmt.Errorf("bench: %s: %d results for %d checks", p.Checks[0].Name, len(got),
					len(p.Checks))
			}
			if round == 0 {
				pairs[i] = make([][]Pair, len(got))
				continue
			}
			for k, pair := range got {
				pairs[i][k] = append(pairs[i][k], pair)
			}
		}
	}
	var out []Outcome
	for i, p := range probes {
		for k, check := range p.Checks {
			out = append(out, check.judge(pairs[i][k]))
		}
	}
	return out, nil
}

// judge summarises the pairs of a check and compares the median of the ratios
// with the target.
func (c Check) judge(pairs []Pair) Outcome {
	var ours, theirs, ratios []float64
	for _, p := range pairs {
		ours, theirs = append(ours, p.Ours), append(theirs, p.Theirs)
		ratios = append(ratios, p.Ours/p.Theirs)
	}
	o := Outcome{Check: c, OursSpread: NewSpread(ours), TheirsSpread: NewSpread(theirs),
		Ratio: NewSpread(ratios)}
	best := func(values []float64) float64 {
		if c.AtMost { // times: the shortest
			return Quantile(values, 0)
		}
		return Quantile(values, 1)
	}
	if o.OfBest = best(ours) / best(theirs); notFinite(o.OfBest) {
		o.OfBest = 0
	}
	if c.AtMost {
		o.Met = o.Ratio.Median <= c.Target
	} else {
		o.Met = o.Ratio.Median >= c.Target
	}
	o.Met = o.Met && !math.IsNaN(o.Ratio.Median)
	return o
}

// side measures one side of a comparison.
type side func(ctx context.Context) (float64, error)

// alternate makes a round of two sides whose order is free.
func alternate(ours, theirs side) func(context.Context, bool) ([]Pair, error) {
	return func(ctx context.Context, flip bool) ([]Pair, error) {
		var p Pair
		runs := []struct {
			measure side
			into    *float64
		}{{ours, &p.Ours}, {theirs, &p.Theirs}}
		if flip {
			runs[0], runs[1] = runs[1], runs[0]
		}
		for _, r := range runs {
			v, err := r.measure(ctx)
			if err != nil {
				return nil, err
			}
			*r.into = v
		}
		return []Pair{p}, nil
	}
}

// speed turns timed work into a side in tokens per second.
func speed(run func(ctx context.Context) (Work, error)) side {
	return func(ctx context.Context) (float64, error) {
		w, err := run(ctx)
		return w.PerSecond(), err
	}
}
