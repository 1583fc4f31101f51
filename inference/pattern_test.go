package inference

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A pattern that can't be enforced is refused for what is in it.
func TestPatternsAreRefusedForWhatIsInThem(t *testing.T) {
	convert := func(schema []byte) (string, error) { // knows no \S, \b and (?
		for _, unknown := range []string{`\\S`, `\\b`, `(?`} {
			if strings.Contains(string(schema), unknown) {
				return anyString, nil
			}
		}
		return `root ::= "x"`, nil
	}
	for pattern, want := range map[string]string{
		`^[a-z]+$`:     "",
		`^\S+$`:        `\S is not known`,
		`^\d+\bx$`:     `\b is not known`,
		`^(?=x)[a-z]$`: "no look-around",
		`[a-z]+`:       "must begin with ^",
	} {
		err := checkPattern(pattern, convert)
		if want == "" {
			assert.NoError(t, err)
		} else {
			assert.ErrorContains(t, err, want, pattern)
		}
	}
}
