package program

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"agent/command"
	"agent/command/python"
	"agent/internal/legible"
)

// CreateName is the command with which the agent makes other commands.
const CreateName = "create_command"

// codeBytesMax bounds the code of a command that the agent makes.
const codeBytesMax = 64 << 10

// createThreshold is for the question create_command_for.md: see
// docs/dev/experiments.md.
const createThreshold = 2.1

// Create returns the command with which the agent makes commands for itself. It
// takes a Python function, parses it, tries it in the sandbox on one call, and saves
// exactly the file that was tried in folder, with every version in .history below it.
// set, which watches that folder, registers it at its next refresh.
func Create(set *Set, folder string) command.Command {
	return &creator{set: set, folder: folder, spec: createSpec()}
}

func createSpec() command.Spec {
	help := texts.Help()
	spec := command.Spec{
		Name:        CreateName,
		Aliases:     []string{"new_command", "make_command", "define_command", "create_tool"},
		Description: texts.Text("create_command.md"),
		Effect:      command.EffectExecute,
		For: &command.Kind{Question: texts.Text("create_command_for.md"), Threshold: createThreshold,
			Unscored: true, NoFile: true},
		Slots: []command.Slot{
			{Name: "name", Kind: command.SlotLine},
			{Name: "description", Kind: command.SlotLine},
			{Name: "code", Kind: command.SlotCode, Lang: "python"},
			{Name: "test_call", Kind: command.SlotLine},
			{Name: "fields", Kind: command.SlotLine, Optional: true},
		},
	}
	for i := range spec.Slots {
		spec.Slots[i].Help = help[spec.Slots[i].Name]
	}
	return spec
}

// creator implements [command.Command] and [command.Previewer].
type creator struct {
	set    *Set
	folder string
	spec   command.Spec
}

func (c *creator) Spec() command.Spec { return c.spec }

// Preview is the file as it would be saved.
func (c *creator) Preview(ctx context.Context, _ *command.Env, call *command.Call) (string, error) {
	d, err := readDraft(call)
	if err == nil {
		err = d.shape(ctx, c.set.runner)
	}
	if _, ok := errors.AsType[*flaw](err); ok {
		return "", nil // it won't be made, and the model is told why
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", CreateName, err)
	}
	return string(d.file), nil
}

// flaw is why a command is not made. The model reads it and can fix it.
type flaw struct{ text string }

func (f *flaw) Error() string { return f.text }

func flawed(message string, data any) error { return &flaw{texts.Say(message, data)} }

// Run implements [command.Command].
func (c *creator) Run(ctx context.Context, env *command.Env, call *command.Call,
) (*command.Result, error) {
	d, err := readDraft(call)
	if err == nil {
		var made *command.Result
		if made, err = c.make(ctx, env, d); err == nil {
			return made, nil
		}
	}
	if f, ok := errors.AsType[*flaw](err); ok {
		return &command.Result{Text: texts.Say("not_made", f.text), Failed: true}, nil
	}
	return nil, fmt.Errorf("%s: %w", CreateName, err)
}

// make goes from a draft to a saved command.
func (c *creator) make(ctx context.Context, env *command.Env, d *draft) (*command.Result, error) {
	replaces, err := c.mayTake(d.name)
	if err != nil {
		return nil, err
	}
	if err := d.shape(ctx, c.set.runner); err != nil {
		return nil, err
	}
	p, err := c.check(d)
	if err != nil {
		return nil, err
	}
	output, err := try(ctx, env, p, d)
	if err != nil {
		return nil, err
	}
	if err := save(c.folder, d.name, p.code); err != nil {
		return nil, err
	}
	return &command.Result{Text: texts.Say("made", map[string]any{
		"Name": d.name, "Test": d.testLine(), "Output": legible.Line(output, 200), "Replaced": replaces,
	})}, nil
}

// mayTake checks that a name is free, or belongs to a command that the agent
// made, which is then replaced.
func (c *creator) mayTake(name string) (replaces bool, err error) {
	c.set.mu.Lock()
	defer c.set.mu.Unlock()
	own, err := ownVersion(c.folder, name)
	if err != nil {
		return false, err
	}
	registered := ""
	if own && c.set.fileOf(name) == filepath.Join(c.folder, name+".py") {
		registered = name
	}
	if err := c.set.conflict(command.Spec{Name: name}, registered); err != nil {
		return false, flawed("taken", err.Error())
	}
	if !own && fileExists(c.folder, name+".py") {
		return false, flawed("taken", fmt.Sprintf("the file %s.py is there already and was not made by this command", name))
	}
	return own, nil
}

