package serve

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"agent/backend"
	"agent/internal/legible"
)

// chatCall is a request to /v1/chat/completions, understood.
type chatCall struct {
	model             string
	req               *backend.Request
	tools             *backend.ToolChoice // nil: none are offered
	n                 int
	stream, withUsage bool
}

// readChat understands a request.
func (m *model) readChat(f *fields) (*chatCall, error) {
	c := &chatCall{req: &backend.Request{Sampling: f.sampling(), Stop: f.stops("stop")}, n: f.count()}
	c.stream, c.withUsage = f.streaming()
	f.messages(c.req)
	f.tokensMax(c.req)
	c.req.Logprobs = f.flag("logprobs")
	if n := f.integer("top_logprobs", 0, backend.TopLogprobsMax); n != nil {
		if c.req.TopLogprobs = int(*n); *n > 0 && !c.req.Logprobs {
			f.fail(badValue("top_logprobs", "it is only allowed when logprobs is true."))
		}
	}
	f.constraint(c.req)
	c.tools = f.tools(c.req)
	return c, m.endCall(f, c)
}

// tokensMax reads the limit of a reply under both of its names; -1 is none.
func (f *fields) tokensMax(req *backend.Request) {
	for _, name := range []string{"max_tokens", "max_completion_tokens"} {
		n := f.integer(name, -1, 1<<31-1)
		switch {
		case n == nil, *n == -1:
		case *n == 0:
			f.fail(badValue(name, "it is 0, must be 1 or more, or -1 for no limit."))
		case req.TokensMax != 0 && req.TokensMax != int(*n):
			f.fail(badValue(name, "it is %d, and max_tokens is %d; give one of them.", *n, req.TokensMax))
		default:
			req.TokensMax = int(*n)
		}
	}
}

// messages reads the conversation. With continue_final_message, as vLLM has
// it, the assistant's last message is the start of the reply.
func (f *fields) messages(req *backend.Request) {
	var list []json.RawMessage
	f.read("messages", "a list of messages", &list)
	req.Messages = each(f, "messages", list, readMessage)
	generationPrompt := true
	f.read("add_generation_prompt", "true or false", &generationPrompt)
	continued := f.flag("continue_final_message")
	last := len(req.Messages) - 1
	switch {
	case last < 0:
		f.fail(badValue("messages", "it must have at least one message."))
	case continued == generationPrompt && !continued:
		f.fail(badValue("add_generation_prompt",
			"it can only be false together with continue_final_message."))
	case continued && (last < 1 || req.Messages[last].Role != backend.RoleAssistant):
		f.fail(badValue("continue_final_message",
			"the last message must be the assistant's, after another."))
	case continued:
		req.Prefill, req.Messages = req.Messages[last].Content, req.Messages[:last]
	}
}

// ReadMessages reads a list of messages as a request has them, with calls, parts and
// the roles of other servers. What it does not know is an error with its place.
func ReadMessages(list []byte) ([]backend.Message, error) {
	if err := legible.CheckJSON(list); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(list, new(json.RawMessage)); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	f := &fields{raw: map[string]json.RawMessage{"messages": list}}
	var req backend.Request
	f.messages(&req)
	return req.Messages, f.end()
}

// echoed is what other servers add to their replies, and clients send back.
var echoed = []string{"annotations", "reasoning_content", "reasoning", "reasoning_details",
	"reasoning_items", "thinking", "thinking_blocks",
	"provider_specific_fields", "extra_content", "metadata", "id", "created", "created_at",
	"model", "finish_reason", "stop_reason", "logprobs", "usage"}

