package mcp

import (
	"embed"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"agent/command"
	"agent/internal/legible"
	"agent/internal/words"
)

//go:embed prompts
var prompts embed.FS

// texts is what a model reads about the tools of servers.
var texts = words.Open(prompts)

func failed(name string, data any) *command.Result {
	return &command.Result{Text: texts.Say(name, data), Failed: true}
}

// result makes text of an answer: cleaned, without secrets, and bounded.
func (s *server) result(answer *sdk.CallToolResult, most int) *command.Result {
	if answer.NeedsInput() {
		return failed("needs_input", nil)
	}
	var parts []string
	for _, c := range answer.Content {
		if part := contentText(c); part != "" {
			parts = append(parts, part)
		}
	}
	said := func(part string) bool { return sameJSON(part, answer.StructuredContent) }
	if answer.StructuredContent != nil && !slices.ContainsFunc(parts, said) {
		if raw, err := json.MarshalIndent(answer.StructuredContent, "", "  "); err == nil {
			parts = append(parts, string(raw))
		}
	}
	text := s.secrets.hide(clean(strings.Join(parts, "\n\n")))
	if text == "" {
		text = texts.Say("empty", map[string]bool{"Failed": answer.IsError})
	}
	if strings.Contains(text, "\uFFFD") {
		text += "\n" + texts.Say("broken_text", nil)
	}
	r := &command.Result{Text: text, Failed: answer.IsError}
	if len(text) > most {
		r.Text, r.Truncated = legible.Clip(text, most)+"\n"+texts.Say("cut",
			map[string]int{"Bytes": len(text) - most}), true
	}
	return r
}

// sameJSON reports whether a text is a value as JSON, which servers send for clients that
// read no structured content.
func sameJSON(text string, value any) bool {
	var read any
	if json.Unmarshal([]byte(text), &read) != nil {
		return false
	}
	raw, err := json.Marshal(value)
	var plain any
	return err == nil && json.Unmarshal(raw, &plain) == nil && reflect.DeepEqual(read, plain)
}

// notShown says that there is something that a model can't read.
func notShown(what, mimeType string, data []byte) string {
	return texts.Say("not_shown", map[string]any{"What": what, "Type": legible.OneLine(mimeType),
		"Bytes": len(data)})
}

// contentText is one piece of an answer as text.
func contentText(c sdk.Content) string {
	switch c := c.(type) {
	case *sdk.TextContent:
		return c.Text
	case *sdk.ImageContent:
		return notShown("image", c.MIMEType, c.Data)
	case *sdk.AudioContent:
		return notShown("audio", c.MIMEType, c.Data)
	case *sdk.ResourceLink:
		return strings.TrimSpace(legible.OneLine(c.Name) + " " + legible.OneLine(c.URI))
	case *sdk.EmbeddedResource:
		if c.Resource == nil {
			return ""
		}
		if c.Resource.Text != "" {
			return c.Resource.Text
		}
		return notShown(legible.OneLine(c.Resource.URI), c.Resource.MIMEType, c.Resource.Blob)
	}
	return ""
}
