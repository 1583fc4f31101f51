package inference

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Tool is a function that a prompt offers, as chat templates know it.
type Tool struct {
	Name, Description string
	Parameters        json.RawMessage // a JSON Schema
}

// Call is a tool call that an assistant made in an earlier turn.
type Call struct {
	ID, Name  string
	Arguments json.RawMessage // a JSON object
}

// ToolSyntax is how a model's template writes calls: Open NAME Middle ARGUMENTS Close. Next
// stands between two calls of one reply, Open included; empty: there is only one.
type ToolSyntax struct{ Open, Middle, Close, Next string }

// ToolSyntax tries what the template makes of tools and calls. False: it knows nothing of
// them, or writes calls in a form that does not hold a name and then JSON.
func (m *Model) ToolSyntax(ctx context.Context) (s ToolSyntax, ok bool) {
	const first, second = "probe_one", "probe_two"
	args := json.RawMessage(`{"probe": 1}`)
	ask := Chat{Messages: []Message{{Role: "user", Content: "?"}},
		Tools: []Tool{{Name: first, Description: "probe",
			Parameters: json.RawMessage(`{"type":"object","properties":{}}`)}}}
	before, err := m.render(ctx, ask, "", true)
	if err != nil || !strings.Contains(Text(before), first) {
		return s, false
	}
	written := func(calls ...Call) (string, bool) {
		chat := Chat{Messages: append(ask.Messages[:1:1], Message{Role: "assistant", Calls: calls}),
			Tools: ask.Tools}
		parts, err := m.render(ctx, chat, "", false)
		if err != nil {
			return "", false
		}
		reply, ok := strings.CutPrefix(Text(parts), Text(before))
		return m.untilEnd(reply), ok
	}
	one, ok := written(Call{"call00001", first, args})
	if !ok {
		return s, false
	}
	var found [3]bool
	s.Open, one, found[0] = strings.Cut(one, first)
	s.Middle, one, found[1] = cutArguments(one)
	s.Close, found[2] = one, true
	if found != [3]bool{true, true, true} {
		return ToolSyntax{}, false
	}
	if two, ok := written(Call{"call00001", first, args}, Call{"call00001", second, args}); ok {
		_, rest, _ := strings.Cut(two, s.Middle)
		_, rest, _ = cutArguments(s.Middle + rest)
		if between, _, ok := strings.Cut(rest, second); ok {
			if next, ok := strings.CutPrefix(between, s.Close); ok {
				s.Next = next
			}
		}
	}
	return s, true
}

// cutArguments cuts text at a JSON object of one number, however it is spaced.
func cutArguments(text string) (before, after string, ok bool) {
	at := strings.Index(text, `"probe"`)
	if at < 0 {
		return "", "", false
	}
	start := strings.LastIndexByte(text[:at], '{')
	if start < 0 {
		return "", "", false
	}
	dec := json.NewDecoder(strings.NewReader(text[start:]))
	var v map[string]int
	if dec.Decode(&v) != nil || v["probe"] != 1 {
		return "", "", false
	}
	return text[:start], text[start+int(dec.InputOffset()):], true
}

// untilEnd is text up to the first token that ends a reply.
func (m *Model) untilEnd(text string) string {
	for _, id := range m.ends {
		if end := m.SpecialText(id); end != "" {
			text, _, _ = strings.Cut(text, end)
		}
	}
	return text
}

// specialGuard keeps text that a template prints through JSON, where its origin is lost,
// from being read as control tokens: each is broken by a mark that the template does not
// know, and that is taken out of what it renders to.
type specialGuard struct {
	model *Model
	mark  string
	used  bool
}

func (m *Model) newSpecialGuard() *specialGuard {
	return &specialGuard{model: m, mark: "\uFDD0" + rand.Text() + "\uFDD1"}
}

func (g *specialGuard) text(s string) string {
	var out strings.Builder
	for {
		at, _, length := g.model.specials.find(s)
		if at < 0 {
			out.WriteString(s)
			return out.String()
		}
		_, n := utf8.DecodeRuneInString(s[at:])
		out.WriteString(s[:at+n])
		if s = s[at+n:]; n < length {
			g.used = true
			out.WriteString(g.mark)
		}
	}
}

// value is JSON with all its texts guarded, and in the same order.
func (g *specialGuard) value(raw json.RawMessage) json.RawMessage {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var out bytes.Buffer
	if err := g.copy(dec, &out); err != nil {
		return json.RawMessage("{}")
	}
	return out.Bytes()
}

// copy writes the next value of dec.
func (g *specialGuard) copy(dec *json.Decoder, out *bytes.Buffer) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	switch token := token.(type) {
	case string:
		return g.quote(token, out)
	case json.Delim: // the start of a list or an object
		out.WriteRune(rune(token))
		for n := 0; dec.More(); n++ {
			if n > 0 {
				out.WriteByte(',')
			}
			if token == '{' {
				name, err := dec.Token()
				if err != nil {
					return err
				}
				text, _ := name.(string)
				if err := g.quote(text, out); err != nil {
					return err
				}
				out.WriteByte(':')
			}
			if err := g.copy(dec, out); err != nil {
				return err
			}
		}
		end, err := dec.Token()
		if err != nil {
			return err
		}
		fmt.Fprint(out, end)
		return nil
	}
	text, err := json.Marshal(token)
	out.Write(text)
	return err
}

func (g *specialGuard) quote(text string, out *bytes.Buffer) error {
	quoted, err := json.Marshal(g.text(text))
	out.Write(quoted)
	return err
}

// toolBody and callBody are tools and calls in the order in which models were shown them.
type (
	toolBody struct {
		Type     string `json:"type"`
		Function struct {
			Name        string          `json:"name"`
			Description string          `json:"description"`
			Parameters  json.RawMessage `json:"parameters"`
		} `json:"function"`
	}
	callBody struct {
		ID       string `json:"id"`
		Type     string `json:"type"`
		Function struct {
			Name      string          `json:"name"`
			Arguments json.RawMessage `json:"arguments"`
		} `json:"function"`
	}
)

func (g *specialGuard) tools(tools []Tool) []toolBody {
	out := make([]toolBody, len(tools))
	for i, t := range tools {
		out[i].Type, out[i].Function.Name, out[i].Function.Description = "function", g.text(t.Name),
			g.text(t.Description)
		out[i].Function.Parameters = g.value(t.Parameters)
	}
	return out
}

func (g *specialGuard) messages(msgs []Message) any {
	out := make([]map[string]any, len(msgs))
	for i, m := range msgs {
		out[i] = map[string]any{"role": m.Role, "content": m.Content}
		if len(m.Calls) == 0 {
			continue
		}
		calls := make([]callBody, len(m.Calls))
		for k, c := range m.Calls {
			calls[k].ID, calls[k].Type, calls[k].Function.Name = g.text(c.ID), "function", g.text(c.Name)
			calls[k].Function.Arguments = g.value(c.Arguments)
		}
		out[i]["tool_calls"] = calls
	}
	return out
}

// undo takes the marks out; what they broke is in two parts and so no control token.
func (g *specialGuard) undo(parts []Part) []Part {
	if !g.used {
		return parts
	}
	var out []Part
	for _, p := range parts {
		for _, text := range strings.Split(p.Text, g.mark) {
			out = append(out, Part{Text: text, Input: p.Input})
		}
	}
	return out
}
