package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"agent/backend"
)

// Ollama's wire: /api/…. A request is read into the same call as one to
// /v1/chat/completions; replies are a line of JSON each.

// ollamaPath is where the wire begins. Errors of what lies there have its form.
const ollamaPath = "/api/"

// ollamaVersion is that of the protocol which is spoken here; clients ask for it to know
// what there is.
const ollamaVersion = "0.12.0"

// latest is the tag of a name without one.
const latest = ":latest"

// ollamaAdvice are options that change nothing in a reply of this server: how a model is
// loaded and computed, which the one who started the server has decided.
var ollamaAdvice = []string{
	"num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "numa", "low_vram",
	"use_mmap", "use_mlock",
	"vocab_only", "f16_kv", "logits_all", "embedding_only", "rope_frequency_base",
	"rope_frequency_scale",
	"repeat_last_n", "penalize_newline", "mirostat_tau", "mirostat_eta",
}

// ollamaOff are options that are not had here, and the value at which each does nothing.
var ollamaOff = map[string]float64{
	"mirostat":          0,
	"tfs_z":             1,
	"typical_p":         1,
	"presence_penalty":  0,
	"frequency_penalty": 0,
}

// ollamaOptions reads "options": how tokens are drawn, where a reply ends.
func (f *fields) ollamaOptions(req *backend.Request) {
	req.Sampling = &backend.Sampling{}
	f.object("options", func(o *fields) {
		req.Sampling, req.Stop = o.sampling(), o.stops("stop")
		if n := o.integer("num_predict", -2, 1<<31-1); n != nil && *n > 0 {
			req.TokensMax = int(*n)
		}
		for _, name := range ollamaAdvice {
			o.take(name)
		}
		for name, off := range ollamaOff {
			if x := o.number(name, -1e9, 1e9); x != nil && *x != off {
				o.fail(unsupported("options."+name, "is not supported by this server."))
			}
		}
	})
}

// ollamaFormat reads "format": json, or a schema.
func (f *fields) ollamaFormat(req *backend.Request) {
	raw := f.take("format")
	var word string
	switch {
	case raw == nil:
	case json.Unmarshal(raw, &word) != nil:
		req.Schema = raw
	case word == "json":
		req.Schema = json.RawMessage(`{"type":"object"}`)
	case word != "":
		f.fail(badValue("format", "it must be json, or a JSON schema."))
	}
}

// ollamaCall is a request to /api/chat or /api/generate, understood.
type ollamaCall struct {
	*chatCall
	asked string // the model's name, as answers repeat it
	key   string // of the text in an answer
	load  string // why an answer is empty, where nothing is asked
}

// readOllama reads what both have.
func (f *fields) readOllama(key string) *ollamaCall {
	c := &ollamaCall{chatCall: &chatCall{req: &backend.Request{}, n: 1, stream: true}, key: key,
		load: "load"}
	f.read("stream", "true or false", &c.stream)
	_ = json.Unmarshal(f.raw["model"], &c.asked)
	f.ollamaOptions(c.req)
	f.ollamaFormat(c.req)
	c.req.Logprobs = f.flag("logprobs")
	if n := f.integer("top_logprobs", 0, backend.TopLogprobsMax); n != nil {
		c.req.TopLogprobs = int(*n)
	}
	if keep := f.take("keep_alive"); string(keep) == "0" || string(keep) == `"0"` {
		c.load = "unload"
	}
	f.take("think") // models here don't
	return c
}

// ollamaChat serves /api/chat.
func (m *model) ollamaChat(f *fields, w http.ResponseWriter, r *http.Request) error {
	c := f.readOllama("message")
	var list []json.RawMessage
	f.read("messages", "a list of messages", &list)
	c.req.Messages = each(f, "messages", list, readOllamaMessage)
	c.tools = f.tools(c.req)
	if err := m.endCall(f, c.chatCall); err != nil {
		return err
	}
	if len(c.req.Messages) == 0 {
		return c.loaded(w)
	}
	return m.ollamaAnswer(w, r, c, c.replies(m.backend))
}

