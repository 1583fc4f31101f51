package serve_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/internal/serve"
)

const longReply = "one, two, three, four, five, six, seven, eight, nine, ten, élan, 漢字, 👩‍👩‍👧, and so on without an end in sight"

// talkative replies always the same and chooses the first option.
func talkative() *backend.Scripted { return slow(100 * time.Microsecond) }

func slow(delay time.Duration) *backend.Scripted {
	return scripted(delay, func(context.Context, *backend.Request) (string, error) { return longReply, nil })
}

func scripted(delay time.Duration, reply func(context.Context, *backend.Request) (string, error)) *backend.Scripted {
	return backend.NewScripted(backend.ScriptedConfig{
		Reply: reply,
		Choose: func(_ context.Context, _ *backend.Request, options []backend.Option) (*backend.Choice, error) {
			return backend.ChooseOption("scripted", options[0].Text, options)
		},
		DeltaDelay: delay,
		Claims:     &backend.Capabilities{Prefill: true, Logprobs: true},
	})
}

// textModel is a backend with everything that /v1/completions, embeddings and
// workers need. A token is a character; its log-probability is -id/1000. Every
// prompt begins with token 1, which has no text.
type textModel struct{ *backend.Scripted }

func (m textModel) TokenizePrompt(text string) (ids []int, added int, err error) {
	ids = []int{1}
	for _, r := range text {
		ids = append(ids, int(r))
	}
	return ids, 1, nil
}

func (m textModel) DetokenizePrompt(ids []int) (string, error) {
	var out strings.Builder
	for _, id := range ids {
		if id < 0 || id > 0x10ffff {
			return "", fmt.Errorf("token id %d is outside the vocabulary", id)
		}
		if id > 1 {
			out.WriteRune(rune(id))
		}
	}
	return out.String(), nil
}

func (m textModel) CompleteTokens(ctx context.Context, ids []int, req *backend.Request) iter.Seq2[backend.Delta, error] {
	text, _ := m.DetokenizePrompt(ids)
	chat := *req
	chat.Messages = []backend.Message{{Role: backend.RoleUser, Content: text}}
	return func(yield func(backend.Delta, error) bool) {
		for d, err := range m.ChatCompletion(ctx, &chat) {
			if d.Usage != nil {
				d.Usage.PromptTokens = len(ids)
			}
			if !yield(d, err) {
				return
			}
		}
	}
}

func (m textModel) PromptLogprobsTokens(ctx context.Context, ids []int, top int) ([]backend.TokenLogprob, backend.Usage, error) {
	var out []backend.TokenLogprob
	for _, id := range ids {
		t := backend.TokenLogprob{ID: id, Text: string(rune(id)), Bytes: []byte(string(rune(id))), Logprob: -float64(id) / 1000}
		if top > 0 {
			t.Top = []backend.TokenLogprob{{Text: "e", Logprob: -0.1}}
		}
		out = append(out, t)
	}
	return out, backend.Usage{PromptTokens: len(ids), EvaluatedTokens: len(ids)}, ctx.Err()
}

func (m textModel) Embed(ctx context.Context, texts []string) (vectors [][]float32, tokens int, err error) {
	for _, t := range texts {
		vectors = append(vectors, []float32{1, float32(len(t)), -0.5})
		tokens += len(t)
	}
	return vectors, tokens, ctx.Err()
}

// start serves b and returns the server's address.
func start(t *testing.T, b backend.LanguageBackend, cfg serve.Config) string {
	t.Helper()
	s, err := serve.New(b, cfg)
	require.NoError(t, err)
	h := httptest.NewServer(s.Handler())
	t.Cleanup(h.Close)
	return h.URL
}

// answer is what came of a request.
type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

func send(t *testing.T, req *http.Request) answer {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(data)}
	_ = json.Unmarshal(data, &a.json)
	return a
}

func post(t *testing.T, url, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	return send(t, req)
}

func get(t *testing.T, url string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	return send(t, req)
}

// at follows a path like "choices.0.message.content".
func at(t *testing.T, v any, path string) any {
	t.Helper()
	for _, step := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			i := 0
			_, err := fmt.Sscan(step, &i)
			require.NoError(t, err)
			require.Less(t, i, len(x), "%s", path)
			v = x[i]
		default:
			require.Fail(t, "no such path", "%s in %v", path, v)
		}
	}
	return v
}

const hello = `"messages":[{"role":"user","content":"hello"}]`

func TestModelsAndHealth(t *testing.T) {
	url := start(t, talkative(), serve.Config{ModelNames: []string{"tiny", "org/tiny"}})
	a := get(t, url+"/v1/models")
	assert.Equal(t, "tiny", at(t, a.json, "data.0.id"))
	assert.Equal(t, "org/tiny", at(t, a.json, "data.1.id"))
	assert.Equal(t, 8192.0, at(t, a.json, "data.0.context_length"))
	assert.Equal(t, "org/tiny", get(t, url+"/v1/models/org/tiny").json["id"])
	assert.Equal(t, 404, get(t, url+"/v1/models/none").status)
	assert.Equal(t, "ok", get(t, url+"/health").json["status"])
	a = get(t, url+"/v1/nothing")
	assert.Equal(t, 404, a.status)
	assert.Equal(t, "unknown_url", at(t, a.json, "error.code"))
	a = get(t, url+"/v1/chat/completions")
	assert.Equal(t, 405, a.status)
	assert.Equal(t, "POST", a.header.Get("Allow"))
}

func TestDefaultNameIsTheFile(t *testing.T) {
	b := backend.NewScripted(backend.ScriptedConfig{ModelID: "/models/Tiny-Q4.gguf", Replies: []string{"a"}})
	url := start(t, b, serve.Config{})
	assert.Equal(t, "Tiny-Q4", at(t, get(t, url+"/v1/models").json, "data.0.id"))
	a := post(t, url+"/v1/chat/completions", `{"model":"/models/Tiny-Q4.gguf",`+hello+`}`)
	assert.Equal(t, "Tiny-Q4", a.json["model"], "the backend's own id is known too")
}

