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
	c := &checker{f: f, info: &Info{Path: f.Path, Files: []string{f.Path}, Version: f.Version, FileBytes: f.Size}}
	if err := c.run(); err != nil {
		return nil, err
	}
	return c.info, nil
}

// checker fills an Info and stops at the first fault.
type checker struct {
	f    *File
	info *Info
}

func (c *checker) run() error {
	if err := c.parts(); err != nil {
		return err
	}
	for _, check := range []func() *fault{c.general, c.sizes, c.attention, c.rope, c.experts, c.floats, c.weights} {
		if fault := check(); fault != nil {
			return fault.in(c.f.Path)
		}
	}
	return c.vocabulary()
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

// general finds out what kind of file this is.
func (c *checker) general() *fault {
	in := c.info
	for key, dst := range map[string]*string{
		"general.architecture": &in.Architecture, "general.name": &in.Name, "general.type": &in.Type,
		"general.license": &in.License, "general.size_label": &in.SizeLabel, "general.basename": &in.BaseName,
		"tokenizer.chat_template": &in.ChatTemplate,
	} {
		text, fault := c.optionalText(key)
		if fault != nil {
			return fault
		}
		*dst = text
	}
	if v, ok := c.f.Uint("general.file_type"); ok {
		in.FileType = fileTypes[v&^1024] // the bit says that it was guessed
	}
	c.sampling()
	return c.kind()
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

func (c *checker) optionalText(key string) (string, *fault) {
	e := c.f.entry(key)
	switch {
	case e == nil:
		return "", nil
	case e.typ != String:
		return "", faultf(adviceReconvert, "%s must be a string, and is %s", key, e.display())
	case !e.kept:
		return "", faultf(adviceDamaged, "%s has %d bytes, more than the %d allowed", key, e.n, keptStringMax)
	case !utf8.ValidString(e.text):
		return "", faultf(adviceReconvert, "%s is not valid UTF-8", key)
	}
	return e.text, nil
}

func (c *checker) kind() *fault {
	in := c.info
	switch in.Type {
	case "adapter":
		in.Kind = Adapter
		return nil
	case "mmproj", "clip-vision":
		in.Kind = Projector
		return nil
	case "", "model":
	default:
		in.Kind = Other
		return nil
	}
	if in.Architecture == "" {
		return faultf(adviceReconvert, "general.architecture is missing")
	}
	kind, ok := architectures()[in.Architecture]
	if !ok {
		return faultf(adviceNotLoaded, "unknown model architecture %s%s", quote(in.Architecture),
			nearest(in.Architecture, architectures()))
	}
	in.Kind = kind
	if c.isModel() && len(in.Tensors) == 0 && c.f.Has(tokenizerKey("tokens")) {
		in.Kind = Vocabulary
	} else if kind.Chats() {
		in.Kind = c.specialise(kind)
	}
	return nil
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
func (c *checker) sizes() *fault {
	if !c.isModel() {
		return nil
	}
	in := c.info
	for _, p := range []struct {
		key string
		dst *int
		max uint64
	}{
		{"context_length", &in.ContextLengthTrain, contextMax},
		{"embedding_length", &in.EmbeddingLength, widthMax},
		{"block_count", &in.Layers, layersMax},
	} {
		v, fault := c.requireUint32(c.arch(p.key), 1, p.max)
		if fault != nil {
			return fault
		}
		*p.dst = int(v)
	}
	nextn, fault := c.optionalUint32(c.arch("nextn_predict_layers"), 0, uint64(in.Layers), 0)
	in.LayersNextN = int(nextn)
	if fault == nil {
		var short uint64
		short, fault = c.optionalUint32(c.arch("rope.scaling.original_context_length"), 0, contextMax, 0)
		in.ContextLengthShort = int(short)
	}
	return fault
}

func (c *checker) requireUint32(key string, low, high uint64) (uint64, *fault) {
	if !c.f.Has(key) {
		return 0, faultf(adviceReconvert, "%s is missing", key)
	}
	return c.optionalUint32(key, low, high, 0)
}

// optionalUint32 reads a value of the type that llama.cpp insists on.
func (c *checker) optionalUint32(key string, low, high, missing uint64) (uint64, *fault) {
	e := c.f.entry(key)
	switch {
	case e == nil:
		return missing, nil
	case e.typ != Uint32:
		return 0, faultf(adviceReconvert, "%s must be a uint32, and is %v %s", key, e.typ, e.display())
	case e.bits < low || e.bits > high:
		return 0, faultf(adviceDamaged, "%s is %d, and must be from %d to %d", key, e.bits, low, high)
	}
	return e.bits, nil
}

// perLayer reads a value that is one number for all layers, or one for each.
func (c *checker) perLayer(key string, high int64) ([]int, *fault) {
	e := c.f.entry(key)
	if e == nil {
		return nil, nil
	}
	values := make([]int64, c.info.Layers)
	if e.typ == Array {
		var err error
		if e.n != uint64(c.info.Layers) {
			return nil, faultf(adviceDamaged, "%s has %d values for %d layers", key, e.n, c.info.Layers)
		}
		if values, err = c.f.Ints(key); err != nil {
			return nil, faultf(adviceReconvert, "%s must be whole numbers, and is %s", key, e.display())
		}
	} else {
		v, fault := c.optionalUint32(key, 0, uint64(high), 0)
		if fault != nil {
			return nil, fault
		}
		for i := range values {
			values[i] = int64(v)
		}
	}
	out := make([]int, len(values))
	for i, v := range values {
		if v < 0 || v > high {
			return nil, faultf(adviceDamaged, "%s is %d in layer %d, and must be from 0 to %d", key, v, i, high)
		}
		out[i] = int(v)
	}
	return out, nil
}

// attention checks heads and their sizes.
func (c *checker) attention() *fault {
	if !c.isModel() {
		return nil
	}
	in := c.info
	heads, fault := c.perLayer(c.arch("attention.head_count"), widthMax)
	if fault != nil {
		return fault
	}
	if slices.Max(append(heads, 0)) == 0 {
		if in.Kind == Text || in.Kind == Embedding {
			return faultf(adviceDamaged, "%s is missing or zero", c.arch("attention.head_count"))
		}
		return nil // recurrent models have no heads
	}
	in.Heads = heads
	if in.HeadsKV, fault = c.perLayer(c.arch("attention.head_count_kv"), widthMax); fault != nil {
		return fault
	}
	if in.HeadsKV == nil {
		in.HeadsKV = slices.Clone(heads)
	}
	if fault := c.headGroups(); fault != nil {
		return fault
	}
	return c.headSizes()
}

// headGroups checks that the query heads divide evenly among the key heads.
func (c *checker) headGroups() *fault {
	for i, n := range c.info.Heads {
		kv := c.info.HeadsKV[i]
		if kv > n || kv > 0 && n%kv != 0 {
			return faultf(adviceDamaged, "layer %d has %d attention heads for %d key heads, which is no whole number", i, n, kv)
		}
	}
	return nil
}

func (c *checker) headSizes() *fault {
	in := c.info
	heads := slices.Max(in.Heads)
	if first := in.Heads[0]; first > 0 {
		heads = first // llama.cpp derives the size from layer 0
	}
	derived := uint64(in.EmbeddingLength / heads)
	if !c.f.Has(c.arch("attention.key_length")) && in.EmbeddingLength%heads != 0 {
		return faultf(adviceDamaged, "%d attention heads do not divide an embedding of %d", heads, in.EmbeddingLength)
	}
	k, fault := c.optionalUint32(c.arch("attention.key_length"), 1, widthMax, derived)
	if fault != nil {
		return fault
	}
	v, fault := c.optionalUint32(c.arch("attention.value_length"), 1, widthMax, derived)
	if fault != nil {
		return fault
	}
	window, fault := c.optionalUint32(c.arch("attention.sliding_window"), 0, math.MaxUint32, 0)
	in.KeyLength, in.ValueLength, in.SlidingWindow = int(k), int(v), int(window)
	return fault
}

// rope checks the rotary position parameters that native code asserts.
func (c *checker) rope() *fault {
	in := c.info
	if !c.isModel() || in.KeyLength == 0 {
		return nil
	}
	dims, fault := c.optionalUint32(c.arch("rope.dimension_count"), 0, uint64(in.KeyLength), uint64(in.KeyLength))
	switch {
	case fault != nil:
		return fault
	case dims%2 != 0:
		return faultf(adviceDamaged, "%s is %d, and must be even", c.arch("rope.dimension_count"), dims)
	case in.Architecture == "qwen2" || in.Architecture == "llama":
		if dims != uint64(in.KeyLength) || in.KeyLength != in.ValueLength {
			return faultf(adviceDamaged, "key length %d, value length %d and rope dimensions %d must be equal in %s",
				in.KeyLength, in.ValueLength, dims, in.Architecture)
		}
	}
	scaling, fault := c.optionalText(c.arch("rope.scaling.type"))
	if fault != nil {
		return fault
	}
	if scaling != "" && !slices.Contains([]string{"none", "linear", "yarn", "longrope"}, scaling) {
		return faultf(adviceNotLoaded, "%s is %s, which llama.cpp does not know", c.arch("rope.scaling.type"), quote(scaling))
	}
	return nil
}

// experts checks the counts of a mixture of experts.
func (c *checker) experts() *fault {
	if !c.isModel() {
		return nil
	}
	n, fault := c.optionalUint32(c.arch("expert_count"), 0, expertsMax, 0)
	if fault != nil {
		return fault
	}
	used, fault := c.perLayer(c.arch("expert_used_count"), expertsMax)
	if fault != nil {
		return fault
	}
	groups, fault := c.optionalUint32(c.arch("expert_group_count"), 0, expertsMax, 0)
	if fault != nil {
		return fault
	}
	most := uint64(slices.Max(append(used, 0)))
	switch {
	case most > n || n > 0 && most == 0:
		return faultf(adviceDamaged, "%d of %d experts are used", most, n)
	case groups > 0 && (groups >= n || groups > 1 && n%groups != 0):
		return faultf(adviceDamaged, "%d experts cannot form %d groups", n, groups)
	}
	c.info.Experts, c.info.ExpertsUsed = int(n), int(most)
	return nil
}

// floats checks that every number of the architecture is finite, and that those
// which native code divides by or takes roots of are in range.
func (c *checker) floats() *fault {
	prefix := c.info.Architecture + "."
	for i := range c.f.entries {
		e := &c.f.entries[i]
		if e.typ != Float32 && e.typ != Float64 || !strings.HasPrefix(e.key, prefix) {
			continue
		}
		v, _ := e.float()
		switch {
		case math.IsNaN(v) || math.IsInf(v, 0):
			return faultf(adviceDamaged, "%s is %g", e.key, v)
		case strings.HasSuffix(e.key, "epsilon") && (v < 0 || v > 1):
			return faultf(adviceDamaged, "%s is %g, and must be from 0 to 1", e.key, v)
		case strings.HasSuffix(e.key, "freq_base") && v <= 0:
			return faultf(adviceDamaged, "%s is %g, and must be above 0", e.key, v)
		}
	}
	return nil
}

// weights checks and adds up the tensors.
func (c *checker) weights() *fault {
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
			return faultf(adviceDamaged, "tensor %q has type %v, which cannot be computed with", t.Name, t.Type)
		}
	}
	if c.isModel() && len(in.Tensors) == 0 {
		return faultf(adviceDamaged, "the model has no tensors")
	}
	return c.embeddingTable()
}

// isWeight reports the tensors that are multiplied with, by their names.
func (t Tensor) isWeight() bool {
	for _, part := range []string{"norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down",
		"ffn_gate.", "token_embd", "output."} {
		if strings.Contains(t.Name, part) {
			return true
		}
	}
	return false
}

// embeddingTable checks that the token embedding fits the declared sizes.
func (c *checker) embeddingTable() *fault {
	in := c.info
	i := slices.IndexFunc(in.Tensors, func(t Tensor) bool { return t.Name == "token_embd.weight" })
	if !in.Kind.Chats() {
		return nil
	}
	if i < 0 {
		return faultf(adviceDamaged, "tensor %q is missing", "token_embd.weight")
	}
	t := in.Tensors[i]
	if len(t.Shape) != 2 || t.Shape[0] != uint64(in.EmbeddingLength) {
		return faultf(adviceDamaged, "tensor %q has shape %v, and the embedding length is %d", t.Name, t.Shape,
			in.EmbeddingLength)
	}
	if _, _, n, ok := c.f.Type(tokenizerKey("tokens")); ok && n != t.Shape[1] {
		return faultf(adviceDamaged, "tensor %q has %d rows for a vocabulary of %d tokens", t.Name, t.Shape[1], n)
	}
	return nil
}

func (c *checker) warn(format string, args ...any) {
	c.info.Warnings = append(c.info.Warnings, fmt.Sprintf(format, args...))
}
