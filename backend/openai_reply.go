package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/sashabaranov/go-openai"
)

// chunk is one event of a stream, in the forms of all servers: OpenAI's, a
// whole answer, OpenAI's error and FastChat's.
type chunk struct {
	Choices   []chunkChoice   `json:"choices"`
	Usage     *openai.Usage   `json:"usage"`
	Error     json.RawMessage `json:"error"`
	ErrorCode int             `json:"error_code"`
	Text      string          `json:"text"`
	Object    string          `json:"object"`
	Message   json.RawMessage `json:"message"`
}

type chunkChoice struct {
	Index          int                                        `json:"index"`
	Delta, Message said                                       // Message: of a whole answer
	Text           string                                     `json:"text"` // of /completions
	Logprobs       *openai.ChatCompletionStreamChoiceLogprobs `json:"logprobs"`
	FinishReason   string                                     `json:"finish_reason"`
}

type said struct {
	Content parts  `json:"content"`
	Refusal string `json:"refusal"`
}

// parts is a text, or a list of parts of which some are text, as Mistral's models that think
// send it.
type parts string

func (p *parts) UnmarshalJSON(raw []byte) error {
	var list []struct{ Text string }
	if json.Unmarshal(raw, &list) != nil {
		return json.Unmarshal(raw, (*string)(p))
	}
	for _, one := range list {
		*p += parts(one.Text)
	}
	return nil
}

// failure is the error that a chunk tells of.
func (c *chunk) failure(key Secret) error {
	e := &RemoteError{Status: http.StatusOK}
	switch {
	case len(c.Error) > 0 && string(c.Error) != "null":
		e.Message = detailText(c.Error)
	case c.ErrorCode != 0:
		e.Message, e.Code = c.Text, fmt.Sprint(c.ErrorCode)
	case c.Object == "error", len(c.Choices) == 0 && strings.HasPrefix(string(c.Message), `"`):
		e.Message = detailText(c.Message)
	default:
		return nil
	}
	return e.clean(key)
}

// replyReader turns a stream of chunks into deltas.
type replyReader struct {
	o      *OpenAI
	req    *Request
	count  Count
	filter *StopFilter
	yield  func(Delta, error) bool

	text    strings.Builder // the reply so far
	tokens  int             // log-probabilities received
	finish  string
	usage   *openai.Usage
	stopped bool
	chosen  bool   // there was a choice
	came    string // the last event without one
}

func (r *replyReader) read(ctx context.Context, stream *openai.ChatCompletionStream) error {
	for !r.stopped {
		data, err := stream.RecvRaw()
		if err != nil {
			if r.complete(err) {
				break
			}
			if !r.chosen && r.came != "" {
				return &noReply{"no reply in it", r.came}
			}
			return err
		}
		var c chunk
		if err := json.Unmarshal(data, &c); err != nil {
			return fmt.Errorf("the server sent an event that is not the JSON expected: %w", err)
		}
		if err := c.failure(r.o.cfg.APIKey); err != nil {
			return err
		}
		if len(c.Choices) == 0 {
			r.came = string(data)
		}
		if err := r.take(&c); err != nil {
			return err
		}
	}
	return r.last(ctx)
}

// complete reports whether the reply was whole when the stream ended with err:
// at its end mark, or after the reason to end was told.
func (r *replyReader) complete(err error) bool {
	return err == io.EOF ||
		r.finish != "" && (errors.Is(err, errCutOff) || errors.Is(err, io.ErrUnexpectedEOF))
}

// take passes on what a chunk brings.
func (r *replyReader) take(c *chunk) error {
	if c.Usage != nil {
		r.usage = c.Usage
	}
	for _, choice := range c.Choices {
		if choice.Index != 0 {
			continue
		}
		r.chosen = true
		if choice.FinishReason != "" {
			r.finish = choice.FinishReason
		}
		piece := string(choice.Delta.Content+choice.Message.Content) + choice.Delta.Refusal +
			choice.Message.Refusal
		d := Delta{}
		d.Text, r.stopped = r.filter.Push(piece + choice.Text)
		if choice.Logprobs != nil {
			d.Tokens = toTokens(choice.Logprobs.Content)
			r.tokens += len(d.Tokens)
		}
		r.text.WriteString(d.Text)
		if (d.Text != "" || len(d.Tokens) > 0) && !r.yield(d, nil) {
			return errBroken
		}
	}
	return nil
}

