package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serveVariable makes the test program a server on the port in it: a real
// process to start, ask and end.
const serveVariable = "BENCH_TEST_SERVE_PORT"

func TestMain(m *testing.M) {
	if port := os.Getenv(serveVariable); port != "" {
		fmt.Fprintln(os.Stderr, http.ListenAndServe(net.JoinHostPort(loopback, port), answering(tellStory)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// answering is a server that is healthy and answers chats with reply.
func answering(reply func(w http.ResponseWriter, prompt string)) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Stream      bool
			Temperature *float64
			MaxTokens   int `json:"max_tokens"`
			Messages    []struct{ Role, Content string }
			Options     struct {
				Usage bool `json:"include_usage"`
			} `json:"stream_options"`
		}
		err := json.NewDecoder(r.Body).Decode(&body)
		if err != nil || !body.Stream || !body.Options.Usage || body.Temperature == nil || body.MaxTokens != serveTokens || len(body.Messages) != 1 {
			http.Error(w, "not what the benchmark should send", http.StatusBadRequest)
			return
		}
		reply(w, body.Messages[0].Content)
	})
	return mux
}

func send(w http.ResponseWriter, events ...string) {
	for _, e := range events {
		fmt.Fprintf(w, "data: %s\n\n", e)
	}
	w.(http.Flusher).Flush()
}

// tellStory streams as both servers do: a role, text, the count, the end.
func tellStory(w http.ResponseWriter, _ string) {
	send(w, `{"choices":[{"delta":{"role":"assistant","content":null}}]}`)
	time.Sleep(20 * time.Millisecond)
	fmt.Fprint(w, ": a comment\n\n")
	send(w, `{"choices":[{"delta":{"content":"Once"}}]}`, `{"choices":[{"delta":{"content":" upon a"}}]}`,
		`{"choices":[{"delta":{},"finish_reason":"length"}]}`, `{"choices":[],"usage":{"completion_tokens":3}}`, "[DONE]")
}

func TestClientsAskTogether(t *testing.T) {
	const n = 4
	var waiting atomic.Int32
	together := make(chan struct{})
	h := httptest.NewServer(answering(func(w http.ResponseWriter, prompt string) {
		if waiting.Add(1) == n {
			close(together)
		}
		<-together // only clients that ask at the same time get past this
		tellStory(w, prompt)
	}))
	defer h.Close()
	got, err := newClients(h.URL).ask(t.Context(), storyPrompts(n, 1), serveTokens)
	require.NoError(t, err)
	assert.Equal(t, 3*n, got.Tokens)
	assert.GreaterOrEqual(t, got.FirstToken, 20*time.Millisecond, "the role is no token")
	assert.GreaterOrEqual(t, got.Wall, got.FirstToken)
	assert.InDelta(t, 3*n/got.Wall.Seconds(), got.PerSecond(), 1e-6)
}

