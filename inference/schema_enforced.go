package inference

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
)

// A schema is said to be enforced. llama.cpp's converter leaves out, without a
// word, what a grammar can't say or what it does not know. Such keywords are
// refused here, with their place. Annotations and unknown keywords mean nothing
// for a value, so they stay.

// keywordsOf are the keywords that constrain values of a type; those of all types
// stand in structural.
var keywordsOf = map[string][]string{
	"object": {"properties", "required", "additionalProperties", "patternProperties", "propertyNames",
		"minProperties", "maxProperties", "dependentRequired", "dependentSchemas", "dependencies",
		"unevaluatedProperties"},
	"array": {"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "minContains",
		"maxContains", "unevaluatedItems"},
	"string": {"minLength", "maxLength", "pattern", "format"},
	"number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
}

var structural = []string{"type", "enum", "const", "allOf", "anyOf", "oneOf", "not", "if", "$ref",
	"$dynamicRef", "$recursiveRef"}

// neverEnforced can't be said in a grammar, or not by this converter.
var neverEnforced = map[string][]string{
	"object": {"patternProperties", "propertyNames", "minProperties", "maxProperties",
		"dependentRequired", "dependentSchemas", "dependencies"},
	"array":  {"uniqueItems", "contains", "unevaluatedItems"},
	"number": {"multipleOf"},
	"":       {"not", "if", "$dynamicRef", "$recursiveRef"},
}

// knownFormats have rules of their own.
var knownFormats = []string{"date", "time", "date-time", "uuid", "uuid1", "uuid2", "uuid3", "uuid4",
	"uuid5"}

// integerMax is the largest bound that the converter's rules for digits reach.
const integerMax = 1e15

// checkEnforced refuses what the grammar would not enforce. The schema has
// passed checkSchema, so that it ends and its references lead somewhere.
func checkEnforced(root map[string]any) error {
	c := &enforcement{walk: &schemaWalk{root: root}, done: map[string]bool{}}
	return c.schema(root, place{at: "#"})
}

type enforcement struct {
	walk *schemaWalk
	done map[string]bool // references that were looked at
}

// refuse names a keyword that is not enforced, and says why or what to do.
func (p place) refuseKeyword(key, why string) error {
	return p.blame(key, "%q can't be enforced %s; leave it out and check the reply yourself", key, why)
}

// blame says what is wrong with one keyword; without it the rest would do.
func (p place) blame(key, format string, args ...any) error {
	return &schemaFault{at: p.at, keyword: key, what: fmt.Sprintf(format, args...)}
}

func (c *enforcement) schema(v any, p place) error {
	s, ok := v.(map[string]any)
	if !ok {
		return p.refuse("a schema must be an object here, not %s", shortJSON(v))
	}
	if err := never(s, p); err != nil {
		return err
	}
	for _, key := range []string{"$ref", "oneOf", "anyOf"} {
		value, ok := s[key]
		if !ok {
			continue
		}
		if err := c.alone(s, key, p); err != nil {
			return err
		}
		if key == "$ref" {
			return c.reference(value, p)
		}
		return c.each(value, p.child(key, 0))
	}
	for _, key := range []string{"const", "enum"} {
		if _, ok := s[key]; ok {
			return values(s, key, p)
		}
	}
	types, ok := s["type"].([]any)
	if !ok {
		return c.typed(s, p)
	}
	for _, t := range types {
		one := maps.Clone(s)
		if one["type"] = t; s["allOf"] != nil {
			return p.refuseKeyword("allOf", "beside several types")
		}
		if err := c.typed(one, p); err != nil {
			return err
		}
	}
	return nil
}

// never refuses what is not enforced wherever it stands and has a meaning.
func never(s map[string]any, p place) error {
	for _, kind := range []string{"", "object", "array", "number"} {
		if kind != "" && !mayBe(s, kind) {
			continue
		}
		for _, key := range neverEnforced[kind] {
			if value, ok := s[key]; ok && !means(s, key, value) {
				return p.refuseKeyword(key, "here")
			}
		}
	}
	return nil
}

// means reports that a keyword is fulfilled by every value that the grammar
// lets through.
func means(s map[string]any, key string, value any) bool {
	properties, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	empty, isObject := value.(map[string]any)
	n, err := strconv.Atoi(shortJSON(value))
	switch key {
	case "uniqueItems", "unevaluatedItems":
		return value == (key == "unevaluatedItems")
	case "patternProperties", "dependentRequired", "dependentSchemas", "dependencies":
		return isObject && len(empty) == 0
	case "propertyNames":
		return value == true || isObject && len(empty) == 0
	case "minProperties":
		return err == nil && n <= len(required)
	case "maxProperties": // without a word on others, listed properties are all
		_, open := s["additionalProperties"]
		return err == nil && n >= len(properties) && len(properties) > 0 &&
			(!open || s["additionalProperties"] == false)
	case "multipleOf":
		return err == nil && n == 1 && s["type"] == "integer"
	case "if":
		return s["then"] == nil && s["else"] == nil
	case "required":
		return len(required) == 0
	}
	return false
}

