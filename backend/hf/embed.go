package hf

import (
	"context"
	"fmt"

	"agent/backend"
	"agent/inference"
)

// embedTokensMax bounds one text to embed, because its context is allocated whole.
const embedTokensMax = 2048

// Embed implements backend.Embedder. The embedder is made when it is first
// needed, since it takes memory of its own.
func (b *Backend) Embed(ctx context.Context, texts []string,
) (vectors [][]float32, tokens int, err error) {
	e, err := b.embedder()
	if err != nil {
		return nil, 0, err
	}
	for i, text := range texts {
		ids, err := b.model.Tokenize(text, inference.TokenizeOptions{AddSpecial: true,
			TokensMax: embedTokensMax})
		if err != nil {
			return nil, 0, fmt.Errorf("text %d: %w", i+1, b.translate(ctx, err))
		}
		v, err := e.Embed(ctx, ids)
		if err != nil {
			return nil, 0, fmt.Errorf("text %d: %w", i+1, b.translate(ctx, err))
		}
		vectors = append(vectors, v)
		tokens += len(ids)
	}
	return vectors, tokens, nil
}

func (b *Backend) embedder() (*inference.Embedder, error) {
	b.embedMu.Lock()
	defer b.embedMu.Unlock()
	switch {
	case b.embedEnd:
		return nil, inference.ErrEmbedderClosed
	case b.embed != nil:
		return b.embed, nil
	}
	e, err := b.model.NewEmbedder(min(b.ContextLength(), embedTokensMax))
	if err == nil {
		b.embed = e
	}
	return e, err
}

// closeEmbedder frees the embedder and lets none be made after it: the model
// would wait for that one for ever.
func (b *Backend) closeEmbedder() {
	b.embedMu.Lock()
	b.embedEnd = true
	e := b.embed
	b.embedMu.Unlock()
	e.Close()
}

var _ backend.Embedder = (*Backend)(nil)
