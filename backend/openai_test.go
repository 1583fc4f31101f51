package backend_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/backend/backendtest"
)

func TestOpenAIConforms(t *testing.T) {
	for name, configure := range map[string]func(*apiServer){
		"everything":    func(s *apiServer) { s.decisions, s.favourite = true, "yes" },
		"CRLF, no DONE": func(s *apiServer) { s.lineEnd, s.comments, s.noDone = "\r\n", true, true },
		"bare server": func(s *apiServer) {
			s.logprobs, s.schemas, s.noUsage, s.refuse = false, false, true, []string{"stop", "seed", "max_tokens"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := newAPIServer(t, configure)
			o := backendtest.Options{Deterministic: true, Skip: map[string]string{}}
			if !server.schemas {
				o.Skip["schema"] = "the scripted model can't keep to a schema by itself"
				o.Skip["logprobs"] = "the server silently gives none"
			}
			backendtest.Run(t, func(t *testing.T) backend.LanguageBackend {
				return server.backend(t, func(c *backend.OpenAIConfig) { c.ContinueFinalMessage = server.decisions })
			}, o)
		})
	}
}

func TestOpenAISendsWhatWasAsked(t *testing.T) {
	server := newAPIServer(t, nil)
	zero, topK, repeat, seed := 0.0, 40, 1.1, uint32(7)
	b := server.backend(t, func(c *backend.OpenAIConfig) {
		c.Organization = "org-1"
		c.TopK, c.Temperature, c.RepeatPenalty = &topK, ptr(0.9), &repeat
		c.TokensMax = 9
	})
	req := user("")
	req.Messages = append([]backend.Message{{Role: backend.RoleSystem, Content: "s"}}, req.Messages...)
	req.Messages = append(req.Messages, backend.Message{Role: backend.RoleTool, Content: "result", Name: "not a valid name"})
	req.Sampling = &backend.Sampling{Temperature: &zero, Seed: &seed}
	req.Stop = []string{"+", "#", "$", "%", "&"}
	_, last, err := backend.Collect(b.ChatCompletion(t.Context(), req))
	require.NoError(t, err)

	sent := server.requests("/chat/completions")[0]
	assert.Equal(t, "Bearer "+testKey, sent.header.Get("Authorization"))
	assert.Equal(t, "org-1", sent.header.Get("OpenAI-Organization"))
	assert.NotEmpty(t, sent.header.Get("Idempotency-Key"))
	data, err := json.Marshal(sent.body)
	require.NoError(t, err)
	assert.JSONEq(t, `{"model":"gpt-4o-mini","stream":true,"stream_options":{"include_usage":true},"temperature":0,"top_k":40,
		"repetition_penalty":1.1,"seed":7,"max_tokens":9,"stop":["+","#","$","%"],
		"messages":[{"role":"system","content":"s"},{"role":"user","content":""},{"role":"user","content":"result"}]}`, string(data))
	assert.Equal(t, 3, last.Usage.CachedTokens)
	assert.Equal(t, 2, last.Usage.ReasoningTokens)
	assert.Equal(t, last.Usage.PromptTokens-3, last.Usage.EvaluatedTokens)
}

func ptr[T any](v T) *T { return &v }

func TestOpenAIReasoningModels(t *testing.T) {
	server := newAPIServer(t, nil)
	b := server.backend(t, func(c *backend.OpenAIConfig) {
		c.ModelID, c.ReasoningEffort, c.Temperature = "o3-mini-2025-01-31", "low", ptr(0.5)
	})
	req := user("hello")
	req.TokensMax, req.Stop = 5, []string{"two"}
	text, _, err := backend.Collect(b.ChatCompletion(t.Context(), req))
	require.NoError(t, err)
	assert.Equal(t, "one, ", text)
	body := server.requests("/chat/completions")[0].body
	for _, absent := range []string{"temperature", "max_tokens", "stop", "top_p"} {
		assert.NotContains(t, body, absent)
	}
	assert.EqualValues(t, 5, body["max_completion_tokens"])
	assert.Equal(t, "low", body["reasoning_effort"])
	assert.False(t, b.Capabilities().Logprobs)
}

