package main

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend/hf"
	"agent/inference"
	"agent/inference/gguf/gguftest"
	"agent/internal/serve"
)

// hostileTemplate misbehaves in another way for each word.
const hostileTemplate = `{% macro f(x) %}{{ f(x) }}{% endmacro %}
{%- set word = messages[-1].content %}
{%- if word == 'recurse' %}{{ f(1) }}{% endif %}
{%- if word == 'circle' %}{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}{% endif %}
{%- if word == 'swell' %}{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}{% endif %}
{%- if word == 'loop' %}{% set l = [] %}{% set _ = l.append(l) %}{{ l }}{% endif %}
{{- word }}`

// hostileRequests are bodies for the endpoint before the colon of their name.
func hostileRequests() map[string]any {
	chat := func(word string, more map[string]any) map[string]any {
		body := map[string]any{"model": "tiny", "max_tokens": 40, "messages": []any{map[string]any{"role": "user", "content": word}}}
		maps.Copy(body, more)
		return body
	}
	pattern := func(p string) map[string]any {
		return map[string]any{"response_format": map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "x",
			"schema": map[string]any{"type": "string", "pattern": p}}}}
	}
	long := strings.Repeat("ab ", 5<<20)
	return map[string]any{
		"/v1/chat/completions:recurse":  chat("recurse", nil),
		"/v1/chat/completions:circle":   chat("circle", nil),
		"/v1/chat/completions:swell":    chat("swell", nil),
		"/v1/chat/completions:loop":     chat("loop", nil),
		"/v1/chat/completions:long":     chat(long, nil),
		"/v1/chat/completions:optional": chat("ab", pattern("^(.?){500}$")),
		"/v1/chat/completions:nested":   chat("ab", pattern("^((a?b?){40}){40}$")),
		"/v1/completions:long":          map[string]any{"model": "tiny", "prompt": long},
		"/tokenize:long":                map[string]any{"content": long},
		"/tokenize:swell":               map[string]any{"messages": chat("swell", nil)["messages"]},
	}
}

// hostileServer serves a model under the hostile template.
func hostileServer(t testing.TB, model string) *httptest.Server {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	b, err := hf.Open(t.Context(), hf.Config{ModelID: "tiny", Path: model, ChatTemplate: hostileTemplate, RenderExecutable: exe, Threads: 1, ThreadsBatch: 1})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	s, err := serve.New(b, serve.Config{})
	require.NoError(t, err)
	h := httptest.NewServer(s.Handler())
	t.Cleanup(h.Close)
	return h
}

// postBody asks; status 0: no answer.
func postBody(t testing.TB, url string, body any) (status int, answer string) {
	data, err := json.Marshal(body)
	require.NoError(t, err)
	resp, err := http.Post(url, "application/json", bytes.NewReader(data))
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// friendlyRequest asks for a few tokens.
func friendlyRequest(tokens int) map[string]any {
	return map[string]any{"model": "tiny", "max_tokens": tokens, "messages": []any{map[string]any{"role": "user", "content": "ab"}}}
}

// A request that makes a template misbehave, a grammar swell or a prompt too
// long has its own error; the others are answered while it has not.
func TestServeBesideHostileRequests(t *testing.T) {
	if !inference.Built() {
		t.Skip("needs the native library: make native")
	}
	h := hostileServer(t, gguftest.Model().Write(t, "tiny.gguf"))
	for name, body := range hostileRequests() {
		t.Run(name, func(t *testing.T) {
			path, what, _ := strings.Cut(name, ":")
			done := make(chan struct{})
			start := time.Now()
			go func() {
				defer close(done)
				status, answer := postBody(t, h.URL+path, body)
				t.Logf("%d after %v: %.200s", status, time.Since(start).Round(time.Millisecond), answer)
				switch what {
				case "long":
					assert.Equal(t, http.StatusBadRequest, status)
					assert.Contains(t, answer, "context_length_exceeded")
				case "optional", "nested": // may be followed; the vocabulary has no quotes
					assert.NotZero(t, status)
				default:
					assert.Equal(t, http.StatusInternalServerError, status)
					assert.Contains(t, answer, "the chat template misbehaves")
				}
			}()
			answered := 0
			for waiting := true; waiting || answered < 3; {
				status, answer := postBody(t, h.URL+"/v1/chat/completions", friendlyRequest(2))
				require.Equal(t, http.StatusOK, status, answer)
				answered++
				select {
				case <-done:
					waiting = false
				default:
				}
			}
			t.Logf("%d answered beside it", answered)
			assert.Less(t, time.Since(start), 2*time.Minute)
		})
	}
}

// What a friendly request takes alone, and beside each hostile one that is sent
// again and again; scripts/bench-hostile.sh compares.
func BenchmarkServeBesideHostileRequests(b *testing.B) {
	model := filepath.Join("..", "..", "models", "SmolLM2-135M-Instruct.Q4_1.gguf")
	if _, err := os.Stat(model); err != nil || !inference.Built() {
		b.Skip("needs the native library and the default model: make native model")
	}
	h := hostileServer(b, model)
	ask := func(b *testing.B) {
		for b.Loop() {
			status, answer := postBody(b, h.URL+"/v1/chat/completions", friendlyRequest(32))
			require.Equal(b, http.StatusOK, status, answer)
		}
	}
	b.Run("alone", ask)
	for name, body := range hostileRequests() {
		path, _, _ := strings.Cut(name, ":")
		b.Run("beside="+strings.ReplaceAll(name[1:], "/", "."), func(b *testing.B) {
			end := make(chan struct{})
			var sender sync.WaitGroup
			sender.Go(func() {
				for {
					select {
					case <-end:
						return
					default:
						postBody(b, h.URL+path, body)
					}
				}
			})
			ask(b)
			b.StopTimer()
			close(end)
			sender.Wait()
		})
	}
}