// TestRequestsAreHonoured: what the backend is asked is what the client asked.
func TestRequestsAreHonoured(t *testing.T) {
	var seen *backend.Request
	b := backend.NewScripted(backend.ScriptedConfig{
		Reply:  func(_ context.Context, r *backend.Request) (string, error) { seen = r; return `{"a":1}`, nil },
		Claims: &backend.Capabilities{Prefill: true, Grammar: true, Schema: true, Logprobs: true},
	})
	url := start(t, b, serve.Config{}) + "/v1/chat/completions"
	number := func(v float64) *float64 { return &v }
	whole := func(v int) *int { return &v }
	seed := func(v uint32) *uint32 { return &v }
	user := []backend.Message{{Role: backend.RoleUser, Content: "hello"}}
	for name, c := range map[string]struct {
		body string
		want backend.Request
	}{
		"nothing": {`{` + hello + `}`, backend.Request{Sampling: &backend.Sampling{}, Messages: user}},
		"sampling": {`{` + hello + `,"temperature":0.5,"top_p":0.9,"min_p":0.1,"top_k":7,"repeat_penalty":1.5,"seed":42}`,
			backend.Request{Messages: user, Sampling: &backend.Sampling{Temperature: number(0.5), TopP: number(0.9), MinP: number(0.1),
				TopK: whole(7), RepeatPenalty: number(1.5), Seed: seed(42)}}},
		"vLLM's names and off": {`{` + hello + `,"top_k":-1,"repetition_penalty":1.1,"top_p":0}`,
			backend.Request{Messages: user, Sampling: &backend.Sampling{Temperature: number(0), TopK: whole(0), RepeatPenalty: number(1.1)}}},
		"large and negative seeds": {`{` + hello + `,"seed":-1}`,
			backend.Request{Messages: user, Sampling: &backend.Sampling{Seed: seed(0)}}},
		"stop string": {`{` + hello + `,"stop":"x","max_tokens":5}`,
			backend.Request{Messages: user, Sampling: &backend.Sampling{}, Stop: []string{"x"}, TokensMax: 5}},
		"stop list": {`{` + hello + `,"stop":["x","y"],"max_completion_tokens":6}`,
			backend.Request{Messages: user, Sampling: &backend.Sampling{}, Stop: []string{"x", "y"}, TokensMax: 6}},
		"logprobs": {`{` + hello + `,"logprobs":true,"top_logprobs":3}`,
			backend.Request{Messages: user, Sampling: &backend.Sampling{}, Logprobs: true, TopLogprobs: 3}},
		"numbers of other languages": {`{` + hello + `,"max_tokens":6.0,"top_k":20.0,"presence_penalty":-0.0,"frequency_penalty":0.00}`,
			backend.Request{Messages: user, Sampling: &backend.Sampling{TopK: whole(20), PresencePenalty: number(0), FrequencyPenalty: number(0)}, TokensMax: 6}},
		"penalties and biases": {`{` + hello + `,"presence_penalty":-2,"frequency_penalty":0.5,"logit_bias":{"5":1,"70":-100}}`,
			backend.Request{Messages: user, Sampling: &backend.Sampling{PresencePenalty: number(-2), FrequencyPenalty: number(0.5), LogitBias: map[int32]float64{5: 1, 70: -100}}}},
		"what other servers add": {`{"messages":[{"role":"user","content":"hello"},{"role":"assistant","content":"Green.","annotations":[],"reasoning_content":"x","refusal":null},{"role":"assistant","content":null,"refusal":"No."}]}`,
			backend.Request{Sampling: &backend.Sampling{}, Messages: append(slices.Clone(user), backend.Message{Role: backend.RoleAssistant, Content: "Green."}, backend.Message{Role: backend.RoleAssistant, Content: "No."})}},
		"seeds of other languages": {`{` + hello + `,"seed":7.0,"top_k":1e2,"max_tokens":1e1}`,
			backend.Request{Messages: user, Sampling: &backend.Sampling{Seed: seed(7), TopK: whole(100)}, TokensMax: 10}},
		"what routers and Mistral add": {`{"messages":[{"role":"user","content":[{"type":"text","text":"hello","cache_control":{"type":"ephemeral"}}]},
			{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"t"}]},{"type":"text","text":"Green.","annotations":null}],"prefix":false,"reasoning":"r","reasoning_details":[{"type":"x"}],
			"thinking":"t","images":[],"provider_specific_fields":{"a":1},"id":"m1","created_at":1,"finish_reason":"stop","model":"m","function_call":null,"audio":null,"tool_calls":[]}]}`,
			backend.Request{Sampling: &backend.Sampling{}, Messages: append(slices.Clone(user), backend.Message{Role: backend.RoleAssistant, Content: "Green."})}},
		"JSON of a schema": {`{` + hello + `,"response_format":{"type":"json_object","schema":{"type":"object","properties":{"n":{"type":"integer"}}}}}`,
			backend.Request{Messages: user, Sampling: &backend.Sampling{}, Schema: json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"}}}`)}},
		"JSON": {`{` + hello + `,"response_format":{"type":"json_object"}}`,
			backend.Request{Messages: user, Sampling: &backend.Sampling{}, Schema: json.RawMessage(`{"type":"object"}`)}},
		"schema": {`{` + hello + `,"response_format":{"type":"json_schema","json_schema":{"name":"a","strict":true,"schema":{"type":"string"}}}}`,
			backend.Request{Messages: user, Sampling: &backend.Sampling{}, Schema: json.RawMessage(`{"type":"string"}`)}},
		"grammar": {`{` + hello + `,"grammar":"root ::= \"a\"","response_format":{"type":"text"}}`,
			backend.Request{Messages: user, Sampling: &backend.Sampling{}, Grammar: `root ::= "a"`}},
		"roles and parts": {`{"messages":[{"role":"developer","content":[{"type":"text","text":"be "},{"type":"text","text":"brief"}]},
			{"role":"user","content":"hi","name":"ann"},{"role":"assistant","content":null},{"role":"tool","content":"3","tool_call_id":"x"}]}`,
			backend.Request{Sampling: &backend.Sampling{}, Messages: []backend.Message{{Role: backend.RoleSystem, Content: "be brief"},
				{Role: backend.RoleUser, Content: "hi", Name: "ann"}, {Role: backend.RoleAssistant}, {Role: backend.RoleTool, Content: "3"}}}},
		"prefill": {`{"messages":[{"role":"user","content":"hello"},{"role":"assistant","content":"{"}],"continue_final_message":true,"add_generation_prompt":false}`,
			backend.Request{Messages: user, Sampling: &backend.Sampling{}, Prefill: "{"}},
		"fields that ask for nothing": {`{` + hello + `,"user":"me","metadata":{"a":"b"},"tools":[],"tool_choice":"none","presence_penalty":0,"frequency_penalty":0.0,
			"logit_bias":{ },"store":true,"verbosity":"low","service_tier":"flex","chat_template_kwargs":{"enable_thinking": false},"max_tokens":-1,"audio":null,"modalities":["text"],"n":1,"stream":false,"parallel_tool_calls":true,
			"best_of":1.0,"mirostat":-0.0,"typical_p":1.0,"id_slot":-1,"enable_thinking":false,"think":false,"thinking":{"type": "disabled"},"skip_special_tokens":true,"xtc_probability":0.0,"length_penalty":1e0,"echo":false}`,
			backend.Request{Messages: user, Sampling: &backend.Sampling{PresencePenalty: number(0), FrequencyPenalty: number(0)}}},
	} {
		t.Run(name, func(t *testing.T) {
			a := post(t, url, c.body)
			require.Equal(t, 200, a.status, a.body)
			assert.Equal(t, &c.want, seen)
		})
	}
}

// TestRefusals: what can't be honoured is refused with the field's name.
func TestRefusals(t *testing.T) {
	url := start(t, textModel{talkative()}, serve.Config{ModelNames: []string{"tiny"}})
	chat, text := "/v1/chat/completions", "/v1/completions"
	for name, c := range map[string]struct {
		path, body  string
		status      int
		code, param string
		message     string
	}{
		"not JSON":             {chat, `{`, 400, "invalid_json", "", "not a JSON object"},
		"half a character":     {chat, `{"messages":[{"role":"user","content":"a\ud83d"}]}`, 400, "invalid_json", "", "half of a character"},
		"bytes of no UTF-8":    {chat, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\xff\"}]}", 400, "invalid_json", "", "byte 41"},
		"not an object":        {chat, `null`, 400, "invalid_json", "", "not a JSON object"},
		"no messages":          {chat, `{}`, 400, "invalid_value", "messages", "at least one"},
		"unknown role":         {chat, `{"messages":[{"role":"wizard","content":"x"}]}`, 400, "invalid_value", "messages[0].role", "system"},
		"image":                {chat, `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}`, 400, "unsupported_parameter", "messages[0].content[0]", "text"},
		"tool calls":           {chat, `{"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"1"}]}]}`, 400, "invalid_value", "messages[0].tool_calls[0].function.name", ""},
		"unknown in message":   {chat, `{"messages":[{"role":"user","content":"x","contnt":"y"}]}`, 400, "unknown_parameter", "messages[0].contnt", "content"},
		"misspelt in a part":   {chat, `{"messages":[{"role":"user","content":[{"type":"text","txt":"x"}]}]}`, 400, "unknown_parameter", "messages[0].content[0].txt", "text"},
		"more in a part":       {chat, `{"messages":[{"role":"user","content":[{"type":"text","text":"x","language":"de"}]}]}`, 400, "unknown_parameter", "messages[0].content[0].language", ""},
		"old calls":            {chat, `{"messages":[{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}}]}`, 400, "unsupported_parameter", "messages[0].function_call", "write tool_calls"},
		"a prefix":             {chat, `{"messages":[{"role":"assistant","content":"x","prefix":true}]}`, 400, "unsupported_parameter", "messages[0].prefix", "continue_final_message"},
		"misspelt in a call":   {chat, `{"messages":[{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f","argumnts":"{}"}}]}]}`, 400, "unknown_parameter", "messages[0].tool_calls[0].function.argumnts", "arguments"},
		"misspelt function":    {chat, `{` + hello + `,"tools":[{"type":"function","functon":{"name":"f"}}]}`, 400, "unknown_parameter", "tools[0].functon", "function"},
		"misspelt parameters":  {chat, `{` + hello + `,"tools":[{"type":"function","function":{"name":"f","paramters":{}}}]}`, 400, "unknown_parameter", "tools[0].function.paramters", "parameters"},
		"misspelt tool choice": {chat, `{` + hello + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","function":{"nme":"f"}}}`, 400, "unknown_parameter", "tool_choice.function.nme", "name"},
		"misspelt response's":  {"/v1/responses", `{"input":"x","tools":[{"type":"function","name":"f","paramters":{}}]}`, 400, "unknown_parameter", "tools[0].paramters", "parameters"},
		"another sampler":      {chat, `{` + hello + `,"mirostat":2}`, 400, "unsupported_parameter", "mirostat", "not supported"},
		"less of the typical":  {chat, `{` + hello + `,"typical_p":0.5}`, 400, "unsupported_parameter", "typical_p", "not supported"},
		"thinking of Qwen's":   {chat, `{` + hello + `,"enable_thinking":true}`, 400, "unsupported_parameter", "enable_thinking", "not supported"},
		"marks of turns":       {chat, `{` + hello + `,"skip_special_tokens":false}`, 400, "unsupported_parameter", "skip_special_tokens", "not supported"},
		"half a seed":          {chat, `{` + hello + `,"seed":1.5}`, 400, "invalid_value", "seed", "whole"},
		"tools of no use":      {chat, `{` + hello + `,"tools":[{"type":"function","function":{"name":"f"}}]}`, 400, "unsupported_parameter", "tools", "local model"},
		"a nameless tool":      {chat, `{` + hello + `,"tools":[{"type":"function"}]}`, 400, "invalid_value", "tools[0].function.name", ""},
		"a tool twice":         {chat, `{` + hello + `,"tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"f"}}]}`, 400, "invalid_value", "tools[1].function.name", "another"},
		"no such kind of tool": {chat, `{` + hello + `,"tools":[{"type":"web_search"}]}`, 400, "unsupported_parameter", "tools[0]", "functions"},
		"no such tool":         {chat, `{` + hello + `,"tool_choice":{"type":"function","function":{"name":"g"}}}`, 400, "invalid_value", "tool_choice", "\"g\""},
		"too many tools":       {chat, `{` + hello + `,"tools":[` + strings.Repeat(`{"type":"function","function":{"name":"f"}},`, 10000) + `{}]}`, 400, "invalid_value", "tools", "10001"},
		"too large tools":      {chat, `{` + hello + `,"tools":[{"type":"function","function":{"name":"f","description":"` + strings.Repeat("x", 2<<20) + `"}}]}`, 400, "invalid_value", "tools", "bytes"},
		"a tool of none":       {chat, `{` + hello + `,"tool_choice":"required"}`, 400, "invalid_value", "tool_choice", "none is offered"},
		"audio":                {chat, `{` + hello + `,"modalities":["text","audio"],"audio":{"voice":"x"}}`, 400, "unsupported_parameter", "audio", ""},
		"penalty":              {chat, `{` + hello + `,"presence_penalty":2.5}`, 400, "invalid_value", "presence_penalty", "-2 to 2"},
		"logit bias":           {chat, `{` + hello + `,"logit_bias":{"5":101}}`, 400, "invalid_value", "logit_bias", "token 5"},
		"logit bias of a word": {chat, `{` + hello + `,"logit_bias":{"red":1}}`, 400, "invalid_value", "logit_bias", "token ids"},
		"two limits":           {chat, `{` + hello + `,"max_tokens":5,"max_completion_tokens":6}`, 400, "invalid_value", "max_completion_tokens", "one of them"},
		"half a token":         {chat, `{` + hello + `,"max_tokens":5.5}`, 400, "invalid_value", "max_tokens", "whole"},
		"misspelt below":       {chat, `{` + hello + `,"stream":true,"stream_options":{"include_usge":true}}`, 400, "unknown_parameter", "stream_options.include_usge", "include_usage"},
		"misspelt format":      {chat, `{` + hello + `,"response_format":{"type":"json_schema","json_schema":{"schema":{},"strct":true}}}`, 400, "unknown_parameter", "response_format.json_schema.strct", "strict"},
		"schema of a text":     {chat, `{` + hello + `,"response_format":{"type":"text","schema":{}}}`, 400, "unknown_parameter", "response_format.schema", ""},
		"misspelt":             {chat, `{` + hello + `,"max_tokns":5}`, 400, "unknown_parameter", "max_tokns", `Did you mean "max_tokens"?`},
		"wrong type":           {chat, `{` + hello + `,"temperature":"hot"}`, 400, "invalid_value", "temperature", "a number"},
		"out of range":         {chat, `{` + hello + `,"temperature":2.5}`, 400, "invalid_value", "temperature", "0 to 2"},
		"no tokens":            {chat, `{` + hello + `,"max_tokens":0}`, 400, "invalid_value", "max_tokens", ""},
		"n":                    {chat, `{` + hello + `,"n":1000}`, 400, "invalid_value", "n", ""},
		"stop":                 {chat, `{` + hello + `,"stop":[""]}`, 400, "invalid_value", "stop", "empty"},
		"top without":          {chat, `{` + hello + `,"top_logprobs":2}`, 400, "invalid_value", "top_logprobs", ""},
		"top too many":         {chat, `{` + hello + `,"logprobs":true,"top_logprobs":21}`, 400, "invalid_value", "top_logprobs", "20"},
		"stream options":       {chat, `{` + hello + `,"stream_options":{"include_usage":true}}`, 400, "invalid_value", "stream_options", ""},
		"schema missing":       {chat, `{` + hello + `,"response_format":{"type":"json_schema"}}`, 400, "invalid_value", "response_format", ""},
		"schema not possible":  {chat, `{` + hello + `,"response_format":{"type":"json_object"}}`, 400, "unsupported_parameter", "response_format", ""},
		"grammar impossible":   {chat, `{` + hello + `,"grammar":"root ::= \"a\""}`, 400, "unsupported_parameter", "grammar", ""},
		"wrong model":          {chat, `{"model":"gpt-4o",` + hello + `}`, 404, "model_not_found", "model", "tiny"},
		"too long":             {chat, `{"messages":[{"role":"user","content":"` + strings.Repeat("seven green ", 5000) + `"}]}`, 400, "context_length_exceeded", "messages", "maximum context length is 8192 tokens"},
		"prefill of nothing":   {chat, `{` + hello + `,"continue_final_message":true}`, 400, "invalid_value", "continue_final_message", ""},

		"no prompt":           {text, `{}`, 400, "invalid_value", "prompt", "missing"},
		"empty list":          {text, `{"prompt":[]}`, 400, "invalid_value", "prompt", "empty"},
		"no such token":       {text, `{"prompt":[-5]}`, 400, "invalid_value", "prompt", "vocabulary"},
		"mixed list":          {text, `{"prompt":["a",1]}`, 400, "invalid_value", "prompt", "string"},
		"suffix":              {text, `{"prompt":"a","suffix":"b"}`, 400, "unsupported_parameter", "suffix", ""},
		"best of":             {text, `{"prompt":"a","best_of":3}`, 400, "unsupported_parameter", "best_of", ""},
		"too many replies":    {text, `{"prompt":["a","b"],"n":100}`, 400, "invalid_value", "n", "128"},
		"prompt too long":     {text, `{"prompt":"` + strings.Repeat("x", 9000) + `"}`, 400, "context_length_exceeded", "prompt", "your prompt resulted in 9001"},
		"embedding format":    {"/v1/embeddings", `{"input":"a","encoding_format":"int8"}`, 400, "invalid_value", "encoding_format", ""},
		"empty embedding":     {"/v1/embeddings", `{"input":""}`, 400, "invalid_value", "input", "empty"},
		"dimensions":          {"/v1/embeddings", `{"input":"a","dimensions":2}`, 400, "unsupported_parameter", "dimensions", ""},
		"no question":         {"/v1/decisions", `{"input":"a"}`, 400, "invalid_value", "questions", ""},
		"odd question":        {"/v1/decisions", `{"input":"a","questions":[{"type":"riddle"}]}`, 400, "invalid_value", "questions[0].type", ""},
		"one choice":          {"/v1/decisions", `{"input":"a","questions":[{"type":"choice","instructions":"?","choices":[{"value":"a"}]}]}`, 400, "invalid_value", "questions[0].choices", "2 to 255"},
		"same text twice":     {"/v1/decisions", `{"input":"a","questions":[{"type":"choice","instructions":"?","choices":[{"value":"true"},{"value":true}]}]}`, 400, "invalid_value", "questions[0].choices", "same"},
		"input of a function": {"/v1/decisions", `{"input":[{"type":"function_call","name":"x"}],"questions":[]}`, 400, "unsupported_parameter", "input[0].type", ""},
		"nothing to tokenize": {"/tokenize", `{}`, 400, "invalid_value", "content", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := post(t, url+c.path, c.body)
			assert.Equal(t, c.status, a.status)
			require.NotNil(t, a.json["error"], a.body)
			assert.Equal(t, "invalid_request_error", at(t, a.json, "error.type"))
			assert.Equal(t, orNil(c.code), at(t, a.json, "error.code"))
			assert.Equal(t, orNil(c.param), at(t, a.json, "error.param"))
			assert.Contains(t, at(t, a.json, "error.message"), c.message)
		})
	}
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func TestNotForEveryBackend(t *testing.T) {
	url := start(t, talkative(), serve.Config{})
	for path, body := range map[string]string{"/v1/completions": `{"prompt":"a"}`, "/v1/embeddings": `{"input":"a"}`} {
		a := post(t, url+path, body)
		assert.Equal(t, 400, a.status, path)
		assert.Equal(t, "unsupported_endpoint", at(t, a.json, "error.code"))
	}
}

func TestChatWhole(t *testing.T) {
	url := start(t, talkative(), serve.Config{})
	a := post(t, url+"/v1/chat/completions", `{`+hello+`,"n":2,"max_tokens":3,"logprobs":true}`)
	require.Equal(t, 200, a.status, a.body)
	assert.Equal(t, "chat.completion", a.json["object"])
	for _, i := range []string{"0", "1"} {
		assert.Equal(t, "one, two, three,", at(t, a.json, "choices."+i+".message.content"))
		assert.Equal(t, "length", at(t, a.json, "choices."+i+".finish_reason"))
	}
	assert.Equal(t, " two,", at(t, a.json, "choices.1.logprobs.content.1.token"))
	assert.Equal(t, []any{32.0, 116.0, 119.0, 111.0, 44.0}, at(t, a.json, "choices.1.logprobs.content.1.bytes"))
	assert.Equal(t, 6.0, at(t, a.json, "usage.completion_tokens"), "of both replies")
	prompt := at(t, a.json, "usage.prompt_tokens").(float64)
	assert.Equal(t, prompt+6, at(t, a.json, "usage.total_tokens"), "the prompt counts once")
}

// frames are the events of a stream.
func frames(t *testing.T, url, body string) (events []map[string]any, done bool) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, "text/event-stream; charset=utf-8", resp.Header.Get("Content-Type"))
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			require.Empty(t, lines.Text())
			continue
		}
		if done = data == "[DONE]"; done {
			continue
		}
		var v map[string]any
		require.NoError(t, json.Unmarshal([]byte(data), &v))
		events = append(events, v)
	}
	return events, done
}

