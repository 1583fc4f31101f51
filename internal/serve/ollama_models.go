package serve

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"agent/backend"
)

// What Ollama's wire tells of models, and embeddings.

// ollamaEmbed serves /api/embed, and /api/embeddings of earlier days.
func (m *model) ollamaEmbed(f *fields, w http.ResponseWriter, r *http.Request) error {
	var asked string
	_ = json.Unmarshal(f.raw["model"], &asked)
	f.take("keep_alive")
	f.take("truncate") // a text that does not fit is refused
	f.ollamaOptions(&backend.Request{})
	one := strings.HasSuffix(r.URL.Path, "/embeddings")
	if one {
		f.raw["input"] = f.take("prompt")
	}
	start := time.Now()
	e, err := m.readAndEmbed(f, r)
	if err != nil {
		return err
	}
	if one {
		return writeJSON(w, http.StatusOK, map[string]any{"embedding": e.vectors[0]})
	}
	return writeJSON(w, http.StatusOK, map[string]any{"model": asked, "embeddings": e.vectors,
		"total_duration": time.Since(start), "load_duration": 0, "prompt_eval_count": e.tokens})
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

func (m *model) ollamaDetails() ollamaDetails {
	d := ollamaDetails{Family: ollamaFamily, Families: []string{ollamaFamily}}
	if _, local := backend.As[TextModel](m.backend); local {
		d.Format = "gguf"
	}
	if n := backend.ParametersOf(m.backend); n > 0 {
		d.ParameterSize = fmt.Sprintf("%.1fM", float64(n)/1e6)
	}
	return d
}

// ollamaFamily stands where clients expect a model's architecture.
const ollamaFamily = "agent"

// ollamaTags serves /api/tags and /api/ps.
func (m *model) ollamaTags(_ *fields, w http.ResponseWriter, _ *http.Request) error {
	var cards []ollamaCard
	for _, name := range m.names {
		sum := sha256.Sum256([]byte(name))
		if !strings.Contains(name, ":") {
			name += latest
		}
		cards = append(cards, ollamaCard{Name: name, Model: name, ModifiedAt: m.started.UTC(),
			Digest: hex.EncodeToString(sum[:]), Details: m.ollamaDetails(),
			Context: m.backend.ContextLength()})
	}
	return writeJSON(w, http.StatusOK, map[string]any{"models": cards})
}

// ollamaShow serves /api/show.
func (m *model) ollamaShow(f *fields, w http.ResponseWriter, r *http.Request) error {
	if name := f.take("name"); name != nil && cmp.Or(string(f.raw["model"]), `""`) == `""` {
		f.raw["model"] = name // of earlier days
	}
	for _, ignored := range []string{"verbose", "system", "template", "options"} {
		f.take(ignored)
	}
	if _, err := m.end(f); err != nil {
		return err
	}
	capable := []string{"completion"}
	if backend.CanCallTools(m.backend) {
		capable = append(capable, "tools")
	}
	if _, ok := backend.As[backend.Embedder](m.backend); ok {
		capable = append(capable, "embedding")
	}
	return writeJSON(w, http.StatusOK, map[string]any{
		"modelfile": "", "parameters": "", "template": "", "license": "",
		"modified_at":  m.started.UTC(),
		"details":      m.ollamaDetails(),
		"capabilities": capable,
		"model_info": map[string]any{
			"general.architecture":           ollamaFamily,
			"general.parameter_count":        backend.ParametersOf(m.backend),
			ollamaFamily + ".context_length": m.backend.ContextLength(),
		},
	})
}

func (m *model) ollamaVersion(_ *fields, w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"version": ollamaVersion})
}

// ollamaEndpoints are the routes of the wire.
func ollamaEndpoints() []route {
	get, post := http.MethodGet, http.MethodPost
	return []route{
		{method: get, path: ollamaPath + "version", ask: (*model).ollamaVersion},
		{method: get, path: ollamaPath + "tags", ask: (*model).ollamaTags},
		{method: get, path: ollamaPath + "ps", ask: (*model).ollamaTags},
		{method: post, path: ollamaPath + "show", ask: (*model).ollamaShow},
		{method: post, path: ollamaPath + "chat", ask: (*model).ollamaChat},
		{method: post, path: ollamaPath + "generate", ask: (*model).ollamaGenerate},
		{method: post, path: ollamaPath + "embed", ask: (*model).ollamaEmbed},
		{method: post, path: ollamaPath + "embeddings", ask: (*model).ollamaEmbed},
	}
}