func TestClientsTellWhatWentWrong(t *testing.T) {
	text := `{"choices":[{"delta":{"content":"Once"}}]}`
	for _, c := range []struct {
		name, want string
		reply      func(w http.ResponseWriter)
	}{
		{"refused", "503 Service Unavailable: still loading", func(w http.ResponseWriter) { http.Error(w, "still loading", http.StatusServiceUnavailable) }},
		{"failed on the way", "the server ended the stream", func(w http.ResponseWriter) { send(w, text, `{"error":{"message":"no memory"}}`) }},
		{"cut off", "without [DONE]", func(w http.ResponseWriter) { send(w, text) }},
		{"no JSON", "not understood", func(w http.ResponseWriter) { send(w, "hello") }},
		{"nothing said", "no text", func(w http.ResponseWriter) { send(w, `{"usage":{"completion_tokens":1}}`, "[DONE]") }},
		{"nothing counted", "did not count", func(w http.ResponseWriter) { send(w, text, "[DONE]") }},
		{"endless line", "token too long", func(w http.ResponseWriter) { send(w, strings.Repeat("x", 2*eventBytesMax)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := httptest.NewServer(answering(func(w http.ResponseWriter, _ string) { c.reply(w) }))
			defer h.Close()
			_, err := newClients(h.URL).ask(t.Context(), storyPrompts(2, 1), serveTokens)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

func TestServeProbeAsksBothTheSameAndNothingTwice(t *testing.T) {
	var order, asked []string
	both := &Servers{}
	for _, s := range []struct {
		name string
		into **server
	}{{"ours", &both.ours}, {"theirs", &both.theirs}} {
		h := httptest.NewServer(answering(func(w http.ResponseWriter, prompt string) {
			order, asked = append(order, s.name), append(asked, prompt)
			tellStory(w, prompt)
		}))
		defer h.Close()
		*s.into = &server{clients: newClients(h.URL), name: s.name}
	}
	p := both.probe(1)
	for _, flip := range []bool{false, true} {
		pairs, err := p.Round(t.Context(), flip)
		require.NoError(t, err)
		require.Len(t, pairs, len(p.Checks))
		for _, v := range pairs {
			assert.Positive(t, v.Ours)
			assert.Positive(t, v.Theirs)
		}
	}
	assert.Equal(t, []string{"ours", "theirs", "theirs", "ours"}, order)
	assert.Equal(t, asked[0], asked[1])
	assert.Equal(t, asked[2], asked[3])
	assert.NotEqual(t, asked[0], asked[2], "else the second round would come from the cache")
}

// startTestServer starts this test program as a server.
func startTestServer(t *testing.T) *server {
	t.Helper()
	port, err := freePort(t.Context())
	require.NoError(t, err)
	t.Setenv(serveVariable, strconv.Itoa(port))
	s, err := startServer(t.Context(), os.Args[0], nil, fmt.Sprintf("http://%s:%d", loopback, port))
	require.NoError(t, err)
	t.Cleanup(s.close)
	return s
}

func TestServerRunsUntilItIsClosed(t *testing.T) {
	s := startTestServer(t)
	got, err := s.measure(t.Context(), storyPrompts(2, 1), serveTokens)
	require.NoError(t, err)
	assert.Equal(t, 6, got.Tokens)
	s.close()
	assert.ErrorIs(t, s.cmd.Process.Signal(syscall.Signal(0)), os.ErrProcessDone)
	s.close() // again is no mistake
}

func TestServerThatDiesIsReportedAsSuch(t *testing.T) {
	s := startTestServer(t)
	require.NoError(t, s.cmd.Process.Kill())
	_, err := s.measure(t.Context(), storyPrompts(2, 1), serveTokens)
	assert.ErrorContains(t, err, "it ended: signal: killed")
}

func TestServerThatDoesNotStart(t *testing.T) {
	dir := t.TempDir()
	start := func(ctx context.Context, body string) error {
		program := filepath.Join(dir, llamaServer)
		if body != "" {
			require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\n"+body), 0o700))
		}
		port, err := freePort(ctx)
		require.NoError(t, err)
		_, err = startServer(ctx, program, nil, fmt.Sprintf("http://%s:%d", loopback, port))
		return err
	}
	assert.ErrorIs(t, start(t.Context(), ""), os.ErrNotExist)
	assert.ErrorContains(t, start(t.Context(), "echo cannot load m.gguf >&2; exit 3"),
		"llama-server ended before it was ready: exit status 3: cannot load m.gguf")
	stop := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(stop) })
	assert.ErrorIs(t, start(ctx, "sleep 60 & wait"), stop)
}

func TestTailKeepsTheEnd(t *testing.T) {
	said := &tail{}
	for range stderrMax {
		fmt.Fprint(said, "abc")
	}
	fmt.Fprint(said, "the end\n")
	assert.LessOrEqual(t, len(said.String()), stderrMax)
	assert.True(t, strings.HasSuffix(said.String(), "abcthe end"))
}

func TestServersGetTheSameSurroundings(t *testing.T) {
	assert.Equal(t, []string{"PATH=/bin", "HOME=/"}, serverEnv([]string{"PATH=/bin", "LLAMA_ARG_THREADS=1", "AGENT_API_KEY=k", "HOME=/"}))
}
