package tasks

import (
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"strings"
	"text/tabwriter"
)

// Screen is a two-level fractional factorial design: in each of its runs half
// of the factors are off, so that every run tells something of every factor,
// and a factor is not only seen beside all others at work. The runs are the
// rows of a Sylvester-Hadamard matrix, of a power of two that is larger than
// the number of factors; odd rounds take the complement ("fold over"), without
// which a factor's effect could not be told from what two others do together.
// Box, Hunter, Hunter, "Statistics for Experimenters", chapter 6.
//
// The result has a row for each run: which factors are off.
func Screen(factors []string, round int) [][]string {
	runs := 1 << bits.Len(uint(len(factors)))
	out := make([][]string, runs)
	for run := range runs {
		for i, factor := range factors {
			off := bits.OnesCount(uint(run&(i+1)))%2 == 1
			if off != (round%2 == 1) {
				out[run] = append(out[run], factor)
			}
		}
	}
	return out
}

// JoinWay makes what is off in a run the name of a configuration: "full" where
// nothing is.
func JoinWay(off []string) string {
	if len(off) == 0 {
		return "full"
	}
	return strings.Join(off, "+")
}

// SplitWay is the inverse of [JoinWay].
func SplitWay(name string) []string {
	if name == "full" {
		return nil
	}
	return strings.Split(name, "+")
}

// Effect is the gain of one factor, averaged over the settings of the others.
type Effect struct {
	Factor  string `json:"factor"` // by the name of its absence
	With    Share  `json:"with"`
	Without Share  `json:"without"`
	// Gain is how many more tasks of a suite were solved with it, and Error that
	// figure's standard error: of a linear model with an effect of each task and
	// of each factor.
	Gain  float64 `json:"tasks_gained"`
	Error float64 `json:"standard_error"`
	// Means over the runs with and without it, but a sum for invalid replies.
	StepsWith        float64 `json:"steps_with"`
	StepsWithout     float64 `json:"steps_without"`
	ProcessorWith    float64 `json:"processor_seconds_with"`
	ProcessorWithout float64 `json:"processor_seconds_without"`
	InvalidWith      int     `json:"invalid_replies_with"`
	InvalidWithout   int     `json:"invalid_replies_without"`
}

// Effects are the effects of all factors, from the rows of whole rounds of a [Screen].
func Effects(rows []Row, factors []string) []Effect {
	perTask := map[string]Share{}
	for _, r := range rows {
		perTask[r.Task] = perTask[r.Task].add(r)
	}
	effects := make([]Effect, len(factors))
	for i, factor := range factors {
		effects[i] = effectOf(rows, factor)
	}
	// What neither the task nor a factor explains is chance.
	residual := 0.0
	for _, r := range rows {
		s := perTask[r.Task]
		expected := float64(s.Solved) / float64(s.Runs)
		for i, factor := range factors {
			half := effects[i].Gain / 2
			if slices.Contains(SplitWay(r.Configuration), factor) {
				half = -half
			}
			expected += half
		}
		residual += square(oneIf(r.Solved) - expected)
	}
	freedom := float64(len(rows) - len(perTask) - len(factors))
	for i := range effects {
		e := &effects[i]
		if freedom > 0 {
			e.Error = math.Sqrt(residual / freedom * (1/float64(e.With.Runs) + 1/float64(e.Without.Runs)))
		}
		e.Gain *= float64(len(perTask))
		e.Error *= float64(len(perTask))
	}
	return effects
}

// effectOf gives a factor's means; its Gain is still that of one task.
func effectOf(rows []Row, factor string) Effect {
	e := Effect{Factor: factor}
	for _, r := range rows {
		share, steps, processor, invalid := &e.With, &e.StepsWith, &e.ProcessorWith, &e.InvalidWith
		if slices.Contains(SplitWay(r.Configuration), factor) {
			share, steps, processor, invalid = &e.Without, &e.StepsWithout, &e.ProcessorWithout,
				&e.InvalidWithout
		}
		*share = share.add(r)
		*steps += float64(r.Steps)
		*processor += float64(max(0, r.ProcessorMS)) / 1000
		*invalid += r.InvalidReplies
	}
	e.StepsWith /= float64(max(1, e.With.Runs))
	e.ProcessorWith /= float64(max(1, e.With.Runs))
	e.StepsWithout /= float64(max(1, e.Without.Runs))
	e.ProcessorWithout /= float64(max(1, e.Without.Runs))
	e.Gain = e.With.rate() - e.Without.rate()
	return e
}

func (s Share) rate() float64 { return float64(s.Solved) / float64(max(1, s.Runs)) }

func square(x float64) float64 { return x * x }

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// printEffects writes what each factor did.
func (r *Report) printEffects(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t,
		"FACTOR\tSOLVED WITH\tWITHOUT\tGAIN IN TASKS\tINVALID WITH\tWITHOUT\tSTEPS WITH\tWITHOUT\tPROCESSOR "+
			"WITH\tWITHOUT")
	for _, e := range r.Effects {
		fmt.Fprintf(t, "%s\t%d of %d\t%d of %d\t%+.2f ± %.2f\t%d\t%d\t%.2f\t%.2f\t%.1f s\t%.1f s\n",
			strings.TrimPrefix(e.Factor, "no_"), e.With.Solved, e.With.Runs,
			e.Without.Solved, e.Without.Runs, e.Gain, e.Error, e.InvalidWith, e.InvalidWithout, e.StepsWith,
			e.StepsWithout, e.ProcessorWith, e.ProcessorWithout)
	}
	return t.Flush()
}
