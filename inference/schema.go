package inference

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Limits on what is handed to llama.cpp's converter of schemas, which recurses
// into whatever it refers to, copies what follows each optional property, and
// passes every rule's name, the way to it, through a regular expression. At the
// limits it takes some two seconds.
const (
	schemaBytesMax    = 1 << 20
	schemaDepthMax    = 64     // of brackets
	schemaChainMax    = 100    // subschemas within one another
	schemaRecurseMax  = 600    // the same through references, at the worst
	schemaNodesMax    = 10_000 // subschemas, those it comes to twice counted twice
	schemaOptionalMax = 200    // optional properties of one object
	schemaPropertyMax = 2000   // properties of one object
	schemaNameMax     = 256    // bytes of a property's name or a reference
	schemaWorkMax     = 1 << 24
)

// decodeSchema decodes a schema; it refuses what is no JSON, too large or too deep.
func decodeSchema(schema []byte) (map[string]any, error) {
	if len(schema) > schemaBytesMax {
		return nil, fmt.Errorf("JSON schema: %d bytes, at most %d are supported", len(schema),
			schemaBytesMax)
	}
	if err := checkNesting(schema); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(schema))
	dec.UseNumber() // a whole number must be told from a fraction
	var v any
	err := dec.Decode(&v)
	if err == nil && dec.More() {
		err = errors.New("something follows after its end")
	}
	if err != nil {
		return nil, fmt.Errorf("JSON schema: %w", jsonError(schema, err))
	}
	if root, ok := v.(map[string]any); ok {
		dropSafeBounds(root)
		return root, nil
	}
	return nil, errors.New("JSON schema: it must be an object")
}

// dropSafeBounds leaves out what zod writes for every whole number: the bounds of
// JavaScript's numbers.
func dropSafeBounds(v any) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			dropSafeBounds(one)
		}
	case map[string]any:
		if v["minimum"] == json.Number("-9007199254740991") {
			delete(v, "minimum")
		}
		if v["maximum"] == json.Number("9007199254740991") {
			delete(v, "maximum")
		}
		for key, one := range v {
			if key != "const" && key != "enum" && key != "default" {
				dropSafeBounds(one)
			}
		}
	}
}

func checkNesting(schema []byte) error {
	dec := json.NewDecoder(bytes.NewReader(schema))
	depth := 0
	for {
		tok, err := dec.Token()
		if err != nil {
			return nil // Decode says what is wrong
		}
		if d, ok := tok.(json.Delim); ok {
			if d == '{' || d == '[' {
				depth++
			} else {
				depth--
			}
			if depth > schemaDepthMax {
				return fmt.Errorf("JSON schema: nested deeper than %d", schemaDepthMax)
			}
		}
	}
}

// checkSchema refuses a schema that the converter would not come back from.
func checkSchema(root map[string]any) error {
	w := &schemaWalk{root: root, done: map[string]bool{}, inside: map[string]bool{}}
	return w.from(root, place{at: "#"})
}

// place is where in a schema the walk is.
type place struct {
	at    string // for messages
	name  int    // bytes of the rule's name that the converter makes of it
	depth int    // subschemas around it, up to the nearest reference
}

func (p place) child(at string, name int) place {
	return place{at: p.at + "/" + at, name: p.name + name + 1, depth: p.depth + 1}
}

// refuse says what is wrong, and where.
func (p place) refuse(format string, args ...any) error {
	return &schemaFault{at: p.at, what: fmt.Sprintf(format, args...)}
}

// schemaFault is what of a schema can't be taken.
type schemaFault struct {
	at      string // the way to the subschema, from "#"
	keyword string // what alone is to blame; empty: the subschema
	what    string
}

func (f *schemaFault) Error() string {
	at := f.at
	if most := 200; len(at) > most {
		at = "…" + strings.ToValidUTF8(at[len(at)-most:], "")
	}
	return fmt.Sprintf("JSON schema: %s: %s", at, f.what)
}

// schemaWalk goes where the converter goes. It may come to references in another
// order; whatever the order is, the converter recurses no deeper than all that
// is referred to is deep together.
type schemaWalk struct {
	root   map[string]any
	done   map[string]bool // references that have a rule
	inside map[string]bool // references being written into what refers to them
	deep   int             // the deepest subschema since the nearest reference
	sum    int             // the same of all references together
	nodes  int
	work   int // characters that the converter handles
}

// spend counts work in characters, before the converter does it.
func (w *schemaWalk) spend(p place, n int) error {
	if w.work += min(n, schemaWorkMax); w.work > schemaWorkMax {
		return p.refuse("it is too much to convert up to here; use fewer or shorter properties, or share parts by $ref")
	}
	return nil
}