func TestChatStream(t *testing.T) {
	url := start(t, talkative(), serve.Config{})
	events, done := frames(t, url+"/v1/chat/completions", `{`+hello+`,"n":2,"stream":true,"stream_options":{"include_usage":true},"logprobs":true}`)
	assert.True(t, done)
	texts, roles, ends := map[float64]string{}, map[float64]int{}, map[float64]any{}
	for _, e := range events[:len(events)-1] {
		assert.Equal(t, "chat.completion.chunk", e["object"])
		assert.Equal(t, events[0]["id"], e["id"])
		choice := at(t, e, "choices.0").(map[string]any)
		i := choice["index"].(float64)
		delta := choice["delta"].(map[string]any)
		if delta["role"] == "assistant" {
			roles[i]++
		}
		if s, ok := delta["content"].(string); ok {
			texts[i] += s
		}
		if choice["finish_reason"] != nil {
			ends[i] = choice["finish_reason"]
		}
	}
	assert.Equal(t, map[float64]string{0: longReply, 1: longReply}, texts)
	assert.Equal(t, map[float64]int{0: 1, 1: 1}, roles)
	assert.Equal(t, map[float64]any{0: "stop", 1: "stop"}, ends)
	last := events[len(events)-1]
	assert.Empty(t, last["choices"])
	assert.Positive(t, at(t, last, "usage.completion_tokens"))
}

