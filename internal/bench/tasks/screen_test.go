package tasks

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func factors(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("no_%c", 'a'+i)
	}
	return out
}

// signs are +1 where a factor is on in a run, and -1 where it is off.
func signs(names []string, rounds ...int) [][]int {
	var out [][]int
	for _, round := range rounds {
		for _, off := range Screen(names, round) {
			row := make([]int, len(names))
			for i, name := range names {
				row[i] = 1
				if slices.Contains(off, name) {
					row[i] = -1
				}
			}
			out = append(out, row)
		}
	}
	return out
}

func TestAScreenIsOrthogonal(t *testing.T) {
	for _, n := range []int{1, 3, 4, 13, 15, 16} {
		names := factors(n)
		for round := range 2 {
			runs := signs(names, round)
			assert.Greater(t, len(runs), n)
			for i := range n {
				sum := 0
				for _, run := range runs {
					sum += run[i]
				}
				assert.Zero(t, sum, "factor %d of %d is off in half of the runs", i, n)
				for j := range i {
					product := 0
					for _, run := range runs {
						product += run[i] * run[j]
					}
					assert.Zero(t, product, "factors %d and %d of %d", i, j, n)
				}
			}
		}
	}
}

// Folded over, no factor looks like what two others do together.
func TestTwoRoundsTellAFactorFromAPairOfOthers(t *testing.T) {
	names := factors(13)
	runs := signs(names, 0, 1)
	for i := range names {
		for j := range names {
			for k := range j {
				sum := 0
				for _, run := range runs {
					sum += run[i] * run[j] * run[k]
				}
				assert.Zero(t, sum, "%d against %d and %d", i, j, k)
			}
		}
	}
}

func TestScreensNameTheirRuns(t *testing.T) {
	assert.Equal(t, "full", JoinWay(Screen(factors(3), 0)[0]))
	assert.Equal(t, "no_a+no_b+no_c", JoinWay(Screen(factors(3), 1)[0]))
	for _, off := range Screen(factors(5), 0) {
		assert.Equal(t, off, SplitWay(JoinWay(off)))
	}
}

// screened are the rows of two rounds, in which solved decides.
func screened(names []string, solved func(off []string, task int) bool) []Row {
	var rows []Row
	for round := range 2 {
		for _, off := range Screen(names, round) {
			for task := range 4 {
				rows = append(rows, Row{
					Task: fmt.Sprint("task", task), Configuration: JoinWay(off), Round: round, Solved: solved(off, task),
					Steps: 2, ProcessorMS: 500 * int64(1+len(off)),
				})
			}
		}
	}
	return rows
}

// What a factor does is found with its sign and size, and the others do nothing.
func TestEffectsAreThoseOfTheFactors(t *testing.T) {
	names := factors(5)
	rows := screened(names, func(off []string, task int) bool {
		switch task {
		case 0:
			return !slices.Contains(off, "no_b") // is needed
		case 1:
			return slices.Contains(off, "no_d") // does harm
		default:
			return task == 2
		}
	})
	got := Effects(rows, names)
	require.Len(t, got, 5)
	for i, want := range []float64{0, 1, 0, -1, 0} {
		assert.InDelta(t, want, got[i].Gain, 1e-9, got[i].Factor)
		assert.Greater(t, got[i].Error, 0.0)
		assert.Less(t, got[i].Error, 0.5)
		assert.Equal(t, 32, got[i].With.Runs)
		assert.Equal(t, 32, got[i].Without.Runs)
		assert.InDelta(t, 0.5, got[i].ProcessorWithout-got[i].ProcessorWith, 1e-9, "each absence costs half a second here")
	}
	assert.Equal(t, Share{Solved: 20, Runs: 32}, got[1].With)
	assert.Equal(t, Share{Solved: 12, Runs: 32}, got[1].Without)

	var out bytes.Buffer
	report := &Report{Rows: rows, Tasks: 4, Rounds: 2, Effects: got}
	require.NoError(t, report.Print(&out))
	assert.Regexp(t, `(?m)^b +20 of 32 +12 of 32 +\+1\.00 ± 0\.`, out.String())
	assert.NotContains(t, out.String(), "CONFIGURATION")
}

func TestEffectsOfNothing(t *testing.T) {
	for _, e := range Effects(nil, factors(2)) {
		assert.Zero(t, e.Gain)
		assert.Zero(t, e.Error)
	}
}
