package config

import (
	"maps"
	"slices"

	"agent/internal/near"
)

// CheckSections refuses keys at the top that are neither among known nor used
// by an interpolation of what is: nothing reads them, so that a misspelt
// section would be passed over. null sets nothing and is allowed.
func (c *Config) CheckSections(known ...string) error {
	used := c.usedSections(known)
	var out Problems
	for _, key := range c.root.keys {
		n := c.root.fields[key]
		if used[key] || n.used || n.kind == kindNull || slices.Contains(hydraKeys, key) {
			continue
		}
		out = append(out, problem(n.origin, key, "unknown key%s",
			near.Hint(key, known)).is(ErrUnknownKey).
			Advise("known here: %s; other keys must be used by an interpolation of these", listed(known)))
	}
	return out.asError()
}

// usedSections are the known keys at the top, and those that interpolations
// lead to from there.
func (c *Config) usedSections(known []string) map[string]bool {
	used := map[string]bool{}
	todo := slices.Clone(known)
	for len(todo) > 0 {
		reached := map[string]bool{}
		for _, key := range todo {
			used[key] = true
			if n := c.root.fields[key]; n != nil {
				c.reach(n, reached)
			}
		}
		maps.DeleteFunc(reached, func(key string, _ bool) bool { return used[key] })
		todo = slices.Collect(maps.Keys(reached))
	}
	return used
}

// reach notes which sections the interpolations at and below n lead to. One
// that can't be evaluated leads nowhere.
func (c *Config) reach(n *node, reached map[string]bool) {
	if n.isInterpolation() {
		r := c.resolver()
		r.reached = reached
		_, _ = r.resolve(n)
	}
	n.children(func(child *node) { c.reach(child, reached) })
}

// section is the key at the top at or above n; "" is the root.
func (n *node) section() string {
	key := ""
	for ; n.parent != nil; n = n.parent {
		key = n.key
	}
	return key
}