// TestErrorInStream: an error after the first token is an event, and no [DONE]
// follows; one before it is a status.
func TestErrorInStream(t *testing.T) {
	b := &breaking{Scripted: talkative(), after: 2}
	url := start(t, b, serve.Config{}) + "/v1/chat/completions"
	events, done := frames(t, url, `{`+hello+`,"stream":true}`)
	assert.False(t, done)
	last := events[len(events)-1]
	assert.Equal(t, "server_error", at(t, last, "error.type"))
	assert.Equal(t, "the cable was pulled", at(t, last, "error.message"))

	b.after = 0
	a := post(t, url, `{`+hello+`,"stream":true}`)
	assert.Equal(t, 500, a.status)
	assert.Equal(t, "the cable was pulled", at(t, a.json, "error.message"))
}

// breaking fails after some deltas.
type breaking struct {
	*backend.Scripted
	after int
}

func (b *breaking) ChatCompletion(ctx context.Context, req *backend.Request) iter.Seq2[backend.Delta, error] {
	return func(yield func(backend.Delta, error) bool) {
		n := 0
		for d, err := range b.Scripted.ChatCompletion(ctx, req) {
			if n++; n > b.after {
				yield(backend.Delta{}, errors.New("the cable was pulled"))
				return
			}
			if !yield(d, err) {
				return
			}
		}
	}
}

