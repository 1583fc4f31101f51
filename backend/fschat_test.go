package backend_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/backend/backendtest"
)

const fastchatContext = 600

// cluster is a real FastChat: controller, API server and two small workers.
type cluster struct {
	url     string // ends in /v1
	workers map[string]*exec.Cmd
}

// startFastChat needs a Python with FastChat, named by AGENT_FASTCHAT_PYTHON.
func startFastChat(t *testing.T) *cluster {
	python := os.Getenv("AGENT_FASTCHAT_PYTHON")
	if python == "" {
		t.Skip("needs AGENT_FASTCHAT_PYTHON=…/bin/python of an environment with: pip install --no-deps fschat==0.2.36 && " +
			"pip install uvicorn requests numpy aiohttp httpx shortuuid tiktoken rich 'pydantic<2' 'fastapi<0.112'")
	}
	worker, err := filepath.Abs("testdata/fastchat_worker.py")
	require.NoError(t, err)
	dir := t.TempDir()
	start := func(args ...string) *exec.Cmd {
		cmd := exec.Command(python, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "LOGDIR="+dir, "PYTHONDONTWRITEBYTECODE=1")
		log, err := os.CreateTemp(dir, "log")
		require.NoError(t, err)
		cmd.Stdout, cmd.Stderr = log, log
		require.NoError(t, cmd.Start())
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if t.Failed() {
				text, _ := os.ReadFile(log.Name())
				t.Logf("%v:\n%s", args, text[max(0, len(text)-2000):])
			}
			log.Close()
		})
		return cmd
	}
	controller, api := freePort(t), freePort(t)
	controllerURL := "http://127.0.0.1:" + controller
	start("-m", "fastchat.serve.controller", "--host", "127.0.0.1", "--port", controller)
	waitFor(t, controllerURL+"/test_connection", nil)
	c := &cluster{url: "http://127.0.0.1:" + api + "/v1", workers: map[string]*exec.Cmd{}}
	for model, flag := range map[string]string{"with-logprobs": "--logprobs", "without-logprobs": ""} {
		port := freePort(t)
		args := []string{worker, "--port", port, "--controller", controllerURL, "--address", "http://127.0.0.1:" + port,
			"--model", model, "--context", fmt.Sprint(fastchatContext)}
		if flag != "" {
			args = append(args, flag)
		}
		c.workers[model] = start(args...)
		waitFor(t, "http://127.0.0.1:"+port+"/docs", nil)
	}
	start("-m", "fastchat.serve.openai_api_server", "--host", "127.0.0.1", "--port", api, "--controller-address", controllerURL)
	waitFor(t, c.url+"/models", func(body string) bool {
		return strings.Contains(body, `"with-logprobs"`) && strings.Contains(body, `"without-logprobs"`)
	})
	return c
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// waitFor asks until the server answers as wanted.
func waitFor(t *testing.T, url string, ok func(body string) bool) {
	require.Eventually(t, func() bool {
		resp, err := http.Get(url)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode < 500 && (ok == nil || ok(string(body)))
	}, 90*time.Second, 200*time.Millisecond, "%s does not answer", url)
}

func newFastChat(t *testing.T, url, model string) *backend.FastChat {
	b, err := backend.NewFastChat(backend.FastChatConfig{ModelID: model, ContextLength: fastchatContext, ServerIP: url, APIKey: "EMPTY",
		Warn: func(m string) { t.Log("warn:", m) }})
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b
}