// check reads the composed file like any other command file. Whether it is valid
// Python shows when it is tried.
func (c *creator) check(d *draft) (*Program, error) {
	file := d.name + ".py"
	header, _ := docstring(d.file)
	def, err := parseHeader(file, header)
	if bad, ok := errors.AsType[*FileError](err); ok {
		return nil, flawed("unfit", bad.Err)
	}
	if err != nil {
		return nil, err
	}
	if def.spec.Name != d.name || def.spec.Description != d.description ||
		len(def.spec.Slots) != len(d.fields) || len(def.needs)+len(def.metadata) > 0 {
		// a text that breaks out of it
		return nil, flawed("unfit", "what it says in its header is not what was given")
	}
	return &Program{definition: def, file: file, code: d.file, python: true, runner: c.set.runner}, nil
}

// try runs the test call. What it should give is not asked for: small models write
// a right function beside a wrong number.
func try(ctx context.Context, env *command.Env, p *Program, d *draft) (string, error) {
	res, err := p.Run(ctx, env, &command.Call{Command: d.name, Summary: "test",
		Content: []map[string]any{d.values}})
	if err != nil {
		return "", err
	}
	if res.Failed {
		return "", flawed("test_failed", map[string]any{"Test": d.testLine(),
			"Output": d.inCode(res.Text)})
	}
	return res.Text, nil
}

// draft is a command that the agent wants to make.
type draft struct {
	name, description string
	fieldsText, code  string
	test              string

	fields   []field
	values   map[string]any // of the test
	function string         // that the code defines
	file     []byte         // as it is checked, tried and saved
	offset   int            // lines of the file before the code
}

// readDraft reads a call and fixes obvious slips.
func readDraft(call *command.Call) (*draft, error) {
	entry := map[string]any{}
	for _, e := range call.Content {
		maps.Copy(entry, e)
	}
	d := &draft{
		name:        plainName(textOf(entry["name"])),
		description: legible.Clip(strings.Join(strings.Fields(textOf(entry["description"])), " "), 160),
		fieldsText:  given(textOf(entry["fields"])),
		code:        strings.TrimRight(python.CleanCode(textOf(entry["code"])), "\n"),
		test:        given(textOf(first(entry, "test_call", "test", "example"))),
	}
	switch {
	case !nameForm.MatchString(d.name):
		return nil, flawed("bad_name", legible.Line(textOf(entry["name"]), 60))
	case d.description == "":
		return nil, flawed("no_description", nil)
	case strings.TrimSpace(d.code) == "" || len(d.code) > codeBytesMax:
		return nil, flawed("no_code", nil)
	}
	return d, nil
}

// plainName turns a name from a model into a valid command name.
func plainName(text string) string {
	text = strings.Trim(strings.ToLower(strings.TrimSpace(text)), "`'\"().:")
	return strings.NewReplacer(" ", "_", "-", "_").Replace(text)
}

// first is the value of the first of several names that is there.
func first(entry map[string]any, names ...string) any {
	for _, name := range names {
		if v, ok := entry[name]; ok {
			return v
		}
	}
	return nil
}

// given is a text, or empty if it only says that there is none.
func given(text string) string {
	text = strings.TrimSpace(text)
	switch strings.ToLower(strings.Trim(text, ".`'\"")) {
	case "none", "null", "n/a", "nothing":
		return ""
	}
	return text
}

// textOf is a field as text; a list is joined by commas.
func textOf(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = fieldText(v[i])
		}
		return strings.Join(parts, ", ")
	}
	return command.AsText(v)
}

// fieldText is one of a list of fields, which may be {"name": …, "help": …}.
func fieldText(v any) string {
	m, ok := v.(map[string]any)
	if !ok {
		return textOf(v)
	}
	if help := textOf(m["help"]); help != "" {
		return textOf(m["name"]) + ": " + help
	}
	return textOf(m["name"])
}

// shape finds the function and its fields, reads the test and composes the file.
func (d *draft) shape(ctx context.Context, r *runner) error {
	verdicts, err := r.check(ctx, []source{{d.name + ".py", d.code}})
	if broke, ok := errors.AsType[*parserError](err); ok {
		return flawed("bad_syntax", map[string]any{"Line": 1, "Error": broke.Error()})
	}
	if err != nil {
		return err
	}
	v := verdicts[0]
	if v.Error != "" {
		return flawed("bad_syntax", map[string]any{"Line": v.Line, "Error": v.Error})
	}
	named := splitFields(d.fieldsText)
	f, ok := chooseFunction(v.Functions, d.name, len(named) > 0)
	if !ok {
		if f, err = d.wrap(v, named); err != nil {
			return err
		}
	} else {
		d.code = withoutLines(d.code, v.Loose)
	}
	d.function = f.Name
	d.fields = fieldsOf(f, named)
	if err := d.readTest(); err != nil {
		return err
	}
	return d.compose()
}

