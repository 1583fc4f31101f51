package serve

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"agent/backend"
)

// model is a backend under the names by which clients ask for it. Each wire reads its
// requests into calls of a model, and writes the replies in its own form.
type model struct {
	backend   backend.LanguageBackend
	caps      backend.Capabilities
	names     []string // the first is the one that answers bear
	started   time.Time
	cfg       *Config  // as the next three: of the server
	served    []string // names of all models
	log       *slog.Logger
	metrics   *metrics
	responses responseStore

	load     atomic.Int64 // replies in work and waiting
	draining atomic.Bool  // no more are taken
}

func (s *Server) newModel(b backend.LanguageBackend, names []string) *model {
	return &model{backend: b, caps: backend.CapabilitiesOf(b), names: names, started: time.Now(),
		cfg: &s.cfg, served: s.names, log: s.log, metrics: s.metrics}
}

// named is the model's own name for the one that a client asks for. The backend's id is
// known too; no name means the first one. Ollama's clients add a tag.
func (m *model) named(asked string) (string, error) {
	if asked == "" || asked == m.backend.ModelID() {
		return m.names[0], nil
	}
	for _, name := range []string{asked, strings.TrimSuffix(asked, latest)} {
		if slices.Contains(m.names, name) {
			return name, nil
		}
	}
	return "", &apiError{status: http.StatusNotFound, code: "model_not_found", param: "model",
		message: fmt.Sprintf("The model %q does not exist here. This server has: %s.", asked,
			strings.Join(m.served, ", "))}
}

// end refuses what is left of a request, and gives the name under which it is answered.
func (m *model) end(f *fields) (name string, err error) {
	asked := f.text("model")
	if err := f.end(); err != nil {
		return "", err
	}
	return m.named(asked)
}

// endCall ends the reading of a call, and refuses what the backend can't do.
func (m *model) endCall(f *fields, c *chatCall) (err error) {
	if c.model, err = m.end(f); err != nil {
		return err
	}
	return m.able(c.req, c.tools)
}
