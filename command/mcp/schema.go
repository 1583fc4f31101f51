package mcp

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"agent/command"
	"agent/internal/legible"
)

// Limits on what is made of a tool's schema.
const (
	fieldsMax       = 16  // offered of one tool, required ones first
	optionsMax      = 64  // of an enum that is chosen from
	optionBytesMax  = 80  // of each
	helpBytesMax    = 60  // that a model reads about a field
	schemaDepthMax  = 10  // of what is inside a field
	schemaNodesMax  = 400 // the same
	lineMaxLength   = 200 // a string that may be no longer is a line
	fieldNameMax    = 64
	descriptionsMax = 160 // bytes that a model reads about a tool
)

// field is one property of a tool's input: how a model gives it and how it is
// sent.
type field struct {
	slot    command.Slot
	key     string         // the property's name
	integer bool           // a number without a fraction
	values  map[string]any // of an enum, by what a model sees

	nullable bool // null is a value of it
	textual  bool // and so is any text
}

// schema is a tool's input schema, as far as filling it in needs.
type schema struct {
	fields []field
	left   int  // optional properties over the limit
	open   bool // other properties are allowed
}

// readSchema makes fields of the properties: required ones in the order of the
// server, then optional ones by name.
func readSchema(raw any) schema {
	root, _ := raw.(map[string]any)
	r := reducer{root: root}
	properties, required := r.members(root, 0)
	out := schema{open: root["additionalProperties"] != false && len(properties) == 0 ||
		root["additionalProperties"] == true}
	names := slices.DeleteFunc(slices.Clone(required),
		func(n string) bool { _, ok := properties[n]; return !ok })
	needed := len(names)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	used := map[string]bool{}
	for i, name := range names {
		f := r.field(name, properties[name])
		f.slot.Optional = i >= needed
		if used[f.slot.Name] || f.slot.Optional && len(out.fields) >= fieldsMax {
			out.left++
			continue
		}
		used[f.slot.Name] = true
		out.fields = append(out.fields, f)
	}
	return out
}

// members are the properties of an object, and those that it must have: its own, those of
// all parts of an allOf, and those of any alternative, of which the ones that all have are
// required.
func (r *reducer) members(v any, depth int) (properties map[string]any, required []string) {
	properties = map[string]any{}
	p := r.plain(v)
	if depth > schemaDepthMax {
		return properties, nil
	}
	own, _ := p["properties"].(map[string]any)
	maps.Copy(properties, own)
	required = stringsOf(p["required"])
	add := func(more map[string]any) {
		for name, property := range more {
			if _, ok := properties[name]; !ok {
				properties[name] = property
			}
		}
	}
	all, _ := p["allOf"].([]any)
	for _, part := range all {
		more, needed := r.members(part, depth+1)
		add(more)
		required = append(required, slices.DeleteFunc(needed,
			func(n string) bool { return slices.Contains(required, n) })...)
	}
	for _, key := range []string{"anyOf", "oneOf"} {
		list, _ := p[key].([]any)
		var common []string
		for i, one := range list {
			more, needed := r.members(one, depth+1)
			add(more)
			if i == 0 {
				common = needed
			}
			common = slices.DeleteFunc(common, func(n string) bool { return !slices.Contains(needed, n) })
		}
		required = append(required, slices.DeleteFunc(common,
			func(n string) bool { return slices.Contains(required, n) })...)
	}
	return properties, required
}

// takes reports whether a value of a type fits a property.
func (r *reducer) takes(property any, kind string, depth int) bool {
	p, _ := property.(map[string]any)
	if ref, ok := p["$ref"].(string); ok && depth < schemaDepthMax {
		return r.takes(r.follow(ref), kind, depth+1)
	}
	for _, key := range []string{"anyOf", "oneOf"} {
		if list, ok := p[key].([]any); ok && depth < schemaDepthMax {
			return slices.ContainsFunc(list, func(one any) bool { return r.takes(one, kind, depth+1) })
		}
	}
	for _, key := range []string{"enum", "const", "allOf"} {
		if _, ok := p[key]; ok {
			list, _ := p[key].([]any)
			return kind == "null" && slices.Contains(list, nil)
		}
	}
	switch t := p["type"].(type) {
	case nil:
		return true
	case []any:
		return slices.Contains(t, any(kind))
	default:
		return t == kind
	}
}

