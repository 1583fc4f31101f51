package hf

import (
	"context"
	"iter"
	"strings"

	"agent/backend"
	"agent/inference"
)

// What stands below the chat template: prompts as plain text and as tokens, for
// servers whose clients bring prompts of their own.

// TokenizePrompt tokenises a prompt, in which the text of a control token means the token. The
// first `added` tokens are not in the text: a beginning-of-sequence token, where the vocabulary
// wants one and the text does not begin with it.
func (b *Backend) TokenizePrompt(text string) (ids []int, added int, err error) {
	got, err := b.model.Tokenize(text, inference.TokenizeOptions{ParseSpecial: true,
		TokensMax: b.ContextLength()})
	if err != nil {
		return nil, 0, b.translate(context.Background(), err)
	}
	info := b.model.Info
	if info.AddBOS && info.BOS >= 0 && (len(got) == 0 || got[0] != info.BOS) {
		got = append([]int32{info.BOS}, got...)
		added = 1
	}
	return ints(got), added, nil
}

// DetokenizePrompt is the text of tokens, control tokens included.
func (b *Backend) DetokenizePrompt(ids []int) (string, error) {
	text, err := b.model.Detokenize(int32s(ids), true)
	return strings.ToValidUTF8(text, "\uFFFD"), err
}

// PromptInfo is the text of the tokens that begin and end a prompt, and the chat template.
func (b *Backend) PromptInfo() (bos, eos, template string) {
	info := b.model.Info
	if info.AddBOS {
		bos = b.model.SpecialText(info.BOS)
	}
	return bos, b.model.SpecialText(info.EOS), b.model.ChatTemplate()
}

// CompleteTokens continues tokens, with no chat template. Of req, Messages and
// Prefill are ignored.
func (b *Backend) CompleteTokens(ctx context.Context, ids []int, req *backend.Request,
) iter.Seq2[backend.Delta, error] {
	return func(yield func(backend.Delta, error) bool) {
		call, err := b.completion(ids, req)
		if err != nil {
			yield(backend.Delta{}, err)
			return
		}
		for out, err := range b.engine.Generate(ctx, call) {
			if err != nil {
				yield(backend.Delta{}, b.translate(ctx, err))
				return
			}
			if !yield(delta(out), nil) {
				return
			}
		}
	}
}

func (b *Backend) completion(ids []int, req *backend.Request) (*inference.GenerateRequest, error) {
	if len(ids) >= b.ContextLength() {
		return nil, &backend.ContextError{Tokens: len(ids), Max: b.ContextLength()}
	}
	grammar := req.Grammar
	if len(req.Schema) > 0 {
		var err error
		if grammar, err = inference.SchemaToGrammar(req.Schema); err != nil {
			return nil, err
		}
	}
	return &inference.GenerateRequest{Prompt: int32s(ids), Sampling: b.sampling(req.Sampling),
		TokensMax: req.TokensMax,
		Stop:      req.Stop, StopTokens: int32s(req.StopTokens), Grammar: grammar, Logprobs: req.Logprobs,
		TopLogprobs: req.TopLogprobs}, nil
}

// PromptLogprobsTokens evaluates tokens and returns the log-probability of each after those
// before it, with its `top` likeliest rivals. The first has none; its Logprob
// is 0. Control tokens have their text.
func (b *Backend) PromptLogprobsTokens(ctx context.Context, ids []int, top int,
) ([]backend.TokenLogprob, backend.Usage, error) {
	prompt := int32s(ids)
	lps, stats, err := b.engine.PromptLogprobs(ctx, prompt, top)
	if err != nil {
		return nil, backend.Usage{}, b.translate(ctx, err)
	}
	lps = append([]inference.TokenLogprob{{ID: prompt[0]}}, lps...)
	out := make([]backend.TokenLogprob, len(lps))
	for i, lp := range lps {
		lp.Text = b.model.Piece(lp.ID)
		out[i] = tokenLogprob(lp)
	}
	return out, usage(stats), nil
}

func int32s(ids []int) []int32 {
	out := make([]int32, len(ids))
	for i, id := range ids {
		if out[i] = int32(id); int(out[i]) != id {
			out[i] = -1 // refused as outside the vocabulary
		}
	}
	return out
}
