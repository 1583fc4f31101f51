package program

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"agent/command"
	"agent/internal/legible"
	"agent/internal/near"
)

// Bounds of a header. The model reads the words of every command in each
// prompt, so they are few.
const (
	headerBytesMax = 16 << 10
	wordsMax       = 320 // characters of description, fields and their help: about 60 tokens
	aliasesMax     = 8
	fieldsMax      = 8
	metadataMax    = 32
)

// What a program can declare to need.
const (
	needRead    = "read"    // reads the work dir
	needWrite   = "write"   // changes files of the work dir
	needNetwork = "network" // reaches out
)

// definition is what a header declares.
type definition struct {
	spec     command.Spec
	needs    []string
	metadata []string
	timeout  time.Duration  // 0: that of the session
	example  map[string]any // an entry of content, nil when none is given
}

// FileError is a mistake in a command file, with its place.
type FileError struct {
	File   string
	Line   int // 0: the whole file
	Err    error
	Advice string
}

func (e *FileError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.File, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// Hint says what a person can do about it.
func (e *FileError) Hint() string { return e.Advice }

// header is the YAML document at the start of a Python file, or the JSON that
// an executable answers to --describe.
type header struct {
	Name        string         `yaml:"name"`
	Description string         `yaml:"description"`
	Aliases     []string       `yaml:"aliases"`
	Fields      []field        `yaml:"fields"`
	Needs       []string       `yaml:"needs"`
	Metadata    []string       `yaml:"metadata"`
	Timeout     string         `yaml:"timeout"`
	Example     map[string]any `yaml:"example"`
}

type field struct {
	Name     string   `yaml:"name"`
	Help     string   `yaml:"help,omitempty"`
	Kind     string   `yaml:"kind,omitempty"`
	Optional bool     `yaml:"optional,omitempty"`
	Options  []string `yaml:"options,omitempty"` // of kind choice
	Lang     string   `yaml:"lang,omitempty"`    // of kind code
}

// kinds are the names of slot kinds in a header, with what a person calls them.
var kinds = []struct {
	name, words string
	kind        command.SlotKind
}{
	{"line", "a line of text", command.SlotLine},
	{"text", "text", command.SlotText},
	{"code", "code", command.SlotCode},
	{"file", "a file of the work dir", command.SlotFile},
	{"choice", "one of the options", command.SlotEnum},
	{"yesno", "yes or no", command.SlotYesNo},
	{"number", "a number", command.SlotNumber},
	{"object", "a JSON value", command.SlotObject},
}

func kindName(kind command.SlotKind) string {
	for _, k := range kinds {
		if k.kind == kind {
			return k.words
		}
	}
	return fmt.Sprintf("kind %d", int(kind))
}

// The keys that a header and its fields may have.
var (
	headerKeys = []string{"name", "description", "aliases", "fields", "needs", "metadata", "timeout",
		"example"}
	fieldKeys = []string{"name", "help", "kind", "optional", "options", "lang"}
)

// parseHeader reads a header. Lines in errors count from the start of text; a
// Python file puts empty lines before the document.
func parseHeader(file, text string) (definition, error) {
	p := headerParser{file: file}
	if len(text) > headerBytesMax+strings.Count(text, "\n") {
		return definition{}, p.at(0, fmt.Errorf("the header has more than %d bytes", headerBytesMax))
	}
	var root yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(text))
	if err := dec.Decode(&root); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the header is empty")
		}
		return definition{}, p.yamlError(err)
	}
	if len(root.Content) != 1 || root.Content[0].Kind != yaml.MappingNode {
		return definition{}, p.at(root.Line,
			errors.New("the header must be keys with values, such as name: weather"))
	}
	p.root = root.Content[0]
	if err := p.checkKeys(); err != nil {
		return definition{}, err
	}
	var h header
	if err := p.root.Decode(&h); err != nil {
		return definition{}, p.yamlError(err)
	}
	return p.define(h)
}

// headerParser keeps what errors need.
type headerParser struct {
	file string
	root *yaml.Node
}

