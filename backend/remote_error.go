package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/sashabaranov/go-openai"
)

// RemoteError is a server's refusal. No credentials are in its text.
type RemoteError struct {
	Status  int    // HTTP status; 200 when a stream broke with an error event
	Code    string // the server's own code, if any
	Param   string // the parameter that it names, if any
	Message string
}

func (e *RemoteError) Error() string {
	text := e.Message
	if text == "" {
		text = http.StatusText(e.Status)
	}
	if e.Status == http.StatusOK {
		return "the server broke off: " + text
	}
	return fmt.Sprintf("the server answered %d: %s", e.Status, text)
}

// FastChat's error codes, in place of HTTP statuses (it answers 400 to all).
const (
	fastchatInvalidAuth     = "40101"
	fastchatIncorrectAuth   = "40102"
	fastchatInvalidModel    = "40301"
	fastchatContextOverflow = "40303"
	fastchatNoWorker        = "50005"
)

const errorRunesMax = 600 // of a server's message

// Secret is a string that no formatting, logging or encoding shows. Convert it
// to string to use it.
type Secret string

const redacted = "[redacted]"

// String hides the secret; empty stays empty, so that one can see what is set.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText hides the secret from JSON, YAML and slog.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// looksLikeKey finds keys in the form that OpenAI gives them, also partly
// masked, as its error messages show them.
var looksLikeKey = regexp.MustCompile(`\b(sk|sess)-[A-Za-z0-9_*-]{4,}`)

// redact removes the key, and what looks like one, from a text.
func (s Secret) redact(text string) string {
	// Short keys and the customary "EMPTY" are no secrets, and common words.
	if len(s) >= 6 {
		text = strings.ReplaceAll(text, string(s), redacted)
	}
	return looksLikeKey.ReplaceAllString(text, redacted)
}

// toRemoteError reads what the client library makes of a refusal; nil when err
// is something else.
func toRemoteError(err error, key Secret) *RemoteError {
	var api *openai.APIError
	var raw *openai.RequestError
	var done *RemoteError
	switch {
	case errors.As(err, &done):
		return done
	case errors.As(err, &api):
		e := &RemoteError{Status: api.HTTPStatusCode, Message: api.Message}
		if api.Code != nil {
			e.Code = fmt.Sprint(api.Code)
		}
		if e.Status == 0 {
			e.Status = http.StatusOK
		}
		if api.Param != nil {
			e.Param = *api.Param
		}
		return e.clean(key)
	case errors.As(err, &raw):
		return parseErrorBody(raw.HTTPStatusCode, raw.Body).clean(key)
	}
	return nil
}

func (e *RemoteError) clean(key Secret) *RemoteError {
	e.Message = firstRunes(key.redact(strings.Join(strings.Fields(e.Message), " ")), errorRunesMax)
	return e
}

// parseErrorBody reads the forms of error bodies other than OpenAI's: that of
// FastChat, that of FastAPI, and plain text.
func parseErrorBody(status int, body []byte) *RemoteError {
	var form struct {
		Message string          `json:"message"`
		Code    json.RawMessage `json:"code"`
		Detail  json.RawMessage `json:"detail"`
		Error   json.RawMessage `json:"error"`
	}
	e := &RemoteError{Status: status}
	if json.Unmarshal(body, &form) != nil {
		e.Message = string(body)
		return e
	}
	e.Message, e.Code = form.Message, strings.Trim(string(form.Code), `"`)
	for _, other := range []json.RawMessage{form.Detail, form.Error} {
		if e.Message == "" && len(other) > 0 {
			e.Message = detailText(other)
		}
	}
	return e
}

// detailText is a JSON string's text, else a message in the object, else the
// JSON itself.
func detailText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var object struct {
		Message string `json:"message"`
		Code    string `json:"code"`
		Error   struct {
			Message string `json:"message"`
			Code    string `json:"code"`
		} `json:"error"`
	}
	if json.Unmarshal(raw, &object) == nil {
		for _, s := range []string{object.Message, object.Error.Message, object.Code, object.Error.Code} {
			if s != "" {
				return s
			}
		}
	}
	return string(raw)
}

// The ways in which servers tell that a prompt is too long, each with the two
// numbers: OpenAI, FastChat and older vLLM; newer vLLM; this program.
var contextPatterns = []struct {
	*regexp.Regexp
	max, tokens int // submatches
}{
	{regexp.MustCompile(`maximum context length is (\d+) tokens.*?\((\d+) in (?:the|your) (?:messages|prompt)`), 1, 2},
	{regexp.MustCompile(`maximum context length is (\d+) tokens.*?resulted in (\d+) tokens`), 1, 2},
	{regexp.MustCompile(`maximum context length is (\d+) tokens.*?(?:prompt|input) contains (?:at least )?(\d+)`), 1, 2},
	{regexp.MustCompile(`maximum context length is (\d+) tokens.*?requested (?:about )?(\d+) tokens`),
		1, 2},
	{regexp.MustCompile(`prompt has (\d+) tokens, more than the context length of (\d+)`), 2, 1},
	{regexp.MustCompile(`request \((\d+) tokens\) exceeds the available context size \((\d+) tokens\)`), 2, 1},
}