// mayBe reports whether a schema's type, or the lack of one, lets a kind through.
func mayBe(s map[string]any, kind string) bool {
	is := func(t any) bool { return t == kind || kind == "number" && t == "integer" }
	switch t := s["type"].(type) {
	case nil:
		return true
	case []any:
		return slices.ContainsFunc(t, is)
	default:
		return is(t)
	}
}

// alone refuses keywords beside one that is the only one read.
func (c *enforcement) alone(s map[string]any, only string, p place) error {
	for _, key := range structural {
		if _, ok := s[key]; ok && key != only && !(key == "if" && means(s, key, nil)) &&
			!(key == "type" && c.same(s, only)) {
			return p.refuseKeyword(key, "beside "+only)
		}
	}
	for _, kind := range []string{"object", "array", "string", "number"} {
		if !mayBe(s, kind) {
			continue
		}
		for _, key := range keywordsOf[kind] {
			if _, ok := s[key]; ok {
				return p.refuseKeyword(key, "beside "+only)
			}
		}
	}
	return nil
}

// same reports whether all that stands under a keyword has the type that stands
// beside it.
func (c *enforcement) same(s map[string]any, only string) bool {
	list, ok := s[only].([]any)
	if !ok {
		list = []any{s}
	}
	for _, v := range list {
		part, _ := v.(map[string]any)
		for range schemaChainMax {
			ref, ok := part["$ref"]
			if !ok {
				break
			}
			_, part, _ = c.walk.resolve(ref, place{})
		}
		if part["type"] == nil || shortJSON(part["type"]) != shortJSON(s["type"]) {
			return false
		}
	}
	return true
}

func (c *enforcement) reference(value any, p place) error {
	ref, target, err := c.walk.resolve(value, p)
	if err != nil || c.done[ref] {
		return err
	}
	c.done[ref] = true
	return c.schema(target, place{at: ref})
}

func (c *enforcement) each(value any, p place) error {
	list, _ := value.([]any)
	for i, one := range list {
		if err := c.schema(one, p.child(strconv.Itoa(i), 0)); err != nil {
			return err
		}
	}
	return nil
}

// kindsOf are the types that a value has.
func kindsOf(v any) []string {
	switch v := v.(type) {
	case nil:
		return []string{"null"}
	case bool:
		return []string{"boolean"}
	case string:
		return []string{"string"}
	case []any:
		return []string{"array"}
	case json.Number:
		if f, err := v.Float64(); err == nil && f == math.Trunc(f) {
			return []string{"integer", "number"}
		}
		return []string{"number"}
	}
	return []string{"object"}
}

// exactly reports whether a schema's type, or one of its types, is kind.
func exactly(s map[string]any, kind string) bool {
	list, ok := s["type"].([]any)
	return s["type"] == any(kind) || ok && slices.Contains(list, any(kind))
}

// typed checks a schema of one type or none, by what the converter makes of it.
func (c *enforcement) typed(s map[string]any, p place) error {
	_, properties := s["properties"]
	additional, ok := s["additionalProperties"]
	_, all := s["allOf"]
	object := properties || ok && additional != true
	kind, _ := s["type"].(string)
	switch {
	case all && object && (kind == "" || kind == "object"):
		return p.refuseKeyword("allOf", "beside the properties of an object")
	case all && (kind == "" || kind == "object" || kind == "string"):
		return c.allOf(s, p)
	case all:
		return p.refuseKeyword("allOf", "for the type "+kind)
	case kind == "object", kind == "" && object:
		return c.object(s, p)
	case kind == "array", kind == "" && (s["items"] != nil || s["prefixItems"] != nil):
		return c.array(s, p)
	case kind == "string", kind == "" && holds(s, "pattern", "minLength", "maxLength", "format"):
		return text(s, p)
	case kind == "integer":
		return integer(s, p)
	case kind == "number":
		return numbers(s, "for numbers that may have fractions", p)
	case kind == "":
		for _, t := range []string{"object", "array"} {
			for _, key := range keywordsOf[t] {
				if value, ok := s[key]; ok && value != true && !means(s, key, value) {
					return p.refuseKeyword(key, "without a type beside it")
				}
			}
		}
		return numbers(s, "without a type beside it", p)
	}
	return nil
}