func (p *headerParser) at(line int, err error) error {
	return &FileError{File: p.file, Line: line, Err: err}
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\s*)?line (\d+): (.*)$`)

// yamlError gives an error of the YAML reader its place.
func (p *headerParser) yamlError(err error) error {
	text := err.Error()
	var typed *yaml.TypeError
	if errors.As(err, &typed) && len(typed.Errors) > 0 {
		text = typed.Errors[0]
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "program.", ""), "!!", "")
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ := strconv.Atoi(m[1])
		return p.at(line, errors.New("header: "+m[2]))
	}
	return p.at(0, errors.New("header: "+strings.TrimPrefix(text, "yaml: ")))
}

// checkKeys rejects unknown keys: most are typos.
func (p *headerParser) checkKeys() error {
	if err := p.checkMapping(p.root, headerKeys); err != nil {
		return err
	}
	fields := valueOf(p.root, "fields")
	if fields == nil || fields.Kind != yaml.SequenceNode {
		return nil
	}
	for _, f := range fields.Content {
		if f.Kind != yaml.MappingNode {
			return p.at(f.Line, errors.New("a field must have keys, such as: - name: city"))
		}
		if err := p.checkMapping(f, fieldKeys); err != nil {
			return err
		}
	}
	return nil
}

func (p *headerParser) checkMapping(node *yaml.Node, known []string) error {
	for i := 0; i < len(node.Content); i += 2 {
		key := node.Content[i]
		if !slices.Contains(known, key.Value) {
			return p.at(key.Line, fmt.Errorf("unknown key %q%s", legible.Line(key.Value, 40),
				suggestion(key.Value, known)))
		}
	}
	return nil
}

// suggestion names the nearest of the known words, or all of them.
func suggestion(word string, known []string) string {
	if best := near.Name(word, known); best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return "; known are " + strings.Join(known, ", ")
}

// valueOf is the value of a key of a mapping, nil without it.
func valueOf(node *yaml.Node, key string) *yaml.Node {
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

// lineOf is where a key stands, or the header where it is missing.
func (p *headerParser) lineOf(key string) int {
	if node := valueOf(p.root, key); node != nil {
		return node.Line
	}
	return p.root.Line
}

var (
	nameForm  = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)
	fieldForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,39}$`)
)

// define makes a definition of a header, checking each part.
func (p *headerParser) define(h header) (definition, error) {
	d := definition{needs: h.Needs, metadata: h.Metadata, example: h.Example}
	if h.Name == "" {
		h.Name = stem(p.file)
	}
	if !nameForm.MatchString(h.Name) {
		return d, p.at(p.lineOf("name"), fmt.Errorf("the name %q must be small letters, digits and _, 40 at most",
			legible.Line(h.Name, 60)))
	}
	description := strings.TrimSpace(h.Description)
	if description == "" {
		return d, p.at(p.lineOf("description"),
			errors.New("the description is missing: the model chooses by it"))
	}
	if !plainLine(description) {
		return d, p.at(p.lineOf("description"),
			errors.New("the description must be one line of plain text"))
	}
	if err := errors.Join(p.checkAliases(h), p.checkNeeds(h), p.checkMetadata(h)); err != nil {
		return d, err
	}
	d.spec = command.Spec{Name: h.Name, Aliases: h.Aliases, Description: description,
		Effect: effectOf(h.Needs)}
	var err error
	if d.spec.Slots, err = p.slots(h.Fields); err != nil {
		return d, err
	}
	if n := wordsOf(d.spec); n > wordsMax {
		return d, p.at(p.lineOf("description"),
			fmt.Errorf(
				"the description and the fields have %d characters, which the model reads in every prompt; %d are "+
					"allowed", n, wordsMax))
	}
	if d.timeout, err = p.duration(h.Timeout); err != nil {
		return d, err
	}
	return d, p.checkExample(d)
}

