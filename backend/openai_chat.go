package backend

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"regexp"
	"slices"
	"strings"

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
func (o *OpenAI) open(ctx context.Context, req *Request, count Count,
) (*openai.ChatCompletionStream, error) {
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
		if ctx.Err() != nil || !o.adapt(err, fields) {
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
				"json_schema": map[string]any{"name": schemaName, "schema": req.Schema,
					"strict": isStrictSchema(req.Schema)}}
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
	refusedValue = regexp.MustCompile(`(?i)unsupported|unrecognized|unknown|does not support|` +
		`not (?:supported|permitted|allowed)|only the default`)
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
func (o *OpenAI) adapt(err error, sent wireFields) bool {
	remote := toRemoteError(err, o.cfg.APIKey)
	if remote == nil ||
		remote.Status != http.StatusBadRequest && remote.Status != http.StatusUnprocessableEntity {
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
	unsupported := strings.HasPrefix(e.Code, "unsupported") || strings.HasPrefix(e.Code, "unknown") ||
		refusedValue.MatchString(e.Message)
	if _, ok := sent[name]; !ok || !unsupported {
		return ""
	}
	return name
}
