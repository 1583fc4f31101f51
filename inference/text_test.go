package inference

import (
	"slices"
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
		{"half a rune at the end", "a\xe2\x86", nil, "a\uFFFD", false},
		{"three quarters of a rune at the end", "a\xf0\x9f\x91", nil, "a\uFFFD", false},
		{"bad bytes and half a rune", "\xff\xff\xe2", nil, "\uFFFD\uFFFD\uFFFD", false},
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

// Log-probabilities go out with their text, and end where it does.
func TestLogprobsEndWithTheText(t *testing.T) {
	for _, tt := range []struct {
		name   string
		pieces []string
		stop   string
		want   []string // the texts of the tokens
		text   string
	}{
		{"no stop string", []string{" one", ","}, "", []string{" one", ","}, " one,"},
		{"at a token's start", []string{" one", " END"}, " END", []string{" one"}, " one"},
		{"within a token", []string{" one", " three", ",", " four"}, "three, four", []string{" one", " "}, " one "},
		{"over several tokens", []string{"a", "E", "N", "D"}, "END", []string{"a"}, "a"},
		{"at once", []string{"END"}, "END", nil, ""},
		{"begins like it", []string{"a", "EN", "d"}, "END", []string{"a", "EN", "d"}, "aENd"},
		{"a character of two tokens", []string{"a", "\xc3", "\xa9", "END"}, "END", []string{"a", "\xc3", "\xa9"}, "aé"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &reply{gate: newTextGate([]string{tt.stop}), out: &stream{ready: make(chan struct{}, 1)}}
			for i, piece := range tt.pieces {
				out := Output{ID: int32(i), Text: r.gate.push([]byte(piece)), Logprob: &TokenLogprob{Text: []byte(piece)}}
				if i == len(tt.pieces)-1 {
					out.Finish = FinishStop
					out.Text += r.gate.flush()
				}
				r.push(out, len(piece))
			}
			var text string
			var tokens []string
			for _, out := range r.out.buf {
				if text += out.Text; out.Logprob != nil {
					tokens = append(tokens, string(out.Logprob.Text))
				}
			}
			assert.Len(t, slices.DeleteFunc(r.out.buf, func(o Output) bool { return o.ID < 0 }), len(tt.pieces), "each token counts")
			assert.Equal(t, tt.want, tokens)
			assert.Equal(t, tt.text, text)
		})
	}
}
