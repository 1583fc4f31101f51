package tokenizer

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tiny is a byte-level vocabulary of nine tokens.
func tiny() Vocab {
	return Vocab{
		Model: "gpt2", Pre: "smollm", BOS: 1, EOS: 2, UNK: -1,
		Tokens: []string{"<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b", "ab", "Ġ", "<think>", ""},
		Types:  []TokenType{3, 3, 3, 1, 1, 1, 1, 4, 5},
		Merges: []string{"a b", "a b"},
	}
}

func TestFromGGUFRefuses(t *testing.T) {
	for _, tt := range []struct {
		name        string
		change      func(v *Vocab)
		want        string
		unsupported bool
	}{
		{"other tokenizer", func(v *Vocab) { v.Model = "bert" }, `tokenizer "bert" is not supported yet`, true},
		{"other pre-tokenizer", func(v *Vocab) { v.Pre = "tekken" }, `pre-tokenizer "tekken"`, true},
		{"no pre-tokenizer", func(v *Vocab) { v.Pre = "" }, `pre-tokenizer "default"`, true},
		{"no tokens", func(v *Vocab) { v.Tokens, v.Types = nil, nil }, "the vocabulary is empty", false},
		{"types", func(v *Vocab) { v.Types = v.Types[:3] }, "3 token types for 9 tokens", false},
		{"scores", func(v *Vocab) { v.Scores = []float32{1} }, "1 scores for 9 tokens", false},
		{"token twice", func(v *Vocab) { v.Tokens[4] = "a" }, `tokens 3 and 4 are both "a"`, false},
		{"token not UTF-8", func(v *Vocab) { v.Tokens[4] = "\xff" }, "token 4 is", false},
		{"token with NUL", func(v *Vocab) { v.Tokens[4] = "a\x00" }, "token 4 is", false},
		{"empty merge", func(v *Vocab) { v.Merges[0] = "" }, "merge 0 is empty", false},
		{"half a merge", func(v *Vocab) { v.Merges[0] = "ab" }, "must be two tokens", false},
		{"merge of strangers", func(v *Vocab) { v.Merges[0] = "a x" }, `"x" is no token`, false},
		{"merge to a stranger", func(v *Vocab) { v.Merges[0] = "b a" }, `"ba" is no token`, false},
		{"begin token", func(v *Vocab) { v.AddBOS = true; v.BOS = -1 }, "id -1 is not in the vocabulary", false},
		{"end token", func(v *Vocab) { v.AddEOS = true; v.EOS = 9 }, "id 9 is not in the vocabulary", false},
		{"no scores", func(v *Vocab) { v.Model = "llama" }, "no scores", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := tiny()
			tt.change(&v)
			_, err := FromGGUF(v)
			require.ErrorContains(t, err, tt.want)
			var u *UnsupportedError
			assert.Equal(t, tt.unsupported, errors.As(err, &u))
			assert.NotEmpty(t, err.(interface{ Hint() string }).Hint())
		})
	}
}

func TestFromGGUFFile(t *testing.T) {
	v := tiny()
	v.AddBOS = true
	data, err := FromGGUF(v)
	require.NoError(t, err)
	var file struct {
		AddedTokens []struct {
			ID      int
			Content string
			Special bool
		} `json:"added_tokens"`
		Model struct {
			Vocab  map[string]int
			Merges [][2]string
		}
		PostProcessor struct{ Type string } `json:"post_processor"`
	}
	require.NoError(t, json.Unmarshal(data, &file))
	require.Len(t, file.AddedTokens, 4)
	assert.Equal(t, "<think>", file.AddedTokens[3].Content)
	assert.False(t, file.AddedTokens[3].Special, "the text of a user-defined token always becomes the token")
	assert.True(t, file.AddedTokens[0].Special)
	assert.Equal(t, [][2]string{{"a", "b"}}, file.Model.Merges)
	assert.Equal(t, 8, file.Model.Vocab["[EMPTY_8]"])
	assert.Equal(t, "TemplateProcessing", file.PostProcessor.Type)
}

