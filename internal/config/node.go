package config

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// kind says what a node holds.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindInt
	kindFloat
	kindString
	kindMap
	kindList
)

func (k kind) String() string {
	return [...]string{"null", "a boolean", "an integer", "a number", "a string", "a mapping",
		"a list"}[k]
}

// missingMark is a mandatory value that has not been given.
const missingMark = "???"

// node is one value of the tree. A map keeps its keys in the order in which
// they were written. Nodes form a tree: each has one parent, which relative
// interpolations walk up.
type node struct {
	kind   kind
	text   string // a string's value; for other scalars, as written
	flag   bool
	int    int64
	float  float64
	keys   []string
	fields map[string]*node
	items  []*node

	parent *node
	key    string // name or index under parent
	origin Origin
	secret bool // came from a secret, whatever the key's name
	used   bool // by an interpolation that a merge has replaced
}

func newString(s string, at Origin) *node { return &node{kind: kindString, text: s, origin: at} }
func newNull(at Origin) *node             { return &node{kind: kindNull, text: "null", origin: at} }
func newInt(i int64, at Origin) *node {
	return &node{kind: kindInt, int: i, text: strconv.FormatInt(i, 10), origin: at}
}
func newFloat(f float64, at Origin) *node {
	return &node{kind: kindFloat, float: f, text: floatText(f), origin: at}
}
func newBool(b bool, at Origin) *node {
	return &node{kind: kindBool, flag: b, text: strconv.FormatBool(b), origin: at}
}
func newMap(at Origin) *node {
	return &node{kind: kindMap, fields: map[string]*node{}, origin: at}
}
func newList(at Origin) *node { return &node{kind: kindList, origin: at} }

func (n *node) isContainer() bool { return n.kind == kindMap || n.kind == kindList }
func (n *node) isMissing() bool   { return n.kind == kindString && n.text == missingMark }

// isInterpolation reports whether the text must be evaluated; an escaped `\${`
// counts too, since evaluating removes the backslash.
func (n *node) isInterpolation() bool {
	return n.kind == kindString && strings.Contains(n.text, "${")
}

// set puts v under key of a map, replacing what is there.
func (n *node) set(key string, v *node) {
	if _, ok := n.fields[key]; !ok {
		n.keys = append(n.keys, key)
	}
	n.fields[key] = v
	v.parent, v.key = n, key
}

// remove deletes key from a map.
func (n *node) remove(key string) {
	delete(n.fields, key)
	n.keys = slices.DeleteFunc(n.keys, func(k string) bool { return k == key })
}

// push appends v to a list.
func (n *node) push(v *node) {
	v.parent, v.key = n, strconv.Itoa(len(n.items))
	n.items = append(n.items, v)
}

// child returns the entry of a map or list, or nil.
func (n *node) child(key string) *node {
	switch n.kind {
	case kindMap:
		return n.fields[key]
	case kindList:
		i, err := strconv.Atoi(key)
		if err != nil || i < 0 || i >= len(n.items) {
			return nil
		}
		return n.items[i]
	default:
		return nil
	}
}

// children calls f for each entry in order.
func (n *node) children(f func(*node)) {
	for _, k := range n.keys {
		f(n.fields[k])
	}
	for _, c := range n.items {
		f(c)
	}
}

// clone copies the tree below n. The copy has no parent.
func (n *node) clone() *node { return n.mapped((*node).clone) }

// mapped copies n with f of each entry in its place. The copy has no parent.
func (n *node) mapped(f func(*node) *node) *node {
	c := *n
	c.parent, c.key = nil, ""
	c.keys, c.fields, c.items = nil, nil, nil
	if n.kind == kindMap {
		c.fields = make(map[string]*node, len(n.keys))
	}
	for _, k := range n.keys {
		c.set(k, f(n.fields[k]))
	}
	for _, it := range n.items {
		c.push(f(it))
	}
	return &c
}

// path is the dotted name of n from the root.
func (n *node) path() string {
	var parts []string
	for c := n; c.parent != nil; c = c.parent {
		parts = append(parts, c.key)
	}
	slices.Reverse(parts)
	return strings.Join(parts, ".")
}

// root is the top of the tree that n is in.
func (n *node) root() *node {
	for n.parent != nil {
		n = n.parent
	}
	return n
}

// value converts a resolved tree to plain Go values.
func (n *node) value() any {
	switch n.kind {
	case kindBool:
		return n.flag
	case kindInt:
		return n.int
	case kindFloat:
		return n.float
	case kindString:
		return n.text
	case kindMap:
		m := make(map[string]any, len(n.keys))
		for _, k := range n.keys {
			m[k] = n.fields[k].value()
		}
		return m
	case kindList:
		l := make([]any, len(n.items))
		for i, c := range n.items {
			l[i] = c.value()
		}
		return l
	default:
		return nil
	}
}

// equal compares values, not origins; 1 and 1.0 are equal, as in Python.
func (n *node) equal(m *node) bool {
	if x, ok := n.number(); ok {
		y, ok := m.number()
		return ok && x == y
	}
	if n.kind != m.kind {
		return false
	}
	switch n.kind {
	case kindString:
		return n.text == m.text
	case kindMap:
		if len(n.keys) != len(m.keys) {
			return false
		}
		for _, k := range n.keys {
			if o := m.fields[k]; o == nil || !n.fields[k].equal(o) {
				return false
			}
		}
	case kindList:
		return slices.EqualFunc(n.items, m.items, (*node).equal)
	}
	return true
}

// number is the value of an integer, float or boolean.
func (n *node) number() (float64, bool) {
	switch n.kind {
	case kindInt:
		return float64(n.int), true
	case kindFloat:
		return n.float, true
	case kindBool:
		if n.flag {
			return 1, true
		}
		return 0, true
	default:
		return 0, false
	}
}

// display is how the value appears inside a longer string. OmegaConf uses
// Python's str(), and configurations rely on it ("None", "True", "1.0").
func (n *node) display() string {
	if n.kind == kindString {
		return n.text
	}
	return n.repr()
}

// repr is Python's repr() of the value.
func (n *node) repr() string {
	switch n.kind {
	case kindNull:
		return "None"
	case kindBool:
		if n.flag {
			return "True"
		}
		return "False"
	case kindInt:
		return strconv.FormatInt(n.int, 10)
	case kindFloat:
		return floatText(n.float)
	case kindString:
		return quotePython(n.text)
	}
	var parts []string
	for _, k := range n.keys {
		parts = append(parts, quotePython(k)+": "+n.fields[k].repr())
	}
	for _, c := range n.items {
		parts = append(parts, c.repr())
	}
	body := strings.Join(parts, ", ")
	if n.kind == kindMap {
		return "{" + body + "}"
	}
	return "[" + body + "]"
}

func quotePython(s string) string {
	quote := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = `"`
	}
	r := strings.NewReplacer(`\`, `\\`, quote, `\`+quote, "\n", `\n`, "\r", `\r`, "\t", `\t`)
	return quote + r.Replace(s) + quote
}

// floatText is the shortest text that reads back as f, always recognisable as
// a float ("1.0", "1e-05", "inf").
func floatText(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}
