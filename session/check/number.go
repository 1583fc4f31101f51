package check

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"agent/session/workdir"
)

// number is a number in a text, with how exactly it is written.
type number struct {
	text     string
	value    float64
	decimals int
}

const (
	numbersMax      = 4000 // of one text that are looked at
	pairNumbersMax  = 80   // newest numbers of which pairs are tried
	smallNumberMax  = 12   // whole numbers up to it are counted by eye, or number a list
	statedNumberMax = 3    // an answer with more of them is a table, not a result
)

var (
	numberWord = regexp.MustCompile(`[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?`)
	// noQuantity is what has digits and is no number: names, dates, times,
	// versions, positions in a list.
	noQuantity = regexp.MustCompile(`(?m)\b\d{4}-\d{2}(?:-\d{2})?\b|\b\d{1,2}:\d{2}(?::\d{2})?\b` +
		`|\b\d+(?:\.\d+){2,}\b|\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b` +
		`|[\p{L}_]+[\d_][\w]*|\b\d+(?:st|nd|rd|th)\b|^\s*\d+[.)]\s` +
		`|(?i:\b(?:line|row|page|step|year|version|number)s? \d+(?:\.\d+)*)`)
	scaled = regexp.MustCompile(`^\s*(?i:million|thousand|billion|[kmb]n?\b)`)
)

// numbersIn finds the quantities in a text.
func numbersIn(text string) []number {
	masked := []byte(text)
	blank := func(from, to int) {
		for i := from; i < to; i++ {
			masked[i] = ' '
		}
	}
	for _, m := range workdir.Mentions(text) {
		blank(m.Start, m.End)
	}
	for _, at := range noQuantity.FindAllIndex(masked, -1) {
		blank(at[0], at[1])
	}
	var out []number
	for _, at := range numberWord.FindAllIndex(masked, numbersMax) {
		if at[1] < len(masked) && scaled.Match(masked[at[1]:min(len(masked), at[1]+12)]) {
			continue // rounded so roughly that nothing can be said
		}
		plain := strings.NewReplacer(",", "", "−", "-", "+", "").Replace(string(masked[at[0]:at[1]]))
		v, err := strconv.ParseFloat(plain, 64)
		if err != nil || math.IsInf(v, 0) {
			continue
		}
		n := number{text: string(masked[at[0]:at[1]]), value: math.Abs(v)}
		if dot := strings.IndexByte(plain, '.'); dot >= 0 {
			n.decimals = len(plain) - dot - 1
		}
		out = append(out, n)
	}
	return out
}

// checkNumber: a number in an answer stands in the task or in what was shown, as
// it is, rounded, or as the outcome of one operation. It is only a warning where
// nothing could compute it.
func checkNumber(e Evidence) (Doubt, bool) {
	if !e.Worked {
		return Doubt{}, false
	}
	stated := numbersIn(e.Answer)
	if len(stated) == 0 || len(stated) > statedNumberMax {
		return Doubt{}, false
	}
	known := numbersIn(e.Task + "\n" + e.Seen)
	for _, n := range stated {
		if n.decimals == 0 && n.value <= smallNumberMax || derivable(n, known) {
			continue
		}
		return Doubt{Reason: "number", What: n.text, Warn: !e.CanCompute}, true
	}
	return Doubt{}, false
}

// derivable reports that n is one of the known numbers, rounded to as many
// places as n has, or what an operation on two of them gives.
func derivable(n number, known []number) bool {
	if slices.ContainsFunc(known, func(k number) bool { return n.rounds(k.value) }) {
		return true
	}
	newest := known[max(0, len(known)-pairNumbersMax):]
	for i, a := range newest {
		for _, b := range newest[i+1:] {
			x, y := a.value, b.value
			if slices.ContainsFunc([]float64{x + y, x - y, x * y, x / y, y / x, (x + y) / 2,
				100 * x / y, 100 * y / x, 100 * (x - y) / y, 100 * (y - x) / x}, n.rounds) {
				return true
			}
		}
	}
	return false
}

// rounds reports that v, rounded as n is written, is n. Zeros at the end of a
// whole number may be rounding too.
func (n number) rounds(v float64) bool {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return false
	}
	unit := math.Pow(10, -float64(n.decimals))
	if n.decimals == 0 && n.value >= 100 {
		for scale := 10.0; math.Mod(n.value, scale) == 0 && scale < n.value; scale *= 10 {
			unit = scale
		}
	}
	return math.Abs(math.Abs(v)-n.value) <= unit/2*1.000001
}
