package config

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// ShowOptions say how a configuration is written out.
type ShowOptions struct {
	// Secrets shows secret values instead of [redacted].
	Secrets bool
	// Origin adds a comment to each line that tells where it comes from.
	Origin bool
	// Path limits the output to a section; "" is everything.
	Path string
}

// YAML writes the configuration with its interpolations evaluated; those that
// can't be, and mandatory values that are not set, stay as written. What Decode has
// used as a text is shown as one.
func (c *Config) YAML(o ShowOptions) ([]byte, error) {
	n, err := c.shown(o)
	if err != nil {
		return nil, err
	}
	y := yamlNode(n, o.Origin)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(y); err != nil {
		return nil, err
	}
	return out.Bytes(), enc.Close()
}

// JSON is like YAML, without origins. Numbers that JSON lacks are strings.
func (c *Config) JSON(o ShowOptions) ([]byte, error) {
	n, err := c.shown(o)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	writeJSON(&out, n)
	return out.Bytes(), nil
}

// shown is the tree to write out.
func (c *Config) shown(o ShowOptions) (*node, error) {
	n, err := c.at(o.Path)
	if err != nil {
		return nil, err
	}
	shown := c.asUsed(c.best(n, secretSet{}), o.Path)
	if o.Secrets {
		return shown, nil
	}
	return c.secrets().redact(shown, secretHolder(n)), nil
}

// asUsed makes texts of the scalars that were decoded as texts: model_id: 12E400 is
// no number.
func (c *Config) asUsed(n *node, path string) *node {
	c.mu.Lock()
	texts := maps.Clone(c.texts)
	c.mu.Unlock()
	n = n.clone()
	var walk func(n *node, path string)
	walk = func(n *node, path string) {
		if texts[path] && !n.isContainer() && n.kind != kindString && n.kind != kindNull {
			n.kind = kindString
		}
		n.children(func(child *node) { walk(child, joinDots(path, child.key)) })
	}
	walk(n, path)
	return n
}

// Redact replaces every secret of this configuration in other text.
func (c *Config) Redact(text string) string { return c.secrets().scrub(text) }

func yamlNode(n *node, origins bool) *yaml.Node {
	y := &yaml.Node{}
	switch n.kind {
	case kindMap:
		y.Kind, y.Tag = yaml.MappingNode, "!!map"
		if len(n.keys) == 0 {
			y.Style = yaml.FlowStyle
		}
		for _, k := range n.keys {
			y.Content = append(y.Content, yamlString(k), yamlNode(n.fields[k], origins))
		}
	case kindList:
		y.Kind, y.Tag = yaml.SequenceNode, "!!seq"
		if len(n.items) == 0 {
			y.Style = yaml.FlowStyle
		}
		for _, it := range n.items {
			y.Content = append(y.Content, yamlNode(it, origins))
		}
	default:
		y = yamlScalar(n)
	}
	if origins && (!n.isContainer() || len(y.Content) == 0) {
		y.LineComment = n.origin.String()
	}
	return y
}

func yamlScalar(n *node) *yaml.Node {
	y := &yaml.Node{Kind: yaml.ScalarNode}
	switch n.kind {
	case kindNull:
		y.Tag, y.Value = "!!null", "null"
	case kindBool:
		y.Tag, y.Value = "!!bool", strconv.FormatBool(n.flag)
	case kindInt:
		y.Tag, y.Value = "!!int", strconv.FormatInt(n.int, 10)
	case kindFloat:
		y.Tag, y.Value = "!!float", floatText(n.float)
		if math.IsNaN(n.float) || math.IsInf(n.float, 0) {
			y.Value = strings.Replace("."+y.Value, ".-", "-.", 1)
		}
	default:
		return yamlString(n.text)
	}
	return y
}

// yamlString quotes what either reader of YAML, this package's or a 1.2 one,
// would take for something else.
func yamlString(s string) *yaml.Node {
	y := &yaml.Node{}
	y.SetString(s)
	if n, err := plainScalar(s, Origin{}); (err != nil || n.kind != kindString) && y.Style == 0 {
		y.Style = yaml.SingleQuotedStyle
	}
	return y
}

// writeJSON keeps the order of keys, which encoding/json's maps do not.
func writeJSON(out *bytes.Buffer, n *node) {
	switch n.kind {
	case kindMap:
		out.WriteByte('{')
		for i, k := range n.keys {
			if i > 0 {
				out.WriteByte(',')
			}
			writeJSONScalar(out, k)
			out.WriteByte(':')
			writeJSON(out, n.fields[k])
		}
		out.WriteByte('}')
	case kindList:
		out.WriteByte('[')
		for i, it := range n.items {
			if i > 0 {
				out.WriteByte(',')
			}
			writeJSON(out, it)
		}
		out.WriteByte(']')
	case kindFloat:
		if math.IsNaN(n.float) || math.IsInf(n.float, 0) {
			writeJSONScalar(out, floatText(n.float))
			return
		}
		writeJSONScalar(out, n.float)
	default:
		writeJSONScalar(out, n.value())
	}
}

// writeJSONScalar writes a finite scalar, which always can be.
func writeJSONScalar(out *bytes.Buffer, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte("null")
	}
	out.Write(b)
}
