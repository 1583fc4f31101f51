package command

import (
	"context"
	_ "embed"
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"gopkg.in/yaml.v3"
)

// The words that a model reads about a call that can't be decoded.
//
//go:embed prompts/typed.tmpl
var typedWords string

// Typed makes a command of a Go function that takes a struct. The exported
// fields of In are the slots of the command:
//
//	type input struct {
//		Place string   `json:"place" help:"a town"`
//		Days  int      `json:"days,omitempty" help:"how many days ahead"`
//		Unit  string   `json:"unit" help:"of the temperature" options:"celsius,fahrenheit"`
//		Text  string   `json:"text" help:"what to say" kind:"text"`
//	}
//
// A field is optional with omitempty or as a pointer. Its form follows from its
// type, from options, or from kind: line, text, code (with lang), file.
//
// What a model wrote is decoded leniently: "3" is a number, yes is true, one
// value is a list of one, names may differ in case and hyphens. What can't be
// read is told to the model. Content with several entries runs once for each,
// unless they only hold different fields of one.
//
// A type that can't be an input is an error of [Registry.Register].
func Typed[In any](spec Spec, run func(ctx context.Context, env *Env, in In) (*Result, error),
) Command {
	c := &typedCommand[In]{spec: spec, run: run}
	c.fields, c.err = inputFields(reflect.TypeFor[In]())
	for _, f := range c.fields {
		c.spec.Slots = append(c.spec.Slots, f.slot)
	}
	return c
}

type typedCommand[In any] struct {
	spec   Spec
	fields []inputField
	err    error
	run    func(ctx context.Context, env *Env, in In) (*Result, error)
}

// Spec implements [Command].
func (c *typedCommand[In]) Spec() Spec { return c.spec }

// check is asked by [Registry.Register].
func (c *typedCommand[In]) check() error { return c.err }

// Run implements [Command].
func (c *typedCommand[In]) Run(ctx context.Context, env *Env, call *Call) (*Result, error) {
	whole := &Result{}
	for _, entry := range joinEntries(call.Content) {
		var in In
		if problem := decodeInput(reflect.ValueOf(&in).Elem(), c.fields, entry); problem != nil {
			return problem, nil
		}
		r, err := c.run(ctx, env, in)
		if err != nil || r == nil {
			return r, err
		}
		whole.join(r)
	}
	return whole, nil
}

// join adds the result of another entry.
func (r *Result) join(next *Result) {
	if r.Text != "" && next.Text != "" {
		r.Text += "\n"
	}
	r.Text += next.Text
	r.Failed, r.Truncated = r.Failed || next.Failed, r.Truncated || next.Truncated
	r.Files = append(r.Files, next.Files...)
	if next.Answer != "" {
		r.Answer = next.Answer
	}
}

// joinEntries makes one entry of those that hold different fields. There is
// always at least one.
func joinEntries(content []map[string]any) []map[string]any {
	out := []map[string]any{{}}
	for _, entry := range content {
		last := out[len(out)-1]
		for key := range entry {
			if _, taken := last[key]; taken {
				last = map[string]any{}
				out = append(out, last)
				break
			}
		}
		maps.Copy(last, entry)
	}
	return out
}

// inputField is a field of an input and the slot that it is filled from.
type inputField struct {
	index []int
	slot  Slot
}

// inputFields reads the slots from a struct type.
func inputFields(t reflect.Type) ([]inputField, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("the input %s is no struct", t)
	}
	var out []inputField
	for _, f := range reflect.VisibleFields(t) {
		if !f.IsExported() || f.Anonymous {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		slot := Slot{Name: name, Help: f.Tag.Get("help"), Lang: f.Tag.Get("lang"),
			Optional: f.Type.Kind() == reflect.Pointer ||
				slices.Contains(strings.Split(options, ","), "omitempty")}
		if err := slot.setKind(f); err != nil {
			return nil, fmt.Errorf("field %s: %w", f.Name, err)
		}
		out = append(out, inputField{f.Index, slot})
	}
	return out, nil
}

// kindNames are the values of the tag kind.
func kindNames() map[string]SlotKind {
	return map[string]SlotKind{"line": SlotLine, "text": SlotText, "code": SlotCode, "file": SlotFile}
}

// setKind chooses the form in which a model writes a field.
func (s *Slot) setKind(f reflect.StructField) error {
	if kind := f.Tag.Get("kind"); kind != "" {
		known, ok := kindNames()[kind]
		if !ok {
			return fmt.Errorf("unknown kind %q; known are line, text, code, file", kind)
		}
		s.Kind = known
		return nil
	}
	if options := f.Tag.Get("options"); options != "" {
		s.Kind, s.Options = SlotEnum, strings.Split(options, ",")
		return nil
	}
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch kind := t.Kind(); {
	case kind == reflect.String || t == reflect.TypeFor[time.Duration]() || isTextType(t):
		s.Kind = SlotLine
	case kind == reflect.Bool:
		s.Kind = SlotYesNo
	case kind >= reflect.Int && kind <= reflect.Float64:
		s.Kind = SlotNumber
	default:
		schema, err := jsonschema.ForType(t, &jsonschema.ForOptions{})
		if err != nil {
			return err
		}
		text, err := json.Marshal(schema)
		if err != nil {
			return err
		}
		s.Kind, s.Schema = SlotObject, string(text)
	}
	return nil
}

