package gguf

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of llama.cpp v0.5.0 that it asserts, and so must not be reached.
const (
	layersMax  = 512  // LLAMA_MAX_LAYERS
	expertsMax = 1024 // LLAMA_MAX_EXPERTS
	contextMax = 1 << 30
	widthMax   = 1 << 20 // embedding length, head sizes
	tokensMax  = 1 << 22
)

// Check is the pre-check of a model file, with all parts when it is split. A nil
// error means that the file is whole, consistent, and of a kind that llama.cpp
// knows; [Info.RequireChat] tells whether it can chat.
func Check(path string) (*Info, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Check()
}

// Check is the pre-check of an open file. See the function [Check].
func (f *File) Check() (*Info, error) {
	c := &checker{f: f, info: &Info{Path: f.Path, Files: []string{f.Path}, Version: f.Version,
		FileBytes: f.Size}}
	if err := c.run(); err != nil {
		return nil, err
	}
	return c.info, nil
}

// checker fills an Info. The first fault sticks, and ends the check when its part
// of it is done.
type checker struct {
	f     *File
	info  *Info
	fault *fault
}

func (c *checker) run() error {
	if err := c.parts(); err != nil {
		return err
	}
	if err := c.each(c.general, c.kind, c.sizes, c.attention, c.rope, c.experts, c.floats,
		c.weights); err != nil {
		return err
	}
	return c.vocabulary()
}

// each makes checks up to the first fault.
func (c *checker) each(checks ...func()) error {
	for _, check := range checks {
		if check(); c.fault != nil {
			return c.fault.in(c.f.Path)
		}
	}
	return nil
}

// fail records the first fault.
func (c *checker) fail(advice, format string, args ...any) {
	if c.fault == nil {
		c.fault = faultf(advice, format, args...)
	}
}

// arch is a metadata key of the model's architecture.
func (c *checker) arch(name string) string { return c.info.Architecture + "." + name }

// isModel reports whether the file holds a network whose parameters must agree.
func (c *checker) isModel() bool {
	switch c.info.Kind {
	case Projector, Adapter, Other, Vocabulary, Audio, Draft:
		return false
	}
	return true
}

// general reads what the file says about itself.
func (c *checker) general() {
	in := c.info
	for key, dst := range map[string]*string{
		"general.architecture": &in.Architecture, "general.name": &in.Name, "general.type": &in.Type,
		"general.license": &in.License, "general.size_label": &in.SizeLabel,
		"general.basename":        &in.BaseName,
		"tokenizer.chat_template": &in.ChatTemplate,
	} {
		*dst = c.text(key)
	}
	if v, ok := c.f.Uint("general.file_type"); ok {
		in.FileType = fileTypes[v&^1024] // the bit says that it was guessed
	}
	c.sampling()
}

// sampling reads what a model's authors recommend. What is no number is passed over.
func (c *checker) sampling() {
	const prefix = "general.sampling."
	c.info.Sampling = map[string]float64{}
	for i := range c.f.entries {
		e := &c.f.entries[i]
		if name, ok := strings.CutPrefix(e.key, prefix); ok {
			if v, ok := e.float(); ok && !math.IsNaN(v) && !math.IsInf(v, 0) {
				c.info.Sampling[name] = v
			}
		}
	}
}

// text is a value that may be missing.
func (c *checker) text(key string) string {
	e := c.f.entry(key)
	switch {
	case e == nil:
	case e.typ != String:
		c.fail(adviceReconvert, "%s must be a string, and is %s", key, e.display())
	case !e.kept:
		c.fail(adviceDamaged, "%s has %d bytes, more than the %d allowed", key, e.n, keptStringMax)
	case !utf8.ValidString(e.text):
		c.fail(adviceReconvert, "%s is not valid UTF-8", key)
	default:
		return e.text
	}
	return ""
}

// kind finds out what kind of file this is.
func (c *checker) kind() {
	in := c.info
	kind, known := architectures()[in.Architecture]
	switch {
	case in.Type == "adapter":
		in.Kind = Adapter
	case in.Type == "mmproj", in.Type == "clip-vision":
		in.Kind = Projector
	case in.Type != "" && in.Type != "model":
		in.Kind = Other
	case in.Architecture == "":
		c.fail(adviceReconvert, "general.architecture is missing")
	case !known:
		c.fail(adviceNotLoaded, "unknown model architecture %s%s", quote(in.Architecture),
			nearest(in.Architecture, architectures()))
	default:
		in.Kind = kind
		if c.isModel() && len(in.Tensors) == 0 && c.f.Has(tokenizerKey("tokens")) {
			in.Kind = Vocabulary
		} else if kind.Chats() {
			in.Kind = c.specialise(kind)
		}
	}
}

