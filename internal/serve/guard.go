package serve

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"agent/backend"
	"agent/internal/legible"
)

// Door says who may call a server.
type Door struct {
	APIKey  backend.Secret // as in [Config]
	Origins []string
}

// Keep wraps h: it answers only those who have the key, if one is set, and no page of another
// origin.
func (d Door) Keep(h http.Handler) (http.Handler, error) {
	return d.guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if api, ok := errors.AsType[*apiError](d.checkKey(w, r)); ok {
			api.write(w, r)
			return
		}
		h.ServeHTTP(w, r)
	}))
}

// guard wraps all routes with what protects the server from web pages: a page
// of another origin may not call it unless its origin is configured, and
// without a key the Host must be this machine's, so that a page can't reach it
// under a name of its own (DNS rebinding).
func (d Door) guard(next http.Handler) (http.Handler, error) {
	cross := http.NewCrossOriginProtection()
	for _, o := range d.Origins {
		if err := cross.AddTrustedOrigin(o); err != nil {
			return nil, fmt.Errorf("serve: origin %q: %w", o, err)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !d.hostAllowed(r) {
			(&apiError{status: http.StatusForbidden, code: "host_not_allowed",
				message: "This server answers without a key only under a loopback name."}).write(w, r)
			return
		}
		if err := cross.Check(r); err != nil && r.Method != http.MethodOptions {
			(&apiError{status: http.StatusForbidden, code: "origin_not_allowed",
				message: "Pages of this origin may not call this server."}).write(w, r)
			return
		}
		if d.allowOrigin(w, r) {
			next.ServeHTTP(w, r)
		}
	}), nil
}

// hostAllowed checks the Host header of a server that asks for no key.
func (d Door) hostAllowed(r *http.Request) bool {
	if d.APIKey != "" {
		return true
	}
	host := withoutPort(r.Host)
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	return host == "" || strings.EqualFold(host, "localhost")
}

// withoutPort is the name or address of a Host header.
func withoutPort(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.Trim(host, "[]")
}

// allowOrigin answers CORS for configured origins. False: it was a preflight,
// and is answered.
func (d Door) allowOrigin(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || len(d.Origins) == 0 {
		return true
	}
	w.Header().Add("Vary", "Origin")
	if !slices.Contains(d.Origins, origin) {
		return true
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return true
	}
	w.Header().Set("Access-Control-Allow-Methods", "GET, POST")
	w.Header().Add("Vary", "Access-Control-Request-Headers")
	w.Header().Set("Access-Control-Allow-Headers",
		allowedHeaders(r.Header.Values("Access-Control-Request-Headers")))
	w.Header().Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return false
}

// headerName is what HTTP takes as the name of a header.
var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// allowedHeaders are the headers that a page of a trusted origin asked to send.
// Any are allowed, since official clients send headers of their own that say
// what they run on; what is no name is left out.
func allowedHeaders(asked []string) string {
	var names []string
	for name := range strings.SplitSeq(strings.Join(asked, ","), ",") {
		if name = strings.TrimSpace(name); headerName.MatchString(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "Authorization, Content-Type"
	}
	return strings.Join(names, ", ")
}

// handle wraps one route: method, key, errors, panics, log and metrics.
func (s *Server) handle(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		out := &recorder{ResponseWriter: w}
		r = r.WithContext(context.WithValue(r.Context(), costKey{}, &out.cost))
		err := s.call(rt, out, r)
		if err != nil {
			err = answerError(out, r, err)
		}
		took := time.Since(start)
		s.metrics.request(rt.path, out.status, took)
		s.logRequest(rt, r, out, took, err)
	})
}

// call checks a request and carries it out; a panic becomes an error.
func (s *Server) call(rt route, w *recorder, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			logPanic(s.log, rt.path, p, debug.Stack())
			err = errMistake
		}
	}()
	if rt.method != "" && r.Method != rt.method &&
		(rt.method != http.MethodGet || r.Method != http.MethodHead) {
		w.Header().Set("Allow", rt.method)
		return &apiError{status: http.StatusMethodNotAllowed, code: "method_not_allowed",
			message: fmt.Sprintf("%s takes %s, not %s.", r.URL.Path, rt.method, r.Method)}
	}
	if rt.cluster {
		err = s.worker.admit(r)
	} else if !rt.open {
		err = s.door().checkKey(w, r)
	}
	if err != nil {
		return err
	}
	if rt.serve != nil {
		return rt.serve(w, r)
	}
	var f *fields
	if rt.method == http.MethodPost {
		if f, err = readFields(w, r); err != nil {
			return err
		}
	}
	m, release, err := s.target(r.Context(), f)
	if err != nil {
		return err
	}
	defer release()
	return rt.ask(m, f, w, r)
}

