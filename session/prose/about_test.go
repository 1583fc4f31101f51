package prose

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLinesAbout(t *testing.T) {
	log := ""
	for i := range 200 {
		log += fmt.Sprintf("10:%02d order %d was shipped to a customer\n", i%60, i)
	}
	lines := strings.Split(log, "\n")
	lines[120] = "  11:01 order 120 was REFUSED: card expired "
	lines[40] = "10:40 the printer is out of paper"
	log = strings.Join(lines, "\n")
	counted := func(s string) int { return len(strings.Fields(s)) }
	odd := []string{"10:40 the printer is out of paper", "11:01 order 120 was REFUSED: card expired"}
	for _, tc := range []struct {
		name, query string
		max         int
		want        []string
	}{
		{"rare words", "Which orders were refused?", 50, odd},
		{"several, in their order", "refusal of paper", 50, odd},
		{"room for the best alone", "Which orders were refused?", 8, odd[1:]},
		{"the best where there is room for one", "paper printers, and what was refused", 9, []string{"10:40 the printer is out of paper"}},
		{"a number", "What happened to order 77?", 9, []string{"10:17 order 77 was shipped to a customer"}},
		{"words of every line say nothing", "order shipped customer", 50, odd},
		{"none: only what is unlike the others", "elephants", 50, odd},
		{"no room", "refused", 2, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, append([]string(nil), LinesAbout(tc.query, log, tc.max, counted)...))
		})
	}
	assert.Empty(t, LinesAbout("a", "one line about a", 50, counted))
	plain := "Rosa painted the gate green.\nNobody saw the old dog again.\nWinter came early that year.\nThen everything changed for them."
	assert.Empty(t, LinesAbout("elephants", plain, 50, counted), "where all lines differ none is odd")
}

func TestFirstChunk(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		n          int
		want       string
	}{
		{"all", "ab\ncd", 10, "ab\ncd"},
		{"to a line's end", "abcd\nefgh\nij", 8, "abcd\n"},
		{"within a long line", "abcdefgh", 3, "abc"},
		{"a line's end too near", "a\nbcdefghij", 8, "a\nbcdefg"},
		{"whole runes", "äöüß", 2, "äö"},
	} {
		assert.Equal(t, tc.want, FirstChunk(tc.text, tc.n), tc.name)
	}
}
