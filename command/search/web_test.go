package search

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"agent/command"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const testKey = "BSA-very-secret-key"

// serve starts a provider.
func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func answer(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	}
}

// webCommand is the command search with a web provider.
func webCommand(t *testing.T, c Config) command.Command {
	t.Helper()
	all := newSearcher(t, c).Commands()
	require.Len(t, all, 2)
	assert.Equal(t, "search_files", all[1].Spec().Name)
	assert.Equal(t, command.EffectRead, all[1].Spec().Effect)
	assert.Equal(t, "search", all[0].Spec().Name)
	assert.True(t, all[0].Spec().Effect.Consequential(), "reaching out needs approval")
	return all[0]
}

func TestSearXNG(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/sub/search", r.URL.Path)
		assert.Equal(t, "go landlock", r.URL.Query().Get("q"))
		assert.Equal(t, "json", r.URL.Query().Get("format"))
		answer(`{"query":"go landlock","results":[
			{"url":"https://example.org/a","title":"Landlock &amp; Go","content":"A <b>sandbox</b>\nfor\u202e you.","engine":"x"},
			{"url":"https://example.org/a","title":"twice","content":""},
			{"url":"javascript:alert(1)","title":"no web address","content":""},
			{"url":"https://example.org/b","title":"B","content":""}]}`)(w, r)
	})
	r := run(t, webCommand(t, Config{Provider: SearXNG, URL: server.URL + "/sub/"}), &command.Env{}, "go  landlock")
	assert.Equal(t, "2 web results for \"go landlock\":\n1. Landlock & Go\n   https://example.org/a\n   A sandbox for you.\n2. B\n   https://example.org/b", r.Text)
}

func TestBrave(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, testKey, r.Header.Get("X-Subscription-Token"))
		assert.Equal(t, "3", r.URL.Query().Get("count"))
		assert.NotContains(t, r.URL.String(), testKey)
		var list []string
		for i := range 9 {
			list = append(list, fmt.Sprintf(`{"title":"T%d","url":"https://example.org/%d","description":"%s"}`, i, i, strings.Repeat("long ", 200)))
		}
		answer(`{"type":"search","web":{"results":[`+strings.Join(list, ",")+`]}}`)(w, r)
	})
	for name, c := range map[string]Config{
		"key from the configuration": {APIKey: testKey},
		"key from the metadata":      {},
	} {
		t.Run(name, func(t *testing.T) {
			c.Provider, c.URL, c.Results = Brave, server.URL, 3
			env := &command.Env{Metadata: map[string]string{}}
			if c.APIKey == "" {
				env.Metadata[APIKeyMetadata] = testKey
			}
			r := run(t, webCommand(t, c), env, "x")
			assert.Contains(t, r.Text, "3 web results")
			assert.Contains(t, r.Text, "3. T2\n   https://example.org/2\n   long long")
			assert.Less(t, len(r.Text), 3*(textBytesMax+100))
			assert.NotContains(t, r.Text, testKey)
		})
	}
}

func TestNothingFoundOnTheWeb(t *testing.T) {
	for provider, body := range map[string]string{SearXNG: `{"results":[]}`, Brave: `{"type":"search"}`} {
		server := serve(t, answer(body))
		r := run(t, webCommand(t, Config{Provider: provider, URL: server.URL, APIKey: testKey}), &command.Env{}, "x")
		assert.Equal(t, `(The web search found nothing for "x".)`, r.Text, provider)
	}
}

