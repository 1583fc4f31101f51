package backend

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Servers tell the context length of their models, each in its own way.
func TestContextLengthIsAskedFor(t *testing.T) {
	for body, want := range map[string]int{
		`{"data":[{"id":"x","context_length":1},{"id":"m","context_length":2048}]}`: 2048,
		`{"data":[{"id":"m","max_model_len":4096}]}`:                                4096,
		`{"data":[{"id":"m","meta":{"n_ctx":8192,"n_ctx_train":32768}}]}`:           8192,
		`{"data":[{"id":"other","context_length":2048}]}`:                           0,
		`{"data":[{"id":"m"}]}`:                                                     0, `<html>`: 0, ``: 0, `{"data":[{"id":"m","context_length":-5}]}`: 0,
	} {
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			assert.Equal(t, "/v1/models", r.URL.Path)
			assert.Equal(t, "Bearer k", r.Header.Get("Authorization"))
			fmt.Fprint(w, body)
		}))
		o, err := NewOpenAI(OpenAIConfig{ModelID: "m", ServerIP: h.URL + "/v1", APIKey: "k"})
		h.Close()
		if want == 0 {
			assert.ErrorContains(t, err, "context length of model m is not known", body)
			continue
		}
		require.NoError(t, err, body)
		assert.Equal(t, want, o.ContextLength(), body)
	}
}

// A server that saw fewer tokens than were sent has cut the prompt.
func TestCutPrompts(t *testing.T) {
	o := &OpenAI{cfg: OpenAIConfig{ModelID: "m", ContextLength: 8192}}
	for _, c := range []struct {
		tokens, seen int
		exact, cut   bool
	}{
		{3800, 2048, false, true}, {3800, 3100, false, false}, {3800, 1800, false, true}, {5000, 4096, false, true}, {4100, 4096, false, false},
		{3800, 3700, true, false}, {3800, 3300, true, true}, {600, 512, false, false}, {10, 1, false, false}, {9000, 8192, true, false}, {9500, 8192, true, true},
	} {
		err := o.checkNotCut(Count{Tokens: c.tokens, Exact: c.exact}, c.seen)
		assert.Equal(t, c.cut, err != nil, "%+v", c)
	}
}
