package serve

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"agent/backend"
)

// The endpoint /v1/responses is OpenAI's newer form of a chat: items in, items out. It is a
// codec around what /v1/chat/completions does.

// Limits of what is kept for previous_response_id.
const (
	responsesMax     = 256
	responseBytesMax = 64 << 20 // of all of them
)

// responseCall is a request, understood.
type responseCall struct {
	chatCall
	instructions string
	previous     string
	store        bool
	echo         map[string]any // what the reply repeats of the request
}

// response serves /v1/responses.
func (m *model) response(f *fields, w http.ResponseWriter, r *http.Request) error {
	c, err := m.readResponse(f)
	if err != nil {
		return err
	}
	rw := &responseWriter{w: w, store: &m.responses, c: c, body: map[string]any{
		"id": newID("resp_"), "object": "response", "created_at": time.Now().Unix(), "model": c.model,
		"status": "in_progress", "output": []any{}, "error": nil, "incomplete_details": nil, "usage": nil,
	}}
	maps.Copy(rw.body, c.echo)
	if c.stream {
		rw.out = newEvents(w)
		defer rw.out.close()
	}
	return m.answer(r, c.replies(m.backend), rw)
}

// advisory are fields for which a model here has no use, and which only tell servers about
// each other.
var advisory = []string{"reasoning", "client_metadata", "truncation", "background",
	"stream_options", "service_tier", "prompt", "max_tool_calls"}

// readResponse understands a request.
func (m *model) readResponse(f *fields) (*responseCall, error) {
	req := &backend.Request{Sampling: f.sampling(), Stop: f.stops("stop")}
	c := &responseCall{chatCall: chatCall{req: req, n: 1, stream: f.flag("stream")}, store: true}
	c.instructions, c.previous = f.text("instructions"), f.text("previous_response_id")
	f.read("store", "true or false", &c.store)
	f.items(req)
	if n := f.integer("max_output_tokens", 1, 1<<31-1); n != nil {
		req.TokensMax = int(*n)
	}
	if n := f.integer("top_logprobs", 0, backend.TopLogprobsMax); n != nil {
		req.TopLogprobs, req.Logprobs = int(*n), *n > 0
	}
	var include []string
	f.read("include", "a list of texts", &include)
	req.Logprobs = req.Logprobs || slices.Contains(include, "message.output_text.logprobs")
	f.textFormat(req)
	asked := f.raw["tool_choice"]
	if asked == nil {
		asked = json.RawMessage(`"auto"`)
	}
	c.tools = f.responseTools(req)
	c.echo = map[string]any{
		"temperature": req.Sampling.Temperature, "top_p": req.Sampling.TopP,
		"max_output_tokens": zeroIsNull(req.TokensMax),
		"instructions":      zeroIsNull(c.instructions), "previous_response_id": zeroIsNull(c.previous),
		"store":               c.store,
		"parallel_tool_calls": c.tools == nil || !c.tools.One, "tool_choice": asked,
		"tools": responseToolBodies(req.Tools, c.tools),
	}
	if raw := f.take("metadata"); raw != nil {
		c.echo["metadata"] = raw
	}
	for _, name := range advisory {
		if raw := f.take(name); raw != nil && !harmlessResponse(name, raw) {
			f.fail(unsupported(name, "is not supported by this server."))
		}
	}
	var err error
	if c.model, err = m.end(f); err != nil {
		return nil, err
	}
	if err := m.responses.continued(c); err != nil {
		return nil, err
	}
	return c, m.able(req, c.tools)
}

// harmlessResponse reports that a field asks for nothing that would change the reply.
func harmlessResponse(name string, raw json.RawMessage) bool {
	switch name {
	case "truncation":
		return string(raw) == `"disabled"`
	case "background":
		return string(raw) == "false"
	case "prompt", "max_tool_calls":
		return false
	}
	return true
}