// readMessage reads one message of text.
func readMessage(raw json.RawMessage, at string) (backend.Message, error) {
	f, err := parseFieldsAt(at, raw)
	if err != nil {
		return backend.Message{}, err
	}
	role := f.text("role")
	m := backend.Message{Role: backend.Role(role), Name: f.text("name")}
	if role == "developer" {
		m.Role = backend.RoleSystem
	}
	if err := backend.CheckMessages([]backend.Message{m}); err != nil {
		return m, badValue(at+".role", "known are system, developer, user, assistant and tool.")
	}
	f.take("tool_call_id") // names a call; the result's text is what the model sees
	refusal := f.text("refusal")
	for _, name := range echoed {
		f.take(name)
	}
	if m.Calls, err = readCalls(f.take("tool_calls"), at+".tool_calls"); err != nil {
		return m, err
	}
	for name, instead := range map[string]string{
		"function_call": "write tool_calls, and the result as a message of the role tool",
		"audio":         "send its text",
		"images":        "send text",
		"prefix":        "use continue_final_message",
	} {
		if v := f.take(name); v != nil && string(v) != "[]" && string(v) != "false" {
			return m, unsupported(at+"."+name, "is not supported by this server; %s.", instead)
		}
	}
	if m.Content, err = readContent(f.take("content"), at+".content"); err != nil {
		return m, err
	}
	if m.Content == "" {
		m.Content = refusal
	}
	return m, f.end()
}

// partKeys are those of a part that is text.
var partKeys = []string{"type", "text", "refusal", "data", "annotations", "citations",
	"logprobs", "cache_control", "id"}

// readContent reads text, or a list of parts that are all text.
func readContent(raw json.RawMessage, at string) (string, error) {
	var text string
	if raw == nil || json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	var parts []struct {
		Type    string          `json:"type"`
		Text    *string         `json:"text"`
		Refusal *string         `json:"refusal"`
		Data    json.RawMessage `json:"data"`
	}
	var objects []json.RawMessage
	if json.Unmarshal(raw, &objects) != nil || json.Unmarshal(raw, &parts) != nil {
		return "", badValue(at, "it must be a string or a list of parts.")
	}
	var out strings.Builder
	for i, p := range parts {
		if slices.Contains([]string{"text", "input_text", "output_text", "refusal", "input_json"},
			p.Type) {
			if err := checkKeys(objects[i], fmt.Sprintf("%s[%d]", at, i), partKeys...); err != nil {
				return "", err
			}
		}
		switch {
		case p.Type == "thinking", p.Type == "reasoning": // thoughts, which models are not shown again
		case p.Text != nil && (p.Type == "text" || p.Type == "input_text" || p.Type == "output_text"):
			out.WriteString(*p.Text)
		case p.Refusal != nil && p.Type == "refusal":
			out.WriteString(*p.Refusal)
		case p.Data != nil && p.Type == "input_json":
			out.Write(p.Data)
		default:
			return "", unsupported(fmt.Sprintf("%s[%d]", at, i),
				"is of a type that this server does not support; it takes text.")
		}
	}
	return out.String(), nil
}

// replies are the calls of the backend that a request needs.
func (c *chatCall) replies(b backend.LanguageBackend) []reply {
	var out []reply
	for i := range c.n {
		req := seeded(c.req, i)
		out = append(out, func(ctx context.Context) iter.Seq2[backend.Delta, error] {
			if c.tools != nil {
				return constrained(backend.CallTools(ctx, b, req, *c.tools), req)
			}
			return constrained(b.ChatCompletion(ctx, req), req)
		})
	}
	return out
}

// constrained marks a failure before the first delta of a reply in a given form
// as the client's: it is the schema or grammar that could not be used.
func constrained(seq iter.Seq2[backend.Delta, error], req *backend.Request,
) iter.Seq2[backend.Delta, error] {
	if len(req.Schema) == 0 && req.Grammar == "" {
		return seq
	}
	param := "grammar"
	if len(req.Schema) > 0 {
		param = "response_format"
	}
	return func(yield func(backend.Delta, error) bool) {
		began := false
		for d, err := range seq {
			if err != nil && !began && isPlain(err) {
				err = badValue(param, "%v.", err)
			}
			began = true
			if !yield(d, err) {
				return
			}
		}
	}
}