// from walks the root, or what a reference refers to.
func (w *schemaWalk) from(schema map[string]any, p place) error {
	deep, inside := w.deep, w.inside
	w.deep, w.inside = 0, map[string]bool{}
	if err := w.visit(schema, p); err != nil {
		return err
	}
	w.sum += w.deep + 1
	w.deep, w.inside = deep, inside
	if w.sum > schemaRecurseMax {
		return p.refuse("references lead more than %d parts deep; use fewer or flatter ones",
			schemaRecurseMax)
	}
	return nil
}

// visit walks one subschema.
func (w *schemaWalk) visit(v any, p place) error {
	schema, ok := v.(map[string]any)
	if !ok {
		return p.refuse("a schema must be an object here, not %s", shortJSON(v))
	}
	if w.nodes++; w.nodes > schemaNodesMax {
		return p.refuse(
			"it has more than %d parts, those used twice counted twice; use $ref without allOf for shared ones",
			schemaNodesMax)
	}
	if err := w.down(p); err != nil {
		return err
	}
	if err := w.spend(p, 2*p.name+64); err != nil {
		return err
	}
	for _, key := range []string{"$ref", "oneOf", "anyOf"} {
		if value, ok := schema[key]; ok {
			if key == "$ref" {
				return w.reference(value, p)
			}
			return w.list(value, p.child(key, len("alternative-")), w.visit)
		}
	}
	if types, ok := schema["type"].([]any); ok {
		return w.types(schema, types, p)
	}
	return w.typed(schema, p)
}

// down bounds how deep subschemas lie within one another.
func (w *schemaWalk) down(p place) error {
	if p.depth > schemaChainMax {
		return p.refuse("parts within parts are more than %d deep", schemaChainMax)
	}
	w.deep = max(w.deep, p.depth)
	return nil
}

// list walks the schemas of a list.
func (w *schemaWalk) list(value any, p place, visit func(any, place) error) error {
	all, ok := value.([]any)
	if !ok || len(all) == 0 {
		return p.refuse("it must be a list of schemas, with one at least")
	}
	for i, one := range all {
		if err := visit(one, p.child(strconv.Itoa(i), len("tuple-000"))); err != nil {
			return err
		}
	}
	return nil
}

// types walks a schema once for each of its types, as the converter does.
func (w *schemaWalk) types(schema map[string]any, types []any, p place) error {
	if len(types) == 0 {
		return p.child("type", 0).refuse("it must not be empty")
	}
	for i, t := range types {
		one := maps.Clone(schema)
		one["type"] = t
		next := p
		next.name, next.depth = p.name+1+len(strconv.Itoa(i)), p.depth+1
		if err := w.visit(one, next); err != nil {
			return err
		}
	}
	return nil
}

// typed walks a schema of one type or none.
func (w *schemaWalk) typed(schema map[string]any, p place) error {
	for _, key := range []string{"const", "enum"} {
		if value, ok := schema[key]; ok {
			raw, _ := json.Marshal(value)
			return w.spend(p, len(raw))
		}
	}
	kind, _ := schema["type"].(string)
	_, properties := schema["properties"]
	additional, ok := schema["additionalProperties"]
	object := properties || ok && additional != true
	_, all := schema["allOf"]
	switch {
	case kind == "" && object, kind == "object" && (object || !all):
		return w.object(schema, p)
	case all && (kind == "" || kind == "object" || kind == "string"):
		return w.allOf(schema, p)
	case kind == "array" || kind == "" && (schema["items"] != nil || schema["prefixItems"] != nil):
		return w.array(schema, p)
	}
	if kind != "" && kind != "string" {
		return nil
	}
	if err := w.counts(schema, p, "minLength", "maxLength"); err != nil {
		return err
	}
	if pattern, ok := schema["pattern"].(string); ok {
		// The converter copies all its rules before it reads one.
		return w.spend(p, len(pattern)+16*w.nodes)
	}
	return nil
}

// counts checks two bounds of a number of things.
func (w *schemaWalk) counts(schema map[string]any, p place, least, most string) error {
	bounds := map[string]int{}
	for _, key := range []string{least, most} {
		value, ok := schema[key]
		if !ok {
			continue
		}
		n, err := strconv.Atoi(fmt.Sprint(value))
		if err != nil || n < 0 {
			return p.refuse("%s must be a whole number of 0 or more, not %s", key, shortJSON(value))
		}
		if n > grammarRepeatMax {
			return p.blame(key, "%s is %d; no more than %d can be enforced", key, n, grammarRepeatMax)
		}
		bounds[key] = n
	}
	if high, ok := bounds[most]; ok && bounds[least] > high {
		return p.refuse("%s is %d, more than the %d of %s", least, bounds[least], high, most)
	}
	return nil
}

