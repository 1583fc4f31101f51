//go:build cgo

package tokenizer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	_ "agent/inference" // its linker flags say where libtokenizers.a lies
	"agent/inference/gguf"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if n := live.Load(); code == 0 && n != 0 {
		fmt.Fprintf(os.Stderr, "%d native tokenizers were never closed\n", n)
		code = 1
	}
	os.Exit(code)
}

// shared is the directory of fixtures, or the test is skipped.
func shared(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("AGENT_SHARED")
	if dir == "" {
		dir = "../../shared"
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("needs %s: set AGENT_SHARED to the directory of shared fixtures", name)
	}
	return path
}

func smolJSON(t testing.TB) string {
	return shared(t, "fixtures/tokenizers/SmolLM2-135M-Instruct/tokenizer.json")
}

// llamaVocab is a vocabulary that llama.cpp ships for its own tests.
func llamaVocab(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("AGENT_LLAMA_SRC")
	if dir == "" {
		dir = "../third_party/llama.cpp"
	}
	path := filepath.Join(dir, "models", name)
	if _, err := os.Stat(path); err != nil {
		t.Skip("needs the sources of llama.cpp: run make native, or set AGENT_LLAMA_SRC")
	}
	return path
}

func smolGGUF(t testing.TB) string {
	t.Helper()
	for _, path := range []string{os.Getenv("AGENT_TEST_GGUF"), "../models/SmolLM2-135M-Instruct.Q4_1.gguf"} {
		if _, err := os.Stat(path); path != "" && err == nil {
			return path
		}
	}
	t.Skip("needs the default model: run make model, or set AGENT_TEST_GGUF to a .gguf file")
	return ""
}

// vocabOf reads the vocabulary of a GGUF file.
func vocabOf(t testing.TB, path string) Vocab {
	t.Helper()
	f, err := gguf.Open(path)
	require.NoError(t, err)
	defer f.Close()
	g, err := f.Vocab()
	require.NoError(t, err)
	v := Vocab{Model: g.Model, Pre: g.Pre, Tokens: g.Tokens, Scores: g.Scores, Merges: g.Merges,
		BOS: g.BOS, EOS: g.EOS, UNK: g.UNK, AddBOS: g.AddBOS, AddEOS: g.AddEOS, AddSpacePrefix: g.AddSpacePrefix}
	for _, typ := range g.Types {
		v.Types = append(v.Types, TokenType(typ))
	}
	return v
}

func open(t testing.TB, path string) *Tokenizer {
	t.Helper()
	tok, err := Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, tok.Close()) })
	return tok
}

func built(t testing.TB, v Vocab) *Tokenizer {
	t.Helper()
	data, err := FromGGUF(v)
	require.NoError(t, err)
	tok, err := FromBytes(data)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, tok.Close()) })
	return tok
}

func plain(tok *Tokenizer) func(string) ([]int, error) {
	return func(text string) ([]int, error) { return tok.Encode(text, Options{}) }
}

func TestEncodeKnownIDs(t *testing.T) {
	tok := open(t, smolJSON(t))
	for _, tt := range []struct {
		name, text string
		o          Options
		want       []int
	}{
		{"words", "hello world", Options{}, []int{28120, 905}},
		{"empty", "", Options{}, []int{}},
		{"special text is text", "<|im_start|>user", Options{}, []int{44, 108, 306, 79, 3738, 108, 46, 4093}},
		{"special text on demand", "<|im_start|>user", Options{ParseSpecial: true}, []int{1, 4093}},
		{"NUL alone", "\x00", Options{}, []int{190}},
		{"text after NUL counts", "a\x00b", Options{}, []int{81, 190, 82}},
		{"NUL and special", "\x00<|im_end|>", Options{ParseSpecial: true}, []int{190, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ids, err := tok.Encode(tt.text, tt.o)
			require.NoError(t, err)
			assert.Equal(t, tt.want, ids)
			n, err := tok.Count(tt.text, tt.o)
			require.NoError(t, err)
			assert.Equal(t, len(tt.want), n)
			back, err := tok.Decode(ids, false)
			require.NoError(t, err)
			assert.Equal(t, tt.text, back)
		})
	}
	assert.Equal(t, 49152, tok.VocabSize())
}

