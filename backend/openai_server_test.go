package backend_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"agent/backend"
)

const testKey = "sk-test-0123456789abcdef"

// apiServer speaks OpenAI's protocol over HTTP, with a scripted model behind
// it. Fields switch on what a real server may lack, and its quirks.
type apiServer struct {
	*httptest.Server
	model     *backend.Scripted
	decisions bool // has /v1/decisions
	// tells, if set, are the probabilities that /v1/decisions tells.
	tells    []any
	logprobs bool
	schemas  bool
	noUsage  bool
	refuse   []string // parameters that are answered with 400
	lineEnd  string   // of the event stream
	comments bool     // keepalive comments between events
	noDone   bool     // ends without [DONE]
	// favourite is the option text whose letter is most probable.
	favourite string

	mu   sync.Mutex
	seen []apiRequest
}

type apiRequest struct {
	path   string
	header http.Header
	body   map[string]any
}

func newAPIServer(t *testing.T, configure func(*apiServer)) *apiServer {
	s := &apiServer{model: talkative(), logprobs: true, schemas: true, lineEnd: "\n"}
	if configure != nil {
		configure(s)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", s.chat)
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"object":"list","data":[{"id":"gpt-4o"},{"id":"gpt-4o-mini"},{"id":"text-embedding-3-small"}]}`)
	})
	if s.decisions {
		mux.HandleFunc("POST /v1/decisions", s.decide)
	}
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *apiServer) backend(t *testing.T, configure func(*backend.OpenAIConfig)) *backend.OpenAI {
	cfg := backend.OpenAIConfig{ModelID: "gpt-4o-mini", ContextLength: 2000, ServerIP: s.URL + "/v1", APIKey: testKey,
		Warn: func(message string) { t.Log("warn:", message) }}
	if configure != nil {
		configure(&cfg)
	}
	b, err := backend.NewOpenAI(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b
}

func (s *apiServer) requests(path string) []apiRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []apiRequest
	for _, r := range s.seen {
		if strings.HasSuffix(r.path, path) {
			out = append(out, r)
		}
	}
	return out
}

// receive reads and remembers a request, and answers 400 to what is refused.
func (s *apiServer) receive(w http.ResponseWriter, r *http.Request) (map[string]any, bool) {
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return nil, false
	}
	s.mu.Lock()
	s.seen = append(s.seen, apiRequest{r.URL.Path, r.Header.Clone(), body})
	s.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+testKey {
		apiError(w, http.StatusUnauthorized, "invalid_api_key", "", "Incorrect API key provided: "+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		return nil, false
	}
	for _, name := range s.refuse {
		if _, sent := body[name]; sent {
			apiError(w, http.StatusBadRequest, "unsupported_parameter", name, "Unsupported parameter: '"+name+"' is not supported with this model.")
			return nil, false
		}
	}
	return body, true
}

func apiError(w http.ResponseWriter, status int, code, param, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
		"message": message, "type": "invalid_request_error", "param": param, "code": code}})
}

func (s *apiServer) chat(w http.ResponseWriter, r *http.Request) {
	body, ok := s.receive(w, r)
	if !ok {
		return
	}
	req := toRequest(body)
	if body["logprobs"] == true && s.logprobs {
		req.Logprobs = true
	}
	model := s.model
	if format, ok := body["response_format"].(map[string]any); ok && s.schemas {
		model = schemaModel(format)
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	flusher := w.(http.Flusher)
	send := func(v any) {
		data, _ := json.Marshal(v)
		if s.comments {
			fmt.Fprint(w, ": keepalive", s.lineEnd, s.lineEnd, "event: message", s.lineEnd)
		}
		fmt.Fprint(w, "data: ", string(data), s.lineEnd, s.lineEnd)
		flusher.Flush()
	}
	event := func(choices []any, usage any) map[string]any {
		return map[string]any{"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, "usage": usage}
	}
	send(event([]any{map[string]any{"index": 0, "delta": map[string]any{"role": "assistant", "content": ""}, "finish_reason": nil}}, nil))
	for d, err := range model.ChatCompletion(r.Context(), req) {
		if err != nil {
			send(map[string]any{"error": map[string]any{"message": err.Error(), "type": "server_error"}})
			return
		}
		choice := map[string]any{"index": 0, "delta": map[string]any{"content": d.Text}, "finish_reason": nil}
		if len(d.Tokens) > 0 {
			choice["logprobs"] = map[string]any{"content": s.topLogprobs(body, d.Tokens[0])}
		}
		if d.Text != "" || len(d.Tokens) > 0 {
			send(event([]any{choice}, nil))
		}
		if d.Finish != "" {
			send(event([]any{map[string]any{"index": 0, "delta": map[string]any{}, "finish_reason": string(d.Finish)}}, nil))
			if !s.noUsage && body["stream_options"] != nil {
				send(event([]any{}, map[string]any{"prompt_tokens": 2 * d.Usage.PromptTokens, // never fewer than the client counts
					"completion_tokens":     d.Usage.CompletionTokens,
					"total_tokens":          d.Usage.PromptTokens + d.Usage.CompletionTokens,
					"prompt_tokens_details": map[string]any{"cached_tokens": 3}, "completion_tokens_details": map[string]any{"reasoning_tokens": 2}}))
			}
		}
	}
	if !s.noDone {
		fmt.Fprint(w, "data: [DONE]", s.lineEnd, s.lineEnd)
	}
}

// topLogprobs gives the letter of the favourite option 0.8, the others a share
// of 0.15.
func (s *apiServer) topLogprobs(body map[string]any, drawn backend.TokenLogprob) []any {
	own := map[string]any{"token": drawn.Text, "logprob": -0.1, "bytes": nil, "top_logprobs": []any{}}
	msgs := body["messages"].([]any)
	_, list, ok := strings.Cut(msgs[len(msgs)-1].(map[string]any)["content"].(string), "Options:\n")
	if !ok || s.favourite == "" {
		return []any{own}
	}
	var top []any
	lines := strings.Split(strings.TrimSpace(strings.Split(list, "\nReply")[0]), "\n")
	for _, line := range lines {
		l, text, _ := strings.Cut(line, ") ")
		p := 0.15 / float64(len(lines))
		if text == s.favourite {
			p = 0.8
		}
		top = append(top, map[string]any{"token": l, "logprob": math.Log(p), "bytes": []int{int(l[0])}})
	}
	own["token"], own["logprob"], own["top_logprobs"] = top[0].(map[string]any)["token"], top[0].(map[string]any)["logprob"], top
	return []any{own}
}

func toRequest(body map[string]any) *backend.Request {
	req := &backend.Request{}
	for _, m := range body["messages"].([]any) {
		m := m.(map[string]any)
		req.Messages = append(req.Messages, backend.Message{Role: backend.Role(m["role"].(string)), Content: m["content"].(string)})
	}
	if body["continue_final_message"] == true {
		last := len(req.Messages) - 1
		req.Prefill, req.Messages = req.Messages[last].Content, req.Messages[:last]
	}
	for _, name := range []string{"max_tokens", "max_completion_tokens"} {
		if n, ok := body[name].(float64); ok {
			req.TokensMax = int(n)
		}
	}
	if stops, ok := body["stop"].([]any); ok {
		for _, s := range stops {
			req.Stop = append(req.Stop, s.(string))
		}
	}
	return req
}

// schemaModel replies with the last value of the schema's only enum.
func schemaModel(format map[string]any) *backend.Scripted {
	schema := format["json_schema"].(map[string]any)["schema"].(map[string]any)
	reply := map[string]any{}
	for name, p := range schema["properties"].(map[string]any) {
		enum := p.(map[string]any)["enum"].([]any)
		reply[name] = enum[len(enum)-1]
	}
	return backend.NewScripted(backend.ScriptedConfig{Reply: func(context.Context, *backend.Request) (string, error) {
		data, err := json.Marshal(reply)
		return string(data), err
	}})
}

func (s *apiServer) decide(w http.ResponseWriter, r *http.Request) {
	body, ok := s.receive(w, r)
	if !ok {
		return
	}
	question := body["questions"].([]any)[0].(map[string]any)
	var probabilities []any
	choices := question["choices"].([]any)
	i := slices.IndexFunc(choices, func(c any) bool { return c.(map[string]any)["value"] == s.favourite })
	i = max(i, 0)
	for j, c := range choices {
		p := 0.1 / float64(len(choices)-1)
		if i == j {
			p = 0.9
		}
		probabilities = append(probabilities, map[string]any{"value": c.(map[string]any)["value"], "probability": p})
	}
	if s.tells != nil {
		probabilities = s.tells
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"model": "m",
		"answers": []any{map[string]any{"type": "choice", "name": question["name"], "confidence": 0.9,
			"choice": choices[i].(map[string]any)["value"], "probabilities": probabilities}},
		"usage": map[string]any{"input_tokens": 50, "input_tokens_details": map[string]any{"cached_tokens": 8, "cache_write_tokens": 0},
			"output_tokens": 1, "output_tokens_details": map[string]any{"reasoning_tokens": 0}, "total_tokens": 51}})
}

// scriptedFault answers with what a test wrote, in raw bytes over TCP.
type scriptedFault struct {
	status  int
	header  map[string]string
	body    string
	hangup  bool          // close the connection without the end of the body
	silence time.Duration // after the body
}

// faultServer answers one fault after the other, then the last again.
func faultServer(t *testing.T, faults ...scriptedFault) (server *httptest.Server, requests func() []http.Header) {
	var mu sync.Mutex
	var headers []http.Header
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		f := faults[min(len(headers), len(faults)-1)]
		headers = append(headers, r.Header.Clone())
		mu.Unlock()
		if f.status == 0 {
			panic(http.ErrAbortHandler) // before headers
		}
		for k, v := range f.header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(f.status)
		_, _ = w.Write([]byte(f.body))
		w.(http.Flusher).Flush()
		select {
		case <-time.After(f.silence):
		case <-r.Context().Done():
		}
		if f.hangup {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(server.Close)
	return server, func() []http.Header {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(headers)
	}
}

// withMissingModel answers 404 to all chats.
func withMissingModel(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/chat/completions") {
			apiError(w, http.StatusNotFound, "model_not_found", "", "The model does not exist")
			return
		}
		h.ServeHTTP(w, r)
	})
}