func (w *schemaWalk) array(schema map[string]any, p place) error {
	if err := w.counts(schema, p, "minItems", "maxItems"); err != nil {
		return err
	}
	for _, key := range []string{"items", "prefixItems"} {
		switch value := schema[key].(type) {
		case nil:
			continue
		case []any:
			if len(value) == 0 {
				return nil
			}
			return w.list(value, p.child(key, 0), w.visit)
		default:
			return w.visit(value, p.child(key, len("item")))
		}
	}
	return nil
}

// object walks the properties of an object.
func (w *schemaWalk) object(schema map[string]any, p place) error {
	var properties map[string]any
	if value, ok := schema["properties"]; ok {
		if properties, ok = value.(map[string]any); !ok {
			return p.refuse("properties must be an object")
		}
	}
	required := map[any]bool{}
	list, _ := schema["required"].([]any)
	for _, name := range list {
		if _, ok := name.(string); ok {
			required[name] = true
		}
	}
	optional := 0
	for name := range properties {
		if !required[name] {
			optional++
		}
	}
	if additional, ok := schema["additionalProperties"].(map[string]any); ok {
		if err := w.visit(additional, p.child("additionalProperties",
			len("additional-value"))); err != nil {
			return err
		}
	}
	if err := w.room(properties, optional, p); err != nil {
		return err
	}
	return w.properties(properties, p)
}

func (w *schemaWalk) properties(properties map[string]any, p place) error {
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if len(name) > schemaNameMax {
			return p.child("properties", 0).refuse("a property's name has %d bytes, more than %d", len(name),
				schemaNameMax)
		}
		next := p.child("properties", 0).child(name, len(name))
		next.depth = p.depth + 1
		if err := w.visit(properties[name], next); err != nil {
			return err
		}
	}
	return nil
}

// room bounds the properties of one object. For each optional one the converter
// makes a rule for every one that may follow it; where names differ in special
// characters only, it looks for a free name each time.
func (w *schemaWalk) room(properties map[string]any, optional int, p place) error {
	if len(properties) > schemaPropertyMax {
		return p.refuse("it has %d properties, more than %d", len(properties), schemaPropertyMax)
	}
	if optional > schemaOptionalMax {
		return p.refuse(
			"%d of its properties are optional, more than %d; require some, or divide it into several objects",
			optional, schemaOptionalMax)
	}
	longest, alike := 0, map[string]int{}
	most := 1
	for name := range properties {
		longest = max(longest, len(name))
		key := ruleName(name)
		alike[key]++
		most = max(most, alike[key])
	}
	rules := len(properties) + optional*(optional+1)/2
	return w.spend(p, rules*(p.name+longest+8*most))
}

// allOf walks the parts of an allOf. The converter writes the properties of each
// part into one object, also those of what a part refers to; so a part must not
// contain itself.
func (w *schemaWalk) allOf(schema map[string]any, p place) error {
	if err := w.spend(p, p.name+64); err != nil {
		return err
	}
	return w.list(schema["allOf"], p.child("allOf", 0), func(v any, at place) error {
		at.name = p.name
		part, ok := v.(map[string]any)
		if !ok {
			return at.refuse("a schema must be an object here, not %s", shortJSON(v))
		}
		if alternatives, ok := firstOf(part, "oneOf", "anyOf"); ok && part["$ref"] == nil {
			return w.list(alternatives, at, func(v any, at place) error {
				at.name = p.name
				return w.part(v, at)
			})
		}
		return w.part(v, at)
	})
}

// firstOf is the value of the first key that is there.
func firstOf(schema map[string]any, keys ...string) (any, bool) {
	for _, key := range keys {
		if value, ok := schema[key]; ok {
			return value, true
		}
	}
	return nil, false
}

// part walks one part of an allOf, through references.
func (w *schemaWalk) part(v any, p place) error {
	part, ok := v.(map[string]any)
	if !ok {
		return p.refuse("a schema must be an object here, not %s", shortJSON(v))
	}
	if err := w.down(p); err != nil {
		return err
	}
	if value, ok := part["$ref"]; ok {
		ref, target, err := w.resolve(value, p)
		if err != nil {
			return err
		}
		if w.inside[ref] {
			return p.refuse("$ref %q contains itself through allOf; refer to it by $ref alone", ref)
		}
		w.inside[ref] = true
		defer delete(w.inside, ref)
		p.depth++
		return w.part(target, p)
	}
	// The converter reads every part by itself too, before it joins them.
	return w.visit(part, p)
}

// shortJSON is a value for a message.
func shortJSON(v any) string {
	raw, _ := json.Marshal(v)
	if len(raw) > 40 {
		return string(raw[:40]) + "…"
	}
	return string(raw)
}
