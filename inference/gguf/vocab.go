package gguf

import "slices"

// TokenType is the role of a token, numbered as in the file.
type TokenType int32

// Token types.
const (
	TokenNormal      TokenType = 1
	TokenUnknown     TokenType = 2
	TokenControl     TokenType = 3
	TokenUserDefined TokenType = 4
	TokenUnused      TokenType = 5
	TokenByte        TokenType = 6
)

// NoToken stands for a special token that the vocabulary does not have.
const NoToken = -1

// Vocab is the tokenizer stored in the file, with the defaults that llama.cpp
// puts where the file says nothing.
type Vocab struct {
	Model  string      // "gpt2" (byte-level BPE), "llama" (SentencePiece), …
	Pre    string      // pre-tokenizer of a BPE vocabulary
	Tokens []string    // text of each id
	Types  []TokenType // of each id; nil when the file has none
	Scores []float32   // of each id; nil when the file has none
	Merges []string    // "left right", best first

	BOS, EOS, EOT, EOM, UNK, SEP, PAD, MASK int // ids or NoToken

	AddBOS         bool // a sequence begins with BOS
	AddEOS         bool // a sequence ends with EOS
	AddSEP         bool
	AddSpacePrefix bool // a text begins with a space
}

// tokenizerKey is a metadata key of the vocabulary.
func tokenizerKey(name string) string { return "tokenizer.ggml." + name }

// Vocab reads the vocabulary; nil when the file has none.
func (f *File) Vocab() (*Vocab, error) {
	v := f.vocabDefaults()
	if v == nil {
		return nil, nil
	}
	var err error
	if v.Tokens, err = f.Strings(tokenizerKey("tokens")); err != nil {
		return nil, err
	}
	if v.Merges, err = f.Strings(tokenizerKey("merges")); err != nil {
		return nil, err
	}
	if v.Scores, err = f.Floats(tokenizerKey("scores")); err != nil {
		return nil, err
	}
	types, err := f.Ints(tokenizerKey("token_type"))
	if err != nil {
		return nil, err
	}
	for _, t := range types {
		v.Types = append(v.Types, TokenType(t))
	}
	f.readSpecials(v)
	return v, nil
}

// vocabDefaults is the vocabulary before its arrays and ids are read.
func (f *File) vocabDefaults() *Vocab {
	model, ok := f.String(tokenizerKey("model"))
	if !ok || model == "none" || model == "no_vocab" {
		return nil
	}
	v := &Vocab{Model: model, BOS: NoToken, EOS: NoToken, EOT: NoToken, EOM: NoToken, UNK: NoToken,
		SEP: NoToken, PAD: NoToken, MASK: NoToken}
	v.Pre, _ = f.String(tokenizerKey("pre"))
	switch model {
	case "llama":
		v.BOS, v.EOS, v.UNK = 1, 2, 0
		v.AddBOS, v.AddSpacePrefix = true, true
	case "bert":
		v.BOS, v.UNK, v.SEP, v.PAD, v.MASK = 101, 100, 102, 0, 103
		v.AddBOS, v.AddSEP = true, true
	case "t5":
		v.EOS, v.UNK, v.PAD = 1, 2, 0
		v.AddEOS, v.AddSpacePrefix = true, true
	case "plamo2":
		v.BOS, v.EOS, v.UNK, v.PAD = 1, 2, 0, 3
	case "gemma4":
		v.Pre, v.AddBOS = "gemma4", true
	case "gpt2", "hybriddna", "whitespace":
		v.BOS, v.EOS = 11, 11
		v.preDefaults()
	}
	return v
}

// preDefaults are what llama.cpp sets for some pre-tokenizers.
func (v *Vocab) preDefaults() {
	switch v.Pre {
	case "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
		"jina-v5-nano", "tekken", "chameleon":
		v.AddBOS = true
	case "jina-v1-en", "jina-v2-code", "roberta-bpe":
		v.AddSEP = true
	case "glm4", "chatglm-bpe":
		v.BOS = NoToken
	}
}

// readSpecials takes ids and flags from the file; like llama.cpp it drops ids
// that the vocabulary does not have.
func (f *File) readSpecials(v *Vocab) {
	for _, s := range v.specials() {
		if *s.id >= len(v.Tokens) {
			*s.id = NoToken
		}
		if id, ok := f.Uint(tokenizerKey(s.key)); ok && id < uint64(len(v.Tokens)) {
			*s.id = int(id)
		}
	}
	for key, flag := range map[string]*bool{
		"add_bos_token": &v.AddBOS, "add_eos_token": &v.AddEOS, "add_sep_token": &v.AddSEP,
		"add_space_prefix": &v.AddSpacePrefix,
	} {
		if b, ok := f.Bool(tokenizerKey(key)); ok {
			*flag = b
		}
	}
	v.AddBOS = v.AddBOS || slices.Contains([]string{"gemma4", "granite-embed-multi-311m"}, v.Pre)
}

type specialToken struct {
	key string
	id  *int
}

func (v *Vocab) specials() []specialToken {
	return []specialToken{
		{"bos_token_id", &v.BOS}, {"eos_token_id", &v.EOS}, {"eot_token_id", &v.EOT},
		{"eom_token_id", &v.EOM},
		{"unknown_token_id", &v.UNK}, {"seperator_token_id", &v.SEP}, {"padding_token_id", &v.PAD},
		{"mask_token_id", &v.MASK},
	}
}
