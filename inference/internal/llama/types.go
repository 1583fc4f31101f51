// Package llama is the only place where Go meets llama.cpp. It is a thin view
// of the C ABI in inference/shim/shim.h: types without C in them, one call per
// engine tick, errors that keep the native text.
//
// Exactly one Go struct owns each native object; Close is idempotent and safe
// on nil. A Context may be used by one goroutine at a time, except Abort.
// Without cgo the package still builds, and loading says what to do.
package llama

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Codes of a failed step; see shim.h.
var (
	// ErrKVFull: no room in the KV cache; nothing was changed.
	ErrKVFull = errors.New("the KV cache is full")
	// ErrAborted: Abort was called; finished ubatches stay in the cache.
	ErrAborted = errors.New("aborted")
	// ErrNotBuilt: this binary has no native code in it.
	ErrNotBuilt = errors.New("this binary was built without the native engine")
)

// Error is a failed native call.
type Error struct {
	Op     string // what was tried
	Detail string // the native text
	Advice string
	Err    error // ErrKVFull, ErrAborted or nil
}

func (e *Error) Error() string {
	if e.Detail == "" && e.Err != nil {
		return e.Op + ": " + e.Err.Error()
	}
	return fmt.Sprintf("%s: %s", e.Op, e.Detail)
}
func (e *Error) Unwrap() error { return e.Err }

// Hint says what a person can do about it.
func (e *Error) Hint() string { return e.Advice }

// LoadMode is how weights get into memory.
type LoadMode int32

// Load modes, as llama_load_mode numbers them.
const (
	LoadPlain     LoadMode = 0
	LoadMmap      LoadMode = 1
	LoadMlock     LoadMode = 2
	LoadMmapMlock LoadMode = 3
)

// ModelParams configure loading.
type ModelParams struct {
	GPULayers    int // -1: all
	LoadMode     LoadMode
	MainGPU      int
	TensorSplit  []float32
	Devices      []int // what layers lie on, as SystemInfo.Devices counts; none: on the CPU
	CPUExperts   int   // the experts of that many layers stay on the CPU
	VocabOnly    bool
	CheckTensors bool
}

// ModelInfo is what llama.cpp says about a loaded model.
type ModelInfo struct {
	Description     string `json:"description"`
	Architecture    string `json:"architecture"`
	Name            string `json:"name"`
	ContextLength   int    `json:"context_length"`
	Layers          int    `json:"layers"`
	EmbeddingLength int    `json:"embedding_length"`
	SlidingWindow   int    `json:"sliding_window"`
	Bytes           uint64 `json:"bytes"`
	Parameters      uint64 `json:"parameters"`
	VocabSize       int    `json:"vocab_size"`
	VocabType       int    `json:"vocab_type"`
	BOS             int32  `json:"bos"`
	EOS             int32  `json:"eos"`
	EOT             int32  `json:"eot"`
	AddBOS          bool   `json:"add_bos"`
	AddEOS          bool   `json:"add_eos"`
	Recurrent       bool   `json:"recurrent"`
	Hybrid          bool   `json:"hybrid"`
	Diffusion       bool   `json:"diffusion"`
	HasEncoder      bool   `json:"has_encoder"`
	HasDecoder      bool   `json:"has_decoder"`
	ChatTemplate    string `json:"chat_template"`
}

// Vocab is the whole vocabulary. Piece i is Pieces[Offsets[i]:Offsets[i+1]].
type Vocab struct {
	Pieces  []byte
	Offsets []uint32
	Attrs   []uint32 // llama_token_attr bits; AttrEOG for end of generation
}

// Attribute bits of a token.
const (
	AttrUnknown     = 1 << 0
	AttrNormal      = 1 << 2
	AttrControl     = 1 << 3
	AttrUserDefined = 1 << 4
	AttrByte        = 1 << 5
	AttrLstrip      = 1 << 7
	AttrRstrip      = 1 << 8
	AttrEOG         = 1 << 30
)

// Len is the number of tokens.
func (v *Vocab) Len() int { return len(v.Attrs) }

// Piece is the text of a token; the slice must not be changed.
func (v *Vocab) Piece(id int32) []byte { return v.Pieces[v.Offsets[id]:v.Offsets[id+1]] }

// ContextParams configure a context. Sizes are in tokens.
type ContextParams struct {
	Cells        int // of the KV cache, shared by all sequences
	Batch        int // rows of one step
	Ubatch       int
	Sequences    int
	Outputs      int // rows of one step that want logits; at least Sequences
	Threads      int
	ThreadsBatch int
	KVType       int // ggml type number
	FlashAttn    int // -1 auto, 0 off, 1 on
	Embeddings   bool
}