// contextError reads both numbers out of a refusal for length; nil when it is
// none, or when the prompt alone would fit.
func (e *RemoteError) contextError() *ContextError {
	for _, p := range contextPatterns {
		m := p.FindStringSubmatch(e.Message)
		if m == nil {
			continue
		}
		size, err1 := strconv.Atoi(m[p.max])
		tokens, err2 := strconv.Atoi(m[p.tokens])
		if err1 != nil || err2 != nil || tokens < size {
			return nil
		}
		return &ContextError{Tokens: tokens, Max: size}
	}
	return nil
}

// isModelUnknown reports whether the server does not have the model.
func (e *RemoteError) isModelUnknown() bool {
	return e.Code == "model_not_found" || e.Code == fastchatInvalidModel ||
		e.Status == http.StatusNotFound && strings.Contains(strings.ToLower(e.Message), "model")
}

// isNoKey reports whether the server does not accept the key.
func (e *RemoteError) isNoKey() bool {
	return e.Status == http.StatusUnauthorized || e.Code == fastchatInvalidAuth ||
		e.Code == fastchatIncorrectAuth
}

// advice is what a person can do about a refusal.
func (e *RemoteError) advice() string {
	switch {
	case e.isNoKey():
		return "set llm.api_key, or the environment variable that the configuration takes it from, to a valid " +
			"key of this server"
	case e.Status == http.StatusForbidden:
		return "this key may not use this model or endpoint; ask the owner of the account"
	case e.Status == http.StatusTooManyRequests:
		return "the server limits requests or the quota is used up; wait, or check plan and billing"
	case e.Code == fastchatContextOverflow || e.Code == "context_length_exceeded":
		return (&ContextError{}).Hint()
	case e.Code == fastchatNoWorker:
		return "no FastChat worker serves this model now; see the controller's log"
	case e.Status == http.StatusNotFound:
		return "check llm.server_ip: it usually ends in /v1"
	case e.Status >= http.StatusInternalServerError:
		return "the server failed, also when asked again; see its log, or try later"
	}
	return ""
}

// networkAdvice is what a person can do when a server can't be reached.
func networkAdvice(err error, server string) string {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &dns):
		return "the host name in llm.server_ip (" + server +
			") can't be resolved; check it and the network"
	case errors.As(err, &op) && op.Op == "dial":
		return "nothing answers at " + server + "; is the server running, and llm.server_ip right?"
	case strings.Contains(err.Error(), "certificate"):
		return "the server's certificate is not trusted; set llm.ca_file to the PEM file of its authority"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "the server speaks plain HTTP; write http:// in llm.server_ip"
	}
	return ""
}

// plainError is an error without its chain, for texts that were redacted.
type plainError string

func (e plainError) Error() string { return string(e) }

// explain makes an error for people of whatever went wrong: the context's own
// error when that ended it, a ContextError for a prompt that is too long, else
// an Error with advice and without credentials.
func (o *OpenAI) explain(ctx context.Context, verb string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var tooLong *ContextError
	var ours *Error
	if errors.As(err, &tooLong) || errors.As(err, &ours) || errors.Is(err, ErrUnsupported) {
		return err
	}
	op := o.cfg.ModelID + ": " + verb
	if none, ok := errors.AsType[*noReply](err); ok {
		return &Error{Op: op, Err: plainError(o.cfg.APIKey.redact(none.Error())), Advice: none.Hint()}
	}
	remote := toRemoteError(err, o.cfg.APIKey)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errCutOff
	}
	if remote == nil {
		return &Error{Op: op, Err: o.redactError(err), Advice: networkAdvice(err, o.server())}
	}
	if tooLong := remote.contextError(); tooLong != nil {
		return tooLong
	}
	advice := remote.advice()
	if remote.isModelUnknown() {
		advice = o.suggestModel(ctx)
	}
	return &Error{Op: op, Err: remote, Advice: advice}
}

// redactError keeps an error's chain unless its text holds the key.
func (o *OpenAI) redactError(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // the URL is in the advice
	}
	if clean := o.cfg.APIKey.redact(err.Error()); clean != err.Error() {
		return plainError(clean)
	}
	return err
}
