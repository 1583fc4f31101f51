package inference

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Text that can't fit is refused before all of it is read; text that might is
// read, and counts are exact.
func TestTextThatCannotFit(t *testing.T) {
	m := tinyModel(t)
	const tokensMax = 512
	letters := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte("ab \n"[rand.IntN(4)])
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"one token again and again": strings.Repeat("ab", 1<<23),
		"letters":                   letters(1 << 24),
		"one letter":                strings.Repeat("a", 1<<24),
		"spaces":                    strings.Repeat(" ", 1<<24),
		"unknown characters":        strings.Repeat("\u4e00", 1<<22),
		"a long tail":               "ab" + letters(1<<18),
	} {
		var tooLong *ContextError
		_, err := m.Tokenize(text, TokenizeOptions{TokensMax: tokensMax})
		require.ErrorAs(t, err, &tooLong, name)
		assert.True(t, tooLong.AtLeast, name)
		assert.Greater(t, tooLong.Tokens, tokensMax, name)
		assert.Equal(t, tokensMax, tooLong.Max, name)
		_, err = m.EncodeWithin([]Part{{Text: "<|im_start|>"}, {Text: text, Input: true}}, tokensMax)
		require.ErrorAs(t, err, &tooLong, name)
	}
	many := make([]Part, 0, 2<<16)
	for range 1 << 16 {
		many = append(many, Part{Text: "<|im_end|>"}, Part{Text: letters(100), Input: true})
	}
	var tooLong *ContextError
	_, err := m.EncodeWithin(many, tokensMax)
	require.ErrorAs(t, err, &tooLong)
	assert.Less(t, tooLong.Tokens, 4*tokensMax, "the first messages show it")

	ids, err := m.Tokenize(strings.Repeat("a", 600), TokenizeOptions{TokensMax: tokensMax})
	require.NoError(t, err, "a little too long is for the engine to refuse, with the exact number")
	assert.Len(t, ids, 600)
	ids, err = m.Tokenize(strings.Repeat("ab ", 1<<18), TokenizeOptions{})
	require.NoError(t, err)
	assert.Len(t, ids, 2<<18, "a count has no limit")
}
