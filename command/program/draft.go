package program

import (
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"gopkg.in/yaml.v3"

	"agent/internal/legible"
)

// readTest reads the values of the test and finds the kind of each field by
// its value.
func (d *draft) readTest() error {
	required := slices.ContainsFunc(d.fields, func(f field) bool { return !f.Optional })
	if d.expect == "" || d.test == "" && required {
		return flawed("no_test", d.exampleTest())
	}
	values, ok := d.parseTest()
	if !ok {
		return flawed("bad_test", map[string]string{"Test": legible.Line(d.test, 100), "Like": d.exampleTest()})
	}
	d.values = values
	for i, f := range d.fields {
		value, given := values[f.Name]
		if !given && !f.Optional {
			return flawed("bad_test", map[string]string{"Test": legible.Line(d.test, 100), "Like": d.exampleTest()})
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
			data, err := json.Marshal(value)
			if err != nil {
				data = []byte("?")
			}
			parts = append(parts, f.Name+"="+legible.Line(string(data), 60))
		}
	}
	return d.name + "(" + strings.Join(parts, ", ") + ")"
}

// parseTest reads {"a": 1}, name(a=1, b="x"), a=1, or values in order.
func (d *draft) parseTest() (map[string]any, bool) {
	var object map[string]any
	if json.Unmarshal([]byte(d.test), &object) == nil && object != nil {
		return d.known(object)
	}
	text := d.test
	if open := strings.IndexByte(text, '('); open >= 0 && strings.HasSuffix(text, ")") && fieldForm.MatchString(strings.TrimSpace(text[:open])) {
		text = text[open+1 : len(text)-1]
	}
	values := map[string]any{}
	for i, part := range splitArguments(text) {
		name, value, named := cutArgument(part)
		switch {
		case named && d.hasField(name):
		case i < len(d.fields) && (!named || len(d.fields) == len(splitArguments(text))):
			name = d.fields[i].Name // in its place, perhaps by another name
			if !named {
				value = part
			}
		default:
			return nil, false
		}
		values[name] = literal(value)
	}
	return values, true
}

// known keeps an object whose keys are fields.
func (d *draft) known(object map[string]any) (map[string]any, bool) {
	for key := range object {
		if !d.hasField(key) {
			return nil, false
		}
	}
	return object, true
}

func (d *draft) hasField(name string) bool {
	for _, f := range d.fields {
		if f.Name == name {
			return true
		}
	}
	return false
}

var argument = regexp.MustCompile(`^\s*["'` + "`" + `]?([A-Za-z_][A-Za-z0-9_ ]*?)["'` + "`" + `]?\s*[=:]\s*(.*)$`)

// cutArgument splits name=value.
func cutArgument(part string) (name, value string, named bool) {
	m := argument.FindStringSubmatch(strings.ReplaceAll(part, "\n", " "))
	if m == nil {
		return "", part, false
	}
	return strings.ReplaceAll(m[1], " ", "_"), m[2], true
}

// splitArguments splits at commas outside of quotes and brackets.
func splitArguments(text string) []string {
	var parts []string
	depth, start, quote := 0, 0, byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0:
			if c == '\\' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' && (i == 0 || !isWordByte(text[i-1])): // an apostrophe opens nothing
			quote = c
		case strings.IndexByte("([{", c) >= 0:
			depth++
		case strings.IndexByte(")]}", c) >= 0:
			depth--
		case c == ',' && depth == 0:
			parts, start = append(parts, text[start:i]), i+1
		}
	}
	if strings.TrimSpace(text[start:]) != "" {
		parts = append(parts, text[start:])
	}
	return parts
}

func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// literal reads a value as JSON or Python writes it; else it is text.
func literal(text string) any {
	text = strings.TrimSpace(text)
	var value any
	if json.Unmarshal([]byte(text), &value) == nil && value != nil {
		return value
	}
	switch text {
	case "True":
		return true
	case "False":
		return false
	}
	if n := len(text); n >= 2 && (text[0] == '\'' || text[0] == '"') && text[n-1] == text[0] {
		return strings.NewReplacer(`\n`, "\n", `\'`, `'`, `\"`, `"`, `\\`, `\`).Replace(text[1 : n-1])
	}
	return text
}

var fileTemplate = template.Must(template.New("command.py.tmpl").ParseFS(files, "prompts/command.py.tmpl"))

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
	var b strings.Builder
	wrapped := d.offset == 1
	err = fileTemplate.Execute(&b, map[string]any{
		"Header": header, "Code": d.code, "Function": d.function, "Wrapped": wrapped, "Names": strings.Join(names, ", "),
		"Arguments": strings.ReplaceAll(strings.Join(names, ", "), `"`, ""),
	})
	if err != nil {
		return err
	}
	d.file = []byte(b.String())
	d.offset += strings.Count(header, "\n") + 3
	return nil
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

var numberForm = regexp.MustCompile(`[-+]?\d+(?:\.\d+)?`)

// occurs reports whether the expected text is in the output. A number is also
// found when the output has it with more digits: 37.78 in 37.77777.
func occurs(expect, output string) bool {
	plain := func(s string) string { return strings.Join(strings.Fields(strings.ToLower(s)), " ") }
	want := strings.Trim(plain(expect), "`'\"")
	if want == "" {
		return false
	}
	if !isNumberText(want) {
		return strings.Contains(plain(output), want)
	}
	target, _ := strconv.ParseFloat(want, 64)
	_, decimals, _ := strings.Cut(want, ".")
	unit := math.Pow(10, -float64(len(decimals)))
	for _, found := range numberForm.FindAllString(output, -1) {
		if n, err := strconv.ParseFloat(found, 64); err == nil && math.Abs(n-target) <= unit/2+1e-9*math.Abs(target) && (len(decimals) > 0 || n == target) {
			return true
		}
	}
	return false
}

func isNumberText(text string) bool {
	return numberForm.FindString(text) == text
}
