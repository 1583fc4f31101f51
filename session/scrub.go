package session

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// secretLenMin is the shortest value that is hidden whatever its key is
// called. Shorter ones ("en", "7") would also hide ordinary text, so they are
// hidden only when their key says that they are secret.
const secretLenMin = 5

// redactedText stands where a secret stood.
const redactedText = "[secret]"

var secretKey = regexp.MustCompile(`(?i)key|token|secret|passw|pin$|credential|auth`)

// scrubber removes the values of a command's metadata from text, so that they
// reach no prompt, log or event, also when a command prints them.
type scrubber struct{ replace *strings.Replacer }

// newScrubber hides the values of metadata, as they are and in the encodings
// in which programs print them.
func newScrubber(metadata map[string]string) scrubber {
	var forms []string
	for key, value := range metadata {
		if value == "" || len(value) < secretLenMin && !secretKey.MatchString(key) {
			continue
		}
		forms = append(forms, encodingsOf(value)...)
	}
	if len(forms) == 0 {
		return scrubber{}
	}
	// Longest first: a secret that contains another must go whole.
	slices.SortFunc(forms, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	var pairs []string
	for _, f := range slices.Compact(forms) {
		pairs = append(pairs, f, redactedText)
	}
	return scrubber{strings.NewReplacer(pairs...)}
}

func encodingsOf(value string) []string {
	quoted, _ := json.Marshal(value)
	return []string{
		value,
		strings.Trim(string(quoted), `"`),
		url.QueryEscape(value),
		url.PathEscape(value),
		base64.StdEncoding.EncodeToString([]byte(value)),
		base64.RawURLEncoding.EncodeToString([]byte(value)),
	}
}

func (s scrubber) text(t string) string {
	if s.replace == nil {
		return t
	}
	return s.replace.Replace(t)
}

func (s scrubber) texts(ts []string) []string {
	if s.replace == nil || ts == nil {
		return ts
	}
	out := make([]string, len(ts))
	for i, t := range ts {
		out[i] = s.text(t)
	}
	return out
}

// value scrubs every string inside a JSON-like value.
func (s scrubber) value(v any) any {
	switch v := v.(type) {
	case string:
		return s.text(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = s.value(v[i])
		}
		return out
	case []string:
		return s.texts(v)
	case map[string]any:
		return s.object(v)
	}
	return v
}

func (s scrubber) object(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[s.text(k)] = s.value(v)
	}
	return out
}

// payload returns a scrubbed copy of an event's data.
func (s scrubber) payload(p Payload) Payload {
	if s.replace == nil {
		return p
	}
	switch p := p.(type) {
	case *Started:
		c := *p
		c.Task = s.text(c.Task)
		return &c
	case *Note:
		c := *p
		c.Text = s.text(c.Text)
		return &c
	case *CallMade:
		c := *p
		c.Summary, c.Repairs = s.text(c.Summary), s.texts(c.Repairs)
		c.Content = make([]map[string]any, len(p.Content))
		for i, entry := range p.Content {
			c.Content[i] = s.object(entry)
		}
		return &c
	case *Approval:
		c := *p
		c.Reason = s.text(c.Reason)
		return &c
	case *CommandResult:
		c := *p
		c.Text, c.Files = s.text(c.Text), s.texts(c.Files)
		return &c
	case *Delta:
		c := *p
		c.Text = s.text(c.Text)
		return &c
	case *Warning:
		c := *p
		c.Text = s.text(c.Text)
		return &c
	case *SubtaskStarted:
		c := *p
		c.Task, c.Files = s.text(c.Task), s.texts(c.Files)
		return &c
	case *SubtaskEnded:
		c := *p
		c.Answer, c.Error = s.text(c.Answer), s.text(c.Error)
		return &c
	case *Result:
		c := *p
		c.Answer, c.Error = s.text(c.Answer), s.text(c.Error)
		return &c
	}
	return p
}
