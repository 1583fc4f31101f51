package config

import (
	"encoding"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"agent/internal/near"
)

// hydraKeys may stand in any section: they tell Hydra's instantiate how to make
// an object of it. This program takes `_target_` and needs none of the others.
var hydraKeys = []string{"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}

// Decode evaluates the section at path and stores it in into, a pointer to a
// struct with `yaml:"key"` tags as in gopkg.in/yaml.v3.
//
// It is strict: a key without a field is an error that names its place and the
// nearest field, and so is a value of the wrong type; all are reported at once.
// A key that is absent or null leaves its field as it is, so into can be filled
// with defaults before; null is also allowed for keys without a field, since it
// sets nothing. Text that reads as a number or boolean is accepted for
// one, since environment variables are always text; a time.Duration takes "30s"
// or a number of seconds. A field with the tag `inapplicable:"why"` accepts its
// key and makes a warning of it (see Warnings).
func (c *Config) Decode(path string, into any) error { return c.decode(path, into, false) }

func (c *Config) decode(path string, into any, lenient bool) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("config: decode %s: need a pointer, got %T", path, into)
	}
	if lenient && !c.Has(path) {
		return nil
	}
	n, err := c.resolved(path)
	d := &decoder{config: c, lenient: lenient}
	if err != nil {
		if at, atErr := c.at(path); atErr == nil { // what is used as a text is known all the same
			d.value(c.best(at, secretSet{}), path, reflect.New(v.Type().Elem()).Elem(), secretPath(path))
		}
		return err
	}
	d.value(n, path, v.Elem(), secretPath(path))
	return d.problems.asError()
}

// decoder stores a tree in Go values and collects what does not fit.
type decoder struct {
	config   *Config
	lenient  bool
	problems Problems
}

func (d *decoder) fail(n *node, path, format string, args ...any) {
	d.problems = append(d.problems, problem(n.origin, path, format, args...))
}

// mismatch reports a wrong type, with the value unless it is a secret.
func (d *decoder) mismatch(n *node, path, want string, secret bool) {
	got := n.kind.String()
	if !n.isContainer() && !secret && !n.secret && !secretInText(n.text) && len(n.text) <= 60 {
		got += " (" + n.text + ")"
	}
	d.fail(n, path, "must be %s, got %s", want, got)
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	unmarshaler  = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// value stores n in v. null leaves v as it is, except that a pointer becomes nil.
func (d *decoder) value(n *node, path string, v reflect.Value, secret bool) {
	if n.kind == kindNull {
		if v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
			v.SetZero()
		}
		return
	}
	if v.Kind() == reflect.Pointer {
		p := reflect.New(v.Type().Elem())
		if !v.IsNil() {
			p = v
		}
		d.value(n, path, p.Elem(), secret)
		v.Set(p)
		return
	}
	if v.CanAddr() && v.Addr().Type().Implements(unmarshaler) && !n.isContainer() {
		if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.display())); err != nil {
			d.fail(n, path, "%s", err)
		}
		return
	}
	if v.Type() == durationType {
		d.duration(n, path, v, secret)
		return
	}
	d.kind(n, path, v, secret)
}

func (d *decoder) kind(n *node, path string, v reflect.Value, secret bool) {
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, path, v, secret)
	case reflect.Map:
		d.mapping(n, path, v, secret)
	case reflect.Slice:
		d.slice(n, path, v, secret)
	case reflect.Interface:
		if v.NumMethod() > 0 {
			d.fail(n, path, "can't be stored in a Go %s", v.Type())
			return
		}
		v.Set(reflect.ValueOf(n.value()))
	case reflect.String:
		d.text(n, path, v, secret)
	case reflect.Bool:
		d.boolean(n, path, v, secret)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		d.integer(n, path, v, secret)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		d.unsigned(n, path, v, secret)
	case reflect.Float32, reflect.Float64:
		if f, ok := asFloat(n); ok {
			v.SetFloat(f)
		} else {
			d.mismatch(n, path, "a number", secret)
		}
	default:
		d.fail(n, path, "can't be stored in a Go %s", v.Type())
	}
}

func (d *decoder) text(n *node, path string, v reflect.Value, secret bool) {
	switch {
	case n.isContainer():
		d.mismatch(n, path, "text", secret)
	case n.kind != kindString:
		d.config.usedAsText(path)
		fallthrough
	default:
		v.SetString(n.text)
	}
}

// usedAsText notes a number, boolean or the like that is used as it was written, so
// that it is shown so.
func (c *Config) usedAsText(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.texts == nil {
		c.texts = map[string]bool{}
	}
	c.texts[path] = true
}

func (d *decoder) boolean(n *node, path string, v reflect.Value, secret bool) {
	switch t := strings.ToLower(n.text); {
	case n.kind == kindBool:
		v.SetBool(n.flag)
	case n.kind == kindString && slices.Contains([]string{"true", "yes", "on", "1"}, t):
		v.SetBool(true)
	case n.kind == kindString && slices.Contains([]string{"false", "no", "off", "0"}, t):
		v.SetBool(false)
	default:
		d.mismatch(n, path, "true or false", secret)
	}
}

