package inference

import (
	"strconv"
	"strings"
)

// ruleName is what the converter makes of a name: one hyphen for each run of
// characters that a rule's name can't have.
func ruleName(name string) string {
	var b strings.Builder
	run := false
	for _, c := range []byte(name) {
		if isWordByte(c) && c != '-' {
			b.WriteByte(c)
			run = false
		} else if !run {
			b.WriteByte('-')
			run = true
		}
	}
	return b.String()
}

// reference walks what a $ref refers to, once.
func (w *schemaWalk) reference(value any, p place) error {
	ref, target, err := w.resolve(value, p)
	if err != nil || w.done[ref] {
		return err
	}
	w.done[ref] = true
	seen := map[string]bool{ref: true}
	for next, ok := target["$ref"]; ok; next, ok = target["$ref"] {
		to, inner, err := w.resolve(next, p)
		if err != nil {
			return err
		}
		if seen[to] {
			return p.refuse("$ref %q refers to itself and to nothing else", ref)
		}
		seen[to], target = true, inner
	}
	w.sum += len(seen)
	return w.from(target, place{at: ref, name: len(ref)})
}

// resolve finds what a $ref refers to, as the converter does.
func (w *schemaWalk) resolve(value any, p place) (ref string, target map[string]any, err error) {
	ref, ok := value.(string)
	if !ok {
		return "", nil, p.refuse("$ref must be a string")
	}
	if len(ref) > schemaNameMax {
		return "", nil, p.refuse("$ref has %d bytes, more than %d", len(ref), schemaNameMax)
	}
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return "", nil, p.refuse("$ref %q: only references within the schema, such as #/$defs/name, are supported", ref)
	}
	var at any = w.root
	for part := range strings.SplitSeq(path, "/") {
		switch v := at.(type) {
		case map[string]any:
			at = v[part]
		case []any:
			at = nil
			if i, err := strconv.Atoi(part); err == nil && i >= 0 && i < len(v) {
				at = v[i]
			}
		default:
			at = nil
		}
	}
	if target, ok = at.(map[string]any); !ok {
		return "", nil, p.refuse("$ref %q leads to no schema", ref)
	}
	return ref, target, nil
}