// specialise recognises decoders that were trained to embed or to rank.
func (c *checker) specialise(kind Kind) Kind {
	pooling, _ := c.f.Uint(c.arch("pooling_type"))
	causal, ok := c.f.Bool(c.arch("attention.causal"))
	switch {
	case pooling == 4:
		return Reranker
	case pooling > 0 && pooling < 4, ok && !causal:
		return Embedding
	}
	return kind
}

// sizes checks the parameters that every network has.
func (c *checker) sizes() {
	if !c.isModel() {
		return
	}
	in := c.info
	for _, key := range []string{"context_length", "embedding_length", "block_count"} {
		if !c.f.Has(c.arch(key)) {
			c.fail(adviceReconvert, "%s is missing", c.arch(key))
		}
	}
	in.ContextLengthTrain = c.number("context_length", 1, contextMax, 0)
	in.EmbeddingLength = c.number("embedding_length", 1, widthMax, 0)
	in.Layers = c.number("block_count", 1, layersMax, 0)
	in.LayersNextN = c.number("nextn_predict_layers", 0, in.Layers, 0)
	in.ContextLengthShort = c.number("rope.scaling.original_context_length", 0, contextMax, 0)
}

// number reads a value of the architecture, of the type that llama.cpp insists on.
func (c *checker) number(name string, low, high, missing int) int {
	e := c.f.entry(c.arch(name))
	switch {
	case e == nil:
		return missing
	case e.typ != Uint32:
		c.fail(adviceReconvert, "%s must be a uint32, and is %v %s", e.key, e.typ, e.display())
	case int(e.bits) < low || int(e.bits) > high:
		c.fail(adviceDamaged, "%s is %d, and must be from %d to %d", e.key, e.bits, low, high)
	default:
		return int(e.bits)
	}
	return 0
}

// perLayer reads a value that is one number for all layers, or one for each; nil
// where it is missing.
func (c *checker) perLayer(name string, high int) []int {
	e := c.f.entry(c.arch(name))
	if e == nil {
		return nil
	}
	if e.typ != Array {
		return slices.Repeat([]int{c.number(name, 0, high, 0)}, c.info.Layers)
	}
	out := make([]int, c.info.Layers)
	if e.n != uint64(len(out)) {
		c.fail(adviceDamaged, "%s has %d values for %d layers", e.key, e.n, len(out))
		return out
	}
	values, err := c.f.Ints(e.key)
	if err != nil {
		c.fail(adviceReconvert, "%s must be whole numbers, and is %s", e.key, e.display())
		return out
	}
	for i, v := range values {
		if v < 0 || v > int64(high) {
			c.fail(adviceDamaged, "%s is %d in layer %d, and must be from 0 to %d", e.key, v, i, high)
		}
		out[i] = int(v)
	}
	return out
}

// attention checks heads and their sizes.
func (c *checker) attention() {
	if !c.isModel() {
		return
	}
	in := c.info
	heads := c.perLayer("attention.head_count", widthMax)
	if slices.Max(append(heads, 0)) == 0 {
		if in.Kind == Text || in.Kind == Embedding {
			c.fail(adviceDamaged, "%s is missing or zero", c.arch("attention.head_count"))
		}
		return // recurrent models have no heads
	}
	in.Heads = heads
	if in.HeadsKV = c.perLayer("attention.head_count_kv", widthMax); in.HeadsKV == nil {
		in.HeadsKV = slices.Clone(heads)
	}
	for i, n := range heads {
		if kv := in.HeadsKV[i]; kv > n || kv > 0 && n%kv != 0 {
			c.fail(adviceDamaged, "layer %d has %d attention heads for %d key heads, which is no whole number", i, n, kv)
		}
	}
	c.headSizes()
}

func (c *checker) headSizes() {
	in := c.info
	heads := slices.Max(in.Heads)
	if first := in.Heads[0]; first > 0 {
		heads = first // llama.cpp derives the size from layer 0
	}
	if !c.f.Has(c.arch("attention.key_length")) && in.EmbeddingLength%heads != 0 {
		c.fail(adviceDamaged, "%d attention heads do not divide an embedding of %d", heads,
			in.EmbeddingLength)
	}
	derived := in.EmbeddingLength / heads
	in.KeyLength = c.number("attention.key_length", 1, widthMax, derived)
	in.ValueLength = c.number("attention.value_length", 1, widthMax, derived)
	in.SlidingWindow = c.number("attention.sliding_window", 0, math.MaxInt, 0)
}