func (d *decoder) integer(n *node, path string, v reflect.Value, secret bool) {
	i, ok := asInt(n)
	switch {
	case !ok:
		d.mismatch(n, path, "an integer", secret)
	case v.OverflowInt(i):
		d.fail(n, path, "%d is out of range", i)
	default:
		v.SetInt(i)
	}
}

func (d *decoder) unsigned(n *node, path string, v reflect.Value, secret bool) {
	i, ok := asInt(n)
	switch {
	case !ok:
		d.mismatch(n, path, "an integer", secret)
	case i < 0:
		d.fail(n, path, "must not be negative")
	case v.OverflowUint(uint64(i)):
		d.fail(n, path, "%d is out of range", i)
	default:
		v.SetUint(uint64(i))
	}
}

func asInt(n *node) (int64, bool) {
	switch n.kind {
	case kindInt:
		return n.int, true
	case kindString:
		i, err := strconv.ParseInt(strings.TrimSpace(n.text), 10, 64)
		return i, err == nil
	default:
		return 0, false
	}
}

func asFloat(n *node) (float64, bool) {
	switch n.kind {
	case kindInt:
		return float64(n.int), true
	case kindFloat:
		return n.float, true
	case kindString:
		f, err := strconv.ParseFloat(strings.TrimSpace(n.text), 64)
		return f, err == nil
	default:
		return 0, false
	}
}

func (d *decoder) duration(n *node, path string, v reflect.Value, secret bool) {
	if n.kind == kindString {
		if t, err := time.ParseDuration(n.text); err == nil {
			v.SetInt(int64(t))
			return
		}
	}
	seconds, ok := asFloat(n)
	if !ok || math.IsNaN(seconds) || math.Abs(seconds) > math.MaxInt64/1e9 {
		d.mismatch(n, path, `a duration such as "30s" or a number of seconds`, secret)
		return
	}
	v.SetInt(int64(seconds * float64(time.Second)))
}

func (d *decoder) mapping(n *node, path string, v reflect.Value, secret bool) {
	if n.kind != kindMap || v.Type().Key().Kind() != reflect.String {
		d.mismatch(n, path, "a mapping", secret)
		return
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	for _, k := range n.keys {
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(n.fields[k], joinDots(path, k), item, secret || secretKey(k))
		v.SetMapIndex(reflect.ValueOf(k).Convert(v.Type().Key()), item)
	}
}

func (d *decoder) slice(n *node, path string, v reflect.Value, secret bool) {
	if n.kind != kindList {
		d.mismatch(n, path, "a list", secret)
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, it := range n.items {
		d.value(it, joinDots(path, strconv.Itoa(i)), out.Index(i), secret)
	}
	v.Set(out)
}

func (d *decoder) structure(n *node, path string, v reflect.Value, secret bool) {
	if n.kind != kindMap {
		d.mismatch(n, path, "a mapping", secret)
		return
	}
	fields := structFields(v)
	for _, k := range n.keys {
		child, full := n.fields[k], joinDots(path, k)
		f, known := fields[k]
		switch {
		case !known && (d.lenient || child.kind == kindNull || slices.Contains(hydraKeys, k)):
		case !known:
			e := problem(child.origin, full, "unknown key%s", near.Hint(k, sortedKeys(fields)))
			d.problems = append(d.problems, e.Advise("known here: %s",
				listed(sortedKeys(fields))).is(ErrUnknownKey))
		default:
			if f.why != "" && child.kind != kindNull {
				d.config.warn(child.origin, "%s has no effect here: %s", full, f.why)
			}
			d.value(child, full, f.value, secret || secretKey(k))
		}
	}
}

// structField is where a key goes.
type structField struct {
	value reflect.Value
	why   string // it has no effect
}

// structFields lists the fields of a struct by key, those of inline structs
// included.
func structFields(v reflect.Value) map[string]structField {
	out := map[string]structField{}
	for i := range v.NumField() {
		t := v.Type().Field(i)
		name, options, _ := strings.Cut(t.Tag.Get("yaml"), ",")
		if name == "-" || !t.IsExported() && !t.Anonymous {
			continue
		}
		if strings.Contains(options, "inline") {
			maps.Copy(out, structFields(reflect.Indirect(v.Field(i))))
			continue
		}
		if name == "" {
			name = strings.ToLower(t.Name)
		}
		out[name] = structField{v.Field(i), t.Tag.Get("inapplicable")}
	}
	return out
}

// DecodeKnown is Decode for a section that another program may also read: keys
// without a field are passed over. A section that is absent or null leaves into
// as it is.
func (c *Config) DecodeKnown(path string, into any) error { return c.decode(path, into, true) }
