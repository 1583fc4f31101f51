package config

import (
	"slices"
	"strings"
)

// Change is a value that the folder's configuration and .env make another one
// than it is without them.
type Change struct {
	Key   string // dotted path
	Value string // as written, without secrets; "" for one that is taken away
	Now   string // what Value evaluates to, where it is an interpolation
	From  Origin

	Removed bool
	// Plain is a scalar without interpolations.
	Plain bool
	// Environ is a value that the user wrote and that the folder's environment
	// fills in.
	Environ bool
	// Secret is the value of a key that names a secret.
	Secret bool

	mark string
}

// Mark is another one for every other value.
func (c Change) Mark() string { return c.mark }

// Changes lists what differs from own, the same configuration without its
// [Folder]. What the command line and the environment of the process set is
// the user's, whatever it is. A built-in default that is taken away, or written
// where the user has nothing, is none: it holds without being written. stock has
// the defaults.
func (c *Config) Changes(own, stock *Config) []Change {
	d := &differ{full: c, own: own, stock: stock, secrets: c.secrets()}
	d.compare("", own.root, c.root)
	return d.out
}

// differ compares two configurations.
type differ struct {
	full, own, stock *Config

	secrets secretSet
	out     []Change
}

func (d *differ) compare(path string, own, full *node) {
	if holdsKeys(own) || holdsKeys(full) {
		d.compareKeys(path, own, full)
		if (own == nil || own.kind == kindMap) && (full == nil || full.kind == kindMap) {
			return
		}
	}
	switch {
	case isEmpty(own) && isEmpty(full), full != nil && isUsers(full.origin):
	case full == nil && (isStock(own.origin) || isUsers(own.origin) || d.isDefault(path, own)):
	case own == nil && d.isDefault(path, full):
	case full == nil:
		d.add(Change{Key: path, From: own.origin, Removed: true}, "-")
	case own == nil || !sameText(own, full):
		d.changed(path, full, false)
	case !sameText(d.own.best(own, secretSet{}), d.full.best(full, secretSet{})):
		d.changed(path, full, true)
	}
}

// isDefault reports the stock value of a key.
func (d *differ) isDefault(path string, n *node) bool {
	stock, err := d.stock.at(path)
	return err == nil && !n.isContainer() && !n.isInterpolation() && sameText(stock, n)
}

// compareKeys compares what is below two mappings, or one.
func (d *differ) compareKeys(path string, own, full *node) {
	var keys []string
	for _, n := range []*node{full, own} {
		if n != nil && n.kind == kindMap {
			keys = append(keys, n.keys...)
		}
	}
	done := map[string]bool{}
	for _, k := range keys {
		if !done[k] {
			done[k] = true
			d.compare(joinDots(path, k), field(own, k), field(full, k))
		}
	}
}

func field(n *node, key string) *node {
	if n == nil || n.kind != kindMap {
		return nil
	}
	return n.fields[key]
}

func holdsKeys(n *node) bool { return n != nil && n.kind == kindMap && len(n.keys) > 0 }

// isEmpty reports what means the same as not being there.
func isEmpty(n *node) bool {
	return n == nil || n.kind == kindNull || n.isContainer() && len(n.keys) == 0 && len(n.items) == 0
}

// isUsers reports the command line, its flags and the environment.
func isUsers(at Origin) bool {
	return at == commandLine || strings.HasPrefix(at.File, "--") || strings.HasPrefix(at.File, userEnv)
}

func isStock(at Origin) bool { return strings.HasPrefix(at.File, embeddedName) }

// sameText compares what is written, with its types.
func sameText(a, b *node) bool {
	return a.kind == b.kind && a.repr() == b.repr()
}

// changed notes a value of the folder, or one of the user's that its
// environment or its other values fill in.
func (d *differ) changed(path string, n *node, filled bool) {
	key := path[strings.LastIndexByte(path, '.')+1:]
	secret := slices.ContainsFunc(strings.Split(path, "."), secretKey)
	raw := n.repr()
	open := strings.Contains(raw, "${")
	c := Change{Key: path, From: n.origin, Environ: filled, Secret: secretKey(key), Plain: !open &&
		!n.isContainer()}
	c.Value = d.secrets.redact(n, secret).repr()
	if !open {
		d.add(c, raw)
		return
	}
	if now := d.secrets.redact(d.full.best(n, secretSet{}), secret).repr(); now != c.Value {
		c.Now = now
	}
	// The user's variables may change without another question, the folder's not.
	d.add(c, raw+"\x00"+strings.Join(d.full.folder, "\x00"))
}

func (d *differ) add(c Change, mark string) {
	c.mark = c.Key + "\x00" + mark
	d.out = append(d.out, c)
}