func TestEncodeRefuses(t *testing.T) {
	tok := open(t, smolJSON(t))
	_, err := tok.Encode("ok\xffno", Options{})
	var bad *InvalidUTF8Error
	require.ErrorAs(t, err, &bad)
	assert.Equal(t, InvalidUTF8Error{Offset: 2, Byte: 0xff}, *bad)
	_, err = tok.Encode(strings.Repeat("a", pieceBytesMax+1), Options{})
	assert.ErrorContains(t, err, "no place where it may be cut")
	_, err = tok.Decode([]int{-1}, false)
	assert.ErrorContains(t, err, "id -1 is not in the vocabulary")
	_, err = tok.Decode([]int{49152}, false)
	assert.ErrorContains(t, err, "id 49152 is not in the vocabulary")
}

// No token and a failure look the same in the library.
func TestNothingAndFailure(t *testing.T) {
	tok := open(t, smolJSON(t))
	n, err := tok.Count("\x04", Options{}) // this model has no token for it
	require.NoError(t, err)
	assert.Zero(t, n)

	words, err := FromBytes([]byte(`{"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,
		"decoder":null,"model":{"type":"WordLevel","vocab":{"a":0,"b":1},"unk_token":"[UNK]"}}`))
	require.NoError(t, err)
	defer words.Close()
	n, err = words.Count("a b", Options{})
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	_, err = words.Count("a c", Options{})
	assert.ErrorContains(t, err, "the tokenizer failed on 3 bytes")
}

func TestDecode(t *testing.T) {
	tok := open(t, smolJSON(t))
	text, err := tok.Decode([]int{1, 4093, 2}, true)
	require.NoError(t, err)
	assert.Equal(t, "user", text)
	text, err = tok.Decode([]int{1, 2}, true)
	require.NoError(t, err)
	assert.Empty(t, text)
	want := esc + "\x00" + escNUL + escSelf + esc + "\x00\x00"
	ids, err := tok.Encode(want, Options{})
	require.NoError(t, err)
	text, err = tok.Decode(ids, true)
	require.NoError(t, err)
	assert.Equal(t, want, text)
}

func TestClose(t *testing.T) {
	var none *Tokenizer
	assert.NoError(t, none.Close())
	tok, err := Open(smolJSON(t))
	require.NoError(t, err)
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			for range 50 {
				ids, err := tok.Encode("some text\x00 with everything", Options{})
				if err != nil {
					assert.ErrorIs(t, err, ErrClosed)
					return
				}
				assert.NotEmpty(t, ids)
			}
		})
	}
	assert.NoError(t, tok.Close())
	assert.NoError(t, tok.Close())
	calls.Wait()
	_, err = tok.Encode("x", Options{})
	assert.ErrorIs(t, err, ErrClosed)
	assert.Zero(t, tok.VocabSize())
}

