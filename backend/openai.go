package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/sashabaranov/go-openai"
)

// openAIServer is the server when none is configured.
const openAIServer = "https://api.openai.com/v1"

// OpenAIConfig configures [NewOpenAI]. The keys are those of an llm config.
type OpenAIConfig struct {
	ModelID string `yaml:"model_id"`
	// ContextLength is the most tokens of prompt and reply together. 0 means the
	// known length of one of OpenAI's models, or what the server tells.
	ContextLength int `yaml:"context_length"`
	// ServerIP is the base URL of a server that speaks OpenAI's protocol, as in
	// "http://127.0.0.1:8000/v1"; empty means OpenAI's own.
	ServerIP     string `yaml:"server_ip"`
	APIKey       Secret `yaml:"api_key"`
	Organization string `yaml:"organization"`

	// Sampling are the defaults for requests that don't say otherwise.
	Sampling `yaml:",inline"`
	// TokensMax is the default limit of a reply; 0 means none.
	TokensMax int `yaml:"max_tokens"`
	// ReasoningEffort is "minimal", "low", "medium", "high" and so on, for
	// models that think first.
	ReasoningEffort string `yaml:"reasoning_effort"`
	// ContinueFinalMessage says that the server goes on with a last message of the
	// assistant, as vLLM and this program's own server do; then replies can be
	// prefilled. OpenAI's own can't.
	ContinueFinalMessage bool `yaml:"continue_final_message"`

	HTTPConfig `yaml:",inline"`

	// Tokenizer counts in place of the built-in vocabularies.
	Tokenizer TextTokenizer `yaml:"-"`
	// Warn is told, once each, what the server turned out not to support and what
	// is done instead. nil means slog.Warn.
	Warn func(message string) `yaml:"-"`

	hooks *retryHooks // tests only
}

// OpenAI is a model on a server that speaks OpenAI's protocol. What a server
// can do beyond chatting is found out as it is needed, and remembered.
type OpenAI struct {
	cfg     OpenAIConfig
	info    modelInfo
	client  *openai.Client
	http    *http.Client
	counter Counter
	dialect dialect

	mu     sync.Mutex
	absent map[string]bool // parameters and endpoints that the server lacks
	proven map[string]bool // what was seen to work
}

// dialect is what differs between servers of the same protocol.
type dialect struct {
	name string
	// systemOnce: only one system message is heard, and no tool role is known.
	systemOnce bool
	// plain: a chat has neither schemas nor log-probabilities.
	plain bool
	// ignored are parameters that the server takes and does not heed.
	ignored []string
	// room is how many tokens to leave free besides prompt and reply.
	room int
	// chooseBy are the ways to choose, best first.
	chooseBy []chooseMethod
}

// NewOpenAI makes a backend for one model. Only where its context length is neither given nor
// known, the server is asked for it.
func NewOpenAI(cfg OpenAIConfig) (*OpenAI, error) {
	o, err := newRemote(cfg, dialect{name: "openai"})
	if err != nil {
		return nil, err
	}
	o.dialect.chooseBy = []chooseMethod{
		{"decisions", o.chooseByService},
		{"logprobs", o.chooseByLogprobs},
		{"schema", o.chooseBySchema},
		{"text", o.chooseByReply},
	}
	return o, nil
}

func newRemote(cfg OpenAIConfig, d dialect) (*OpenAI, error) {
	cfg.ServerIP = strings.TrimRight(or(cfg.ServerIP, openAIServer), "/")
	if cfg.Warn == nil {
		cfg.Warn = func(message string) { slog.Warn(message) }
	}
	if cfg.hooks == nil {
		h := realHooks()
		cfg.hooks = &h
	}
	o := &OpenAI{cfg: cfg, dialect: d, absent: make(map[string]bool), proven: make(map[string]bool)}
	var err error
	if o.http, err = newHTTPClient(cfg.HTTPConfig, *cfg.hooks); err != nil {
		return nil, &Error{Op: d.name, Err: err}
	}
	if err := o.check(); err != nil {
		return nil, &Error{Op: d.name, Err: err, Advice: configAdvice(err)}
	}
	if o.counter, err = newCounter(cfg.Tokenizer, o.info.Encoding); err != nil {
		return nil, &Error{Op: d.name, Err: err}
	}
	c := openai.DefaultConfig(string(cfg.APIKey))
	c.BaseURL, c.OrgID, c.HTTPClient = cfg.ServerIP, cfg.Organization, doer{o.http}
	o.client = openai.NewClientWithConfig(c)
	return o, nil
}

func newCounter(t TextTokenizer, encoding string) (Counter, error) {
	if t != nil {
		return newTokenizerCounter(t), nil
	}
	return newTiktokenCounter(encoding)
}