// KV cache types by name, as ggml numbers them.
var kvTypes = map[string]int{"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8, "bf16": 30}

// KVType finds the number of a KV cache type; ok is false for unknown names.
func KVType(name string) (n int, ok bool) { n, ok = kvTypes[name]; return }

// SamplerParams are llama.cpp's own: zero means off for TopK and MinP, one
// means off for TopP and RepeatPenalty, and temperature 0 is greedy.
type SamplerParams struct {
	Temperature   float32
	TopK          int32
	TopP          float32
	MinP          float32
	RepeatPenalty float32
	RepeatLastN   int32
	Frequency     float32 // penalty for each time a token stands in the reply
	Presence      float32 // penalty for tokens that stand in it
	Bias          map[int32]float32
	Seed          uint32
	TopLogprobs   int32
	Logprobs      bool
	Grammar       string // GBNF; empty: none
}

// Row is one token of a step.
type Row struct {
	Token, Pos int32
	Seqs       []int32
	Output     bool // compute logits
}

// Sampler is the drawing state of one reply.
type Sampler interface {
	// Accept feeds tokens that were not drawn here: the prompt's tail for the
	// repeat penalty, or forced tokens (grammarToo).
	Accept(ids []int32, grammarToo bool) error
	Close()
}

// What Sample.Token is when no token was drawn.
const (
	TokenNone     = -1 // the grammar allows nothing any more
	TokenNoNumber = -2 // no logit is a finite number: the weights are damaged
	TokenBudget   = -3 // following the grammar takes too much work
)

// Sample draws from the logits of row Row after the step was computed.
type Sample struct {
	Row     int
	Sampler Sampler
	// Results.
	Token   int32 // or TokenNone, TokenNoNumber
	IsEnd   bool
	Logprob float32 // NaN unless asked for
	Top     []TopLogprob
}

// TopLogprob is one of a token's rivals.
type TopLogprob struct {
	ID      int32
	Logprob float32
}

// Want asks for log p(Token) at row Row; Token < 0 asks for the log of the
// summed probability of end set number -1-Token.
type Want struct {
	Row     int
	Token   int32
	Logprob float32 // result
}

// Step is one engine tick.
type Step struct {
	Rows    []Row
	Samples []Sample
	Wants   []Want    // grouped by row
	Ends    [][]int32 // end sets
}

// Device is one accelerator or processor that was found.
type Device struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Accelerator bool   `json:"accelerator"`
	Integrated  bool   `json:"integrated"` // an accelerator that shares the CPU's memory
	FreeBytes   uint64 `json:"free_bytes"`
	TotalBytes  uint64 `json:"total_bytes"`
}

// SystemInfo is what the native library was built with and found.
type SystemInfo struct {
	Devices      []Device `json:"devices"`
	Accelerators string   `json:"accelerators"` // what this build is for beside the CPU, such as "CUDA"
	Trouble      string   `json:"trouble"`      // an error while devices were looked for
	Features     string   `json:"features"`
	MaxSequences int      `json:"max_sequences"`
	MaxDevices   int      `json:"max_devices"`
	GPUOffload   bool     `json:"gpu_offload"`
	Mmap         bool     `json:"mmap"`
	Mlock        bool     `json:"mlock"`
}

// Missing says why a build for accelerators has none; empty where it is not for
// any, or has one.
func (s SystemInfo) Missing() string {
	if s.Accelerators == "" || slices.ContainsFunc(s.Devices,
		func(d Device) bool { return d.Accelerator }) {
		return ""
	}
	why := cmp.Or(s.Trouble, "none was found, or its driver is not installed")
	return fmt.Sprintf("this build is for %s, but no such device can be used: %s", s.Accelerators, why)
}

// BuildHint says how to get the native engine.
const BuildHint = "run `make native agent` in the project's folder (needs a C++ compiler, CMake and cargo)"

// ContextInfo is the sizes that a context really has.
type ContextInfo struct {
	Cells   int `json:"n_ctx"`
	Batch   int `json:"n_batch"`
	Ubatch  int `json:"n_ubatch"`
	Seqs    int `json:"n_seq"`
	Pooling int `json:"pooling"`
}

// Buffers are the places where weights may lie, best first for each device, and the
// weight types that the self-test knows.
type Buffers struct {
	Types []struct {
		Number int    `json:"number"`
		Name   string `json:"name"`
	} `json:"types"`
	Buffers []Buffer `json:"buffers"`
}

// Buffer is one place where weights may lie.
type Buffer struct {
	Name   string `json:"name"`
	Device string `json:"device"`
	Extra  bool   `json:"extra"` // beside the device's plain one, which can do without it
}
