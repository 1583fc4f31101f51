package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"

	"agent/internal/near"
)

// fields reads the fields of a JSON object one by one and keeps the first
// error. What is left at the end was not understood, and [fields.end] refuses
// it: a field is honoured or refused, never overlooked.
type fields struct {
	raw   map[string]json.RawMessage
	known []string
	err   error
}

// parseFields reads an object.
func parseFields(data []byte) (*fields, error) {
	f := &fields{}
	if err := json.Unmarshal(data, &f.raw); err != nil || f.raw == nil {
		msg := "The body is not a JSON object"
		if err != nil {
			msg += ": " + err.Error()
		}
		return nil, &apiError{status: http.StatusBadRequest, code: "invalid_json", message: msg + "."}
	}
	return f, nil
}

// take removes and returns a field; nil when it is absent or null.
func (f *fields) take(name string) json.RawMessage {
	f.known = append(f.known, name)
	v := f.raw[name]
	delete(f.raw, name)
	if bytes.Equal(v, []byte("null")) {
		return nil
	}
	return v
}

// fail keeps the first error.
func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

// read decodes a field into v and reports whether it was there.
func (f *fields) read(name, want string, v any) bool {
	raw := f.take(name)
	if raw == nil {
		return false
	}
	if err := json.Unmarshal(raw, v); err != nil {
		f.fail(badValue(name, "it must be %s, not %s.", want, clip(raw)))
		return false
	}
	return true
}

// clip shortens a value for an error message. Texts are not repeated: they may
// be anything, and errors are logged.
func clip(raw json.RawMessage) string {
	const most = 40
	switch {
	case len(raw) > 0 && raw[0] == '"':
		return "a string"
	case len(raw) > 0 && raw[0] == '{':
		return "an object"
	case len(raw) > 0 && raw[0] == '[':
		return "a list"
	case len(raw) > most:
		return "a long value"
	}
	return string(raw)
}

func (f *fields) text(name string) string {
	var v string
	f.read(name, "a string", &v)
	return v
}

func (f *fields) flag(name string) bool {
	var v bool
	f.read(name, "true or false", &v)
	return v
}

// number reads a number within limits; nil when absent.
func (f *fields) number(name string, least, most float64) *float64 {
	var v float64
	if !f.read(name, "a number", &v) {
		return nil
	}
	if math.IsNaN(v) || v < least || v > most {
		f.fail(badValue(name, "it is %v, must be %v to %v.", v, least, most))
		return nil
	}
	return &v
}

// integer reads a whole number within limits; nil when absent.
func (f *fields) integer(name string, least, most int64) *int64 {
	var v int64
	if !f.read(name, "a whole number", &v) {
		return nil
	}
	if v < least || v > most {
		f.fail(badValue(name, "it is %d, must be %d to %d.", v, least, most))
		return nil
	}
	return &v
}

// texts reads a string or a list of strings.
func (f *fields) texts(name string) []string {
	raw := f.take(name)
	if raw == nil {
		return nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}
	}
	var many []string
	if err := json.Unmarshal(raw, &many); err != nil {
		f.fail(badValue(name, "it must be a string or a list of strings."))
	}
	return many
}

// indifferent are fields that change nothing in a reply, and may have any value.
var indifferent = []string{"user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"}

// neutral are fields that can't be honoured, with the values that ask for nothing.
var neutral = map[string][]string{
	"frequency_penalty":    {"0", "0.0"},
	"presence_penalty":     {"0", "0.0"},
	"logit_bias":           {"{}"},
	"tools":                {"[]"},
	"functions":            {"[]"},
	"tool_choice":          {`"none"`, `"auto"`},
	"function_call":        {`"none"`, `"auto"`},
	"parallel_tool_calls":  {"true", "false"},
	"modalities":           {`["text"]`},
	"audio":                nil,
	"prediction":           nil,
	"web_search_options":   nil,
	"reasoning_effort":     {`"none"`},
	"verbosity":            {`"medium"`},
	"service_tier":         {`"auto"`, `"default"`},
	"store":                {"false"},
	"moderation":           nil,
	"suffix":               {`""`},
	"best_of":              {"1"},
	"use_beam_search":      {"false"},
	"images":               {"[]"},
	"stop_token_ids":       {"[]"},
	"ignore_eos":           {"false"},
	"chat_template":        nil,
	"chat_template_kwargs": {"{}"},
	"dimensions":           nil,
}

// end refuses what is left and returns the first error.
func (f *fields) end() error {
	names := make([]string, 0, len(f.raw))
	for name := range f.raw {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f.leftover(name)
	}
	return f.err
}

// leftover refuses one field that nothing has read, unless it asks for nothing.
func (f *fields) leftover(name string) {
	var compact bytes.Buffer
	raw := f.raw[name]
	if json.Compact(&compact, raw) == nil {
		raw = compact.Bytes()
	}
	allowed, listed := neutral[name]
	switch {
	case string(raw) == "null", slices.Contains(indifferent, name), slices.Contains(allowed, string(raw)):
	case listed:
		f.fail(unsupported(name, "is not supported by this server."))
	default:
		f.fail(&apiError{status: http.StatusBadRequest, code: "unknown_parameter", param: name,
			message: fmt.Sprintf("Unknown parameter: %q.%s", name, f.suggest(name))})
	}
}

// suggest names the field that was perhaps meant.
func (f *fields) suggest(name string) string {
	if best := near.Name(name, f.known); best != "" {
		return fmt.Sprintf(" Did you mean %q?", best)
	}
	return ""
}