// rope checks the rotary position parameters that native code asserts.
func (c *checker) rope() {
	in := c.info
	if !c.isModel() || in.KeyLength == 0 {
		return
	}
	dims := c.number("rope.dimension_count", 0, in.KeyLength, in.KeyLength)
	switch {
	case dims%2 != 0:
		c.fail(adviceDamaged, "%s is %d, and must be even", c.arch("rope.dimension_count"), dims)
	case in.Architecture == "qwen2" || in.Architecture == "llama":
		if dims != in.KeyLength || in.KeyLength != in.ValueLength {
			c.fail(adviceDamaged, "key length %d, value length %d and rope dimensions %d must be equal in %s",
				in.KeyLength, in.ValueLength, dims, in.Architecture)
		}
	}
	scaling := c.text(c.arch("rope.scaling.type"))
	if !slices.Contains([]string{"", "none", "linear", "yarn", "longrope"}, scaling) {
		c.fail(adviceNotLoaded, "%s is %s, which llama.cpp does not know", c.arch("rope.scaling.type"),
			quote(scaling))
	}
}

// experts checks the counts of a mixture of experts.
func (c *checker) experts() {
	if !c.isModel() {
		return
	}
	n := c.number("expert_count", 0, expertsMax, 0)
	most := slices.Max(append(c.perLayer("expert_used_count", expertsMax), 0))
	groups := c.number("expert_group_count", 0, expertsMax, 0)
	switch {
	case most > n || n > 0 && most == 0:
		c.fail(adviceDamaged, "%d of %d experts are used", most, n)
	case groups > 0 && (groups >= n || groups > 1 && n%groups != 0):
		c.fail(adviceDamaged, "%d experts cannot form %d groups", n, groups)
	}
	c.info.Experts, c.info.ExpertsUsed = n, most
}

// floats checks that every number of the architecture is finite, and that those
// which native code divides by or takes roots of are in range.
func (c *checker) floats() {
	prefix := c.info.Architecture + "."
	for i := range c.f.entries {
		e := &c.f.entries[i]
		if e.typ != Float32 && e.typ != Float64 || !strings.HasPrefix(e.key, prefix) {
			continue
		}
		v, _ := e.float()
		switch {
		case math.IsNaN(v) || math.IsInf(v, 0):
			c.fail(adviceDamaged, "%s is %g", e.key, v)
		case strings.HasSuffix(e.key, "epsilon") && (v < 0 || v > 1):
			c.fail(adviceDamaged, "%s is %g, and must be from 0 to 1", e.key, v)
		case strings.HasSuffix(e.key, "freq_base") && v <= 0:
			c.fail(adviceDamaged, "%s is %g, and must be above 0", e.key, v)
		}
	}
}

// weights checks and adds up the tensors.
func (c *checker) weights() {
	in := c.info
	for _, t := range in.Tensors {
		in.WeightBytes += t.Bytes
		in.Parameters += t.Elements()
		if !c.isModel() {
			continue
		}
		// llama.cpp keeps vectors in float; its operations abort on others.
		if len(t.Shape) < 2 && !t.Type.isFloat() && !t.Type.isInteger() ||
			in.Kind == Text && t.isWeight() && t.Type.isInteger() {
			c.fail(adviceDamaged, "tensor %q has type %v, which cannot be computed with", t.Name, t.Type)
		}
	}
	if c.isModel() && len(in.Tensors) == 0 {
		c.fail(adviceDamaged, "the model has no tensors")
	}
	if in.Kind.Chats() {
		c.embeddingTable()
	}
}

// isWeight reports the tensors that are multiplied with, by their names.
func (t Tensor) isWeight() bool {
	parts := []string{"norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down",
		"ffn_gate.", "token_embd", "output."}
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(t.Name, part) })
}

// embeddingTable checks that the token embedding fits the declared sizes.
func (c *checker) embeddingTable() {
	in := c.info
	i := slices.IndexFunc(in.Tensors, func(t Tensor) bool { return t.Name == "token_embd.weight" })
	if i < 0 {
		c.fail(adviceDamaged, "tensor %q is missing", "token_embd.weight")
		return
	}
	t := in.Tensors[i]
	_, _, n, ok := c.f.Type(tokenizerKey("tokens"))
	switch {
	case len(t.Shape) != 2 || t.Shape[0] != uint64(in.EmbeddingLength):
		c.fail(adviceDamaged, "tensor %q has shape %v, and the embedding length is %d", t.Name, t.Shape,
			in.EmbeddingLength)
	case ok && n != t.Shape[1]:
		c.fail(adviceDamaged, "tensor %q has %d rows for a vocabulary of %d tokens", t.Name, t.Shape[1],
			n)
	}
}

func (c *checker) warn(format string, args ...any) {
	c.info.Warnings = append(c.info.Warnings, fmt.Sprintf(format, args...))
}
