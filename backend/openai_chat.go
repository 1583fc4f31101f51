package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/sashabaranov/go-openai"
)

const (
	// stopMax is how many stop strings OpenAI accepts; all are applied here too.
	stopMax = 4
	// schemaName is a name that the protocol wants for a schema.
	schemaName = "reply"
)

// ChatCompletion streams a reply. A connection that breaks before the reply is
// complete is an error, never a short reply.
func (o *OpenAI) ChatCompletion(ctx context.Context, req *Request) iter.Seq2[Delta, error] {
	return func(yield func(Delta, error) bool) {
		if err := o.chat(ctx, req, yield); err != nil {
			yield(Delta{}, o.explain(ctx, "chat", err))
		}
	}
}

// errBroken says that the caller broke off the loop; nothing more is yielded.
var errBroken = errors.New("the caller stopped reading")

func (o *OpenAI) chat(ctx context.Context, req *Request, yield func(Delta, error) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	count, err := o.admit(ctx, req)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := o.open(ctx, req, count)
	if err != nil {
		return err
	}
	defer stream.Close()
	r := &replyReader{o: o, req: req, count: count, filter: NewStopFilter(req.Stop), yield: yield}
	if err := r.read(ctx, stream); !errors.Is(err, errBroken) {
		return err
	}
	return nil
}

// open sends the request. A parameter that the server refuses is left out or
// replaced, which is remembered, and the request sent again.
func (o *OpenAI) open(ctx context.Context, req *Request, count Count) (*openai.ChatCompletionStream, error) {
	for {
		fields, err := o.chatFields(req, count)
		if err != nil {
			return nil, err
		}
		body := openai.ChatCompletionRequest{Model: o.cfg.ModelID}
		stream, err := o.client.CreateChatCompletionStream(withWireFields(ctx, fields), body)
		if err == nil {
			return stream, nil
		}
		if ctx.Err() != nil || !o.adapt(err, req, fields) {
			return nil, err
		}
	}
}

// chatFields are the fields of a request's body besides the model.
func (o *OpenAI) chatFields(req *Request, count Count) (wireFields, error) {
	msgs := promptMessages(req)
	f := wireFields{}
	if len(req.Schema) > 0 {
		if o.lacks("response_format") {
			text, err := prompt("schema.md", struct{ Schema string }{string(req.Schema)})
			if err != nil {
				return nil, err
			}
			msgs = appendToLast(msgs, text)
		} else {
			f["response_format"] = map[string]any{"type": "json_schema",
				"json_schema": map[string]any{"name": schemaName, "schema": req.Schema, "strict": isStrictSchema(req.Schema)}}
		}
	}
	f["messages"] = o.wireMessages(msgs)
	o.samplingFields(f, req)
	if n := o.tokensMax(req, count); n > 0 {
		f[o.limitName()] = n
	}
	if len(req.Stop) > 0 && !o.info.Reasoning {
		f["stop"] = req.Stop[:min(len(req.Stop), stopMax)]
	}
	if req.Logprobs {
		f["logprobs"] = true
		if req.TopLogprobs > 0 {
			f["top_logprobs"] = req.TopLogprobs
		}
	}
	if req.Prefill != "" {
		f["continue_final_message"], f["add_generation_prompt"] = true, false
	}
	f["stream_options"] = map[string]any{"include_usage": true}
	for name := range f {
		if slices.Contains(o.dialect.ignored, name) {
			instead, _ := whatInstead(name)
			o.learn(name, instead)
		}
		if o.lacks(name) {
			delete(f, name)
		}
	}
	return f, nil
}

