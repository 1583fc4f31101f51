package hf

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"agent/backend"
	"agent/inference"
)

// templateHabits are what a chat template does not take, found by trying it once.
type templateHabits struct {
	once   sync.Once
	told   sync.Once // of the first message that later concerns
	system bool      // a system message is refused, or left out
	later  bool      // so is one that is not the first message
	turns  bool      // so are two turns of one role
	lost   bool      // turns that alternate are left out, which nothing can mend

	refused error // a chat of one user text is
}

// find tries the template with texts that can be told again in what it renders to.
func (h *templateHabits) find(ctx context.Context, m *inference.Model) {
	takes := func(roles ...string) bool {
		var chat inference.Chat
		for i, role := range roles {
			text := fmt.Sprintf("730514%d98216", i) // which nobody quotes, or writes in capitals
			chat.Messages = append(chat.Messages, inference.Message{Role: role, Content: text})
		}
		parts, err := m.Render(ctx, chat, "")
		if errors.Is(err, inference.ErrTemplate) {
			return true // it misbehaves, which is told when it does so again
		}
		text := inference.Text(parts)
		for _, msg := range chat.Messages {
			if !strings.Contains(text, msg.Content) {
				return false
			}
		}
		return err == nil
	}
	chat := inference.Chat{Messages: []inference.Message{{Role: "user", Content: "x"}}}
	if _, err := m.Render(ctx, chat, ""); err != nil {
		h.refused = err
		return
	}
	if h.lost = !takes("user", "assistant", "user"); h.lost {
		return
	}
	h.system = !takes("system", "user")
	h.later = h.system || !takes("user", "assistant", "system", "user")
	h.turns = !takes("user", "user")
}

// folded makes messages of a chat that the model's template takes: system text stands before
// the user text that follows it, and neighbours of one role are one message. What a template
// takes stays as it is.
func (b *Backend) folded(ctx context.Context, msgs []backend.Message) []backend.Message {
	h := b.templateHabits(ctx)
	late := h.later && !h.system && systemLater(msgs)
	if !h.turns && !h.system && !late {
		return msgs
	}
	if h.system || late {
		msgs = withoutSystem(msgs, h.system)
	}
	if late {
		h.told.Do(func() {
			b.cfg.Warn("the chat template takes system messages only at the start; " +
				"the text of a later one stands before the user text that follows it")
		})
	}
	var out []backend.Message
	for _, m := range msgs {
		if n := len(out) - 1; n >= 0 && out[n].Role == m.Role && len(out[n].Calls) == 0 &&
			m.Role != backend.RoleTool {
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
		if h.lost {
			b.cfg.Warn("the chat template leaves out messages, which the model does not see; " +
				"give another one with llm.chat_template=FILE")
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

// systemLater reports a system message that does not stand at the start.
func systemLater(msgs []backend.Message) bool {
	started := false
	for _, m := range msgs {
		if m.Role == backend.RoleSystem && started {
			return true
		}
		started = started || m.Role != backend.RoleSystem
	}
	return false
}

// withoutSystem makes user texts of system texts, of those at the start only where all are
// meant; they are joined with their neighbours.
func withoutSystem(msgs []backend.Message, all bool) []backend.Message {
	out, start := make([]backend.Message, len(msgs)), true
	for i, m := range msgs {
		start = start && m.Role == backend.RoleSystem
		if m.Role == backend.RoleSystem && (all || !start) {
			m.Role = backend.RoleUser
		}
		out[i] = m
	}
	return out
}
