package serve

import (
	"net/http"

	"agent/backend"
)

// tokenAnswer is the answer of /tokenize. Source says what counted: the
// model's own vocabulary, or an estimate.
type tokenAnswer struct {
	Count         int    `json:"count"`
	Tokens        []int  `json:"tokens"` // null when only the number is known
	Source        string `json:"source"`
	Exact         bool   `json:"exact"`
	ContextLength int    `json:"context_length"`
}

// tokenize serves /tokenize: of "content" or "prompt" (plain text, in which
// control tokens are text), or of "messages" (the rendered chat). With "add_special_tokens"
// the text is a prompt, in which they are what they say.
func (m *model) tokenize(f *fields, w http.ResponseWriter, r *http.Request) (err error) {
	var text string
	has := f.read("content", "a string", &text) || f.read("prompt", "a string", &text)
	var req backend.Request
	if _, chat := f.raw["messages"]; chat && !has {
		f.messages(&req)
	} else if !has {
		f.fail(badValue("content", "give content, or messages."))
	}
	var special bool
	asked := f.read("add_special_tokens", "true or false", &special)
	if _, err := m.end(f); err != nil {
		return err
	}
	var count backend.Count
	if asked && has {
		count, err = m.promptTokens(text, special)
	} else {
		count, err = m.count(r, text, req.Messages)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, tokenAnswer{Count: count.Tokens, Tokens: count.IDs,
		Source: count.Source, Exact: count.Exact, ContextLength: m.backend.ContextLength()})
}

// tokenizer is a backend that reads prompts with control tokens in them.
type tokenizer interface {
	TextModel
	PromptInfo() (bos, eos, template string)
}

func (m *model) tokenizer() (tokenizer, error) {
	if t, ok := backend.As[tokenizer](m.backend); ok {
		return t, nil
	}
	return nil, &apiError{status: http.StatusNotFound, code: "no_tokenizer",
		message: "The backend of this server does not tell its tokens; a local model does."}
}

// tokenizerInfo serves /tokenizer_info, by which evaluation harnesses learn how prompts are
// made.
func (m *model) tokenizerInfo(_ *fields, w http.ResponseWriter, _ *http.Request) error {
	t, err := m.tokenizer()
	if err != nil {
		return err
	}
	bos, eos, template := t.PromptInfo()
	return writeJSON(w, http.StatusOK, map[string]any{"bos_token": zeroIsNull(bos),
		"eos_token": zeroIsNull(eos),
		"pad_token": zeroIsNull(eos), "chat_template": zeroIsNull(template)})
}

// detokenize serves /detokenize.
func (m *model) detokenize(f *fields, w http.ResponseWriter, _ *http.Request) error {
	t, err := m.tokenizer()
	if err != nil {
		return err
	}
	var ids []int
	if !f.read("tokens", "a list of token ids", &ids) {
		f.fail(badValue("tokens", "they are missing."))
	}
	if _, err := m.end(f); err != nil {
		return err
	}
	text, err := t.DetokenizePrompt(ids)
	if err != nil {
		return badValue("tokens", "%v.", err)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"prompt": text, "content": text})
}

// promptTokens is a prompt as it is sent to /v1/completions: text of control tokens means
// them.
func (m *model) promptTokens(text string, special bool) (backend.Count, error) {
	t, err := m.tokenizer()
	if err != nil {
		return backend.Count{}, err
	}
	ids, added, err := t.TokenizePrompt(text)
	if err != nil {
		return backend.Count{}, err
	}
	if !special {
		ids = ids[added:]
	}
	return backend.Count{Tokens: len(ids), IDs: ids, Source: "gguf", Exact: true}, nil
}

// count counts a chat, or else a text.
func (m *model) count(r *http.Request, text string, msgs []backend.Message) (backend.Count, error) {
	if err := m.checkFits(text, msgs); err != nil {
		return backend.Count{}, err
	}
	c, ok := backend.As[backend.Counter](m.backend)
	switch {
	case ok && msgs != nil:
		return c.CountChat(r.Context(), msgs)
	case ok:
		return c.CountText(r.Context(), text)
	case msgs != nil:
		n, err := m.backend.CountTokens(r.Context(), msgs)
		return backend.Count{Tokens: n, Source: "backend", Exact: true}, err
	}
	return backend.Count{}, unsupported("content",
		"can't be counted by the backend of this server; messages can.")
}

// fitter is a backend that can tell, without reading all of it, that a text is
// longer by far than the context.
type fitter interface{ CheckFits(text string) error }

// checkFits refuses to count what would hold a core for a minute.
func (m *model) checkFits(text string, msgs []backend.Message) error {
	f, ok := backend.As[fitter](m.backend)
	if !ok {
		return nil
	}
	for _, m := range msgs {
		text += m.Content + "\n"
	}
	return f.CheckFits(text)
}
