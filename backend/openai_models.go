package backend

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"
)

// Limits of asking a server for its models.
const (
	modelsWithin   = 3 * time.Second
	modelsBytesMax = 4 << 20
)

// toldLength asks the server for the context length of the model: agent serve and others tell
// it in their list of models. 0: it does not say.
func (o *OpenAI) toldLength() int {
	ctx, cancel := context.WithTimeout(context.Background(), modelsWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.cfg.ServerIP+"/models", nil)
	if err != nil {
		return 0
	}
	if o.cfg.APIKey != "" {
		req.Header.Set("Authorization", "Bearer "+string(o.cfg.APIKey))
	}
	resp, err := o.http.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	var list struct {
		Data []struct {
			ID            string `json:"id"`
			ContextLength int    `json:"context_length"`        // agent serve, OpenRouter
			MaxModelLen   int    `json:"max_model_len"`         // vLLM
			Loaded        int    `json:"loaded_context_length"` // LM Studio
			MaxContext    int    `json:"max_context_length"`    // LM Studio, Mistral
			Window        int    `json:"context_window"`        // Groq
			MaxInput      int    `json:"max_input_tokens"`      // LiteLLM
			Meta          struct {
				Context int `json:"n_ctx"` // llama-server
			} `json:"meta"`
		} `json:"data"`
	}
	if json.NewDecoder(io.LimitReader(resp.Body, modelsBytesMax)).Decode(&list) != nil {
		return 0
	}
	for _, m := range list.Data {
		if m.ID == o.cfg.ModelID || len(list.Data) == 1 { // a server of one model takes any name for it
			return max(0, cmp.Or(m.ContextLength, m.MaxModelLen, m.Loaded, m.MaxContext, m.Window,
				m.MaxInput, m.Meta.Context))
		}
	}
	return 0
}
