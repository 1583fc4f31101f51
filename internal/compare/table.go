package compare

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Table is the summary of each model in words, a row for each. What nothing is
// known of is a dash.
func (r *Report) Table() (head []string, rows [][]string) {
	head = []string{"model", "done", "failed", "accuracy", "median ms", "p90 ms", "tokens/s", "prompt",
		"reply", "cost", "counts", "method"}
	for _, m := range r.Models {
		rows = append(rows, m.tableRow(len(r.Tasks)))
	}
	return head, rows
}

func (m *ModelReport) tableRow(tasks int) []string {
	s := m.Summary
	accuracy, cost := "–", "–"
	if s.Accuracy != nil {
		accuracy = fmt.Sprintf("%.1f %% (%.0f–%.0f)", 100**s.Accuracy, 100**s.AccuracyLow,
			100**s.AccuracyHigh)
	}
	if s.Cost != nil {
		cost = strings.TrimSpace(money(*s.Cost) + " " + s.Currency)
	}
	methods := strings.Join(s.Methods, ", ")
	if m.Error != "" {
		methods = "did not start"
	}
	return []string{m.Name, fmt.Sprintf("%d/%d", s.Done, tasks), strconv.Itoa(s.Failed), accuracy,
		numberOr(s.LatencyMedianMS), numberOr(s.LatencyP90MS),
		numberOr(s.TokensPerSecond), strconv.Itoa(s.Tokens.Prompt), strconv.Itoa(s.Tokens.Reply), cost,
		dash(s.Counts), dash(methods)}
}

// Pairs tells how often each two models agree, a line for each pair.
func (r *Report) Pairs() (lines []string) {
	for _, a := range r.Agreement {
		lines = append(lines, fmt.Sprintf("%s and %s agree: %s", r.Models[a.A].Name, r.Models[a.B].Name,
			agreementText(a)))
	}
	return lines
}

func agreementText(a Agreement) string {
	if a.Share == nil {
		return "no task that both answered"
	}
	return fmt.Sprintf("%.1f %% (%d/%d)", 100**a.Share, a.Same, a.Both)
}

// number is short: three digits that count, or all before the point.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100 || a == math.Trunc(a):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// money keeps two digits that count of small sums, and no exponent.
func money(v float64) string {
	digits := 2
	if v == 0 {
		return "0"
	}
	if v < 1 {
		digits = 1 + int(math.Ceil(-math.Log10(v)))
	}
	return strconv.FormatFloat(v, 'f', min(digits, 12), 64)
}

func numberOr(v *float64) string {
	if v == nil {
		return "–"
	}
	return number(*v)
}

func dash(s string) string { return cmp.Or(s, "–") }