// samplingFields sets how tokens are drawn. Models that think first draw in
// their own way.
func (o *OpenAI) samplingFields(f wireFields, req *Request) {
	s := req.Sampling.Merge(&o.cfg.Sampling)
	if s.Seed != nil {
		f["seed"] = *s.Seed
	}
	if o.info.Reasoning {
		if o.cfg.ReasoningEffort != "" {
			f["reasoning_effort"] = o.cfg.ReasoningEffort
		}
		return
	}
	if s.Temperature != nil {
		f["temperature"] = *s.Temperature
	}
	if s.TopP != nil {
		f["top_p"] = *s.TopP
	}
	if s.TopK != nil && *s.TopK > 0 {
		f["top_k"] = *s.TopK
	}
	if s.MinP != nil && *s.MinP > 0 {
		f["min_p"] = *s.MinP
	}
	if s.RepeatPenalty != nil && *s.RepeatPenalty != 1 {
		f["repetition_penalty"] = *s.RepeatPenalty
	}
	if s.FrequencyPenalty != nil && *s.FrequencyPenalty != 0 {
		f["frequency_penalty"] = *s.FrequencyPenalty
	}
	if s.PresencePenalty != nil && *s.PresencePenalty != 0 {
		f["presence_penalty"] = *s.PresencePenalty
	}
	if len(s.LogitBias) > 0 {
		f["logit_bias"] = s.LogitBias
	}
}

// tokensMax is the limit to send: what was asked for, and no more than there is
// room for, so that a server does not refuse or cut the prompt to make room.
func (o *OpenAI) tokensMax(req *Request, count Count) int {
	want := or(req.TokensMax, o.cfg.TokensMax)
	room := max(1, o.cfg.ContextLength-count.Tokens-o.dialect.room)
	switch {
	case want > 0 && (want <= room || !count.Exact):
		return want
	case want > 0 || o.dialect.room > 0:
		return room
	}
	return 0
}

// limitName is the parameter that bounds a reply on this server.
func (o *OpenAI) limitName() string {
	const old, new = "max_tokens", "max_completion_tokens"
	if o.lacks(old) || o.info.Reasoning && !o.lacks(new) {
		return new
	}
	return old
}

// wireMessage is a message as it is sent; an empty content is sent as well.
type wireMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
	Name    string `json:"name,omitempty"`
}

// validName is what OpenAI accepts as a name.
var validName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// wireMessages writes messages in the roles that servers take. A tool's result
// travels as the user's, since there is no tool call that it would answer.
func (o *OpenAI) wireMessages(msgs []Message) []wireMessage {
	if o.dialect.systemOnce {
		msgs = joinSystem(msgs)
	}
	out := make([]wireMessage, 0, len(msgs))
	for _, m := range msgs {
		w := wireMessage{Role: string(m.Role), Content: m.Content}
		if m.Role == RoleTool {
			w.Role = string(RoleUser)
		}
		if validName.MatchString(m.Name) {
			w.Name = m.Name
		}
		out = append(out, w)
	}
	return out
}

// joinSystem makes one system message, the first, of all.
func joinSystem(msgs []Message) []Message {
	var system []string
	var rest []Message
	for _, m := range msgs {
		if m.Role == RoleSystem {
			system = append(system, m.Content)
		} else {
			rest = append(rest, m)
		}
	}
	if len(system) == 0 {
		return rest
	}
	return append([]Message{{Role: RoleSystem, Content: strings.Join(system, "\n\n")}}, rest...)
}

// isStrictSchema reports whether OpenAI's strict mode takes the schema: every
// object closed, every property required. Otherwise it is sent as a wish.
func isStrictSchema(schema json.RawMessage) bool {
	var v any
	return json.Unmarshal(schema, &v) == nil && strictIn(v)
}

func strictIn(v any) bool {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if !strictIn(e) {
				return false
			}
		}
	case map[string]any:
		if props, ok := v["properties"].(map[string]any); ok {
			required, _ := v["required"].([]any)
			if v["additionalProperties"] != false || len(required) != len(props) {
				return false
			}
		}
		for _, e := range v {
			if !strictIn(e) {
				return false
			}
		}
	}
	return true
}

// refusedParam finds the parameter in a message like "Unsupported parameter:
// 'temperature' is not supported" or "Unrecognized request argument: top_k".
var (
	refusedParam = regexp.MustCompile(`(?i)(?:unsupported|unrecognized|unknown|unexpected|extra)[^:']*[:']\s*'?([a-z_]+)`)
	refusedValue = regexp.MustCompile(`(?i)unsupported|unrecognized|unknown|not supported|not permitted|not allowed|does not support|only the default`)
)

