package backend

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
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
)

// clock is a fake clock: waits take no time and are written down.
type clock struct {
	mu    sync.Mutex
	waits []time.Duration
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func (c *clock) hooks() *retryHooks {
	return &retryHooks{
		now:    func() time.Time { return noon },
		jitter: func() float64 { return 0 },
		wait: func(d time.Duration) time.Duration {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.waits = append(c.waits, d)
			return 0
		},
	}
}

// reply is what the fault server does with one request. Status 0 closes the
// connection before any header.
type reply struct {
	status int
	header string // "Name: value"
	body   string
	cut    bool // close the connection in the middle of the body
}

const (
	good     = "data: {\"choices\":[{\"delta\":{\"content\":\"hello\"}}]}\n\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
	half     = "data: {\"choices\":[{\"delta\":{\"content\":\"hel\"}}]}\n\n"
	halfRune = "data: {\"choices\":[{\"delta\":{\"content\":\"na\xc3"
)

func TestRetryRules(t *testing.T) {
	const s = time.Second
	ok := reply{status: 200, body: good}
	tests := []struct {
		name    string
		replies []reply // the last one again and again
		tries   int
		waits   []time.Duration
		text    string
		err     string // empty: success
	}{
		{"at once", []reply{ok}, 1, nil, "hello", ""},
		{"408", []reply{{status: 408}, ok}, 2, []time.Duration{s / 2}, "hello", ""},
		{"409", []reply{{status: 409}, ok}, 2, []time.Duration{s / 2}, "hello", ""},
		{"429", []reply{{status: 429}, ok}, 2, []time.Duration{s / 2}, "hello", ""},
		{"500", []reply{{status: 500}, ok}, 2, []time.Duration{s / 2}, "hello", ""},
		{"503", []reply{{status: 503}, ok}, 2, []time.Duration{s / 2}, "hello", ""},
		{"connection closed before headers", []reply{{}, ok}, 2, []time.Duration{s / 2}, "hello", ""},
		{"doubling up to 8 s, then giving up", []reply{{status: 500, body: "sorry"}}, 8,
			[]time.Duration{s / 2, s, 2 * s, 4 * s, 8 * s, 8 * s, 8 * s}, "", "answered 500: sorry"},
		{"400 is final", []reply{{status: 400, body: "no"}}, 1, nil, "", "answered 400: no"},
		{"401 is final", []reply{{status: 401}}, 1, nil, "", "answered 401"},
		{"404 is final", []reply{{status: 404}}, 1, nil, "", "answered 404"},
		{"retry-after-ms", []reply{{status: 429, header: "Retry-After-Ms: 1500"}, ok}, 2, []time.Duration{1500 * time.Millisecond}, "hello", ""},
		{"retry-after seconds", []reply{{status: 503, header: "Retry-After: 7"}, ok}, 2, []time.Duration{7 * s}, "hello", ""},
		{"retry-after zero", []reply{{status: 503, header: "Retry-After: 0"}, ok}, 2, []time.Duration{0}, "hello", ""},
		{"retry-after fraction", []reply{{status: 503, header: "Retry-After: 0.25"}, ok}, 2, []time.Duration{s / 4}, "hello", ""},
		{"retry-after date", []reply{{status: 429, header: "Retry-After: " + noon.Add(30*s).Format(http.TimeFormat)}, ok}, 2, []time.Duration{30 * s}, "hello", ""},
		{"retry-after past date", []reply{{status: 429, header: "Retry-After: " + noon.Add(-30*s).Format(http.TimeFormat)}, ok}, 2, []time.Duration{0}, "hello", ""},
		{"retry-after at the limit", []reply{{status: 429, header: "Retry-After: 120"}, ok}, 2, []time.Duration{120 * s}, "hello", ""},
		{"retry-after too long", []reply{{status: 429, header: "Retry-After: 121"}, ok}, 1, nil, "", "answered 429"},
		{"retry-after huge", []reply{{status: 429, header: "Retry-After: 1e300"}, ok}, 1, nil, "", "answered 429"},
		{"retry-after date too late", []reply{{status: 429, header: "Retry-After: " + noon.Add(time.Hour).Format(http.TimeFormat)}, ok}, 1, nil, "", "answered 429"},
		{"retry-after nonsense", []reply{{status: 429, header: "Retry-After: soon"}, ok}, 2, []time.Duration{s / 2}, "hello", ""},
		{"told to retry", []reply{{status: 400, header: "X-Should-Retry: true"}, ok}, 2, []time.Duration{s / 2}, "hello", ""},
		{"told not to", []reply{{status: 500, header: "X-Should-Retry: false"}, ok}, 1, nil, "", "answered 500"},
		{"cut mid-stream", []reply{{status: 200, body: half, cut: true}, ok}, 1, nil, "hel", "in the middle of the reply"},
		{"ended without the end mark", []reply{{status: 200, body: half}, ok}, 1, nil, "hel", "in the middle of the reply"},
		{"half a rune, then cut", []reply{{status: 200, body: half + halfRune, cut: true}, ok}, 1, nil, "hel", "in the middle of the reply"},
		{"half a rune, then the end", []reply{{status: 200, body: half + halfRune}, ok}, 1, nil, "hel", "not the JSON expected"},
		{"malformed event", []reply{{status: 200, body: half + "data: {oops\n\n"}, ok}, 1, nil, "hel", "not the JSON expected"},
		{"empty body", []reply{{status: 200}, ok}, 1, nil, "", "200 with nothing"},
		{"a whole answer, not streamed", []reply{{status: 200, header: "Content-Type: application/json",
			body: "{\n\"choices\":[{\"message\":{\"content\":\"hello\"},\"finish_reason\":\"stop\"}]\n}"}}, 1, nil, "hello", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server, requests := serveReplies(t, tt.replies)
			clock := &clock{}
			retries := 7
			b, err := NewOpenAI(OpenAIConfig{ModelID: "m", ContextLength: 100, ServerIP: server.URL, APIKey: "sk-very-secret-key",
				HTTPConfig: HTTPConfig{RetriesMax: &retries}, hooks: clock.hooks()})
			require.NoError(t, err)
			t.Cleanup(func() { b.Close() })
			text, last, err := Collect(b.ChatCompletion(t.Context(), &Request{Messages: []Message{{Role: RoleUser, Content: "x"}}}))
			assert.Equal(t, tt.text, text)
			if tt.err == "" {
				require.NoError(t, err)
				assert.Equal(t, FinishStop, last.Finish)
			} else {
				require.ErrorContains(t, err, tt.err)
				assert.Empty(t, last.Finish, "half a reply was passed off as whole")
				assert.NotContains(t, err.Error(), "very-secret")
			}
			assert.Equal(t, tt.waits, clock.waits)
			seen := requests()
			require.Len(t, seen, tt.tries)
			for _, r := range seen {
				assert.Equal(t, seen[0].Header.Get("Idempotency-Key"), r.Header.Get("Idempotency-Key"))
				assert.NotEmpty(t, r.Header.Get("Idempotency-Key"))
				assert.Equal(t, seen[0].ContentLength, r.ContentLength, "the body was not sent again")
				assert.Positive(t, r.ContentLength)
			}
		})
	}
}