// readOllamaMessage reads one message: the fields of OpenAI's, and some more.
func readOllamaMessage(raw json.RawMessage, at string) (backend.Message, error) {
	f, err := parseFieldsAt(at, raw)
	if err != nil {
		return backend.Message{}, err
	}
	f.take("thinking") // of earlier turns
	f.take("tool_name")
	if images := f.take("images"); images != nil && string(images) != "[]" {
		return backend.Message{}, unsupported(at+".images", "are not supported by this server.")
	}
	rest, err := json.Marshal(f.raw)
	if err != nil {
		return backend.Message{}, err
	}
	return readMessage(rest, at)
}

// ollamaGenerate serves /api/generate: a chat of one message, or with raw plain text.
func (m *model) ollamaGenerate(f *fields, w http.ResponseWriter, r *http.Request) error {
	c := f.readOllama("response")
	prompt, system, raw := f.text("prompt"), f.text("system"), f.flag("raw")
	for _, name := range []string{"suffix", "template"} {
		if f.text(name) != "" {
			f.fail(unsupported(name, "is not supported by this server."))
		}
	}
	for _, name := range []string{"images", "context"} {
		if v := f.take(name); v != nil && string(v) != "[]" {
			f.fail(unsupported(name, "is not supported by this server."))
		}
	}
	if system != "" && !raw {
		c.req.Messages = []backend.Message{{Role: backend.RoleSystem, Content: system}}
	}
	c.req.Messages = append(c.req.Messages, backend.Message{Role: backend.RoleUser, Content: prompt})
	err := m.endCall(f, c.chatCall)
	switch {
	case err != nil:
		return err
	case prompt == "":
		return c.loaded(w)
	case !raw:
		return m.ollamaAnswer(w, r, c, c.replies(m.backend))
	}
	replies, err := m.rawReplies(prompt, c.req)
	if err != nil {
		return err
	}
	return m.ollamaAnswer(w, r, c, replies)
}

// rawReplies continue plain text.
func (m *model) rawReplies(prompt string, req *backend.Request) ([]reply, error) {
	texts, ok := backend.As[TextModel](m.backend)
	if !ok {
		return nil, unsupported("raw", "is not supported by the backend of this server.")
	}
	p, err := newTextPrompt(texts, prompt)
	if err != nil {
		return nil, err
	}
	return []reply{(&textCall{prompt: p, req: req}).start(texts)}, nil
}

// The answers of /api/chat and /api/generate.
type (
	ollamaBody struct {
		Model     string         `json:"model"`
		CreatedAt time.Time      `json:"created_at"`
		Message   *ollamaMessage `json:"message,omitempty"`
		Response  *string        `json:"response,omitempty"`
		Done      bool           `json:"done"`
		Reason    string         `json:"done_reason,omitempty"`
		Logprobs  []chatToken    `json:"logprobs,omitempty"`
		*ollamaCost
	}
	ollamaMessage struct {
		Role      string           `json:"role"`
		Content   string           `json:"content"`
		ToolCalls []ollamaToolCall `json:"tool_calls,omitempty"`
	}
	ollamaToolCall struct {
		ID       string `json:"id,omitempty"`
		Function struct {
			Index     int             `json:"index"`
			Name      string          `json:"name"`
			Arguments json.RawMessage `json:"arguments"`
		} `json:"function"`
	}
	ollamaCost struct {
		TotalDuration      time.Duration `json:"total_duration"` // nanoseconds, as the others
		LoadDuration       time.Duration `json:"load_duration"`
		PromptEvalCount    int           `json:"prompt_eval_count"`
		PromptEvalDuration time.Duration `json:"prompt_eval_duration"`
		EvalCount          int           `json:"eval_count"`
		EvalDuration       time.Duration `json:"eval_duration"`
	}
)

// part is a piece of an answer.
func (c *ollamaCall) part(text string, calls ...ollamaToolCall) ollamaBody {
	b := ollamaBody{Model: c.asked, CreatedAt: time.Now().UTC()}
	if c.key == "message" {
		b.Message = &ollamaMessage{Role: "assistant", Content: text, ToolCalls: calls}
	} else {
		b.Response = &text
	}
	return b
}

// loaded is the answer where nothing is asked.
func (c *ollamaCall) loaded(w http.ResponseWriter) error {
	last := c.part("")
	last.Done, last.Reason = true, c.load
	return writeJSON(w, http.StatusOK, last)
}