// chat serves /v1/chat/completions.
func (m *model) chat(f *fields, w http.ResponseWriter, r *http.Request) error {
	c, err := m.readChat(f)
	if err != nil {
		return err
	}
	if c.stream {
		out := newEvents(w)
		defer out.close()
		return m.answer(r, c.replies(m.backend), &chatStream{events: out, chatCall: c,
			frame: m.newChatAnswer(c, "chat.completion.chunk"), greeted: make([]bool, c.n)})
	}
	return m.answer(r, c.replies(m.backend), newChatWhole(w, c, m.newChatAnswer(c, "chat.completion")))
}

// The answers of /v1/chat/completions.
type (
	chatAnswer struct {
		ID      string       `json:"id"`
		Object  string       `json:"object"`
		Created int64        `json:"created"`
		Model   string       `json:"model"`
		Choices []chatChoice `json:"choices"`
		Usage   *usageBody   `json:"usage"`

		SystemFingerprint string `json:"system_fingerprint,omitempty"`
	}
	chatChoice struct {
		Index        int           `json:"index"`
		Message      *chatMessage  `json:"message,omitempty"`
		Delta        *chatDelta    `json:"delta,omitempty"`
		Logprobs     *chatLogprobs `json:"logprobs"`
		FinishReason *string       `json:"finish_reason"`
	}
	chatMessage struct {
		Role    string  `json:"role"`
		Content *string `json:"content"`
		// not OpenAI's: as other servers name it
		Thought   string         `json:"reasoning_content,omitempty"`
		Refusal   *string        `json:"refusal"`
		ToolCalls []chatCallBody `json:"tool_calls,omitempty"`
	}
	chatDelta struct {
		Role      string         `json:"role,omitempty"`
		Content   *string        `json:"content,omitempty"`
		Thought   string         `json:"reasoning_content,omitempty"`
		ToolCalls []chatCallBody `json:"tool_calls,omitempty"`
	}
	chatCallBody struct {
		Index    *int   `json:"index,omitempty"` // in streams
		ID       string `json:"id,omitempty"`
		Type     string `json:"type,omitempty"`
		Function struct {
			Name      string `json:"name,omitempty"`
			Arguments string `json:"arguments"`
		} `json:"function"`
	}
	chatLogprobs struct {
		Content []chatToken `json:"content"`
		Refusal []chatToken `json:"refusal"`
	}
	chatToken struct {
		Token       string      `json:"token"`
		Logprob     float64     `json:"logprob"`
		Bytes       []int       `json:"bytes"`
		TopLogprobs []chatToken `json:"top_logprobs,omitzero"`
	}
)

// chatWhole answers in one piece.
type chatWhole struct {
	whole
	answer chatAnswer
	texts  []strings.Builder // of the choices
}

func newChatWhole(w http.ResponseWriter, c *chatCall, answer chatAnswer) *chatWhole {
	answer.Usage = &usageBody{}
	for i := range c.n {
		choice := chatChoice{Index: i, Message: &chatMessage{Role: "assistant"}}
		if c.req.Logprobs {
			choice.Logprobs = &chatLogprobs{Content: []chatToken{}}
		}
		answer.Choices = append(answer.Choices, choice)
	}
	return &chatWhole{whole: whole{w}, answer: answer, texts: make([]strings.Builder, c.n)}
}

func (c *chatWhole) add(ev event) error {
	choice := &c.answer.Choices[ev.choice]
	if d := ev.Call; d != nil {
		choice.Message.addCall(d)
		return nil
	}
	c.texts[ev.choice].WriteString(ev.Text)
	choice.Message.Thought += ev.Thought
	if choice.Logprobs != nil {
		choice.Logprobs.Content = append(choice.Logprobs.Content, chatTokens(ev.Tokens)...)
	}
	if ev.Finish != "" {
		choice.FinishReason = finishReason(ev.Finish)
		c.answer.Usage.add(ev.Usage, ev.choice == 0)
	}
	return nil
}

