//go:build cgo

package llama

/*
#cgo CFLAGS: -I${SRCDIR}/../../shim
// libtokenizers.a lies there; so `go build` finds both archives without make.
#cgo LDFLAGS: -L${SRCDIR}/../../../build/lib
#include <stdlib.h>
#include "shim.h"
// By its number, not as AG_ABI: the build cache does not see that shim.h has changed.
static int agent_abi(void) { return agent_native_abi_9__run_make_native; }
*/
import "C"

import (
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Built reports whether the native engine is part of this binary.
const Built = true

var initOnce sync.Once

// devices adds those that are not part of the binary, once per process.
var devices = sync.OnceValue(addDevices)

// Init prepares the native library, once per process. logLevel is ggml's: 0
// none, 1 debug, 2 info, 3 warn, 4 error.
func Init(logLevel int) {
	initOnce.Do(func() {
		_ = C.agent_abi()
		C.ag_init(C.int(logLevel))
	})
}

// ready is Init, and the devices that are not part of the binary.
func ready() error {
	if err := checkProcessor(); err != nil {
		return err
	}
	Init(0)
	return devices()
}

// Live counts the native objects that are alive.
func Live() int { return int(C.ag_live()) }

// System describes devices and build.
func System() (info SystemInfo, err error) {
	if err := ready(); err != nil {
		return info, err
	}
	err = described("describe the system", &info,
		func(json, err *C.ag_buf) C.int { return C.ag_system_info(json, err) })
	info.Accelerators = accelerators
	return info, err
}

// described reads the JSON with which a native call describes something.
func described(op string, into any, call func(json, err *C.ag_buf) C.int) error {
	var out, buf C.ag_buf
	code := call(&out, &buf)
	text := take(&out)
	if err := callError(op, code, &buf); err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// take copies a native buffer and frees it.
func take(b *C.ag_buf) []byte {
	out := C.GoBytes(unsafe.Pointer(b.data), C.int(b.len))
	C.ag_buf_free(b)
	return out
}

// bytesPtr passes b to C; nil for no bytes.
func bytesPtr(b []byte) *C.char {
	return (*C.char)(unsafe.Pointer(unsafe.SliceData(b)))
}

func stringPtr(s string) *C.char {
	return (*C.char)(unsafe.Pointer(unsafe.StringData(s)))
}

func callError(op string, code C.int, buf *C.ag_buf) error {
	detail := string(take(buf))
	switch code {
	case C.AG_OK:
		return nil
	case C.AG_KV_FULL:
		return &Error{Op: op, Err: ErrKVFull}
	case C.AG_ABORTED:
		return &Error{Op: op, Err: ErrAborted}
	}
	return &Error{Op: op, Detail: detail}
}

// Progress watches and cancels a load from other goroutines.
type Progress struct{ p C.ag_progress }

// Done is the part that is loaded, 0 to 1.
func (p *Progress) Done() float64 {
	return float64(atomic.LoadInt32((*int32)(unsafe.Pointer(&p.p.permille)))) / 1000
}

// Cancel makes the load end soon with ErrAborted.
func (p *Progress) Cancel() { atomic.StoreInt32((*int32)(unsafe.Pointer(&p.p.cancel)), 1) }

// Model owns a loaded model.
type Model struct {
	c       *C.ag_model
	once    sync.Once
	cleanup runtime.Cleanup
}

// LoadModel loads a GGUF file. The file must have been checked before.
func LoadModel(path string, p ModelParams, progress *Progress) (*Model, error) {
	if err := ready(); err != nil {
		return nil, err
	}
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	cp := C.ag_model_params{
		gpu_layers: C.int32_t(p.GPULayers), load_mode: C.int32_t(p.LoadMode),
		main_gpu:   C.int32_t(p.MainGPU),
		split_mode: -1, vocab_only: C.bool(p.VocabOnly), check_tensors: C.bool(p.CheckTensors),
		cpu_experts: C.int32_t(p.CPUExperts),
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	if n := len(p.Devices); n > 0 {
		devices := make([]C.int32_t, n)
		for i, d := range p.Devices {
			devices[i] = C.int32_t(d)
		}
		pin.Pin(&devices[0])
		cp.devices, cp.n_devices = &devices[0], C.int32_t(n)
	}
	if len(p.TensorSplit) > 0 {
		split := make([]float32, C.size_t(maxDevices()))
		copy(split, p.TensorSplit)
		pin.Pin(&split[0])
		cp.tensor_split = (*C.float)(&split[0])
	}
	// The progress struct is polled by C during the call only; it is pinned for it.
	var cprog *C.ag_progress
	if progress != nil {
		cprog = &progress.p
	}
	var m *C.ag_model
	var buf C.ag_buf
	var code C.int
	// Weights are converted while they are loaded, which opens parallel regions.
	theComputer().hold(func(func() bool) { code = C.ag_model_load(cpath, &cp, cprog, &m, &buf) })
	if err := callError("load "+path, code, &buf); err != nil {
		return nil, err
	}
	out := &Model{c: m}
	out.cleanup = runtime.AddCleanup(out, func(c *C.ag_model) { C.ag_model_free(c) }, m)
	return out, nil
}

func maxDevices() int {
	info, err := System()
	if err != nil {
		return 16
	}
	return max(info.MaxDevices, 16)
}

// Close frees the model. Contexts and samplers made of it must be closed before.
func (m *Model) Close() {
	if m == nil {
		return
	}
	m.once.Do(func() {
		m.cleanup.Stop()
		C.ag_model_free(m.c)
		m.c = nil
	})
}

// Info reads the model's own description.
func (m *Model) Info() (info ModelInfo, err error) {
	err = described("describe the model", &info, func(json, err *C.ag_buf) C.int {
		return C.ag_model_info(m.c, json, err)
	})
	return info, err
}

// Tokenize returns the ids of text under the model's own vocabulary.
func (m *Model) Tokenize(text string, addSpecial, parseSpecial bool) ([]int32, error) {
	flags := C.int(0)
	if addSpecial {
		flags |= C.AG_TOK_ADD_SPECIAL
	}
	if parseSpecial {
		flags |= C.AG_TOK_PARSE_SPECIAL
	}
	out := make([]int32, len(text)/3+16)
	for {
		var buf C.ag_buf
		n := C.ag_tokenize(m.c, stringPtr(text), C.size_t(len(text)), flags,
			(*C.int32_t)(&out[0]), C.int32_t(len(out)), &buf)
		if n == math.MinInt32 {
			return nil, callError("tokenize", C.AG_ERR, &buf)
		}
		C.ag_buf_free(&buf)
		if n >= 0 {
			return out[:n], nil
		}
		out = make([]int32, -n)
	}
}

// Detokenize joins the pieces of ids; special tokens are rendered when asked.
func (m *Model) Detokenize(ids []int32, special bool) ([]byte, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var out, buf C.ag_buf
	code := C.ag_detokenize(m.c, (*C.int32_t)(&ids[0]), C.int32_t(len(ids)), C.bool(special), &out,
		&buf)
	if err := callError("detokenize", code, &buf); err != nil {
		C.ag_buf_free(&out)
		return nil, err
	}
	return take(&out), nil
}

// Vocab copies the whole vocabulary; n is its size.
func (m *Model) Vocab(n int) (*Vocab, error) {
	v := &Vocab{Offsets: make([]uint32, n+1), Attrs: make([]uint32, n)}
	if n == 0 {
		return v, nil
	}
	var pieces, buf C.ag_buf
	code := C.ag_vocab_dump(m.c, &pieces, (*C.uint32_t)(&v.Offsets[0]), (*C.uint32_t)(&v.Attrs[0]),
		&buf)
	if err := callError("read vocabulary", code, &buf); err != nil {
		C.ag_buf_free(&pieces)
		return nil, err
	}
	v.Pieces = take(&pieces)
	return v, nil
}

// RenderTemplate renders a chat template by llama.cpp's jinja engine; JSON in
// and out as in shim.h.
func RenderTemplate(in []byte) ([]byte, error) {
	var out, buf C.ag_buf
	code := C.ag_template_render(bytesPtr(in), C.size_t(len(in)), &out, &buf)
	if err := callError("render chat template", code, &buf); err != nil {
		C.ag_buf_free(&out)
		return nil, err
	}
	return take(&out), nil
}

// SchemaToGrammar converts a JSON Schema to GBNF.
func SchemaToGrammar(schema []byte) (string, error) {
	var out, buf C.ag_buf
	code := C.ag_schema_to_grammar(bytesPtr(schema), C.size_t(len(schema)), &out, &buf)
	if err := callError("convert JSON schema", code, &buf); err != nil {
		C.ag_buf_free(&out)
		return "", err
	}
	return string(take(&out)), nil
}

// nativeSampler owns an ag_sampler.
type nativeSampler struct {
	c    *C.ag_sampler
	once sync.Once
}

// NewSampler makes the drawing state of one reply. A grammar that can't be
// parsed is an error.
func (m *Model) NewSampler(p SamplerParams) (Sampler, error) {
	cp := C.ag_sampler_params{
		temperature: C.float(p.Temperature), top_k: C.int32_t(p.TopK), top_p: C.float(p.TopP),
		min_p:          C.float(p.MinP),
		repeat_penalty: C.float(p.RepeatPenalty), repeat_last_n: C.int32_t(p.RepeatLastN),
		seed:         C.uint32_t(p.Seed),
		top_logprobs: C.int32_t(p.TopLogprobs), logprobs: C.bool(p.Logprobs),
		frequency_penalty: C.float(p.Frequency), presence_penalty: C.float(p.Presence),
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	if n := len(p.Bias); n > 0 {
		ids, biases := make([]int32, 0, n), make([]float32, 0, n)
		for id, b := range p.Bias {
			ids, biases = append(ids, id), append(biases, b)
		}
		pin.Pin(&ids[0])
		pin.Pin(&biases[0])
		cp.bias_ids, cp.biases, cp.n_bias = (*C.int32_t)(&ids[0]), (*C.float)(&biases[0]), C.int32_t(n)
	}
	if p.Grammar != "" {
		cp.grammar = C.CString(p.Grammar)
		defer C.free(unsafe.Pointer(cp.grammar))
	}
	var s *C.ag_sampler
	var buf C.ag_buf
	code := C.ag_sampler_new(m.c, &cp, &s, &buf)
	if err := callError("prepare sampling", code, &buf); err != nil {
		return nil, err
	}
	return &nativeSampler{c: s}, nil
}

// Accept implements Sampler.
func (s *nativeSampler) Accept(ids []int32, grammarToo bool) error {
	if len(ids) == 0 {
		return nil
	}
	var buf C.ag_buf
	code := C.ag_sampler_accept(s.c, (*C.int32_t)(&ids[0]), C.int32_t(len(ids)), C.bool(grammarToo),
		&buf)
	return callError("accept tokens", code, &buf)
}

// Close implements Sampler.
func (s *nativeSampler) Close() {
	s.once.Do(func() { C.ag_sampler_free(s.c); s.c = nil })
}
