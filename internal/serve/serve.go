// Package serve puts any [backend.LanguageBackend] behind HTTP: as a server
// that speaks OpenAI's protocol, and as a worker of a FastChat cluster.
//
// Make a [Server] with [New] and run it with [Server.Serve], or mount
// [Server.Handler]. The endpoints are described in docs/serve.md.
//
// Promises: a request is carried out as it was asked or refused with a reason
// that names the field, never partly; a prompt that does not fit is refused
// with both numbers; a client that goes away stops its work; nothing but
// loopback is served without a key; neither keys nor prompts are logged.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"agent/backend"
	"agent/internal/near"
)

// Config says how to serve. The zero value of a field is its default.
type Config struct {
	// ModelNames are the names under which clients ask for the model. The first
	// is the one that answers bear. Default: the backend's ModelID, without
	// folders and ".gguf".
	ModelNames []string
	// APIKey is what clients send as "Authorization: Bearer KEY". Without one
	// only loopback is served.
	APIKey backend.Secret
	// Origins are web origins, like "https://chat.example", whose pages may call
	// this server. Default: none.
	Origins []string
	// RequestsMax bounds the replies in work and waiting, each of a request's n
	// counted; more are refused with 429. Default RequestsMaxDefault.
	RequestsMax int
	// FirstTokenWithin bounds waiting and reading the prompt, until the reply's
	// first token; after that a request is refused with 503.
	FirstTokenWithin time.Duration
	// RequestWithin bounds a whole request.
	RequestWithin time.Duration
	// DrainWithin is how long requests in work may go on after a shutdown began.
	DrainWithin time.Duration
	// Worker makes the server a worker of a FastChat cluster too.
	Worker *WorkerConfig
	// Others are served too, each under its name.
	Others []Another
	// KeepAlive is how long another model stays loaded without use; below 0: for good. Default
	// KeepAliveDefault.
	KeepAlive time.Duration
	// Page is what browsers get at / and below /page/, without a key. nil: nothing.
	Page http.Handler
	// Tasks answers below /tasks, to those who have the key. nil: no tasks are worked on.
	Tasks http.Handler
	// Log gets one line for each request, with no text of it. nil: none.
	Log *slog.Logger
}

// Defaults and limits of a server.
const (
	RequestsMaxDefault      = 256
	FirstTokenWithinDefault = 10 * time.Minute
	RequestWithinDefault    = time.Hour
	DrainWithinDefault      = 30 * time.Second

	bodyBytesMax   = 16 << 20
	headerBytesMax = 64 << 10
	headerWithin   = 10 * time.Second // for a request's header to arrive
	bodyWithin     = time.Minute      // for its body
	idleWithin     = 2 * time.Minute  // between requests of one connection
	writeWithin    = time.Minute      // for a client to take one event
	retryAfter     = 2 * time.Second  // what refused clients are told to wait

	choicesMax       = 128 // replies of one request: n, times prompts
	stopStringsMax   = 16
	stopTokensMax    = 64
	embeddingsMax    = 2048 // texts of one request
	questionsMax     = 64   // of one decisions request
	decisionsMin     = 2    // choices of a question
	decisionsMax     = 255
	completionTokens = 16 // max_tokens of /v1/completions when absent, as the protocol has it
)

// Server serves one backend. It is safe for concurrent use.
type Server struct {
	cfg       Config
	backend   backend.LanguageBackend
	caps      backend.Capabilities
	names     []string
	started   time.Time
	log       *slog.Logger
	handler   http.Handler
	metrics   *metrics
	worker    *worker // nil: no cluster
	responses responseStore
	others    []*other

	load     atomic.Int64 // replies in work and waiting
	draining atomic.Bool
}