func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct{ name, data, want string }{
		{"empty", "", "not a tokenizer.json"},
		{"not JSON", "<html>", "not a tokenizer.json"},
		{"other JSON", `{"a":1}`, "it has no model"},
		{"NUL in a text", `{"model":{"type":"BPE","vocab":{"a\u0000":0}}}`, "contains a NUL"},
		{"dropout", `{"model":{"type":"BPE","dropout":0.1,"vocab":{"a":0},"merges":[]}}`, "at random"},
		{"pattern without end", `{"model":{"type":"BPE"},"pre_tokenizer":{"type":"Split","pattern":{"Regex":"(a+)+b"},"behavior":"Isolated","invert":false}}`, "may never end"},
		{"unknown model", `{"model":{"type":"XYZ"}}`, "open tokenizer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := FromBytes([]byte(tt.data))
			require.ErrorContains(t, err, tt.want)
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.NotEmpty(t, e.Hint())
		})
	}
	_, err := Open(filepath.Join(t.TempDir(), "none.json"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// A file's own truncation and padding must not change counts.
func TestTruncationIsNotApplied(t *testing.T) {
	data, err := os.ReadFile(smolJSON(t))
	require.NoError(t, err)
	data = bytes.Replace(data, []byte(`"truncation": null`), []byte(`"truncation": {"direction":"Right","max_length":4,"strategy":"LongestFirst","stride":0}`), 1)
	data = bytes.Replace(data, []byte(`"padding": null`), []byte(`"padding": {"strategy":{"Fixed":64},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,"pad_token":"<|endoftext|>"}`), 1)
	tok, err := FromBytes(data)
	require.NoError(t, err)
	defer tok.Close()
	n, err := tok.Count(strings.Repeat("word ", 100), Options{AddSpecial: true})
	require.NoError(t, err)
	assert.Greater(t, n, 90)
}

// Texts in pieces have the ids of the whole.
func TestPieces(t *testing.T) {
	sources := map[string]*Tokenizer{
		"smollm":    open(t, smolJSON(t)),
		"qwen2":     built(t, vocabOf(t, llamaVocab(t, "ggml-vocab-qwen2.gguf"))),
		"llama-bpe": built(t, vocabOf(t, llamaVocab(t, "ggml-vocab-llama-bpe.gguf"))),
		"gpt-2":     built(t, vocabOf(t, llamaVocab(t, "ggml-vocab-gpt-2.gguf"))),
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for name, tok := range sources {
		t.Run(name, func(t *testing.T) {
			require.True(t, tok.def.cuts)
			for range 150 {
				text := randomText(rng, 60)
				whole, err := tok.encodePiece(text, Options{})
				require.NoError(t, err)
				var ids []uint32
				for cut := 0; len(text) > 0; {
					cut = safeCut(text, 1+rng.IntN(10))
					if cut < 0 {
						cut = len(text)
					}
					more, err := tok.encodePiece(text[:cut], Options{})
					require.NoError(t, err)
					ids = append(ids, more...)
					text = text[cut:]
				}
				require.Equal(t, whole, ids)
			}
		})
	}
}

func TestTenMegabytes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds: run without -short")
	}
	tok := open(t, smolJSON(t))
	line := "The quick brown fox, 12 of them; naïve 你好 <|im_end|>\n"
	one, err := tok.Count(line, Options{})
	require.NoError(t, err)
	lines := 10<<20/len(line) + 1
	n, err := tok.Count(strings.Repeat(line, lines), Options{})
	require.NoError(t, err)
	assert.Equal(t, one*lines, n)
}

// Pathological texts neither crash the library nor lose anything.
func TestLongRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds: run without -short")
	}
	for _, name := range []string{"ggml-vocab-qwen2.gguf", "ggml-vocab-gpt-2.gguf"} {
		tok := built(t, vocabOf(t, llamaVocab(t, name)))
		for _, text := range []string{strings.Repeat(" ", 1<<20) + "x", strings.Repeat("\n", 1<<19) + "x", strings.Repeat("a", 1<<19), strings.Repeat("1", 1<<19), strings.Repeat("-", 1<<19)} {
			ids, err := tok.Encode(text, Options{})
			require.NoError(t, err)
			back, err := tok.Decode(ids, false)
			require.NoError(t, err)
			assert.True(t, text == back, "%s: %d bytes became %d", name, len(text), len(back))
		}
	}
}

// llama.cpp ships texts with the ids that Hugging Face gives for them.
func TestBuiltAgainstLlamaTexts(t *testing.T) {
	for _, name := range []string{"qwen2", "llama-bpe", "gpt-2", "llama-spm", "phi-3"} {
		t.Run(name, func(t *testing.T) {
			path := llamaVocab(t, "ggml-vocab-"+name+".gguf")
			tok := built(t, vocabOf(t, path))
			inputs, err := os.ReadFile(path + ".inp")
			require.NoError(t, err)
			outputs, err := os.ReadFile(path + ".out")
			require.NoError(t, err)
			texts := strings.Split(string(inputs), "\n__ggml_vocab_test__\n")
			want := strings.Split(string(outputs), "\n")
			require.Greater(t, len(texts), 30)
			for i, text := range texts[:min(len(texts), len(want))] {
				ids, err := tok.Encode(text, Options{})
				require.NoError(t, err)
				got := []string{}
				for _, id := range ids {
					got = append(got, strconv.Itoa(id))
				}
				assert.Equal(t, strings.Fields(want[i]), got, "%q", text)
			}
		})
	}
}

