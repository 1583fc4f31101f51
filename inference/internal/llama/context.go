//go:build cgo

package llama

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"runtime"
	"sync"
	"unsafe"
)

// Context owns a llama_context.
type Context struct {
	c      *C.ag_context
	model  *Model // held, so that it outlives the context
	params ContextParams
	once   sync.Once

	// Scratch, reused between steps.
	rows    []C.ag_row
	seqs    []int32
	samples []C.ag_sample
	wants   []C.ag_want
	endIDs  []int32
	endAt   []int32
}

// NewContext makes a context with a unified KV cache.
func (m *Model) NewContext(p ContextParams) (*Context, error) {
	cp := C.ag_context_params{
		n_ctx: C.uint32_t(p.Cells), n_batch: C.uint32_t(p.Batch), n_ubatch: C.uint32_t(p.Ubatch),
		n_seq:     C.uint32_t(p.Sequences),
		n_outputs: C.uint32_t(p.Outputs), n_threads: C.int32_t(p.Threads),
		n_threads_batch: C.int32_t(p.ThreadsBatch),
		kv_type:         C.int32_t(p.KVType), flash_attn: C.int32_t(p.FlashAttn),
		embeddings: C.bool(p.Embeddings),
	}
	var c *C.ag_context
	var buf C.ag_buf
	var code C.int
	theComputer().hold(func(func() bool) { code = C.ag_context_new(m.c, &cp, &c, &buf) })
	if err := callError("create context", code, &buf); err != nil {
		return nil, err
	}
	return &Context{c: c, model: m, params: p}, nil
}

// Close frees the context; nothing may be using it.
func (c *Context) Close() {
	if c == nil {
		return
	}
	c.once.Do(func() { C.ag_context_free(c.c); c.c = nil })
}

// NewSampler makes a sampler for the context's model.
func (c *Context) NewSampler(p SamplerParams) (Sampler, error) { return c.model.NewSampler(p) }

// Abort makes a running step end with ErrAborted, until it is switched off.
// Safe from any goroutine while the context is open.
func (c *Context) Abort(on bool) { C.ag_context_abort(c.c, C.bool(on)) }

// Step computes one tick; results are written into s. It is called in [Context.Hold].
func (c *Context) Step(s *Step) error {
	c.fill(s)
	ends := C.ag_ends{n_sets: C.int32_t(len(s.Ends))}
	var pin runtime.Pinner
	defer pin.Unpin()
	if len(s.Ends) > 0 {
		pin.Pin(&c.endIDs[0])
		pin.Pin(&c.endAt[0])
		ends.tokens = (*C.int32_t)(&c.endIDs[0])
		ends.at = (*C.int32_t)(&c.endAt[0])
	}
	var buf C.ag_buf
	code := C.ag_step(c.c,
		unsafe.SliceData(c.rows), C.int32_t(len(c.rows)), (*C.int32_t)(unsafe.SliceData(c.seqs)),
		unsafe.SliceData(c.samples), C.int32_t(len(c.samples)),
		unsafe.SliceData(c.wants), C.int32_t(len(c.wants)), &ends, &buf)
	if err := callError("compute", code, &buf); err != nil {
		return err
	}
	c.read(s)
	return nil
}

// fill copies a step into native layout.
func (c *Context) fill(s *Step) {
	c.rows, c.seqs = c.rows[:0], c.seqs[:0]
	for _, r := range s.Rows {
		output := C.int32_t(0)
		if r.Output {
			output = 1
		}
		c.rows = append(c.rows, C.ag_row{token: C.int32_t(r.Token), pos: C.int32_t(r.Pos),
			seq_at: C.int32_t(len(c.seqs)), n_seq: C.int32_t(len(r.Seqs)), output: output})
		c.seqs = append(c.seqs, r.Seqs...)
	}
	c.samples = c.samples[:0]
	for _, x := range s.Samples {
		c.samples = append(c.samples, C.ag_sample{row: C.int32_t(x.Row),
			sampler: x.Sampler.(*nativeSampler).c})
	}
	c.wants = c.wants[:0]
	for _, w := range s.Wants {
		c.wants = append(c.wants, C.ag_want{row: C.int32_t(w.Row), token: C.int32_t(w.Token)})
	}
	c.endIDs, c.endAt = c.endIDs[:0], append(c.endAt[:0], 0)
	for _, set := range s.Ends {
		c.endIDs = append(c.endIDs, set...)
		c.endAt = append(c.endAt, int32(len(c.endIDs)))
	}
	if len(c.endIDs) == 0 {
		c.endIDs = append(c.endIDs, 0) // never read; gives a pointer to pin
	}
}

