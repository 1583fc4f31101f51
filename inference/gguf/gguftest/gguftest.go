// Package gguftest writes small GGUF files for tests: well-formed models by
// [Model], and anything else by changing a [Builder] or its bytes.
package gguftest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// KV is one metadata pair. Value is a Go scalar, string, or slice of those; Raw
// replaces type and value by bytes as they stand.
type KV struct {
	Key   string
	Value any
	Raw   []byte
}

// Tensor is one tensor; its data are zeros. Offset < 0 means where it belongs.
type Tensor struct {
	Name   string
	Shape  []uint64
	Type   uint32
	Bytes  int64
	Offset int64
}

// Builder is a file to be written.
type Builder struct {
	Version   uint32
	Alignment int64
	KVs       []KV
	Tensors   []Tensor
	// Counts in the header; nil means the true ones.
	TensorCount, KVCount *uint64
}

// Set replaces the value of a key, or adds it.
func (b *Builder) Set(key string, value any) *Builder {
	for i := range b.KVs {
		if b.KVs[i].Key == key {
			b.KVs[i] = KV{Key: key, Value: value}
			return b
		}
	}
	b.KVs = append(b.KVs, KV{Key: key, Value: value})
	return b
}

// Delete removes a key.
func (b *Builder) Delete(key string) *Builder {
	for i := range b.KVs {
		if b.KVs[i].Key == key {
			b.KVs = append(b.KVs[:i], b.KVs[i+1:]...)
			break
		}
	}
	return b
}

// Model is a well-formed model of architecture llama with one layer, small
// enough to be written thousands of times, and a byte-level vocabulary.
func Model() *Builder {
	tokens := []string{"<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b", "ab", "Ġ", "Ċ"}
	types := []int32{3, 3, 3, 1, 1, 1, 1, 1}
	b := &Builder{Version: 3, Alignment: 32, KVs: []KV{
		{Key: "general.architecture", Value: "llama"},
		{Key: "general.name", Value: "Tiny"},
		{Key: "general.file_type", Value: uint32(0)},
		{Key: "llama.block_count", Value: uint32(1)},
		{Key: "llama.context_length", Value: uint32(64)},
		{Key: "llama.embedding_length", Value: uint32(32)},
		{Key: "llama.feed_forward_length", Value: uint32(32)},
		{Key: "llama.attention.head_count", Value: uint32(4)},
		{Key: "llama.attention.head_count_kv", Value: uint32(2)},
		{Key: "llama.attention.layer_norm_rms_epsilon", Value: float32(1e-5)},
		{Key: "llama.rope.dimension_count", Value: uint32(8)},
		{Key: "tokenizer.ggml.model", Value: "gpt2"},
		{Key: "tokenizer.ggml.pre", Value: "smollm"},
		{Key: "tokenizer.ggml.tokens", Value: tokens},
		{Key: "tokenizer.ggml.token_type", Value: types},
		{Key: "tokenizer.ggml.merges", Value: []string{"a b"}},
		{Key: "tokenizer.ggml.bos_token_id", Value: uint32(1)},
		{Key: "tokenizer.ggml.eos_token_id", Value: uint32(2)},
		{Key: "tokenizer.ggml.add_bos_token", Value: false},
		{Key: "tokenizer.chat_template", Value: "{{ messages[0].content }}"},
	}}
	vocab := uint64(len(tokens))
	b.Tensors = []Tensor{
		F32("token_embd.weight", 32, vocab), F32("output_norm.weight", 32),
		F32("blk.0.attn_norm.weight", 32), F32("blk.0.ffn_norm.weight", 32),
		F32("blk.0.attn_q.weight", 32, 32), F32("blk.0.attn_k.weight", 32, 16),
		F32("blk.0.attn_v.weight", 32, 16), F32("blk.0.attn_output.weight", 32, 32),
		F32("blk.0.ffn_gate.weight", 32, 32), F32("blk.0.ffn_up.weight", 32, 32),
		F32("blk.0.ffn_down.weight", 32, 32),
	}
	return b
}

