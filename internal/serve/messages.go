package serve

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"agent/backend"
)

// Anthropic's wire: /v1/messages and /v1/messages/count_tokens. A request is read into the
// same call as one to /v1/chat/completions; only its form differs.

// messagesPath is where the wire begins. Errors of what lies there have its form.
const messagesPath = "/v1/messages"

// messagesAdvice are fields that change nothing in a reply of this server: how to bill, cache
// and route it, and how long a model may think that does not. Thoughts of earlier turns are
// left out anyway, and nothing else is taken out of a prompt.
var messagesAdvice = []string{"thinking", "context_management", "cache_control", "service_tier", "speed", "inference_geo",
	"diagnostics", "user_profile_id", "billing_policy", "fallbacks", "anthropic_version", "anthropic_beta", "betas"}

// attribution begins a line that one client writes into its system text and changes in every
// request. It is for billing, and is left out: nothing after it could be reused.
const attribution = "x-anthropic-billing-header:"

// readMessagesCall understands a request's body.
func (s *Server) readMessagesCall(w http.ResponseWriter, r *http.Request) (*chatCall, error) {
	data, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	f, err := parseFields(data)
	if err != nil {
		return nil, err
	}
	c := &chatCall{req: &backend.Request{Sampling: f.sampling(), Stop: f.stops("stop_sequences")}, n: 1, stream: f.flag("stream")}
	model := f.text("model")
	if n := f.integer("max_tokens", 1, 1<<31-1); n != nil {
		c.req.TokensMax = int(*n)
	}
	f.conversation(c.req)
	f.outputConfig(c.req)
	c.tools = f.messagesTools(c.req)
	for _, name := range messagesAdvice {
		f.take(name)
	}
	if err := f.end(); err != nil {
		return nil, err
	}
	if c.model, err = s.modelName(model); err != nil {
		return nil, err
	}
	if err := s.able(c.req); err != nil {
		return nil, err
	}
	return c, s.ableTools(c.req, c.tools)
}

// block is a part of a message, of a type that is known here.
type block struct {
	Type    string          `json:"type"`
	Text    string          `json:"text"`
	ID      string          `json:"id"` // of tool_use, as the next two
	Name    string          `json:"name"`
	Input   json.RawMessage `json:"input"`
	Content json.RawMessage `json:"content"` // of tool_result
	IsError bool            `json:"is_error"`
}

// blockKeys are the keys of blocks by their type.
var blockKeys = map[string][]string{
	"text":        {"text", "citations"},
	"tool_use":    {"id", "name", "input", "caller"},
	"tool_result": {"tool_use_id", "content", "is_error"},
}

// readBlocks reads a string or a list of blocks.
func readBlocks(raw json.RawMessage, at string) ([]block, error) {
	var text string
	if raw == nil || json.Unmarshal(raw, &text) == nil {
		return []block{{Type: "text", Text: text}}, nil
	}
	var blocks []block
	var objects []json.RawMessage
	if json.Unmarshal(raw, &objects) != nil || json.Unmarshal(raw, &blocks) != nil {
		return nil, badValue(at, "it must be a string or a list of content blocks.")
	}
	for i, b := range blocks {
		if known := blockKeys[b.Type]; known != nil {
			if err := checkKeys(objects[i], fmt.Sprintf("%s[%d]", at, i), append(known, "type", "cache_control")...); err != nil {
				return nil, err
			}
		}
	}
	return blocks, nil
}

// readTexts reads a string or a list of blocks that are all text, each in lines of its own.
func readTexts(raw json.RawMessage, at string) (string, error) {
	blocks, err := readBlocks(raw, at)
	var texts []string
	for i, b := range blocks {
		if b.Type != "text" {
			return "", unknownBlock(b, fmt.Sprintf("%s[%d]", at, i))
		}
		texts = append(texts, b.Text)
	}
	return strings.Join(texts, "\n"), err
}

func unknownBlock(b block, at string) error {
	return unsupported(at, "is of the type %q, which is not supported there by this server.", b.Type)
}

// turn is what one speaker says in a row, which is one message, as the protocol has it.
type turn struct {
	role  backend.Role
	texts []string
	calls []backend.ToolCall
}

type turns []turn

