package serve

import (
	"encoding/base64"
	"encoding/binary"
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

// embedded are the vectors of a request's texts.
type embedded struct {
	model   string // under which it answers
	vectors [][]float32
	tokens  int
}

// embeddings serves /v1/embeddings.
func (m *model) embeddings(f *fields, w http.ResponseWriter, r *http.Request) error {
	format := f.text("encoding_format")
	if format != "" && format != "float" && format != "base64" {
		f.fail(badValue("encoding_format", "it must be float or base64."))
	}
	e, err := m.readAndEmbed(f, r)
	if err != nil {
		return err
	}
	var items []embeddingItem
	for i, v := range encoded(e.vectors, format) {
		items = append(items, embeddingItem{Object: "embedding", Index: i, Embedding: v})
	}
	return writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": items,
		"model": e.model, "usage": map[string]int{"prompt_tokens": e.tokens, "total_tokens": e.tokens}})
}

// readAndEmbed reads the rest of a request, and carries it out.
func (m *model) readAndEmbed(f *fields, r *http.Request) (e embedded, err error) {
	dimensions := f.integer("dimensions", 1, 1<<20)
	texts := m.inputTexts(f)
	if e.model, err = m.end(f); err != nil {
		return e, err
	}
	if e.vectors, e.tokens, err = m.embed(r, texts); err != nil {
		return e, err
	}
	if dimensions != nil && int(*dimensions) != len(e.vectors[0]) {
		return e, unsupported("dimensions",
			"other than the model's own are not supported by this server.")
	}
	return e, nil
}

// inputTexts reads a text, texts, or tokens where the backend can read those.
func (m *model) inputTexts(f *fields) (texts []string) {
	defer func() { checkInputs(f, texts) }()
	lists, tokens := f.tokenLists("input")
	if !tokens {
		if texts = f.texts("input"); texts == nil {
			f.fail(badValue("input", "it is missing."))
		}
		return texts
	}
	reader, ok := backend.As[TextModel](m.backend)
	if !ok {
		f.fail(unsupported("input", "as token ids is not supported by the backend of this server."))
		return nil
	}
	for _, ids := range lists {
		text, err := reader.DetokenizePrompt(ids)
		if err != nil {
			f.fail(badValue("input", "%v.", err))
		}
		texts = append(texts, text)
	}
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
func (m *model) embed(r *http.Request, texts []string,
) (vectors [][]float32, tokens int, err error) {
	e, ok := backend.As[backend.Embedder](m.backend)
	if !ok {
		return nil, 0, &apiError{status: http.StatusBadRequest, code: "unsupported_endpoint",
			message: "The model of this server makes no embeddings."}
	}
	err = m.timed(r, func(r *http.Request) error {
		vectors, tokens, err = e.Embed(r.Context(), texts)
		return err
	})
	if err == nil {
		m.metrics.usage(&backend.Usage{PromptTokens: tokens, EvaluatedTokens: tokens})
	}
	return vectors, tokens, err
}

// encoded are vectors as numbers, or in the format base64.
func encoded(vectors [][]float32, format string) []any {
	out := make([]any, len(vectors))
	for i, v := range vectors {
		out[i] = v
		if format == "base64" {
			raw := make([]byte, 0, 4*len(v))
			for _, x := range v {
				raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
			}
			out[i] = base64.StdEncoding.EncodeToString(raw)
		}
	}
	return out
}
