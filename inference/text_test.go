package inference

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

// gateAll pushes data in pieces of n bytes (0: all at once).
func gateAll(data []byte, n int, stops []string) (out string, stopped bool) {
	g := newTextGate(stops)
	if n == 0 {
		n = max(len(data), 1)
	}
	for len(data) > 0 && !g.stopped {
		piece := data[:min(n, len(data))]
		out, data = out+g.push(piece), data[len(piece):]
	}
	return out + g.flush(), g.stopped
}

func TestTextGate(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		stops      []string
		want       string
		stopped    bool
	}{
		{"no stop", "héllo→", nil, "héllo→", false},
		{"stop", "ab</s>c", []string{"</s>"}, "ab", true},
		{"almost", "ab</sc", []string{"</s>"}, "ab</sc", false},
		{"first complete wins", "abcd", []string{"bcd", "c"}, "ab", true},
		{"longer of two", "xab", []string{"b", "ab"}, "x", true},
		{"broken bytes", "a\xff\xfeb", nil, "a\uFFFD\uFFFDb", false},
		{"half a rune at the end", "a\xe2\x86", nil, "a\uFFFD\uFFFD", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for n := range 5 {
				got, stopped := gateAll([]byte(tc.text), n, tc.stops)
				assert.Equal(t, tc.want, got, "in pieces of %d", n)
				assert.Equal(t, tc.stopped, stopped)
			}
		})
	}
}

func TestTextGateTellsWhichStop(t *testing.T) {
	g := newTextGate([]string{"END", "\n\n", "ND"})
	g.push([]byte("a\nE"))
	assert.Empty(t, g.by)
	g.push([]byte("ND\n\n"))
	assert.Equal(t, "END", g.by)
}

// FuzzTextGate: what comes out does not depend on the pieces, is valid UTF-8,
// has no stop string in it, and is all of the text up to the first of them.
func FuzzTextGate(f *testing.F) {
	f.Add([]byte("hello</s>world"), "</s>", "\n\n", 3)
	f.Add([]byte("aaab"), "aab", "ab", 1)
	f.Add([]byte("naïve→x\xff"), "→", "ï", 2)
	f.Fuzz(func(t *testing.T, data []byte, a, b string, n int) {
		stops := []string{a, b}
		whole, stopped := gateAll(data, 0, stops)
		pieces, stopped2 := gateAll(data, max(n%8, 1), stops)
		if whole != pieces || stopped != stopped2 {
			t.Fatalf("whole %q (%v), in pieces of %d %q (%v)", whole, stopped, n%8, pieces, stopped2)
		}
		if !utf8.ValidString(whole) {
			t.Fatalf("%q is no UTF-8", whole)
		}
		if text := string(data); utf8.ValidString(text) && utf8.ValidString(a) && utf8.ValidString(b) {
			if !strings.HasPrefix(text, whole) || !stopped && whole != text {
				t.Fatalf("%q is not the right prefix of %q", whole, text)
			}
			for _, s := range stops {
				if s != "" && strings.Contains(whole, s) {
					t.Fatalf("%q contains the stop string %q", whole, s)
				}
			}
		}
	})
}