func zeroIsNull[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

// items reads the input: a text, or messages, calls, their results, and what may be left out.
func (f *fields) items(req *backend.Request) {
	raw := f.take("input")
	var text string
	if json.Unmarshal(raw, &text) == nil && raw != nil {
		req.Messages = []backend.Message{{Role: backend.RoleUser, Content: text}}
		return
	}
	var list []json.RawMessage
	if raw == nil || json.Unmarshal(raw, &list) != nil {
		f.fail(badValue("input", "it must be a text or a list of items."))
		return
	}
	for i, raw := range list {
		if err := readItem(raw, fmt.Sprintf("input[%d]", i), req); err != nil {
			f.fail(err)
			return
		}
	}
}

// readItem adds an item to the messages of a request.
func readItem(raw json.RawMessage, at string, req *backend.Request) error {
	f, err := parseFieldsAt(at, raw)
	if err != nil {
		return err
	}
	kind := f.text("type")
	for _, name := range []string{"id", "status", "phase", "encrypted_content", "summary"} {
		f.take(name)
	}
	switch kind {
	case "", "message":
		rest, err := json.Marshal(f.raw)
		if err != nil {
			return badValue(at, "%v.", err)
		}
		m, err := readMessage(rest, at)
		req.Messages = append(req.Messages, m)
		return err
	case "function_call":
		call := backend.ToolCall{ID: f.text("call_id"), Name: f.text("name")}
		call.Arguments = argumentsOf(f.take("arguments"))
		f.take("namespace")
		// Calls of one turn are one message, with the text before them.
		if n := len(req.Messages) - 1; n >= 0 && req.Messages[n].Role == backend.RoleAssistant {
			req.Messages[n].Calls = append(req.Messages[n].Calls, call)
		} else {
			req.Messages = append(req.Messages,
				backend.Message{Role: backend.RoleAssistant, Calls: []backend.ToolCall{call}})
		}
	case "function_call_output":
		f.take("call_id")
		text, err := readContent(f.take("output"), at+".output")
		if err != nil {
			return err
		}
		req.Messages = append(req.Messages, backend.Message{Role: backend.RoleTool, Content: text})
	case "reasoning": // thoughts of an earlier turn, which models are not shown again
		f.take("content")
	default:
		return unsupported(at+".type", "is %q; known are message, function_call, function_call_output and reasoning.", kind)
	}
	return f.end()
}

// textFormat reads text.format, which is response_format elsewhere.
func (f *fields) textFormat(req *backend.Request) {
	f.object("text", func(text *fields) {
		text.take("verbosity") // advice to models that know it
		if format := text.take("format"); format != nil {
			f.format(format, "text.format", req)
		}
	})
}

// responseTools reads tools and tool_choice. Tools that OpenAI carries out itself are not
// offered; the reply tells which are.
func (f *fields) responseTools(req *backend.Request) *backend.ToolChoice {
	return f.called(slices.DeleteFunc(f.functions(),
		func(t functionBody) bool { return t.Type != "function" }), req)
}

// responseToolBodies tells which tools are offered; choice is nil where none may be called.
func responseToolBodies(tools []backend.Tool, choice *backend.ToolChoice) []map[string]any {
	out := []map[string]any{}
	for _, t := range tools {
		out = append(out, map[string]any{"type": "function", "name": t.Name, "description": t.Description,
			"parameters": t.Parameters, "strict": choice != nil && choice.Strict[t.Name]})
	}
	return out
}

// continued puts what came before in front of the input.
func (s *responseStore) continued(c *responseCall) error {
	if c.previous != "" {
		before, ok := s.get(c.previous)
		if !ok {
			return &apiError{status: http.StatusNotFound, code: "previous_response_not_found",
				param: "previous_response_id", message: fmt.Sprintf(
					"There is no response %q here: it was not stored, or so many came after it that it was "+
						"dropped.", c.previous)}
		}
		c.req.Messages = append(before, c.req.Messages...)
	}
	if len(c.req.Messages) == 0 {
		return badValue("input", "it must have at least one item.")
	}
	// System texts are one, at the start, where every chat template takes it.
	var system []string
	if c.instructions != "" {
		system = append(system, c.instructions)
	}
	var rest []backend.Message
	for _, m := range c.req.Messages {
		if m.Role == backend.RoleSystem && len(rest) == 0 {
			system = append(system, m.Content)
		} else {
			rest = append(rest, m)
		}
	}
	if len(system) > 0 {
		rest = append([]backend.Message{{Role: backend.RoleSystem,
			Content: strings.Join(system, "\n\n")}}, rest...)
	}
	c.req.Messages = rest
	return nil
}

// responseStore keeps the conversations of the newest responses, in memory.
type responseStore struct {
	mu    sync.Mutex
	kept  map[string][]backend.Message
	order []string
	bytes int
}

func (s *responseStore) get(id string) ([]backend.Message, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	msgs, ok := s.kept[id]
	return slices.Clone(msgs), ok
}

func (s *responseStore) put(id string, msgs []backend.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = map[string][]backend.Message{}
	}
	s.kept[id] = msgs
	s.order = append(s.order, id)
	s.bytes += bytesOf(msgs)
	for len(s.order) > responsesMax || s.bytes > responseBytesMax {
		s.bytes -= bytesOf(s.kept[s.order[0]])
		delete(s.kept, s.order[0])
		s.order = s.order[1:]
	}
}

func bytesOf(msgs []backend.Message) (n int) {
	for _, m := range msgs {
		n += len(m.Content)
		for _, c := range m.Calls {
			n += len(c.Name) + len(c.Arguments)
		}
	}
	return n
}
