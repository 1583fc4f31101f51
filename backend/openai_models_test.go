package backend

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Servers tell the context length of their models, each in its own way.
func TestContextLengthIsAskedFor(t *testing.T) {
	for body, want := range map[string]int{
		`{"data":[{"id":"x","context_length":1},{"id":"m","context_length":2048}]}`:    2048,
		`{"data":[{"id":"m","max_model_len":4096}]}`:                                   4096,
		`{"data":[{"id":"m","meta":{"n_ctx":8192,"n_ctx_train":32768}}]}`:              8192,
		`{"data":[{"id":"other","context_length":2048}]}`:                              2048, // it takes any name
		`{"data":[{"id":"a","context_length":2048},{"id":"b"}]}`:                       0,
		`{"data":[{"id":"m","loaded_context_length":4096,"max_context_length":9999}]}`: 4096,
		`{"data":[{"id":"m","max_context_length":32768}]}`:                             32768,
		`{"data":[{"id":"m","context_window":131072}]}`:                                131072,
		`{"data":[{"id":"m"}]}`:                                                        0, `<html>`: 0, ``: 0, `{"data":[{"id":"m","context_length":-5}]}`: 0,
	} {
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			assert.Equal(t, "/v1/models", r.URL.Path)
			assert.Equal(t, "Bearer k", r.Header.Get("Authorization"))
			fmt.Fprint(w, body)
		}))
		o, err := NewOpenAI(OpenAIConfig{ModelID: "m", ServerIP: h.URL + "/v1", APIKey: "k"})
		h.Close()
		if want == 0 {
			assert.ErrorContains(t, err, "context length of model m is not known", body)
			continue
		}
		require.NoError(t, err, body)
		assert.Equal(t, want, o.ContextLength(), body)
	}
}

// A server that saw fewer tokens than were sent has cut the prompt.
func TestCutPrompts(t *testing.T) {
	o := &OpenAI{cfg: OpenAIConfig{ModelID: "m", ContextLength: 8192}}
	for _, c := range []struct {
		tokens, seen int
		exact, cut   bool
	}{
		{3800, 2048, false, true}, {3800, 3100, false, false}, {3800, 1800, false, true}, {5000, 4096, false, true}, {4100, 4096, false, false},
		{3800, 3700, true, false}, {3800, 3300, true, true}, {600, 512, false, false}, {10, 1, false, false}, {9000, 8192, true, false}, {9500, 8192, true, true},
	} {
		err := o.checkNotCut(Count{Tokens: c.tokens, Exact: c.exact}, c.seen)
		assert.Equal(t, c.cut, err != nil, "%+v", c)
	}
}

// A success without a reply in it is an error that shows what came.
func TestAnswersWithoutAReply(t *testing.T) {
	for _, c := range []struct{ kind, body, want string }{
		{"application/json", ``, "200 with an empty answer"},
		{"application/json", `{"choices":[]}`, `no reply in it: "{\"choices\":[]}"`},
		{"application/json", `{"status":"ok"}`, `no reply in it: "{\"status\":\"ok\"}"`},
		{"text/event-stream", ``, "200 with nothing"},
		{"text/event-stream", "data: [DONE]\n\n", "200 with an empty answer"},
		{"text/event-stream", "data: {\"choices\":[]}\n\ndata: [DONE]\n\n", "no reply in it"},
		{"text/event-stream", "hello\n\n", `no stream of events: "hello"`},
		{"text/html", "<!doctype html><title>Sign in</title>", `a web page: "<!doctype html><title>Sign in`},
		{"text/html; charset=utf-8", "", "a web page"},
		{"", "  <html>" + strings.Repeat("x", 200), "a web page"},
		{"text/plain", "It is running", `no stream of events: "It is running"`},
		{"text/event-stream", "event: content_block_delta\ndata: {\"delta\":{\"text\":\"Hi\"}}\n\n", `no reply in it: "{\"delta\"`},
		{"application/json", `{"model":"m","message":{"role":"assistant","content":"Hi"},"done":true}`, `no reply in it: "{\"model\"`},
	} {
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", c.kind)
			fmt.Fprint(w, c.body)
		}))
		o, err := NewOpenAI(OpenAIConfig{ModelID: "m", ServerIP: h.URL + "/v1", APIKey: "k", ContextLength: 2048})
		require.NoError(t, err)
		var last error
		for _, err := range o.ChatCompletion(context.Background(), &Request{Messages: []Message{{Role: RoleUser, Content: "hi"}}}) {
			last = err
		}
		h.Close()
		require.ErrorContains(t, last, c.want, "%+v", c)
		var ours *Error
		require.ErrorAs(t, last, &ours)
		assert.Contains(t, ours.Advice, "/v1", c.body)
	}
}

// Replies of every form are read, and what a server says of its failure is told.
func TestRepliesOfEveryForm(t *testing.T) {
	const end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
	for body, want := range map[string]string{
		"data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n" + end:                                                                        "",
		"data: {\"choices\":[{\"delta\":{\"content\":[{\"type\":\"thinking\",\"thinking\":[]},{\"type\":\"text\",\"text\":\"Hello\"}]}}]}\n\n" + end: "",
		"data: {\"choices\":[{\"delta\":{\"content\":null,\"refusal\":\"Hello\"}}]}\n\n" + end:                                                       "",
		"data: {\"choices\":[{\"text\":\"Hello\"}]}\n\n" + end:                                                                                       "",
		`{"choices":[{"message":{"content":[{"type":"text","text":"Hel"},{"type":"text","text":"lo"}]},"finish_reason":"stop"}]}`:                    "",
		"data: {\"choices\":null}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n" + end:                                            "",
		"data: {\"error\":\"out of memory\"}\n\n":                                                                                                    "out of memory",
		"data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n":                                                                         "out of memory",
		"data: {\"object\":\"error\",\"message\":\"out of memory\"}\n\n":                                                                             "out of memory",
		"event: error\ndata: {\"message\":\"out of memory\"}\n\n":                                                                                    "out of memory",
		"error: {\"code\":500,\"message\":\"out of memory\"}\n\n":                                                                                    "out of memory",
		"data: {\"choices\":[{\"delta\":{\"content\":\"H\"}}]}\n\ndata: {\"error\":\"out of memory\"}\n\n":                                           "out of memory",
		"data: {\"type\":\"error\",\"error\":{\"type\":\"x\",\"message\":\"out of memory\"}}\n\n":                                                    "out of memory",
		`{"error":"out of memory"}`: "out of memory",
	} {
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			if body[0] == '{' {
				w.Header().Set("Content-Type", "application/json")
			}
			fmt.Fprint(w, body)
		}))
		o, err := NewOpenAI(OpenAIConfig{ModelID: "m", ServerIP: h.URL + "/v1", APIKey: "k", ContextLength: 2048})
		require.NoError(t, err)
		text, _, err := Collect(o.ChatCompletion(t.Context(), &Request{Messages: []Message{{Role: RoleUser, Content: "hi"}}}))
		h.Close()
		if want != "" {
			assert.ErrorContains(t, err, want, body)
			continue
		}
		require.NoError(t, err, body)
		assert.Equal(t, "Hello", text, body)
	}
}