// TestSeveralRepliesDiffer: each has a seed of its own.
func TestSeveralRepliesDiffer(t *testing.T) {
	var mu sync.Mutex
	seeds := map[uint32]bool{}
	b := scripted(0, func(_ context.Context, r *backend.Request) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		seeds[*r.Sampling.Seed] = true
		return "x", nil
	})
	a := post(t, start(t, b, serve.Config{})+"/v1/chat/completions", `{`+hello+`,"n":3,"seed":7}`)
	require.Equal(t, 200, a.status, a.body)
	assert.Equal(t, map[uint32]bool{7: true, 8: true, 9: true}, seeds)
}

func TestCompletions(t *testing.T) {
	url := start(t, textModel{talkative()}, serve.Config{}) + "/v1/completions"

	a := post(t, url, `{"prompt":"é漢!","max_tokens":0,"echo":true,"logprobs":1}`)
	require.Equal(t, 200, a.status, a.body)
	assert.Equal(t, "é漢!", at(t, a.json, "choices.0.text"))
	assert.Equal(t, []any{"", "é", "漢", "!"}, at(t, a.json, "choices.0.logprobs.tokens"))
	assert.Equal(t, []any{0.0, 0.0, 1.0, 2.0}, at(t, a.json, "choices.0.logprobs.text_offset"), "in characters")
	assert.Equal(t, []any{nil, -0.233, -28.450, -0.033}, at(t, a.json, "choices.0.logprobs.token_logprobs"))
	assert.Nil(t, at(t, a.json, "choices.0.logprobs.top_logprobs.0"))
	assert.Equal(t, map[string]any{"é": -0.233, "e": -0.1}, at(t, a.json, "choices.0.logprobs.top_logprobs.1"))
	assert.Equal(t, "length", at(t, a.json, "choices.0.finish_reason"))
	assert.Equal(t, 4.0, at(t, a.json, "usage.prompt_tokens"))

	a = post(t, url, `{"prompt":["ab",  "c"],"n":2,"max_tokens":2,"echo":true}`)
	require.Equal(t, 200, a.status, a.body)
	for i, want := range []string{"abone, two,", "abone, two,", "cone, two,", "cone, two,"} {
		assert.Equal(t, want, at(t, a.json, fmt.Sprintf("choices.%d.text", i)))
	}
	assert.Equal(t, 5.0, at(t, a.json, "usage.prompt_tokens"), "each prompt once")
	assert.Equal(t, 8.0, at(t, a.json, "usage.completion_tokens"))

	a = post(t, url, `{"prompt":[104,105],"max_tokens":1,"echo":true,"logprobs":0}`)
	assert.Equal(t, "hione,", at(t, a.json, "choices.0.text"))
	assert.Equal(t, []any{"h", "i", "one,"}, at(t, a.json, "choices.0.logprobs.tokens"))

	a = post(t, url, `{"prompt":"x"}`)
	assert.Equal(t, 16.0, at(t, a.json, "usage.completion_tokens"), "the protocol's default")
	assert.Nil(t, at(t, a.json, "choices.0.logprobs"))
}

