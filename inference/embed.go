package inference

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"agent/inference/internal/llama"
)

// Embedder computes embeddings: pooled as the model was made for, or, for a
// generative model, the mean of its last hidden states. Vectors have unit
// length. It holds a context of its own; calls take turns.
type Embedder struct {
	mu        sync.Mutex
	model     *Model
	ctx       *llama.Context
	tokensMax int
}

// ErrEmbedderClosed: the embedder was closed.
var ErrEmbedderClosed = errors.New("the embedder is closed")

// NewEmbedder makes an embedder for texts of at most tokensMax tokens. Close
// it before the model.
func (m *Model) NewEmbedder(tokensMax int) (*Embedder, error) {
	if err := m.enter(); err != nil {
		return nil, fmt.Errorf("start embedder: %w", err)
	}
	tokensMax = max(tokensMax, 32)
	threads := PhysicalCores()
	ctx, err := m.native.NewContext(llama.ContextParams{Cells: tokensMax, Batch: tokensMax,
		Ubatch: tokensMax, Sequences: 1, Threads: threads, ThreadsBatch: threads, KVType: 1,
		FlashAttn: -1, Embeddings: true})
	if err != nil {
		m.users.Done()
		return nil, &Error{Op: "start embedder", Err: err}
	}
	return &Embedder{model: m, ctx: ctx, tokensMax: tokensMax}, nil
}

// Embed returns the unit-length embedding of one tokenised text. A text that is
// too long is a [ContextError].
func (e *Embedder) Embed(ctx context.Context, ids []int32) ([]float32, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, errors.New("embed: the text has no tokens")
	}
	if len(ids) > e.tokensMax {
		return nil, &ContextError{Tokens: len(ids), Max: e.tokensMax}
	}
	if err := e.model.CheckTokens(ids); err != nil {
		return nil, fmt.Errorf("embed: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx == nil {
		return nil, ErrEmbedderClosed
	}
	defer abortAfter(ctx, e.ctx)()
	v, err := e.ctx.Embed(ids, e.model.Info.EmbeddingLength)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return v, err
}

// abortAfter gives a native computation up when nobody waits for it any more.
// Whoever began it calls stop after it, which waits for an abort that has begun:
// a late one would fail the next computation, or touch what was freed.
func abortAfter(ctx context.Context, dev interface{ Abort(on bool) }) (stop func()) {
	done := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		defer close(done)
		dev.Abort(true)
	})
	return func() {
		if !unwatch() {
			<-done
			dev.Abort(false)
		}
	}
}

// Close frees the embedder's context. Idempotent and safe on nil.
func (e *Embedder) Close() {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx != nil {
		e.ctx.Close()
		e.ctx = nil
		e.model.users.Done()
	}
}