// New makes a server of b, which stays the caller's to close.
func New(b backend.LanguageBackend, cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, backend: b, caps: backend.CapabilitiesOf(b), started: time.Now(), log: cfg.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	orDefault(&s.cfg.RequestsMax, RequestsMaxDefault)
	orDefault(&s.cfg.FirstTokenWithin, FirstTokenWithinDefault)
	orDefault(&s.cfg.RequestWithin, RequestWithinDefault)
	orDefault(&s.cfg.DrainWithin, DrainWithinDefault)
	if s.cfg.KeepAlive == 0 {
		s.cfg.KeepAlive = KeepAliveDefault
	}
	if err := s.setNames(); err != nil {
		return nil, err
	}
	for _, a := range cfg.Others {
		if slices.Contains(s.names, a.Name) || s.another(a.Name) != nil {
			return nil, fmt.Errorf("serve: two models are called %q", a.Name)
		}
		s.others = append(s.others, &other{Another: a, of: s})
	}
	s.metrics = newMetrics(s)
	if cfg.Worker != nil {
		w, err := newWorker(s, *cfg.Worker)
		if err != nil {
			return nil, err
		}
		s.worker = w
	}
	h, err := s.routes()
	if err != nil {
		return nil, err
	}
	s.handler = h
	return s, nil
}