// last ends a complete reply with its reason and cost.
func (r *replyReader) last(ctx context.Context) error {
	if !r.chosen && r.came == "" {
		return &noReply{"an empty answer", ""}
	}
	if !r.chosen {
		return &noReply{"no reply in it", r.came}
	}
	rest := r.filter.Flush()
	r.text.WriteString(rest)
	if r.finish == string(openai.FinishReasonContentFilter) {
		return &RemoteError{Status: http.StatusOK, Code: r.finish,
			Message: "a content filter of the server withheld the reply"}
	}
	if r.req.Logprobs && r.tokens == 0 && r.text.Len() > 0 {
		r.o.learn("logprobs", "log-probabilities are refused")
		return fmt.Errorf("log-probabilities, which the server left out: %w", ErrUnsupported)
	}
	if err := r.checkSchema(); err != nil {
		return err
	}
	usage, err := r.cost(ctx)
	if err != nil {
		return err
	}
	if !r.yield(Delta{Text: rest, Finish: r.finishReason(usage), Stop: r.filter.By(), Usage: usage},
		nil) {
		return errBroken
	}
	return nil
}

// checkSchema checks a reply whose schema the server could not enforce.
func (r *replyReader) checkSchema() error {
	if len(r.req.Schema) == 0 || !r.o.lacks("response_format") {
		return nil
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal(r.req.Schema, &schema); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	var v any
	if err := json.Unmarshal([]byte(r.text.String()), &v); err != nil {
		return fmt.Errorf("the reply is not JSON, and the server does not enforce schemas: %w", err)
	}
	if err := resolved.Validate(v); err != nil {
		return fmt.Errorf("the reply breaks the schema, which the server does not enforce: %w", err)
	}
	return nil
}

// cost is the usage as the server tells it, else as counted here. A server
// that counted a much shorter prompt has cut it.
func (r *replyReader) cost(ctx context.Context) (*Usage, error) {
	if u := r.usage; u != nil && u.PromptTokens > 0 {
		if err := r.o.checkNotCut(r.count, u.PromptTokens); err != nil {
			return nil, err
		}
		return toUsage(u), nil
	}
	n := r.o.estimateReply(ctx, r.text.String())
	if limit := or(r.req.TokensMax, r.o.cfg.TokensMax); limit > 0 {
		n = min(n, limit) // the server has counted that far
	}
	return &Usage{PromptTokens: r.count.Tokens, EvaluatedTokens: r.count.Tokens, CompletionTokens: n},
		nil
}

// checkNotCut compares the server's count of a prompt with our own. Servers
// add tokens, so that only a smaller number is suspicious; how much smaller
// depends on how well we count.
func (o *OpenAI) checkNotCut(count Count, seen int) error {
	const slackExact, slackEstimate, slackRound, few = 0.9, 0.5, 0.85, 32
	slack := slackEstimate
	if count.Exact {
		slack = slackExact
	}
	// A prompt rarely has a round number of tokens, and a context has always.
	const round = 512
	if seen%round == 0 {
		slack = max(slack, slackRound)
	}
	if float64(seen) < slack*float64(count.Tokens)-few {
		return &Error{Op: o.cfg.ModelID + ": chat",
			Err: fmt.Errorf("the server saw %d tokens of a prompt that has %d (%s): it cut the prompt silently",
				seen, count.Tokens, count.Source),
			Advice: fmt.Sprintf("lower llm.context_length (now %d) to what the server really takes",
				o.cfg.ContextLength)}
	}
	return nil
}

func toUsage(u *openai.Usage) *Usage {
	out := &Usage{PromptTokens: u.PromptTokens, CompletionTokens: u.CompletionTokens, Told: true}
	if u.PromptTokensDetails != nil {
		out.CachedTokens = u.PromptTokensDetails.CachedTokens
	}
	if u.CompletionTokensDetails != nil {
		out.ReasoningTokens = u.CompletionTokensDetails.ReasoningTokens
	}
	out.EvaluatedTokens = out.PromptTokens - out.CachedTokens
	return out
}

// finishReason tells a full context from a reached limit.
func (r *replyReader) finishReason(u *Usage) FinishReason {
	if r.stopped || r.finish != string(openai.FinishReasonLength) {
		return FinishStop
	}
	limit := or(r.req.TokensMax, r.o.cfg.TokensMax)
	if limit > 0 && (u.CompletionTokens >= limit || u.PromptTokens+limit <= r.o.cfg.ContextLength) {
		return FinishLength
	}
	return FinishContext
}

func toTokens(in []openai.ChatCompletionTokenLogprob) []TokenLogprob {
	out := make([]TokenLogprob, len(in))
	for i, t := range in {
		out[i] = TokenLogprob{Text: t.Token, Bytes: toBytes(t.Bytes), Logprob: t.Logprob}
		for _, rival := range t.TopLogprobs {
			out[i].Top = append(out[i].Top, TokenLogprob{Text: rival.Token, Bytes: toBytes(rival.Bytes),
				Logprob: rival.Logprob})
		}
	}
	return out
}

// toBytes reads the protocol's list of numbers.
func toBytes(in []int64) []byte {
	if in == nil {
		return nil
	}
	out := make([]byte, len(in))
	for i, b := range in {
		out[i] = byte(b)
	}
	return out
}
