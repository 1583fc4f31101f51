package gguf

import (
	"embed"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"agent/internal/near"
)

// Kind says what a file is good for.
type Kind string

// Kinds of GGUF files. Only Text, Hybrid and Recurrent models chat.
const (
	Text           Kind = "text"            // decoder with attention
	Hybrid         Kind = "hybrid"          // decoder with attention and recurrent state
	Recurrent      Kind = "recurrent"       // decoder with recurrent state only
	Embedding      Kind = "embedding"       // turns text into vectors
	Reranker       Kind = "reranker"        // scores pairs of texts
	EncoderDecoder Kind = "encoder-decoder" // such as T5
	Diffusion      Kind = "diffusion"       // writes all tokens at once
	Draft          Kind = "draft"           // helper of another model, for speculative decoding
	Audio          Kind = "audio"           // speech
	Projector      Kind = "projector"       // vision or audio part (mmproj) of another model
	Adapter        Kind = "adapter"         // LoRA for another model
	Vocabulary     Kind = "vocabulary"      // tokenizer without weights
	Other          Kind = "other"           // data that is no model, such as an importance matrix
)

// Chats reports whether a model of this kind continues text.
func (k Kind) Chats() bool { return k == Text || k == Hybrid || k == Recurrent }

// known holds what llama.cpp can load, one name a line; a test compares it with
// the sources of llama.cpp when they are there.
//
//go:embed known/*.txt
var known embed.FS

// architectures maps general.architecture to its kind.
var architectures = sync.OnceValue(func() map[string]Kind {
	m := make(map[string]Kind)
	for line := range knownLines("architectures.txt") {
		name, kind, _ := strings.Cut(line, " ")
		m[name] = Kind(kind)
	}
	return m
})

// tokenizers are the known values of tokenizer.ggml.model.
var tokenizers = sync.OnceValue(func() map[string]bool { return knownSet("tokenizers.txt") })

// pretokenizers are the known values of tokenizer.ggml.pre.
var pretokenizers = sync.OnceValue(func() map[string]bool { return knownSet("pretokenizers.txt") })

func knownSet(name string) map[string]bool {
	m := make(map[string]bool)
	for line := range knownLines(name) {
		m[line] = true
	}
	return m
}

func knownLines(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		data, err := known.ReadFile("known/" + name)
		if err != nil {
			panic(err) // embedded at build time
		}
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSpace(line)
			if line != "" && line[0] != '#' && !yield(line) {
				return
			}
		}
	}
}

// nearest is the known name most like the given one, as a clause for an error
// message; empty when none is near.
func nearest[V any](name string, names map[string]V) string {
	best := near.Name(name, slices.Collect(maps.Keys(names)))
	if best == "" {
		return ""
	}
	return ", the nearest known is " + quote(best)
}
