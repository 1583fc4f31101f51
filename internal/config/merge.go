package config

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"agent/internal/near"
)

// mergeInto puts src's keys into dst, as OmegaConf does: mappings merge, lists
// and scalars replace, and `???` replaces nothing. src's nodes are copied.
func mergeInto(dst, src *node) error {
	for _, key := range src.keys {
		if err := mergeKey(dst, key, src.fields[key]); err != nil {
			return err
		}
	}
	return nil
}

func mergeKey(dst *node, key string, src *node) error {
	old := dst.fields[key]
	if old != nil && old.isInterpolation() {
		old = expandReference(dst, key, old)
	}
	switch {
	case old == nil:
		dst.set(key, src.clone())
	case src.isMissing():
	case old.kind == kindMap && src.kind == kindMap:
		return mergeInto(old, src)
	case old.isContainer() && src.isContainer() && old.kind != src.kind:
		return problem(src.origin, joinDots(dst.path(), key), "%s can't be merged with %s from %s",
			src.kind, old.kind, old.origin)
	default:
		dst.set(key, src.clone())
	}
	return nil
}

// replaced finds the first value of a file that was chosen which a file that was not chosen
// has replaced in the whole. What is built in gives way to anything.
func replaced(value, now *node, chosen map[string]*node) (lost, by *node) {
	switch {
	case now == nil, chosen[now.origin.File] != nil && now.kind != kindMap, isStock(value.origin),
		isEmpty(value), value.isMissing():
	case value.kind == kindMap && now.kind == kindMap:
		for _, key := range value.keys {
			if lost, by = replaced(value.fields[key], now.fields[key], chosen); lost != nil {
				return lost, by
			}
		}
	case !sameText(value, now):
		return value, now
	}
	return nil, nil
}

// expandReference replaces `${other}` by a copy of the mapping or list that it
// points to, so that what is merged into it stays local.
func expandReference(dst *node, key string, old *node) *node {
	target := newResolver(old.root(), nil, nil).target(old)
	if target == nil || !target.isContainer() {
		return old
	}
	c := target.clone()
	c.origin = old.origin
	if top := dst.root().child(target.section()); top != nil {
		top.used = true
	}
	dst.set(key, c)
	return c
}

// place wraps content in the mappings of a package.
func place(content *node, pkg string) *node {
	if pkg == "" {
		return content
	}
	parts := strings.Split(pkg, ".")
	for _, p := range slices.Backward(parts) {
		outer := newMap(content.origin)
		outer.set(p, content)
		content = outer
	}
	return content
}

// errNoKey is a key that has to exist and does not.
var errNoKey = errors.New("no such key")

// apply performs one value override on the tree.
func (o *override) apply(root *node, env map[string]string) error {
	if o.kind == deleteKey {
		return o.delete(root, env)
	}
	value := o.value.clone()
	if o.kind == addKey && !value.isContainer() {
		if existing := newResolver(root, env, nil).lookup(root, o.key); existing != nil &&
			existing.kind != kindNull && !existing.isMissing() {
			return problem(o.origin, o.key, "already exists, set in %s", existing.origin).
				Advise("to change it leave out the +, to set it either way write ++%s=…", o.key)
		}
	}
	err := update(root, o.key, value, o.kind != changeKey)
	if errors.Is(err, errNoKey) {
		return o.noSuchKey(root)
	}
	return err
}

// noSuchKey explains which part of the key is wrong and what was near.
func (o *override) noSuchKey(root *node) error {
	at, parts := root, strings.Split(o.key, ".")
	for i, p := range parts {
		next := at.child(p)
		if next == nil || (i < len(parts)-1 && !next.isContainer()) {
			where := strings.Join(parts[:i+1], ".")
			if next != nil {
				return problem(o.origin, strings.Join(parts[:i+2], "."), "there is no such key, since %s is %s",
					where, next.kind).Advise("to add it write +%s", o.shown())
			}
			if at.kind == kindList {
				return problem(o.origin, where, "the list has no such item, it has %d", len(at.items)).
					Advise("give the whole list: %s=[…]", strings.Join(parts[:i], "."))
			}
			return problem(o.origin, where, "there is no such key%s", o.suggestion(root, at, parts, i)).
				Advise("to add it write +%s%s", o.shown(), o.maybeText())
		}
		at = next
	}
	return problem(o.origin, o.key, "there is no such key")
}