// F32 is a tensor of floats in its place.
func F32(name string, shape ...uint64) Tensor {
	n := int64(4)
	for _, d := range shape {
		n *= int64(d)
	}
	return Tensor{Name: name, Shape: shape, Bytes: n, Offset: -1}
}

// Header is the file up to the tensor data, padded.
func (b *Builder) Header() []byte {
	var w bytes.Buffer
	w.WriteString("GGUF")
	tensors, kvs := uint64(len(b.Tensors)), uint64(len(b.KVs))
	if b.TensorCount != nil {
		tensors = *b.TensorCount
	}
	if b.KVCount != nil {
		kvs = *b.KVCount
	}
	put(&w, b.Version, tensors, kvs)
	for _, kv := range b.KVs {
		putString(&w, kv.Key)
		if kv.Raw != nil {
			w.Write(kv.Raw)
			continue
		}
		putValue(&w, kv.Value)
	}
	b.putTensors(&w)
	w.Write(make([]byte, padding(int64(w.Len()), b.Alignment)))
	return w.Bytes()
}

func (b *Builder) putTensors(w *bytes.Buffer) {
	next := int64(0)
	for _, t := range b.Tensors {
		putString(w, t.Name)
		put(w, uint32(len(t.Shape)))
		for _, d := range t.Shape {
			put(w, d)
		}
		offset := t.Offset
		if offset < 0 {
			offset = next
		}
		put(w, t.Type, uint64(offset))
		next += t.Bytes + padding(t.Bytes, b.Alignment)
	}
}

// Bytes is the whole file.
func (b *Builder) Bytes() []byte {
	out := b.Header()
	for _, t := range b.Tensors {
		out = append(out, make([]byte, t.Bytes+padding(t.Bytes, b.Alignment))...)
	}
	return out
}

// Write puts the file into the test's temporary directory.
func (b *Builder) Write(t testing.TB, name string) string {
	t.Helper()
	return WriteBytes(t, name, b.Bytes())
}

// WriteBytes puts any bytes into a file of the test's temporary directory.
func WriteBytes(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func padding(n, alignment int64) int64 { return (alignment - n%alignment) % alignment }

// put writes fixed-size values, little-endian.
func put(w *bytes.Buffer, values ...any) {
	for _, v := range values {
		if err := binary.Write(w, binary.LittleEndian, v); err != nil {
			panic(err) // a bytes.Buffer takes everything of fixed size
		}
	}
}

func putString(w *bytes.Buffer, s string) {
	put(w, uint64(len(s)))
	w.WriteString(s)
}

func putValue(w *bytes.Buffer, v any) {
	switch v := v.(type) {
	case string:
		put(w, uint32(8))
		putString(w, v)
	case []string:
		put(w, uint32(9), uint32(8), uint64(len(v)))
		for _, s := range v {
			putString(w, s)
		}
	case []int32:
		put(w, uint32(9), uint32(5), uint64(len(v)), v)
	case []uint32:
		put(w, uint32(9), uint32(4), uint64(len(v)), v)
	case []float32:
		put(w, uint32(9), uint32(6), uint64(len(v)), v)
	case []bool:
		put(w, uint32(9), uint32(7), uint64(len(v)), v)
	default:
		put(w, scalarType(v), v)
	}
}

func scalarType(v any) uint32 {
	switch v.(type) {
	case uint8:
		return 0
	case int8:
		return 1
	case uint16:
		return 2
	case int16:
		return 3
	case uint32:
		return 4
	case int32:
		return 5
	case float32:
		return 6
	case bool:
		return 7
	case uint64:
		return 10
	case int64:
		return 11
	case float64:
		return 12
	}
	panic(fmt.Sprintf("gguftest: no GGUF type for %T", v))
}
