package tokenizer

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The library takes 100 to 150 bytes of memory for each byte of text, so long
// texts are encoded in pieces, cut only where the tokenizer itself always cuts.
const (
	pieceBytes = 128 << 10 // a piece is cut at the first safe place after this
	// A stretch without a safe place to cut is at most this. The library's pattern
	// matcher gives up after 10,000,000 steps back within one match, and then
	// aborts the program: 11 MB of spaces do that with the patterns of Qwen and
	// Llama. Without patterns only memory counts.
	pieceBytesMax            = 4 << 20
	pieceBytesMaxPatternless = 16 << 20
)

// pieces cuts text so that the ids of the pieces, one after the other, are the
// ids of the text; one piece when the tokenizer is not known to allow it.
func (d definition) pieces(text string) []string {
	if !d.cuts {
		return []string{text}
	}
	var out []string
	for len(text) > pieceBytes {
		i := safeCut(text, pieceBytes)
		if i < 0 {
			break
		}
		out = append(out, text[:i])
		text = text[i:]
	}
	return append(out, text)
}

// safeCut finds the first place at or after from where cutting changes nothing;
// -1 when there is none. There are two kinds: "x\n|y" with a line that does not
// end in a space and a next that begins with a letter, and "x| y" with single
// ASCII letters around one space. In each of the knownSplits both sides come out
// the same alone and together; normalizers and added tokens that reach across
// were excluded by cuttable.
func safeCut(text string, from int) int {
	for i := max(from, 2); i < len(text)-1; i++ {
		switch {
		case text[i-1] == '\n' && endsWord(text[:i-1]) && startsWord(text[i:]):
			return i
		case text[i] == ' ' && asciiLetter(text[i-1]) && asciiLetter(text[i+1]):
			return i
		}
	}
	return -1
}

func asciiLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func endsWord(s string) bool {
	r, _ := utf8.DecodeLastRuneInString(s)
	return r > ' ' && r < 0x7f || unicode.IsLetter(r)
}

func startsWord(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsLetter(r)
}

// step is a normalizer or pre-tokenizer of a tokenizer.json.
type step struct {
	Type           string `json:"type"`
	Normalizers    []step `json:"normalizers"`
	Pretokenizers  []step `json:"pretokenizers"`
	AddPrefixSpace bool   `json:"add_prefix_space"`
	UseRegex       *bool  `json:"use_regex"`
	Behavior       string `json:"behavior"`
	Invert         bool   `json:"invert"`
	Pattern        struct {
		Regex string `json:"Regex"`
	} `json:"pattern"`
}

// flat lists the steps of a sequence.
func (s step) flat() []step {
	if s.Type != "Sequence" {
		return []step{s}
	}
	return append(s.Normalizers, s.Pretokenizers...)
}

// cuttable reports whether safeCut holds for a tokenizer: its parts are of the
// known kinds, and no added token reaches across a cut.
func cuttable(top map[string]json.RawMessage) bool {
	var normalizer, pretokenizer *step
	var added []struct {
		Content             string
		Lstrip              bool
		SingleWord          bool `json:"single_word"`
		Normalized, Special bool
	}
	if json.Unmarshal(orNull(top["normalizer"]), &normalizer) != nil ||
		json.Unmarshal(orNull(top["pre_tokenizer"]), &pretokenizer) != nil ||
		json.Unmarshal(orNull(top["added_tokens"]), &added) != nil {
		return false
	}
	for _, a := range added {
		if a.Lstrip || a.SingleWord || strings.ContainsAny(a.Content, " \n") {
			return false
		}
	}
	if normalizer != nil && (normalizer.Type != "NFC" && normalizer.Type != "Sequence" ||
		normalizer.Type == "Sequence" && len(normalizer.Normalizers) > 0) {
		return false
	}
	return pretokenizer != nil && splitsWords(pretokenizer.flat())
}

// splitsWords recognises byte-level pre-tokenizers that split by a known pattern.
func splitsWords(steps []step) bool {
	splits := false
	for i, s := range steps {
		last := i == len(steps)-1
		switch {
		case s.Type == "Digits":
		case s.Type == "Split" && s.Behavior == "Isolated" && !s.Invert &&
			slices.Contains(knownSplits[:], s.Pattern.Regex):
			splits = true
		case s.Type == "ByteLevel" && last && !s.AddPrefixSpace:
			splits = splits || s.UseRegex == nil || *s.UseRegex
		default:
			return false
		}
	}
	return splits
}

func orNull(v json.RawMessage) json.RawMessage {
	if len(v) == 0 {
		return json.RawMessage("null")
	}
	return v
}

// patterns lists the regular expressions anywhere in a part of a tokenizer.json.
func patterns(part any) []string {
	var out []string
	switch part := part.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(part)) {
			v := part[key]
			if text, ok := v.(string); ok && key == "Regex" {
				out = append(out, text)
			}
			out = append(out, patterns(v)...)
		}
	case []any:
		for _, v := range part {
			out = append(out, patterns(v)...)
		}
	}
	return out
}

// explosive reports a pattern with one unbounded repetition inside another, on
// which a backtracking matcher may take exponential time and the library aborts.
func explosive(pattern string) bool {
	var inner []bool // for each open group: it holds an unbounded repetition
	closed := false  // the last atom was a group that does
	for i := 0; i < len(pattern); i++ {
		unbounded := false
		switch pattern[i] {
		case '\\':
			i++
		case '[':
			i = classEnd(pattern, i)
		case '(':
			inner = append(inner, false)
		case ')':
			if len(inner) > 0 {
				closed = inner[len(inner)-1]
				inner = inner[:len(inner)-1]
				if closed && len(inner) > 0 {
					inner[len(inner)-1] = true
				}
			}
			continue
		case '*', '+':
			unbounded = true
		case '{':
			end := strings.IndexByte(pattern[i:], '}')
			unbounded = end > 0 && pattern[i+end-1] == ','
		}
		if unbounded && closed {
			return true
		}
		if unbounded && len(inner) > 0 {
			inner[len(inner)-1] = true
		}
		closed = false
	}
	return false
}

// classEnd is the place of the bracket that ends a character class.
func classEnd(pattern string, i int) int {
	depth := 0
	for ; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
		case '[':
			depth++
		case ']':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return i
}