func TestCompletionStream(t *testing.T) {
	url := start(t, textModel{talkative()}, serve.Config{}) + "/v1/completions"
	events, done := frames(t, url, `{"prompt":"ab","max_tokens":2,"echo":true,"logprobs":0,"stream":true,"stream_options":{"include_usage":true}}`)
	assert.True(t, done)
	text, offsets := "", []any{}
	for _, e := range events[:len(events)-1] {
		text += at(t, e, "choices.0.text").(string)
		offsets = append(offsets, at(t, e, "choices.0.logprobs.text_offset").([]any)...)
	}
	assert.Equal(t, "abone, two,", text)
	assert.Equal(t, []any{0.0, 0.0, 1.0, 2.0, 6.0}, offsets)
	assert.Equal(t, "length", at(t, events[len(events)-2], "choices.0.finish_reason"))
	assert.Equal(t, 5.0, at(t, events[len(events)-1], "usage.total_tokens"))
}

func TestEmbeddings(t *testing.T) {
	url := start(t, textModel{talkative()}, serve.Config{}) + "/v1/embeddings"
	a := post(t, url, `{"input":["a","bcd"]}`)
	require.Equal(t, 200, a.status, a.body)
	assert.Equal(t, []any{1.0, 3.0, -0.5}, at(t, a.json, "data.1.embedding"))
	assert.Equal(t, 4.0, at(t, a.json, "usage.total_tokens"))
	a = post(t, url, `{"input":[97],"encoding_format":"base64","dimensions":3}`)
	assert.Equal(t, "AACAPwAAgD8AAAC/", at(t, a.json, "data.0.embedding"))
}

func TestTokenize(t *testing.T) {
	url := start(t, talkative(), serve.Config{}) + "/tokenize"
	assert.Equal(t, 2.0, post(t, url, `{"content":"hello you"}`).json["count"])
	a := post(t, url, `{`+hello+`}`)
	assert.Equal(t, 8.0, a.json["count"])
	assert.Equal(t, "estimate", a.json["source"])
	assert.Equal(t, false, a.json["exact"])
}

func TestDecisions(t *testing.T) {
	var asked []string
	b := backend.NewScripted(backend.ScriptedConfig{
		Choose: func(_ context.Context, r *backend.Request, options []backend.Option) (*backend.Choice, error) {
			asked = append(asked, r.Messages[len(r.Messages)-1].Content)
			c := &backend.Choice{Index: 1, Text: options[1].Text, Method: "logits/sum", CachedTokens: 3, CompletionTokens: 2, OutsideMass: math.NaN()}
			for i := range options {
				c.Options = append(c.Options, backend.ScoredOption{Text: options[i].Text, Probability: []float64{0.25, 0.75}[i]})
			}
			return c, nil
		},
	})
	a := post(t, start(t, b, serve.Config{})+"/v1/decisions", `{"model":"scripted","input":[{"role":"system","content":"s"},
		{"type":"message","role":"user","content":[{"type":"input_text","text":"It rains."},{"type":"input_json","data":{"a":1}}]}],
		"questions":[{"type":"choice","name":"q","instructions":"Wet?","choices":[{"value":"dry"},{"value":true,"description":"very"}]},
		{"type":"predicate","instructions":"It is night."},
		{"type":"score","name":"r","instructions":"How bad?","levels":[{"label":"mild"},{"label":"bad"}]}]}`)
	require.Equal(t, 200, a.status, a.body)
	assert.Equal(t, true, at(t, a.json, "answers.0.choice"), "typed as it was sent")
	assert.Equal(t, 0.75, at(t, a.json, "answers.0.confidence"))
	assert.Equal(t, "q", at(t, a.json, "answers.0.name"))
	assert.Equal(t, 0.25, at(t, a.json, "answers.0.probabilities.0.probability"))
	assert.Equal(t, "logits/sum", at(t, a.json, "answers.0.evidence.method"))
	assert.Equal(t, 0.25, at(t, a.json, "answers.1.probability"), "of yes, the first option")
	assert.Nil(t, at(t, a.json, "answers.1.name"))
	assert.Equal(t, 0.75, at(t, a.json, "answers.2.score"), "0×0.25 + 1×0.75")
	assert.Equal(t, 1.0, at(t, a.json, "answers.2.probabilities.1.value"))
	assert.Equal(t, 9.0, at(t, a.json, "usage.input_tokens_details.cached_tokens"))
	assert.Equal(t, 6.0, at(t, a.json, "usage.output_tokens"), "2 for each question")
	assert.Equal(t, at(t, a.json, "usage.input_tokens").(float64)+6, at(t, a.json, "usage.total_tokens"))
	assert.Contains(t, asked[0], "It rains.{\"a\":1}\n\nWet?")
	assert.Contains(t, asked[0], "- true: very")
	assert.Contains(t, asked[1], "It is night.")
}