func TestOpenAILearnsWhatTheServerLacks(t *testing.T) {
	server := newAPIServer(t, func(s *apiServer) { s.refuse = []string{"temperature", "max_tokens", "stream_options"} })
	var warnings []string
	b := server.backend(t, func(c *backend.OpenAIConfig) { c.Warn = func(m string) { warnings = append(warnings, m) } })
	req := user("hello")
	req.TokensMax, req.Sampling = 5, &backend.Sampling{Temperature: ptr(0.5)}
	for range 2 {
		_, last, err := backend.Collect(b.ChatCompletion(t.Context(), req))
		require.NoError(t, err)
		assert.Positive(t, last.Usage.CompletionTokens)
	}
	assert.Len(t, server.requests("/chat/completions"), 3+1+1, "the second call knows")
	assert.Len(t, warnings, 3)
	assert.Contains(t, strings.Join(warnings, "\n"), "max_completion_tokens is used instead")
}

func TestOpenAISchemaFallback(t *testing.T) {
	schema := json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}`)
	for reply, wantErr := range map[string]string{
		`{"n": 3}`:   "",
		`{"n": "x"}`: "breaks the schema",
		`three`:      "not JSON",
	} {
		server := newAPIServer(t, func(s *apiServer) {
			s.refuse = []string{"response_format"}
			s.model = backend.NewScripted(backend.ScriptedConfig{Replies: []string{reply}})
		})
		var warnings []string
		b := server.backend(t, func(c *backend.OpenAIConfig) { c.Warn = func(m string) { warnings = append(warnings, m) } })
		req := user("a number?")
		req.Schema = schema
		_, _, err := backend.Collect(b.ChatCompletion(t.Context(), req))
		if wantErr == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, wantErr)
		}
		require.Len(t, warnings, 1)
		sent := server.requests("/chat/completions")
		assert.Contains(t, fmt.Sprint(sent[len(sent)-1].body["messages"]), string(schema))
	}
}

func TestOpenAIChooseMethods(t *testing.T) {
	tests := []struct {
		name      string
		configure func(*apiServer)
		method    string
		want      string // empty: abstains
		calls     int    // of /chat/completions
		knows     bool   // whether there are probabilities
	}{
		{"a decisions endpoint", func(s *apiServer) { s.decisions, s.favourite = true, "blue" }, "service", "blue", 0, true},
		{"a decision without probabilities", func(s *apiServer) { s.decisions, s.favourite, s.tells = true, "blue", []any{} }, "service", "blue", 0, false},
		{"a decision with no probability above 0", func(s *apiServer) {
			s.decisions, s.favourite = true, "blue"
			s.tells = []any{map[string]any{"value": "red", "probability": 0}, map[string]any{"value": "blue", "probability": 0}}
		}, "service", "blue", 0, false},
		{"a decision with the probabilities of something else", func(s *apiServer) {
			s.decisions, s.favourite = true, "blue"
			s.tells = []any{map[string]any{"value": "Blue", "probability": 0.9}, map[string]any{"value": true, "probability": 0.1}}
		}, "service", "blue", 0, false},
		{"log-probabilities", func(s *apiServer) { s.favourite = "blue" }, "logprobs", "blue", 3, true},
		{"no letters among the likely tokens", func(s *apiServer) {}, "schema", "green", 4, false},
		{"no log-probabilities", func(s *apiServer) { s.refuse = []string{"logprobs"} }, "schema", "green", 2, false},
		{"no schemas, a reply to match", func(s *apiServer) {
			s.refuse = []string{"logprobs", "response_format"}
			s.model = backend.NewScripted(backend.ScriptedConfig{Reply: func(context.Context, *backend.Request) (string, error) { return "I think blue.", nil }})
		}, "text", "blue", 4, false},
		{"an empty reply", func(s *apiServer) {
			s.refuse = []string{"logprobs", "response_format"}
			s.model = backend.NewScripted(backend.ScriptedConfig{Reply: func(context.Context, *backend.Request) (string, error) { return " ", nil }})
		}, "text", "", 4, false},
		{"a distant reply", func(s *apiServer) {
			s.refuse = []string{"logprobs", "response_format"}
			s.model = backend.NewScripted(backend.ScriptedConfig{Reply: func(context.Context, *backend.Request) (string, error) { return "none of this makes sense", nil }})
		}, "text", "", 4, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := newAPIServer(t, tt.configure)
			b := server.backend(t, nil)
			c, err := b.ChooseFromOptions(t.Context(), user("Which colour?"), backend.Options("red", "blue", "green"))
			require.NoError(t, err)
			assert.Equal(t, tt.method, c.Method)
			assert.Equal(t, tt.want, c.Text)
			assert.Equal(t, tt.want == "", c.Abstained, c.Reason)
			assert.Equal(t, tt.want == "", c.Reason != "", c.Reason)
			assert.Equal(t, tt.want == "", c.Index < 0)
			for name, v := range map[string]float64{"probability": c.Options[1].Probability, "logprob": c.Options[1].Logprob,
				"margin": c.Margin, "outside mass": c.OutsideMass} {
				assert.Equal(t, tt.knows, !math.IsNaN(v), "%s is %v", name, v)
			}
			assert.Len(t, server.requests("/chat/completions"), tt.calls)
			assert.Positive(t, c.EvaluatedTokens)
			assert.Positive(t, c.Wall)
		})
	}
}

func TestOpenAIChooseByLogprobs(t *testing.T) {
	server := newAPIServer(t, func(s *apiServer) { s.favourite = "blue" })
	b := server.backend(t, nil)
	c, err := b.ChooseFromOptions(t.Context(), user("Which colour?"), backend.Options("red", "blue", "green"))
	require.NoError(t, err)
	assert.InDelta(t, 0.8/0.9, c.Options[1].Probability, 1e-9)
	assert.InDelta(t, 0.05/0.9, c.Options[0].Probability, 1e-9)
	assert.InDelta(t, 0.1, c.OutsideMass, 1e-9)
	assert.InDelta(t, math.Log(0.8/0.05), c.Margin, 1e-9)
	firsts := map[string]bool{}
	for _, r := range server.requests("/chat/completions") {
		firsts[strings.SplitN(fmt.Sprint(r.body["messages"]), "A) ", 2)[1][:3]] = true
	}
	assert.Len(t, firsts, 3, "each option was first once")

	req := user("Which colour?")
	req.Choose = &backend.ChooseConfig{MarginMin: 5}
	c, err = b.ChooseFromOptions(t.Context(), req, backend.Options("red", "blue", "green"))
	require.NoError(t, err)
	assert.True(t, c.Abstained)
	assert.Contains(t, c.Reason, "2.773 nats, less than 5.000")

	req.Choose = &backend.ChooseConfig{Calibrate: true}
	_, err = b.ChooseFromOptions(t.Context(), req, backend.Options("red", "blue"))
	assert.ErrorIs(t, err, backend.ErrUnsupported)
}

func TestOpenAIRemembersThatThereAreNoDecisions(t *testing.T) {
	server := newAPIServer(t, func(s *apiServer) { s.favourite = "b" })
	b := server.backend(t, nil)
	asked := 0
	handler := server.Config.Handler
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/decisions") {
			asked++
		}
		handler.ServeHTTP(w, r)
	})
	for range 3 {
		_, err := b.ChooseFromOptions(t.Context(), user("?"), backend.Options("a", "b"))
		require.NoError(t, err)
	}
	assert.Equal(t, 1, asked)
	assert.Len(t, server.requests("/chat/completions"), 6)
}

func TestOpenAIErrorsTellWhatToDo(t *testing.T) {
	json429 := scriptedFault{status: 429, header: map[string]string{"Retry-After": "300"}, body: `{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}`}
	tests := []struct {
		name       string
		fault      scriptedFault
		want, hint string
	}{
		{"bad key", scriptedFault{status: 401, body: `{"error":{"message":"Incorrect API key provided: ` + testKey + `.","code":"invalid_api_key"}}`}, "answered 401", "llm.api_key"},
		{"bad key, masked", scriptedFault{status: 401, body: `{"error":{"message":"Incorrect API key: sk-proj-ab**********wxyz"}}`}, "[redacted]", "llm.api_key"},
		{"unknown model", scriptedFault{status: 404, body: `{"error":{"message":"The model gpt-4o-mimi does not exist","code":"model_not_found"}}`}, "does not exist", "check llm.model_id"},
		{"wrong path", scriptedFault{status: 404, body: `404 page not found`}, "page not found", "/v1"},
		{"quota", json429, "exceeded your current quota", "quota"},
		{"HTML from a proxy", scriptedFault{status: 403, body: `<html><h1>Forbidden</h1></html>`}, "Forbidden", "key may not"},
		{"FastAPI's detail", scriptedFault{status: 401, body: `{"detail":{"error":{"message":"","code":"invalid_api_key"}}}`}, "invalid_api_key", "llm.api_key"},
		{"FastChat", scriptedFault{status: 400, body: `{"object":"error","message":"Only a allowed now, your model b","code":40301}`}, "Only a allowed", "check llm.model_id"},
		{"in the stream", scriptedFault{status: 200, body: "data: {\"error\":{\"message\":\"overloaded\"}}\n\n"}, "overloaded", ""},
		{"in the stream, after text", scriptedFault{status: 200, body: "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: { \"error\": \"broke\"}\n\ndata: [DONE]\n\n"}, "broke", ""},
		{"in the stream, FastChat", scriptedFault{status: 200, body: "data: {\"text\": \"CUDA out of memory\", \"error_code\": 50002}\n\ndata: [DONE]\n\n"}, "CUDA out of memory", ""},
		{"content filter", scriptedFault{status: 200, body: "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"content_filter\"}]}\n\ndata: [DONE]\n\n"}, "content filter", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server, _ := faultServer(t, tt.fault)
			b, err := backend.NewOpenAI(backend.OpenAIConfig{ModelID: "gpt-4o-mimi", ContextLength: 100, ServerIP: server.URL + "/v1", APIKey: testKey})
			require.NoError(t, err)
			_, _, err = backend.Collect(b.ChatCompletion(t.Context(), user("x")))
			require.ErrorContains(t, err, tt.want)
			assert.ErrorContains(t, err, "gpt-4o-mimi: chat: ")
			assert.NotContains(t, fmt.Sprintf("%v %+v", err, err), testKey)
			assert.NotContains(t, err.Error(), "wxyz")
			var hinter interface{ Hint() string }
			require.ErrorAs(t, err, &hinter)
			assert.Contains(t, hinter.Hint(), tt.hint)
		})
	}
}

func TestOpenAISuggestsTheNearestModel(t *testing.T) {
	server := newAPIServer(t, func(s *apiServer) {})
	b := server.backend(t, func(c *backend.OpenAIConfig) { c.ModelID = "gpt-4o-mimi" })
	server.Config.Handler = withMissingModel(server.Config.Handler)
	_, _, err := backend.Collect(b.ChatCompletion(t.Context(), user("x")))
	var e *backend.Error
	require.ErrorAs(t, err, &e)
	assert.Contains(t, e.Hint(), "did you mean llm.model_id=gpt-4o-mini?")
	assert.Contains(t, e.Hint(), "text-embedding-3-small")
}

func TestOpenAIContextErrorsHaveBothNumbers(t *testing.T) {
	for message, want := range map[string]*backend.ContextError{
		"This model's maximum context length is 4097 tokens. However, your messages resulted in 5000 tokens. Please reduce the length.":                    {Tokens: 5000, Max: 4097},
		"This model's maximum context length is 4097 tokens, however you requested 6000 tokens (5000 in your prompt; 1000 for the completion).":            {Tokens: 5000, Max: 4097},
		"This model's maximum context length is 4096 tokens. However, you requested 10 output tokens and your prompt contains at least 4190 input tokens.": {Tokens: 4190, Max: 4096},
		"prompt has 900 tokens, more than the context length of 512":                                                                                       {Tokens: 900, Max: 512},
		// The prompt alone fits: it is max_tokens that is too large.
		"This model's maximum context length is 4097 tokens, however you requested 6000 tokens (100 in your prompt; 5900 for the completion).": nil,
	} {
		body, _ := json.Marshal(map[string]any{"error": map[string]any{"message": message, "code": "context_length_exceeded"}})
		server, _ := faultServer(t, scriptedFault{status: 400, body: string(body)})
		b, err := backend.NewOpenAI(backend.OpenAIConfig{ModelID: "m", ContextLength: 100_000, ServerIP: server.URL})
		require.NoError(t, err)
		_, _, err = backend.Collect(b.ChatCompletion(t.Context(), user("x")))
		var tooLong *backend.ContextError
		if assert.Equal(t, want != nil, errors.As(err, &tooLong), "%s: %v", message, err) && want != nil {
			assert.Equal(t, want, tooLong)
		}
	}
}

func TestOpenAICatchesASilentlyCutPrompt(t *testing.T) {
	body := `data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"completion_tokens":1}}` + "\n\ndata: [DONE]\n\n"
	server, _ := faultServer(t, scriptedFault{status: 200, body: body})
	b, err := backend.NewOpenAI(backend.OpenAIConfig{ModelID: "gpt-4o", ServerIP: server.URL})
	require.NoError(t, err)
	_, _, err = backend.Collect(b.ChatCompletion(t.Context(), user(strings.Repeat("seven green bottles ", 300))))
	assert.ErrorContains(t, err, "the server saw 100 tokens of a prompt that has 9")
	_, _, err = backend.Collect(b.ChatCompletion(t.Context(), user("hello")))
	assert.NoError(t, err)
}

func TestOpenAICountsAsOpenAIDoes(t *testing.T) {
	// The examples of OpenAI's cookbook, "How to count tokens with tiktoken",
	// with the numbers that its API gave.
	msgs := []backend.Message{
		{Role: "system", Content: "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."},
		{Role: "system", Name: "example_user", Content: "New synergies will help drive top-line growth."},
		{Role: "system", Name: "example_assistant", Content: "Things working well together will increase revenue."},
		{Role: "system", Name: "example_user", Content: "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage."},
		{Role: "system", Name: "example_assistant", Content: "Let's talk later when we're less busy about how to do better."},
		{Role: "user", Content: "This late pivot means we don't have time to boil the ocean for the client deliverable."},
	}
	for model, want := range map[string]int{"gpt-3.5-turbo": 129, "gpt-4-0613": 129, "gpt-4": 129, "gpt-4o": 124, "gpt-4o-mini": 124} {
		b, err := backend.NewOpenAI(backend.OpenAIConfig{ModelID: model})
		require.NoError(t, err)
		c, err := b.CountChat(t.Context(), msgs)
		require.NoError(t, err)
		assert.Equal(t, backend.Count{Tokens: want, Source: "tiktoken", Exact: true}, c, model)
	}
	b, err := backend.NewOpenAI(backend.OpenAIConfig{ModelID: "my-own", ContextLength: 10})
	require.NoError(t, err)
	c, err := b.CountChat(t.Context(), msgs)
	require.NoError(t, err)
	assert.Equal(t, "estimate", c.Source)
	assert.False(t, c.Exact)
}

type byteTokenizer struct{}

func (byteTokenizer) CountText(text string) (int, error) { return len(text), nil }

type byteRenderer struct{ byteTokenizer }

func (byteRenderer) RenderChat(msgs []backend.Message) (string, error) {
	return "<s>" + msgs[0].Content, nil
}
func (byteRenderer) CountRendered(text string) (int, error) { return len(text), nil }

func TestInjectedTokenizerWins(t *testing.T) {
	for _, tt := range []struct {
		tokenizer backend.TextTokenizer
		want      backend.Count
	}{
		{byteTokenizer{}, backend.Count{Tokens: 3 + 4 + 1 + 5, Source: "estimate"}},
		{byteRenderer{}, backend.Count{Tokens: 8, Source: "tokenizer.json", Exact: true}},
	} {
		b, err := backend.NewOpenAI(backend.OpenAIConfig{ModelID: "gpt-4o", Tokenizer: tt.tokenizer})
		require.NoError(t, err)
		c, err := b.CountChat(t.Context(), user("hello").Messages)
		require.NoError(t, err)
		assert.Equal(t, tt.want, c)
		c, err = b.CountText(t.Context(), "hello")
		require.NoError(t, err)
		assert.Equal(t, backend.Count{Tokens: 5, Source: "tokenizer.json", Exact: true}, c)
	}
}

func TestOpenAIRefusesBadConfigurations(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg        backend.OpenAIConfig
		want, hint string
	}{
		"no model":          {backend.OpenAIConfig{}, "model_id is missing", "llm.model_id="},
		"unknown length":    {backend.OpenAIConfig{ModelID: "my-own"}, "context length of model my-own is not known", "llm.context_length"},
		"longer than known": {backend.OpenAIConfig{ModelID: "gpt-4", ContextLength: 10_000}, "context_length is 10000, but model gpt-4 takes 8192", "lower it"},
		"not a URL":         {backend.OpenAIConfig{ModelID: "gpt-4", ServerIP: "127.0.0.1:8000"}, "not an http or https URL", "http://"},
		"no such CA file":   {backend.OpenAIConfig{ModelID: "gpt-4", HTTPConfig: backend.HTTPConfig{CAFile: "/none.pem"}}, "ca_file: open /none.pem", ""},
		"not a proxy":       {backend.OpenAIConfig{ModelID: "gpt-4", HTTPConfig: backend.HTTPConfig{Proxy: "::"}}, "proxy: not a URL", ""},
	} {
		_, err := backend.NewOpenAI(tt.cfg)
		var e *backend.Error
		require.ErrorAs(t, err, &e, name)
		assert.ErrorContains(t, err, tt.want, name)
		assert.Contains(t, e.Hint(), tt.hint, name)
	}
}

func TestOpenAIUnreachable(t *testing.T) {
	server := newAPIServer(t, nil)
	url := server.URL
	server.Close()
	b, err := backend.NewOpenAI(backend.OpenAIConfig{ModelID: "m", ContextLength: 100, ServerIP: url, HTTPConfig: backend.HTTPConfig{RetriesMax: ptr(0)}})
	require.NoError(t, err)
	_, _, err = backend.Collect(b.ChatCompletion(t.Context(), user("x")))
	var e *backend.Error
	require.ErrorAs(t, err, &e)
	assert.Contains(t, e.Hint(), "is the server running")
	assert.Contains(t, e.Hint(), url)
}

func TestOpenAISilence(t *testing.T) {
	for name, fault := range map[string]scriptedFault{
		"mid-stream": {status: 200, body: "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n", silence: 5 * time.Second},
	} {
		server, _ := faultServer(t, fault)
		b, err := backend.NewOpenAI(backend.OpenAIConfig{ModelID: "m", ContextLength: 100, ServerIP: server.URL,
			HTTPConfig: backend.HTTPConfig{TimeoutIdle: 50 * time.Millisecond, TimeoutFirstByte: 50 * time.Millisecond, RetriesMax: ptr(0)}})
		require.NoError(t, err)
		text, _, err := backend.Collect(b.ChatCompletion(t.Context(), user("x")))
		assert.Equal(t, "x", text)
		assert.ErrorContains(t, err, "sent nothing for 50ms", name)
	}
}

// TestDecisionsWireForm: the request is what the official Go client (openai-go
// v3.95.0) sends for the same question, as it was recorded from it.
func TestDecisionsWireForm(t *testing.T) {
	server := newAPIServer(t, func(s *apiServer) { s.decisions, s.favourite = true, "b" })
	b := server.backend(t, func(c *backend.OpenAIConfig) { c.ModelID = "gpt-6-luna" })
	req := user("q")
	req.Messages = append([]backend.Message{{Role: backend.RoleSystem, Content: "s"}}, req.Messages...)
	c, err := b.ChooseFromOptions(t.Context(), req, backend.Options("a", "b"))
	require.NoError(t, err)
	assert.Equal(t, 1, c.Index)
	assert.InDelta(t, 0.9, c.Options[1].Probability, 1e-9)
	assert.Equal(t, 42, c.EvaluatedTokens)
	assert.Equal(t, 8, c.CachedTokens)
	sent, err := json.Marshal(server.requests("/decisions")[0].body)
	require.NoError(t, err)
	assert.JSONEq(t, `{"input":[{"content":"s","type":"message","role":"system"},{"content":"q","type":"message","role":"user"}],"model":"gpt-6-luna",
		"questions":[{"choices":[{"value":"a"},{"value":"b"}],"instructions":"Which of these is the assistant's reply to the conversation?",
		"name":"reply","type":"choice"}]}`, string(sent))
}