// chooseFunction picks the function that does the work: one named like the
// command, run or main, or the last. If there are fields, functions that take
// them come first.
func chooseFunction(functions []function, name string, takesFields bool) (function, bool) {
	if len(functions) == 0 {
		return function{}, false
	}
	ordered := slices.Clone(functions)
	slices.Reverse(ordered)
	rank := func(f function) int {
		r := slices.Index([]string{name, "run", "main", f.Name}, f.Name) // the last is any other
		if takesFields && len(f.Arguments) == 0 {
			r += 4
		}
		return r
	}
	slices.SortStableFunc(ordered, func(a, b function) int { return rank(a) - rank(b) })
	return ordered[0], true
}

// wrap makes a function of code that defines none and only uses its fields. Code
// that sets its fields itself would always do the same.
func (d *draft) wrap(v verdict, named []field) (function, error) {
	f := function{Name: "run"}
	var names []string
	for _, n := range named {
		if slices.Contains(v.Assigned, n.Name) {
			return f, flawed("fixed_field", n.Name)
		}
		f.Arguments = append(f.Arguments, parameter{Name: n.Name})
		names = append(names, n.Name)
	}
	if len(named) == 0 || v.Stdin || strings.Contains(d.code, `"""`) ||
		strings.Contains(d.code, "'''") {
		return f, flawed("no_function", map[string]string{"Name": d.name,
			"Fields": strings.Join(names, ", ")})
	}
	d.code = "    " + strings.ReplaceAll(d.code, "\n", "\n    ")
	d.offset = 1
	return f, nil
}

// withoutLines empties lines, so that line numbers stay.
func withoutLines(code string, ranges [][2]int) string {
	lines := strings.Split(code, "\n")
	for _, r := range ranges {
		for n := max(r[0], 1); n <= min(r[1], len(lines)); n++ {
			lines[n-1] = ""
		}
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// splitFields reads "city: a town, days (how many)".
func splitFields(text string) []field {
	var out []field
	for _, part := range strings.FieldsFunc(strings.Trim(text, "[](){} "),
		func(r rune) bool { return r == ',' || r == ';' || r == '\n' }) {
		name, help := part, ""
		if at := strings.IndexAny(part, ":(="); at >= 0 {
			name, help = part[:at], strings.Trim(part[at+1:], " ()")
		}
		name = strings.Trim(strings.TrimSpace(name), "`'\"*- ")
		name = strings.ReplaceAll(name, " ", "_")
		known := slices.ContainsFunc(out, func(f field) bool { return f.Name == name })
		if fieldForm.MatchString(name) && !known && len(out) < fieldsMax {
			out = append(out, field{Name: name, Help: legible.Line(strings.Trim(help, "'\""), 60)})
		}
	}
	return out
}

// fieldsOf are the function's arguments, with the help of the fields that were
// named like them, or that stand in the same place.
func fieldsOf(f function, named []field) []field {
	fields := make([]field, len(f.Arguments))
	for i, a := range f.Arguments {
		fields[i] = field{Name: a.Name, Optional: a.Optional}
		for j, n := range named {
			if n.Name == a.Name || len(named) == len(f.Arguments) && i == j {
				fields[i].Help = n.Help
			}
		}
	}
	return fields
}

// inCode maps line numbers of the file to those of the agent's code.
func (d *draft) inCode(text string) string {
	place := regexp.MustCompile(`File "` + regexp.QuoteMeta(d.name) + `\.py", line (\d+)`)
	last := strings.Count(d.code, "\n") + 1
	var out []string
	skipping := false
	for _, line := range strings.Split(text, "\n") {
		m := place.FindStringSubmatch(line)
		if m != nil {
			n := 0
			_, _ = fmt.Sscan(m[1], &n)
			skipping = n-d.offset < 1 || n-d.offset > last // of what was put around it
			line = strings.Replace(line, "line "+m[1], fmt.Sprintf("line %d", n-d.offset), 1)
		} else if !strings.HasPrefix(line, "    ") {
			skipping = false
		}
		if !skipping {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}