// stem is the name that a file gives its command.
func stem(file string) string {
	base := file[strings.LastIndexAny(file, `/\`)+1:]
	base, _, _ = strings.Cut(base, ".")
	return strings.ReplaceAll(strings.ToLower(base), "-", "_")
}

// plainLine reports text without line breaks and control characters.
func plainLine(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, legible.BreaksLine)
}

func wordsOf(spec command.Spec) int {
	n := utf8.RuneCountInString(spec.Name + spec.Description)
	for _, slot := range spec.Slots {
		n += utf8.RuneCountInString(slot.Name + slot.Help)
	}
	return n
}

func (p *headerParser) checkAliases(h header) error {
	if len(h.Aliases) > aliasesMax {
		return p.at(p.lineOf("aliases"), fmt.Errorf("%d aliases; %d are allowed", len(h.Aliases),
			aliasesMax))
	}
	for i, alias := range h.Aliases {
		switch {
		case !nameForm.MatchString(alias):
			return p.at(p.lineOf("aliases"), fmt.Errorf("the alias %q must be small letters, digits and _",
				legible.Line(alias, 60)))
		case alias == h.Name || slices.Contains(h.Aliases[:i], alias):
			return p.at(p.lineOf("aliases"), fmt.Errorf("the alias %q is there twice", alias))
		}
	}
	return nil
}

func (p *headerParser) checkNeeds(h header) error {
	known := []string{needRead, needWrite, needNetwork}
	for _, need := range h.Needs {
		if !slices.Contains(known, need) {
			return p.at(p.lineOf("needs"), fmt.Errorf("unknown need %q%s", legible.Line(need, 40),
				suggestion(need, known)))
		}
	}
	return nil
}

func (p *headerParser) checkMetadata(h header) error {
	if len(h.Metadata) > metadataMax {
		return p.at(p.lineOf("metadata"), fmt.Errorf("%d metadata keys; %d are allowed", len(h.Metadata),
			metadataMax))
	}
	for _, key := range h.Metadata {
		if key == "" || !plainLine(key) {
			return p.at(p.lineOf("metadata"), fmt.Errorf("the metadata key %q is no name",
				legible.Line(key, 40)))
		}
	}
	return nil
}

// effectOf is the effect for approval: the strongest of the needs. A program
// without any access can do no harm.
func effectOf(needs []string) command.Effect {
	effect := command.EffectNone
	for _, need := range needs {
		switch need {
		case needRead:
			effect = max(effect, command.EffectRead)
		case needWrite:
			effect = max(effect, command.EffectWrite)
		case needNetwork:
			effect = max(effect, command.EffectNetwork)
		}
	}
	return effect
}

// slots makes the fields of the command.
func (p *headerParser) slots(fields []field) ([]command.Slot, error) {
	if len(fields) > fieldsMax {
		return nil, p.at(p.lineOf("fields"),
			fmt.Errorf("%d fields; %d are allowed", len(fields), fieldsMax))
	}
	nodes := valueOf(p.root, "fields")
	seen := map[string]bool{}
	var slots []command.Slot
	for i, f := range fields {
		slot, err := slotOf(f)
		if err == nil && seen[f.Name] {
			err = fmt.Errorf("the field %q is there twice", f.Name)
		}
		if err != nil {
			return nil, p.at(nodes.Content[i].Line, err)
		}
		seen[f.Name] = true
		slots = append(slots, slot)
	}
	return slots, nil
}

func slotOf(f field) (command.Slot, error) {
	slot := command.Slot{Name: f.Name, Help: strings.TrimSpace(f.Help), Options: f.Options,
		Lang: f.Lang, Optional: f.Optional}
	var names []string
	known := f.Kind == ""
	for _, k := range kinds {
		names = append(names, k.name)
		if k.name == f.Kind {
			slot.Kind, known = k.kind, true
		}
	}
	switch {
	case !fieldForm.MatchString(f.Name):
		return slot, fmt.Errorf("the field's name %q must be letters, digits and _",
			legible.Line(f.Name, 60))
	case !known:
		return slot, fmt.Errorf("field %s: unknown kind %q%s", f.Name, legible.Line(f.Kind, 40),
			suggestion(f.Kind, names))
	case !plainLine(slot.Help):
		return slot, fmt.Errorf("field %s: its help must be one line of plain text", f.Name)
	case slot.Kind == command.SlotEnum && len(f.Options) < 2:
		return slot, fmt.Errorf("field %s: a choice needs two options or more", f.Name)
	case slot.Kind != command.SlotEnum && len(f.Options) > 0:
		return slot, fmt.Errorf("field %s: options are for kind: choice", f.Name)
	case slices.ContainsFunc(f.Options,
		func(o string) bool { return strings.TrimSpace(o) != o || o == "" || !plainLine(o) || len(o) > 60 }):
		return slot, fmt.Errorf("field %s: an option must be one short line", f.Name)
	case f.Lang != "" && !nameForm.MatchString(f.Lang):
		return slot, fmt.Errorf("field %s: the language %q is no name", f.Name, legible.Line(f.Lang, 40))
	}
	if slot.Help == "" {
		slot.Help = strings.ReplaceAll(f.Name, "_", " ")
	}
	return slot, nil
}

func (p *headerParser) duration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Millisecond {
		return 0, p.at(p.lineOf("timeout"),
			fmt.Errorf("the timeout %q must be a time such as 10s", legible.Line(text, 40)))
	}
	return d, nil
}

// checkExample checks that the fields of the example exist.
func (p *headerParser) checkExample(d definition) error {
	if d.example == nil {
		return nil
	}
	prog := Program{definition: d}
	if _, problem := prog.readContent([]map[string]any{d.example}); problem != "" {
		return p.at(p.lineOf("example"), errors.New("example: "+problem))
	}
	for name := range d.example {
		if !slices.ContainsFunc(d.spec.Slots, func(s command.Slot) bool { return s.Name == name }) {
			return p.at(p.lineOf("example"), fmt.Errorf("example: there is no field %q",
				legible.Line(name, 40)))
		}
	}
	return nil
}

// docstring finds the header of a Python file: the string at its start, after
// comments. It returns the text with as many empty lines before it as in the
// file, so that line numbers agree.
func docstring(code []byte) (string, bool) {
	code = bytes.TrimPrefix(code, []byte("\xef\xbb\xbf"))
	at := skipComments(code)
	rest := code[at:]
	for _, prefix := range []string{"r", "R", "u", "U", ""} {
		for _, quote := range []string{`"""`, `'''`} {
			body, ok := bytes.CutPrefix(rest, []byte(prefix+quote))
			if !ok {
				continue
			}
			end := bytes.Index(body, []byte(quote))
			if end < 0 {
				return "", false
			}
			return strings.Repeat("\n", bytes.Count(code[:at], []byte("\n"))) + string(body[:end]), true
		}
	}
	return "", false
}

// skipComments is where the first line begins that is neither empty nor a
// comment.
func skipComments(code []byte) int {
	at := 0
	for at < len(code) {
		end := bytes.IndexByte(code[at:], '\n')
		line := code[at:]
		if end >= 0 {
			line = code[at : at+end]
		}
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' || end < 0 {
			return at
		}
		at += end + 1
	}
	return at
}
