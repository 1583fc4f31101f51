// Package serve puts any [backend.LanguageBackend] behind HTTP: as a server
// that speaks the protocols of OpenAI, Anthropic and Ollama, and as a worker of
// a FastChat cluster.
//
// Make a [Server] with [New] and run it with [Server.Serve], or mount
// [Server.Handler]. The endpoints are described in docs/serve.md.
//
// Each protocol is a codec in files of its own: it reads the fields of a body
// into calls of the model that the body names, and a writer puts their deltas
// into its form. Limits, queue, errors and counts are the same for all.
//
// Promises: a request is carried out as it was asked or refused with a reason
// that names the field, never partly; a prompt that does not fit is refused
// with both numbers; a client that goes away stops its work; nothing but
// loopback is served without a key; neither keys nor prompts are logged.
package serve

import (
	"cmp"
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

// Server serves one backend, and others beside it. It is safe for concurrent use.
type Server struct {
	cfg     Config
	names   []string // of all models
	first   *model
	others  []*other
	worker  *worker // nil: no cluster
	started time.Time
	log     *slog.Logger
	metrics *metrics
	handler http.Handler
}

// New makes a server of b, which stays the caller's to close.
func New(b backend.LanguageBackend, cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, started: time.Now(), log: cfg.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.cfg.RequestsMax = cmp.Or(max(cfg.RequestsMax, 0), RequestsMaxDefault)
	s.cfg.FirstTokenWithin = cmp.Or(max(cfg.FirstTokenWithin, 0), FirstTokenWithinDefault)
	s.cfg.RequestWithin = cmp.Or(max(cfg.RequestWithin, 0), RequestWithinDefault)
	s.cfg.DrainWithin = cmp.Or(max(cfg.DrainWithin, 0), DrainWithinDefault)
	s.cfg.KeepAlive = cmp.Or(cfg.KeepAlive, KeepAliveDefault)
	names, err := namesOf(b, cfg.ModelNames)
	if err != nil {
		return nil, err
	}
	s.names = slices.Clone(names)
	for _, a := range cfg.Others {
		if slices.Contains(s.names, a.Name) {
			return nil, fmt.Errorf("serve: two models are called %q", a.Name)
		}
		s.names = append(s.names, a.Name)
		s.others = append(s.others, &other{Another: a, of: s})
	}
	s.metrics = newMetrics(s)
	s.first = s.newModel(b, names)
	if cfg.Worker != nil {
		w, err := newWorker(s.first, *cfg.Worker)
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

// namesOf are the configured names of a model, or one made of its id.
func namesOf(b backend.LanguageBackend, configured []string) (names []string, err error) {
	for _, n := range configured {
		if n = strings.TrimSpace(n); n == "" {
			return nil, errors.New("serve: an empty model name")
		}
		names = append(names, n)
	}
	if len(names) == 0 {
		file := path.Base(strings.ReplaceAll(b.ModelID(), `\`, "/"))
		names = []string{strings.TrimSuffix(file, ".gguf")}
	}
	return names, nil
}

func (s *Server) door() Door { return Door{s.cfg.APIKey, s.cfg.Origins} }

// Usage is the cost of all replies so far.
func (s *Server) Usage() backend.Usage {
	m := s.metrics
	return backend.Usage{PromptTokens: int(m.prompt.Load()), EvaluatedTokens: int(m.evaluated.Load()),
		CachedTokens: int(m.cached.Load()), CompletionTokens: int(m.completion.Load())}
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
	var joined sync.WaitGroup
	if s.worker != nil {
		joined.Go(func() { s.worker.stay(ctx, l.Addr()) })
	}
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

// drain ends an HTTP server politely, then firmly.
func (s *Server) drain(ctx context.Context, h *http.Server, cancelWork context.CancelCauseFunc) {
	s.first.draining.Store(true)
	if n := s.first.load.Load(); n > 0 {
		s.log.Info("shutting down; waiting for replies in work", "replies", n, "at_most",
			s.cfg.DrainWithin)
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

// route is one endpoint: serve answers it for the server, or ask for the model
// that the body names.
type route struct {
	method, path string
	serve        func(http.ResponseWriter, *http.Request) error
	ask          func(*model, *fields, http.ResponseWriter, *http.Request) error
	open         bool // no key needed
	cluster      bool // for members of the FastChat cluster only
}

// endpoints are the routes of the server, and those of OpenAI's and Anthropic's wires.
func (s *Server) endpoints() []route {
	get, post := http.MethodGet, http.MethodPost
	return []route{
		{method: get, path: "/health", serve: s.health, open: true},
		{method: get, path: "/metrics", serve: s.serveMetrics},
		{method: get, path: "/v1/models", serve: s.listModels},
		{method: get, path: "/v1/models/{id...}", serve: s.showModel},
		{method: post, path: "/v1/chat/completions", ask: (*model).chat},
		{method: post, path: messagesPath, ask: (*model).messages},
		{method: post, path: messagesPath + "/count_tokens", ask: (*model).countMessages},
		{method: post, path: "/v1/responses", ask: (*model).response},
		{method: post, path: "/v1/completions", ask: (*model).completions},
		{method: post, path: "/v1/embeddings", ask: (*model).embeddings},
		{method: post, path: "/v1/decisions", ask: (*model).decisions},
		{method: post, path: "/tokenize", ask: (*model).tokenize},
		{method: post, path: "/detokenize", ask: (*model).detokenize},
		{method: get, path: "/tokenizer_info", ask: (*model).tokenizerInfo},
	}
}

// routes builds the handler.
func (s *Server) routes() (http.Handler, error) {
	all := append(s.endpoints(), ollamaEndpoints()...)
	if s.worker != nil {
		all = append(all, s.worker.endpoints()...)
	}
	if p := s.cfg.Page; p != nil {
		all = append(all, route{path: "/{$}", serve: pass(p), open: true},
			route{path: "/page/", serve: pass(p), open: true})
	}
	if t := s.cfg.Tasks; t != nil {
		all = append(all, route{path: "/tasks", serve: pass(t)}, route{path: "/tasks/", serve: pass(t)})
	}
	mux := http.NewServeMux()
	for _, r := range all {
		mux.Handle(r.path, s.handle(r))
	}
	mux.Handle("/", s.handle(route{path: "other", serve: notFound(all), open: true}))
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
	if s.first.draining.Load() {
		return errShutdown
	}
	return writeJSON(w, http.StatusOK, map[string]any{"status": "ok",
		"in_flight": s.first.load.Load()})
}

// pass hands requests to a handler that answers all of them itself.
func pass(h http.Handler) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}

// notFound refuses a path that is none of the routes.
func notFound(all []route) func(http.ResponseWriter, *http.Request) error {
	return func(_ http.ResponseWriter, r *http.Request) error {
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, headerBytesMax))
		return &apiError{status: http.StatusNotFound, code: "unknown_url",
			message: fmt.Sprintf("Unknown request URL: %s %s.%s See docs/serve.md for the endpoints.",
				r.Method, r.URL.Path, meantPath(r.URL.Path, all))}
	}
}

// meantPath suggests the route for a path that ends like it, or is nearly it.
func meantPath(wanted string, all []route) string {
	var paths []string
	for _, r := range all {
		short := strings.TrimPrefix(r.path, "/v1")
		if len(short) > 1 && strings.HasSuffix(strings.ToLower(wanted), short) {
			return fmt.Sprintf(" Did you mean %s?", r.path)
		}
		paths = append(paths, r.path)
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
	card := modelCard{ID: name, Object: "model", Created: s.started.Unix(), OwnedBy: "agent",
		State: "loaded", ContextLength: s.first.backend.ContextLength(),
		Type: "model", DisplayName: name, CreatedAt: s.started.UTC().Truncate(time.Second)}
	if o := s.another(name); o != nil {
		card.State, card.ContextLength = o.state()
	}
	return card
}

// Names are the names of all models.
func (s *Server) Names() []string { return slices.Clone(s.names) }

func (s *Server) listModels(w http.ResponseWriter, r *http.Request) error {
	var cards []modelCard
	for _, n := range s.names {
		cards = append(cards, s.card(n))
	}
	return writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": cards,
		"has_more": false})
}

func (s *Server) showModel(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("id")
	if s.another(name) == nil {
		var err error
		if name, err = s.first.named(name); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, s.card(name))
}