func stringsOf(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, item := range list {
		if s, ok := item.(string); ok && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

var (
	plainField = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	longText   = regexp.MustCompile(`(?i)^(?:contents?|text|body|document|markdown|html|xml|json|ya?ml|` +
		`code|source|script|sql|patch|diff|(?:new|old|file)_?(?:text|contents?|str|string))$`)
)

// fieldName is a property's name in a form that a model can write.
func fieldName(name string) string {
	if plainField.MatchString(name) {
		return name
	}
	return legible.Clip(commandName(name), fieldNameMax)
}

// field reads one property.
func (r *reducer) field(name string, property any) field {
	p := r.plain(property)
	description, _ := p["description"].(string)
	f := field{key: name, nullable: r.takes(property, "null", 0),
		textual: r.takes(property, "string", 0),
		slot:    command.Slot{Name: fieldName(name), Help: firstSentence(description, helpBytesMax)}}
	if options, values := enumOf(p); len(options) > 0 {
		f.slot.Kind, f.slot.Options, f.values = command.SlotEnum, options, values
		return f
	}
	switch p["type"] {
	case "string":
		f.slot.Kind = command.SlotLine
		if limit, ok := p["maxLength"].(float64); longText.MatchString(name) &&
			(!ok || limit > lineMaxLength) {
			f.slot.Kind = command.SlotText
		}
	case "integer", "number":
		f.slot.Kind, f.integer = command.SlotNumber, p["type"] == "integer"
	case "boolean":
		f.slot.Kind = command.SlotYesNo
	default:
		f.slot.Kind, f.slot.Schema = command.SlotObject, r.text(p)
	}
	return f
}

// enumOf gives the values of an enum or a constant, if they can be chosen from.
func enumOf(p map[string]any) (options []string, values map[string]any) {
	list, _ := p["enum"].([]any)
	if constant, ok := p["const"]; ok {
		list = []any{constant}
	}
	if len(list) > optionsMax {
		return nil, nil
	}
	values = map[string]any{}
	for _, v := range list {
		var shown string
		switch v := v.(type) {
		case string:
			shown = v
		case float64, bool:
			shown = fmt.Sprint(v)
		case nil:
			continue // a field that may be left out is optional
		default:
			return nil, nil
		}
		if _, twice := values[shown]; twice || shown == "" || len(shown) > optionBytesMax ||
			legible.OneLine(shown) != shown {
			return nil, nil
		}
		values[shown] = v
		options = append(options, shown)
	}
	return options, values
}

// reducer turns schemas into a form that a grammar can express: without
// references, and without limits on values, which the server checks.
type reducer struct {
	root  map[string]any
	nodes int
}

// text is a schema as JSON; empty when nothing is left of it.
func (r *reducer) text(p map[string]any) string {
	r.nodes = 0
	reduced := r.reduce(p, 0)
	if len(reduced) == 0 {
		return ""
	}
	raw, err := json.Marshal(reduced)
	if err != nil {
		return ""
	}
	return string(raw)
}

// plain follows references and takes the wrapping off: one of a list of one,
// or of two of which the other is null.
func (r *reducer) plain(v any) map[string]any {
	p, _ := v.(map[string]any)
	description := p["description"]
	for range schemaDepthMax {
		next := r.unwrap(p)
		if next == nil {
			break
		}
		p = next
	}
	if types := slices.DeleteFunc(stringsOf(p["type"]),
		func(t string) bool { return t == "null" }); len(types) == 1 {
		p = maps.Clone(p)
		p["type"] = types[0]
	}
	if own, ok := description.(string); ok && p != nil {
		p = maps.Clone(p)
		p["description"] = own
	}
	return p
}

// unwrap takes one wrapping off, nil when there is none.
func (r *reducer) unwrap(p map[string]any) map[string]any {
	if ref, ok := p["$ref"].(string); ok {
		return r.follow(ref)
	}
	for _, key := range []string{"allOf", "anyOf", "oneOf"} {
		list, _ := p[key].([]any)
		list = slices.DeleteFunc(slices.Clone(list), func(v any) bool {
			m, _ := v.(map[string]any)
			return key != "allOf" && m["type"] == "null"
		})
		if inner, ok := first(list).(map[string]any); ok && len(list) == 1 {
			return inner
		}
	}
	return nil
}

func first(list []any) any {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// follow finds what a reference within the schema points to.
func (r *reducer) follow(ref string) map[string]any {
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil // elsewhere is not asked
	}
	at := r.root
	for part := range strings.SplitSeq(path, "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		at, _ = at[part].(map[string]any)
	}
	return at
}

// reduce keeps the shape of a value. What lies too deep may be anything.
func (r *reducer) reduce(v any, depth int) map[string]any {
	r.nodes++
	out := map[string]any{}
	if depth > schemaDepthMax || r.nodes > schemaNodesMax {
		return out
	}
	p := r.plain(v)
	for _, key := range []string{"type", "enum", "const", "required", "minItems", "maxItems"} {
		if value, ok := p[key]; ok {
			out[key] = value
		}
	}
	if items, ok := p["items"].(map[string]any); ok {
		out["items"] = r.reduce(items, depth+1)
	}
	if properties, ok := p["properties"].(map[string]any); ok {
		reduced := make(map[string]any, len(properties))
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			reduced[name] = r.reduce(properties[name], depth+1)
		}
		out["properties"] = reduced
	}
	switch extra := p["additionalProperties"].(type) {
	case bool:
		out["additionalProperties"] = extra
	case map[string]any:
		out["additionalProperties"] = r.reduce(extra, depth+1)
	}
	for _, key := range []string{"anyOf", "oneOf"} {
		list, _ := p[key].([]any)
		var reduced []any
		for _, one := range list {
			reduced = append(reduced, r.reduce(one, depth+1))
		}
		if reduced != nil {
			out["anyOf"] = reduced
		}
	}
	return enforceable(out)
}

// itemsMax is the most items of a list that a grammar is asked to count.
const itemsMax = 1000

var jsonTypes = []string{"object", "array", "string", "number", "integer", "boolean", "null"}

// enforceable removes from a reduced schema what a strict backend could not
// enforce, so that the tool stays usable.
func enforceable(p map[string]any) map[string]any {
	for _, key := range []string{"const", "enum"} {
		if value, ok := p[key]; ok {
			if list, isList := value.([]any); key == "const" || isList && len(list) > 0 {
				return map[string]any{key: value}
			}
			delete(p, key)
		}
	}
	properties, isObject := p["properties"].(map[string]any)
	_, isList := p["items"]
	if alternatives, ok := p["anyOf"]; ok {
		if !isObject && !isList {
			return map[string]any{"anyOf": alternatives}
		}
		delete(p, "anyOf")
	}
	types, several := p["type"].([]any)
	if !several {
		types = []any{p["type"]}
	}
	known := slices.DeleteFunc(stringsOf(types),
		func(t string) bool { return !slices.Contains(jsonTypes, t) })
	if delete(p, "type"); len(known) == 1 {
		p["type"] = known[0]
	} else if len(known) > 1 {
		p["type"] = known
	}
	required := slices.DeleteFunc(stringsOf(p["required"]),
		func(name string) bool { _, ok := properties[name]; return !ok })
	if delete(p, "required"); len(required) > 0 {
		p["required"] = required
	}
	least, lowOK := p["minItems"].(float64)
	most, highOK := p["maxItems"].(float64)
	counted := func(n float64) bool { return n >= 0 && n <= itemsMax && n == float64(int(n)) }
	if !lowOK || !counted(least) || !isList && p["type"] != "array" {
		delete(p, "minItems")
		least = 0
	}
	if !highOK || !counted(most) || most < least || !isList && p["type"] != "array" {
		delete(p, "maxItems")
	}
	return p
}

var sentenceEnd = regexp.MustCompile(`[.!?](?:\s+[^a-z]|$)`) // not that of "e.g. this"

// firstSentence is the beginning of a description, on one line.
func firstSentence(text string, most int) string {
	text = legible.OneLine(text)
	if end := sentenceEnd.FindStringIndex(text); end != nil {
		text = text[:end[0]+1]
	}
	if len(text) <= most {
		return text
	}
	text = legible.Clip(text, most)
	if space := strings.LastIndexByte(text, ' '); space > most/2 {
		text = text[:space] + "…"
	}
	return text
}
