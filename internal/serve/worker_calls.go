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

// endpoints are what controller and API server call. All take POST.
func (k *worker) endpoints() []route {
	calls := map[string]func(http.ResponseWriter, *http.Request) error{
		"/worker_generate_stream":   k.stream,
		"/worker_generate":          k.generate,
		"/worker_get_embeddings":    k.embeddings,
		"/count_token":              k.countToken,
		"/worker_get_status":        tells(func() any { return k.status() }),
		"/worker_get_conv_template": tells(func() any { return map[string]any{"conv": k.marks.template()} }),
		"/model_details": tells(func() any {
			return map[string]int{"context_length": k.model.backend.ContextLength()}
		}),
	}
	var out []route
	for path, call := range calls {
		out = append(out, route{method: http.MethodPost, path: path, serve: call, cluster: true})
	}
	return out
}

// tells answers with a value, whatever the request says.
func tells(value func() any) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error { return writeJSON(w, http.StatusOK, value()) }
}

// countToken counts a prompt as it will be computed. A failure is an HTTP
// error: a number would be taken for a count.
func (k *worker) countToken(w http.ResponseWriter, r *http.Request) error {
	f, err := readFields(w, r)
	if err != nil {
		return err
	}
	prompt := f.text("prompt")
	if f.err != nil {
		return f.err
	}
	n, err := k.countPrompt(r.Context(), prompt)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]int{"count": n, "error_code": 0})
}

func (k *worker) countPrompt(ctx context.Context, prompt string) (int, error) {
	msgs, chat, err := decodeChat(prompt)
	if err != nil {
		return 0, badValue("prompt", "%v.", err)
	}
	b := k.model.backend
	if err := k.model.checkFits(prompt, nil); err != nil {
		return 0, err
	}
	if chat {
		return b.CountTokens(ctx, msgs)
	}
	if m, ok := backend.As[TextModel](b); ok {
		ids, _, err := m.TokenizePrompt(prompt)
		return len(ids), err
	}
	if c, ok := backend.As[backend.Counter](b); ok {
		count, err := c.CountText(ctx, prompt)
		return count.Tokens, err
	}
	return 0, unsupported("prompt", "as plain text can't be counted by the backend of this worker.")
}

// embeddings makes vectors; like all calls that compute, it tells errors in
// FastChat's own way.
func (k *worker) embeddings(w http.ResponseWriter, r *http.Request) error {
	answer, err := k.embed(w, r)
	if err != nil {
		failed, gone := clusterError(r, err)
		if gone {
			return errGone
		}
		return writeJSON(w, http.StatusOK, failed)
	}
	return writeJSON(w, http.StatusOK, answer)
}

func (k *worker) embed(w http.ResponseWriter, r *http.Request) (map[string]any, error) {
	f, err := readFields(w, r)
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
	vectors, tokens, err := k.model.embed(r, texts)
	if err != nil {
		return nil, err
	}
	return map[string]any{"embedding": encoded(vectors, format), "token_num": tokens}, nil
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
func clusterError(r *http.Request, err error) (answer workerAnswer, gone bool) {
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

// generate serves /worker_generate.
func (k *worker) generate(w http.ResponseWriter, r *http.Request) error {
	var last workerAnswer
	for a, err := range k.reply(w, r) {
		if err != nil {
			var gone bool
			if last, gone = clusterError(r, err); gone {
				return errGone
			}
			break
		}
		last = a
	}
	return writeJSON(w, http.StatusOK, last)
}

// stream serves /worker_generate_stream: JSON objects, each ended by a
// NUL byte.
func (k *worker) stream(w http.ResponseWriter, r *http.Request) error {
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
	for a, err := range k.reply(w, r) {
		if err != nil {
			failed, gone := clusterError(r, err)
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

// reply reads a request and yields the reply as it grows.
func (k *worker) reply(w http.ResponseWriter, r *http.Request) iter.Seq2[workerAnswer, error] {
	return func(yield func(workerAnswer, error) bool) {
		call, logprobs, err := k.readCall(w, r)
		if err != nil {
			yield(workerAnswer{}, err)
			return
		}
		var text strings.Builder
		answer := workerAnswer{Usage: &usageBody{}}
		if logprobs {
			answer.Logprobs = newTextLogprobs()
		}
		for ev, err := range k.model.run(r, []reply{call}) {
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

// readCall understands a request of the API server: an encoded conversation, or
// a prompt of plain text.
func (k *worker) readCall(w http.ResponseWriter, r *http.Request,
) (call reply, logprobs bool, err error) {
	f, err := readFields(w, r)
	if err != nil {
		return nil, false, err
	}
	f.take("model") // a worker has one
	prompt := f.text("prompt")
	stops := slices.DeleteFunc(f.texts("stop"), func(s string) bool { return s == "" })
	req := &backend.Request{Sampling: f.sampling(), Stop: stops, StopTokens: k.stopTokens(f)}
	c := &textCall{req: req, echo: true} // echo is FastChat's default
	f.textLimits("max_new_tokens", c)
	f.read("echo", "true or false", &c.echo)
	if err := f.end(); err != nil {
		return nil, false, err
	}
	if err := k.model.able(req, nil); err != nil {
		return nil, false, err
	}
	call, err = k.start(prompt, c)
	return call, req.Logprobs, err
}

// stopTokens reads FastChat's stop_token_ids. They go to the model as ids: most
// are control tokens, which have no text, and the text of an ordinary one may
// come in another way too.
func (k *worker) stopTokens(f *fields) []int {
	var list []*int // a null would be read as token 0
	f.read("stop_token_ids", "a list of token ids", &list)
	if len(list) > stopTokensMax {
		f.fail(badValue("stop_token_ids", "%d tokens, at most %d are supported.", len(list),
			stopTokensMax))
	}
	m, _ := backend.As[TextModel](k.model.backend)
	var ids []int
	for i, id := range list {
		if id == nil || !known(m, *id) {
			f.fail(badValue(fmt.Sprintf("stop_token_ids[%d]", i),
				"it is no token of the model's vocabulary."))
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

// start is the reply to a prompt, with the settings of c.
func (k *worker) start(prompt string, c *textCall) (reply, error) {
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
		return func(ctx context.Context) iter.Seq2[backend.Delta, error] {
			return k.model.backend.ChatCompletion(ctx, c.req)
		}, nil
	}
	k.warnRaw()
	m, ok := backend.As[TextModel](k.model.backend)
	if !ok {
		return nil, unsupported("prompt",
			"as plain text can't be completed by the backend of this worker; it takes conversations.")
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
func (k *worker) warnRaw() {
	k.warnedRaw.Do(func() {
		k.model.log.Warn("a prompt came as plain text, not as a conversation: a raw completion, or a client " +
			"that renders chats by a template of its own, as FastChat's web page does. It is continued as it is; " +
			"such a chat template may not be this model's")
	})
}
