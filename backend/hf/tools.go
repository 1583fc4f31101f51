package hf

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"text/template"

	"agent/backend"
	"agent/inference"
)

// toolsText tells a model of tools whose template does not know of any.
//
//go:embed tools.tmpl
var toolsText string

// toldSyntax is how toolsText says that calls are written.
var toldSyntax = backend.ToolSyntax{
	Open: "<tool_call>\n{\"name\": \"", Middle: "\", \"arguments\": ", Close: "}\n</tool_call>",
	Next: "\n<tool_call>\n{\"name\": \"",
}

// toolSyntax is found out once for a model.
type toolSyntax struct {
	once   sync.Once
	syntax backend.ToolSyntax
	own    bool // of the model's template
}

// ToolSyntax implements backend.ToolUser.
func (b *Backend) ToolSyntax(ctx context.Context) (backend.ToolSyntax, error) {
	b.calls.once.Do(func() {
		s, ok := b.model.ToolSyntax(context.WithoutCancel(ctx))
		if b.calls.own = ok; ok {
			b.calls.syntax = backend.ToolSyntax(s)
		} else {
			b.calls.syntax = toldSyntax
		}
	})
	return b.calls.syntax, ctx.Err()
}

// CountPrompt implements backend.ToolUser.
func (b *Backend) CountPrompt(ctx context.Context, req *backend.Request) (int, error) {
	prefill, _ := prefilled(req)
	_, ids, err := b.encode(ctx, req.Messages, req.Tools, prefill, 0)
	return len(ids), err
}

// ToolSchema implements backend.ToolUser.
func (b *Backend) ToolSchema(schema json.RawMessage, strict bool) (json.RawMessage, error) {
	if strict {
		_, err := inference.SchemaToGrammar(schema)
		return schema, err
	}
	relaxed, _, err := inference.RelaxSchema(schema)
	return relaxed, err
}

// chat makes a chat for the model's template; what that does not know of becomes text.
func (b *Backend) chat(ctx context.Context, msgs []backend.Message, tools []backend.Tool,
) (inference.Chat, error) {
	used := len(tools) > 0
	for _, m := range msgs {
		used = used || len(m.Calls) > 0 || m.Role == backend.RoleTool
	}
	var syntax backend.ToolSyntax
	if used {
		var err error
		if syntax, err = b.ToolSyntax(ctx); err != nil {
			return inference.Chat{}, err
		}
		if !b.calls.own {
			msgs, tools = toldChat(msgs, tools, syntax), nil
		}
	}
	msgs = b.folded(ctx, msgs)
	chat := inference.Chat{Messages: make([]inference.Message, len(msgs))}
	for i, m := range msgs {
		chat.Messages[i] = inference.Message{Role: string(m.Role), Content: m.Content}
		if m.Role == backend.RoleAssistant {
			chat.Messages[i].Content = b.thinking(ctx).withoutThought(m.Content)
		}
		for _, c := range m.Calls {
			chat.Messages[i].Calls = append(chat.Messages[i].Calls, inference.Call(c))
		}
	}
	for _, t := range tools {
		chat.Tools = append(chat.Tools, inference.Tool(t))
	}
	return chat, nil
}

// toldChat writes tools, calls and results out as text.
func toldChat(msgs []backend.Message, tools []backend.Tool, syntax backend.ToolSyntax,
) []backend.Message {
	var out []backend.Message
	if len(tools) > 0 {
		var text strings.Builder
		if err := template.Must(template.New("tools").Parse(toolsText)).Execute(&text,
			described(tools)); err != nil {
			panic(fmt.Sprintf("hf: tools.tmpl: %v", err)) // it is a part of the program
		}
		system := backend.Message{Role: backend.RoleSystem, Content: text.String()}
		if len(msgs) > 0 && msgs[0].Role == backend.RoleSystem {
			system.Content = msgs[0].Content + "\n\n" + system.Content
			msgs = msgs[1:]
		}
		out = append(out, system)
	}
	for i, m := range msgs {
		text := m.Content
		for n, c := range m.Calls {
			open := syntax.Open
			if n > 0 {
				open = syntax.Next
			} else if text != "" {
				open = "\n" + open
			}
			text += open + c.Name + syntax.Middle + string(c.Arguments) + syntax.Close
		}
		m.Content, m.Calls = text, nil
		if m.Role == backend.RoleTool {
			m.Role, m.Content = backend.RoleUser, "<tool_response>\n"+m.Content+"\n</tool_response>"
			if i > 0 && msgs[i-1].Role == backend.RoleTool { // results of one turn are one turn
				out[len(out)-1].Content += "\n" + m.Content
				continue
			}
		}
		out = append(out, m)
	}
	return out
}

// described is each tool in a line of JSON.
func described(tools []backend.Tool) []string {
	var out []string
	for _, t := range tools {
		if len(t.Parameters) == 0 {
			t.Parameters = json.RawMessage(`{"type":"object","properties":{}}`)
		}
		line, err := json.Marshal(t)
		if err != nil {
			line = []byte("{}") // its parameters were read as JSON before
		}
		out = append(out, string(line))
	}
	return out
}

var _ backend.ToolUser = (*Backend)(nil)