func TestScoredMerges(t *testing.T) {
	v := Vocab{Tokens: []string{"a", "b", "c", "ab", "bc", "abc"}, Scores: []float32{0, 0, 0, -1, -2, -1}}
	ids, err := v.index()
	require.NoError(t, err)
	assert.Equal(t, [][2]string{{"ab", "c"}, {"a", "bc"}, {"a", "b"}, {"b", "c"}}, v.scoredMerges(ids))
}

func TestProbes(t *testing.T) {
	probes := Probes()
	assert.Greater(t, len(probes), 50)
	for _, p := range probes {
		assert.True(t, utf8.ValidString(p) && p != "" && !strings.Contains(p, "\x00"), "%q", p)
	}
}

func TestCompare(t *testing.T) {
	bytesOf := func(text string) ([]int, error) {
		var ids []int
		for _, b := range []byte(text) {
			ids = append(ids, int(b))
		}
		return ids, nil
	}
	assert.Nil(t, Compare(bytesOf, bytesOf))
	short := func(text string) ([]int, error) { ids, _ := bytesOf(text); return ids[:len(ids)-1], nil }
	m := CompareText("abc", bytesOf, short)
	require.NotNil(t, m)
	assert.Equal(t, 2, m.Index)
	assert.ErrorContains(t, m, "token 2 is 99 and missing")
	failing := func(string) ([]int, error) { return nil, errors.New("no luck") }
	assert.ErrorContains(t, Compare(bytesOf, failing), "no luck")
}

func TestSafeCut(t *testing.T) {
	for _, tt := range []struct {
		text string
		from int
		want int
	}{
		{"foo\nbar", 1, 4}, {"foo bar", 1, 3}, {"foo  bar", 1, -1}, {"foo \nbar", 1, -1}, {"foo\n bar", 1, -1},
		{"foo\n\nbar", 1, -1}, {"1 a", 1, -1}, {"a 1", 1, -1}, {"中\n文", 1, 4}, {"", 1, -1}, {"a", 1, -1}, {"foo bar", 4, -1}, {"foo\n/bar", 1, -1},
	} {
		assert.Equal(t, tt.want, safeCut(tt.text, tt.from), "%q from %d", tt.text, tt.from)
	}
}

func TestExplosive(t *testing.T) {
	for pattern, want := range map[string]bool{
		splitGPT2: false, splitLlama3: false, splitQwen2: false, `(a+)+b`: true, `((ab)*c)*`: true, `(a|b{2,})+`: true, `(a{2,3})+`: false,
		`[(a+)]+`: false, `\(a+\)+`: false, `(?:\d{3})*\b`: false, `[[a]+](b)+`: false, `)(+`: false, `(a+)?`: false, `[`: false, `\`: false, `x{`: false,
	} {
		assert.Equal(t, want, explosive(pattern), pattern)
	}
}

func FuzzFromGGUF(f *testing.F) {
	f.Add("a\nb\nab", "a b", "gpt2", "smollm", 0, true)
	f.Add("▁\na\n▁a\n<0x41>", "", "llama", "", 3, false)
	f.Fuzz(func(t *testing.T, tokens, merges, model, pre string, bos int, add bool) {
		v := Vocab{Model: model, Pre: pre, Tokens: strings.Split(tokens, "\n"), BOS: bos, EOS: -1, UNK: bos, AddBOS: add, AddSpacePrefix: add}
		if merges != "" {
			v.Merges = strings.Split(merges, "\n")
		}
		v.Scores = make([]float32, len(v.Tokens))
		data, err := FromGGUF(v)
		if err != nil {
			return
		}
		tok, err := FromBytes(data)
		var e *Error
		if errors.As(err, &e) && strings.Contains(e.What, "without the native") {
			return
		}
		require.NoError(t, err, "a file that was built must load: %s", data)
		require.NoError(t, tok.Close())
	})
}