// maybeText adds advice where an argument may not have been meant as an override.
func (o *override) maybeText() string {
	if strings.Contains(o.text, " ") || !strings.Contains(o.key, ".") {
		return "; text that is no override goes after --"
	}
	return ""
}

// suggestion offers the nearest sibling, with the whole path.
func (o *override) suggestion(root, at *node, parts []string, i int) string {
	n := near.Name(parts[i], at.keys)
	if n == "" {
		return near.Hint(o.key, allPaths(root))
	}
	return " (did you mean " + strconv.Quote(strings.Join(append(slices.Clone(parts[:i]), n), ".")) +
		"?)"
}

// allPaths lists the dotted paths of a tree.
func allPaths(root *node) []string {
	var out []string
	var walk func(n *node)
	walk = func(n *node) {
		n.children(func(c *node) {
			if n.kind == kindMap {
				out = append(out, c.path())
			}
			walk(c)
		})
	}
	walk(root)
	return out
}

// update sets the value at a dotted path. add allows keys that are not there.
func update(root *node, key string, value *node, add bool) error {
	parts := strings.Split(key, ".")
	at := root
	for _, p := range parts[:len(parts)-1] {
		next := at.child(p)
		if next == nil || !next.isContainer() {
			if at.kind == kindList || (next == nil && !add) {
				return errNoKey
			}
			if !add {
				return errNoKey
			}
			next = newMap(value.origin)
			at.set(p, next)
		}
		at = next
	}
	return updateLast(at, parts[len(parts)-1], value, add)
}

func updateLast(at *node, key string, value *node, add bool) error {
	old := at.child(key)
	if at.kind == kindList {
		if old == nil {
			return errNoKey
		}
		return replaceItem(at, old, value)
	}
	if old == nil && !add {
		return errNoKey
	}
	if old != nil && old.isContainer() && value.isContainer() {
		return mergeStrict(old, value, add)
	}
	at.set(key, value)
	return nil
}

func replaceItem(list, old, value *node) error {
	if old.isContainer() && value.isContainer() {
		return mergeStrict(old, value, false)
	}
	i := slices.Index(list.items, old)
	list.items[i] = value
	value.parent, value.key = list, strconv.Itoa(i)
	return nil
}

// mergeStrict merges an override's mapping or list into an existing one; new
// keys need add.
func mergeStrict(old, value *node, add bool) error {
	if old.kind != value.kind {
		return problem(value.origin, old.path(), "%s can't be merged with %s from %s", value.kind,
			old.kind, old.origin)
	}
	if old.kind == kindList {
		old.items = nil
		for _, it := range value.items {
			old.push(it.clone())
		}
		old.origin = value.origin
		return nil
	}
	if !add {
		if err := checkKeys(old, value); err != nil {
			return err
		}
	}
	return mergeInto(old, value)
}

// checkKeys refuses keys of value that old does not have.
func checkKeys(old, value *node) error {
	for _, k := range value.keys {
		o := old.fields[k]
		if o == nil {
			return problem(value.origin, joinDots(old.path(), k), "there is no such key%s",
				near.Hint(k, old.keys)).
				Advise("to add it write + before the override")
		}
		if o.kind == kindMap && value.fields[k].kind == kindMap {
			if err := checkKeys(o, value.fields[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

// delete removes a key. Like Hydra it can't delete what is null or not set.
func (o *override) delete(root *node, env map[string]string) error {
	existing := newResolver(root, env, nil).lookup(root, o.key)
	parts := strings.Split(o.key, ".")
	at := root
	for _, p := range parts[:len(parts)-1] {
		if at != nil {
			at = at.child(p)
		}
	}
	last := parts[len(parts)-1]
	switch {
	case existing == nil || at == nil || at.child(last) == nil:
		return o.noSuchKey(root).(*Error).Advise("only a key that exists can be deleted%s", o.maybeText())
	case existing.kind == kindNull || existing.isMissing():
		return problem(o.origin, o.key, "can't be deleted, it has no value")
	case o.value != nil && o.value.kind != kindNull && !o.value.equal(existing):
		return problem(o.origin, o.key, "is not deleted, its value is another one than given")
	case at.kind != kindMap:
		return problem(o.origin, o.key, "an item of a list can't be deleted").
			Advise("give the whole list: %s=[…]", strings.Join(parts[:len(parts)-1], "."))
	}
	at.remove(last)
	return nil
}
