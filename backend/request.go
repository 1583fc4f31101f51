package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
)

// TopLogprobsMax is the most rivals per token that a request may ask for.
const TopLogprobsMax = 20

// CheckRequest refuses what no backend can carry out, with the same words
// everywhere. Backends call it first.
func CheckRequest(req *Request) error {
	switch {
	case req == nil || len(req.Messages) == 0:
		return errors.New("request: no messages")
	case len(req.Schema) > 0 && req.Grammar != "":
		return errors.New("request: both a schema and a grammar are given; give one")
	case req.TokensMax < 0:
		return fmt.Errorf("request: the most tokens to generate is %d, must not be negative",
			req.TokensMax)
	case req.TopLogprobs < 0 || req.TopLogprobs > TopLogprobsMax:
		return fmt.Errorf("request: top_logprobs is %d, must be 0 to %d", req.TopLogprobs, TopLogprobsMax)
	case slices.Contains(req.Stop, ""):
		return errors.New("request: an empty stop string would stop before the first token")
	case slices.ContainsFunc(req.StopTokens,
		func(id int) bool { return id < 0 || id > math.MaxInt32 }):
		return fmt.Errorf("request: the ids of the stop tokens are %v, must be those of a vocabulary",
			req.StopTokens)
	}
	return CheckMessages(req.Messages)
}

// CheckMessages refuses messages with a role that no chat template knows.
func CheckMessages(msgs []Message) error {
	for i, m := range msgs {
		switch m.Role {
		case RoleSystem, RoleUser, RoleAssistant, RoleTool:
		default:
			return fmt.Errorf("request: message %d has the role %q; known are system, user, assistant, tool",
				i+1, m.Role)
		}
	}
	return nil
}

// CheckSupported refuses a request that needs an ability the backend lacks, so
// that nothing asked for is silently left out.
func CheckSupported(req *Request, caps Capabilities) error {
	for _, need := range []struct {
		asked, able bool
		what        string
	}{
		{req.Prefill != "", caps.Prefill, "a prefilled reply"},
		{req.Grammar != "", caps.Grammar, "a grammar"},
		{len(req.Schema) > 0, caps.Schema, "a JSON schema"},
		{len(req.StopTokens) > 0, caps.StopTokens, "stop tokens"},
		{req.Logprobs || req.TopLogprobs > 0, caps.Logprobs, "log-probabilities"},
	} {
		if need.asked && !need.able {
			return fmt.Errorf("request: %s: %w", need.what, ErrUnsupported)
		}
	}
	return nil
}

// checkChoose checks a question and its options together.
func checkChoose(req *Request, options []Option) error {
	if err := CheckRequest(req); err != nil {
		return err
	}
	return CheckOptions(options)
}

// Admit checks a request before a backend works on it: whether it is well formed, within what b
// can do, and fits. It returns the prompt's tokens.
func Admit(ctx context.Context, b LanguageBackend, req *Request) (promptTokens int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := CheckRequest(req); err != nil {
		return 0, err
	}
	if err := CheckSupported(req, CapabilitiesOf(b)); err != nil {
		return 0, err
	}
	n, err := b.CountTokens(ctx, promptMessages(req))
	if err != nil {
		return 0, err
	}
	if n > b.ContextLength() {
		return 0, &ContextError{Tokens: n, Max: b.ContextLength()}
	}
	return n, nil
}

// Stream makes the deltas of a reply of its tokens as they come, and is all
// that a backend needs around a source of text. It admits the request (see
// [Admit]) before it asks for the first token, cuts at stop strings, keeps to
// the limits, looks at the context, and ends with the reason and the usage.
// Every token must be whole runes; an error ends the reply. Log-probabilities,
// if asked for, are those of a source that is certain.
func Stream(ctx context.Context, b LanguageBackend, req *Request, tokens iter.Seq2[string, error],
) iter.Seq2[Delta, error] {
	return func(yield func(Delta, error) bool) {
		promptTokens, err := Admit(ctx, b, req)
		if err != nil {
			yield(Delta{}, err)
			return
		}
		finish, tokensMax, atLimit := FinishStop, b.ContextLength()-promptTokens, FinishContext
		if req.TokensMax > 0 && req.TokensMax <= tokensMax {
			tokensMax, atLimit = req.TokensMax, FinishLength
		}
		usage := &Usage{PromptTokens: promptTokens, EvaluatedTokens: promptTokens}
		filter := NewStopFilter(req.Stop)
		for token, err := range tokens {
			if err := cmp.Or(ctx.Err(), err); err != nil {
				yield(Delta{}, err)
				return
			}
			if usage.CompletionTokens == tokensMax {
				finish = atLimit
				break
			}
			usage.CompletionTokens++
			text, stopped := filter.Push(token)
			d := Delta{Text: text}
			if req.Logprobs {
				d.Tokens = []TokenLogprob{{Text: token, Bytes: []byte(token)}}
			}
			if (text != "" || d.Tokens != nil) && !yield(d, nil) {
				return
			}
			if stopped {
				break
			}
		}
		yield(Delta{Text: filter.Flush(), Finish: finish, Stop: filter.By(), Usage: usage}, nil)
	}
}
