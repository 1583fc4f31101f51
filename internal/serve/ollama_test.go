package serve_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/internal/serve"
)

// TestOllamaIsHonoured: what the backend is asked is what the client asked.
func TestOllamaIsHonoured(t *testing.T) {
	m := newToolModel("{}", "{}")
	url := start(t, m, serve.Config{ModelNames: []string{"tiny"}})
	user, assistant, tool := backend.RoleUser, backend.RoleAssistant, backend.RoleTool
	hi := []backend.Message{{Role: user, Content: "hello"}}
	half, seed := 0.5, uint32(7)
	for name, c := range map[string]struct {
		path, body string
		want       backend.Request
	}{
		"settings": {"chat", `{"model":"tiny:latest",` + hello + `,"options":{"temperature":0.5,"seed":7,"num_predict":5,"stop":["x"],"num_ctx":4096,"num_gpu":1,"mirostat":0,"tfs_z":1.0,"presence_penalty":0}}`,
			backend.Request{Messages: hi, TokensMax: 5, Stop: []string{"x"}, Sampling: &backend.Sampling{Temperature: &half, Seed: &seed, PresencePenalty: new(float64)}}},
		"no limit":  {"chat", `{` + hello + `,"options":{"num_predict":-1},"keep_alive":-1,"think":false}`, backend.Request{Messages: hi}},
		"json":      {"chat", `{` + hello + `,"format":"json"}`, backend.Request{Messages: hi, Schema: json.RawMessage(`{"type":"object"}`)}},
		"a schema":  {"generate", `{"prompt":"hello","format":{"type":"array"}}`, backend.Request{Messages: hi, Schema: json.RawMessage(`{"type":"array"}`)}},
		"no format": {"chat", `{` + hello + `,"format":""}`, backend.Request{Messages: hi}},
		"a system text": {"generate", `{"prompt":"hello","system":"be brief","images":[],"context":[],"suffix":""}`,
			backend.Request{Messages: []backend.Message{{Role: backend.RoleSystem, Content: "be brief"}, hi[0]}}},
		"history": {"chat", `{"messages":[{"role":"user","content":"hello","images":null},{"role":"assistant","content":"","thinking":"hm","tool_calls":[{"function":{"name":"f","arguments":{"x":1}}}]},
			{"role":"tool","tool_name":"f","content":"2"}]}`,
			backend.Request{Messages: []backend.Message{hi[0], {Role: assistant, Calls: []backend.ToolCall{{Name: "f", Arguments: json.RawMessage(`{"x":1}`)}}}, {Role: tool, Content: "2"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			a := post(t, url+"/api/"+c.path, c.body)
			require.Equal(t, 200, a.status, a.body)
			if c.want.Sampling == nil {
				c.want.Sampling = &backend.Sampling{}
			}
			assert.Equal(t, &c.want, m.seen)
		})
	}
}

// TestOllamaStreams: a line of JSON each, calls whole, and the cost in the last.
func TestOllamaStreams(t *testing.T) {
	url := start(
		t,
		newToolModel("a reply", `{"city":"Paris"}`, "get_weather", "wait"),
		serve.Config{ModelNames: []string{"tiny"}},
	)
	a := post(
		t,
		url+"/api/chat",
		`{`+hello+`,"tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object"}}},{"type":"function","function":{"name":"wait"}}]}`,
	)
	assert.Equal(t, "application/x-ndjson", a.header.Get("Content-Type"))
	var names []string
	var last map[string]any
	for line := range strings.Lines(a.body) {
		last = nil
		require.NoError(t, json.Unmarshal([]byte(line), &last), line)
		calls, _ := last["message"].(map[string]any)["tool_calls"].([]any)
		for _, c := range calls {
			names = append(names, at(t, c, "function.name").(string))
			assert.Equal(t, map[string]any{"city": "Paris"}, at(t, c, "function.arguments"))
		}
	}
	assert.Equal(t, []string{"get_weather", "wait"}, names)
	assert.Equal(t, true, last["done"])
	assert.Positive(t, last["prompt_eval_count"])

	whole := post(t, url+"/api/chat", `{`+hello+`,"stream":false}`)
	assert.Equal(t, "a reply", at(t, whole.json, "message.content"))
	assert.Equal(t, "stop", whole.json["done_reason"])
}

// TestOllamaRefuses in the wire's own form, and says what is wrong.
func TestOllamaRefuses(t *testing.T) {
	url := start(
		t,
		scripted(
			0,
			func(context.Context, *backend.Request) (string, error) { return "", errors.New("out of order") },
		),
		serve.Config{ModelNames: []string{"tiny"}},
	)
	for name, c := range map[string]struct {
		path, body string
		status     int
		want       string
	}{
		"a typo":            {"chat", `{` + hello + `,"options":{"temprature":1}}`, 400, `"options.temprature". Did you mean "temperature"?`},
		"what is not had":   {"chat", `{` + hello + `,"options":{"mirostat":1}}`, 400, "options.mirostat"},
		"pictures":          {"chat", `{"messages":[{"role":"user","content":"x","images":["aGk="]}]}`, 400, "images"},
		"a suffix":          {"generate", `{"prompt":"x","suffix":"y"}`, 400, "suffix"},
		"a bad format":      {"generate", `{"prompt":"x","format":"yaml"}`, 400, "format"},
		"another model":     {"generate", `{"prompt":"x","model":"huge:1b"}`, 404, "huge:1b"},
		"raw text":          {"generate", `{"prompt":"x","raw":true}`, 400, "raw"},
		"no embeddings":     {"embed", `{"input":"x"}`, 400, "no embeddings"},
		"nothing to embed":  {"embeddings", `{}`, 400, "missing"},
		"another path":      {"pull", `{}`, 404, "Unknown request URL"},
		"a failing model":   {"chat", `{` + hello + `}`, 500, "out of order"},
		"an unknown model":  {"show", `{"model":"huge"}`, 404, "does not exist"},
		"what is no object": {"chat", `[]`, 400, "object"},
	} {
		t.Run(name, func(t *testing.T) {
			a := post(t, url+"/api/"+c.path, c.body)
			assert.Equal(t, c.status, a.status, a.body)
			said, _ := a.json["error"].(string)
			assert.Contains(t, said, c.want)
		})
	}
	assert.Equal(t, http.StatusMethodNotAllowed, get(t, url+"/api/chat").status)
	assert.Equal(t, "load", post(t, url+"/api/chat", `{"messages":[]}`).json["done_reason"])
	assert.Equal(t, "unload", post(t, url+"/api/generate", `{"keep_alive":0}`).json["done_reason"])
	assert.NotEmpty(t, get(t, url+"/api/version").json["version"])
}

// TestOllamaPython drives the server with the official client.
func TestOllamaPython(t *testing.T) {
	python := os.Getenv("AGENT_OLLAMA_PYTHON")
	if python == "" {
		t.Skip("needs AGENT_OLLAMA_PYTHON=…/bin/python of an environment with: pip install ollama")
	}
	run := func(b backend.LanguageBackend, reply string) {
		url := start(t, b, serve.Config{ModelNames: []string{"tiny"}, APIKey: "sesame"})
		out, err := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "ollama_client.py"), url, "sesame", "tiny", reply).
			CombinedOutput()
		require.NoError(t, err, "%s", out)
		t.Logf("%s", out)
	}
	run(textModel{backend.NewScripted(backend.ScriptedConfig{
		Reply: func(_ context.Context, r *backend.Request) (string, error) {
			if len(r.Schema) > 0 {
				return `{"city":"Paris"}`, nil
			}
			return longReply, nil
		},
		Claims: &backend.Capabilities{Prefill: true, Logprobs: true, Schema: true},
	})}, longReply)
}
