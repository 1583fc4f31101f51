package serve

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"agent/backend"
)

// apiError is a refusal in OpenAI's form.
type apiError struct {
	status     int
	message    string
	code       string
	param      string
	retryAfter time.Duration
	tooLong    *backend.ContextError // the numbers, where it is that
}

func (e *apiError) Error() string { return e.message }

// kind is OpenAI's "type" of an error.
func (e *apiError) kind() string {
	switch {
	case e.status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case e.status >= http.StatusInternalServerError:
		return "server_error"
	}
	return "invalid_request_error"
}

// errorBody is how errors travel, as a body or as an event.
type errorBody struct {
	Error struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	} `json:"error"`
}

func (e *apiError) body() errorBody {
	var b errorBody
	b.Error.Message, b.Error.Type = e.message, e.kind()
	if e.param != "" {
		b.Error.Param = &e.param
	}
	if e.code != "" {
		b.Error.Code = &e.code
	}
	return b
}

// write sends the error as the response to r.
func (e *apiError) write(w http.ResponseWriter, r *http.Request) {
	if e.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.retryAfter.Seconds()))))
	}
	var body any = e.body()
	switch {
	case strings.HasPrefix(r.URL.Path, messagesPath):
		body = e.messagesBody()
	case strings.HasPrefix(r.URL.Path, ollamaPath):
		body = e.ollamaBody()
	}
	_ = writeJSON(w, e.status, body)
}

// badValue refuses the value of a field.
func badValue(param, format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, code: "invalid_value", param: param,
		message: fmt.Sprintf("Invalid value for %q: ", param) + fmt.Sprintf(format, args...)}
}

// unsupported refuses what this server or its backend can't do.
func unsupported(param, format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, code: "unsupported_parameter", param: param,
		message: fmt.Sprintf("Unsupported parameter: %q ", param) + fmt.Sprintf(format, args...)}
}

// errGone: the client went away; there is nobody to tell.
var errGone = errors.New("the client went away")

var (
	errBusy = &apiError{status: http.StatusTooManyRequests, code: "queue_full", retryAfter: retryAfter,
		message: "Too many requests are waiting. Try again later."}
	errSlow = &apiError{status: http.StatusServiceUnavailable, code: "queue_timeout",
		retryAfter: retryAfter,
		message:    "The request waited too long for its first token. Try again later."}
	errTooLong = &apiError{status: http.StatusServiceUnavailable, code: "timeout",
		retryAfter: retryAfter, message: "The request took longer than this server allows."}
	errShutdown = &apiError{status: http.StatusServiceUnavailable, code: "shutting_down",
		retryAfter: retryAfter, message: "The server is shutting down."}
)

// panicError is a panic of a reply's own goroutine on its way to the handler's.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return "panic while replying" }

// errMistake is what a client is told of a panic.
var errMistake = &apiError{status: http.StatusInternalServerError, code: "internal_error",
	message: "The server made a mistake; see its log."}

// explain makes an apiError of whatever went wrong. ctx is the request's, whose
// cause tells why work was cancelled.
func explain(ctx context.Context, err error) error {
	var api *apiError
	var tooLong *backend.ContextError
	var remote *backend.RemoteError
	var refused *backend.ChatRefusedError
	switch {
	case errors.As(err, &api):
		return api
	case ctx.Err() != nil:
		if errors.As(context.Cause(ctx), &api) {
			return api
		}
		return errGone
	case errors.As(err, &tooLong):
		return contextExceeded(tooLong)
	case errors.As(err, &refused):
		message := err.Error()
		var hint interface{ Hint() string }
		if errors.As(err, &hint) && hint.Hint() != "" {
			message += "; " + hint.Hint()
		}
		return &apiError{status: http.StatusBadRequest, code: "chat_template_refused", param: "messages",
			message: message}
	case errors.Is(err, backend.ErrUnsupported):
		return &apiError{status: http.StatusBadRequest, code: "unsupported_parameter",
			message: err.Error()}
	case errors.As(err, &remote):
		return &apiError{status: gatewayStatus(remote.Status), code: "upstream_error",
			param: remote.Param, message: err.Error()}
	}
	return &apiError{status: http.StatusInternalServerError, code: "internal_error",
		message: err.Error()}
}

// isPlain reports whether an error is none that explain knows, so that its
// cause may lie in the request.
func isPlain(err error) bool {
	var api *apiError
	var tooLong *backend.ContextError
	var remote *backend.RemoteError
	var refused *backend.ChatRefusedError
	return !errors.As(err, &api) && !errors.As(err, &refused) && !errors.As(err, &tooLong) &&
		!errors.As(err, &remote) && !errors.Is(err, backend.ErrUnsupported) &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// contextExceeded says in OpenAI's words, which clients search for the numbers,
// that a prompt does not fit.
func contextExceeded(e *backend.ContextError) *apiError {
	more := ""
	if e.AtLeast {
		more = " or more"
	}
	return &apiError{status: http.StatusBadRequest, code: "context_length_exceeded", param: "messages",
		tooLong: e, message: fmt.Sprintf(
			"This model's maximum context length is %d tokens. However, your messages resulted in %d tokens%s. "+
				"Please reduce the length of the messages.", e.Max, e.Tokens, more)}
}

// textName is what the text is called that does not fit, by path, where it is not
// "messages".
func textName(path string) string {
	switch strings.TrimPrefix(strings.TrimRight(path, "/"), "/v1") {
	case "/completions":
		return "prompt"
	case "/responses", "/embeddings", "/decisions":
		return "input"
	case "/tokenize":
		return "content"
	}
	return "messages"
}

var whichText = regexp.MustCompile(`^text (\d+): `)

// named says of what a request called its text that it is too long, and of several texts
// which one.
func (e *apiError) named(path string, cause error) *apiError {
	name := textName(path)
	if e.tooLong == nil || name == "messages" {
		return e
	}
	out := *e
	out.message = strings.ReplaceAll(e.message, "messages", name)
	if m := whichText.FindStringSubmatch(cause.Error()); m != nil {
		n, _ := strconv.Atoi(m[1])
		name = fmt.Sprintf("%s[%d]", name, n-1)
		out.message = strings.Replace(out.message, "your input", "your "+name, 1)
	}
	out.param = name
	return &out
}

// gatewayStatus is what a client is told when the server behind this one
// refused: what concerns the request is passed on, the rest is ours.
func gatewayStatus(status int) int {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusTooManyRequests:
		return status
	}
	return http.StatusBadGateway
}