// read copies results back.
func (c *Context) read(s *Step) {
	for i := range c.samples {
		x := &c.samples[i]
		out := &s.Samples[i]
		out.Token, out.IsEnd, out.Logprob = int32(x.token), x.is_end != 0, float32(x.logprob)
		out.Top = nil
		for j := range int(x.n_top) {
			out.Top = append(out.Top, TopLogprob{ID: int32(x.top_ids[j]),
				Logprob: float32(x.top_logprobs[j])})
		}
	}
	for i := range c.wants {
		s.Wants[i].Logprob = float32(c.wants[i].logprob)
	}
}

// SeqRemove drops positions [p0, p1) of a sequence; p1 < 0 is the end. False
// means that this memory can't drop a part (recurrent models).
func (c *Context) SeqRemove(seq, p0, p1 int32) (bool, error) {
	var removed C.bool
	var buf C.ag_buf
	code := C.ag_seq_rm(c.c, C.int32_t(seq), C.int32_t(p0), C.int32_t(p1), &removed, &buf)
	return bool(removed), callError("drop cached tokens", code, &buf)
}

// SeqCopy makes positions [p0, p1) of src part of dst; no data moves.
func (c *Context) SeqCopy(src, dst, p0, p1 int32) error {
	var buf C.ag_buf
	return callError("share cached tokens",
		C.ag_seq_cp(c.c, C.int32_t(src), C.int32_t(dst), C.int32_t(p0), C.int32_t(p1), &buf), &buf)
}

// SeqPosMax is the last position of a sequence, -1 when it is empty.
func (c *Context) SeqPosMax(seq int32) int32 { return int32(C.ag_seq_pos_max(c.c, C.int32_t(seq))) }

// SeqState is a sequence's part of the cache, nil where it can't be had or has more than
// bytesMax. It is of use to a context of the same model and settings.
func (c *Context) SeqState(seq int32, bytesMax int64) ([]byte, error) {
	const op = "read cached tokens"
	var n C.size_t
	var buf C.ag_buf
	if err := callError(op, C.ag_seq_state_size(c.c, C.int32_t(seq), &n, &buf), &buf); err != nil ||
		n == 0 ||
		int64(n) > bytesMax {
		return nil, err
	}
	out := make([]byte, n)
	code := C.ag_seq_state_get(c.c, C.int32_t(seq), (*C.uint8_t)(&out[0]), C.size_t(len(out)), &n,
		&buf)
	return out[:n], callError(op, code, &buf)
}

// SetSeqState replaces a sequence by what SeqState gave. False: there is no room for it, and
// the sequence is empty.
func (c *Context) SetSeqState(seq int32, state []byte) (bool, error) {
	if len(state) == 0 {
		return false, nil
	}
	var n C.size_t
	var buf C.ag_buf
	code := C.ag_seq_state_set(c.c, C.int32_t(seq), (*C.uint8_t)(&state[0]), C.size_t(len(state)), &n,
		&buf)
	return n > 0, callError("restore cached tokens", code, &buf)
}

// SetThreads changes how many threads compute, from the next step on.
func (c *Context) SetThreads(decode, prefill int) {
	C.ag_set_threads(c.c, C.int32_t(decode), C.int32_t(prefill))
}

// Info reads the sizes that the context really has.
func (c *Context) Info() (info ContextInfo, err error) {
	err = described("describe the context", &info, func(json, err *C.ag_buf) C.int {
		return C.ag_context_info(c.c, json, err)
	})
	return info, err
}

// Embed computes the unit-length embedding of one text, n floats.
func (c *Context) Embed(ids []int32, n int) ([]float32, error) {
	out := make([]float32, n)
	var buf C.ag_buf
	var code C.int
	c.Hold(func(func() bool) {
		code = C.ag_embed(c.c, (*C.int32_t)(&ids[0]), C.int32_t(len(ids)), (*C.float)(&out[0]),
			C.int32_t(n), &buf)
	})
	if err := callError("embed", code, &buf); err != nil {
		return nil, err
	}
	return out, nil
}
