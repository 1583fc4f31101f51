package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"agent/inference/gguf/gguftest"

	parser "github.com/gpustack/gguf-parser-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// realModel is the default model's file, or the test is skipped.
func realModel(t testing.TB) string {
	t.Helper()
	for _, path := range []string{os.Getenv("AGENT_TEST_GGUF"), "../../models/SmolLM2-135M-Instruct.Q4_1.gguf"} {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Skip("needs the default model: run make model, or set AGENT_TEST_GGUF to a .gguf file")
	return ""
}

func TestCheckTinyModel(t *testing.T) {
	in, err := Check(gguftest.Model().Write(t, "tiny.gguf"))
	require.NoError(t, err)
	assert.Equal(t, Text, in.Kind)
	assert.Equal(t, "llama", in.Architecture)
	assert.Equal(t, 64, in.ContextLengthTrain)
	assert.Equal(t, []int{2}, in.HeadsKV)
	assert.Equal(t, 8, in.KeyLength)
	assert.Equal(t, 8, in.VocabSize)
	assert.Equal(t, "F32", in.FileType)
	assert.InDelta(t, 1*2*(8+8)*2.0, in.KVBytesPerToken(2, 2), 0)
	assert.Equal(t, in.WeightBytes, int64(in.Parameters)*4)
	assert.Empty(t, in.Warnings)
	assert.NoError(t, in.RequireChat())
}

func u64(n uint64) *uint64 { return &n }

// le is bytes in the file's order.
func le(values ...any) []byte {
	var w bytes.Buffer
	for _, v := range values {
		_ = binary.Write(&w, binary.LittleEndian, v)
	}
	return w.Bytes()
}

func TestCheckRefuses(t *testing.T) {
	type B = gguftest.Builder
	for _, tt := range []struct {
		name   string
		change func(b *B)
		want   string
	}{
		{"version 1", func(b *B) { b.Version = 1 }, "version 1 is no longer supported"},
		{"version 4", func(b *B) { b.Version = 4 }, "version 4 is not supported"},
		{"version 0", func(b *B) { b.Version = 0 }, "version 0 is not supported"},
		{"big-endian", func(b *B) { b.Version = 3 << 24 }, "big-endian GGUF files are not supported"},
		{"tensor count", func(b *B) { b.TensorCount = u64(math.MaxUint64) }, "the tensor count is 18446744073709551615"},
		{"tensor count beyond file", func(b *B) { b.TensorCount = u64(100000) }, "the tensor count is 100000, but only"},
		{"kv count", func(b *B) { b.KVCount = u64(1 << 20) }, "the metadata count is 1048576"},
		{"duplicate key", func(b *B) { b.KVs = append(b.KVs, b.KVs[0]) }, `"general.architecture" occurs twice`},
		{"empty key", func(b *B) { b.KVs[0].Key = "" }, "metadata key 0 is"},
		{"NUL in key", func(b *B) { b.KVs[0].Key = "a\x00b" }, "metadata key 0 is"},
		{"unknown value type", func(b *B) { b.KVs[1].Raw = le(uint32(13)) }, "unknown type 13"},
		{"nested array", func(b *B) { b.KVs[1].Raw = le(uint32(9), uint32(9), uint64(1)) }, "an array of arrays"},
		{"unknown array type", func(b *B) { b.KVs[1].Raw = le(uint32(9), uint32(77), uint64(1)) }, "an array of an unknown type 77"},
		{"huge array", func(b *B) { b.KVs[1].Raw = le(uint32(9), uint32(4), uint64(1<<40)) }, "more than the 1073741824 allowed"},
		{"array beyond file", func(b *B) { b.KVs[1].Raw = le(uint32(9), uint32(8), uint64(1<<29)) }, "the file ends inside"},
		{"string beyond file", func(b *B) { b.KVs[1].Raw = le(uint32(8), uint64(math.MaxUint64)) }, "the file ends inside"},
		{"bool of 2", func(b *B) { b.KVs[1].Raw = le(uint32(7), uint8(2)) }, "a bool with the byte 2"},
		{"alignment 0", func(b *B) { b.Set("general.alignment", uint32(0)) }, "power of two"},
		{"alignment 48", func(b *B) { b.Set("general.alignment", uint32(48)) }, "power of two"},
		{"alignment uint64", func(b *B) { b.Set("general.alignment", uint64(32)) }, "power of two"},
		{"alignment differs", func(b *B) { b.Set("general.alignment", uint32(256)) }, "not at"},
		{"tensor name too long", func(b *B) { b.Tensors[1].Name = strings.Repeat("n", 64) }, "more than the 63 allowed"},
		{"tensor twice", func(b *B) { b.Tensors[1].Name = b.Tensors[2].Name }, "occurs twice"},
		{"tensor without name", func(b *B) { b.Tensors[1].Name = "" }, "the name of tensor 1"},
		{"five dimensions", func(b *B) { b.Tensors[1].Shape = []uint64{1, 1, 1, 1, 32} }, "5 dimensions"},
		{"removed type", func(b *B) { b.Tensors[1].Type = 31 }, "type 31, which llama.cpp no longer reads"},
		{"unknown type", func(b *B) { b.Tensors[1].Type = 99 }, "unknown type 99"},
		{"rows against blocks", func(b *B) { b.Tensors[5].Shape = []uint64{16, 32}; b.Tensors[5].Type = 2 }, "not a multiple of the 32"},
		{"shape overflow", func(b *B) { b.Tensors[1].Shape = []uint64{1 << 62, 1 << 62} }, "impossible shape"},
		{"shape overflow by one", func(b *B) { b.Tensors[1].Shape = []uint64{math.MaxUint64} }, "impossible shape"},
		{"bytes overflow", func(b *B) { b.Tensors[1].Shape = []uint64{1 << 61} }, "too large"},
		{"tensor beyond file", func(b *B) { b.Tensors[10].Shape = []uint64{32, 1 << 30} }, "the file ends inside tensor"},
		{"overlap", func(b *B) { b.Tensors[3].Offset = 0 }, "lies at offset 0 of the tensor data, not at"},
		{"offset beyond int64", func(b *B) { b.Tensors[3].Offset = math.MinInt64; b.Tensors[3].Offset = 1 << 62 }, "not at"},
		{"no architecture", func(b *B) { b.Delete("general.architecture") }, "general.architecture is missing"},
		{"architecture is a number", func(b *B) { b.Set("general.architecture", uint32(1)) }, "must be a string"},
		{"unknown architecture", func(b *B) { b.Set("general.architecture", "lama") }, `unknown model architecture "lama", the nearest known is "llama"`},
		{"no layers", func(b *B) { b.Set("llama.block_count", uint32(0)) }, "block_count is 0"},
		{"too many layers", func(b *B) { b.Set("llama.block_count", uint32(513)) }, "block_count is 513"},
		{"layers missing", func(b *B) { b.Delete("llama.block_count") }, "block_count is missing"},
		{"layers of wrong type", func(b *B) { b.Set("llama.block_count", uint64(1)) }, "must be a uint32"},
		{"no context", func(b *B) { b.Set("llama.context_length", uint32(0)) }, "context_length is 0"},
		{"no embedding", func(b *B) { b.Delete("llama.embedding_length") }, "embedding_length is missing"},
		{"embedding against tensor", func(b *B) { b.Set("llama.embedding_length", uint32(64)) }, "must be equal in llama"},
		{"no heads", func(b *B) { b.Delete("llama.attention.head_count") }, "head_count is missing or zero"},
		{"heads against embedding", func(b *B) { b.Set("llama.attention.head_count", uint32(6)) }, "do not divide"},
		{"heads against key heads", func(b *B) { b.Set("llama.attention.head_count_kv", uint32(3)) }, "4 attention heads for 3 key heads"},
		{"heads per layer", func(b *B) { b.Set("llama.attention.head_count_kv", []uint32{2, 2}) }, "2 values for 1 layers"},
		{"heads as floats", func(b *B) { b.Set("llama.attention.head_count", []float32{4}) }, "must be whole numbers"},
		{"rope dimensions", func(b *B) { b.Set("llama.rope.dimension_count", uint32(4)) }, "must be equal in llama"},
		{"rope odd", func(b *B) { b.Set("llama.rope.dimension_count", uint32(7)) }, "must be even"},
		{"rope scaling", func(b *B) { b.Set("llama.rope.scaling.type", "zigzag") }, "zigzag"},
		{"epsilon", func(b *B) { b.Set("llama.attention.layer_norm_rms_epsilon", float32(-1)) }, "must be from 0 to 1"},
		{"not a number", func(b *B) { b.Set("llama.rope.freq_base", float32(math.NaN())) }, "is NaN"},
		{"experts", func(b *B) { b.Set("llama.expert_used_count", uint32(2)) }, "2 of 0 experts"},
		{"vector quantised", func(b *B) { b.Tensors[1].Type = 26 }, "cannot be computed with"},
		{"no token embedding", func(b *B) { b.Tensors[0].Name = "x" }, `"token_embd.weight" is missing`},
		{"unknown tokenizer", func(b *B) { b.Set("tokenizer.ggml.model", "gpt3") }, `unknown tokenizer "gpt3", the nearest known is "gpt2"`},
		{"unknown pre-tokenizer", func(b *B) { b.Set("tokenizer.ggml.pre", "smolm") }, `the nearest known is "smollm"`},
		{"no tokenizer", func(b *B) { b.Delete("tokenizer.ggml.model") }, "no vocabulary"},
		{"no tokens", func(b *B) { b.Delete("tokenizer.ggml.tokens") }, "tokens is missing"},
		{"tokens against embedding", func(b *B) { b.Set("tokenizer.ggml.tokens", []string{"a"}) }, "8 rows for a vocabulary of 1"},
		{"token types", func(b *B) { b.Set("tokenizer.ggml.token_type", []int32{1}) }, "1 values for 8 tokens"},
		{"scores as strings", func(b *B) { b.Set("tokenizer.ggml.scores", []string{"a"}) }, "must be an array of float32"},
		{"no merges", func(b *B) { b.Delete("tokenizer.ggml.merges") }, "merges is missing"},
		{"token twice", func(b *B) { b.Set("tokenizer.ggml.tokens", []string{"a", "b", "c", "d", "e", "f", "g", "a"}) }, `tokens 0 and 7 of the vocabulary are both "a"`},
		{"end token", func(b *B) { b.Set("tokenizer.ggml.eos_token_id", uint32(8)) }, "eos_token_id is 8, and the vocabulary has 8 tokens"},
		{"id type", func(b *B) { b.Set("tokenizer.ggml.eos_token_id", int32(2)) }, "must be a uint32"},
		{"flag type", func(b *B) { b.Set("tokenizer.ggml.add_bos_token", uint32(1)) }, "must be a bool"},
		{"begin token", func(b *B) {
			b.Set("tokenizer.ggml.add_bos_token", true).Delete("tokenizer.ggml.bos_token_id")
		}, "a token at the begin of each text"},
		{"template not text", func(b *B) { b.Set("tokenizer.chat_template", "\xff") }, "not valid UTF-8"},
		{"part of a split", func(b *B) { b.Set("split.count", uint16(2)).Set("split.no", uint16(0)) }, "part 1 of 2 of a split model, but the file is not named so"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := gguftest.Model()
			tt.change(b)
			_, err := Check(b.Write(t, "bad.gguf"))
			require.ErrorContains(t, err, tt.want)
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.NotEmpty(t, e.Hint(), "a person needs to know what to do")
		})
	}
}