func orDefault[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

func (s *Server) setNames() error {
	for _, n := range s.cfg.ModelNames {
		if n = strings.TrimSpace(n); n == "" {
			return errors.New("serve: an empty model name")
		}
		s.names = append(s.names, n)
	}
	if len(s.names) == 0 {
		id := s.backend.ModelID()
		s.names = []string{strings.TrimSuffix(path.Base(strings.ReplaceAll(id, `\`, "/")), ".gguf")}
	}
	return nil
}

func (s *Server) door() Door { return Door{s.cfg.APIKey, s.cfg.Origins} }

// Usage is what all replies so far cost.
func (s *Server) Usage() backend.Usage {
	m := s.metrics
	return backend.Usage{PromptTokens: int(m.prompt.Load()), EvaluatedTokens: int(m.evaluated.Load()), CachedTokens: int(m.cached.Load()),
		CompletionTokens: int(m.completion.Load())}
}

// Handler serves all endpoints, with the checks of keys and origins.
func (s *Server) Handler() http.Handler { return s.handler }

// BindError refuses to serve strangers without a key.
type BindError struct{ Addr string }

func (e *BindError) Error() string {
	return fmt.Sprintf("serve: %s is not a loopback address, and no API key is set", e.Addr)
}

// Hint says what a person can do about it.
func (e *BindError) Hint() string {
	return "set AGENT_API_KEY to a long random text that clients then send, or listen on 127.0.0.1"
}

// CheckBind refuses an address that others can reach unless there is a key.
func CheckBind(addr net.Addr, key backend.Secret) error {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() || key != "" {
		return nil
	}
	return &BindError{Addr: addr.String()}
}

// Serve answers on l until ctx ends; then it stops accepting, lets requests in
// work finish within DrainWithin, cancels the others and returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if err := CheckBind(l.Addr(), s.cfg.APIKey); err != nil {
		l.Close()
		return err
	}
	work, cancelWork := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancelWork(nil)
	h := httpServer(work, s.handler, s.log)
	failed := make(chan error, 1)
	go func() { failed <- h.Serve(l) }()
	joined := s.join(ctx, l.Addr())
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.drain(ctx, h, cancelWork)
	joined.Wait()
	s.closeOthers()
	return nil
}

func httpServer(work context.Context, h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerWithin,
		IdleTimeout:       idleWithin,
		MaxHeaderBytes:    headerBytesMax,
		BaseContext:       func(net.Listener) context.Context { return work },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// Serve answers on l, through the door, until ctx ends, which also ends the
// requests in work.
func (d Door) Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	kept, err := d.Keep(h)
	if err == nil {
		err = CheckBind(l.Addr(), d.APIKey)
	}
	if err != nil {
		l.Close()
		return err
	}
	server := httpServer(ctx, kept, log)
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// join registers with the cluster, if there is one, and keeps it up.
func (s *Server) join(ctx context.Context, addr net.Addr) *sync.WaitGroup {
	var wg sync.WaitGroup
	if s.worker != nil {
		wg.Go(func() { s.worker.stay(ctx, addr) })
	}
	return &wg
}

// drain ends an HTTP server politely, then firmly.
func (s *Server) drain(ctx context.Context, h *http.Server, cancelWork context.CancelCauseFunc) {
	s.draining.Store(true)
	if n := s.load.Load(); n > 0 {
		s.log.Info("shutting down; waiting for replies in work", "replies", n, "at_most", s.cfg.DrainWithin)
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.DrainWithin)
	defer cancel()
	if h.Shutdown(within) == nil {
		return
	}
	cancelWork(errShutdown)
	const lastWords = 2 * time.Second
	within, cancel = context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	if h.Shutdown(within) != nil {
		h.Close()
	}
}

// route is one endpoint.
type route struct {
	method, path string
	serve        func(*Server, http.ResponseWriter, *http.Request) error
	open         bool // no key needed
	cluster      bool // for members of the FastChat cluster only
}

// endpoints are all routes but the worker's.
func endpoints() []route {
	return []route{
		{method: http.MethodGet, path: "/health", serve: (*Server).health, open: true},
		{method: http.MethodGet, path: "/metrics", serve: (*Server).serveMetrics},
		{method: http.MethodGet, path: "/v1/models", serve: (*Server).listModels},
		{method: http.MethodGet, path: "/v1/models/{id...}", serve: (*Server).showModel},
		{method: http.MethodPost, path: "/v1/chat/completions", serve: (*Server).chat},
		{method: http.MethodPost, path: messagesPath, serve: (*Server).messages},
		{method: http.MethodPost, path: messagesPath + "/count_tokens", serve: (*Server).countMessages},
		{method: http.MethodPost, path: "/v1/responses", serve: (*Server).response},
		{method: http.MethodPost, path: "/v1/completions", serve: (*Server).completions},
		{method: http.MethodPost, path: "/v1/embeddings", serve: (*Server).embeddings},
		{method: http.MethodPost, path: "/v1/decisions", serve: (*Server).decisions},
		{method: http.MethodPost, path: "/tokenize", serve: (*Server).tokenize},
		{method: http.MethodPost, path: "/detokenize", serve: (*Server).detokenize},
		{method: http.MethodGet, path: "/tokenizer_info", serve: (*Server).tokenizerInfo},
	}
}

// routes builds the handler.
func (s *Server) routes() (http.Handler, error) {
	mux := http.NewServeMux()
	all := append(endpoints(), ollamaEndpoints()...)
	if s.worker != nil {
		all = append(all, workerEndpoints()...)
	}
	for _, p := range []struct {
		handler http.Handler
		paths   []string
		open    bool
	}{{s.cfg.Page, []string{"/{$}", "/page/"}, true}, {s.cfg.Tasks, []string{"/tasks", "/tasks/"}, false}} {
		for _, path := range p.paths {
			if p.handler != nil {
				all = append(all, route{path: path, serve: pass(p.handler), open: p.open})
			}
		}
	}
	for _, r := range all {
		mux.Handle(r.path, s.endpoint(r))
	}
	mux.Handle("/", s.endpoint(route{path: "other", serve: (*Server).notFound, open: true}))
	return s.door().guard(plainPaths(mux, all))
}

// plainPaths understands paths that clients make of a base address with or without /v1 and
// with a slash too many. Nothing is redirected: a redirected POST loses its body.
func plainPaths(mux *http.ServeMux, all []route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		clean := path.Clean("/" + strings.TrimLeft(r.URL.Path, "/"))
		known := func(p string) bool { return slices.ContainsFunc(all, func(rt route) bool { return rt.path == p }) }
		switch {
		case known(clean):
		case known("/v1" + clean):
			clean = "/v1" + clean
		case known(strings.TrimPrefix(clean, "/v1")), strings.HasPrefix(clean, "/v1/v1/"):
			clean = strings.TrimPrefix(clean, "/v1")
		}
		if clean != r.URL.Path {
			r = r.Clone(r.Context())
			r.URL.Path, r.URL.RawPath = clean, ""
		}
		mux.ServeHTTP(w, r)
	})
}

// health says whether requests are taken.
func (s *Server) health(w http.ResponseWriter, r *http.Request) error {
	if s.draining.Load() {
		return errShutdown
	}
	return writeJSON(w, http.StatusOK, map[string]any{"status": "ok", "in_flight": s.load.Load()})
}

// pass hands requests to a handler that answers all of them itself.
func pass(h http.Handler) func(*Server, http.ResponseWriter, *http.Request) error {
	return func(_ *Server, w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) error {
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, headerBytesMax))
	return &apiError{status: http.StatusNotFound, code: "unknown_url",
		message: fmt.Sprintf("Unknown request URL: %s %s.%s See docs/serve.md for the endpoints.", r.Method, r.URL.Path, meantPath(r.URL.Path))}
}

// meantPath suggests the path of an endpoint for one that ends like it, or is nearly it.
func meantPath(wanted string) string {
	var paths []string
	for _, e := range append(endpoints(), ollamaEndpoints()...) {
		short := strings.TrimPrefix(e.path, "/v1")
		if len(short) > 1 && strings.HasSuffix(strings.ToLower(wanted), short) {
			return fmt.Sprintf(" Did you mean %s?", e.path)
		}
		paths = append(paths, e.path)
	}
	if best := near.Name(wanted, paths); best != "" {
		return fmt.Sprintf(" Did you mean %s?", best)
	}
	return ""
}

// modelCard is an entry of /v1/models.
type modelCard struct {
	ID            string `json:"id"`
	Object        string `json:"object"`
	Created       int64  `json:"created"`
	OwnedBy       string `json:"owned_by"`
	ContextLength int    `json:"context_length,omitempty"` // not OpenAI's: most tokens of prompt and reply
	State         string `json:"state,omitempty"`          // not OpenAI's: loaded, loading or not loaded
	// Anthropic's names.
	Type        string    `json:"type"`
	DisplayName string    `json:"display_name"`
	CreatedAt   time.Time `json:"created_at"`
}

func (s *Server) card(name string) modelCard {
	card := modelCard{ID: name, Object: "model", Created: s.started.Unix(), OwnedBy: "agent", ContextLength: s.backend.ContextLength(),
		State: "loaded", Type: "model", DisplayName: name, CreatedAt: s.started.UTC().Truncate(time.Second)}
	if o := s.another(name); o != nil {
		card.State, card.ContextLength = o.state()
	}
	return card
}

// Names are those of all models.
func (s *Server) Names() []string {
	names := slices.Clone(s.names)
	for _, o := range s.others {
		names = append(names, o.Name)
	}
	return names
}

func (s *Server) listModels(w http.ResponseWriter, r *http.Request) error {
	var cards []modelCard
	for _, n := range s.Names() {
		cards = append(cards, s.card(n))
	}
	return writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": cards, "has_more": false})
}

func (s *Server) showModel(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("id")
	if s.another(name) == nil {
		var err error
		if name, err = s.modelName(name); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, s.card(name))
}

// modelName checks the model that a client asks for. The backend's own id is
// known too; no name means the first one.
func (s *Server) modelName(asked string) (string, error) {
	switch {
	case asked == "" || asked == s.backend.ModelID():
		return s.names[0], nil
	case slices.Contains(s.names, asked):
		return asked, nil
	}
	return "", &apiError{status: http.StatusNotFound, code: "model_not_found", param: "model",
		message: fmt.Sprintf("The model %q does not exist here. This server has: %s.", asked, strings.Join(s.Names(), ", "))}
}
