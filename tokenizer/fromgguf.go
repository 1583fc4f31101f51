package tokenizer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// TokenType is the role of a token, numbered as in GGUF files.
type TokenType int

// Token types of GGUF files.
const (
	TokenNormal      TokenType = 1
	TokenUnknown     TokenType = 2
	TokenControl     TokenType = 3
	TokenUserDefined TokenType = 4
	TokenUnused      TokenType = 5
	TokenByte        TokenType = 6
)

// Vocab is a vocabulary as a GGUF file stores it. Ids are places in Tokens; -1
// stands for a special token that it does not have.
type Vocab struct {
	Model  string // tokenizer.ggml.model: "gpt2" or "llama"
	Pre    string // tokenizer.ggml.pre
	Tokens []string
	Types  []TokenType // one for each token, or none
	Scores []float32   // one for each token; only "llama" needs them
	Merges []string    // "left right", best first; only "gpt2" needs them

	BOS, EOS, UNK  int
	AddBOS, AddEOS bool
	AddSpacePrefix bool // only "llama"
}

// UnsupportedError is a vocabulary for which no tokenizer.json can be built. The
// model itself can be used; counts then come from the engine's own tokenizer.
type UnsupportedError struct{ Model, Pre string }

func (e *UnsupportedError) Error() string {
	if e.Pre == "" {
		return fmt.Sprintf("build tokenizer: tokenizer %q is not supported yet", e.Model)
	}
	return fmt.Sprintf("build tokenizer: pre-tokenizer %q of tokenizer %q is not supported yet", e.Pre,
		e.Model)
}

// Hint says what a person can do about it.
func (e *UnsupportedError) Hint() string {
	return "put the tokenizer.json of the model's repository beside the model file"
}

// The patterns by which byte-level tokenizers split text into words before
// merging, as the models' own tokenizer.json files have them.
const (
	splitGPT2   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	splitLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	splitQwen2  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// knownSplits are those for which safeCut holds.
var knownSplits = [...]string{splitGPT2, splitLlama3, splitQwen2}

// object is a JSON object with its keys in order.
type object = map[string]any

// splitting is what a pre-tokenizer name of GGUF stands for in a tokenizer.json.
type splitting struct {
	normalizer   any
	steps        []any
	ignoreMerges bool
}

// splittings knows the pre-tokenizers that FromGGUF supports.
func splittings(pre string) (splitting, bool) {
	switch pre {
	case "gpt-2":
		return splitting{steps: []any{byteLevel(true)}}, true
	case "smollm":
		return splitting{steps: []any{object{"type": "Digits", "individual_digits": true},
			byteLevel(true)}}, true
	case "qwen2":
		return splitting{normalizer: object{"type": "NFC"},
			steps: []any{splitBy(splitQwen2), byteLevel(false)}}, true
	case "llama-bpe", "llama3", "llama-v3":
		return splitting{steps: []any{splitBy(splitLlama3), byteLevel(false)}, ignoreMerges: true}, true
	}
	return splitting{}, false
}

// byteLevel maps bytes to printable characters, and with split first splits
// words as GPT-2 does.
func byteLevel(split bool) any {
	return object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
		"use_regex": split}
}

func splitBy(pattern string) any {
	return object{"type": "Split", "pattern": object{"Regex": pattern}, "behavior": "Isolated",
		"invert": false}
}

// FromGGUF builds the tokenizer.json that a model's repository would have from
// the vocabulary of its GGUF file: byte-level BPE with the pre-tokenizers gpt-2,
// smollm, qwen2 and llama-bpe, and SentencePiece BPE ("llama"). Others are an
// [UnsupportedError]; a vocabulary that contradicts itself is an [Error].
func FromGGUF(v Vocab) ([]byte, error) {
	ids, err := v.index()
	if err != nil {
		return nil, err
	}
	var file object
	switch v.Model {
	case "gpt2":
		file, err = v.byteLevelFile(ids)
	case "llama":
		file, err = v.sentencePieceFile(ids)
	default:
		return nil, &UnsupportedError{Model: v.Model}
	}
	if err != nil {
		return nil, err
	}
	file["version"], file["truncation"], file["padding"] = "1.0", nil, nil
	file["added_tokens"] = v.addedTokens()
	if file["post_processor"], err = v.template(); err != nil {
		return nil, err
	}
	return encodeJSON(file)
}