// TestLimits: too large, too many, too slow.
func TestLimits(t *testing.T) {
	t.Run("body", func(t *testing.T) {
		a := post(t, start(t, talkative(), serve.Config{})+"/v1/chat/completions", `{"messages":"`+strings.Repeat("x", 17<<20)+`"}`)
		assert.Equal(t, 413, a.status)
		assert.Equal(t, "request_too_large", at(t, a.json, "error.code"))
	})
	t.Run("queue", func(t *testing.T) {
		block := make(chan struct{})
		b := scripted(0, func(ctx context.Context, _ *backend.Request) (string, error) { <-block; return "x", nil })
		url := start(t, b, serve.Config{RequestsMax: 3})
		var wg sync.WaitGroup
		wg.Go(func() { assert.Equal(t, 200, post(t, url+"/v1/chat/completions", `{`+hello+`,"n":2}`).status) })
		waitFor(t, func() bool { return get(t, url+"/health").json["in_flight"] == 2.0 })
		a := post(t, url+"/v1/chat/completions", `{`+hello+`,"n":2}`)
		assert.Equal(t, 429, a.status)
		assert.Equal(t, "2", a.header.Get("Retry-After"))
		assert.Equal(t, "rate_limit_error", at(t, a.json, "error.type"))
		wg.Go(func() { assert.Equal(t, 200, post(t, url+"/v1/chat/completions", `{`+hello+`}`).status) })
		waitFor(t, func() bool { return get(t, url+"/health").json["in_flight"] == 3.0 })
		close(block)
		wg.Wait()
		assert.Equal(t, 0.0, get(t, url+"/health").json["in_flight"])
	})
	t.Run("first token", func(t *testing.T) {
		a := post(t, start(t, slow(time.Minute), serve.Config{FirstTokenWithin: 20 * time.Millisecond})+"/v1/chat/completions", `{`+hello+`}`)
		assert.Equal(t, 503, a.status)
		assert.Equal(t, "queue_timeout", at(t, a.json, "error.code"))
		assert.NotEmpty(t, a.header.Get("Retry-After"))
	})
	t.Run("whole request", func(t *testing.T) {
		url := start(t, slow(20*time.Millisecond), serve.Config{RequestWithin: 100 * time.Millisecond})
		events, done := frames(t, url+"/v1/chat/completions", `{`+hello+`,"stream":true}`)
		assert.False(t, done)
		assert.Equal(t, "timeout", at(t, events[len(events)-1], "error.code"))
	})
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 10*time.Second, 5*time.Millisecond)
}

// TestClientGoesAway: its work is cancelled, whether it streams or not.
func TestClientGoesAway(t *testing.T) {
	for _, body := range []string{`{` + hello + `}`, `{` + hello + `,"n":2}`, `{` + hello + `,"stream":true}`} {
		cancelled := make(chan struct{}, 2)
		working := make(chan struct{}, 2)
		b := scripted(0, func(ctx context.Context, _ *backend.Request) (string, error) {
			working <- struct{}{}
			<-ctx.Done()
			cancelled <- struct{}{}
			return "", ctx.Err()
		})
		url := start(t, b, serve.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
		require.NoError(t, err)
		go func() { <-working; cancel() }()
		_, err = http.DefaultClient.Do(req)
		require.ErrorIs(t, err, context.Canceled)
		select {
		case <-cancelled:
		case <-time.After(5 * time.Second):
			require.Fail(t, "the work goes on", body)
		}
		waitFor(t, func() bool { return get(t, url+"/health").json["in_flight"] == 0.0 })
		assert.Contains(t, get(t, url+"/metrics").body, `agent_requests_total{path="/v1/chat/completions",status="499"} 1`)
	}
}

// running is a server on a listener of its own.
func running(t *testing.T, b backend.LanguageBackend, cfg serve.Config) (url string, stop context.CancelFunc, ended chan error) {
	t.Helper()
	s, err := serve.New(b, cfg)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended = make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() { stop() })
	return "http://" + l.Addr().String(), stop, ended
}

func TestShutdown(t *testing.T) {
	t.Run("lets replies finish", func(t *testing.T) {
		url, stop, ended := running(t, slow(5*time.Millisecond), serve.Config{})
		got := make(chan answer, 1)
		go func() { got <- post(t, url+"/v1/chat/completions", `{`+hello+`}`) }()
		waitFor(t, func() bool { return get(t, url+"/health").json["in_flight"] == 1.0 })
		stop()
		a := <-got
		assert.Equal(t, 200, a.status)
		assert.Equal(t, longReply, at(t, a.json, "choices.0.message.content"))
		require.NoError(t, <-ended)
		_, err := http.Get(url + "/health")
		assert.Error(t, err)
	})
	t.Run("but not for ever", func(t *testing.T) {
		url, stop, ended := running(t, slow(time.Minute), serve.Config{DrainWithin: 50 * time.Millisecond})
		got := make(chan answer, 1)
		go func() { got <- post(t, url+"/v1/chat/completions", `{`+hello+`}`) }()
		waitFor(t, func() bool { return get(t, url+"/health").json["in_flight"] == 1.0 })
		start := time.Now()
		stop()
		a := <-got
		assert.Equal(t, 503, a.status)
		assert.Equal(t, "shutting_down", at(t, a.json, "error.code"))
		require.NoError(t, <-ended)
		assert.Less(t, time.Since(start), 30*time.Second)
	})
}

