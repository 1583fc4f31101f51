package session

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"agent/command"
)

// secretLenMin is the shortest value that is hidden whatever its key is
// called. Shorter ones ("en", "7") would also hide ordinary text, so they are
// hidden only when their key says that they are secret.
const secretLenMin = 5

// redactedText stands where a secret stood.
const redactedText = "[secret]"

var secretKey = regexp.MustCompile(`(?i)key|token|secret|passw|pin$|credential|auth`)

// scrubber removes secrets from text: the values of a command's metadata, and
// what has the form of a key or a password. They reach no prompt, log or event,
// also when a command prints them.
type scrubber struct {
	replace *strings.Replacer
	forms   []string     // what replace looks for
	hid     *atomic.Bool // something was hidden; nil: nobody asks
}

// newScrubber hides the values of metadata, as they are and in the encodings
// in which programs print them.
func newScrubber(metadata map[string]string) scrubber {
	var forms []string
	for key, value := range metadata {
		if value == "" || len(value) < secretLenMin && !secretKey.MatchString(key) {
			continue
		}
		forms = append(forms, encodingsOf(value)...)
		for _, part := range partsOf(value) {
			forms = append(forms, encodingsOf(part)...)
		}
	}
	s := scrubber{hid: &atomic.Bool{}}
	if len(forms) == 0 {
		return s
	}
	// Longest first: a secret that contains another must go whole.
	slices.SortFunc(forms, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	var pairs []string
	s.forms = slices.Compact(forms)
	for _, f := range s.forms {
		pairs = append(pairs, f, redactedText)
	}
	s.replace = strings.NewReplacer(pairs...)
	return s
}

// secretLineMin is the shortest line of a value of several lines that is hidden
// by itself.
const secretLineMin = 8

// partsOf are the forms in which a value occurs without the white space around
// it, which files and YAML blocks add, and the lines of one that has several.
func partsOf(value string) []string {
	var parts []string
	if trimmed := strings.TrimSpace(value); trimmed != value && len(trimmed) >= secretLenMin {
		parts = append(parts, trimmed)
	}
	if lines := strings.Split(strings.TrimSpace(value), "\n"); len(lines) > 1 {
		for _, line := range lines {
			if line = strings.TrimSpace(line); len(line) >= secretLineMin {
				parts = append(parts, line)
			}
		}
	}
	return parts
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

// text hides what is known to be secret, and what looks it.
func (s scrubber) text(t string) string {
	clean := t
	if s.replace != nil {
		clean = s.replace.Replace(clean)
	}
	clean = hidePatterns(clean)
	if s.hid != nil && clean != t {
		s.hid.Store(true)
	}
	return clean
}

// placeholder matches what stands where a secret stood.
var placeholder = regexp.MustCompile(`\[secret(?:: [a-z ]{3,30})?\]`)

// destroysSecret tells the model that its call would put a placeholder where
// the secret itself stands.
func (s *Session) destroysSecret(cmd command.Command, call *command.Call) (reply, bool) {
	if !s.scrub.hid.Load() || !command.EffectOf(cmd, call).Consequential() {
		return reply{}, false
	}
	content, err := json.Marshal(call.Content)
	if err != nil || !placeholder.Match(content) {
		return reply{}, false
	}
	text := s.words.render("placeholder.tmpl", call.Command)
	s.emit(&CommandResult{Step: s.steps, Command: call.Command, Text: text, Failed: true})
	return reply{text: text, short: text, failed: true, next: startFailed}, true
}

func (s scrubber) texts(ts []string) []string {
	if ts == nil {
		return nil
	}
	out := make([]string, len(ts))
	for i, t := range ts {
		out[i] = s.text(t)
	}
	return out
}

// distinct scrubs options, which may be the names of files, and keeps them apart
// where nothing else did.
func (s scrubber) distinct(options []string) []string {
	out := s.texts(options)
	seen := map[string]bool{}
	for i, o := range out {
		for n := 2; seen[out[i]]; n++ {
			out[i] = fmt.Sprintf("%s (%d)", o, n)
		}
		seen[out[i]] = true
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

// choices scrubs what was chosen from, such as the names of files.
func (s scrubber) choices(choices []ChoiceMade) []ChoiceMade {
	out := slices.Clone(choices)
	for i := range out {
		out[i].Options = slices.Clone(out[i].Options)
		for j, o := range out[i].Options {
			out[i].Options[j].Text = s.text(o.Text)
		}
	}
	return out
}

// contents scrubs the fields of a call.
func (s scrubber) contents(content []map[string]any) []map[string]any {
	out := make([]map[string]any, len(content))
	for i, entry := range content {
		out[i] = s.object(entry)
	}
	return out
}

// payload returns a scrubbed copy of an event's data.
func (s scrubber) payload(p Payload) Payload {
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
		c.Content, c.Choices = s.contents(p.Content), s.choices(p.Choices)
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
	case *Commands:
		c := *p
		c.Changes = slices.Clone(p.Changes)
		for i := range c.Changes {
			c.Changes[i].Problem = s.text(c.Changes[i].Problem)
		}
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
