package legible

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "",
		"a\tb\nc é 漢 👍":          "a\tb\nc é 漢 👍",
		"\x1b[31mred\x07":        `\x1b[31mred\x07`,
		"good\rbad":              `good\x0dbad`,
		"line\r\nline\r":         "line\nline\\x0d",
		"\u009b31m\x7f":          `\u009b31m\u007f`,
		"\x9b31m \xff":           `\x9b31m \xff`,
		"abc\u202etxt.exe\u2066": `abc\u202etxt.exe\u2066`,
		"a\u2028b\u2029":         `a\u2028b\u2029`,
		"tag \U000e0041":         `tag \udb40\udc41`,
		"pass\u200cwd \u200dx":   `pass\u200cwd \u200dx`,
		"می\u200cخواهم 👩\u200d👩\u200d👧": "می\u200cخواهم 👩\u200d👩\u200d👧",
		"می\u200c\u200c":            "می\u200c" + `\u200c`,
		"\ufeffbom\u00adsoft\u200b": `\ufeffbom\u00adsoft\u200b`,
	} {
		assert.Equal(t, want, Visible(text))
		assert.Equal(t, want, Visible(want), "twice changes nothing")
	}
}

// Every character is text, or nothing of it is left.
func TestVisibleLeavesNoControl(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if r == '\n' || r == '\t' || !Unseen(r) {
			continue
		}
		if got := Visible("a" + string(r) + "b"); strings.ContainsRune(got, r) {
			t.Fatalf("%U is passed on: %q", r, got)
		}
	}
}

// However text is cut into writes, it is shown the same.
func TestWriterInParts(t *testing.T) {
	text := strings.Repeat("é漢👍\r\n\x1b[2J\u202e\u009bx\r", 700) + "\xe2\x80"
	for _, size := range []int{1, 2, 3, 5, 4096, len(text)} {
		var out bytes.Buffer
		w := NewWriter(&out)
		for rest := text; rest != ""; {
			n, err := w.Write([]byte(rest[:min(size, len(rest))]))
			require.NoError(t, err)
			rest = rest[n:]
		}
		require.NoError(t, w.Close())
		require.Equal(t, Visible(text), out.String(), "parts of %d bytes", size)
	}
}

// JSON that is shown on a terminal says the same.
func TestShownJSONStaysJSON(t *testing.T) {
	want := "\x1b[31m \x7f \u009b \u202e \U000e0041 \u2028"
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	require.NoError(t, enc.Encode(want))
	var got string
	require.NoError(t, json.Unmarshal([]byte(Visible(line.String())), &got))
	assert.Equal(t, want, got)
}

func FuzzVisible(f *testing.F) {
	f.Add("a\r\nb\x1b[0m\u202e\xff", 3)
	f.Fuzz(func(t *testing.T, text string, cut int) {
		var out bytes.Buffer
		w := NewWriter(&out)
		cut = max(0, min(cut, len(text)))
		for _, part := range []string{text[:cut], text[cut:]} {
			if _, err := w.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		_ = w.Close()
		if out.String() != Visible(text) {
			t.Fatalf("in two parts %q, in one %q", out.String(), Visible(text))
		}
		if strings.ContainsFunc(out.String(), func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
			t.Fatalf("%q", out.String())
		}
	})
}