func TestFastChat(t *testing.T) {
	c := startFastChat(t)
	for _, model := range []string{"with-logprobs", "without-logprobs"} {
		t.Run(model, func(t *testing.T) {
			backendtest.Run(t, func(t *testing.T) backend.LanguageBackend { return newFastChat(t, c.url, model) },
				backendtest.Options{Deterministic: true})
		})
	}
	t.Run("choose by prompt log-probabilities", func(t *testing.T) {
		b := newFastChat(t, c.url, "with-logprobs")
		assert.False(t, b.Capabilities().ExactChoice)
		choice, err := b.ChooseFromOptions(t.Context(), user("Which colour?"), backend.Options("red", "blue", "green", "blue green"))
		require.NoError(t, err)
		assert.Equal(t, "logprobs", choice.Method)
		assert.Equal(t, "blue", choice.Text)
		assert.InDelta(t, -0.2-0.2, choice.Options[1].Logprob, 1e-6, "the word and the end of the line")
		assert.InDelta(t, math.Exp(-0.4), 1-choice.OutsideMass-sumOthers(choice), 1e-6)
		assert.Equal(t, 2, choice.Options[1].Tokens)
		assert.Less(t, choice.Options[3].Probability, choice.Options[1].Probability)
		assert.True(t, b.Capabilities().ExactChoice)
	})
	t.Run("choose by text", func(t *testing.T) {
		b := newFastChat(t, c.url, "without-logprobs")
		choice, err := b.ChooseFromOptions(t.Context(), user("?"), backend.Options("red", "blue"))
		require.NoError(t, err)
		assert.Equal(t, "text", choice.Method)
		assert.True(t, choice.Abstained)
	})
	t.Run("counts are the worker's, labelled an estimate", func(t *testing.T) {
		b := newFastChat(t, c.url, "with-logprobs")
		n, err := b.CountText(t.Context(), "one two three.")
		require.NoError(t, err)
		assert.Equal(t, backend.Count{Tokens: 4, Source: "estimate"}, n)
	})
	t.Run("unknown model", func(t *testing.T) {
		b := newFastChat(t, c.url, "with-logprob")
		_, err := b.CountTokens(t.Context(), user("x").Messages)
		require.Error(t, err, "a count that could not be made is an error, not 0")
		b, err = backend.NewFastChat(backend.FastChatConfig{ModelID: "with-logprob", ContextLength: 100, ServerIP: c.url, Tokenizer: byteTokenizer{}})
		require.NoError(t, err)
		_, _, err = backend.Collect(b.ChatCompletion(t.Context(), user("x")))
		var e *backend.Error
		require.ErrorAs(t, err, &e)
		assert.Contains(t, e.Hint(), "did you mean llm.model_id=with-logprobs?")
	})
	t.Run("the server's own limit", func(t *testing.T) {
		b, err := backend.NewFastChat(backend.FastChatConfig{ModelID: "with-logprobs", ContextLength: 100_000, ServerIP: c.url, Tokenizer: byteTokenizer{}})
		require.NoError(t, err)
		_, _, err = backend.Collect(b.ChatCompletion(t.Context(), user(strings.Repeat("word ", 2000))))
		var tooLong *backend.ContextError
		require.ErrorAs(t, err, &tooLong)
		assert.Equal(t, fastchatContext, tooLong.Max)
		assert.Greater(t, tooLong.Tokens, 2000)
	})
	t.Run("all system messages are heard", func(t *testing.T) {
		b := newFastChat(t, c.url, "with-logprobs")
		req := user("hello")
		short, last, err := backend.Collect(b.ChatCompletion(t.Context(), req))
		require.NoError(t, err)
		require.NotEmpty(t, short)
		req.Messages = append(req.Messages, backend.Message{Role: backend.RoleSystem, Content: "one"}, backend.Message{Role: backend.RoleTool, Content: "two"})
		_, last2, err := backend.Collect(b.ChatCompletion(t.Context(), req))
		require.NoError(t, err)
		assert.Greater(t, last2.Usage.PromptTokens, last.Usage.PromptTokens)
	})
	t.Run("a worker dies mid-stream", func(t *testing.T) {
		b := newFastChat(t, c.url, "without-logprobs")
		var last error
		finished := false
		killed := false
		for d, err := range b.ChatCompletion(t.Context(), user("x")) {
			if !killed {
				require.NoError(t, c.workers["without-logprobs"].Process.Kill())
				killed = true
			}
			last, finished = err, d.Finish != ""
		}
		assert.Error(t, last)
		assert.False(t, finished, "half a reply was passed off as whole")
		_, _, err := backend.Collect(newFastChat(t, c.url, "with-logprobs").ChatCompletion(t.Context(), user("x")))
		assert.NoError(t, err, "the other worker still serves")
	})
}

func sumOthers(c *backend.Choice) (sum float64) {
	for i, o := range c.Options {
		if i != c.Index {
			sum += math.Exp(o.Logprob)
		}
	}
	return sum
}

// TestFastChatSystemMessages runs without FastChat: what is sent to it.
func TestFastChatSystemMessages(t *testing.T) {
	var sent map[string]any
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewDecoder(r.Body).Decode(&sent)
		fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	}))
	t.Cleanup(server.Close)
	var warnings []string
	b, err := backend.NewFastChat(backend.FastChatConfig{ModelID: "m", ContextLength: 100, ServerIP: server.URL + "/v1", Tokenizer: byteTokenizer{},
		Warn: func(m string) { warnings = append(warnings, m) }})
	require.NoError(t, err)
	req := user("question")
	req.Messages = append([]backend.Message{{Role: backend.RoleSystem, Content: "first"}}, req.Messages...)
	req.Messages = append(req.Messages, backend.Message{Role: backend.RoleSystem, Content: "second"}, backend.Message{Role: backend.RoleTool, Content: "result"})
	req.Sampling = &backend.Sampling{Seed: ptr(uint32(1)), Temperature: ptr(0.0)}
	_, _, err = backend.Collect(b.ChatCompletion(context.Background(), req))
	require.NoError(t, err)
	data, _ := json.Marshal(sent["messages"])
	assert.JSONEq(t, `[{"role":"system","content":"first\n\nsecond"},{"role":"user","content":"question"},{"role":"user","content":"result"}]`, string(data))
	assert.NotContains(t, sent, "seed")
	assert.EqualValues(t, 0, sent["temperature"])
	assert.Len(t, warnings, 1, "the seed")
	assert.Less(t, sent["max_tokens"].(float64), 100.0)
}