func (c *chatWhole) end() error {
	for i := range c.texts {
		// Without a word beside calls there is no content, as OpenAI has it.
		message := c.answer.Choices[i].Message
		if text := c.texts[i].String(); text != "" || message.ToolCalls == nil {
			message.Content = &text
		}
	}
	return writeJSON(c.w, http.StatusOK, c.answer)
}

// chatStream answers as events.
type chatStream struct {
	*events
	*chatCall
	frame   chatAnswer
	usage   usageBody
	greeted []bool // choices whose role was told
}

func (c *chatStream) add(ev event) error {
	if ev.Finish != "" {
		c.usage.add(ev.Usage, ev.choice == 0)
	}
	for _, choice := range c.choices(ev) {
		choice.Index = ev.choice
		if err := c.send(c.frame.with(choice)); err != nil {
			return err
		}
	}
	return nil
}

// choices are what there is to send of a delta, each in an event of its own.
func (c *chatStream) choices(ev event) (out []chatChoice) {
	if !c.greeted[ev.choice] {
		c.greeted[ev.choice] = true
		greeting := &chatDelta{Role: "assistant"}
		if ev.Call == nil {
			greeting.Content = new(string)
		}
		out = append(out, chatChoice{Delta: greeting})
	}
	if ev.Call != nil {
		out = append(out, chatChoice{Delta: &chatDelta{ToolCalls: []chatCallBody{callBody(ev.Call)}}})
	}
	if ev.Thought != "" {
		out = append(out, chatChoice{Delta: &chatDelta{Thought: ev.Thought}})
	}
	if ev.Text != "" || len(ev.Tokens) > 0 {
		choice := chatChoice{Delta: &chatDelta{Content: &ev.Text}}
		if c.req.Logprobs {
			choice.Logprobs = &chatLogprobs{Content: chatTokens(ev.Tokens)}
		}
		out = append(out, choice)
	}
	if ev.Finish != "" {
		out = append(out, chatChoice{Delta: &chatDelta{}, FinishReason: finishReason(ev.Finish)})
	}
	return out
}

func (c *chatStream) end() error {
	if c.withUsage {
		last := c.frame.with()
		last.Usage = &c.usage
		if err := c.send(last); err != nil {
			return err
		}
	}
	return c.done()
}

func (m *model) newChatAnswer(c *chatCall, object string) chatAnswer {
	out := chatAnswer{ID: newID("chatcmpl-"), Object: object, Created: time.Now().Unix(),
		Model: c.model}
	if b, ok := backend.As[fingerprinter](m.backend); ok {
		out.SystemFingerprint = b.Fingerprint()
	}
	return out
}

// fingerprinter is a backend that can say by what its replies were computed.
type fingerprinter interface{ Fingerprint() string }

// with is the frame around the given choices.
func (a chatAnswer) with(choices ...chatChoice) chatAnswer {
	a.Choices = append([]chatChoice{}, choices...)
	return a
}

// newID makes an unguessable id of an answer.
func newID(prefix string) string { return prefix + rand.Text() }

// chatTokens writes log-probabilities as the chat endpoint has them.
func chatTokens(tokens []backend.TokenLogprob) []chatToken {
	out := make([]chatToken, 0, len(tokens))
	for _, t := range tokens {
		ct := oneChatToken(t)
		ct.TopLogprobs = make([]chatToken, 0, len(t.Top))
		for _, top := range t.Top {
			ct.TopLogprobs = append(ct.TopLogprobs, oneChatToken(top))
		}
		out = append(out, ct)
	}
	return out
}

func oneChatToken(t backend.TokenLogprob) chatToken {
	raw := t.Bytes
	if raw == nil {
		raw = []byte(t.Text)
	}
	ct := chatToken{Token: t.Text, Logprob: finite(t.Logprob), Bytes: make([]int, len(raw))}
	for i, b := range raw {
		ct.Bytes[i] = int(b)
	}
	return ct
}

// impossible stands for a log-probability of minus infinity, which JSON can't
// hold; the number is the one that OpenAI uses.
const impossible = -9999.0

func finite(v float64) float64 {
	if v < impossible || v != v {
		return impossible
	}
	return v
}