func isTextType(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// decodeInput fills an input from an entry, or returns what is wrong with it.
func decodeInput(in reflect.Value, fields []inputField, entry map[string]any) *Result {
	for _, f := range fields {
		value, ok := fieldOf(entry, f.slot.Name)
		if !ok || value == nil {
			if f.slot.Optional {
				continue
			}
			return &Result{Text: typedWord("missing_field", f.slot), Failed: true}
		}
		if want := setValue(in.FieldByIndex(f.index), value, f.slot); want != "" {
			return &Result{Failed: true, Text: typedWord("bad_field", map[string]string{
				"Name": f.slot.Name, "Want": want, "Got": clip(AsText(value)),
			})}
		}
	}
	return nil
}

// fieldOf finds a field by its name, however it is spelt.
func fieldOf(entry map[string]any, name string) (any, bool) {
	if v, ok := entry[name]; ok {
		return v, true
	}
	for _, key := range slices.Sorted(maps.Keys(entry)) {
		if fold(key) == fold(name) {
			return entry[key], true
		}
	}
	return nil, false
}

// setValue sets a field from a value of any form that can mean it. It returns
// the name of the template that says what is wanted instead, "" when it is set.
func setValue(to reflect.Value, from any, slot Slot) (want string) {
	if to.Kind() == reflect.Pointer {
		to.Set(reflect.New(to.Type().Elem()))
		return setValue(to.Elem(), from, slot)
	}
	text, isText := TextOf(map[string]any{"": from}, "")
	if u, ok := to.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return wantUnless(isText && u.UnmarshalText([]byte(strings.TrimSpace(text))) == nil, "want_form")
	}
	if d, ok := to.Addr().Interface().(*time.Duration); ok {
		parsed, err := time.ParseDuration(strings.TrimSpace(text))
		*d = parsed
		return wantUnless(err == nil, "want_duration")
	}
	switch kind := to.Kind(); {
	case slot.Kind == SlotEnum && kind == reflect.String:
		return setOption(to, text, slot.Options)
	case kind == reflect.String:
		if !isText {
			text = AsText(from)
		}
		to.SetString(text)
		return ""
	case kind == reflect.Bool:
		b, ok := YesNoOf(map[string]any{"": from}, "")
		to.SetBool(b)
		return wantUnless(ok, "want_yes")
	case kind >= reflect.Int && kind <= reflect.Float64:
		return setNumber(to, strings.TrimSpace(text))
	}
	return setObject(to, from)
}

func wantUnless(ok bool, want string) string {
	if ok {
		return ""
	}
	return typedWord(want, nil)
}

func setOption(to reflect.Value, text string, options []string) string {
	for _, o := range options {
		if fold(o) == fold(text) {
			to.SetString(o)
			return ""
		}
	}
	return typedWord("want_option", options)
}

// setNumber sets a number that fits the field's type.
func setNumber(to reflect.Value, text string) string {
	if to.CanFloat() {
		f, err := strconv.ParseFloat(text, 64)
		to.SetFloat(f)
		return wantUnless(err == nil && !math.IsInf(f, 0) && !math.IsNaN(f), "want_number")
	}
	if whole, ok := strings.CutSuffix(text, ".0"); ok {
		text = whole
	}
	if to.CanInt() {
		n, err := strconv.ParseInt(text, 10, to.Type().Bits())
		to.SetInt(n)
		return wantUnless(err == nil, "want_whole")
	}
	n, err := strconv.ParseUint(text, 10, to.Type().Bits())
	to.SetUint(n)
	return wantUnless(err == nil, "want_whole")
}

// setObject sets a value with an inner structure, through JSON. JSON inside a
// string is unpacked, and a single value becomes a list of one.
func setObject(to reflect.Value, from any) string {
	if text, ok := from.(string); ok {
		from = unpacked(text)
	}
	if _, isList := from.([]any); !isList && to.Kind() == reflect.Slice {
		from = []any{from}
	}
	data, err := json.Marshal(from)
	return wantUnless(err == nil && json.Unmarshal(data, to.Addr().Interface()) == nil, "want_form")
}

// unpacked reads JSON inside a string. Models write it with Python's quotes or
// without quotes, which YAML accepts. Other text stays as it is.
func unpacked(text string) any {
	var value any
	if json.Unmarshal([]byte(text), &value) == nil {
		return json.RawMessage(text)
	}
	bracketed := strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[")
	if bracketed && yaml.Unmarshal([]byte(text), &value) == nil {
		return value
	}
	return text
}

// typedWord renders one of the messages. They are embedded and tested, so a
// failure is a bug.
func typedWord(name string, data any) string {
	words := template.Must(template.New("").Funcs(template.FuncMap{
		"join": func(list []string) string { return strings.Join(list, ", ") },
	}).Parse(typedWords))
	var out strings.Builder
	if err := words.ExecuteTemplate(&out, name, data); err != nil {
		panic(fmt.Sprintf("message %s of a typed command: %v", name, err))
	}
	return out.String()
}
