package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"

	"agent/internal/near"
)

// fields reads the fields of a JSON object one by one and keeps the first
// error. What is left at the end was not understood, and [fields.end] refuses
// it: a field is honoured or refused, never overlooked.
type fields struct {
	raw   map[string]json.RawMessage
	at    string // of an object within the body, such as "messages[2]"
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

// parseFieldsAt reads an object within the body.
func parseFieldsAt(at string, data []byte) (*fields, error) {
	f, err := parseFields(data)
	if err != nil {
		return nil, badValue(at, "it must be an object, not %s.", clip(data))
	}
	f.at = at
	return f, nil
}

// object reads a field that is an object, of which nothing may be left.
func (f *fields) object(name string, read func(*fields)) {
	raw := f.take(name)
	if raw == nil {
		return
	}
	inner, err := parseFieldsAt(f.name(name), raw)
	if err != nil {
		f.fail(err)
		return
	}
	read(inner)
	f.fail(inner.end())
}

// each reads the entries of a list, up to the first with a fault.
func each[T any](f *fields, list string, entries []json.RawMessage,
	read func(raw json.RawMessage, at string) (T, error),
) (out []T) {
	for i, raw := range entries {
		one, err := read(raw, fmt.Sprintf("%s[%d]", list, i))
		if err != nil {
			f.fail(err)
			break
		}
		out = append(out, one)
	}
	return out
}

// checkKeys refuses the keys of an object within the body that are none of those known.
func checkKeys(raw json.RawMessage, at string, known ...string) error {
	f, err := parseFieldsAt(at, raw)
	if err != nil {
		return err
	}
	for _, name := range known {
		f.take(name)
	}
	return f.end()
}

// list reads a list of objects with known keys, into a pointer to a slice.
func (f *fields) list(name, want string, v any, known ...string) {
	var items []json.RawMessage
	if f.peek(name, &items) {
		for i, raw := range items {
			f.fail(checkKeys(raw, fmt.Sprintf("%s[%d]", f.name(name), i), known...))
		}
	}
	f.read(name, want, v)
}

// peek decodes a field that is read later, and reports whether it could.
func (f *fields) peek(name string, v any) bool {
	raw := f.raw[name]
	return raw != nil && json.Unmarshal(raw, v) == nil
}

// name is the whole name of a field.
func (f *fields) name(field string) string {
	if f.at == "" {
		return field
	}
	return f.at + "." + field
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
	if f.err == nil && err != nil {
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
		f.fail(badValue(f.name(name), "it must be %s, not %s.", want, clip(raw)))
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
		f.fail(badValue(f.name(name), "it is %v, must be %v to %v.", v, least, most))
		return nil
	}
	return &v
}

// integer reads a whole number within limits; nil when absent.
func (f *fields) integer(name string, least, most int64) *int64 {
	raw := f.take(name)
	if raw == nil {
		return nil
	}
	v, err := wholeNumber(raw)
	if err != nil {
		f.fail(badValue(f.name(name), "it must be a whole number, not %s.", clip(raw)))
		return nil
	}
	if v < least || v > most {
		f.fail(badValue(f.name(name), "it is %d, must be %d to %d.", v, least, most))
		return nil
	}
	return &v
}

// wholeNumber reads 16 and, as some languages write it, 16.0.
func wholeNumber(raw json.RawMessage) (int64, error) {
	var v int64
	if json.Unmarshal(raw, &v) == nil {
		return v, nil
	}
	var x float64
	if err := json.Unmarshal(raw, &x); err != nil {
		return 0, err
	}
	const exact = 1 << 53
	if x != math.Trunc(x) || math.Abs(x) > exact {
		return 0, errors.New("not a whole number")
	}
	return int64(x), nil
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
		f.fail(badValue(f.name(name), "it must be a string or a list of strings."))
	}
	return many
}

// tokenLists reads token ids, or lists of them. False: it is another thing, and not read.
func (f *fields) tokenLists(name string) (lists [][]int, ok bool) {
	var ids []int
	if json.Unmarshal(f.raw[name], &ids) == nil && len(ids) > 0 {
		lists = [][]int{ids}
	} else if json.Unmarshal(f.raw[name], &lists) != nil || len(lists) == 0 {
		return nil, false
	}
	f.take(name)
	return lists, true
}

// indifferent are fields that change nothing in a reply, and may have any value.
var indifferent = []string{"user", "metadata", "store", "service_tier", "verbosity", "prediction",
	"cache_prompt", "parallel_tool_calls", "safety_identifier", "prompt_cache_key",
	"prompt_cache_retention",
	"prompt_cache_options"}

// neutral are fields that can't be honoured, with the values that ask for nothing.
var neutral = map[string][]string{
	"functions":            {"[]"},
	"function_call":        {`"none"`, `"auto"`},
	"modalities":           {`["text"]`},
	"audio":                nil,
	"web_search_options":   nil,
	"reasoning_effort":     {`"none"`},
	"moderation":           nil,
	"suffix":               {`""`},
	"best_of":              {"1"},
	"use_beam_search":      {"false"},
	"images":               {"[]"},
	"stop_token_ids":       {"[]"},
	"ignore_eos":           {"false"},
	"chat_template":        nil,
	"chat_template_kwargs": {"{}", `{"enable_thinking":false}`},
	"dimensions":           nil,
	"mcp_servers":          {"[]"},
	"container":            nil,
	"compaction":           nil,
	"thread":               nil,

	// What llama-server, vLLM and Qwen's own service have besides, at its default.
	"id_slot": {"-1"}, "mirostat": {"0"}, "typical_p": {"1"}, "tfs_z": {"1"}, "dynatemp_range": {"0"},
	"dry_multiplier": {"0"}, "xtc_probability": {"0"}, "length_penalty": {"1"}, "echo": {"false"},
	"skip_special_tokens": {"true"}, "spaces_between_special_tokens": {"true"},
	"include_reasoning": {"false"},
	"enable_thinking":   {"false"}, "think": {"false"}, "thinking": {`{"type":"disabled"}`},
	"transforms": {"[]"},
}

// end refuses what is left and returns the first error.
func (f *fields) end() error {
	for _, name := range slices.Sorted(maps.Keys(f.raw)) {
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
	var number float64
	if string(raw) != "null" && json.Unmarshal(raw, &number) == nil {
		raw = strconv.AppendFloat(nil, number+0, 'g', -1, 64) // -0.0 is 0, and 1.0 is 1
	}
	allowed, listed := neutral[name]
	switch {
	case string(raw) == "null", f.at == "" && slices.Contains(indifferent, name),
		f.at == "" && slices.Contains(allowed, string(raw)):
	case listed && f.at == "":
		f.fail(unsupported(name, "is not supported by this server."))
	default:
		f.fail(&apiError{status: http.StatusBadRequest, code: "unknown_parameter", param: f.name(name),
			message: fmt.Sprintf("Unknown parameter: %q.%s", f.name(name), f.suggest(name))})
	}
}

// suggest names the field that was perhaps meant.
func (f *fields) suggest(name string) string {
	if best := near.Name(name, f.known); best != "" {
		return fmt.Sprintf(" Did you mean %q?", best)
	}
	return ""
}