func TestBadAnswersAreOneClearError(t *testing.T) {
	status := func(code int, header, value, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if header != "" {
				w.Header().Set(header, value)
			}
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	tests := []struct {
		name, provider string
		handler        http.HandlerFunc
		want, hint     string
	}{
		{"html", SearXNG, status(200, "Content-Type", "text/html", "<html>hello"), "search with searxng: it answered with a web page instead of JSON", "search.url"},
		{"no json", Brave, status(200, "Content-Type", "text/plain", "hello"), `search with brave: its answer is no JSON (text/plain, begins with "hello")`, ""},
		{"cut json", Brave, answer(`{"web":{"res`), "its answer is no JSON", ""},
		{"other json", Brave, answer(`{"ok":true}`), "its answer can't be read: it has no list of results", ""},
		{"other json", SearXNG, answer(`[1]`), "its answer can't be read", ""},
		{"engines down", SearXNG, answer(`{"results":[],"unresponsive_engines":[["google","timeout"]]}`), "none of its engines answered: [[google timeout]]", ""},
		{"too many", Brave, status(429, "Retry-After", "7", `{}`), "too many searches (status 429)", "wait 7 s before the next one"},
		{"too many until a date", Brave, status(429, "Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT", `{}`), "too many searches (status 429)", "wait before the next one"},
		{"wrong key", Brave, status(401, "", "", testKey), "it refused with status 401 Unauthorized: the API key may be wrong", "check search.api_key"},
		{"json not allowed", SearXNG, status(403, "", "", ""), "status 403 Forbidden: it may not allow the JSON format", "settings.yml"},
		{"broken", SearXNG, status(502, "", "", "<html>"), "it refused with status 502 Bad Gateway", "try again later"},
		{"redirect to elsewhere", Brave, status(302, "Location", "http://other.invalid/", ""), "can't be reached: it redirects to another host", "search.url"},
		{"endless", SearXNG, func(w http.ResponseWriter, _ *http.Request) {
			block := []byte(strings.Repeat(" ", 1<<20))
			for range answerBytesMax>>20 + 1 {
				_, _ = w.Write(block)
			}
		}, "its answer has more than 4 MiB", ""},
		{"breaks off", SearXNG, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"results"`)
		}, "its answer broke off", ""},
		{"key in the answer", Brave, answer(`{"web":{"results":"` + testKey + `"}}`), "its answer can't be read", ""},
	}
	for _, tt := range tests {
		t.Run(tt.provider+" "+tt.name, func(t *testing.T) {
			c := webCommand(t, Config{Provider: tt.provider, URL: serve(t, tt.handler).URL, APIKey: testKey})
			_, err := c.Run(context.Background(), &command.Env{}, callFor("x"))
			require.ErrorContains(t, err, tt.want)
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Contains(t, e.Hint(), tt.hint)
			assert.NotContains(t, err.Error()+e.Hint(), testKey)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestSilentProvider(t *testing.T) {
	released := make(chan struct{})
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-released:
		case <-r.Context().Done():
		}
	})
	defer close(released)
	c := webCommand(t, Config{Provider: SearXNG, URL: server.URL, Timeout: 20 * time.Millisecond})
	_, err := c.Run(context.Background(), &command.Env{}, callFor("x"))
	assert.EqualError(t, err, "search with searxng: no answer within 20ms")

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = c.Run(ctx, &command.Env{}, callFor("x"))
	assert.ErrorIs(t, err, context.Canceled)
}

func TestNobodyThere(t *testing.T) {
	server := serve(t, answer(`{}`))
	server.Close()
	_, err := webCommand(t, Config{Provider: SearXNG, URL: server.URL}).Run(context.Background(), &command.Env{}, callFor("private words"))
	assert.ErrorContains(t, err, "can't be reached")
	assert.NotContains(t, err.Error(), "private", "an error does not repeat what is searched for")
}

func TestNoKey(t *testing.T) {
	asked := false
	server := serve(t, func(http.ResponseWriter, *http.Request) { asked = true })
	_, err := webCommand(t, Config{Provider: Brave, URL: server.URL}).Run(context.Background(), &command.Env{}, callFor("x"))
	assert.EqualError(t, err, "search with brave: there is no API key")
	assert.False(t, asked)
}

func TestConfigIsChecked(t *testing.T) {
	for _, tt := range []struct {
		config Config
		want   string
	}{
		{Config{Provider: "searxgn"}, `unknown provider "searxgn" (did you mean "searxng"?)`},
		{Config{Provider: SearXNG}, "needs the URL of an instance"},
		{Config{Provider: SearXNG, URL: "localhost:8888"}, "no http or https URL"},
		{Config{Provider: Brave, URL: "file:///etc/passwd"}, "no http or https URL"},
	} {
		_, err := New(tt.config)
		assert.ErrorContains(t, err, tt.want)
	}
}

// The keys that models use for what they look for.
func TestQueryOf(t *testing.T) {
	for want, content := range map[string]string{
		"a b": `[{"query":"a  b"}]`, "c": `[{"q":"c"}]`, "d e": `[{"query":"d"},{"search":"e"}]`, "": `[{"other":"x"},{"query":3}]`,
	} {
		var c command.Call
		require.NoError(t, json.Unmarshal([]byte(content), &c.Content))
		assert.Equal(t, want, queryOf(&c))
	}
	assert.LessOrEqual(t, len(queryOf(callFor(strings.Repeat("é", 1000)))), queryBytesMax+len("…"))
}