// logPanic records a mistake of this program with where it was made.
func logPanic(log *slog.Logger, path string, value any, stack []byte) {
	log.Error("panic", "path", path, "panic", value, "stack", string(stack))
}

// checkKey compares the client's key in constant time, over hashes so that
// not even its length shows.
func (d Door) checkKey(w http.ResponseWriter, r *http.Request) error {
	if d.APIKey == "" {
		return nil
	}
	scheme, bearer, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		bearer = ""
	}
	want := sha256.Sum256([]byte(string(d.APIKey)))
	for _, key := range []string{bearer, r.Header.Get("X-Api-Key")} { // the latter is Anthropic's
		have := sha256.Sum256([]byte(strings.TrimSpace(key)))
		if subtle.ConstantTimeCompare(have[:], want[:]) == 1 {
			return nil
		}
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	return &apiError{status: http.StatusUnauthorized, code: "invalid_api_key",
		message: "Incorrect or missing API key. Send it as: Authorization: Bearer KEY."}
}

// answerError tells the client what went wrong, unless it is gone or has part
// of an answer already, and returns what to log.
func answerError(w *recorder, r *http.Request, err error) error {
	cause := err
	err = explain(r.Context(), err)
	var api *apiError
	if errors.As(err, &api) && w.status == 0 {
		api = api.named(r.URL.Path, cause)
		err = api
		api.write(w, r)
	}
	if errors.Is(err, errGone) && w.status == 0 {
		w.status = statusGone
	}
	return err
}

// statusGone is what logs and metrics show for a client that went away before
// an answer, as nginx has it.
const statusGone = 499

// logRequest writes one line, with no text of the request.
func (s *Server) logRequest(rt route, r *http.Request, w *recorder, took time.Duration, err error) {
	attrs := []any{"method", r.Method, "path", rt.path, "status", w.status, "ms", took.Milliseconds(),
		"from", r.RemoteAddr}
	var api *apiError
	if errors.As(err, &api) && api.code != "" {
		attrs = append(attrs, "code", api.code)
	}
	if api != nil && api.code == "internal_error" {
		s.log.Error("request", append(attrs, "error", api.message)...)
		return
	}
	if u := w.cost.of(); u.PromptTokens > 0 {
		attrs = append(attrs, "prompt_tokens", u.PromptTokens, "cached_tokens", u.CachedTokens,
			"completion_tokens", u.CompletionTokens)
	}
	if w.status == http.StatusOK && (rt.path == "/health" || rt.path == "/metrics" ||
		rt.path == "/worker_get_status") {
		s.log.Debug("request", attrs...)
		return
	}
	s.log.Info("request", attrs...)
}

// costKey finds, in a request's context, where its tokens are counted.
type costKey struct{}

// cost is what the replies of one request cost.
type cost struct {
	mu    sync.Mutex
	usage backend.Usage
}

func (c *cost) add(u *backend.Usage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.usage.Add(*u)
}

func (c *cost) of() backend.Usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.usage
}

// recorder remembers the status of a response, and what it cost.
type recorder struct {
	http.ResponseWriter
	status int
	cost   cost
}

// WriteHeader records and sends the status.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController find the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// writeJSON sends a whole answer.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeWithin))
	w.WriteHeader(status)
	if _, err := w.Write(append(data, '\n')); err != nil {
		return errGone
	}
	return nil
}

// readFields reads a body that is an object.
func readFields(w http.ResponseWriter, r *http.Request) (*fields, error) {
	data, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	return parseFields(data)
}

// readBody reads a request's body within limits of size and time. The time
// limit is lifted afterwards: a deadline that stays on the connection would
// look like a client that goes away.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(bodyWithin))
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		return nil, &apiError{status: http.StatusRequestEntityTooLarge, code: "request_too_large",
			message: fmt.Sprintf("The body has more than %d bytes.", tooBig.Limit)}
	case err != nil:
		return nil, &apiError{status: http.StatusRequestTimeout, code: "body_incomplete",
			message: "The body did not arrive in time or whole."}
	}
	_ = conn.SetReadDeadline(time.Time{})
	if err := legible.CheckJSON(data); err != nil {
		return nil, &apiError{status: http.StatusBadRequest, code: "invalid_json",
			message: "The body is not valid: " + err.Error() + "."}
	}
	return data, nil
}