func (t *turns) add(role backend.Role, text string, calls ...backend.ToolCall) {
	last := len(*t) - 1
	if last < 0 || (*t)[last].role != role || role == backend.RoleTool || len((*t)[last].calls) > 0 && text != "" {
		*t = append(*t, turn{role: role})
		last++
	}
	if to := &(*t)[last]; text != "" {
		to.texts = append(to.texts, text)
	} else {
		to.calls = append(to.calls, calls...)
	}
}

// message joins the blocks of a turn. Those of a reply were written without a break.
func (t turn) message() backend.Message {
	between := "\n"
	if t.role == backend.RoleAssistant {
		between = ""
	}
	return backend.Message{Role: t.role, Content: strings.Join(t.texts, between), Calls: t.calls}
}

// conversation reads the system text and the messages. An assistant's turn at the end is the
// start of the reply.
func (f *fields) conversation(req *backend.Request) {
	var list []json.RawMessage
	f.read("messages", "a list of messages", &list)
	var all turns
	err := all.system(f.take("system"), "system")
	before := len(all)
	for i := 0; i < len(list) && err == nil; i++ {
		err = all.read(list[i], fmt.Sprintf("messages[%d]", i))
	}
	for _, t := range all {
		req.Messages = append(req.Messages, t.message())
	}
	last := len(all) - 1
	switch {
	case err != nil:
		f.fail(err)
	case len(all) == before:
		f.fail(badValue("messages", "it must have at least one message."))
	case all[last].role != backend.RoleAssistant:
	case last == 0:
		f.fail(badValue("messages", "the assistant's turn must come after another."))
	case len(all[last].calls) > 0:
		f.fail(badValue("messages", "the results of the last tool_use blocks are missing."))
	default:
		req.Prefill, req.Messages = req.Messages[last].Content, req.Messages[:last]
	}
}

// system reads a system text.
func (t *turns) system(raw json.RawMessage, at string) error {
	text, err := readTexts(raw, at)
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return strings.HasPrefix(line, attribution) })
	if text = strings.TrimLeft(strings.Join(lines, "\n"), "\n"); text != "" {
		t.add(backend.RoleSystem, text)
	}
	return err
}

// read reads one message, which becomes several turns where it has results of tools.
func (t *turns) read(raw json.RawMessage, at string) error {
	f, err := parseFieldsAt(at, raw)
	if err != nil {
		return err
	}
	role, content := f.text("role"), f.take("content")
	if err := f.end(); err != nil {
		return err
	}
	if role == "system" {
		return t.system(content, at+".content")
	}
	if role != "user" && role != "assistant" {
		return badValue(at+".role", "known are user, assistant and system.")
	}
	blocks, err := readBlocks(content, at+".content")
	if err != nil {
		return err
	}
	for i, b := range blocks {
		if err := t.block(b, backend.Role(role), fmt.Sprintf("%s.content[%d]", at, i)); err != nil {
			return err
		}
	}
	return nil
}

// block reads a part of a message.
func (t *turns) block(b block, role backend.Role, at string) error {
	switch assistant := role == backend.RoleAssistant; {
	case b.Type == "text":
		t.add(role, b.Text)
	case assistant && b.Type == "tool_use":
		var input map[string]json.RawMessage
		if json.Unmarshal(b.Input, &input) != nil || input == nil || b.Name == "" {
			return badValue(at, "it must have a name, and an input that is an object.")
		}
		t.add(role, "", backend.ToolCall{ID: b.ID, Name: b.Name, Arguments: b.Input})
	case assistant && (b.Type == "thinking" || b.Type == "redacted_thinking"):
		t.add(role, "")
	case !assistant && b.Type == "tool_result":
		text, err := readTexts(b.Content, at+".content")
		if b.IsError {
			text = "<error>\n" + text + "\n</error>"
		}
		t.add(backend.RoleTool, text)
		return err
	default:
		return unknownBlock(b, at)
	}
	return nil
}

// outputConfig reads what form the reply must have.
func (f *fields) outputConfig(req *backend.Request) {
	var format struct {
		Type   string          `json:"type"`
		Schema json.RawMessage `json:"schema"`
	}
	asked := f.read("output_format", "an object", &format) // its name of earlier days
	if raw := f.take("output_config"); raw != nil {
		config, err := parseFieldsAt("output_config", raw)
		if err != nil {
			f.fail(err)
			return
		}
		config.take("effort") // advice to a model that thinks, as the next
		config.take("task_budget")
		asked = config.read("format", "an object", &format) || asked
		f.fail(config.end())
	}
	if asked && (format.Type != "json_schema" || len(format.Schema) == 0) {
		f.fail(badValue("output_config.format", "it must have the type json_schema, and a schema."))
	}
	req.Schema = format.Schema
}

