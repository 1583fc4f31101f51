package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// logprobsEndWithTheText: the tokens that are told are those of the text, however it is ended,
// on each wire, whole and streamed.
func logprobsEndWithTheText(t *testing.T, url string) {
	const chat = `,"continue_final_message":true,"logprobs":true,"messages":[{"role":"user","content":"`
	for _, tt := range []struct{ path, limit, fields string }{
		{"/chat/completions", "max_tokens", chat + `Count to ten in words."},{"role":"assistant","content":"one, two,"}]`},
		{"/chat/completions", "max_completion_tokens", chat + `Repeat: 👩‍🚀👩‍🚀"},{"role":"assistant","content":"👩‍🚀👩"}]`},
		{"/completions", "max_tokens", `,"prompt":"one, two,","logprobs":0`},
		{"/completions", "max_tokens", `,"prompt":"one, two,","logprobs":0,"echo":true`},
		{"/responses", "max_output_tokens", `,"input":"Count to ten in words.","include":["message.output_text.logprobs"]`},
	} {
		for _, end := range []string{`:8,"stop":["three, four"]`, `:8,"stop":["ree"]`, `:8,"stop":["our","five"]`, `:8,"stop":[" three","T"]`, `:8,"stop":["t"]`, `:1`, `:2`, `:6`} {
			body := `{"temperature":0,"` + tt.limit + `"` + end + tt.fields
			whole, tokens := replyWithTokens(t, url+tt.path, body+`}`)
			assert.Equal(t, whole, tokens, body)
			text, tokens := replyWithTokens(t, url+tt.path, body+`,"stream":true}`)
			assert.Equal(t, text, tokens, "%s, streamed", body)
			assert.Equal(t, whole, text, body)
			if strings.Contains(body, `three, four"]`+chat+"Count") {
				assert.Equal(t, " ", text)
			}
		}
	}
}

// post gives the answer to a request.
func post(t *testing.T, url, body string) (status int, reply string) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	require.NoError(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(raw)
}

// replyWithTokens posts, and puts together the text and the tokens of the answer.
func replyWithTokens(t *testing.T, url, body string) (text, tokens string) {
	t.Helper()
	status, raw := post(t, url, body)
	require.Equal(t, 200, status, "%s: %s", body, raw)
	var walk func(v any, key string)
	walk = func(v any, key string) {
		switch v := v.(type) {
		case map[string]any:
			for k, item := range v {
				walk(item, k)
			}
		case []any:
			for _, item := range v {
				walk(item, key)
			}
		case float64:
			if key == "bytes" {
				tokens += string([]byte{byte(v)})
			}
		case string:
			switch key {
			case "content", "text", "delta":
				text += v
			case "tokens":
				tokens += v
			}
		}
	}
	for _, line := range strings.Split(raw, "\n") {
		var event map[string]any
		if json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &event) != nil {
			continue
		}
		if kind, ok := event["type"].(string); !ok || strings.HasSuffix(kind, ".delta") { // others repeat it
			walk(event, "")
		}
	}
	return text, strings.ToValidUTF8(tokens, "\uFFFD")
}
