package config

import (
	"bytes"
	"errors"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// parseYAML reads one document whose top is a mapping; an empty one is an empty
// mapping. name is how the file is called in errors.
func parseYAML(name string, data []byte) (*node, error) {
	if len(data) > fileBytesMax {
		return nil, problem(Origin{File: name}, "", "file has %d bytes, more than the %d allowed",
			len(data), fileBytesMax)
	}
	doc, err := parseDocument(name, data)
	if err != nil {
		return nil, err
	}
	at := Origin{File: name, Line: 1, Column: 1}
	if doc == nil {
		return newMap(at), nil
	}
	top, err := (&yamlBuilder{file: name}).build(doc, 0)
	if err != nil {
		return nil, err
	}
	switch top.kind {
	case kindMap:
		return top, nil
	case kindNull:
		return newMap(at), nil
	default:
		return nil, problem(top.origin, "",
			"a configuration file holds a mapping of keys to values, this one is %s", top.kind)
	}
}

// parseDocument parses the only document of data, or returns nil for none.
func parseDocument(name string, data []byte) (*yaml.Node, error) {
	if !utf8.Valid(data) {
		return nil, problem(Origin{File: name}, "", "file is not UTF-8 text")
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, syntaxError(name, data, err)
	}
	if err := dec.Decode(&second); err == nil {
		return nil, problem(Origin{File: name, Line: second.Line}, "",
			"file holds more than one YAML document")
	} else if !errors.Is(err, io.EOF) {
		return nil, syntaxError(name, data, err)
	}
	return doc.Content[0], nil
}

var yamlErrorLine = regexp.MustCompile(`^yaml: (?:line \d+: )?(.*)$`)

// syntaxError gives the parser's complaint a place. The parser's words never
// quote the file, so no secret can be in them.
func syntaxError(name string, data []byte, err error) error {
	if line, column := tabIndent(data); line > 0 {
		return problem(Origin{name, line, column}, "", "a tab is used for indentation").
			Advise("YAML indents with spaces only")
	}
	msg := strings.SplitN(err.Error(), "\n", 2)[0]
	if m := yamlErrorLine.FindStringSubmatch(msg); m != nil {
		msg = m[1]
	}
	return problem(Origin{File: name, Line: badLine(data, readableYAML)}, "", "not valid YAML: %s",
		msg)
}

// badLine is the line that makes a file unreadable: with it, and with every
// longer beginning of the file, parsing fails. A parser's own line number is
// that of the enclosing block, or off by one. 0 means that the file is too long
// to search.
func badLine(data []byte, parse func([]byte) error) int {
	const searchBytesMax, searchLinesMax = 32 << 10, 500
	lines := bytes.SplitAfter(data, []byte("\n"))
	if len(data) > searchBytesMax || len(lines) > searchLinesMax {
		return 0
	}
	end := len(data)
	for n := len(lines); n > 0; n-- {
		if parse(data[:end]) == nil {
			return n + 1
		}
		end -= len(lines[n-1])
	}
	return 1
}

// readableYAML reads all documents of a text, where Unmarshal stops at the first.
func readableYAML(data []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// tabIndent finds the first line that is indented with a tab.
func tabIndent(data []byte) (line, column int) {
	for i, l := range bytes.Split(data, []byte("\n")) {
		body := bytes.TrimLeft(l, " ")
		if len(body) > 0 && body[0] == '\t' && len(bytes.TrimSpace(body)) > 0 {
			return i + 1, len(l) - len(body) + 1
		}
	}
	return 0, 0
}

// yamlBuilder turns YAML nodes into ours and bounds what aliases may cost.
type yamlBuilder struct {
	file     string
	nodes    int
	expanded []*yaml.Node // aliases being expanded
}

func (b *yamlBuilder) at(y *yaml.Node) Origin { return Origin{b.file, y.Line, y.Column} }

func (b *yamlBuilder) build(y *yaml.Node, depth int) (*node, error) {
	b.nodes++
	if b.nodes > nodesMax {
		return nil, problem(b.at(y), "", "file has more than %d values once its aliases are expanded",
			nodesMax)
	}
	if depth > depthMax {
		return nil, problem(b.at(y), "", "values are nested deeper than %d", depthMax)
	}
	switch y.Kind {
	case yaml.ScalarNode:
		return b.scalar(y)
	case yaml.SequenceNode:
		return b.sequence(y, depth)
	case yaml.MappingNode:
		return b.mapping(y, depth)
	case yaml.AliasNode:
		return b.alias(y, depth)
	default:
		return nil, problem(b.at(y), "", "unexpected YAML node")
	}
}

func (b *yamlBuilder) sequence(y *yaml.Node, depth int) (*node, error) {
	if y.Style&yaml.TaggedStyle != 0 && y.ShortTag() != "!!seq" {
		return nil, b.unknownTag(y)
	}
	n := newList(b.at(y))
	for _, c := range y.Content {
		v, err := b.build(c, depth+1)
		if err != nil {
			return nil, err
		}
		n.push(v)
	}
	return n, nil
}

// mapping reads keys and values; keys of `<<` come first and give way to
// written ones.
func (b *yamlBuilder) mapping(y *yaml.Node, depth int) (*node, error) {
	if y.Style&yaml.TaggedStyle != 0 && y.ShortTag() != "!!map" {
		return nil, b.unknownTag(y)
	}
	n := newMap(b.at(y))
	written := map[string]*yaml.Node{}
	if err := b.mergeKeys(n, y, depth); err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(y.Content); i += 2 {
		k := y.Content[i]
		if isMergeKey(k) {
			continue
		}
		key, err := b.key(k)
		if err != nil {
			return nil, err
		}
		if first := written[key]; first != nil {
			return nil, problem(b.at(k), key, "key is given twice, first in line %d", first.Line)
		}
		written[key] = k
		v, err := b.build(y.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		v.origin = b.at(k)
		n.set(key, v)
	}
	return n, nil
}

func isMergeKey(k *yaml.Node) bool {
	return k.Kind == yaml.ScalarNode && k.Value == "<<" && k.Style&quotedStyle == 0
}

const quotedStyle = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle

// mergeKeys copies what `<<` names into n; of several, the first has the say.
func (b *yamlBuilder) mergeKeys(n *node, y *yaml.Node, depth int) error {
	for i := 0; i+1 < len(y.Content); i += 2 {
		if !isMergeKey(y.Content[i]) {
			continue
		}
		v, err := b.build(y.Content[i+1], depth+1)
		if err != nil {
			return err
		}
		sources := []*node{v}
		if v.kind == kindList {
			sources = v.items
		}
		for _, s := range sources {
			if s.kind != kindMap {
				return problem(b.at(y.Content[i]), "<<", "needs a mapping or a list of mappings, got %s",
					s.kind)
			}
			for _, k := range s.keys {
				if n.fields[k] == nil {
					n.set(k, s.fields[k])
				}
			}
		}
	}
	return nil
}

func (b *yamlBuilder) alias(y *yaml.Node, depth int) (*node, error) {
	if slices.Contains(b.expanded, y.Alias) {
		return nil, problem(b.at(y), "", "anchor %q contains itself", y.Value)
	}
	b.expanded = append(b.expanded, y.Alias)
	v, err := b.build(y.Alias, depth+1)
	b.expanded = b.expanded[:len(b.expanded)-1]
	return v, err
}

// key reads a mapping's key. Keys are names here: numbers and booleans are
// taken as JSON would write them.
func (b *yamlBuilder) key(y *yaml.Node) (string, error) {
	if y.Kind == yaml.AliasNode {
		y = y.Alias
	}
	if y.Kind != yaml.ScalarNode {
		return "", problem(b.at(y), "", "a key must be a name, not a list or mapping").
			Advise("quote a value that starts with { or [, such as a template: \"{{ x }}\"")
	}
	n, err := b.scalar(y)
	if err != nil {
		return "", err
	}
	switch n.kind {
	case kindNull:
		return "", problem(b.at(y), "", "a key must not be null")
	case kindInt:
		return strconv.FormatInt(n.int, 10), nil
	case kindFloat:
		return floatText(n.float), nil
	case kindBool:
		return strconv.FormatBool(n.flag), nil
	default:
		return n.text, nil
	}
}

func (b *yamlBuilder) unknownTag(y *yaml.Node) error {
	return problem(b.at(y), "", "tag %s is not supported", y.Tag)
}

// scalar reads one scalar. Plain ones follow OmegaConf's loader, which is
// PyYAML (YAML 1.1) with a better float, and not yaml.v3's own rules.
func (b *yamlBuilder) scalar(y *yaml.Node) (*node, error) {
	at := b.at(y)
	if y.Style&yaml.TaggedStyle != 0 {
		return b.tagged(y)
	}
	if y.Style&quotedStyle != 0 {
		return newString(y.Value, at), nil
	}
	return plainScalar(y.Value, at)
}

func (b *yamlBuilder) tagged(y *yaml.Node) (*node, error) {
	at := b.at(y)
	want, ok := map[string]kind{"!!null": kindNull, "!!bool": kindBool, "!!int": kindInt,
		"!!float": kindFloat, "!!str": kindString}[y.ShortTag()]
	if !ok {
		return nil, b.unknownTag(y)
	}
	if want == kindString {
		return newString(y.Value, at), nil
	}
	n, err := plainScalar(y.Value, at)
	if err == nil && want == kindFloat && n.kind == kindInt {
		n = newFloat(float64(n.int), at)
	}
	if err != nil || n.kind != want {
		return nil, problem(at, "", "value is not %s, as its tag says", want)
	}
	return n, nil
}

var (
	yaml11Null  = regexp.MustCompile(`^(?:~|null|Null|NULL|)$`)
	yaml11True  = regexp.MustCompile(`^(?:yes|Yes|YES|true|True|TRUE|on|On|ON)$`)
	yaml11False = regexp.MustCompile(`^(?:no|No|NO|false|False|FALSE|off|Off|OFF)$`)
	yaml11Int   = regexp.MustCompile(`^[-+]?(?:0b[0-1_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+` +
		`|[1-9][0-9_]*(?::[0-5]?[0-9])+)$`)
	yaml11Float = regexp.MustCompile(`^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?` +
		`|[-+]?[0-9]+(?:_[0-9]+)*[eE][-+]?[0-9]+` +
		`|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?` +
		`|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*` +
		`|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$`)
)

// plainScalar resolves an unquoted scalar as OmegaConf does: yes/no/on/off are
// booleans, 1e3 is a float, 010 is octal, 1:30 is sexagesimal.
func plainScalar(s string, at Origin) (n *node, err error) {
	switch {
	case yaml11Null.MatchString(s):
		n = newNull(at)
	case yaml11True.MatchString(s):
		n = newBool(true, at)
	case yaml11False.MatchString(s):
		n = newBool(false, at)
	case yaml11Int.MatchString(s):
		i, err := parseYAMLInt(s)
		if err != nil {
			return nil, problem(at, "", "%s", err)
		}
		n = newInt(i, at)
	case yaml11Float.MatchString(s):
		f, err := parseYAMLFloat(s)
		if err != nil {
			return nil, problem(at, "", "%s", err)
		}
		n = newFloat(f, at)
	default:
		return newString(s, at), nil
	}
	n.text = s
	return n, nil
}

// parseYAMLInt reads a YAML 1.1 integer.
func parseYAMLInt(s string) (int64, error) {
	digits := strings.ReplaceAll(s, "_", "")
	sign := int64(1)
	switch digits[0] {
	case '-':
		sign, digits = -1, digits[1:]
	case '+':
		digits = digits[1:]
	}
	base := 10
	switch {
	case strings.HasPrefix(digits, "0b"):
		base, digits = 2, digits[2:]
	case strings.HasPrefix(digits, "0x"):
		base, digits = 16, digits[2:]
	case len(digits) > 1 && digits[0] == '0':
		base, digits = 8, digits[1:]
	case strings.Contains(digits, ":"):
		f, err := sexagesimal(digits)
		if err == nil && f >= math.MaxInt64 {
			err = errIntRange
		}
		return sign * int64(f), err
	}
	i, err := strconv.ParseInt(digits, base, 64)
	if err != nil {
		return 0, errIntRange
	}
	return sign * i, nil
}

var (
	errIntRange  = errors.New("integer does not fit 64 bits")
	errNotNumber = errors.New("number is not readable")
)

func parseYAMLFloat(s string) (float64, error) {
	t := strings.ToLower(strings.ReplaceAll(s, "_", ""))
	sign := 1.0
	if t[0] == '-' {
		sign = -1
	}
	t = strings.TrimLeft(t, "+-")
	switch {
	case t == ".inf":
		return math.Inf(int(sign)), nil
	case t == ".nan":
		return math.NaN(), nil
	case strings.Contains(t, ":"):
		f, err := sexagesimal(t)
		return sign * f, err
	}
	f, err := strconv.ParseFloat(t, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, errNotNumber
	}
	return sign * f, nil
}

// sexagesimal reads 1:30 as 90, the way YAML 1.1 does.
func sexagesimal(s string) (float64, error) {
	total := 0.0
	for _, part := range strings.Split(s, ":") {
		f, err := strconv.ParseFloat(part, 64)
		if err != nil {
			return 0, errNotNumber
		}
		total = total*60 + f
	}
	return total, nil
}
