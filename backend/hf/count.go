package hf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"agent/backend"
	"agent/inference"
	"agent/inference/gguf"
	"agent/tokenizer"
)

// Sources of a count.
const (
	sourceTokenizer = "tokenizer.json"
	sourceGGUF      = "gguf"
)

// counter counts plain text with a Hugging Face tokenizer where one agrees
// with the engine's own vocabulary on the probe texts; else with the engine's.
type counter struct {
	model *inference.Model
	once  sync.Once
	tok   *tokenizer.Tokenizer // nil: use the engine's vocabulary
	err   error
}

func (c *counter) close() {
	if c.tok != nil {
		_ = c.tok.Close()
	}
}

// prepare opens the tokenizer once. An unreadable file that was asked for is
// an error; one that disagrees is a warning, and is not used.
func (c *counter) prepare(cfg *Config) error {
	c.once.Do(func() { c.tok, c.err = c.open(cfg) })
	return c.err
}

func (c *counter) open(cfg *Config) (*tokenizer.Tokenizer, error) {
	tok, from, err := c.find(cfg)
	if err != nil || tok == nil {
		return nil, err
	}
	if diff := tokenizer.Compare(encodeWith(tok), c.encode); diff != nil {
		_ = tok.Close()
		if from != "" {
			cfg.Warn(fmt.Sprintf("%s is not used for counting: it and the model's own vocabulary differ: %v",
				from, diff))
		}
		return nil, nil
	}
	return tok, nil
}

// find opens the configured tokenizer.json, else the one beside the model,
// else one built from the model file, which nobody asked for: from is empty.
// None is not an error.
func (c *counter) find(cfg *Config) (tok *tokenizer.Tokenizer, from string, err error) {
	if cfg.TokenizerPath != "" {
		tok, err = tokenizer.Open(cfg.TokenizerPath)
		return tok, cfg.TokenizerPath, err
	}
	beside := filepath.Join(filepath.Dir(cfg.Path), "tokenizer.json")
	if _, err := os.Stat(beside); err == nil {
		if tok, err = tokenizer.Open(beside); err == nil {
			return tok, beside, nil
		}
		cfg.Warn(fmt.Sprintf("%s can't be used for counting: %v", beside, err))
	}
	json, err := BuildTokenizer(cfg.Path)
	if err != nil {
		if _, ok := errors.AsType[*tokenizer.UnsupportedError](err); ok {
			return nil, "", nil // the engine's vocabulary counts exactly too
		}
		return nil, "", err
	}
	tok, err = tokenizer.FromBytes(json)
	return tok, "", err
}

// BuildTokenizer makes a tokenizer.json from a GGUF file's metadata.
func BuildTokenizer(path string) ([]byte, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	v, err := f.Vocab()
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, &tokenizer.UnsupportedError{Model: "none"}
	}
	out := tokenizer.Vocab{Model: v.Model, Pre: v.Pre, Tokens: v.Tokens, Scores: v.Scores,
		Merges: v.Merges,
		BOS:    v.BOS, EOS: v.EOS, UNK: v.UNK, AddBOS: v.AddBOS, AddEOS: v.AddEOS,
		AddSpacePrefix: v.AddSpacePrefix}
	for _, t := range v.Types {
		out.Types = append(out.Types, tokenizer.TokenType(t))
	}
	return tokenizer.FromGGUF(out)
}

func encodeWith(t *tokenizer.Tokenizer) func(string) ([]int, error) {
	return func(text string) ([]int, error) { return t.Encode(text, tokenizer.Options{}) }
}

// encode tokenises with the vocabulary that the engine uses.
func (c *counter) encode(text string) ([]int, error) {
	ids, err := c.model.Tokenize(text, inference.TokenizeOptions{})
	return ints(ids), err
}

func ints(ids []int32) []int {
	out := make([]int, len(ids))
	for i, id := range ids {
		out[i] = int(id)
	}
	return out
}

// CountTokens implements backend.LanguageBackend: exactly what the engine
// would compute for this chat.
func (b *Backend) CountTokens(ctx context.Context, msgs []backend.Message) (int, error) {
	if err := backend.CheckMessages(msgs); err != nil {
		return 0, err
	}
	_, ids, err := b.encode(ctx, msgs, nil, "", 0)
	return len(ids), err
}

// CountChat implements backend.Counter.
func (b *Backend) CountChat(ctx context.Context, msgs []backend.Message) (backend.Count, error) {
	if err := backend.CheckMessages(msgs); err != nil {
		return backend.Count{}, err
	}
	_, ids, err := b.encode(ctx, msgs, nil, "", 0)
	return backend.Count{Tokens: len(ids), IDs: ints(ids), Source: sourceGGUF, Exact: true}, err
}

// CountText implements backend.Counter. Text of control tokens is plain text.
func (b *Backend) CountText(_ context.Context, text string) (backend.Count, error) {
	if err := b.counter.prepare(&b.cfg); err != nil {
		return backend.Count{}, err
	}
	if b.counter.tok != nil {
		ids, err := b.counter.tok.Encode(text, tokenizer.Options{})
		return backend.Count{Tokens: len(ids), IDs: ids, Source: sourceTokenizer, Exact: true}, err
	}
	ids, err := b.counter.encode(text)
	return backend.Count{Tokens: len(ids), IDs: ids, Source: sourceGGUF, Exact: true}, err
}

// CheckFits says that a text is longer by far than the context, without reading
// all of it: a [backend.ContextError].
func (b *Backend) CheckFits(text string) error {
	return b.translate(context.Background(), b.model.CheckLength(text, b.ContextLength()))
}

var _ io.Closer = (*Backend)(nil)