// messagesTools reads tools and tool_choice. nil: none may be called.
func (f *fields) messagesTools(req *backend.Request) *backend.ToolChoice {
	var list []struct {
		Type        string          `json:"type"`
		Name        string          `json:"name"`
		Description string          `json:"description"`
		InputSchema json.RawMessage `json:"input_schema"`
		Strict      bool            `json:"strict"`
		Examples    json.RawMessage `json:"input_examples"`
	}
	f.list("tools", "a list of tools", &list, "type", "name", "description", "input_schema", "strict", "input_examples",
		"cache_control", "defer_loading", "allowed_callers", "eager_input_streaming")
	functions := make([]functionBody, len(list))
	for i, t := range list {
		if at := fmt.Sprintf("tools[%d]", i); t.Type != "" && t.Type != "custom" {
			f.fail(unsupported(at, "is of the type %q, which this server does not have; it takes tools with an input_schema.", t.Type))
		} else if len(t.InputSchema) == 0 {
			f.fail(badValue(at+".input_schema", "it is missing."))
		}
		functions[i].Type = "function"
		fn := &functions[i].function
		fn.Name, fn.Description, fn.Parameters, fn.Strict = t.Name, t.Description, t.InputSchema, t.Strict
		if len(t.Examples) > 0 && string(t.Examples) != "null" {
			fn.Description += "\n" + string(t.Examples)
		}
	}
	var asked struct {
		Type       string `json:"type"`
		Name       string `json:"name"`
		NoParallel bool   `json:"disable_parallel_tool_use"`
	}
	if raw := f.raw["tool_choice"]; raw != nil && string(raw) != "null" {
		f.fail(checkKeys(raw, "tool_choice", "type", "name", "disable_parallel_tool_use"))
	}
	f.read("tool_choice", "an object", &asked)
	choice := f.offer(functions, req)
	choice.One = asked.NoParallel
	switch asked.Type {
	case "", "auto":
	case "none":
		return nil
	case "any":
		choice.Required = true
	case "tool":
		choice.Required, choice.Names = true, []string{asked.Name}
	default:
		f.fail(badValue("tool_choice", "its type must be auto, any, tool or none."))
	}
	return f.chosen(choice, req.Tools)
}

// The answers of /v1/messages.
type (
	messageBody struct {
		ID      string         `json:"id"`
		Type    string         `json:"type"`
		Role    string         `json:"role"`
		Model   string         `json:"model"`
		Content []contentBlock `json:"content"`
		messageEnd
		Usage messageUsage `json:"usage"`
	}
	contentBlock struct {
		Type string  `json:"type"`
		Text *string `json:"text,omitempty"`
		*thinkingBlock
		ID    string          `json:"id,omitempty"`
		Name  string          `json:"name,omitempty"`
		Input json.RawMessage `json:"input,omitempty"`
	}
	// thinkingBlock is a thought. Its signature is empty: thoughts that come back are dropped.
	thinkingBlock struct {
		Thinking  string `json:"thinking"`
		Signature string `json:"signature"`
	}
	messageEnd struct {
		StopReason   *string `json:"stop_reason"`
		StopSequence *string `json:"stop_sequence"`
	}
	messageUsage struct {
		InputTokens              int `json:"input_tokens"` // without those of the cache
		CacheCreationInputTokens int `json:"cache_creation_input_tokens"`
		CacheReadInputTokens     int `json:"cache_read_input_tokens"`
		OutputTokens             int `json:"output_tokens"`
	}
	// messageEvent is one event of a stream, named by its type.
	messageEvent struct {
		Type    string        `json:"type"`
		Message *messageBody  `json:"message,omitempty"`
		Index   *int          `json:"index,omitempty"`
		Block   *contentBlock `json:"content_block,omitempty"`
		Delta   any           `json:"delta,omitempty"`
		Usage   *messageUsage `json:"usage,omitempty"`
	}
	blockDelta struct {
		Type string  `json:"type"`
		Text *string `json:"text,omitempty"`
		JSON *string `json:"partial_json,omitempty"`

		Thinking string `json:"thinking,omitempty"`
	}
)