// whatInstead says what is done without a parameter. Others are never left out.
func whatInstead(param string) (string, bool) {
	switch param {
	case "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "reasoning_effort":
		return "it is left out, and the server's own setting holds", true
	case "stop":
		return "replies are cut here instead", true
	case "stream_options":
		return "usage is counted here instead", true
	case "response_format":
		return "the schema is put into the prompt, and the reply checked here instead", true
	case "max_tokens":
		return "max_completion_tokens is used instead", true
	case "max_completion_tokens":
		return "max_tokens is used instead", true
	}
	return "", false
}

// adapt learns from a refusal which parameter the server does not take, and
// reports whether the request should be sent again without it.
func (o *OpenAI) adapt(err error, req *Request, sent wireFields) bool {
	remote := toRemoteError(err, o.cfg.APIKey)
	if remote == nil || remote.Status != http.StatusBadRequest && remote.Status != http.StatusUnprocessableEntity {
		return false
	}
	param := remote.refused(sent)
	instead, ok := whatInstead(param)
	if param == "logprobs" || param == "top_logprobs" {
		o.learn("logprobs", "log-probabilities are refused")
		return false
	}
	limits := o.lacks("max_tokens") || o.lacks("max_completion_tokens")
	if !ok || limits && strings.HasPrefix(param, "max_") {
		return false
	}
	o.learn(param, instead)
	return true
}

// refused is the parameter, among those sent, that a refusal is about.
func (e *RemoteError) refused(sent wireFields) string {
	name, _, _ := strings.Cut(e.Param, ".")
	if name == "" {
		if m := refusedParam.FindStringSubmatch(e.Message); m != nil {
			name = m[1]
		}
	}
	if name == "" && strings.Contains(e.Message, "response_format") {
		name = "response_format"
	}
	unsupported := strings.HasPrefix(e.Code, "unsupported") || strings.HasPrefix(e.Code, "unknown") || refusedValue.MatchString(e.Message)
	if _, ok := sent[name]; !ok || !unsupported {
		return ""
	}
	return name
}

// chunk is one event of a stream, in the forms of all servers: OpenAI's, a
// whole answer, OpenAI's error and FastChat's.
type chunk struct {
	Choices   []chunkChoice   `json:"choices"`
	Usage     *openai.Usage   `json:"usage"`
	Error     json.RawMessage `json:"error"`
	ErrorCode int             `json:"error_code"`
	Text      string          `json:"text"`
	Object    string          `json:"object"`
	Message   string          `json:"message"`
}

type chunkChoice struct {
	openai.ChatCompletionStreamChoice
	Message struct {
		Content string `json:"content"`
		Refusal string `json:"refusal"`
	} `json:"message"`
}

// failure is the error that a chunk tells of.
func (c *chunk) failure(key Secret) error {
	e := &RemoteError{Status: http.StatusOK}
	switch {
	case len(c.Error) > 0 && string(c.Error) != "null":
		e.Message = detailText(c.Error)
	case c.ErrorCode != 0:
		e.Message, e.Code = c.Text, fmt.Sprint(c.ErrorCode)
	case c.Object == "error":
		e.Message = c.Message
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
	return err == io.EOF || r.finish != "" && (errors.Is(err, errCutOff) || errors.Is(err, io.ErrUnexpectedEOF))
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
			r.finish = string(choice.FinishReason)
		}
		piece := choice.Delta.Content + choice.Delta.Refusal + choice.Message.Content + choice.Message.Refusal
		d := Delta{}
		d.Text, r.stopped = r.filter.Push(piece)
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
		return &RemoteError{Status: http.StatusOK, Code: r.finish, Message: "a content filter of the server withheld the reply"}
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
	if !r.yield(Delta{Text: rest, Finish: r.finishReason(usage), Stop: r.filter.By(), Usage: usage}, nil) {
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
	return &Usage{PromptTokens: r.count.Tokens, EvaluatedTokens: r.count.Tokens, CompletionTokens: n}, nil
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
			Err:    fmt.Errorf("the server saw %d tokens of a prompt that has %d (%s): it cut the prompt silently", seen, count.Tokens, count.Source),
			Advice: fmt.Sprintf("lower llm.context_length (now %d) to what the server really takes", o.cfg.ContextLength)}
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
			out[i].Top = append(out[i].Top, TokenLogprob{Text: rival.Token, Bytes: toBytes(rival.Bytes), Logprob: rival.Logprob})
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
