package inference

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Limits on what is handed to the native grammar parser, which recurses per
// nesting level, writes repetitions out and walks every way into a rule. Beyond
// them it could exhaust the stack or the memory, or never come back, and none of
// these can be caught.
const (
	grammarBytesMax   = 1 << 20
	grammarNestingMax = 64
	grammarRepeatMax  = 2000    // llama.cpp's own limit for {m,n}
	grammarSizeMax    = 1 << 20 // symbols after repetitions are written out
	grammarChainMax   = 2500    // rules that begin with one another; it recurses for each
	grammarWaysMax    = 1 << 14 // ways from a rule to the characters it may begin with
	grammarSearchMax  = 1 << 26 // steps of the search for left recursion
)

// CheckGrammar refuses GBNF that can't be parsed or would be dangerous to parse.
func CheckGrammar(gbnf string) error {
	if strings.TrimSpace(gbnf) == "" {
		return errors.New("grammar: it is empty")
	}
	if len(gbnf) > grammarBytesMax {
		return fmt.Errorf("grammar: %d bytes, at most %d are supported", len(gbnf), grammarBytesMax)
	}
	if strings.IndexByte(gbnf, 0) >= 0 {
		return errors.New("grammar: it contains a NUL byte")
	}
	g, err := parseGBNF(gbnf)
	if err != nil {
		return err
	}
	if !slices.Contains(g.names, "root") {
		return errors.New(`grammar: it has no rule named "root", with which a reply begins`)
	}
	return g.checkStarts()
}

// patterns collects the regular expressions of a schema.
func patterns(schema any) []string {
	var out []string
	switch v := schema.(type) {
	case map[string]any:
		if p, ok := v["pattern"].(string); ok {
			out = append(out, p)
		}
		for key, value := range v {
			switch key {
			case "const", "enum", "default", "examples": // values, not schemas
			case "properties", "patternProperties", "$defs", "definitions", "dependentSchemas": // names, then schemas
				named, _ := value.(map[string]any)
				for _, sub := range named {
					out = append(out, patterns(sub)...)
				}
			default:
				out = append(out, patterns(value)...)
			}
		}
	case []any:
		for _, sub := range v {
			out = append(out, patterns(sub)...)
		}
	}
	return out
}

// anyString is the rule that the converter makes of what it does not understand.
const anyString = "root ::= string\n"

// checkPattern refuses a regular expression that convert, llama.cpp's
// converter of schemas, would replace by "any string" with no more than a line
// on stderr.
func checkPattern(p string, convert func(schema []byte) (string, error)) error {
	if len(p) < 2 || p[0] != '^' || p[len(p)-1] != '$' {
		return fmt.Errorf("JSON schema: pattern %q must begin with ^ and end with $; a part of a string can't be enforced", p)
	}
	kept, err := enforces(p, convert)
	if kept || err != nil {
		return err
	}
	for _, escape := range letterEscape.FindAllString(p, -1) {
		if kept, err := enforces("^"+escape+"$", convert); err == nil && !kept {
			return fmt.Errorf(
				"JSON schema: pattern %q can't be enforced: %s is not known; write a class of characters such as "+
					"[a-z] or [^ ] instead", p, escape)
		}
	}
	return fmt.Errorf("JSON schema: pattern %q can't be enforced: no look-around, back reference, or anchor inside", p)
}

var letterEscape = regexp.MustCompile(`\\[A-Za-z]`)

// enforces reports whether convert makes anything of a pattern.
func enforces(p string, convert func(schema []byte) (string, error)) (bool, error) {
	schema, err := json.Marshal(map[string]string{"type": "string", "pattern": p})
	if err != nil {
		return false, err
	}
	gbnf, err := convert(schema)
	return err == nil && !strings.Contains(gbnf, anyString), err
}

// jsonError adds the line to a JSON syntax error.
func jsonError(text []byte, err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		line := 1 + bytes.Count(text[:min(int(syntax.Offset), len(text))], []byte("\n"))
		return fmt.Errorf("line %d: %w", line, err)
	}
	return err
}
