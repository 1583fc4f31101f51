package program

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"gopkg.in/yaml.v3"

	"agent/command"
	"agent/command/salvage"
	"agent/internal/legible"
)

// readTest reads the values of the test and finds the kind of each field by
// its value.
func (d *draft) readTest() error {
	required := slices.ContainsFunc(d.fields, func(f field) bool { return !f.Optional })
	if d.test == "" && required {
		return flawed("no_test", d.exampleTest())
	}
	values, ok := d.parseTest()
	if !ok {
		return flawed("bad_test", map[string]string{"Test": legible.Line(d.test, 100),
			"Like": d.exampleTest()})
	}
	d.values = values
	for i, f := range d.fields {
		value, given := values[f.Name]
		if !given && !f.Optional {
			return flawed("bad_test", map[string]string{"Test": legible.Line(d.test, 100),
				"Like": d.exampleTest()})
		}
		d.fields[i].Kind = kindOf(value)
	}
	return nil
}

// kindOf is the kind of a field that takes a value.
func kindOf(value any) string {
	switch v := value.(type) {
	case float64:
		return "number"
	case bool:
		return "yesno"
	case map[string]any, []any:
		return "object"
	case string:
		if strings.Contains(v, "\n") {
			return "text"
		}
	}
	return ""
}

// exampleTest is how a test of this command may look.
func (d *draft) exampleTest() string {
	parts := make([]string, len(d.fields))
	for i, f := range d.fields {
		parts[i] = f.Name + "=…"
	}
	return d.name + "(" + strings.Join(parts, ", ") + ")"
}

// testLine is the test as it was understood.
func (d *draft) testLine() string {
	var parts []string
	for _, f := range d.fields {
		if value, ok := d.values[f.Name]; ok {
			data, _ := json.Marshal(value) // which was read from JSON
			parts = append(parts, f.Name+"="+legible.Line(string(data), 60))
		}
	}
	return d.name + "(" + strings.Join(parts, ", ") + ")"
}

// parseTest reads a call such as name(a=1, b="x").
func (d *draft) parseTest() (map[string]any, bool) {
	spec := command.Spec{}
	for _, f := range d.fields {
		spec.Slots = append(spec.Slots, command.Slot{Name: f.Name})
	}
	read, ok := salvage.Arguments(d.test, spec)
	if !ok || len(read) > len(d.fields) {
		return nil, false
	}
	plain, err := json.Marshal(read)
	values := map[string]any{}
	if err != nil || json.Unmarshal(plain, &values) != nil {
		return nil, false
	}
	for name, value := range values {
		switch {
		case d.hasField(name):
		case len(d.fields) == 1: // by another name
			values = map[string]any{d.fields[0].Name: value}
		default:
			return nil, false
		}
	}
	return values, true
}

func (d *draft) hasField(name string) bool {
	return slices.ContainsFunc(d.fields, func(f field) bool { return f.Name == name })
}

var fileTemplate = template.Must(template.New("command.py.tmpl").ParseFS(files,
	"prompts/command.py.tmpl"))

// compose writes the file: header, code, and the lines that call the function.
func (d *draft) compose() error {
	names := make([]string, len(d.fields))
	for i, f := range d.fields {
		names[i] = strconv.Quote(f.Name)
	}
	header, err := d.header()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	err = fileTemplate.Execute(&b, map[string]any{
		"Header": header, "Code": d.code, "Function": d.function, "Wrapped": d.offset == 1,
		"Names":     strings.Join(names, ", "),
		"Arguments": strings.ReplaceAll(strings.Join(names, ", "), `"`, ""),
	})
	d.file = b.Bytes()
	d.offset += strings.Count(header, "\n") + 3
	return err
}

// header is the YAML document that describes the command.
func (d *draft) header() (string, error) {
	var b strings.Builder
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	err := enc.Encode(struct {
		Name        string         `yaml:"name"`
		Description string         `yaml:"description"`
		Fields      []field        `yaml:"fields,omitempty"`
		Example     map[string]any `yaml:"example,omitempty"`
	}{d.name, d.description, d.fields, d.values})
	text := strings.TrimRight(b.String(), "\n")
	if strings.Contains(text, `"""`) {
		return "", flawed("unfit", "its description and test must not have three quotes in a row")
	}
	return text, err
}
