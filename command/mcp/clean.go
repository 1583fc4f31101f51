package mcp

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"agent/internal/legible"
)

// clean is a stranger's text without terminal codes and without characters that
// hide text or turn its direction.
func clean(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return r
		case legible.BreaksLine(r), r >= 0xe0000 && r <= 0xe007f: // tags hide text
			return -1
		}
		return r
	}, strings.ToValidUTF8(strings.ReplaceAll(text, "\r\n", "\n"), "\uFFFD")))
}

var (
	secretName = regexp.MustCompile(`(?i)key|token|secret|passw|pwd|credential|auth|cookie|pin$`)
	// paths and addresses
	harmless = regexp.MustCompile(`^(?:[./~].*|[a-z]+://[^@?]*|[A-Za-z]:\\.*)$`)
)

// Shorter values would blank out innocent words.
const (
	secretChars = 4 // where the name says that it is secret
	plainChars  = 8 // where it does not
)

// secrets removes configured values from what a server says.
type secrets struct{ replace *strings.Replacer }

// newSecrets hides the values of headers and variables, also when encoded. Paths,
// addresses and short words stay, unless their name says that they are secret.
func newSecrets(c Server) secrets {
	var values []string
	for name, value := range c.Env {
		if len(value) >= plainChars && !harmless.MatchString(value) ||
			len(value) >= secretChars && secretName.MatchString(name) {
			values = append(values, value)
		}
	}
	for _, value := range c.Headers {
		values = append(values, value)
		if _, credential, ok := strings.Cut(value, " "); ok { // Bearer …, Basic …
			values = append(values, strings.TrimSpace(credential))
		}
	}
	values = append(values, urlSecrets(c.URL)...)
	values = slices.DeleteFunc(values, func(v string) bool { return len(v) < secretChars })
	if len(values) == 0 {
		return secrets{}
	}
	return secrets{strings.NewReplacer(replacements(values)...)}
}

// urlSecrets are the password and the values after ? of an address.
func urlSecrets(address string) []string {
	u, err := url.Parse(address)
	if err != nil {
		return nil
	}
	var out []string
	if password, ok := u.User.Password(); ok {
		out = append(out, password)
	}
	for name, values := range u.Query() {
		if secretName.MatchString(name) {
			out = append(out, values...)
		}
	}
	return out
}

// replacements are pairs for a replacer, the longest first: a value that
// contains another must go whole.
func replacements(values []string) []string {
	var forms []string
	for _, v := range values {
		quoted, _ := json.Marshal(v)
		forms = append(forms, v, strings.Trim(string(quoted), `"`), url.QueryEscape(v),
			base64.StdEncoding.EncodeToString([]byte(v)))
	}
	slices.SortFunc(forms, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	var pairs []string
	for _, f := range slices.Compact(forms) {
		pairs = append(pairs, f, "[secret]")
	}
	return pairs
}

func (s secrets) hide(text string) string {
	if s.replace == nil {
		return text
	}
	return s.replace.Replace(text)
}

// headers adds the configured headers to each request, and bounds answers.
type headers struct {
	add  map[string]string
	next http.RoundTripper
}

func (h headers) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	for name, value := range h.add {
		req.Header.Set(name, value)
	}
	resp, err := h.next.RoundTrip(req)
	// events are bounded one by one
	if err == nil && !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		resp.Body = boundedBody{io.LimitReader(resp.Body, messageBytesMax), resp.Body}
	}
	return resp, err
}

// boundedBody ends early. A cut answer is not valid JSON and is reported as such.
type boundedBody struct {
	io.Reader
	io.Closer
}
