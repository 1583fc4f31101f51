package tokenizer

import (
	"embed"
	"encoding/json"
	"fmt"
	"slices"
)

//go:embed probes.json
var probesFile embed.FS

// Probes are short texts that tell tokenizers apart: many scripts, runs of white
// space, digits, contractions, emoji, code, line ends, text like special tokens.
// All are valid UTF-8 without NULs.
func Probes() []string {
	data, err := probesFile.ReadFile("probes.json")
	if err != nil {
		panic(err) // embedded at build time
	}
	var texts []string
	if err := json.Unmarshal(data, &texts); err != nil {
		panic(err) // a test reads it
	}
	return texts
}

// Mismatch is a text on which two tokenizers differ.
type Mismatch struct {
	Text  string
	Index int   // of the first id that differs
	A, B  []int // all ids; nil when that side failed
	Err   error // why a side failed
}

func (m *Mismatch) Error() string {
	if m.Err != nil {
		return fmt.Sprintf("tokenizers differ on %.60q: one fails: %v", m.Text, m.Err)
	}
	return fmt.Sprintf("tokenizers differ on %.60q: token %d is %s and %s", m.Text, m.Index,
		idAt(m.A, m.Index), idAt(m.B, m.Index))
}

func idAt(ids []int, i int) string {
	if i >= len(ids) {
		return "missing"
	}
	return fmt.Sprint(ids[i])
}

// Compare encodes each probe with both and returns the first difference, or nil.
func Compare(a, b func(text string) ([]int, error)) *Mismatch {
	for _, text := range Probes() {
		if m := CompareText(text, a, b); m != nil {
			return m
		}
	}
	return nil
}

// CompareText encodes one text with both; nil when the ids are the same.
func CompareText(text string, a, b func(text string) ([]int, error)) *Mismatch {
	left, errA := a(text)
	right, errB := b(text)
	switch {
	case errA != nil:
		return &Mismatch{Text: text, Err: errA}
	case errB != nil:
		return &Mismatch{Text: text, Err: errB}
	case slices.Equal(left, right):
		return nil
	}
	i := 0
	for i < min(len(left), len(right)) && left[i] == right[i] {
		i++
	}
	return &Mismatch{Text: text, Index: i, A: left, B: right}
}
