package serve

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"

	"agent/backend"
)

// embeddingItem is one vector of an answer.
type embeddingItem struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"` // numbers, or base64 of little-endian 32-bit floats
}

// embeddings serves /v1/embeddings.
func (s *Server) embeddings(w http.ResponseWriter, r *http.Request) error {
	data, err := readBody(w, r)
	if err != nil {
		return err
	}
	f, err := parseFields(data)
	if err != nil {
		return err
	}
	model := f.text("model")
	format := f.text("encoding_format")
	if format != "" && format != "float" && format != "base64" {
		f.fail(badValue("encoding_format", "it must be float or base64."))
	}
	dimensions := f.integer("dimensions", 1, 1<<20)
	texts := s.inputTexts(f)
	if err := f.end(); err != nil {
		return err
	}
	if model, err = s.modelName(model); err != nil {
		return err
	}
	vectors, tokens, err := s.embed(r, texts)
	if err != nil {
		return err
	}
	if dimensions != nil && int(*dimensions) != len(vectors[0]) {
		return unsupported("dimensions", "other than the model's own are not supported by this server.")
	}
	items := make([]embeddingItem, len(vectors))
	for i, v := range vectors {
		items[i] = embeddingItem{Object: "embedding", Index: i, Embedding: v}
		if format == "base64" {
			items[i].Embedding = base64Floats(v)
		}
	}
	return writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": items, "model": model,
		"usage": map[string]int{"prompt_tokens": tokens, "total_tokens": tokens}})
}

// inputTexts reads a text, texts, or tokens where the backend can read those.
func (s *Server) inputTexts(f *fields) []string {
	raw := f.take("input")
	if raw == nil {
		f.fail(badValue("input", "it is missing."))
		return nil
	}
	var ids []int
	var lists [][]int
	if json.Unmarshal(raw, &ids) == nil && len(ids) > 0 {
		lists = [][]int{ids}
	} else if json.Unmarshal(raw, &lists) != nil || len(lists) == 0 {
		f.raw["input"] = raw
		texts := f.texts("input")
		checkInputs(f, texts)
		return texts
	}
	m, ok := backend.As[TextModel](s.backend)
	if !ok {
		f.fail(unsupported("input", "as token ids is not supported by the backend of this server."))
		return nil
	}
	var texts []string
	for _, ids := range lists {
		text, err := m.DetokenizePrompt(ids)
		if err != nil {
			f.fail(badValue("input", "%v.", err))
		}
		texts = append(texts, text)
	}
	checkInputs(f, texts)
	return texts
}

func checkInputs(f *fields, texts []string) {
	if len(texts) == 0 || len(texts) > embeddingsMax {
		f.fail(badValue("input", "it has %d texts, must have 1 to %d.", len(texts), embeddingsMax))
	}
	for _, t := range texts {
		if t == "" {
			f.fail(badValue("input", "a text is empty."))
		}
	}
}

// embed asks the backend, within the limits of the server.
func (s *Server) embed(r *http.Request, texts []string) (vectors [][]float32, tokens int, err error) {
	e, ok := backend.As[backend.Embedder](s.backend)
	if !ok {
		return nil, 0, &apiError{status: http.StatusBadRequest, code: "unsupported_endpoint",
			message: "The model of this server makes no embeddings."}
	}
	err = s.timed(r, func(r *http.Request) error {
		vectors, tokens, err = e.Embed(r.Context(), texts)
		return err
	})
	if err == nil {
		s.metrics.usage(&backend.Usage{PromptTokens: tokens, EvaluatedTokens: tokens})
	}
	return vectors, tokens, err
}

func base64Floats(v []float32) string {
	raw := make([]byte, 0, 4*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(raw)
}