func (m *model) ollamaAnswer(w http.ResponseWriter, r *http.Request, c *ollamaCall, replies []reply,
) error {
	return m.answer(r, replies, &ollamaWriter{lines: lines{w: w}, c: c, start: time.Now()})
}

// ollamaWriter answers in one piece, or as lines.
type ollamaWriter struct {
	lines
	c     *ollamaCall
	start time.Time
	text  strings.Builder
	calls ollamaCalls
	last  ollamaBody // of an answer in one piece
}

func (o *ollamaWriter) add(ev event) error {
	part := o.c.part(ev.Text, o.calls.add(ev)...)
	part.Logprobs = chatTokens(ev.Tokens)
	if ev.Finish != "" {
		part.finish(ev, time.Since(o.start))
	}
	if !o.c.stream {
		o.text.WriteString(ev.Text)
		part.Logprobs = append(o.last.Logprobs, part.Logprobs...)
		o.last = part
		return nil
	}
	if ev.Text == "" && ev.Finish == "" && (part.Message == nil || len(part.Message.ToolCalls) == 0) {
		return nil
	}
	return o.send(part)
}

func (o *ollamaWriter) end() error {
	if o.c.stream {
		return nil
	}
	last := o.c.part(o.text.String(), o.calls.done...)
	last.Done, last.Reason, last.ollamaCost, last.Logprobs = true, o.last.Reason, o.last.ollamaCost,
		o.last.Logprobs
	return writeJSON(o.w, http.StatusOK, last)
}

// finish says how the reply ended and what it cost.
func (b *ollamaBody) finish(ev event, took time.Duration) {
	b.Done, b.Reason, b.ollamaCost = true, "stop", &ollamaCost{TotalDuration: took}
	if ev.Finish == backend.FinishLength || ev.Finish == backend.FinishContext {
		b.Reason = "length"
	}
	if u := ev.Usage; u != nil {
		b.PromptEvalCount, b.PromptEvalDuration = u.PromptTokens, u.Prefill
		b.EvalCount, b.EvalDuration = u.CompletionTokens, u.Decode
	}
}

// ollamaCalls puts calls together, which this wire has whole. One that a limit cut is
// left out.
type ollamaCalls struct {
	done []ollamaToolCall
	open *ollamaToolCall
}

// add takes a piece of a reply and gives the call that it ends, if it does.
func (c *ollamaCalls) add(ev event) (ended []ollamaToolCall) {
	next := ev.Call != nil && ev.Call.ID != ""
	if c.open != nil && (next || ev.Finish != "") {
		if json.Valid(c.open.Function.Arguments) {
			ended = []ollamaToolCall{*c.open}
			c.done = append(c.done, *c.open)
		}
		c.open = nil
	}
	if next {
		c.open = &ollamaToolCall{ID: ev.Call.ID}
		c.open.Function.Index, c.open.Function.Name = ev.Call.Index, ev.Call.Name
	}
	if ev.Call != nil && c.open != nil {
		c.open.Function.Arguments = append(c.open.Function.Arguments, ev.Call.Arguments...)
	}
	return ended
}

// lines writes a JSON value a line.
type lines struct {
	w     http.ResponseWriter
	begun bool
}

// send writes one. A client that takes none for writeWithin is gone.
func (l *lines) send(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a line: %w", err)
	}
	conn := http.NewResponseController(l.w)
	_ = conn.SetWriteDeadline(time.Now().Add(writeWithin))
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", "application/x-ndjson")
		l.w.WriteHeader(http.StatusOK)
	}
	if _, err := l.w.Write(append(data, '\n')); err != nil {
		return errGone
	}
	if err := conn.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return errGone
	}
	return nil
}

// fail tells of an error: as a status when nothing was sent yet, else as a line.
func (l *lines) fail(err error) error {
	var api *apiError
	if !l.begun || !errors.As(err, &api) {
		return err
	}
	if l.send(api.ollamaBody()) != nil {
		return errGone
	}
	return err
}

// ollamaBody is the error in Ollama's form.
func (e *apiError) ollamaBody() map[string]string { return map[string]string{"error": e.message} }
