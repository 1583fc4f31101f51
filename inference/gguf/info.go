package gguf

import "fmt"

// Info is what a checked file says about itself. Sizes per layer have one entry
// for each of Layers.
type Info struct {
	Path         string   // the file, or the first part of a split model
	Files        []string // all parts, in order
	Version      uint32
	Kind         Kind
	Type         string // general.type, empty for a model
	Architecture string
	Name         string
	BaseName     string
	SizeLabel    string // such as "135M"
	License      string
	FileType     string // quantisation, such as "Q4_K_M"; empty when unknown

	Parameters  uint64
	WeightBytes int64 // of all tensors
	FileBytes   int64 // of all parts
	Tensors     []Tensor

	ContextLengthTrain int // tokens
	ContextLengthShort int // longer contexts turn positions otherwise; 0: all turn them alike
	EmbeddingLength    int
	Layers             int
	LayersNextN        int // layers at the end that only predict ahead
	Heads, HeadsKV     []int
	KeyLength          int // of one head
	ValueLength        int
	SlidingWindow      int // tokens; 0 when all layers see everything
	Experts            int
	ExpertsUsed        int

	TokenizerModel string
	TokenizerPre   string
	VocabSize      int
	ChatTemplate   string // jinja; empty when the file has none

	// recommended by the authors: temp, top_k, top_p, min_p, penalty_repeat …
	Sampling map[string]float64

	Warnings []string // oddities that do not prevent loading
}

// KVBytesPerToken estimates what one token of context takes in the attention
// cache, from the bytes of one key and one value element (2 for f16, 34.0/32 for
// q8_0). It counts every layer as seeing the whole context, so it is an upper
// bound for models with sliding windows; recurrent state is not in it.
func (in *Info) KVBytesPerToken(keyElementBytes, valueElementBytes float64) float64 {
	total := 0.0
	for _, heads := range in.HeadsKV {
		total += float64(heads) * (float64(in.KeyLength)*keyElementBytes +
			float64(in.ValueLength)*valueElementBytes)
	}
	return total
}

// notChat says, for each kind that cannot chat, what it is and what to do.
var notChat = map[Kind]struct{ what, advice string }{
	Embedding: {"an embedding model: it turns text into vectors and cannot write",
		adviceOtherModel},
	Reranker:       {"a reranker: it scores texts and cannot write", adviceOtherModel},
	EncoderDecoder: {"an encoder-decoder model, which is not supported", adviceOtherModel},
	Diffusion:      {"a diffusion language model, which is not supported", adviceOtherModel},
	Draft: {"a draft model, which only works beside the model it was made for",
		adviceOtherModel},
	Audio: {"a speech model: it cannot write", adviceOtherModel},
	Projector: {"a projector (mmproj): the vision or audio part of another model",
		"name the language model's own .gguf file, which lies beside it"},
	Adapter:    {"an adapter (LoRA), not a whole model", "name the base model's .gguf file"},
	Vocabulary: {"a vocabulary without weights", adviceOtherModel},
	Other:      {"a data file, not a model", adviceOtherModel},
}

// RequireChat is an error for files that are whole but cannot chat.
func (in *Info) RequireChat() error {
	n, ok := notChat[in.Kind]
	if !ok {
		return nil
	}
	what := "it is " + n.what
	if in.Architecture != "" {
		what += fmt.Sprintf(" (architecture %s)", in.Architecture)
	}
	return &Error{Path: in.Path, Offset: -1, What: what, Advice: n.advice}
}