// logText is a log that tests can read while handlers still write.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestKey(t *testing.T) {
	const key = "correct horse battery staple"
	var log logText
	url := start(t, talkative(), serve.Config{APIKey: key, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	with := func(path, auth string) int {
		req, err := http.NewRequest(http.MethodGet, url+path, nil)
		require.NoError(t, err)
		if auth != "" {
			req.Header.Set("Authorization", auth)
		}
		a := send(t, req)
		if a.status == 401 {
			assert.Equal(t, "invalid_api_key", at(t, a.json, "error.code"))
			assert.NotContains(t, a.body, "horse")
		}
		return a.status
	}
	assert.Equal(t, 200, with("/v1/models", "Bearer "+key))
	assert.Equal(t, 200, with("/v1/models", "bearer "+key))
	for _, wrong := range []string{"", "Bearer", "Bearer ", "Bearer correct", "Basic " + key, key, "Bearer " + key + "x"} {
		assert.Equal(t, 401, with("/v1/models", wrong), "%q", wrong)
		assert.Equal(t, 401, with("/metrics", wrong), "%q", wrong)
	}
	assert.Equal(t, 200, with("/health", ""))
	assert.NotContains(t, log.String(), "horse")
}

// TestNoPromptInLog: not of what succeeds, nor of what is refused or fails.
func TestNoPromptInLog(t *testing.T) {
	var log logText
	url := start(t, talkative(), serve.Config{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	for _, body := range []string{`{"messages":[{"role":"user","content":"sesame"}]}`, `{"messages":"sesame"}`, `{"messages":[{"role":"sesame","content":"x"}]}`,
		`{"stop":{"sesame":1}}`, `{"messages":[{"role":"user","content":"sesame"}],"temperature":"sesame"}`, `sesame`} {
		post(t, url+"/v1/chat/completions", body)
	}
	waitFor(t, func() bool { return strings.Count(log.String(), "path=/v1/chat/completions") == 6 })
	assert.NotContains(t, log.String(), "sesame")
}

func TestBind(t *testing.T) {
	any4, loop6 := &net.TCPAddr{IP: net.IPv4zero, Port: 1}, &net.TCPAddr{IP: net.IPv6loopback, Port: 1}
	assert.NoError(t, serve.CheckBind(loop6, ""))
	assert.NoError(t, serve.CheckBind(any4, "key"))
	err := serve.CheckBind(any4, "")
	require.ErrorContains(t, err, "0.0.0.0:1 is not a loopback address")
	var hint interface{ Hint() string }
	require.ErrorAs(t, err, &hint)
	assert.Contains(t, hint.Hint(), "AGENT_API_KEY")

	s, err := serve.New(talkative(), serve.Config{})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "0.0.0.0:0")
	require.NoError(t, err)
	assert.Error(t, s.Serve(t.Context(), l))
	_, err = net.Dial("tcp", l.Addr().String())
	assert.Error(t, err, "the listener is closed")
}

// TestWebPages: pages of other origins can't use a server on loopback, unless
// they are configured.
func TestWebPages(t *testing.T) {
	closed := start(t, talkative(), serve.Config{})
	open := start(t, talkative(), serve.Config{Origins: []string{"https://chat.example"}})
	call := func(url, method, host string, header map[string]string) answer {
		req, err := http.NewRequest(method, url+"/v1/chat/completions", strings.NewReader(`{`+hello+`}`))
		require.NoError(t, err)
		req.Host = host
		for k, v := range header {
			req.Header.Set(k, v)
		}
		return send(t, req)
	}
	page := map[string]string{"Origin": "https://chat.example", "Sec-Fetch-Site": "cross-site"}
	assert.Equal(t, 200, call(closed, "POST", "localhost:80", nil).status)
	assert.Equal(t, 403, call(closed, "POST", "evil.example", nil).status, "DNS rebinding")
	a := call(closed, "POST", "", page)
	assert.Equal(t, 403, a.status)
	assert.Empty(t, a.header.Get("Access-Control-Allow-Origin"))
	a = call(open, "POST", "", page)
	assert.Equal(t, 200, a.status)
	assert.Equal(t, "https://chat.example", a.header.Get("Access-Control-Allow-Origin"))
	page["Access-Control-Request-Method"] = "POST"
	a = call(open, "OPTIONS", "", page)
	assert.Equal(t, 204, a.status)
	assert.Contains(t, a.header.Get("Access-Control-Allow-Headers"), "Authorization")
	assert.ElementsMatch(t, []string{"Origin", "Access-Control-Request-Headers"}, a.header.Values("Vary"))
	for asked, want := range map[string]string{
		// What the official JavaScript client (openai 6.49.0) asks for.
		"authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-os,x-stainless-package-version,x-stainless-retry-count": "authorization, " +
			"content-type, x-stainless-arch, x-stainless-lang, x-stainless-os, x-stainless-package-version, x-stainless-retry-count",
		"x-one ,, a b, x:y, x_two": "x-one, x_two",
		", \"x\"":                  "Authorization, Content-Type",
	} {
		page["Access-Control-Request-Headers"] = asked
		assert.Equal(t, want, call(open, "OPTIONS", "", page).header.Get("Access-Control-Allow-Headers"), asked)
	}
	page["Origin"] = "https://evil.example"
	a = call(open, "OPTIONS", "", page)
	assert.Empty(t, a.header.Get("Access-Control-Allow-Origin"))
	assert.Empty(t, a.header.Get("Access-Control-Allow-Headers"))
	assert.Equal(t, 403, call(open, "POST", "", page).status)
	_, err := serve.New(talkative(), serve.Config{Origins: []string{"chat.example"}})
	assert.Error(t, err, "an origin without a scheme")
}

// TestSlowHeader: a client that sends its header byte by byte is cut off.
func TestSlowHeader(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the header's time limit, 10 s")
	}
	t.Parallel()
	url, _, _ := running(t, talkative(), serve.Config{})
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"))
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	start := time.Now()
	_, _ = io.ReadAll(c)
	assert.Less(t, time.Since(start), 15*time.Second)
	assert.Greater(t, time.Since(start), 5*time.Second)
}

func TestPanicIsAnAnswer(t *testing.T) {
	b := scripted(0, func(context.Context, *backend.Request) (string, error) { panic("boom") })
	for _, n := range []string{"1", "2"} {
		a := post(t, start(t, b, serve.Config{})+"/v1/chat/completions", `{`+hello+`,"n":`+n+`}`)
		assert.Equal(t, 500, a.status)
		assert.NotContains(t, a.body, "boom")
	}
}

func TestMetrics(t *testing.T) {
	url := start(t, talkative(), serve.Config{ModelNames: []string{`odd "name"`}})
	post(t, url+"/v1/chat/completions", `{`+hello+`,"max_tokens":3}`)
	post(t, url+"/v1/chat/completions", `{}`)
	a := get(t, url+"/metrics")
	for _, want := range []string{
		`agent_info{model="odd \"name\""} 1`,
		"agent_completion_tokens_total 3\n",
		"agent_prompt_tokens_total 8\n",
		`agent_requests_total{path="/v1/chat/completions",status="200"} 1`,
		`agent_requests_total{path="/v1/chat/completions",status="400"} 1`,
		`agent_request_seconds_bucket{path="/v1/chat/completions",le="+Inf"} 2`,
		"agent_first_token_seconds_count 1\n",
		"agent_replies_in_flight 0\n",
	} {
		assert.Contains(t, a.body, want)
	}
}
