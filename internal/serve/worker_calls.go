package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"agent/backend"
)

// FastChat's error codes, which are not HTTP statuses: its API server reads
// them from answers of status 200.
const (
	fastchatBadValue   = 40302
	fastchatTooLong    = 40303
	fastchatBusy       = 42903
	fastchatInternal   = 50001
	fastchatOverloaded = 50006
)

// workerTick is the least time between two events of a reply, but for the
// last: each repeats the whole text so far.
const workerTick = 40 * time.Millisecond

// workerEndpoints are what controller and API server call. All take POST.
func workerEndpoints() []route {
	calls := map[string]func(*Server, http.ResponseWriter, *http.Request) error{
		"/worker_generate_stream":   (*Server).workerStream,
		"/worker_generate":          (*Server).workerWhole,
		"/worker_get_status":        (*Server).workerStatus,
		"/worker_get_embeddings":    (*Server).workerEmbeddings,
		"/worker_get_conv_template": (*Server).workerTemplate,
		"/count_token":              (*Server).workerCount,
		"/model_details":            (*Server).workerDetails,
	}
	var out []route
	for path, call := range calls {
		out = append(out, route{method: http.MethodPost, path: path, serve: call, cluster: true})
	}
	return out
}

func (s *Server) workerStatus(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, http.StatusOK, s.worker.status())
}

func (s *Server) workerDetails(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]int{"context_length": s.backend.ContextLength()})
}

func (s *Server) workerTemplate(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]any{"conv": s.worker.marks.template()})
}

// workerCount counts a prompt as it will be computed. A failure is an HTTP
// error: a number would be taken for a count.
func (s *Server) workerCount(w http.ResponseWriter, r *http.Request) error {
	data, err := readBody(w, r)
	if err != nil {
		return err
	}
	var in struct {
		Prompt string `json:"prompt"`
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return badValue("prompt", "it must be a string.")
	}
	n, err := s.countPrompt(r.Context(), in.Prompt)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]int{"count": n, "error_code": 0})
}

func (s *Server) countPrompt(ctx context.Context, prompt string) (int, error) {
	msgs, chat, err := decodeChat(prompt)
	if err != nil {
		return 0, badValue("prompt", "%v.", err)
	}
	if err := s.checkFits(prompt, nil); err != nil {
		return 0, err
	}
	if chat {
		return s.backend.CountTokens(ctx, msgs)
	}
	if m, ok := backend.As[TextModel](s.backend); ok {
		ids, _, err := m.TokenizePrompt(prompt)
		return len(ids), err
	}
	if c, ok := backend.As[backend.Counter](s.backend); ok {
		count, err := c.CountText(ctx, prompt)
		return count.Tokens, err
	}
	return 0, unsupported("prompt", "as plain text can't be counted by the backend of this worker.")
}

// workerEmbeddings makes vectors; like all calls that compute, it tells errors
// in FastChat's own way.
func (s *Server) workerEmbeddings(w http.ResponseWriter, r *http.Request) error {
	answer, err := s.embedForCluster(w, r)
	if err != nil {
		failed, gone := s.clusterError(r, err)
		if gone {
			return errGone
		}
		return writeJSON(w, http.StatusOK, failed)
	}
	return writeJSON(w, http.StatusOK, answer)
}

func (s *Server) embedForCluster(w http.ResponseWriter, r *http.Request) (map[string]any, error) {
	data, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	f, err := parseFields(data)
	if err != nil {
		return nil, err
	}
	f.take("model")
	format := f.text("encoding_format")
	texts := f.texts("input")
	checkInputs(f, texts)
	if err := f.end(); err != nil {
		return nil, err
	}
	vectors, tokens, err := s.embed(r, texts)
	if err != nil {
		return nil, err
	}
	out := make([]any, len(vectors))
	for i, v := range vectors {
		out[i] = v
		if format == "base64" {
			out[i] = base64Floats(v)
		}
	}
	return map[string]any{"embedding": out, "token_num": tokens}, nil
}

// workerAnswer is a reply so far: text is all of it.
type workerAnswer struct {
	Text         string        `json:"text"`
	ErrorCode    int           `json:"error_code"`
	Usage        *usageBody    `json:"usage,omitempty"`
	FinishReason *string       `json:"finish_reason,omitempty"`
	Logprobs     *textLogprobs `json:"logprobs,omitempty"`
}

// clusterError is an error as FastChat tells it. gone: there is nobody to tell.
func (s *Server) clusterError(r *http.Request, err error) (answer workerAnswer, gone bool) {
	err = explain(r.Context(), err)
	var api *apiError
	if !errors.As(err, &api) {
		return answer, true
	}
	code := fastchatInternal
	switch {
	case api.code == "context_length_exceeded":
		code = fastchatTooLong
	case api == errBusy:
		code = fastchatBusy
	case api.status == http.StatusServiceUnavailable:
		code = fastchatOverloaded
	case api.status < http.StatusInternalServerError:
		code = fastchatBadValue
	}
	return workerAnswer{Text: api.message, ErrorCode: code}, false
}

// workerWhole serves /worker_generate.
func (s *Server) workerWhole(w http.ResponseWriter, r *http.Request) error {
	var last workerAnswer
	for a, err := range s.workerReply(w, r) {
		if err != nil {
			var gone bool
			if last, gone = s.clusterError(r, err); gone {
				return errGone
			}
			break
		}
		last = a
	}
	return writeJSON(w, http.StatusOK, last)
}

