package serve

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"agent/backend"
)

// Tools of /v1/chat/completions. backend.CallTools does the work; here is how they are asked
// for and told.

// Limits of what a request may offer.
const (
	toolsMax     = 1000
	toolBytesMax = 1 << 20 // of all tools of a request
	toolNameMax  = 256     // bytes
	toolCallsMax = 1000
)

// functionBody is a tool as it comes in: what it is stands below "function", or in
// /v1/responses beside its type.
type functionBody struct {
	Type string `json:"type"`
	function
	Function *function `json:"function"`
}

type function struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Parameters  json.RawMessage `json:"parameters"`
	Strict      bool            `json:"strict"`
}

// what is the function, wherever it stands.
func (b *functionBody) what() function {
	if b.Function != nil {
		return *b.Function
	}
	return b.function
}

// tools reads tools and tool_choice. nil: none may be called.
func (f *fields) tools(req *backend.Request) *backend.ToolChoice {
	return f.called(f.functions(), req)
}

// functions reads tools. What is said of a function beside what it is must be known.
func (f *fields) functions() []functionBody {
	var kinds []struct {
		Type     string          `json:"type"`
		Function json.RawMessage `json:"function"`
	}
	f.peek("tools", &kinds)
	of := []string{"name", "description", "parameters", "strict", "cache_control"}
	for i, t := range kinds {
		if t.Type == "function" && t.Function != nil {
			f.fail(checkKeys(t.Function, fmt.Sprintf("tools[%d].function", i), of...))
		}
	}
	var raw []json.RawMessage
	f.peek("tools", &raw)
	for i, t := range kinds {
		if t.Type == "function" {
			f.fail(checkKeys(raw[i], fmt.Sprintf("tools[%d]", i),
				append(of, "type", "function", "defer_loading")...))
		}
	}
	var list []functionBody
	f.read("tools", "a list of tools", &list)
	return list
}

// called reads which of the tools may be called.
func (f *fields) called(list []functionBody, req *backend.Request) *backend.ToolChoice {
	choice := f.offer(list, req)
	if parallel := f.take("parallel_tool_calls"); string(parallel) == "false" {
		choice.One = true
	}
	if !f.toolChoice(choice) {
		return nil
	}
	return f.chosen(choice, req.Tools)
}

// allowedTools narrow the choice.
type allowedTools struct {
	Mode  string         `json:"mode"`
	Tools []functionBody `json:"tools"`
}

// offer puts tools into a request; any of them may be called.
func (f *fields) offer(list []functionBody, req *backend.Request) *backend.ToolChoice {
	choice := &backend.ToolChoice{Strict: map[string]bool{}}
	if len(list) > toolsMax {
		f.fail(badValue("tools", "%d tools, at most %d are supported.", len(list), toolsMax))
		return choice
	}
	size := 0
	for _, t := range list {
		fn := t.what()
		size += len(fn.Name) + len(fn.Description) + len(fn.Parameters)
	}
	if size > toolBytesMax {
		f.fail(badValue("tools", "they have %d bytes, at most %d are supported.", size, toolBytesMax))
		return choice
	}
	for i, t := range list {
		fn := t.what()
		tool := backend.Tool{Name: fn.Name, Description: fn.Description, Parameters: fn.Parameters}
		if string(tool.Parameters) == "null" {
			tool.Parameters = nil
		}
		at := fmt.Sprintf("tools[%d]", i)
		switch {
		case t.Type != "function":
			f.fail(unsupported(at, "is of the type %q; functions are supported.", t.Type))
		case tool.Name == "" || len(tool.Name) > toolNameMax:
			f.fail(badValue(at+".function.name", "it must have 1 to %d bytes.", toolNameMax))
		case slices.ContainsFunc(req.Tools,
			func(other backend.Tool) bool { return other.Name == tool.Name }):
			f.fail(badValue(at+".function.name", "another tool has the name %q.", tool.Name))
		}
		choice.Strict[tool.Name] = fn.Strict
		req.Tools = append(req.Tools, tool)
	}
	return choice
}

// toolChoice reads tool_choice. False: no tool may be called, whatever is offered.
func (f *fields) toolChoice(choice *backend.ToolChoice) bool {
	raw := f.take("tool_choice")
	var word string
	if raw == nil || json.Unmarshal(raw, &word) == nil {
		switch word {
		case "", "auto":
		case "none":
			return false
		case "required", "any":
			choice.Required = true
		default:
			f.fail(badValue("tool_choice", "known are none, auto, required, a function and allowed_tools."))
		}
	} else {
		f.fail(checkChoice(raw, "tool_choice"))
		var named struct {
			functionBody
			allowedTools
			AllowedTools *allowedTools `json:"allowed_tools"`
		}
		switch err := json.Unmarshal(raw, &named); {
		case err == nil && named.Type == "function":
			choice.Required, choice.One, choice.Names = true, true, []string{named.what().Name}
		case err == nil && named.Type == "allowed_tools":
			allowed := named.allowedTools
			if named.AllowedTools != nil {
				allowed = *named.AllowedTools
			}
			choice.Required = allowed.Mode == "required"
			for _, t := range allowed.Tools {
				choice.Names = append(choice.Names, t.what().Name)
			}
		default:
			f.fail(badValue("tool_choice", "known are none, auto, required, a function and allowed_tools."))
		}
	}
	return true
}

