package salvage

import (
	"regexp"
	"strings"
)

// tagForm is a way of writing a call and its parameters as elements.
type tagForm struct {
	open, end      string // of a call: what its opening tag begins with, and its closing tag
	parameter      *regexp.Regexp
	parameterOpen  string // what may nest
	parameterClose string
}

const commandName = `([A-Za-z_][A-Za-z0-9_.-]{0,63})`

// vendor is a prefix that some models put before GLM's names of elements, as LongCat does.
const vendor = `(?:[a-z]{1,20}_)?`

// space is a prefix that a dialect puts before the names of its elements.
const space = `((?:[A-Za-z_]{1,20}:|｜DSML｜)?)`

var (
	functionStart  = regexp.MustCompile(`^<function=` + commandName + `>`)
	parameterStart = regexp.MustCompile(`<parameter=` + commandName + `>`)
	invokeStart    = regexp.MustCompile(`^<` + space + `(invoke|function|function_call) ` +
		`name=["']` + commandName + `["'][^<>]{0,200}>`)
	pairsStart = regexp.MustCompile(`^<(` + vendor + `)tool_call>\s*` + commandName +
		`\s*(?:<` + vendor + `arg_key>|</` + vendor + `tool_call>)`)
	pairStart = regexp.MustCompile(`<` + vendor + `arg_key>\s*` + commandName +
		`\s*</` + vendor + `arg_key>\s*<` + vendor + `arg_value>`)
)

// elements reads a call written as elements at the start of text:
// <function=name> with <parameter=key>, <invoke name="..."> with <parameter
// name="...">, or <tool_call>name with <arg_key> and <arg_value>.
func (s *salvage) elements(text string) ([]ParsedCall, int) {
	if m := functionStart.FindStringSubmatch(text); m != nil {
		return s.element(text, m[1], len(m[0]), tagForm{
			open: "<function=", end: "</function>",
			parameter: parameterStart, parameterOpen: "<parameter=", parameterClose: "</parameter>",
		})
	}
	if m := invokeStart.FindStringSubmatch(text); m != nil {
		prefix, tag := m[1], m[1]+m[2]
		if m[2] == "function_call" { // whose parameters have none
			prefix = ""
		}
		return s.element(text, m[3], len(m[0]), tagForm{
			open: "<" + tag + " ", end: "</" + tag + ">",
			parameter: regexp.MustCompile(`<` + prefix + `parameter name=["']` + commandName +
				`["'][^<>]{0,200}>`),
			parameterOpen: "<" + prefix + "parameter ", parameterClose: "</" + prefix + "parameter>",
		})
	}
	if m := pairsStart.FindStringSubmatchIndex(text); m != nil {
		prefix := text[m[2]:m[3]]
		return s.element(text, text[m[4]:m[5]], m[5], tagForm{
			open: "<" + prefix + "tool_call>", end: "</" + prefix + "tool_call>", parameter: pairStart,
			parameterOpen: "<" + prefix + "arg_value>", parameterClose: "</" + prefix + "arg_value>",
		})
	}
	return nil, 0
}

// element reads the call whose opening tag has so many bytes. Without its end it
// goes on to the next one.
func (s *salvage) element(text, name string, opening int, form tagForm) ([]ParsedCall, int) {
	body, length := text[opening:], len(text)
	if at := s.closing(body, form.open, form.end); at >= 0 {
		length = opening + at + len(form.end)
		body = body[:at]
	} else {
		s.repairs.add(RepairMaybeQuoted)
		if next := strings.Index(body, form.open); next >= 0 {
			length = opening + next
			body = body[:next]
		}
		body, _, _ = strings.Cut(body, form.end)
	}
	s.repairs.add(RepairXML)
	return s.oneCall(name, s.parameters(body, form)), length
}

// closing finds the end tag of an element whose opening tag stands before text,
// skipping nested elements of its kind. It is -1 if there is none.
func (s *salvage) closing(text, open, end string) int {
	depth := 0
	for pos := 0; ; {
		next := strings.Index(text[pos:], end)
		if next < 0 {
			*s.budget -= len(text)
			return -1
		}
		depth += strings.Count(text[pos:pos+next], open)
		if pos += next; depth == 0 {
			*s.budget -= pos
			return pos
		}
		depth--
		pos += len(end)
	}
}

// parameters reads the parameters of a call; some models write them as JSON.
func (s *salvage) parameters(body string, form tagForm) any {
	m := form.parameter.FindStringSubmatchIndex(body)
	if m == nil {
		body = strings.TrimSpace(body)
		if strings.HasPrefix(body, "{") {
			if v, end, made, ok := s.read(body, false); ok {
				s.repairs.add(made...)
				if !wordless(body[end:]) {
					s.repairs.add(RepairMaybeQuoted)
				}
				return v
			}
		}
		if body == "" {
			return nil
		}
		return body
	}
	fields, closed := map[string]any{}, true
	for ; m != nil; m = form.parameter.FindStringSubmatchIndex(body) {
		if !wordless(body[:m[0]]) {
			s.repairs.add(RepairMaybeQuoted)
		}
		name, value := body[m[2]:m[3]], body[m[1]:]
		at := -1
		if closed {
			at = s.closing(value, form.parameterOpen, form.parameterClose)
		}
		if at >= 0 {
			value, body = value[:at], value[at+len(form.parameterClose):]
		} else { // up to the next one
			closed = false
			s.repairs.add(RepairMaybeQuoted)
			end := len(value)
			if next := form.parameter.FindStringIndex(value); next != nil {
				end = next[0]
			}
			value, body = value[:end], value[end:]
			value, _, _ = strings.Cut(value, form.parameterClose)
		}
		fields[name] = strings.TrimSuffix(strings.TrimPrefix(value, "\n"), "\n")
	}
	if !wordless(body) {
		s.repairs.add(RepairMaybeQuoted)
	}
	return fields
}
