package serve

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"agent/backend"
)

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
func (m *model) messages(f *fields, w http.ResponseWriter, r *http.Request) error {
	c, err := m.readMessagesCall(f)
	if err != nil {
		return err
	}
	body := messageBody{ID: newID("msg_"), Type: "message", Role: "assistant", Model: c.model,
		Content: []contentBlock{}}
	if c.stream {
		out := newEvents(w)
		defer out.close()
		count := func() (int, error) { return m.countRequest(r.Context(), c.req) }
		return m.answer(r, c.replies(m.backend),
			&messageStream{messageBody: body, out: out, count: count})
	}
	return m.answer(r, c.replies(m.backend), &messageWhole{whole{w}, body})
}

// messageWhole answers in one piece.
type messageWhole struct {
	whole
	messageBody
}

func (m *messageWhole) add(ev event) error {
	if b := blockOf(ev); b != nil && !m.goesOn(ev) {
		m.Content = append(m.Content, *b)
	}
	if last := len(m.Content) - 1; ev.Call != nil {
		m.Content[last].Input = append(m.Content[last].Input, ev.Call.Arguments...)
	} else if ev.Text != "" {
		*m.Content[last].Text += ev.Text
	} else if ev.Thought != "" {
		m.Content[last].Thinking += ev.Thought
	}
	m.finish(ev)
	return nil
}

func (m *messageWhole) end() error {
	// A call that was cut is none: some clients carry out all they find.
	m.Content = slices.DeleteFunc(m.Content, func(b contentBlock) bool {
		return b.Type == "tool_use" && !json.Valid(b.Input)
	})
	if m.saysNothing() {
		m.Content = append(m.Content, textBlock())
	}
	return writeJSON(m.w, http.StatusOK, m.messageBody)
}

// saysNothing reports that there is neither text nor a call after the thoughts.
func (m *messageBody) saysNothing() bool {
	n := len(m.Content)
	return n == 0 || m.Content[n-1].Type == "thinking"
}

func textBlock() contentBlock { return contentBlock{Type: "text", Text: new(string)} }

// blockOf is the empty block in which a delta belongs; nil where it has nothing to show.
func blockOf(ev event) *contentBlock {
	switch {
	case ev.Call != nil:
		return &contentBlock{Type: "tool_use", ID: "toolu_" + strings.TrimPrefix(ev.Call.ID, "call_"),
			Name: ev.Call.Name}
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
	return ev.Call != nil && ev.Call.Name == "" ||
		ev.Call == nil && m.Content[len(m.Content)-1].Type == blockOf(ev).Type
}

// finish takes over how the reply ended and what it cost.
func (m *messageBody) finish(ev event) {
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
		m.Usage = messageUsage{InputTokens: u.PromptTokens - u.CachedTokens,
			CacheReadInputTokens: u.CachedTokens, OutputTokens: u.CompletionTokens}
	}
}

// messageStream answers as events.
type messageStream struct {
	messageBody
	out    *events
	count  func() (int, error) // of the prompt's tokens
	begun  bool
	failed error // of the first event that could not be sent; no more are
}

func (m *messageStream) send(e messageEvent) {
	if m.failed == nil {
		m.failed = m.out.sendNamed(e.Type, e)
	}
}

// sendBlock sends an event about the newest block.
func (m *messageStream) sendBlock(e messageEvent) {
	index := len(m.Content) - 1
	e.Index = &index
	m.send(e)
}

func (m *messageStream) add(ev event) error {
	if !m.begun {
		m.begun = true
		// How much of the prompt was cached is told with the end.
		m.Usage.InputTokens, _ = m.count()
		m.send(messageEvent{Type: "message_start", Message: &m.messageBody})
	}
	if b := blockOf(ev); b != nil && !m.goesOn(ev) {
		m.begin(*b)
	}
	if delta := deltaOf(ev); delta != nil {
		m.sendBlock(messageEvent{Type: "content_block_delta", Delta: delta})
	}
	if m.finish(ev); ev.Finish != "" {
		if m.saysNothing() {
			m.begin(textBlock())
		}
		m.stop()
		m.send(messageEvent{Type: "message_delta", Delta: m.messageEnd, Usage: &m.Usage})
		m.send(messageEvent{Type: "message_stop"})
	}
	return m.failed
}

// begin begins a block.
func (m *messageStream) begin(b contentBlock) {
	m.stop()
	m.Content = append(m.Content, b)
	if b.Type == "tool_use" {
		b.Input = json.RawMessage("{}") // what the pieces of JSON then replace
	}
	m.sendBlock(messageEvent{Type: "content_block_start", Block: &b})
}

// stop ends the newest block, if there is one.
func (m *messageStream) stop() {
	if len(m.Content) > 0 {
		m.sendBlock(messageEvent{Type: "content_block_stop"})
	}
}

func (m *messageStream) fail(err error) error {
	return m.out.failBy(err, func(api *apiError) error { return m.out.sendNamed("error", api.messagesBody()) })
}

func (m *messageStream) end() error { return nil }

// deltaOf is what a delta adds to its block; nil for nothing.
func deltaOf(ev event) any {
	switch {
	case ev.Text != "":
		return blockDelta{Type: "text_delta", Text: &ev.Text}
	case ev.Thought != "":
		return blockDelta{Type: "thinking_delta", Thinking: ev.Thought}
	case ev.Call != nil && ev.Call.Arguments != "":
		return blockDelta{Type: "input_json_delta", JSON: &ev.Call.Arguments}
	}
	return nil
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
		b.Error.Message = fmt.Sprintf("prompt is too long: %s%d tokens > %d maximum", least,
			e.tooLong.Tokens, e.tooLong.Max)
	} else if e.param != "" {
		names := strings.NewReplacer("response_format", "output_config.format", "continue_final_message",
			"messages", ".function.parameters", ".input_schema", ".function.name", ".name")
		b.Error.Message = strings.Replace(e.message, fmt.Sprintf("%q", e.param),
			fmt.Sprintf("%q", names.Replace(e.param)), 1)
	}
	kinds := map[int]string{http.StatusUnauthorized: "authentication_error",
		http.StatusForbidden: "permission_error",
		http.StatusNotFound:  "not_found_error", http.StatusRequestEntityTooLarge: "request_too_large",
		http.StatusTooManyRequests: "rate_limit_error", http.StatusServiceUnavailable: "overloaded_error"}
	b.Error.Type = "invalid_request_error"
	if e.status >= http.StatusInternalServerError {
		b.Error.Type = "api_error"
	}
	b.Error.Type = cmp.Or(kinds[e.status], b.Error.Type)
	return b
}