// workerStream serves /worker_generate_stream: JSON objects, each ended by a
// NUL byte.
func (s *Server) workerStream(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "application/octet-stream")
	conn := http.NewResponseController(w)
	send := func(a workerAnswer) error {
		data, err := json.Marshal(a)
		if err != nil {
			return err
		}
		_ = conn.SetWriteDeadline(time.Now().Add(writeWithin))
		if _, err := w.Write(append(data, 0)); err != nil {
			return errGone
		}
		if err := conn.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return errGone
		}
		return nil
	}
	var sent time.Time
	for a, err := range s.workerReply(w, r) {
		if err != nil {
			failed, gone := s.clusterError(r, err)
			if gone {
				return errGone
			}
			return send(failed)
		}
		if a.FinishReason == nil && time.Since(sent) < workerTick {
			continue
		}
		sent = time.Now()
		if a.FinishReason != nil {
			// The API server drops text that comes together with the end when it
			// is short of it; so the text goes first, then the end.
			whole := a
			whole.FinishReason = nil
			if err := send(whole); err != nil {
				return err
			}
		}
		if err := send(a); err != nil {
			return err
		}
	}
	return nil
}

// workerReply reads a request and yields the reply as it grows.
func (s *Server) workerReply(w http.ResponseWriter, r *http.Request) iter.Seq2[workerAnswer, error] {
	return func(yield func(workerAnswer, error) bool) {
		call, logprobs, err := s.readWorkerCall(w, r)
		if err != nil {
			yield(workerAnswer{}, err)
			return
		}
		var text strings.Builder
		answer := workerAnswer{Usage: &usageBody{}}
		if logprobs {
			answer.Logprobs = newTextLogprobs()
		}
		for ev, err := range s.run(r, []reply{call}) {
			if err != nil {
				yield(workerAnswer{}, err)
				return
			}
			text.WriteString(ev.Text)
			answer.Text = text.String()
			if logprobs {
				answer.Logprobs.add(ev.Tokens)
			}
			answer.FinishReason = finishReason(ev.Finish)
			answer.Usage.add(ev.Usage, true)
			if !yield(answer, nil) {
				return
			}
		}
	}
}

// readWorkerCall understands a request of the API server: an encoded
// conversation, or a prompt of plain text.
func (s *Server) readWorkerCall(w http.ResponseWriter, r *http.Request) (call reply, logprobs bool, err error) {
	data, err := readBody(w, r)
	if err != nil {
		return nil, false, err
	}
	f, err := parseFields(data)
	if err != nil {
		return nil, false, err
	}
	f.take("model") // a worker has one
	prompt := f.text("prompt")
	req := &backend.Request{Sampling: f.sampling(), Stop: slices.DeleteFunc(f.texts("stop"), func(s string) bool { return s == "" }),
		StopTokens: s.stopTokens(f)}
	c := &textCall{req: req, echo: true} // echo is FastChat's default
	if n := f.integer("max_new_tokens", 0, 1<<31-1); n != nil {
		req.TokensMax, c.none = int(*n), *n == 0
	}
	if n := f.integer("logprobs", 0, backend.TopLogprobsMax); n != nil {
		req.Logprobs, req.TopLogprobs = true, int(*n)
	}
	f.read("echo", "true or false", &c.echo)
	if err := f.end(); err != nil {
		return nil, false, err
	}
	if err := s.able(req); err != nil {
		return nil, false, err
	}
	call, err = s.workerCall(prompt, c)
	return call, req.Logprobs, err
}

// stopTokens reads FastChat's stop_token_ids. They go to the model as ids: most
// are control tokens, which have no text, and the text of an ordinary one may
// come in another way too.
func (s *Server) stopTokens(f *fields) []int {
	var list []*int // a null would be read as token 0
	f.read("stop_token_ids", "a list of token ids", &list)
	if len(list) > stopTokensMax {
		f.fail(badValue("stop_token_ids", "%d tokens, at most %d are supported.", len(list), stopTokensMax))
	}
	m, _ := backend.As[TextModel](s.backend)
	var ids []int
	for i, id := range list {
		if id == nil || !known(m, *id) {
			f.fail(badValue(fmt.Sprintf("stop_token_ids[%d]", i), "it is no token of the model's vocabulary."))
			return nil
		}
		ids = append(ids, *id)
	}
	return ids
}

// known reports whether a model has a token; nil stands for one that can't tell.
func known(m TextModel, id int) bool {
	if m == nil {
		return id >= 0
	}
	_, err := m.DetokenizePrompt([]int{id})
	return err == nil
}

// workerCall is the reply to a prompt, with the settings of c.
func (s *Server) workerCall(prompt string, c *textCall) (reply, error) {
	msgs, chat, err := decodeChat(prompt)
	switch {
	case err != nil:
		return nil, badValue("prompt", "%v.", err)
	case chat && c.echo:
		return nil, unsupported("echo", "of a conversation is not supported by this worker.")
	case chat && c.none:
		return nil, badValue("max_new_tokens", "it is 0, must be 1 or more for a conversation.")
	case chat:
		c.req.Messages = msgs
		return func(ctx context.Context) iter.Seq2[backend.Delta, error] { return s.backend.ChatCompletion(ctx, c.req) }, nil
	}
	s.worker.warnRaw()
	m, ok := backend.As[TextModel](s.backend)
	if !ok {
		return nil, unsupported("prompt", "as plain text can't be completed by the backend of this worker; it takes conversations.")
	}
	if c.prompt, err = newTextPrompt(m, prompt); err != nil {
		return nil, err
	}
	if len(c.prompt.ids) == 0 {
		return nil, badValue("prompt", "it is empty.")
	}
	return c.start(m), nil
}

// warnRaw says once that a prompt came without this worker's template.
func (w *worker) warnRaw() {
	w.warnedRaw.Do(func() {
		w.server.log.Warn("a prompt came as plain text, not as a conversation: a raw completion, or a client that renders chats by a " +
			"template of its own, as FastChat's web page does. It is continued as it is; such a chat template may not be this model's")
	})
}
