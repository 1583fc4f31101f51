package gguf

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// vocabulary checks the tokenizer.
func (c *checker) vocabulary() error {
	switch c.info.Kind {
	case Projector, Adapter, Other:
		return nil
	}
	if err := c.each(c.tokenizer, c.vocabArrays, c.vocabTypes); err != nil {
		return err
	}
	v, err := c.f.Vocab()
	if err != nil || v == nil {
		return err
	}
	c.info.VocabSize = len(v.Tokens)
	return c.each(func() { c.distinctTokens(v) }, func() { c.specialTokens(v) },
		func() { c.usableSpecials(v) })
}

// tokenizer checks that the kinds of tokenizer and pre-tokenizer are known.
func (c *checker) tokenizer() {
	model := c.text(tokenizerKey("model"))
	if model == "" {
		if c.info.Kind.Chats() || c.info.Kind == Vocabulary {
			c.fail(adviceReconvert, "tokenizer.ggml.model is missing: the file has no vocabulary")
		}
		return
	}
	if !tokenizers()[model] {
		c.fail(adviceNotLoaded, "unknown tokenizer %s%s", quote(model), nearest(model, tokenizers()))
	}
	pre := c.text(tokenizerKey("pre"))
	c.info.TokenizerModel, c.info.TokenizerPre = model, pre
	switch {
	case model != "gpt2" || c.fault != nil:
	case pre == "":
		c.warn("tokenizer.ggml.pre is missing: text is split in a default way, and answers may be worse")
	case !pretokenizers()[pre]:
		c.fail(adviceNotLoaded, "unknown pre-tokenizer %s%s", quote(pre), nearest(pre, pretokenizers()))
	}
}

// vocabArrays checks types and lengths of the vocabulary's arrays.
func (c *checker) vocabArrays() {
	if m := c.info.TokenizerModel; m == "" || m == "none" || m == "no_vocab" {
		return
	}
	tokens := c.arrayLength("tokens", String)
	switch {
	case tokens == 0:
		c.fail(adviceReconvert, "tokenizer.ggml.tokens is missing or empty")
	case tokens > tokensMax:
		c.fail(adviceDamaged, "the vocabulary has %d tokens, more than the %d allowed", tokens, tokensMax)
	}
	for key, elems := range map[string][]ValueType{"scores": {Float32, Int32}, "token_type": {Int32}} {
		if n := c.arrayLength(key, elems...); n != 0 && n != tokens {
			c.fail(adviceDamaged, "tokenizer.ggml.%s has %d values for %d tokens", key, n, tokens)
		}
	}
	if c.arrayLength("merges", String) == 0 && c.info.TokenizerModel == "gpt2" &&
		c.info.TokenizerPre != "kimi-k2" && !c.f.Has(tokenizerKey("merges")) {
		c.fail(adviceReconvert, "tokenizer.ggml.merges is missing")
	}
}

// arrayLength is the length of a vocabulary array; 0 when absent.
func (c *checker) arrayLength(name string, elems ...ValueType) uint64 {
	e := c.f.entry(tokenizerKey(name))
	if e == nil {
		return 0
	}
	if e.typ != Array || !slices.Contains(elems, e.elem) {
		c.fail(adviceReconvert, "%s must be an array of %v, and is %s", e.key, elems[0], e.display())
	}
	return e.n
}

// vocabTypes checks the types of ids and flags, on which llama.cpp insists.
func (c *checker) vocabTypes() {
	for i := range c.f.entries {
		e := &c.f.entries[i]
		name, ok := strings.CutPrefix(e.key, "tokenizer.ggml.")
		if !ok {
			continue
		}
		want := e.typ
		switch {
		case strings.HasSuffix(name, "_token_id"), name == "token_type_count":
			want = Uint32
		case name == "add_bos_token", name == "add_eos_token", name == "add_sep_token",
			name == "add_space_prefix", name == "remove_extra_whitespaces":
			want = Bool
		}
		if e.typ != want {
			c.fail(adviceReconvert, "%s must be a %v, and is %v %s", e.key, want, e.typ, e.display())
		}
	}
}

// distinctTokens checks what llama.cpp asserts: each token's text has one id.
func (c *checker) distinctTokens(v *Vocab) {
	seen := make(map[string]int, len(v.Tokens))
	for id, text := range v.Tokens {
		if text == "" {
			text = fmt.Sprintf("[EMPTY_%d]", id) // as llama.cpp renames it
		}
		if first, dup := seen[text]; dup {
			c.fail(adviceDamaged, "tokens %d and %d of the vocabulary are both %s", first, id, quote(text))
			return
		}
		seen[text] = id
	}
}

// specialTokens checks that the ids of special tokens exist. Only those that
// begin and end a text matter; llama.cpp drops the others.
func (c *checker) specialTokens(v *Vocab) {
	for _, s := range v.specials() {
		id, ok := c.f.Uint(tokenizerKey(s.key))
		switch {
		case !ok || id < uint64(len(v.Tokens)):
		case id != math.MaxUint32 && (s.key == "bos_token_id" || s.key == "eos_token_id"):
			c.fail(adviceDamaged, "%s is %d, and the vocabulary has %d tokens", tokenizerKey(s.key), id,
				len(v.Tokens))
		default:
			c.warn("%s is %d, which the vocabulary does not have: ignored", tokenizerKey(s.key), id)
		}
	}
}

// usableSpecials checks that tokens which are to be added exist, which
// llama.cpp asserts at the first text.
func (c *checker) usableSpecials(v *Vocab) {
	for _, s := range []struct {
		name string
		add  bool
		id   int
	}{{"begin", v.AddBOS, v.BOS}, {"end", v.AddEOS, v.EOS},
		{"separator", v.AddSEP && v.Model == "bert", v.SEP}} {
		if s.add && s.id == NoToken {
			c.fail(adviceReconvert, "the vocabulary asks for a token at the %s of each text and names none",
				s.name)
		}
	}
}
