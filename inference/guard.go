package inference

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Limits on what is handed to the native grammar parser, which recurses per
// nesting level and multiplies repetitions out. Beyond them it could exhaust
// the stack or the memory, and neither can be caught.
const (
	grammarBytesMax   = 1 << 20
	grammarNestingMax = 64
	grammarRepeatMax  = 2000    // llama.cpp's own limit for {m,n}
	grammarSizeMax    = 1 << 20 // symbols after repetitions are multiplied out
	schemaBytesMax    = 1 << 20
	schemaDepthMax    = 64
)

// CheckGrammar refuses GBNF that would be dangerous to parse. It does not
// prove the grammar right: the parser says what is wrong with its syntax.
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
	s := grammarScan{text: gbnf}
	return s.run()
}

// grammarScan walks over a grammar's tokens, keeping the nesting and an upper
// bound of its expanded size.
type grammarScan struct {
	text  string
	at    int
	depth int
	sizes []int // symbols in each open group
	last  int   // symbols of the last item
	total int
}

func (s *grammarScan) run() error {
	s.sizes = []int{0}
	for s.at < len(s.text) {
		if err := s.step(); err != nil {
			return err
		}
		if s.total+s.sizes[len(s.sizes)-1] > grammarSizeMax {
			return fmt.Errorf("grammar: repetitions multiply to more than %d symbols", grammarSizeMax)
		}
	}
	return nil
}

func (s *grammarScan) step() error {
	c := s.text[s.at]
	s.at++
	switch c {
	case '#':
		s.skipTo("\n")
	case '"':
		s.item(s.skipQuoted('"'))
	case '[':
		s.skipQuoted(']')
		s.item(1)
	case '(':
		if s.depth++; s.depth > grammarNestingMax {
			return fmt.Errorf("grammar: parentheses nested deeper than %d", grammarNestingMax)
		}
		s.sizes = append(s.sizes, 0)
	case ')':
		if len(s.sizes) > 1 {
			s.depth--
			n := s.sizes[len(s.sizes)-1]
			s.sizes = s.sizes[:len(s.sizes)-1]
			s.item(n)
		}
	case '{':
		return s.repeat()
	case '\n':
		if len(s.sizes) == 1 {
			s.total += s.sizes[0]
			s.sizes[0] = 0
		}
	case ' ', '\t', '\r', '|', ':', '=', '*', '+', '?':
	default:
		s.skipName()
		s.item(1)
	}
	return nil
}

func (s *grammarScan) item(n int) {
	s.last = max(n, 1)
	s.sizes[len(s.sizes)-1] += s.last
}

func (s *grammarScan) skipTo(end string) {
	if i := strings.Index(s.text[s.at:], end); i >= 0 {
		s.at += i
	} else {
		s.at = len(s.text)
	}
}

func (s *grammarScan) skipQuoted(end byte) int {
	n := 0
	for s.at < len(s.text) {
		c := s.text[s.at]
		s.at++
		if c == '\\' {
			s.at++
		} else if c == end {
			break
		}
		n++
	}
	return n
}

func (s *grammarScan) skipName() {
	for s.at < len(s.text) && !strings.ContainsRune(" \t\r\n|:=*+?(){}[]\"#", rune(s.text[s.at])) {
		s.at++
	}
}

// repeat reads the rest of {m}, {m,} or {m,n} and multiplies the last item.
func (s *grammarScan) repeat() error {
	end := strings.IndexByte(s.text[s.at:], '}')
	if end < 0 {
		return errors.New("grammar: a repetition has no closing brace")
	}
	most := 1
	for _, part := range strings.Split(s.text[s.at:s.at+end], ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 || n > grammarRepeatMax {
			return fmt.Errorf("grammar: repetition {%s} is not between 0 and %d", s.text[s.at:s.at+end], grammarRepeatMax)
		}
		most = max(most, n)
	}
	s.at += end + 1
	s.sizes[len(s.sizes)-1] += s.last * (most - 1)
	return nil
}

// checkSchema decodes a schema; it refuses what is no JSON, too large or too deep.
func checkSchema(schema []byte) (any, error) {
	if len(schema) > schemaBytesMax {
		return nil, fmt.Errorf("JSON schema: %d bytes, at most %d are supported", len(schema), schemaBytesMax)
	}
	dec := json.NewDecoder(bytes.NewReader(schema))
	depth := 0
	for {
		tok, err := dec.Token()
		if err != nil {
			break
		}
		if d, ok := tok.(json.Delim); ok {
			if d == '{' || d == '[' {
				depth++
			} else {
				depth--
			}
			if depth > schemaDepthMax {
				return nil, fmt.Errorf("JSON schema: nested deeper than %d", schemaDepthMax)
			}
		}
	}
	var v any
	if err := json.Unmarshal(schema, &v); err != nil {
		return nil, fmt.Errorf("JSON schema: %w", jsonError(schema, err))
	}
	switch v.(type) {
	case map[string]any, bool:
		return v, nil
	}
	return nil, errors.New("JSON schema: it must be an object")
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
	schema, err := json.Marshal(map[string]string{"type": "string", "pattern": p})
	if err != nil {
		return err
	}
	gbnf, err := convert(schema)
	if err == nil && strings.Contains(gbnf, anyString) {
		err = fmt.Errorf("JSON schema: pattern %q can't be enforced: no look-around, back reference, or anchor inside", p)
	}
	return err
}

// jsonError adds the line to a JSON syntax error.
func jsonError(text []byte, err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		line := 1 + bytes.Count(text[:min(int(syntax.Offset), len(text))], []byte("\n"))
		return fmt.Errorf("line %d: %w", line, err)
	}
	return err
}