func holds(s map[string]any, keys ...string) bool {
	return slices.ContainsFunc(keys, func(key string) bool { _, ok := s[key]; return ok })
}

func (c *enforcement) object(s map[string]any, p place) error {
	properties, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	for _, name := range required {
		if name, ok := name.(string); !ok {
			return p.refuse("required must be a list of names")
		} else if _, ok := properties[name]; !ok {
			return p.refuse("required names %q, which is not under properties; add it there", name)
		}
	}
	if value, ok := s["unevaluatedProperties"]; ok && value != true && len(properties) == 0 {
		return p.refuseKeyword("unevaluatedProperties", "without properties beside it")
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if name == "*" {
			return p.child("properties", 0).refuse(`a property can't have the name "*"`)
		}
		if err := c.schema(properties[name], p.child("properties", 0).child(name, 0)); err != nil {
			return err
		}
	}
	if additional, ok := s["additionalProperties"].(map[string]any); ok {
		return c.schema(additional, p.child("additionalProperties", 0))
	}
	return nil
}

func (c *enforcement) array(s map[string]any, p place) error {
	for _, key := range []string{"items", "prefixItems"} {
		list, isList := s[key].([]any)
		switch value := s[key]; {
		case value == nil:
			continue
		case isList: // exactly these
			for _, bound := range []string{"minItems", "maxItems"} {
				n, err := strconv.Atoi(shortJSON(s[bound]))
				if err == nil && (bound == "minItems" && n > len(list) ||
					bound == "maxItems" && n < len(list)) {
					return p.refuseKeyword(bound, "beside a list of "+strconv.Itoa(len(list))+" "+key)
				}
			}
			return c.each(value, p.child(key, 0))
		default:
			if s["prefixItems"] != nil && key == "items" {
				return p.refuseKeyword("prefixItems", "beside items")
			}
			return c.schema(value, p.child(key, 0))
		}
	}
	return nil
}

// allOf checks the parts of an allOf. The converter makes one object of their
// properties, all required, or takes the values that all of them list.
func (c *enforcement) allOf(s map[string]any, p place) error {
	keys := slices.Concat(keywordsOf["object"], keywordsOf["array"], keywordsOf["string"],
		keywordsOf["number"])
	if holds(s, keys...) {
		at := slices.IndexFunc(keys, func(key string) bool { return holds(s, key) })
		return p.refuseKeyword(keys[at], "beside allOf")
	}
	list, _ := s["allOf"].([]any)
	objects, enums := 0, 0
	for i, v := range list {
		at := p.child("allOf", 0).child(strconv.Itoa(i), 0)
		part, err := c.part(v, at)
		if err != nil {
			return err
		}
		properties := holds(part, "properties")
		switch {
		case holds(part, "enum"):
			if enums++; twice(part["enum"]) {
				return at.refuse("its enum has a value twice")
			}
		case properties && exactlyOrNone(part, "object") &&
			!holds(part, "oneOf", "anyOf", "allOf", "const"):
			objects++
		default:
			return at.refuse("a part of allOf must be an object with properties, or an enum; write it out in one schema instead")
		}
		if additional, ok := part["additionalProperties"]; ok && additional != true &&
			(additional != false || len(list) > 1) {
			return at.refuseKeyword("additionalProperties", "in allOf")
		}
		if err := c.schema(part, at); err != nil {
			return err
		}
	}
	if enums > 0 && len(list) > 1 {
		return p.refuse("an enum is one of several parts of allOf; write the values out that fit all parts")
	}
	if enums > 0 && s["type"] == "object" {
		return p.refuseKeyword("type", "beside allOf of enums")
	}
	if objects > 0 && s["type"] == "string" {
		return p.refuse("its type is string, and its allOf has objects; no value is both")
	}
	return nil
}

// twice reports whether a list has a value twice: the converter counts how many
// parts of an allOf have it.
func twice(v any) bool {
	list, _ := v.([]any)
	seen := map[string]bool{}
	for _, one := range list {
		raw, _ := json.Marshal(one)
		if seen[string(raw)] {
			return true
		}
		seen[string(raw)] = true
	}
	return false
}

func exactlyOrNone(s map[string]any, kind string) bool {
	return s["type"] == nil || s["type"] == any(kind)
}

// part is a part of an allOf, or what it refers to.
func (c *enforcement) part(v any, p place) (map[string]any, error) {
	part, _ := v.(map[string]any)
	for range schemaChainMax {
		ref, ok := part["$ref"]
		if !ok {
			break
		}
		if err := c.alone(part, "$ref", p); err != nil {
			return nil, err
		}
		var err error
		if _, part, err = c.walk.resolve(ref, p); err != nil {
			return nil, err
		}
	}
	return part, nil
}