// serveReplies is a server that gives the replies one after the other.
func serveReplies(t *testing.T, replies []reply) (*httptest.Server, func() []*http.Request) {
	var mu sync.Mutex
	var seen []*http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		do := replies[min(len(seen), len(replies)-1)]
		clone := r.Clone(context.WithoutCancel(r.Context()))
		clone.ContentLength = int64(len(body))
		seen = append(seen, clone)
		mu.Unlock()
		if do.status == 0 {
			panic(http.ErrAbortHandler)
		}
		if name, value, ok := strings.Cut(do.header, ": "); ok {
			w.Header().Set(name, value)
		}
		w.WriteHeader(do.status)
		_, _ = io.WriteString(w, do.body)
		w.(http.Flusher).Flush()
		if do.cut {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(server.Close)
	return server, func() []*http.Request {
		mu.Lock()
		defer mu.Unlock()
		return seen
	}
}

func TestRetryJitterOnlyShortens(t *testing.T) {
	h := realHooks()
	p := retryPolicy{h}
	for attempt := range 10 {
		full := min(retryDelayFirst<<attempt, retryDelayMax)
		for range 100 {
			d := p.backoff(0, 0, attempt, nil)
			assert.LessOrEqual(t, d, full)
			assert.GreaterOrEqual(t, d, full*3/4)
		}
	}
}

func TestCancelEndsTheWait(t *testing.T) {
	server, _ := serveReplies(t, []reply{{status: 429, header: "Retry-After: 60"}})
	b, err := NewOpenAI(OpenAIConfig{ModelID: "m", ContextLength: 100, ServerIP: server.URL})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, _, err = Collect(b.ChatCompletion(ctx, &Request{Messages: []Message{{Role: RoleUser, Content: "x"}}}))
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Less(t, time.Since(start), 30*time.Second)
}

func TestCustomCA(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, good) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused certificate
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	ask := func(caFile string) error {
		b, err := NewOpenAI(OpenAIConfig{ModelID: "m", ContextLength: 100, ServerIP: server.URL, HTTPConfig: HTTPConfig{CAFile: caFile}})
		require.NoError(t, err)
		_, _, err = Collect(b.ChatCompletion(t.Context(), &Request{Messages: []Message{{Role: RoleUser, Content: "x"}}}))
		return err
	}
	assert.NoError(t, ask(file))
	err := ask("")
	var e *Error
	require.ErrorAs(t, err, &e)
	assert.Contains(t, e.Hint(), "llm.ca_file")
}