// messages serves /v1/messages.
func (s *Server) messages(w http.ResponseWriter, r *http.Request) error {
	c, err := s.readMessagesCall(w, r)
	if err != nil {
		return err
	}
	body := &messageBody{ID: newID("msg_"), Type: "message", Role: "assistant", Model: c.model, Content: []contentBlock{}}
	if c.stream {
		return s.messagesStream(w, r, c, body)
	}
	for ev, err := range s.run(r, c.replies(s.backend)) {
		if err != nil {
			return err
		}
		if blockOf(ev) != nil && !body.goesOn(ev) {
			body.Content = append(body.Content, *blockOf(ev))
		}
		if last := len(body.Content) - 1; ev.Call != nil {
			body.Content[last].Input = append(body.Content[last].Input, ev.Call.Arguments...)
		} else if ev.Text != "" {
			*body.Content[last].Text += ev.Text
		} else if ev.Thought != "" {
			body.Content[last].Thinking += ev.Thought
		}
		body.end(ev)
	}
	// A call that was cut is none: some clients carry out all they find.
	body.Content = slices.DeleteFunc(body.Content, func(b contentBlock) bool { return b.Type == "tool_use" && !json.Valid(b.Input) })
	if n := len(body.Content); n == 0 || body.Content[n-1].Type == "thinking" {
		body.Content = append(body.Content, textBlock())
	}
	return writeJSON(w, http.StatusOK, body)
}

func textBlock() contentBlock { return contentBlock{Type: "text", Text: new(string)} }

// blockOf is the empty block in which a delta belongs; nil where it has nothing to show.
func blockOf(ev event) *contentBlock {
	switch {
	case ev.Call != nil:
		return &contentBlock{Type: "tool_use", ID: "toolu_" + strings.TrimPrefix(ev.Call.ID, "call_"), Name: ev.Call.Name}
	case ev.Text != "":
		b := textBlock()
		return &b
	case ev.Thought != "":
		return &contentBlock{Type: "thinking", thinkingBlock: &thinkingBlock{}}
	}
	return nil
}

// goesOn reports whether a delta belongs in the block that was begun last.
func (m *messageBody) goesOn(ev event) bool {
	if len(m.Content) == 0 {
		return false
	}
	return ev.Call != nil && ev.Call.Name == "" || ev.Call == nil && m.Content[len(m.Content)-1].Type == blockOf(ev).Type
}

// end takes over how the reply ended and what it cost.
func (m *messageBody) end(ev event) {
	if ev.Finish == "" {
		return
	}
	reason := "end_turn"
	switch {
	case ev.Finish == backend.FinishLength:
		reason = "max_tokens"
	case ev.Finish == backend.FinishContext:
		reason = "model_context_window_exceeded"
	case ev.Finish == backend.FinishCalls:
		reason = "tool_use"
	case ev.Stop != "":
		reason, m.StopSequence = "stop_sequence", &ev.Stop
	}
	m.StopReason = &reason
	if u := ev.Usage; u != nil {
		m.Usage = messageUsage{InputTokens: u.PromptTokens - u.CachedTokens, CacheReadInputTokens: u.CachedTokens, OutputTokens: u.CompletionTokens}
	}
}

