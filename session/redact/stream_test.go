package redact

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// streamed is what is told of a text that comes in pieces of so many bytes.
func streamed(s Scrubber, text string, size int) (told string, tokens int) {
	st := NewStream(s, "", func(text string, n int) { told += text; tokens += n })
	for text != "" {
		n := min(size, len(text))
		for n < len(text) && text[n]&0xC0 == 0x80 { // pieces are whole characters
			n++
		}
		st.Add(text[:n], 1)
		text = text[n:]
	}
	st.End()
	return told, tokens
}

// A secret that comes in pieces is hidden as one that comes at once.
func TestStreamsHideSecrets(t *testing.T) {
	byValue := New(map[string]string{"token": "correct horse battery staple", "other": "Grüße-42!"})
	forms := append(secretForms(),
		secretForm{"value of several words", "it is correct horse battery staple, see", "horse battery", false},
		secretForm{"value beyond ASCII", "say Grüße-42! and go", "Grüße-42", false},
	)
	for _, tc := range forms {
		if tc.told { // what makes it one stands in another line
			continue
		}
		for _, size := range []int{1, 3, 7} {
			told, tokens := streamed(byValue, tc.text, size)
			assert.NotContains(t, told, tc.secret, "%s in pieces of %d", tc.name, size)
			assert.Contains(t, told, "[secret", tc.name)
			if tokens > 0 { // a piece that came last may be a part of a word that was hidden
				assert.LessOrEqual(t, tokens, len(tc.text))
			}
		}
	}
}

// Text without secrets is told whole, and soon.
func TestStreamsTellEverything(t *testing.T) {
	s := New(map[string]string{"token": "correct horse battery staple"})
	for _, text := range []string{
		"", "a", "one two  three\n\nfour", "it is correct horse battery", "日本語の文章です。", "-----BEGIN of a long line\nand another",
		strings.Repeat("word ", 10_000), strings.Repeat("x", 3*streamBytesMax), "ends with a line\n",
	} {
		for _, size := range []int{1, 5, 1 << 20} {
			told, _ := streamed(s, text, size)
			assert.Equal(t, text, told)
		}
	}
	var told string
	st := NewStream(s, "Note: it is", func(text string, _ int) { told += text })
	st.Add(" now", 1)
	st.Add(" well", 1)
	assert.Equal(t, " now ", told, "a word later")
}

// What stands before a text belongs to it.
func TestStreamsGoOnWithALine(t *testing.T) {
	var told string
	st := NewStream(Scrubber{}, "x\napi_key: ", func(text string, _ int) { told += text })
	st.Add(random36+" is it", 1)
	st.End()
	assert.NotContains(t, told, random36)
	assert.Contains(t, told, "is it")
}
