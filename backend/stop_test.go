package backend

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

// TestStopFilterTellsWhich: of several stop strings the one that ended the text is known.
func TestStopFilterTellsWhich(t *testing.T) {
	f := NewStopFilter([]string{"END", "\n\n", "ND"})
	f.Push("a\nE")
	assert.Empty(t, f.By())
	f.Push("ND\n\n")
	assert.Equal(t, "END", f.By())
}

// pushAll filters text in pieces of n bytes (n <= 0: at once).
func pushAll(text string, n int, stops []string) (string, bool) {
	f := NewStopFilter(stops)
	var out strings.Builder
	for len(text) > 0 {
		cut := len(text)
		if n > 0 {
			cut = min(n, cut)
		}
		s, stopped := f.Push(text[:cut])
		out.WriteString(s)
		if stopped {
			return out.String() + f.Flush(), true
		}
		text = text[cut:]
	}
	return out.String() + f.Flush(), false
}

func TestStopFilter(t *testing.T) {
	tests := []struct {
		name, text string
		stops      []string
		want       string
		stopped    bool
	}{
		{"no stops", "hello", nil, "hello", false},
		{"empty stop ignored", "hello", []string{""}, "hello", false},
		{"not present", "hello", []string{"END"}, "hello", false},
		{"at the end", "helloEND", []string{"END"}, "hello", true},
		{"in the middle", "a\n\nb", []string{"\n\n"}, "a", true},
		{"at the start", "ENDx", []string{"END"}, "", true},
		{"partial at the end is text", "helloEN", []string{"END"}, "helloEN", false},
		{"false start then real", "ENENDx", []string{"END"}, "EN", true},
		{"self overlapping", "aaab", []string{"aab"}, "a", true},
		{"complete first wins", "abcd", []string{"abcd", "bc"}, "a", true},
		{"same end, longer wins", "xabc", []string{"c", "abc"}, "x", true},
		{"runes", "naïve→stop", []string{"→"}, "naïve", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for n := 0; n <= len(tt.text); n++ {
				got, stopped := pushAll(tt.text, n, tt.stops)
				assert.Equal(t, tt.want, got, "in pieces of %d bytes", n)
				assert.Equal(t, tt.stopped, stopped, "in pieces of %d bytes", n)
			}
		})
	}
}

func TestStopFilterHoldsNoMoreThanNeeded(t *testing.T) {
	f := NewStopFilter([]string{"</s>"})
	out, _ := f.Push("hello <")
	assert.Equal(t, "hello ", out)
	out, _ = f.Push("b>")
	assert.Equal(t, "<b>", out)
	assert.Empty(t, f.Flush())
}

// FuzzStopFilter: the result does not depend on how the text was divided, has
// no stop string in it, and is a prefix of the text.
func FuzzStopFilter(f *testing.F) {
	f.Add("hello</s>world", "</s>", "\n\n", 3)
	f.Add("aaab", "aab", "ab", 1)
	f.Add("naïve→x", "→", "ï", 2)
	f.Fuzz(func(t *testing.T, text, a, b string, n int) {
		stops := []string{a, b}
		whole, stopped := pushAll(text, 0, stops)
		pieces, stopped2 := pushAll(text, n%8, stops)
		if whole != pieces || stopped != stopped2 {
			t.Fatalf("whole %q (%v), in pieces of %d %q (%v)", whole, stopped, n%8, pieces, stopped2)
		}
		if !strings.HasPrefix(text, whole) || !stopped && whole != text {
			t.Fatalf("%q is not the right prefix of %q", whole, text)
		}
		for _, s := range stops {
			if s != "" && strings.Contains(whole, s) {
				t.Fatalf("%q contains the stop string %q", whole, s)
			}
		}
		if utf8.ValidString(text) && utf8.ValidString(a) && utf8.ValidString(b) && !utf8.ValidString(whole) {
			t.Fatalf("%q was cut inside a rune", whole)
		}
	})
}
