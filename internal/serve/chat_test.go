package serve

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
)

// A list of messages alone is read as in a request.
func TestReadMessages(t *testing.T) {
	for list, want := range map[string]string{
		`[{"role":"developer","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"a"},{"type":"input_text","text":"b"}]}]`:                                                                      "",
		`[{"role":"user","content":"x"},{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"1","content":"y"}]`: "",
		`[{"role":"user","contnt":"x"}]`:                                             `messages[0].contnt`,
		`[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]`: `messages[0].content[0]`,
		`[{"role":"robot","content":"x"}]`:                                           `messages[0].role`,
		`[{"role":"user","content":"x"}] and more`:                                   `not JSON: invalid character 'a' after`,
		`[{"role":"user","content":"x"},]`:                                           `not JSON: invalid character ']'`,
		`[{"role":"user","content":"x"`:                                              `not JSON: unexpected end`,
		`hello`:                                                                      `not JSON: invalid character 'h'`, ``: `not JSON: unexpected end`,
		`[]`:                                   `at least one message`,
		`{"role":"user"}`:                      `a list of messages`,
		`[{"role":"user","content":"\ud83d"}]`: `half of a character`,
		"[{\"role\":\"user\",\"content\":\"\xff\"}]": `not valid UTF-8`,
	} {
		msgs, err := ReadMessages([]byte(list))
		if want == "" {
			require.NoError(t, err, list)
			assert.NotEmpty(t, msgs)
			continue
		}
		assert.ErrorContains(t, err, want, list)
	}
}

// What is too long is called as the request calls it, and of several texts which.
func TestTooLongIsNamed(t *testing.T) {
	tooLong := &backend.ContextError{Tokens: 20, Max: 10}
	for path, want := range map[string]string{
		"/v1/chat/completions": "messages", "/v1/messages": "messages", "/v1/completions": "prompt", "/completions": "prompt",
		"/v1/responses": "input", "/v1/embeddings/": "input", "/tokenize": "content",
	} {
		err := contextExceeded(tooLong).named(path, tooLong)
		assert.Equal(t, want, err.param, path)
		assert.Contains(t, err.message, "your "+want+" resulted in 20 tokens", path)
	}
	err := contextExceeded(tooLong).named("/v1/embeddings", fmt.Errorf("text 3: %w", tooLong))
	assert.Equal(t, "input[2]", err.param)
	assert.Contains(t, err.message, "your input[2] resulted")
}
