package mcp

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"agent/command"
	"agent/internal/legible"
	"agent/internal/near"
)

// problem is what a model should fix in a call.
type problem struct {
	Name string // of a message
	Data map[string]any
}

// arguments turns one entry of a call into the input of the tool. Values are read
// leniently: "3" is a number where one is wanted, and JSON in a string is
// unpacked where no text is wanted.
func (s *schema) arguments(entry map[string]any) (map[string]any, *problem) {
	out := map[string]any{}
	for name, value := range entry {
		f := s.find(name)
		if f == nil {
			f = s.only(entry)
		}
		if f == nil {
			if s.open {
				out[name] = value
				continue
			}
			return nil, s.unknown(name)
		}
		if value == nil && f.nullable {
			out[f.key] = nil // where it is a value, it says something else than a field left out
			continue
		}
		converted, ok := f.convert(value)
		if !ok {
			return nil, &problem{"bad_field", map[string]any{"Name": f.slot.Name, "Kind": f.kindName(),
				"Options": f.slot.Options}}
		}
		if converted != nil || !f.slot.Optional {
			out[f.key] = converted
		}
	}
	var missing []string
	for _, f := range s.fields {
		if _, given := out[f.key]; !given && !f.slot.Optional {
			missing = append(missing, f.slot.Name)
		}
	}
	if missing != nil {
		return nil, &problem{"missing_fields", map[string]any{"Names": missing}}
	}
	return out, nil
}

// find takes a field by its name, however it is spelt.
func (s *schema) find(name string) *field {
	for i := range s.fields {
		if s.fields[i].slot.Name == name || s.fields[i].key == name {
			return &s.fields[i]
		}
	}
	for i := range s.fields {
		if commandName(s.fields[i].key) == commandName(name) {
			return &s.fields[i]
		}
	}
	return nil
}

// only is the single required field, which a value under another name must mean.
func (s *schema) only(entry map[string]any) *field {
	if len(entry) != 1 || s.open {
		return nil
	}
	var needed *field
	for i := range s.fields {
		if s.fields[i].slot.Optional {
			continue
		}
		if needed != nil {
			return nil
		}
		needed = &s.fields[i]
	}
	return needed
}

func (s *schema) unknown(name string) *problem {
	name = legible.Clip(legible.OneLine(name), fieldNameMax)
	var names []string
	for _, f := range s.fields {
		names = append(names, f.slot.Name)
	}
	return &problem{"unknown_field", map[string]any{"Name": name, "Near": near.Name(name, names),
		"Names": names}}
}

// convert turns a model's value into the field's type; false if it can't.
func (f *field) convert(v any) (any, bool) {
	text, isText := v.(string)
	switch f.slot.Kind {
	case command.SlotEnum:
		value, ok := f.values[strings.TrimSpace(fmt.Sprint(v))]
		return value, ok
	case command.SlotNumber:
		return f.number(v)
	case command.SlotYesNo:
		return command.YesNo(v)
	case command.SlotObject:
		var inside any
		if isText && !f.textual && json.Unmarshal([]byte(text), &inside) == nil {
			return inside, true
		}
		return v, v != nil || f.slot.Optional
	}
	switch v := v.(type) {
	case string:
		return oneLineAsIs(v), true
	case nil:
		return nil, f.slot.Optional
	case float64, json.Number, bool, int:
		return fmt.Sprint(v), true
	}
	raw, err := json.Marshal(v)
	return string(raw), err == nil
}

// oneLineAsIs drops the line end of a single line, which comes from the block it
// was written in.
func oneLineAsIs(text string) string {
	if strings.Count(text, "\n") == 1 {
		return strings.TrimSuffix(text, "\n")
	}
	return text
}

func (f *field) number(v any) (any, bool) {
	var n float64
	switch v := v.(type) {
	case float64:
		n = v
	case int:
		n = float64(v)
	case json.Number:
		return v, !f.integer || !strings.ContainsAny(v.String(), ".eE")
	case string:
		parsed, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		if err != nil {
			return nil, false
		}
		n = parsed
	case nil:
		return nil, f.slot.Optional
	default:
		return nil, false
	}
	if math.IsNaN(n) || math.IsInf(n, 0) || f.integer && n != math.Trunc(n) {
		return nil, false
	}
	return n, true
}

// kindName is what a field takes, for a message.
func (f *field) kindName() string {
	switch {
	case f.slot.Kind == command.SlotEnum:
		return "enum"
	case f.integer:
		return "integer"
	case f.slot.Kind == command.SlotNumber:
		return "number"
	case f.slot.Kind == command.SlotYesNo:
		return "yesno"
	}
	return "text"
}
