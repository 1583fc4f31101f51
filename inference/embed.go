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

// NewEmbedder makes an embedder for texts of at most tokensMax tokens. Close
// it before the model.
func (m *Model) NewEmbedder(tokensMax int) (*Embedder, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, errors.New("start embedder: the model is closed")
	}
	tokensMax = max(tokensMax, 32)
	threads := PhysicalCores()
	ctx, err := m.native.NewContext(llama.ContextParams{Cells: tokensMax, Batch: tokensMax, Ubatch: tokensMax, Sequences: 1,
		Threads: threads, ThreadsBatch: threads, KVType: 1, FlashAttn: -1, Embeddings: true})
	if err != nil {
		return nil, &Error{Op: "start embedder", Err: err}
	}
	m.engines.Add(1)
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
		return nil, ErrClosed
	}
	// A native computation is given up when nobody waits for it any more.
	stop := context.AfterFunc(ctx, func() { e.ctx.Abort(true) })
	defer func() { stop(); e.ctx.Abort(false) }()
	v, err := e.ctx.Embed(ids, e.model.Info.EmbeddingLength)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return v, err
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
		e.model.engines.Done()
	}
}
