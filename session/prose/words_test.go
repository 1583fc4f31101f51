package prose

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestShorten(t *testing.T) {
	counted := func(s string) int { return len(strings.Fields(s)) }
	leftOut := func(lines, chars int) string { return fmt.Sprintf("[%d %d]", lines, chars) }
	long := strings.Repeat("one two three four\n", 500)
	for _, tc := range []struct {
		name, text string
		cut        bool
	}{
		{"fits", "a b c", false},
		{"lines", long, true},
		{"one line", strings.Repeat("word ", 5000), true},
		{"no spaces in runes", strings.Repeat("äöü€ ", 5000), true},
		{"invalid", strings.Repeat("\xff\xfe x ", 3000), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, cut := Shorten(tc.text, 100, counted, leftOut)
			assert.Equal(t, tc.cut, cut)
			assert.True(t, utf8.ValidString(out))
			if !cut {
				assert.Equal(t, tc.text, out)
				return
			}
			assert.LessOrEqual(t, counted(out), 100)
			valid := strings.ToValidUTF8(tc.text, "\uFFFD")
			head, rest, ok := strings.Cut(out, "\n[")
			require.True(t, ok)
			numbers, end, _ := strings.Cut(rest, "]\n")
			assert.True(t, strings.HasPrefix(valid, head))
			assert.True(t, strings.HasSuffix(valid, end))
			var lines, chars int
			_, err := fmt.Sscanf(numbers, "%d %d", &lines, &chars)
			require.NoError(t, err)
			gone := utf8.RuneCountInString(valid) - utf8.RuneCountInString(head) - utf8.RuneCountInString(end)
			assert.InDelta(t, gone, chars, 1, "the statement is exact but for the line break before it")
		})
	}
}

func TestLastLines(t *testing.T) {
	assert.Equal(t, "a\nb", LastLines("a\nb", 24))
	long := strings.TrimSuffix(strings.Repeat("line\n", 100), "\n")
	assert.Len(t, strings.Split(LastLines(long, 24), "\n"), 24)
	assert.True(t, strings.HasPrefix(LastLines(long, 24), "[… 77 …]\n"))
}

func TestUnfenced(t *testing.T) {
	for in, want := range map[string]string{
		"42":                        "42",
		"```\n42\n```":              "42",
		"```text\n4\n2\n```":        "4\n2",
		"```\n42\n```\nmore\nlines": "```\n42\n```\nmore\nlines",
		"see\n```\n42\n```":         "see\n```\n42\n```",
	} {
		assert.Equal(t, want, Unfenced(in))
	}
}