func TestCheckAccepts(t *testing.T) {
	type B = gguftest.Builder
	for _, tt := range []struct {
		name   string
		change func(b *B)
		kind   Kind
		warns  string
	}{
		{"version 2", func(b *B) { b.Version = 2 }, Text, ""},
		{"alignment 64", func(b *B) { b.Alignment = 64; b.Set("general.alignment", uint32(64)) }, Text, ""},
		{"heads per layer", func(b *B) { b.Set("llama.attention.head_count_kv", []int32{2}) }, Text, ""},
		{"padding token beyond", func(b *B) { b.Set("tokenizer.ggml.padding_token_id", uint32(99)) }, Text, "padding_token_id is 99"},
		{"no pre-tokenizer", func(b *B) { b.Delete("tokenizer.ggml.pre") }, Text, "split in a default way"},
		{"adapter", func(b *B) { b.Set("general.type", "adapter") }, Adapter, ""},
		{"projector", func(b *B) { b.Set("general.architecture", "clip").Set("general.type", "mmproj") }, Projector, ""},
		{"old projector", func(b *B) { b.Set("general.architecture", "clip") }, Projector, ""},
		{"importance matrix", func(b *B) { b.Set("general.type", "imatrix") }, Other, ""},
		{"embedding by pooling", func(b *B) { b.Set("llama.pooling_type", uint32(3)) }, Embedding, ""},
		{"embedding by attention", func(b *B) { b.Set("llama.attention.causal", false) }, Embedding, ""},
		{"reranker", func(b *B) { b.Set("llama.pooling_type", uint32(4)) }, Reranker, ""},
		{"vocabulary", func(b *B) { b.Tensors = nil }, Vocabulary, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := gguftest.Model()
			tt.change(b)
			in, err := Check(b.Write(t, "good.gguf"))
			require.NoError(t, err)
			assert.Equal(t, tt.kind, in.Kind)
			assert.Contains(t, strings.Join(in.Warnings, "\n"), tt.warns)
			if tt.kind.Chats() {
				assert.NoError(t, in.RequireChat())
			} else {
				assert.ErrorContains(t, in.RequireChat(), "it is a")
			}
		})
	}
}