// checkChoice refuses unknown keys of a choice, and of what stands in it.
func checkChoice(raw json.RawMessage, at string) error {
	if err := checkKeys(raw, at, "type", "function", "name", "allowed_tools", "mode",
		"tools"); err != nil {
		return err
	}
	var parts map[string]json.RawMessage
	if json.Unmarshal(raw, &parts) != nil {
		return nil
	}
	for name, known := range map[string][]string{"function": {"name"},
		"allowed_tools": {"mode", "tools"}} {
		if part := parts[name]; part != nil {
			if err := checkKeys(part, at+"."+name, known...); err != nil {
				return err
			}
		}
	}
	return nil
}

// chosen checks a choice against the tools there are. nil: none may be called.
func (f *fields) chosen(choice *backend.ToolChoice, tools []backend.Tool) *backend.ToolChoice {
	for _, name := range choice.Names {
		if !slices.ContainsFunc(tools, func(t backend.Tool) bool { return t.Name == name }) {
			f.fail(badValue("tool_choice", "there is no tool %q.", name))
		}
	}
	if choice.Required && len(tools) == 0 {
		f.fail(badValue("tool_choice", "a tool is required, and none is offered."))
	}
	if len(tools) == 0 {
		return nil
	}
	return choice
}

// ableTools refuses tools that the backend can't be given, and schemas that are none.
func (m *model) ableTools(req *backend.Request, choice *backend.ToolChoice) error {
	called := slices.ContainsFunc(req.Messages,
		func(m backend.Message) bool { return len(m.Calls) > 0 })
	if len(req.Tools) == 0 && !called {
		return nil
	}
	user, ok := backend.As[backend.ToolUser](m.backend)
	if !ok || !backend.CanCallTools(m.backend) {
		return unsupported("tools", "are not supported by the backend of this server; a local model has them.")
	}
	for i, t := range req.Tools {
		if len(t.Parameters) == 0 {
			continue
		}
		if _, err := user.ToolSchema(t.Parameters, choice != nil && choice.Strict[t.Name]); err != nil {
			return badValue(fmt.Sprintf("tools[%d].function.parameters", i), "%v.", err)
		}
	}
	return nil
}

// readCalls reads the calls of an earlier reply.
func readCalls(raw json.RawMessage, at string) ([]backend.ToolCall, error) {
	if raw == nil {
		return nil, nil
	}
	var list []struct {
		ID       string `json:"id"`
		Type     string `json:"type"`
		Function struct {
			Name      string          `json:"name"`
			Arguments json.RawMessage `json:"arguments"`
		} `json:"function"`
	}
	var objects []struct {
		Function json.RawMessage `json:"function"`
	}
	if json.Unmarshal(raw, &list) != nil || json.Unmarshal(raw, &objects) != nil ||
		len(list) > toolCallsMax {
		return nil, badValue(at, "it must be a list of at most %d calls.", toolCallsMax)
	}
	var calls []backend.ToolCall
	for i, c := range list {
		if function := objects[i].Function; function != nil {
			place := fmt.Sprintf("%s[%d].function", at, i)
			if err := checkKeys(function, place, "name", "arguments", "parsed_arguments",
				"strict"); err != nil {
				return nil, err
			}
		}
		if c.Function.Name == "" {
			return nil, badValue(fmt.Sprintf("%s[%d].function.name", at, i), "it is missing.")
		}
		calls = append(calls, backend.ToolCall{ID: c.ID, Name: c.Function.Name,
			Arguments: argumentsOf(c.Function.Arguments)})
	}
	return calls, nil
}

// argumentsOf is an object, which comes as such or, as OpenAI has it, in a string. What
// is none, of a reply that was cut or of another model, becomes the value of one argument.
func argumentsOf(raw json.RawMessage) json.RawMessage {
	var text string
	if json.Unmarshal(raw, &text) == nil && raw != nil {
		raw = json.RawMessage(text)
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) == nil && object != nil {
		return raw
	}
	if strings.TrimSpace(string(raw)) == "" {
		return json.RawMessage("{}")
	}
	quoted, err := json.Marshal(map[string]string{"arguments": string(raw)})
	if err != nil {
		return json.RawMessage("{}")
	}
	return quoted
}

// callBody is a piece of a call as streams have it.
func callBody(d *backend.CallDelta) chatCallBody {
	body := chatCallBody{Index: &d.Index, ID: d.ID}
	if d.ID != "" {
		body.Type = "function"
	}
	body.Function.Name, body.Function.Arguments = d.Name, d.Arguments
	return body
}

// addCall adds a piece to the calls of a whole reply.
func (m *chatMessage) addCall(d *backend.CallDelta) {
	if d.Index == len(m.ToolCalls) {
		body := callBody(d)
		body.Index = nil
		m.ToolCalls = append(m.ToolCalls, body)
		return
	}
	m.ToolCalls[d.Index].Function.Arguments += d.Arguments
}
