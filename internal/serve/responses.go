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

func (s *Server) readResponse(data []byte) (*responseCall, error) {
	f, err := parseFields(data)
	if err != nil {
		return nil, err
	}
	c := &responseCall{chatCall: chatCall{req: &backend.Request{Sampling: f.sampling(), Stop: f.stops("stop")}, n: 1}, store: true}
	c.instructions, c.previous = f.text("instructions"), f.text("previous_response_id")
	f.read("store", "true or false", &c.store)
	c.stream = f.flag("stream")
	model := f.text("model")
	f.items(c.req)
	if n := f.integer("max_output_tokens", 1, 1<<31-1); n != nil {
		c.req.TokensMax = int(*n)
	}
	if n := f.integer("top_logprobs", 0, backend.TopLogprobsMax); n != nil {
		c.req.TopLogprobs, c.req.Logprobs = int(*n), *n > 0
	}
	f.textFormat(c.req)
	asked := f.raw["tool_choice"]
	if asked == nil {
		asked = json.RawMessage(`"auto"`)
	}
	c.tools = f.responseTools(c.req)
	c.echo = map[string]any{"temperature": c.req.Sampling.Temperature, "top_p": c.req.Sampling.TopP, "max_output_tokens": zeroIsNull(c.req.TokensMax),
		"instructions": zeroIsNull(c.instructions), "previous_response_id": zeroIsNull(c.previous), "store": c.store,
		"parallel_tool_calls": c.tools == nil || !c.tools.One, "tool_choice": asked, "tools": responseToolBodies(c.req.Tools, c.tools)}
	if raw := f.take("metadata"); raw != nil {
		c.echo["metadata"] = raw
	}
	// What a model here has no use for, and what only tells servers about each other.
	for _, name := range []string{"reasoning", "include", "client_metadata", "truncation", "background", "stream_options", "service_tier", "prompt", "max_tool_calls"} {
		if raw := f.take(name); raw != nil && !harmlessResponse(name, raw) {
			f.fail(unsupported(name, "is not supported by this server."))
		}
	}
	if err := f.end(); err != nil {
		return nil, err
	}
	if c.model, err = s.modelName(model); err != nil {
		return nil, err
	}
	if err := s.continued(c); err != nil {
		return nil, err
	}
	if err := s.able(c.req); err != nil {
		return nil, err
	}
	return c, s.ableTools(c.req, c.tools)
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
			req.Messages = append(req.Messages, backend.Message{Role: backend.RoleAssistant, Calls: []backend.ToolCall{call}})
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
	raw := f.take("text")
	if raw == nil {
		return
	}
	text, err := parseFieldsAt("text", raw)
	if err != nil {
		f.fail(err)
		return
	}
	text.take("verbosity") // advice to models that know it
	if format := text.take("format"); format != nil {
		f.format(format, "text.format", req)
	}
	f.fail(text.end())
}

// responseTools reads tools and tool_choice. Tools that OpenAI carries out itself are not
// offered; the reply tells which are.
func (f *fields) responseTools(req *backend.Request) *backend.ToolChoice {
	return f.called(slices.DeleteFunc(f.functions(), func(t functionBody) bool { return t.Type != "function" }), req)
}

// responseToolBodies tells which tools are offered; choice is nil where none may be called.
func responseToolBodies(tools []backend.Tool, choice *backend.ToolChoice) []map[string]any {
	out := []map[string]any{}
	for _, t := range tools {
		out = append(out, map[string]any{"type": "function", "name": t.Name, "description": t.Description, "parameters": t.Parameters,
			"strict": choice != nil && choice.Strict[t.Name]})
	}
	return out
}

