package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"agent/internal/near"
)

// Config is a composed configuration. Interpolations are evaluated when values
// are read, so that an unset environment variable matters only where it is used.
// It is safe for concurrent use.
type Config struct {
	root    *node
	env     map[string]string
	choices map[string]string
	folder  []string // its environment, sorted

	mu       sync.Mutex
	warnings []string
	texts    map[string]bool // paths of other scalars that were decoded as texts

	secretsOnce sync.Once
	secretSet   secretSet // see secrets
}

func (c *Config) resolver() *resolver { return newResolver(c.root, c.env, nil) }

// warn records something that a person should know but that is no error.
func (c *Config) warn(at Origin, format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	if s := at.String(); s != "" {
		msg = s + ": " + msg
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.warnings, msg) {
		c.warnings = append(c.warnings, msg)
	}
}

// Warnings are things that a person should know: settings that are ignored
// here, environment variables that match no key. Decode adds to them.
func (c *Config) Warnings() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.warnings)
}

// Choices tells the option taken for each group.
func (c *Config) Choices() map[string]string {
	return maps.Clone(c.choices)
}

// at is the unevaluated value at a dotted path; "" is the whole configuration.
func (c *Config) at(p string) (*node, error) {
	if p == "" {
		return c.root, nil
	}
	r := c.resolver()
	n := c.root
	parts := splitKey(p)
	for i, key := range parts {
		holder, err := r.follow(n, n)
		if err != nil {
			return nil, c.clean(err)
		}
		if n = holder.child(key); n == nil {
			return nil, problem(holder.origin, strings.Join(parts[:i+1], "."), "there is no such key%s",
				near.Hint(key, holder.keys))
		}
	}
	return n, nil
}

// resolved is the evaluated tree at a path, with no mandatory value missing.
func (c *Config) resolved(p string) (*node, error) {
	n, err := c.at(p)
	if err != nil {
		return nil, err
	}
	v, err := c.resolver().resolve(n)
	if err != nil {
		return nil, c.clean(err)
	}
	v.key = p
	return v, missingValues(v, p).asError()
}

// missingValues lists every mandatory value that is not set.
func missingValues(n *node, p string) Problems {
	if n.isMissing() {
		return Problems{problem(n.origin, p,
			"mandatory value is not set").is(ErrMissing).Advise("set it with %s=VALUE", p)}
	}
	var out Problems
	n.children(func(c *node) { out = append(out, missingValues(c, joinDots(p, c.key))...) })
	return out
}

// Get returns the evaluated value at a dotted path: nil, bool, int64, float64,
// string, []any or map[string]any.
func (c *Config) Get(p string) (any, error) {
	v, err := c.resolved(p)
	if err != nil {
		return nil, err
	}
	return v.value(), nil
}

// Has reports whether there is a value at the path, null or not.
func (c *Config) Has(p string) bool {
	_, err := c.at(p)
	return err == nil
}

// Origin tells where the value at a path was written.
func (c *Config) Origin(p string) (Origin, bool) {
	n, err := c.at(p)
	if err != nil {
		return Origin{}, false
	}
	return n.origin, true
}

// Origins tells for each value that is no mapping where it was written.
func (c *Config) Origins() map[string]Origin {
	out := map[string]Origin{}
	var walk func(n *node)
	walk = func(n *node) {
		if n.kind == kindMap && len(n.keys) > 0 {
			n.children(walk)
		} else if n.parent != nil {
			out[n.path()] = n.origin
		}
	}
	walk(c.root)
	return out
}

// Check evaluates everything at and below the paths (all, when none is given)
// and reports every problem, not only the first.
func (c *Config) Check(paths ...string) error {
	if len(paths) == 0 {
		paths = []string{""}
	}
	var out Problems
	for _, p := range paths {
		n, err := c.at(p)
		if err != nil {
			out = append(out, err)
			continue
		}
		out = append(out, c.checkNode(n)...)
	}
	return out.asError()
}

func (c *Config) checkNode(n *node) Problems {
	if n.isMissing() {
		return missingValues(n, n.path())
	}
	var out Problems
	if n.isInterpolation() {
		if _, err := c.resolver().resolve(n); err != nil {
			out = append(out, c.clean(err))
		}
	}
	n.children(func(child *node) { out = append(out, c.checkNode(child)...) })
	return out
}

// Secrets are the secret values of this configuration, longest first, so that
// other code can keep them out of logs and messages: values under keys such as
// api_key or password, environment variables with such names that are used,
// and passwords in URLs.
func (c *Config) Secrets() []string { return c.secrets().list() }

// secrets gathers the secrets of the whole tree, once.
func (c *Config) secrets() secretSet {
	c.secretsOnce.Do(func() {
		c.secretSet = secretSet{}
		shown := c.best(c.root, c.secretSet)
		c.secretSet.collect(shown, false)
	})
	return c.secretSet
}

// best evaluates what can be evaluated and leaves the rest as written.
func (c *Config) best(n *node, secrets secretSet) *node {
	if !n.isContainer() {
		if v, err := newResolver(c.root, c.env, secrets).resolve(n); err == nil {
			return v
		}
		return n.clone()
	}
	return n.mapped(func(child *node) *node { return c.best(child, secrets) })
}

// clean makes sure that no secret is in an error.
func (c *Config) clean(err error) error {
	if c.root == nil {
		return err
	}
	secrets := secretSet{}
	secrets.collect(c.root, false) // the tree may be incomplete, so what it evaluates to is not asked
	if e, ok := errors.AsType[*Error](err); ok {
		e.Msg, e.Advice = secrets.scrub(e.Msg), secrets.scrub(e.Advice)
	}
	return err
}

// Target is the `_target_` at a path: the name of what to make from the
// section. `_partial_: true` beside it is accepted and means nothing here.
func (c *Config) Target(p string) (string, error) {
	v, err := c.Get(joinDots(p, "_target_"))
	if err != nil {
		return "", err
	}
	s, ok := v.(string)
	if !ok {
		at, _ := c.Origin(joinDots(p, "_target_"))
		return "", problem(at, joinDots(p, "_target_"), "must be a name")
	}
	return s, nil
}
