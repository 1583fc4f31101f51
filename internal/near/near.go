// Package near finds the name that was probably meant, for error messages.
package near

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

const nameBytesMax = 200 // longer names are compared with nothing

// Name is the known name most like the given one, case aside, and empty when none
// is close enough to be what was meant. A part of a name is as good as a typo.
func Name(name string, known []string) string {
	if name == "" || len(name) > nameBytesMax {
		return ""
	}
	name = strings.ToLower(name)
	best, bestDistance := "", 1+typosAllowed(len(name))
	for _, candidate := range slices.Sorted(slices.Values(known)) {
		if len(candidate) > nameBytesMax {
			continue
		}
		lower := strings.ToLower(candidate)
		d := levenshtein.ComputeDistance(name, lower)
		if len(name) >= partBytesMin && strings.Contains(lower, name) {
			d = min(d, 1)
		}
		if d < bestDistance && d < max(len(candidate), len(name)) {
			best, bestDistance = candidate, d
		}
	}
	return best
}

const partBytesMin = 4 // shorter parts are in too many names

// typosAllowed is how many letters of a name of n may be wrong.
func typosAllowed(n int) int {
	switch {
	case n <= 3:
		return 1
	case n <= 6:
		return 2
	}
	return n / 3
}

// Hint is a clause for the end of an error message, empty when no name is near.
func Hint(name string, known []string) string {
	if n := Name(name, known); n != "" {
		return fmt.Sprintf(" (did you mean %q?)", n)
	}
	return ""
}