// continued puts what came before in front of the input.
func (s *Server) continued(c *responseCall) error {
	if c.previous != "" {
		before, ok := s.responses.get(c.previous)
		if !ok {
			return &apiError{status: http.StatusNotFound, code: "previous_response_not_found", param: "previous_response_id",
				message: fmt.Sprintf("There is no response %q here: it was not stored, or so many came after it that it was dropped.", c.previous)}
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
		rest = append([]backend.Message{{Role: backend.RoleSystem, Content: strings.Join(system, "\n\n")}}, rest...)
	}
	c.req.Messages = rest
	return nil
}

// responseItem is a piece of the output that is being written.
type responseItem struct {
	body map[string]any
	text strings.Builder
	call bool
}

// responseWriter makes items of deltas, and events where they are streamed.
type responseWriter struct {
	c        *responseCall
	body     map[string]any
	items    []*responseItem
	send     func(kind string, fields map[string]any) error
	finish   backend.FinishReason
	usage    usageBody
	logprobs []chatToken
}

func (s *Server) response(w http.ResponseWriter, r *http.Request) error {
	data, err := readBody(w, r)
	if err != nil {
		return err
	}
	c, err := s.readResponse(data)
	if err != nil {
		return err
	}
	var out *events
	if c.stream {
		out = newEvents(w)
		defer out.end()
	}
	rw := &responseWriter{c: c, body: map[string]any{"id": newID("resp_"), "object": "response", "created_at": time.Now().Unix(), "model": c.model,
		"status": "in_progress", "output": []any{}, "error": nil, "incomplete_details": nil, "usage": nil}}
	maps.Copy(rw.body, c.echo)
	sequence := 0
	rw.send = func(kind string, fields map[string]any) error {
		if !c.stream {
			return nil
		}
		event := map[string]any{"type": kind, "sequence_number": sequence}
		sequence++
		maps.Copy(event, fields)
		return out.sendNamed(kind, event)
	}
	begun := false
	for ev, err := range s.run(r, c.replies(s.backend)) {
		if err != nil && c.stream {
			return out.fail(err)
		}
		if err != nil {
			return err
		}
		if !begun {
			begun = true
			for _, kind := range []string{"response.created", "response.in_progress"} {
				if err := rw.send(kind, map[string]any{"response": maps.Clone(rw.body)}); err != nil {
					return err
				}
			}
		}
		if err := rw.add(ev.Delta); err != nil {
			return err
		}
	}
	if err := rw.end(); err != nil {
		return err
	}
	if c.store {
		s.responses.put(rw.body["id"].(string), rw.conversation())
	}
	if c.stream {
		return nil
	}
	return writeJSON(w, http.StatusOK, rw.body)
}

func (rw *responseWriter) add(d backend.Delta) error {
	switch {
	case d.Call != nil && d.Call.Name != "":
		if err := rw.close(); err != nil {
			return err
		}
		return rw.open(true, map[string]any{"id": newID("fc_"), "type": "function_call", "status": "in_progress", "call_id": d.Call.ID, "name": d.Call.Name, "arguments": ""})
	case d.Call != nil:
		return rw.write("response.function_call_arguments.delta", d.Call.Arguments, nil)
	case d.Text != "" || len(d.Tokens) > 0:
		if len(rw.items) == 0 || rw.items[len(rw.items)-1].call {
			if err := rw.message(); err != nil {
				return err
			}
		}
		tokens := chatTokens(d.Tokens)
		rw.logprobs = append(rw.logprobs, tokens...)
		return rw.write("response.output_text.delta", d.Text, map[string]any{"content_index": 0, "logprobs": tokens})
	}
	if d.Finish != "" {
		rw.finish = d.Finish
		rw.usage.add(d.Usage, true)
	}
	return nil
}

// message begins an item of text.
func (rw *responseWriter) message() error {
	if err := rw.open(false, map[string]any{"id": newID("msg_"), "type": "message", "status": "in_progress", "role": "assistant", "content": []any{}}); err != nil {
		return err
	}
	return rw.tell("response.content_part.added", map[string]any{"content_index": 0, "part": textPart("", nil)})
}

func textPart(text string, logprobs []chatToken) map[string]any {
	if logprobs == nil {
		logprobs = []chatToken{}
	}
	return map[string]any{"type": "output_text", "text": text, "annotations": []any{}, "logprobs": logprobs}
}

func (rw *responseWriter) open(call bool, body map[string]any) error {
	rw.items = append(rw.items, &responseItem{body: body, call: call})
	return rw.send("response.output_item.added", map[string]any{"output_index": len(rw.items) - 1, "item": maps.Clone(body)})
}

// tell sends an event about the newest item.
func (rw *responseWriter) tell(kind string, fields map[string]any) error {
	event := map[string]any{"output_index": len(rw.items) - 1, "item_id": rw.items[len(rw.items)-1].body["id"]}
	maps.Copy(event, fields)
	return rw.send(kind, event)
}

func (rw *responseWriter) write(kind, text string, more map[string]any) error {
	rw.items[len(rw.items)-1].text.WriteString(text)
	event := map[string]any{"delta": text}
	maps.Copy(event, more)
	return rw.tell(kind, event)
}

// close ends the newest item.
func (rw *responseWriter) close() error {
	if len(rw.items) == 0 {
		return nil
	}
	item := rw.items[len(rw.items)-1]
	text := item.text.String()
	item.body["status"] = "completed"
	if rw.finish == backend.FinishLength || rw.finish == backend.FinishContext {
		item.body["status"] = "incomplete"
	}
	if item.call {
		item.body["arguments"] = text
		if err := rw.tell("response.function_call_arguments.done", map[string]any{"arguments": text, "name": item.body["name"]}); err != nil {
			return err
		}
	} else {
		part := textPart(text, rw.logprobs)
		item.body["content"] = []any{part}
		if err := rw.tell("response.output_text.done", map[string]any{"content_index": 0, "text": text, "logprobs": part["logprobs"]}); err != nil {
			return err
		}
		if err := rw.tell("response.content_part.done", map[string]any{"content_index": 0, "part": part}); err != nil {
			return err
		}
	}
	return rw.send("response.output_item.done", map[string]any{"output_index": len(rw.items) - 1, "item": item.body})
}

// end completes the response.
func (rw *responseWriter) end() error {
	if len(rw.items) == 0 { // a reply of no token
		if err := rw.message(); err != nil {
			return err
		}
	}
	if err := rw.close(); err != nil {
		return err
	}
	output := []any{}
	for _, item := range rw.items {
		output = append(output, item.body)
	}
	kind := "response.completed"
	rw.body["output"], rw.body["status"] = output, "completed"
	if rw.finish == backend.FinishLength || rw.finish == backend.FinishContext {
		kind = "response.incomplete"
		rw.body["status"], rw.body["incomplete_details"] = "incomplete", map[string]any{"reason": "max_output_tokens"}
	}
	rw.body["usage"] = map[string]any{"input_tokens": rw.usage.PromptTokens, "output_tokens": rw.usage.CompletionTokens, "total_tokens": rw.usage.TotalTokens,
		"input_tokens_details":  map[string]any{"cached_tokens": rw.usage.PromptTokensDetails.CachedTokens},
		"output_tokens_details": map[string]any{"reasoning_tokens": rw.usage.CompletionTokensDetails.ReasoningTokens}}
	return rw.send(kind, map[string]any{"response": rw.body})
}

// conversation is what a next request goes on with; instructions are not a part of it.
func (rw *responseWriter) conversation() []backend.Message {
	msgs := slices.Clone(rw.c.req.Messages)
	if rw.c.instructions != "" {
		msgs[0].Content = strings.TrimPrefix(strings.TrimPrefix(msgs[0].Content, rw.c.instructions), "\n\n")
		if msgs[0].Content == "" {
			msgs = msgs[1:]
		}
	}
	reply := backend.Message{Role: backend.RoleAssistant}
	for _, item := range rw.items {
		if !item.call {
			reply.Content += item.text.String()
			continue
		}
		id, _ := item.body["call_id"].(string)
		name, _ := item.body["name"].(string)
		reply.Calls = append(reply.Calls, backend.ToolCall{ID: id, Name: name, Arguments: argumentsOf(json.RawMessage(item.text.String()))})
	}
	return append(msgs, reply)
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
