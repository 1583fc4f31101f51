package serve

import (
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
var messagesAdvice = []string{"thinking", "context_management", "cache_control", "service_tier",
	"speed", "inference_geo",
	"diagnostics", "user_profile_id", "billing_policy", "fallbacks", "anthropic_version",
	"anthropic_beta", "betas"}

// attribution begins a line that one client writes into its system text and changes in every
// request. It is for billing, and is left out: nothing after it could be reused.
const attribution = "x-anthropic-billing-header:"

// readMessagesCall understands a request.
func (m *model) readMessagesCall(f *fields) (*chatCall, error) {
	c := &chatCall{req: &backend.Request{Sampling: f.sampling(), Stop: f.stops("stop_sequences")},
		n: 1, stream: f.flag("stream")}
	if n := f.integer("max_tokens", 1, 1<<31-1); n != nil {
		c.req.TokensMax = int(*n)
	}
	f.conversation(c.req)
	f.outputConfig(c.req)
	c.tools = f.messagesTools(c.req)
	for _, name := range messagesAdvice {
		f.take(name)
	}
	return c, m.endCall(f, c)
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
			place := fmt.Sprintf("%s[%d]", at, i)
			if err := checkKeys(objects[i], place, append(known, "type", "cache_control")...); err != nil {
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
	if last < 0 || (*t)[last].role != role || role == backend.RoleTool ||
		len((*t)[last].calls) > 0 && text != "" {
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
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool {
		return strings.HasPrefix(line, attribution)
	})
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
	f.object("output_config", func(config *fields) {
		config.take("effort") // advice to a model that thinks, as the next
		config.take("task_budget")
		asked = config.read("format", "an object", &format) || asked
	})
	if asked && (format.Type != "json_schema" || len(format.Schema) == 0) {
		f.fail(badValue("output_config.format", "it must have the type json_schema, and a schema."))
	}
	req.Schema = format.Schema
}

type messagesTool struct {
	Type        string          `json:"type"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	InputSchema json.RawMessage `json:"input_schema"`
	Strict      bool            `json:"strict"`
	Examples    json.RawMessage `json:"input_examples"`
}

// messagesTools reads tools and tool_choice. nil: none may be called.
func (f *fields) messagesTools(req *backend.Request) *backend.ToolChoice {
	var list []messagesTool
	f.list("tools", "a list of tools", &list, "type", "name", "description", "input_schema", "strict",
		"input_examples", "cache_control", "defer_loading", "allowed_callers", "eager_input_streaming")
	functions := make([]functionBody, len(list))
	for i, t := range list {
		if at := fmt.Sprintf("tools[%d]", i); t.Type != "" && t.Type != "custom" {
			f.fail(unsupported(at,
				"is of the type %q, which this server does not have; it takes tools with an input_schema.",
				t.Type))
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

// countMessages serves /v1/messages/count_tokens.
func (m *model) countMessages(f *fields, w http.ResponseWriter, r *http.Request) error {
	c, err := m.readMessagesCall(f)
	if err != nil {
		return err
	}
	n, err := m.countRequest(r.Context(), c.req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]int{"input_tokens": n})
}

// countRequest counts the tokens of a request's prompt, tools and the start of the reply included.
func (m *model) countRequest(ctx context.Context, req *backend.Request) (int, error) {
	var tools strings.Builder
	for _, t := range req.Tools {
		tools.WriteString(t.Description)
		tools.Write(t.Parameters)
	}
	if err := m.checkFits(tools.String(), req.Messages); err != nil {
		return 0, err
	}
	if user, ok := backend.As[backend.ToolUser](m.backend); ok {
		return user.CountPrompt(ctx, req)
	}
	msgs := req.Messages
	if req.Prefill != "" {
		msgs = append(slices.Clone(msgs), backend.Message{Role: backend.RoleAssistant,
			Content: req.Prefill})
	}
	return m.backend.CountTokens(ctx, msgs)
}
