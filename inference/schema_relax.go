package inference

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// relaxationsMax bounds how often a schema is made laxer. One that needs more becomes any object.
const relaxationsMax = 64

// RelaxSchema makes a schema one that a grammar can hold, for callers that check values
// themselves: keywords that can't be enforced are left out, and a subschema that can't be
// converted at all becomes one that takes any value. left names what it was, with its place.
// A schema that is no object, too large or too deep is an error.
func RelaxSchema(schema []byte) (relaxed []byte, left []string, err error) {
	root, err := decodeSchema(schema)
	if err != nil {
		return nil, nil, err
	}
	check := func() error {
		if err := checkSchema(root); err != nil {
			return err
		}
		return checkEnforced(root)
	}
	for err = check(); err != nil; err = check() {
		var fault *schemaFault
		if !errors.As(err, &fault) {
			return nil, left, err
		}
		left = append(left, fmt.Sprintf("%s: %s", fault.at, fault.what))
		if len(left) > relaxationsMax || !relax(root, fault) {
			root = map[string]any{"type": "object"}
		}
	}
	relaxed, err = inOrderOf(schema, root)
	return relaxed, left, err
}

// inOrderOf writes v, which is a part of text, with its keys in the order of text: a grammar
// asks for properties in the order of the schema.
func inOrderOf(text []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case []any:
		return listInOrderOf(text, v)
	case map[string]any:
		return objectInOrderOf(text, v)
	}
	return json.Marshal(v)
}

func listInOrderOf(text []byte, list []any) ([]byte, error) {
	var old []json.RawMessage
	if json.Unmarshal(text, &old) != nil || len(old) != len(list) {
		return json.Marshal(list)
	}
	out := make([]json.RawMessage, len(list))
	for i, one := range list {
		var err error
		if out[i], err = inOrderOf(old[i], one); err != nil {
			return nil, err
		}
	}
	return json.Marshal(out)
}

func objectInOrderOf(text []byte, object map[string]any) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return json.Marshal(object)
	}
	out := []byte{'{'}
	written := map[string]bool{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var old json.RawMessage
		if err := dec.Decode(&old); err != nil {
			return nil, err
		}
		key, _ := name.(string)
		one, ok := object[key]
		if !ok || written[key] {
			continue
		}
		written[key] = true
		value, err := inOrderOf(old, one)
		if err != nil {
			return nil, err
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		quoted, err := json.Marshal(key)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, quoted...), ':'), value...)
	}
	return append(out, '}'), nil
}

// relax takes away what a fault names. False: the root itself is to blame.
func relax(root map[string]any, fault *schemaFault) bool {
	steps := strings.Split(strings.TrimPrefix(strings.TrimPrefix(fault.at, "#"), "/"), "/")
	steps = slices.DeleteFunc(steps, func(s string) bool { return s == "" })
	var parent, at any
	at = root
	last := ""
	for len(steps) > 0 {
		parent = at
		at, last, steps = descend(at, steps)
		if at == nil {
			return false
		}
	}
	if s, ok := at.(map[string]any); ok && fault.keyword != "" {
		if _, ok := s[fault.keyword]; ok {
			delete(s, fault.keyword)
			return true
		}
	}
	switch p := parent.(type) {
	case map[string]any:
		if !isEmpty(p[last]) {
			p[last] = map[string]any{}
			return true
		}
	case []any:
		if i, err := strconv.Atoi(last); err == nil && i < len(p) && !isEmpty(p[i]) {
			p[i] = map[string]any{}
			return true
		}
	}
	return false
}

func isEmpty(v any) bool {
	m, ok := v.(map[string]any)
	return ok && len(m) == 0
}

// descend goes one name further. Names may hold slashes, so that several steps are one.
func descend(v any, steps []string) (child any, name string, rest []string) {
	switch v := v.(type) {
	case map[string]any:
		for n := 1; n <= len(steps); n++ {
			name = strings.Join(steps[:n], "/")
			for _, key := range []string{name, strings.NewReplacer("~1", "/", "~0", "~").Replace(name)} {
				if child, ok := v[key]; ok {
					return child, key, steps[n:]
				}
			}
		}
	case []any:
		if i, err := strconv.Atoi(steps[0]); err == nil && i >= 0 && i < len(v) {
			return v[i], steps[0], steps[1:]
		}
	}
	return nil, "", nil
}