// configError is a mistake in the configuration, with advice.
type configError struct{ text, advice string }

func (e *configError) Error() string { return e.text }

func configAdvice(err error) string {
	if c, ok := errors.AsType[*configError](err); ok {
		return c.advice
	}
	return ""
}

// check completes the configuration from what is known of the model.
func (o *OpenAI) check() error {
	if o.cfg.ModelID == "" {
		return &configError{"model_id is missing", "name the model, as in llm.model_id=gpt-4o-mini"}
	}
	u, err := url.Parse(o.cfg.ServerIP)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return &configError{fmt.Sprintf("server_ip %q is not an http or https URL",
			o.cfg.APIKey.redact(o.server())),
			"it looks like http://127.0.0.1:8000/v1"}
	}
	if o.info, _, err = lookupModel(o.cfg.ModelID); err != nil {
		return err
	}
	known := o.info.ContextLength
	if o.cfg.ContextLength == 0 && known == 0 {
		o.cfg.ContextLength = o.toldLength()
	}
	switch {
	case o.cfg.ContextLength < 0:
		return &configError{fmt.Sprintf("context_length is %d, must be positive", o.cfg.ContextLength),
			""}
	case o.cfg.ContextLength == 0 && known == 0:
		return &configError{"the context length of model " + o.cfg.ModelID + " is not known",
			"set llm.context_length to the most tokens that it takes"}
	case o.cfg.ContextLength > known && known > 0 && o.cfg.ServerIP == openAIServer:
		return &configError{fmt.Sprintf("context_length is %d, but model %s takes %d",
			o.cfg.ContextLength, o.cfg.ModelID, known),
			"leave context_length out, or lower it"}
	}
	o.cfg.ContextLength = or(o.cfg.ContextLength, known)
	return nil
}

// Close gives up idle connections. The backend can still be used.
func (o *OpenAI) Close() error {
	o.http.CloseIdleConnections()
	return nil
}

// ModelID is the name under which the server knows the model.
func (o *OpenAI) ModelID() string { return o.cfg.ModelID }

// ContextLength is the configured length, else that of the known model.
func (o *OpenAI) ContextLength() int { return o.cfg.ContextLength }

// server is the address for people, without a password.
func (o *OpenAI) server() string { return ShownURL(o.cfg.ServerIP) }

// Capabilities are what the server is assumed to do, less what it has refused.
func (o *OpenAI) Capabilities() Capabilities {
	if o.dialect.plain {
		o.mu.Lock()
		defer o.mu.Unlock()
		return Capabilities{Prefill: o.cfg.ContinueFinalMessage, ExactChoice: o.proven["prompt_logprobs"]}
	}
	logprobs := !o.info.Reasoning && !o.lacks("logprobs")
	return Capabilities{
		Prefill:     o.cfg.ContinueFinalMessage,
		Schema:      true, // where the server has no schemas, replies are checked here
		Logprobs:    logprobs,
		ExactChoice: logprobs || !o.lacks("decisions"),
	}
}

// CountTokens counts with the model's vocabulary and OpenAI's overhead for each
// message. Use CountChat to learn whether that is an estimate.
func (o *OpenAI) CountTokens(ctx context.Context, msgs []Message) (int, error) {
	c, err := o.CountChat(ctx, msgs)
	return c.Tokens, err
}

// CountChat counts like CountTokens and says how.
func (o *OpenAI) CountChat(ctx context.Context, msgs []Message) (Count, error) {
	return o.counter.CountChat(ctx, msgs)
}

// CountText counts plain text.
func (o *OpenAI) CountText(ctx context.Context, text string) (Count, error) {
	return o.counter.CountText(ctx, text)
}

// lacks reports whether the server was found not to have something.
func (o *OpenAI) lacks(what string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.absent[what]
}

// prove remembers that something works.
func (o *OpenAI) prove(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.proven[what] = true
}

// learn remembers that the server lacks something, and warns the first time.
func (o *OpenAI) learn(what, instead string) {
	o.mu.Lock()
	first := !o.absent[what]
	o.absent[what] = true
	o.mu.Unlock()
	if first {
		o.cfg.Warn(fmt.Sprintf("%s: the server does not support %s; %s", o.cfg.ModelID, what, instead))
	}
}

