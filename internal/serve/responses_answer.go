package serve

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"agent/backend"
)

// responseItem is a piece of the output that is being written.
type responseItem struct {
	body map[string]any
	text strings.Builder
	call bool
}

// responseWriter makes items of deltas, and events where they are streamed.
type responseWriter struct {
	w        http.ResponseWriter
	out      *events // nil: in one piece
	sequence int     // of events
	store    *responseStore
	c        *responseCall
	body     map[string]any
	items    []*responseItem
	begun    bool
	reason   backend.FinishReason
	usage    usageBody
	logprobs []chatToken
}

// send sends an event, where the reply is streamed.
func (rw *responseWriter) send(kind string, fields map[string]any) error {
	if rw.out == nil {
		return nil
	}
	event := map[string]any{"type": kind, "sequence_number": rw.sequence}
	rw.sequence++
	maps.Copy(event, fields)
	return rw.out.sendNamed(kind, event)
}

func (rw *responseWriter) fail(err error) error {
	if rw.out == nil {
		return err
	}
	return rw.out.fail(err)
}

func (rw *responseWriter) add(ev event) error {
	if !rw.begun {
		rw.begun = true
		for _, kind := range []string{"response.created", "response.in_progress"} {
			if err := rw.send(kind, map[string]any{"response": rw.body}); err != nil {
				return err
			}
		}
	}
	return rw.addDelta(ev.Delta)
}

func (rw *responseWriter) addDelta(d backend.Delta) error {
	if d.Finish != "" { // perhaps with the last of the text
		rw.reason = d.Finish
		rw.usage.add(d.Usage, true)
	}
	switch {
	case d.Call != nil && d.Call.Name != "":
		if err := rw.close(); err != nil {
			return err
		}
		return rw.open(true, map[string]any{"id": newID("fc_"), "type": "function_call",
			"status": "in_progress", "call_id": d.Call.ID, "name": d.Call.Name, "arguments": ""})
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
		return rw.write("response.output_text.delta", d.Text,
			map[string]any{"content_index": 0, "logprobs": tokens})
	}
	return nil
}

// message begins an item of text.
func (rw *responseWriter) message() error {
	err := rw.open(false, map[string]any{"id": newID("msg_"), "type": "message",
		"status": "in_progress", "role": "assistant", "content": []any{}})
	if err != nil {
		return err
	}
	return rw.tell("response.content_part.added",
		map[string]any{"content_index": 0, "part": textPart("", nil)})
}

func textPart(text string, logprobs []chatToken) map[string]any {
	if logprobs == nil {
		logprobs = []chatToken{}
	}
	return map[string]any{"type": "output_text", "text": text, "annotations": []any{},
		"logprobs": logprobs}
}

func (rw *responseWriter) open(call bool, body map[string]any) error {
	rw.items = append(rw.items, &responseItem{body: body, call: call})
	return rw.send("response.output_item.added",
		map[string]any{"output_index": len(rw.items) - 1, "item": maps.Clone(body)})
}

// tell sends an event about the newest item.
func (rw *responseWriter) tell(kind string, fields map[string]any) error {
	event := map[string]any{"output_index": len(rw.items) - 1,
		"item_id": rw.items[len(rw.items)-1].body["id"]}
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
	if rw.cut() {
		item.body["status"] = "incomplete"
	}
	if item.call {
		item.body["arguments"] = text
		done := map[string]any{"arguments": text, "name": item.body["name"]}
		if err := rw.tell("response.function_call_arguments.done", done); err != nil {
			return err
		}
	} else {
		part := textPart(text, rw.logprobs)
		item.body["content"] = []any{part}
		done := map[string]any{"content_index": 0, "text": text, "logprobs": part["logprobs"]}
		if err := rw.tell("response.output_text.done", done); err != nil {
			return err
		}
		if err := rw.tell("response.content_part.done",
			map[string]any{"content_index": 0, "part": part}); err != nil {
			return err
		}
	}
	return rw.send("response.output_item.done",
		map[string]any{"output_index": len(rw.items) - 1, "item": item.body})
}

// cut reports that the reply ended at a limit.
func (rw *responseWriter) cut() bool {
	return rw.reason == backend.FinishLength || rw.reason == backend.FinishContext
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
	if rw.cut() {
		kind = "response.incomplete"
		rw.body["status"], rw.body["incomplete_details"] = "incomplete",
			map[string]any{"reason": "max_output_tokens"}
	}
	u := rw.usage
	rw.body["usage"] = map[string]any{
		"input_tokens": u.PromptTokens, "output_tokens": u.CompletionTokens,
		"total_tokens":          u.TotalTokens,
		"input_tokens_details":  map[string]any{"cached_tokens": u.PromptTokensDetails.CachedTokens},
		"output_tokens_details": map[string]any{"reasoning_tokens": u.CompletionTokensDetails.ReasoningTokens},
	}
	if err := rw.send(kind, map[string]any{"response": rw.body}); err != nil {
		return err
	}
	if rw.c.store {
		rw.store.put(rw.body["id"].(string), rw.conversation())
	}
	if rw.out != nil {
		return nil
	}
	return writeJSON(rw.w, http.StatusOK, rw.body)
}

// conversation is what a next request goes on with; instructions are not a part of it.
func (rw *responseWriter) conversation() []backend.Message {
	msgs := slices.Clone(rw.c.req.Messages)
	if rw.c.instructions != "" {
		msgs[0].Content = strings.TrimPrefix(strings.TrimPrefix(msgs[0].Content, rw.c.instructions),
			"\n\n")
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
		reply.Calls = append(reply.Calls,
			backend.ToolCall{ID: id, Name: name,
				Arguments: argumentsOf(json.RawMessage(item.text.String()))})
	}
	return append(msgs, reply)
}
