package serve

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"agent/backend"
)

// What Ollama's wire tells of models, and embeddings.

// ollamaEmbed serves /api/embed, and /api/embeddings of earlier days.
func (s *Server) ollamaEmbed(w http.ResponseWriter, r *http.Request) error {
	data, err := readBody(w, r)
	if err != nil {
		return err
	}
	f, err := parseFields(data)
	if err != nil {
		return err
	}
	model := f.text("model")
	f.take("keep_alive")
	f.take("truncate") // a text that does not fit is refused
	f.ollamaOptions(&backend.Request{})
	one := strings.HasSuffix(r.URL.Path, "/embeddings")
	if one {
		f.raw["input"] = f.take("prompt")
	}
	dimensions := f.integer("dimensions", 1, 1<<20)
	texts := s.inputTexts(f)
	if err := f.end(); err != nil {
		return err
	}
	if _, err := s.modelName(strings.TrimSuffix(model, latest)); err != nil {
		return err
	}
	start := time.Now()
	vectors, tokens, err := s.embed(r, texts)
	if err != nil {
		return err
	}
	if dimensions != nil && int(*dimensions) != len(vectors[0]) {
		return unsupported("dimensions", "other than the model's own are not supported by this server.")
	}
	if one {
		return writeJSON(w, http.StatusOK, map[string]any{"embedding": vectors[0]})
	}
	return writeJSON(
		w,
		http.StatusOK,
		map[string]any{"model": model, "embeddings": vectors, "total_duration": time.Since(start),
			"load_duration": 0, "prompt_eval_count": tokens},
	)
}

// ollamaCard is an entry of /api/tags and /api/ps.
type ollamaCard struct {
	Name       string        `json:"name"`
	Model      string        `json:"model"`
	ModifiedAt time.Time     `json:"modified_at"`
	Size       int64         `json:"size"`
	Digest     string        `json:"digest"`
	Details    ollamaDetails `json:"details"`
	Context    int           `json:"context_length"`
}

type ollamaDetails struct {
	ParentModel       string   `json:"parent_model"`
	Format            string   `json:"format"`
	Family            string   `json:"family"`
	Families          []string `json:"families"`
	ParameterSize     string   `json:"parameter_size"`
	QuantizationLevel string   `json:"quantization_level"`
}

func (s *Server) ollamaDetails() ollamaDetails {
	d := ollamaDetails{Family: ollamaFamily, Families: []string{ollamaFamily}}
	if _, local := backend.As[TextModel](s.backend); local {
		d.Format = "gguf"
	}
	if n := backend.ParametersOf(s.backend); n > 0 {
		d.ParameterSize = fmt.Sprintf("%.1fM", float64(n)/1e6)
	}
	return d
}

// ollamaFamily stands where clients expect a model's architecture.
const ollamaFamily = "agent"

// ollamaTags serves /api/tags and /api/ps.
func (s *Server) ollamaTags(w http.ResponseWriter, r *http.Request) error {
	var cards []ollamaCard
	for _, name := range s.names {
		sum := sha256.Sum256([]byte(name))
		if !strings.Contains(name, ":") {
			name += latest
		}
		cards = append(
			cards,
			ollamaCard{
				Name:       name,
				Model:      name,
				ModifiedAt: s.started.UTC(),
				Digest:     hex.EncodeToString(sum[:]),
				Details:    s.ollamaDetails(),
				Context:    s.backend.ContextLength(),
			},
		)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"models": cards})
}

// ollamaShow serves /api/show.
func (s *Server) ollamaShow(w http.ResponseWriter, r *http.Request) error {
	data, err := readBody(w, r)
	if err != nil {
		return err
	}
	f, err := parseFields(data)
	if err != nil {
		return err
	}
	name := cmp.Or(f.text("model"), f.text("name"))
	for _, ignored := range []string{"name", "verbose", "system", "template", "options"} {
		f.take(ignored)
	}
	if err := f.end(); err != nil {
		return err
	}
	if _, err := s.modelName(strings.TrimSuffix(name, latest)); err != nil {
		return err
	}
	capable := []string{"completion"}
	if backend.CanCallTools(s.backend) {
		capable = append(capable, "tools")
	}
	if _, ok := backend.As[backend.Embedder](s.backend); ok {
		capable = append(capable, "embedding")
	}
	return writeJSON(
		w,
		http.StatusOK,
		map[string]any{
			"modelfile":    "",
			"parameters":   "",
			"template":     "",
			"license":      "",
			"modified_at":  s.started.UTC(),
			"details":      s.ollamaDetails(),
			"capabilities": capable,
			"model_info": map[string]any{
				"general.architecture":           ollamaFamily,
				"general.parameter_count":        backend.ParametersOf(s.backend),
				ollamaFamily + ".context_length": s.backend.ContextLength(),
			},
		},
	)
}

func (s *Server) ollamaVersion(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"version": ollamaVersion})
}

// ollamaEndpoints are the routes of the wire.
func ollamaEndpoints() []route {
	get, post := http.MethodGet, http.MethodPost
	return []route{
		{method: get, path: ollamaPath + "version", serve: (*Server).ollamaVersion},
		{method: get, path: ollamaPath + "tags", serve: (*Server).ollamaTags},
		{method: get, path: ollamaPath + "ps", serve: (*Server).ollamaTags},
		{method: post, path: ollamaPath + "show", serve: (*Server).ollamaShow},
		{method: post, path: ollamaPath + "chat", serve: (*Server).ollamaChat},
		{method: post, path: ollamaPath + "generate", serve: (*Server).ollamaGenerate},
		{method: post, path: ollamaPath + "embed", serve: (*Server).ollamaEmbed},
		{method: post, path: ollamaPath + "embeddings", serve: (*Server).ollamaEmbed},
	}
}
