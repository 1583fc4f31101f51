package backend

import (
	"errors"
	"fmt"
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
		return fmt.Errorf("request: the most tokens to generate is %d, must not be negative", req.TokensMax)
	case req.TopLogprobs < 0 || req.TopLogprobs > TopLogprobsMax:
		return fmt.Errorf("request: top_logprobs is %d, must be 0 to %d", req.TopLogprobs, TopLogprobsMax)
	case slices.Contains(req.Stop, ""):
		return errors.New("request: an empty stop string would stop before the first token")
	}
	return CheckMessages(req.Messages)
}

// CheckMessages refuses messages with a role that no chat template knows.
func CheckMessages(msgs []Message) error {
	for i, m := range msgs {
		switch m.Role {
		case RoleSystem, RoleUser, RoleAssistant, RoleTool:
		default:
			return fmt.Errorf("request: message %d has the role %q; known are system, user, assistant, tool", i+1, m.Role)
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