func TestBuiltEqualsReal(t *testing.T) {
	real, ours := open(t, smolJSON(t)), built(t, vocabOf(t, smolGGUF(t)))
	assert.Equal(t, real.VocabSize(), ours.VocabSize())
	if m := Compare(plain(real), plain(ours)); m != nil {
		t.Error(m)
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for range 5000 {
		if m := CompareText(randomText(rng, 20), plain(real), plain(ours)); m != nil {
			t.Fatal(m)
		}
	}
}

// The reference is the tokenizers package of Python.
func TestAgainstPython(t *testing.T) {
	python := pythonWithTokenizers(t)
	texts := referenceTexts(t)
	data, err := FromGGUF(vocabOf(t, smolGGUF(t)))
	require.NoError(t, err)
	fromGGUF := filepath.Join(t.TempDir(), "tokenizer.json")
	require.NoError(t, os.WriteFile(fromGGUF, data, 0o600))
	paths := []string{smolJSON(t), fromGGUF}
	for _, name := range []string{"qwen2", "llama-bpe", "gpt-2", "llama-spm"} {
		data, err := FromGGUF(vocabOf(t, llamaVocab(t, "ggml-vocab-"+name+".gguf")))
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), name+".json")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		paths = append(paths, path)
	}
	want := make([][][]int, 2)
	for i, path := range paths {
		some := texts
		if i > 1 { // the others prove the binding; the default model proves everything
			some = texts[:min(len(texts), 5000)]
		}
		ids := pythonIDs(t, python, path, some)
		if i < 2 {
			want[i] = ids
		}
		tok := open(t, path)
		for j, text := range some {
			got, err := tok.Encode(text, Options{})
			require.NoError(t, err, "%s: %.80q", path, text)
			require.True(t, slices.Equal(ids[j], got), "%s: %.80q:\npython %.40v\nours   %.40v", path, text, ids[j], got)
		}
	}
	for j := range texts {
		require.True(t, slices.Equal(want[0][j], want[1][j]), "the real file and the one from the GGUF differ on %.80q", texts[j])
	}
}

func pythonWithTokenizers(t *testing.T) string {
	t.Helper()
	python := os.Getenv("AGENT_PYTHON")
	if python == "" {
		python = "python3"
	}
	if err := exec.Command(python, "-c", "import tokenizers").Run(); err != nil {
		t.Skip("needs the reference: pip install 'tokenizers==0.22.*' (AGENT_PYTHON names the python to use)")
	}
	return python
}

func pythonIDs(t *testing.T, python, path string, texts []string) [][]int {
	t.Helper()
	var in bytes.Buffer
	for _, text := range texts {
		line, err := json.Marshal(text)
		require.NoError(t, err)
		in.Write(append(line, '\n'))
	}
	cmd := exec.Command(python, "testdata/compare_hf.py", path)
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	var ids [][]int
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<28)
	for lines.Scan() {
		var row []int
		require.NoError(t, json.Unmarshal(lines.Bytes(), &row))
		ids = append(ids, row)
	}
	require.Len(t, ids, len(texts))
	return ids
}

// referenceTexts are the probes, every byte value, a multilingual file, the
// whole text of this repository, and 100,000 random strings.
func referenceTexts(t *testing.T) []string {
	t.Helper()
	texts := Probes()
	all := make([]rune, 256)
	for i := range all {
		all[i] = rune(i)
		texts = append(texts, string(rune(i)), "a"+string(rune(i))+"b", " "+string(rune(i)))
	}
	texts = append(texts, string(all))
	multilingual, err := os.ReadFile("testdata/multilingual.txt")
	require.NoError(t, err)
	texts = append(texts, string(multilingual))
	texts = append(texts, repositoryTexts(t)...)
	rng := rand.New(rand.NewPCG(7, 8))
	for range 100_000 {
		texts = append(texts, randomText(rng, 12))
	}
	return texts
}

func repositoryTexts(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("git", "-C", "..", "ls-files", "-z").Output()
	if err != nil {
		t.Log("not in a git checkout: the text of the repository is left out")
		return nil
	}
	var texts []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join("..", name))
		if err == nil && utf8.Valid(data) && len(data) > 0 {
			texts = append(texts, string(data))
		}
	}
	return texts
}

// randomText mixes characters of all of Unicode with those on which tokenizers
// trip.
func randomText(rng *rand.Rand, parts int) string {
	snippets := []string{" ", "  ", "\n", "\r\n", "\t", "\x00", "a", "B", "the", " and", "'s", "'LL", "'re ", "12", "3.5", "<|im_start|>", "<|", "|>",
		"e\u0301", "\u200d", "👩", "🏽", "ß", "中文", "한글", "ก็", "\u3000", ".", "...", "—", "\u0085", "\u2028", "½", "²", "٣", "\ufeff", "ﬁ", esc, escNUL}
	var b strings.Builder
	for range 1 + rng.IntN(parts) {
		switch rng.IntN(4) {
		case 0:
			b.WriteRune(randomRune(rng, 0x110000))
		case 1:
			b.WriteRune(randomRune(rng, 0x3000))
		default:
			b.WriteString(snippets[rng.IntN(len(snippets))])
		}
	}
	return b.String()
}

func randomRune(rng *rand.Rand, below int) rune {
	for {
		if r := rune(rng.IntN(below)); utf8.ValidRune(r) {
			return r
		}
	}
}