func TestProxy(t *testing.T) {
	var asked string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.String()
		_, _ = io.WriteString(w, good)
	}))
	t.Cleanup(proxy.Close)
	b, err := NewOpenAI(OpenAIConfig{ModelID: "m", ContextLength: 100, ServerIP: "http://model.invalid/v1", HTTPConfig: HTTPConfig{Proxy: proxy.URL}})
	require.NoError(t, err)
	_, _, err = Collect(b.ChatCompletion(t.Context(), &Request{Messages: []Message{{Role: RoleUser, Content: "x"}}}))
	require.NoError(t, err)
	assert.Equal(t, "http://model.invalid/v1/chat/completions", asked)
}

func TestSecretHidesItself(t *testing.T) {
	cfg := OpenAIConfig{ModelID: "m", APIKey: "sk-very-secret-key"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		assert.NotContains(t, fmt.Sprintf(format, cfg), "very-secret", format)
		assert.NotContains(t, fmt.Sprintf(format, cfg.APIKey), "very-secret", format)
	}
	assert.Equal(t, redacted, cfg.APIKey.String())
	assert.Empty(t, Secret("").String())
	assert.Equal(t, "an EMPTY key is no secret", Secret("EMPTY").redact("an EMPTY key is no secret"))
}

func TestSSEForms(t *testing.T) {
	const want = "data: {\"a\":1}\n\ndata: {\"b\":\"x y\"}\n\ndata: [DONE]\n\n"
	for name, in := range map[string]string{
		"plain":                   "data: {\"a\":1}\n\ndata: {\"b\":\"x y\"}\n\ndata: [DONE]\n\n",
		"CRLF":                    "data: {\"a\":1}\r\n\r\ndata: {\"b\":\"x y\"}\r\n\r\ndata: [DONE]\r\n\r\n",
		"CR":                      "data: {\"a\":1}\r\rdata: {\"b\":\"x y\"}\r\rdata: [DONE]\r\r",
		"no space, BOM":           "\xef\xbb\xbfdata:{\"a\":1}\n\ndata:{\"b\":\"x y\"}\n\ndata:[DONE]\n\n",
		"comments and fields":     ": hi\n\nevent: x\nid: 1\nretry: 5\ndata: {\"a\":1}\n\n:\n\ndata: {\"b\":\"x y\"}\n\ndata: [DONE]\n\n",
		"no blank lines":          "data: {\"a\":1}\ndata: {\"b\":\"x y\"}\ndata: [DONE]\n",
		"no last line end":        "data: {\"a\":1}\n\ndata: {\"b\":\"x y\"}\n\ndata: [DONE]",
		"after the end":           "data: {\"a\":1}\n\ndata: {\"b\":\"x y\"}\n\ndata: [DONE]\n\ndata: {\"c\":2}\n\n",
		"data over several lines": "data: {\ndata: \"a\":1}\n\ndata: {\"b\":\"x y\"}\n\ndata: [DONE]\n\n",
		"empty data":              "data:\n\ndata: {\"a\":1}\n\ndata: {\"b\":\"x y\"}\n\ndata: [DONE]\n\n",
	} {
		for size := 1; size < 8; size++ {
			got, err := io.ReadAll(newSSEBody(io.NopCloser(&slowReader{[]byte(in), size})))
			require.NoError(t, err, name)
			assert.Equal(t, strings.ReplaceAll(want, " ", ""), strings.ReplaceAll(string(got), " ", ""), "%s, in pieces of %d", name, size)
		}
	}
	_, err := io.ReadAll(newSSEBody(io.NopCloser(strings.NewReader("data: {\"a\":1}\n\n"))))
	assert.ErrorIs(t, err, errCutOff)
}

// slowReader gives few bytes at a time.
type slowReader struct {
	data []byte
	size int
}

func (r *slowReader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.data[:min(r.size, len(r.data))])
	r.data = r.data[n:]
	return n, nil
}

// FuzzSSE: any bytes end in an error or in lines of the one form, and how the
// bytes were divided makes no difference.
func FuzzSSE(f *testing.F) {
	f.Add([]byte(good), 3)
	f.Add([]byte("data: {\r\ndata: }\r\n\r\n: x\rdata:[DONE]"), 1)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		whole, err := io.ReadAll(newSSEBody(io.NopCloser(bytes.NewReader(in))))
		pieces, err2 := io.ReadAll(newSSEBody(io.NopCloser(&slowReader{in, 1 + (size&0x7fffffff)%16})))
		if !bytes.Equal(whole, pieces) || !errors.Is(err2, err) {
			t.Fatalf("whole %q %v, in pieces %q %v", whole, err, pieces, err2)
		}
		for line := range strings.Lines(string(whole)) {
			if line != "\n" && !strings.HasPrefix(line, "data: ") {
				t.Fatalf("line %q", line)
			}
		}
	})
}
