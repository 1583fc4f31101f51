package serve

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"agent/backend"
)

// metrics are what /metrics tells, in Prometheus's text format. They are few
// and of fixed names, so that they are written here and not by its library,
// which would bring eight modules.
type metrics struct {
	server *Server

	mu       sync.Mutex
	requests map[requestKey]int64
	took     map[string]*histogram // by endpoint

	firstToken *histogram
	prompt     atomic.Int64
	cached     atomic.Int64
	evaluated  atomic.Int64
	completion atomic.Int64
}

type requestKey struct {
	path   string
	status int
}

// secondsBounds are the upper bounds of the histograms' buckets.
var secondsBounds = [...]float64{0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300}

// histogram counts durations.
type histogram struct {
	mu      sync.Mutex
	buckets [len(secondsBounds) + 1]int64
	seconds float64
}

func (h *histogram) observe(d time.Duration) {
	s := d.Seconds()
	i, _ := slices.BinarySearch(secondsBounds[:], s)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buckets[i]++
	h.seconds += s
}

// write writes the series of a histogram with cumulative buckets.
func (h *histogram) write(w io.Writer, name, labels string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sum := int64(0)
	comma := ""
	if labels != "" {
		comma = labels + ","
	}
	for i, n := range h.buckets {
		sum += n
		bound := "+Inf"
		if i < len(secondsBounds) {
			bound = strconv.FormatFloat(secondsBounds[i], 'g', -1, 64)
		}
		fmt.Fprintf(w, "%s_bucket{%sle=%q} %d\n", name, comma, bound, sum)
	}
	if labels != "" {
		labels = "{" + labels + "}"
	}
	fmt.Fprintf(w, "%s_sum%s %g\n%s_count%s %d\n", name, labels, h.seconds, name, labels, sum)
}

func newMetrics(s *Server) *metrics {
	return &metrics{server: s, requests: map[requestKey]int64{},
		took: map[string]*histogram{}, firstToken: &histogram{}}
}

// request counts one request. Paths are those of routes, a small fixed set.
func (m *metrics) request(path string, status int, took time.Duration) {
	m.mu.Lock()
	m.requests[requestKey{path, status}]++
	h, ok := m.took[path]
	if !ok {
		h = &histogram{}
		m.took[path] = h
	}
	m.mu.Unlock()
	h.observe(took)
}

// usage counts the tokens of one reply.
func (m *metrics) usage(u *backend.Usage) {
	m.prompt.Add(int64(u.PromptTokens))
	m.cached.Add(int64(u.CachedTokens))
	m.evaluated.Add(int64(u.EvaluatedTokens))
	m.completion.Add(int64(u.CompletionTokens))
}

// serveMetrics serves /metrics.
func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, err := io.WriteString(w, s.metrics.text())
	return err
}

// text is everything in Prometheus's format.
func (m *metrics) text() string {
	var out strings.Builder
	head := func(name, kind, help string) {
		fmt.Fprintf(&out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	one := func(name, kind, help string, v any) {
		head(name, kind, help)
		fmt.Fprintf(&out, "%s %v\n", name, v)
	}
	head("agent_info", "gauge", "What is served; always 1.")
	fmt.Fprintf(&out, "agent_info{model=%s} 1\n", label(m.server.first.names[0]))
	one("agent_context_length_tokens", "gauge", "The most tokens of prompt and reply together.",
		m.server.first.backend.ContextLength())
	one("agent_start_time_seconds", "gauge", "When the server started, in Unix time.",
		m.server.started.Unix())
	one("agent_replies_in_flight", "gauge", "Replies in work and waiting.", m.server.first.load.Load())
	one("agent_prompt_tokens_total", "counter", "Prompt tokens of all replies, as sent.",
		m.prompt.Load())
	one("agent_prompt_cached_tokens_total", "counter", "Prompt tokens taken from an earlier request.",
		m.cached.Load())
	one("agent_prompt_evaluated_tokens_total", "counter", "Prompt tokens computed.",
		m.evaluated.Load())
	one("agent_completion_tokens_total", "counter", "Tokens generated.", m.completion.Load())
	if w := m.server.worker; w != nil {
		one("agent_cluster_registered", "gauge", "1 while the FastChat controller knows this worker.",
			map[bool]int{true: 1}[w.registered.Load()])
	}
	m.writeRequests(&out, head)
	head("agent_first_token_seconds", "histogram",
		"From a request's arrival to its reply's first token.")
	m.firstToken.write(&out, "agent_first_token_seconds", "")
	return out.String()
}

func (m *metrics) writeRequests(out io.Writer, head func(name, kind, help string)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	head("agent_requests_total", "counter",
		"Requests answered, by endpoint and HTTP status; 499 is a client that went away.")
	lines := make([]string, 0, len(m.requests))
	for k, n := range m.requests {
		lines = append(lines, fmt.Sprintf("agent_requests_total{path=%s,status=\"%d\"} %d\n",
			label(k.path), k.status, n))
	}
	slices.Sort(lines)
	_, _ = io.WriteString(out, strings.Join(lines, ""))
	head("agent_request_seconds", "histogram", "How long requests took, by endpoint.")
	for _, p := range slices.Sorted(maps.Keys(m.took)) {
		m.took[p].write(out, "agent_request_seconds", "path="+label(p))
	}
}

// label quotes a label's value as the format wants it.
func label(v string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(v) + `"`
}