// admit checks a request and counts its prompt. A count that is an estimate
// refuses only what is certainly too long; the server decides the rest.
func (o *OpenAI) admit(ctx context.Context, req *Request) (Count, error) {
	if err := CheckRequest(req); err != nil {
		return Count{}, err
	}
	if err := CheckSupported(req, o.Capabilities()); err != nil {
		return Count{}, err
	}
	count, err := o.counter.CountChat(ctx, promptMessages(req))
	if err != nil {
		return Count{}, o.explain(ctx, "count", err)
	}
	limit := o.cfg.ContextLength
	if !count.Exact {
		limit += limit / estimateSlack
	}
	if count.Tokens > limit {
		return Count{}, &ContextError{Tokens: count.Tokens, Max: o.cfg.ContextLength}
	}
	return count, nil
}

// estimateSlack is the part of the context length by which an estimate may be
// wrong.
const estimateSlack = 10

// promptMessages are the messages with the prefill as the last one.
func promptMessages(req *Request) []Message {
	if req.Prefill == "" {
		return req.Messages
	}
	return append(slices.Clone(req.Messages), Message{Role: RoleAssistant, Content: req.Prefill})
}

// suggestModel names the server's model that is nearest to the configured one.
func (o *OpenAI) suggestModel(ctx context.Context) string {
	list, err := o.client.ListModels(ctx)
	if err != nil || len(list.Models) == 0 {
		return "check llm.model_id"
	}
	names := make([]string, len(list.Models))
	for i, m := range list.Models {
		names[i] = m.ID
	}
	slices.Sort(names)
	near := nearest(o.cfg.ModelID, names)
	const show = 8
	more := ""
	if len(names) > show {
		names, more = names[:show], ", …"
	}
	return fmt.Sprintf("did you mean llm.model_id=%s? The server has: %s%s", near,
		strings.Join(names, ", "), more)
}

// post sends JSON to an endpoint that the client library does not know.
func (o *OpenAI) post(ctx context.Context, url string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if o.cfg.APIKey != "" {
		req.Header.Set("Authorization", "Bearer "+string(o.cfg.APIKey))
	}
	if o.cfg.Organization != "" {
		req.Header.Set("OpenAI-Organization", o.cfg.Organization)
	}
	resp, err := o.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return readRefusal(resp.StatusCode, data, o.cfg.APIKey)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("the server's answer is not the JSON expected: %w", err)
	}
	return nil
}

// readRefusal reads an error body in OpenAI's form or another.
func readRefusal(status int, body []byte, key Secret) *RemoteError {
	var form openai.ErrorResponse
	if json.Unmarshal(body, &form) == nil && form.Error != nil {
		form.Error.HTTPStatusCode = status
		return toRemoteError(form.Error, key)
	}
	return parseErrorBody(status, body).clean(key)
}

// wireKey finds the wireFields in a context.
type wireKey struct{}

// wireFields are fields of a request's body that the client library's types
// can't express: zeros that mean zero, empty texts, and what other servers know.
type wireFields map[string]any

func withWireFields(ctx context.Context, f wireFields) context.Context {
	return context.WithValue(ctx, wireKey{}, f)
}

// doer completes requests and normalises event streams.
type doer struct{ *http.Client }

// Do sends one request.
func (d doer) Do(req *http.Request) (*http.Response, error) {
	if err := addWireFields(req); err != nil {
		return nil, err
	}
	resp, err := d.Client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		if err := checkPage(resp); err != nil {
			return nil, err
		}
	}
	if req.Header.Get("Accept") == "text/event-stream" &&
		resp.StatusCode < http.StatusMultipleChoices {
		if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
			resp.Body = asEvent(resp.Body)
		}
		resp.Body = newSSEBody(resp.Body)
	}
	return resp, nil
}

// asEvent makes one event of a whole answer, from a server that can't stream.
func asEvent(body io.ReadCloser) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(strings.NewReader("data: "), &noNewlines{body},
		strings.NewReader("\n\ndata: [DONE]\n\n")), body}
}

// noNewlines turns the newlines of JSON, which mean nothing, into spaces.
type noNewlines struct{ io.Reader }

func (r *noNewlines) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	for i, c := range p[:n] {
		if c == '\n' || c == '\r' {
			p[i] = ' '
		}
	}
	return n, err
}

func addWireFields(req *http.Request) error {
	fields, _ := req.Context().Value(wireKey{}).(wireFields)
	if len(fields) == 0 || req.Body == nil {
		return nil
	}
	data, err := io.ReadAll(req.Body)
	if err != nil {
		return err
	}
	body := make(map[string]json.RawMessage)
	if err := json.Unmarshal(data, &body); err != nil {
		return err
	}
	for k, v := range fields {
		if body[k], err = json.Marshal(v); err != nil {
			return err
		}
	}
	if data, err = json.Marshal(body); err != nil {
		return err
	}
	req.Body = io.NopCloser(bytes.NewReader(data))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	req.ContentLength = int64(len(data))
	return nil
}
