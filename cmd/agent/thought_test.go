package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/backend/hf"
	"agent/internal/serve"
)

// thinkingTemplate opens a thought in front of each reply, and shows two turns that think.
const thinkingTemplate = `{{ '<|im_start|>user\nWhat is two and two?<|im_end|>\n<|im_start|>assistant\n<think>\nIt is a sum.\n</think>\n\n4<|im_end|>\n' }}
{%- for m in messages -%}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n<think>\n' }}{%- endif -%}`

// However a model that thinks is asked, no thought and no mark of one is in what it says.
func TestThoughtsStayOutOfReplies(t *testing.T) {
	var warnings []string
	b, err := hf.Open(t.Context(), hf.Config{ModelID: "smollm2", Path: defaultModelFile(t), ContextLength: 1024, Threads: 1, ThreadsBatch: 1,
		ChatTemplate: thinkingTemplate, Warn: func(msg string) { warnings = append(warnings, msg) }})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	ask := &backend.Request{Messages: userSays("What is the capital of France?"), TokensMax: 24, Sampling: &backend.Sampling{Temperature: new(float64)}}
	var thought, text strings.Builder
	var usage *backend.Usage
	for d, err := range b.ChatCompletion(t.Context(), ask) {
		require.NoError(t, err)
		thought.WriteString(d.Thought)
		text.WriteString(d.Text)
		usage = d.Usage
	}
	assert.NotEmpty(t, thought.String())
	assert.NotContains(t, text.String(), "think>")
	assert.Positive(t, usage.ReasoningTokens)
	assert.LessOrEqual(t, usage.ReasoningTokens, 12, "half of what the reply may have")
	assert.LessOrEqual(t, usage.CompletionTokens, 24)
	assert.Empty(t, warnings)

	ask.Schema = json.RawMessage(`{"enum":["Paris","Rome"]}`)
	reply, _, err := backend.Collect(b.ChatCompletion(t.Context(), ask))
	require.NoError(t, err)
	assert.Contains(t, []string{`"Paris"`, `"Rome"`}, strings.TrimSpace(reply))
	choice, err := b.ChooseFromOptions(t.Context(), &backend.Request{Messages: ask.Messages}, backend.Options("Paris", "Rome"))
	require.NoError(t, err)
	shown, err := b.RenderChat(t.Context(), ask.Messages)
	require.NoError(t, err)
	closed := strings.Replace(thinkingTemplate, `<think>\n' }}{%- endif`, `<think>\n\n</think>\n\n' }}{%- endif`, 1)
	plain, err := hf.Open(t.Context(), hf.Config{ModelID: "closed", Path: defaultModelFile(t), ContextLength: 1024, Threads: 1, ThreadsBatch: 1, ChatTemplate: closed})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, plain.Close()) })
	want, err := plain.ChooseFromOptions(t.Context(), &backend.Request{Messages: ask.Messages}, backend.Options("Paris", "Rome"))
	require.NoError(t, err)
	assert.InDelta(t, want.Options[0].Logprob, choice.Options[0].Logprob, 0.01, "scored after a closed thought")
	assert.True(t, strings.HasSuffix(shown, "<think>\n"))
	assert.Len(t, warnings, 1, "said once")
	thoughtsOverHTTP(t, b)
}

func thoughtsOverHTTP(t *testing.T, b *hf.Backend) {
	s, err := serve.New(b, serve.Config{})
	require.NoError(t, err)
	h := httptest.NewServer(s.Handler())
	t.Cleanup(h.Close)
	const chat = `"messages":[{"role":"user","content":"What is the capital of France?"}],"max_tokens":24,"temperature":0`
	for path, bodies := range map[string][]string{
		"/v1/chat/completions": {`{` + chat + `}`, `{` + chat + `,"stream":true}`},
		"/v1/messages":         {`{"model":"smollm2",` + chat + `}`, `{"model":"smollm2",` + chat + `,"stream":true}`},
		"/v1/responses":        {`{"model":"smollm2","input":"What is the capital of France?","max_output_tokens":24}`, `{"model":"smollm2","input":"Hi","max_output_tokens":24,"stream":true}`},
	} {
		for _, body := range bodies {
			resp, err := http.Post(h.URL+path, "application/json", strings.NewReader(body))
			require.NoError(t, err)
			got, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, http.StatusOK, resp.StatusCode, "%s", got)
			assert.NotContains(t, string(got), "think>", path)
			assert.Equal(t, path == "/v1/chat/completions", strings.Contains(string(got), `"reasoning_content":"`), "%s %s", path, got)
			assert.Equal(t, path == "/v1/messages", strings.Contains(string(got), `"type":"thinking"`), path)
		}
	}
}
