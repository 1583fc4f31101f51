package search

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"agent/internal/legible"
)

const (
	answerBytesMax = 4 << 20 // of a provider's answer
	redirectsMax   = 3
	titleBytesMax  = 120
	textBytesMax   = 300
	placeBytesMax  = 300
)

// provider is a web search service: how it is asked and how it answers.
type provider interface {
	name() string
	// request makes the URL and header of one search.
	request(query string, results int, key string) (*url.URL, http.Header, error)
	// read takes a JSON answer with status 200.
	read(body []byte) ([]hit, error)
	// refusal explains a status that is not 200; empty: nothing more is known.
	refusal(status int) (detail, advice string)
}

// hit is one thing found.
type hit struct {
	Title string
	Place string // a URL, or file:line
	Text  string
}

type webReport struct {
	Query string
	Found []hit
}

// newClient never follows a redirect to another host, which would receive the
// provider's key and the query.
func newClient() *http.Client {
	return &http.Client{CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) >= redirectsMax {
			return fmt.Errorf("more than %d redirects", redirectsMax)
		}
		if req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme {
			return errRedirect
		}
		return nil
	}}
}

// ask does one web search.
func (s *Searcher) ask(ctx context.Context, query, key string) ([]hit, error) {
	op := "search with " + s.web.name()
	u, header, err := s.web.request(query, s.config.Results, key)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	body, err := s.get(limited, op, u, header)
	if err != nil {
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case limited.Err() != nil:
			return nil, &Error{Op: op, Detail: fmt.Sprintf("no answer within %s", s.config.Timeout),
				Advice: "try again later, or raise search.timeout"}
		}
		return nil, withoutKey(err, key)
	}
	found, err := s.web.read(body)
	if err != nil {
		return nil, withoutKey(&Error{Op: op, Detail: "its answer can't be read", Err: err}, key)
	}
	return tidy(found, s.config.Results), nil
}

// get fetches the JSON of one search.
func (s *Searcher) get(ctx context.Context, op string, u *url.URL, header http.Header,
) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, &Error{Op: op, Detail: "bad request", Err: err}
	}
	req.Header = header
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "agent")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, &Error{Op: op, Detail: u.Host + " can't be reached", Err: cause(err),
			Advice: "check the network and search.url"}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax+1))
	switch {
	case resp.StatusCode != http.StatusOK:
		return nil, s.refused(op, resp)
	case err != nil:
		return nil, &Error{Op: op, Detail: "its answer broke off", Err: err}
	case len(body) > answerBytesMax:
		return nil, &Error{Op: op, Detail: fmt.Sprintf("its answer has more than %d MiB",
			answerBytesMax>>20)}
	}
	return body, checkJSON(op, resp.Header.Get("Content-Type"), body)
}

// cause is an error of the HTTP client without the URL, which contains the query.
func cause(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

// refused explains a status that is no success.
func (s *Searcher) refused(op string, resp *http.Response) error {
	e := &Error{Op: op, Detail: fmt.Sprintf("it refused with status %d %s", resp.StatusCode,
		http.StatusText(resp.StatusCode))}
	detail, advice := s.web.refusal(resp.StatusCode)
	switch {
	case detail != "":
		e.Detail, e.Advice = e.Detail+": "+detail, advice
	case resp.StatusCode == http.StatusTooManyRequests:
		e.Detail = "too many searches (status 429)"
		e.Advice = "wait" + waitTime(resp.Header.Get("Retry-After")) + " before the next one"
	case resp.StatusCode >= 500:
		e.Advice = "it is the provider's fault; try again later"
	}
	return e
}

// waitTime reads Retry-After in seconds or as a date.
func waitTime(header string) string {
	seconds, err := strconv.Atoi(header)
	if at, dateErr := http.ParseTime(header); err != nil && dateErr == nil {
		seconds, err = int(time.Until(at).Seconds())+1, nil
	}
	if err != nil || seconds <= 0 {
		return ""
	}
	return fmt.Sprintf(" %d s", seconds)
}

// checkJSON names the usual mistake: a web page instead of the API.
func checkJSON(op, contentType string, body []byte) error {
	if json.Valid(body) {
		return nil
	}
	kind, _, _ := mime.ParseMediaType(contentType)
	start := strings.TrimSpace(string(body[:min(len(body), 64)]))
	if kind == "text/html" || strings.HasPrefix(start, "<") {
		return &Error{Op: op, Detail: "it answered with a web page instead of JSON",
			Advice: "check that search.url is the provider's API and needs no login"}
	}
	return &Error{Op: op, Detail: fmt.Sprintf("its answer is no JSON (%s, begins with %q)", kind,
		legible.Clip(start, 20))}
}

// withoutKey makes sure that no error repeats the key.
func withoutKey(err error, key string) error {
	var e *Error
	if key == "" || !errors.As(err, &e) || !strings.Contains(e.Error(), key) {
		return err
	}
	detail := e.Detail
	if e.Err != nil {
		detail += ": " + e.Err.Error()
	}
	return &Error{Op: e.Op, Detail: strings.ReplaceAll(detail, key, "[secret]"), Advice: e.Advice}
}

// tidy keeps the first results with a web address, each once, as short plain
// text.
func tidy(found []hit, most int) []hit {
	var out []hit
	seen := map[string]bool{}
	for _, h := range found {
		place := strings.TrimSpace(h.Place)
		u, err := url.Parse(place)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" ||
			len(place) > placeBytesMax || seen[place] {
			continue
		}
		seen[place] = true
		out = append(out, hit{Title: legible.Clip(plain(h.Title), titleBytesMax), Place: plain(place),
			Text: legible.Clip(plain(h.Text), textBytesMax)})
		if len(out) == most {
			break
		}
	}
	return out
}
