package serve_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/internal/serve"
)

// fleet counts what is loaded.
type fleet struct {
	mu     sync.Mutex
	loaded map[string]int // how often
	here   map[string]bool
	room   int // models beside the first
}

type closing struct {
	*backend.Scripted
	close func()
}

func (c closing) Close() error                    { c.close(); return nil }
func (c closing) Unwrap() backend.LanguageBackend { return c.Scripted }

func (f *fleet) another(name string) serve.Another {
	return serve.Another{Name: name, Open: func(context.Context) (backend.LanguageBackend, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.here) >= f.room {
			return nil, errors.New("no memory")
		}
		f.loaded[name]++
		f.here[name] = true
		b := backend.NewScripted(backend.ScriptedConfig{ModelID: name, ContextLength: 1000, Reply: func(context.Context, *backend.Request) (string, error) { return "I am " + name, nil }})
		return closing{b, func() { f.mu.Lock(); delete(f.here, name); f.mu.Unlock() }}, nil
	}}
}

func TestOtherModels(t *testing.T) {
	f := &fleet{loaded: map[string]int{}, here: map[string]bool{}, room: 2}
	first := backend.NewScripted(backend.ScriptedConfig{ModelID: "first", Reply: func(context.Context, *backend.Request) (string, error) { return "I am first", nil }})
	s, err := serve.New(first, serve.Config{Others: []serve.Another{f.another("a"), f.another("b"), f.another("c")}, KeepAlive: 300 * time.Millisecond})
	require.NoError(t, err)
	h := httptest.NewServer(s.Handler())
	defer h.Close()
	ask := func(model string) string {
		a := post(t, h.URL+"/v1/chat/completions", `{"model":"`+model+`","messages":[{"role":"user","content":"who?"}]}`)
		require.Equal(t, 200, a.status, a.body)
		return a.body
	}
	assert.Contains(t, get(t, h.URL+"/v1/models").body, `"state":"not loaded"`)
	assert.Contains(t, ask("first"), "I am first")
	assert.Empty(t, f.loaded, "nothing is loaded before it is asked for")
	for _, name := range []string{"a", "b", "a", "c", "a"} {
		assert.Contains(t, ask(name), "I am "+name)
	}
	assert.Equal(t, map[string]int{"a": 1, "b": 1, "c": 1}, f.loaded, "b was longest unused when c needed its room")
	assert.Contains(t, post(t, h.URL+"/api/chat", `{"model":"a:latest","stream":false,"messages":[{"role":"user","content":"who?"}]}`).body, "I am a")
	assert.Contains(t, post(t, h.URL+"/v1/chat/completions", `{"model":"none","messages":[{"role":"user","content":"x"}]}`).body, "first, a, b, c")
	assert.Eventually(t, func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.here) == 0 }, 5*time.Second, 10*time.Millisecond, "nobody uses them")
	assert.Contains(t, ask("b"), "I am b")
	f.mu.Lock()
	f.room = 0
	f.mu.Unlock()
	a := post(t, h.URL+"/v1/chat/completions", `{"model":"c","messages":[{"role":"user","content":"x"}]}`)
	assert.Equal(t, 503, a.status)
	assert.Contains(t, a.body, "no memory")
	_, err = serve.New(first, serve.Config{Others: []serve.Another{f.another("first")}})
	assert.ErrorContains(t, err, "two models")
}