// messagesStream answers as events.
func (s *Server) messagesStream(w http.ResponseWriter, r *http.Request, c *chatCall, body *messageBody) error {
	out := newEvents(w)
	defer out.end()
	var failed error
	send := func(e messageEvent) {
		if failed == nil {
			failed = out.sendNamed(e.Type, e)
		}
	}
	begun := false
	index := 0 // of the block that was begun last
	stop := func() {
		if len(body.Content) > 0 {
			send(messageEvent{Type: "content_block_stop", Index: &index})
		}
	}
	begin := func(b contentBlock) {
		stop()
		index = len(body.Content)
		body.Content = append(body.Content, b)
		if b.Type == "tool_use" {
			b.Input = json.RawMessage("{}") // what the pieces of JSON then replace
		}
		send(messageEvent{Type: "content_block_start", Index: &index, Block: &b})
	}
	for ev, err := range s.run(r, c.replies(s.backend)) {
		if err != nil {
			return out.failBy(err, func(api *apiError) error { return out.sendNamed("error", api.messagesBody()) })
		}
		if !begun {
			begun = true
			// How much of the prompt was cached is told with the end.
			body.Usage.InputTokens, _ = s.countRequest(r.Context(), c.req)
			send(messageEvent{Type: "message_start", Message: body})
		}
		if b := blockOf(ev); b != nil && !body.goesOn(ev) {
			begin(*b)
		}
		if ev.Text != "" {
			send(messageEvent{Type: "content_block_delta", Index: &index, Delta: blockDelta{Type: "text_delta", Text: &ev.Text}})
		} else if ev.Thought != "" {
			send(messageEvent{Type: "content_block_delta", Index: &index, Delta: blockDelta{Type: "thinking_delta", Thinking: ev.Thought}})
		} else if ev.Call != nil && ev.Call.Arguments != "" {
			send(messageEvent{Type: "content_block_delta", Index: &index, Delta: blockDelta{Type: "input_json_delta", JSON: &ev.Call.Arguments}})
		}
		if body.end(ev); ev.Finish != "" {
			if n := len(body.Content); n == 0 || body.Content[n-1].Type == "thinking" {
				begin(textBlock())
			}
			stop()
			send(messageEvent{Type: "message_delta", Delta: body.messageEnd, Usage: &body.Usage})
			send(messageEvent{Type: "message_stop"})
		}
		if failed != nil {
			return failed
		}
	}
	return nil
}

// countMessages serves /v1/messages/count_tokens.
func (s *Server) countMessages(w http.ResponseWriter, r *http.Request) error {
	c, err := s.readMessagesCall(w, r)
	if err != nil {
		return err
	}
	n, err := s.countRequest(r.Context(), c.req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]int{"input_tokens": n})
}

// countRequest counts the tokens of a request's prompt, tools and the start of the reply included.
func (s *Server) countRequest(ctx context.Context, req *backend.Request) (int, error) {
	var tools strings.Builder
	for _, t := range req.Tools {
		tools.WriteString(t.Description)
		tools.Write(t.Parameters)
	}
	if err := s.checkFits(tools.String(), req.Messages); err != nil {
		return 0, err
	}
	if user, ok := backend.As[backend.ToolUser](s.backend); ok {
		return user.CountPrompt(ctx, req)
	}
	msgs := req.Messages
	if req.Prefill != "" {
		msgs = append(slices.Clone(msgs), backend.Message{Role: backend.RoleAssistant, Content: req.Prefill})
	}
	return s.backend.CountTokens(ctx, msgs)
}

// messagesError is how errors travel, as a body or as an event.
type messagesError struct {
	Type  string `json:"type"`
	Error struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"error"`
}

// messagesBody is the error in Anthropic's form, with its names of fields.
func (e *apiError) messagesBody() messagesError {
	b := messagesError{Type: "error"}
	b.Error.Message = e.message
	if e.tooLong != nil { // in words that clients look for, to shorten the conversation
		least := ""
		if e.tooLong.AtLeast {
			least = "at least "
		}
		b.Error.Message = fmt.Sprintf("prompt is too long: %s%d tokens > %d maximum", least, e.tooLong.Tokens, e.tooLong.Max)
	} else if e.param != "" {
		names := strings.NewReplacer("response_format", "output_config.format", "continue_final_message", "messages",
			".function.parameters", ".input_schema", ".function.name", ".name")
		b.Error.Message = strings.Replace(e.message, fmt.Sprintf("%q", e.param), fmt.Sprintf("%q", names.Replace(e.param)), 1)
	}
	kinds := map[int]string{http.StatusUnauthorized: "authentication_error", http.StatusForbidden: "permission_error",
		http.StatusNotFound: "not_found_error", http.StatusRequestEntityTooLarge: "request_too_large",
		http.StatusTooManyRequests: "rate_limit_error", http.StatusServiceUnavailable: "overloaded_error"}
	b.Error.Type = "invalid_request_error"
	if e.status >= http.StatusInternalServerError {
		b.Error.Type = "api_error"
	}
	b.Error.Type = cmp.Or(kinds[e.status], b.Error.Type)
	return b
}