// encodeJSON keeps < and > as they are, which special tokens are full of.
func encodeJSON(v any) ([]byte, error) {
	var w bytes.Buffer
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("build tokenizer: %w", err)
	}
	return w.Bytes(), nil
}

func vocabError(format string, args ...any) error {
	return &Error{Op: "build tokenizer", What: fmt.Sprintf(format, args...),
		Advice: "get a newer GGUF of this model, or put its tokenizer.json beside it"}
}

// index maps texts to ids and checks that the parts agree.
func (v *Vocab) index() (map[string]int, error) {
	n := len(v.Tokens)
	switch {
	case n == 0:
		return nil, vocabError("the vocabulary is empty")
	case len(v.Types) != 0 && len(v.Types) != n:
		return nil, vocabError("%d token types for %d tokens", len(v.Types), n)
	case len(v.Scores) != 0 && len(v.Scores) != n:
		return nil, vocabError("%d scores for %d tokens", len(v.Scores), n)
	}
	ids := make(map[string]int, n)
	for id := range v.Tokens {
		text := v.text(id)
		if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
			return nil, vocabError("token %d is %q, which a tokenizer.json cannot hold", id, text)
		}
		if first, dup := ids[text]; dup {
			return nil, vocabError("tokens %d and %d are both %q", first, id, text)
		}
		ids[text] = id
	}
	return ids, nil
}

// text is a token's text; an empty one gets the name that llama.cpp gives it.
func (v *Vocab) text(id int) string {
	if v.Tokens[id] == "" {
		return fmt.Sprintf("[EMPTY_%d]", id)
	}
	return v.Tokens[id]
}

func (v *Vocab) tokenType(id int) TokenType {
	if len(v.Types) == 0 {
		return TokenNormal
	}
	return v.Types[id]
}

// byteLevelFile is the file for a GPT-2 style vocabulary.
func (v *Vocab) byteLevelFile(ids map[string]int) (object, error) {
	split, ok := splittings(v.Pre)
	if !ok {
		return nil, &UnsupportedError{Model: v.Model, Pre: cmp.Or(v.Pre, "default")}
	}
	merges, err := v.mergePairs(ids)
	if err != nil {
		return nil, err
	}
	pre := split.steps[0]
	if len(split.steps) > 1 {
		pre = object{"type": "Sequence", "pretokenizers": split.steps}
	}
	return object{
		"normalizer":    split.normalizer,
		"pre_tokenizer": pre,
		"decoder":       byteLevel(true),
		"model": object{
			"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil,
			"end_of_word_suffix": nil,
			"fuse_unk":           false, "byte_fallback": false, "ignore_merges": split.ignoreMerges, "vocab": ids,
			"merges": merges,
		},
	}, nil
}

// mergePairs splits the merges, keeping the first of equal ones as llama.cpp
// does, and checks that their parts and results are tokens.
func (v *Vocab) mergePairs(ids map[string]int) ([][2]string, error) {
	pairs := make([][2]string, 0, len(v.Merges))
	seen := make(map[[2]string]bool, len(v.Merges))
	for i, m := range v.Merges {
		if m == "" {
			return nil, vocabError("merge %d is empty", i)
		}
		at := strings.IndexByte(m[1:], ' ') // the left part has at least one byte
		if at < 0 {
			return nil, vocabError("merge %d is %q, and must be two tokens", i, m)
		}
		pair := [2]string{m[:1+at], m[2+at:]}
		for _, part := range []string{pair[0], pair[1], pair[0] + pair[1]} {
			if _, ok := ids[part]; !ok {
				return nil, vocabError("merge %d is %q, and %q is no token", i, m, part)
			}
		}
		if !seen[pair] {
			seen[pair] = true
			pairs = append(pairs, pair)
		}
	}
	return pairs, nil
}

// spaceMark stands for a space in SentencePiece vocabularies.
const spaceMark = "▁"

