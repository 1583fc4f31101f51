package hf

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"

	"agent/backend"
	"agent/inference"
)

// templateHabits are what a chat template does not take, found by trying it once.
type templateHabits struct {
	once   sync.Once
	system bool // a system message is refused, or left out
	turns  bool // so are two turns of one role

	refused error // a chat of one user text is
}

// find tries the template with texts that can be told again in what it renders to.
func (h *templateHabits) find(ctx context.Context, m *inference.Model) {
	const first, second = "\x02first\x03", "\x02second\x03"
	takes := func(roles ...string) bool {
		chat := inference.Chat{Messages: []inference.Message{{Role: roles[0], Content: first},
			{Role: roles[1], Content: second}}}
		parts, err := m.Render(ctx, chat, "")
		text := inference.Text(parts)
		if errors.Is(err, inference.ErrTemplate) {
			return true // it misbehaves, which is told when it does so again
		}
		return err == nil && strings.Contains(text, first) && strings.Contains(text, second)
	}
	chat := inference.Chat{Messages: []inference.Message{{Role: "user", Content: first}}}
	if _, err := m.Render(ctx, chat, ""); err != nil {
		h.refused = err
		return
	}
	h.system = !takes("system", "user")
	h.turns = !takes("user", "user")
}

// folded makes messages of a chat that the model's template takes: system text stands before
// the first user text, and neighbours of one role are one message. What a template takes
// stays as it is.
func (b *Backend) folded(ctx context.Context, msgs []backend.Message) []backend.Message {
	h := b.templateHabits(ctx)
	if h.system {
		msgs = withoutSystem(msgs)
	}
	if !h.turns && !h.system {
		return msgs
	}
	var out []backend.Message
	for _, m := range msgs {
		if n := len(out) - 1; n >= 0 && out[n].Role == m.Role && len(out[n].Calls) == 0 && m.Role != backend.RoleTool {
			out[n].Content += "\n\n" + m.Content
			out[n].Calls = m.Calls
			continue
		}
		out = append(out, m)
	}
	return out
}

// templateHabits tries the template once, and warns of what a person should know.
func (b *Backend) templateHabits(ctx context.Context) *templateHabits {
	h := &b.habits
	h.once.Do(func() {
		h.find(context.WithoutCancel(ctx), b.model)
		if h.refused != nil {
			b.cfg.Warn("the chat template refuses even a plain chat: " + lastLine(h.refused.Error()))
		}
		if h.system {
			b.cfg.Warn("the chat template takes no system message; its text stands before the first user text")
		}
		if h.turns {
			b.cfg.Warn("the chat template wants roles to alternate; neighbours of one role are joined")
		}
		if dated.MatchString(b.model.ChatTemplate()) {
			b.cfg.Warn("the chat template puts the date into the prompt: what is cached of it is worth nothing the next day")
		}
	})
	return h
}

// dated is what templates take the date from.
var dated = regexp.MustCompile(`strftime_now|date_string|\bnow\s*\(`)

// lastLine is where a template's own words stand in its error.
func lastLine(text string) string {
	return strings.TrimSpace(text[strings.LastIndexByte(strings.TrimSpace(text), '\n')+1:])
}

// withoutSystem makes user texts of system texts; they are joined with their neighbours.
func withoutSystem(msgs []backend.Message) []backend.Message {
	out := make([]backend.Message, len(msgs))
	for i, m := range msgs {
		if m.Role == backend.RoleSystem {
			m.Role = backend.RoleUser
		}
		out[i] = m
	}
	return out
}