func TestNotGGUF(t *testing.T) {
	safetensors := append(le(uint64(20)), []byte(`{"__metadata__":{}}  `)...)
	for _, tt := range []struct{ name, data, want string }{
		{"empty", "", "the file is empty"},
		{"three bytes", "GGU", "only 3 bytes"},
		{"only the magic", "GGUF", "the file ends inside the version"},
		{"web page", "\n<!DOCTYPE html><html>", "web page"},
		{"page without doctype", "<html lang=en>", "web page"},
		{"lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"},
		{"safetensors", string(safetensors), "safetensors"},
		{"zip", "PK\x03\x04....", "zip archive"},
		{"ggml", "lmgg\x00\x00", "GGML"},
		{"ggjt", "tjgg\x03\x00", "GGJT"},
		{"gzip", "\x1f\x8b\x08\x00", "gzip"},
		{"json", `{"error":"not found"}`, "JSON"},
		{"zeros", strings.Repeat("\x00", 600), "zeros"},
		{"other", "hello world", `begins with "hell"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Check(gguftest.WriteBytes(t, "x.gguf", []byte(tt.data)))
			require.ErrorContains(t, err, tt.want)
		})
	}
	t.Run("missing", func(t *testing.T) {
		_, err := Check(filepath.Join(t.TempDir(), "no.gguf"))
		assert.ErrorIs(t, err, fs.ErrNotExist)
	})
	t.Run("directory", func(t *testing.T) {
		_, err := Check(t.TempDir())
		assert.ErrorContains(t, err, "is a directory")
	})
}

// A cut anywhere is an error; the file is complete only at its full length, or
// when only the padding after the last tensor is missing.
func TestTruncations(t *testing.T) {
	whole := gguftest.Model()
	whole.Tensors = append(whole.Tensors, gguftest.F32("odd", 3))
	data := whole.Bytes()
	last := len(data) - 32 + 12
	cuts := map[int]bool{}
	for i := range 200 {
		cuts[i*last/200] = true
	}
	for cut := range cuts {
		_, err := Check(gguftest.WriteBytes(t, "cut.gguf", data[:cut]))
		var e *Error
		require.ErrorAs(t, err, &e, "cut at %d of %d", cut, len(data))
	}
	_, err := Check(gguftest.WriteBytes(t, "cut.gguf", data[:last]))
	assert.NoError(t, err)
}

func TestRealModelTruncations(t *testing.T) {
	src, err := Open(realModel(t))
	require.NoError(t, err)
	defer src.Close()
	// A sparse copy: the header is real, the tensor data are holes.
	path := filepath.Join(t.TempDir(), "cut.gguf")
	header := make([]byte, src.dataOffset)
	_, err = src.r.ReadAt(header, 0)
	require.NoError(t, err)
	cutAt := func(size int64) error {
		require.NoError(t, os.WriteFile(path, header, 0o600))
		require.NoError(t, os.Truncate(path, size))
		_, err := Check(path)
		return err
	}
	for i := range int64(200) {
		var e *Error
		require.ErrorAs(t, cutAt(i*src.Size/200), &e, "cut at %d/200", i)
	}
	assert.NoError(t, cutAt(src.Size))
}

func TestMutations(t *testing.T) {
	b := gguftest.Model()
	data, header := b.Bytes(), len(b.Header())
	rng := rand.New(rand.NewPCG(1, 2))
	path := filepath.Join(t.TempDir(), "m.gguf")
	for range 1000 {
		m := bytes.Clone(data)
		m[rng.IntN(header)] ^= byte(1 + rng.IntN(255))
		require.NoError(t, os.WriteFile(path, m, 0o600))
		checkBounded(t, path)
	}
}

// checkBounded runs every reading of a file; whatever it holds, memory stays in
// proportion to it.
func checkBounded(t testing.TB, path string) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	in, err := Check(path)
	runtime.ReadMemStats(&after)
	st, statErr := os.Stat(path)
	require.NoError(t, statErr)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20+64*st.Size()), "memory for %d bytes", st.Size())
	assert.Equal(t, err == nil, in != nil)
	if f, err := Open(path); err == nil {
		for _, e := range f.entries {
			_ = e.display()
			_, _ = f.Strings(e.key)
			_, _ = f.Ints(e.key)
			_, _ = f.Floats(e.key)
		}
		assert.NoError(t, f.Close())
		assert.NoError(t, f.Close())
	}
}

func TestSplit(t *testing.T) {
	dir := t.TempDir()
	paths := PartPaths(filepath.Join(dir, "m-00001-of-00002.gguf"))
	require.Len(t, paths, 2)
	write := func(change func(first, second *gguftest.Builder)) {
		first := gguftest.Model()
		second := &gguftest.Builder{Version: 3, Alignment: 32, Tensors: first.Tensors[5:]}
		first.Tensors = first.Tensors[:5]
		for i, b := range []*gguftest.Builder{first, second} {
			b.Set("split.no", uint16(i)).Set("split.count", uint16(2)).Set("split.tensors.count", int32(11))
		}
		change(first, second)
		require.NoError(t, os.WriteFile(paths[0], first.Bytes(), 0o600))
		require.NoError(t, os.WriteFile(paths[1], second.Bytes(), 0o600))
	}

	write(func(_, _ *gguftest.Builder) {})
	in, err := Check(paths[0])
	require.NoError(t, err)
	assert.Equal(t, paths, in.Files)
	assert.Len(t, in.Tensors, 11)
	whole, err := Check(gguftest.Model().Write(t, "whole.gguf"))
	require.NoError(t, err)
	assert.Equal(t, whole.WeightBytes, in.WeightBytes)

	_, err = Check(paths[1])
	require.ErrorContains(t, err, "part 2 of 2")
	assert.Contains(t, err.(*Error).Hint(), paths[0])

	for want, change := range map[string]func(first, second *gguftest.Builder){
		"split.no is 5":                       func(_, b *gguftest.Builder) { b.Set("split.no", uint16(5)) },
		"must be a uint16":                    func(_, b *gguftest.Builder) { b.Set("split.no", uint32(1)) },
		"11 tensors together, and 12":         func(b, _ *gguftest.Builder) { b.Set("split.tensors.count", int32(12)) },
		"is in two parts":                     func(b, c *gguftest.Builder) { c.Tensors[0] = b.Tensors[1] },
		"split.count is 3":                    func(_, b *gguftest.Builder) { b.Set("split.count", uint16(3)) },
		"the file ends inside the tensor cou": func(_, b *gguftest.Builder) {},
	} {
		write(change)
		if strings.HasPrefix(want, "the file ends") {
			require.NoError(t, os.Truncate(paths[1], 10))
		}
		_, err = Check(paths[0])
		assert.ErrorContains(t, err, want)
	}
	require.NoError(t, os.Remove(paths[1]))
	_, err = Check(paths[0])
	assert.ErrorContains(t, err, "part 2 of 2 cannot be read")
}

func TestPartPaths(t *testing.T) {
	for name, want := range map[string]int{
		"m-00002-of-00003.gguf": 3, "m.gguf": 0, "m-00000-of-00003.gguf": 0, "m-00004-of-00003.gguf": 0,
		"m-00001-of-99999.gguf": 0, "m-1-of-3.gguf": 0, "-00001-of-00001.gguf": 0, "a-b-00001-of-00001.gguf": 1,
	} {
		assert.Len(t, PartPaths(name), want, name)
	}
}

func TestRealModel(t *testing.T) {
	path := realModel(t)
	in, err := Check(path)
	require.NoError(t, err)
	require.NoError(t, in.RequireChat())
	assert.NotZero(t, in.Parameters)

	want, err := parser.ParseGGUFFile(path)
	require.NoError(t, err)
	meta := want.Metadata()
	assert.Equal(t, meta.Architecture, in.Architecture)
	assert.Equal(t, meta.Name, in.Name)
	assert.Equal(t, uint64(meta.Parameters), in.Parameters)
	arch := want.Architecture()
	assert.EqualValues(t, arch.MaximumContextLength, in.ContextLengthTrain)
	assert.EqualValues(t, arch.EmbeddingLength, in.EmbeddingLength)
	assert.EqualValues(t, arch.BlockCount, in.Layers)
	assert.EqualValues(t, arch.AttentionHeadCount, in.Heads[0])
	assert.EqualValues(t, arch.AttentionHeadCountKV, in.HeadsKV[0])
	assert.EqualValues(t, arch.AttentionKeyLength, in.KeyLength)

	f, err := Open(path)
	require.NoError(t, err)
	defer f.Close()
	assert.EqualValues(t, want.TensorDataStartOffset, f.dataOffset)
	require.Len(t, f.Tensors, len(want.TensorInfos))
	for i, w := range want.TensorInfos {
		got := f.Tensors[i]
		assert.Equal(t, w.Name, got.Name)
		assert.Equal(t, w.Dimensions, got.Shape)
		assert.EqualValues(t, w.Offset, got.Offset)
		assert.EqualValues(t, w.Type, got.Type)
		assert.EqualValues(t, w.Bytes(), got.Bytes)
	}
	require.Len(t, f.entries, len(want.Header.MetadataKV))
	v, err := f.Vocab()
	require.NoError(t, err)
	tokens, ok := want.Header.MetadataKV.Get("tokenizer.ggml.tokens")
	require.True(t, ok)
	assert.Equal(t, tokens.ValueArray().ValuesString(), v.Tokens)
	assert.Len(t, v.Types, len(v.Tokens))
}

// The lists of known names are those of the llama.cpp that is built.
func TestKnownNames(t *testing.T) {
	src := os.Getenv("AGENT_LLAMA_SRC")
	if src == "" {
		src = "../../third_party/llama.cpp"
	}
	names := func(file, pattern string) map[string]bool {
		text, err := os.ReadFile(filepath.Join(src, file))
		if err != nil {
			t.Skip("needs the sources of llama.cpp: run make native, or set AGENT_LLAMA_SRC")
		}
		found := map[string]bool{}
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
			found[m[1]] = true
		}
		delete(found, "(unknown)")
		delete(found, "test") // llama.cpp's own test tokenizer
		return found
	}
	known := map[string]bool{}
	for name := range architectures() {
		known[name] = true
	}
	assert.Equal(t, names("src/llama-arch.cpp", `\{ LLM_ARCH_\w+,\s*"([^"]+)"`), known)
	assert.Equal(t, names("src/llama-vocab.cpp", `tokenizer_model == "([^"]+)"`), tokenizers())
	assert.Equal(t, names("src/llama-vocab.cpp", `tokenizer_pre == "([^"]+)"`), pretokenizers())
}

// The vocabularies that llama.cpp tests itself with are all accepted.
func TestLlamaVocabularies(t *testing.T) {
	src := os.Getenv("AGENT_LLAMA_SRC")
	if src == "" {
		src = "../../third_party/llama.cpp"
	}
	paths, err := filepath.Glob(filepath.Join(src, "models", "ggml-vocab-*.gguf"))
	require.NoError(t, err)
	if len(paths) == 0 {
		t.Skip("needs the sources of llama.cpp: run make native, or set AGENT_LLAMA_SRC")
	}
	for _, path := range paths {
		in, err := Check(path)
		if assert.NoError(t, err) {
			assert.Equal(t, Vocabulary, in.Kind, path)
			assert.ErrorContains(t, in.RequireChat(), "a vocabulary without weights")
		}
	}
}

func TestGetters(t *testing.T) {
	b := gguftest.Model().Set("x.i", int32(-3)).Set("x.f", float32(1.5)).Set("x.u8", uint8(7)).
		Set("x.big", uint64(math.MaxUint64)).Set("x.bools", []bool{true, false}).Set("x.long", strings.Repeat("z", keptStringMax+1))
	f, err := Open(b.Write(t, "g.gguf"))
	require.NoError(t, err)
	defer f.Close()
	_, ok := f.Uint("x.i")
	assert.False(t, ok)
	u, _ := f.Uint("x.u8")
	assert.EqualValues(t, 7, u)
	u, _ = f.Uint("x.big")
	assert.EqualValues(t, uint64(math.MaxUint64), u)
	flags, err := f.Ints("x.bools")
	require.NoError(t, err)
	assert.Equal(t, []int64{1, 0}, flags)
	_, ok = f.String("x.long")
	assert.False(t, ok)
	assert.Equal(t, "string of 1048577 bytes", f.entry("x.long").display())
	none, err := f.Strings("absent")
	assert.NoError(t, err)
	assert.Nil(t, none)
	_, err = f.Strings("x.bools")
	assert.ErrorContains(t, err, "must be an array of string")
	_, err = f.Ints("tokenizer.ggml.tokens")
	assert.Error(t, err)
	var e *Error
	assert.True(t, errors.As(err, &e))
}

func FuzzCheck(f *testing.F) {
	f.Add(gguftest.Model().Header())
	small := &gguftest.Builder{Version: 3, Alignment: 32}
	f.Add(small.Set("general.architecture", "llama").Set("a", []bool{true}).Bytes())
	f.Add([]byte("GGUF\x03\x00\x00\x00"))
	f.Add([]byte("<!doctype html>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		checkBounded(t, gguftest.WriteBytes(t, "f.gguf", data))
	})
}

func BenchmarkCheck(b *testing.B) {
	path := realModel(b)
	for b.Loop() {
		if _, err := Check(path); err != nil {
			b.Fatal(err)
		}
	}
}