// sentencePieceFile is the file for a SentencePiece BPE vocabulary with byte
// fallback, as Hugging Face converts Llama's.
func (v *Vocab) sentencePieceFile(ids map[string]int) (object, error) {
	if len(v.Scores) == 0 {
		return nil, vocabError("the vocabulary has no scores")
	}
	var unknown any
	if v.has(v.UNK) {
		unknown = v.text(v.UNK)
	}
	normalizers := []any{replace(" ", spaceMark)}
	decoders := []any{replace(spaceMark, " "), object{"type": "ByteFallback"}, object{"type": "Fuse"}}
	if v.AddSpacePrefix {
		normalizers = append([]any{object{"type": "Prepend", "prepend": spaceMark}}, normalizers...)
		decoders = append(decoders, object{"type": "Strip", "content": " ", "start": 1, "stop": 0})
	}
	return object{
		"normalizer":    object{"type": "Sequence", "normalizers": normalizers},
		"pre_tokenizer": nil,
		"decoder":       object{"type": "Sequence", "decoders": decoders},
		"model": object{
			"type": "BPE", "dropout": nil, "unk_token": unknown, "continuing_subword_prefix": nil,
			"end_of_word_suffix": nil,
			"fuse_unk":           true, "byte_fallback": true, "ignore_merges": false, "vocab": ids,
			"merges": v.scoredMerges(ids),
		},
	}, nil
}

// scoredMerge is a way to make a token of two others.
type scoredMerge struct {
	pair        [2]string
	left, right int // ids
	score       float32
	leftRunes   int
	rightRunes  int
}

// scoredMerges derives merges from scores: every split of a token into two
// tokens, the best-scored token first, and among splits of equal score the
// longer left part first, as Hugging Face's converter orders them.
func (v *Vocab) scoredMerges(ids map[string]int) [][2]string {
	var all []scoredMerge
	for id := range v.Tokens {
		local := v.splits(id, ids)
		slices.SortFunc(local, func(a, b scoredMerge) int {
			return cmp.Or(cmp.Compare(a.left, b.left), cmp.Compare(a.right, b.right))
		})
		all = append(all, local...)
	}
	slices.SortStableFunc(all, func(a, b scoredMerge) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(b.leftRunes, a.leftRunes),
			cmp.Compare(b.rightRunes, a.rightRunes))
	})
	pairs := make([][2]string, len(all))
	for i, m := range all {
		pairs[i] = m.pair
	}
	return pairs
}

// splits lists the ways to make a token of two tokens.
func (v *Vocab) splits(id int, ids map[string]int) []scoredMerge {
	text := v.text(id)
	runes := utf8.RuneCountInString(text)
	var out []scoredMerge
	n := 0
	for i := range text {
		if i > 0 {
			left, okL := ids[text[:i]]
			right, okR := ids[text[i:]]
			if okL && okR {
				out = append(out, scoredMerge{[2]string{text[:i], text[i:]}, left, right, v.Scores[id], n,
					runes - n})
			}
		}
		n++
	}
	return out
}

// addedTokens are the tokens that are found in a text before anything else.
// Control tokens are special: their text is ordinary unless it is asked for.
func (v *Vocab) addedTokens() []any {
	added := []any{}
	for id := range v.Tokens {
		typ := v.tokenType(id)
		if typ != TokenControl && typ != TokenUnknown && typ != TokenUserDefined {
			continue
		}
		added = append(added, object{
			"id": id, "content": v.text(id), "single_word": false, "lstrip": false, "rstrip": false,
			"normalized": false, "special": typ != TokenUserDefined,
		})
	}
	return added
}

// template adds the tokens that begin and end a text; nil when there are none.
func (v *Vocab) template() (any, error) {
	if !v.AddBOS && !v.AddEOS {
		return nil, nil
	}
	special := object{}
	part := func(id int) (any, error) {
		if !v.has(id) {
			return nil, vocabError("a token is to be added to each text, and id %d is not in the vocabulary",
				id)
		}
		text := v.text(id)
		special[text] = object{"id": text, "ids": []int{id}, "tokens": []string{text}}
		return object{"SpecialToken": object{"id": text, "type_id": 0}}, nil
	}
	single := []any{object{"Sequence": object{"id": "A", "type_id": 0}}}
	if v.AddBOS {
		p, err := part(v.BOS)
		if err != nil {
			return nil, err
		}
		single = append([]any{p}, single...)
	}
	if v.AddEOS {
		p, err := part(v.EOS)
		if err != nil {
			return nil, err
		}
		single = append(single, p)
	}
	return object{
		"type": "TemplateProcessing", "single": single, "special_tokens": special,
		"pair": append(slices.Clone(single), object{"Sequence": object{"id": "B", "type_id": 1}}),
	}, nil
}

func (v *Vocab) has(id int) bool { return id >= 0 && id < len(v.Tokens) }
