package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"agent/internal/near"
)

// Options say what to compose and from where.
type Options struct {
	// Dirs are searched in this order, before OptionalDirs; each must exist. A
	// file in an earlier folder hides the same file in later ones.
	Dirs []string
	// Folder is searched after Dirs. What it says is not the user's word.
	Folder Folder
	// OptionalDirs are searched after Folder and may be absent.
	OptionalDirs []string
	// Embedded is searched last.
	Embedded fs.FS
	// Overrides are arguments in Hydra's grammar, such as llm=openai,
	// llm.temperature=0, +llm.seed=1 or ~llm.
	Overrides []string
	// Values are set after Overrides, whether the key exists or not.
	Values []Value
	// Environ lists NAME=value pairs for oc.env and AGENT_… overrides; nil
	// means the environment of the process.
	Environ []string
	// Primary is the file to begin with; "" means "config".
	Primary string
}

// Folder is the configuration that lies in the current folder, which may be a
// stranger's. [Config.Changes] tells what it does.
type Folder struct {
	Dir     string   // of files; it may be absent
	Environ []string // NAME=value pairs of its .env; those of Options.Environ win
}

// Value is set by the program itself, for example by a flag. It is taken as it
// is: `${` in it is ordinary text.
type Value struct {
	Key    string // dotted path
	Value  any    // nil, bool, int, int64, float64, string or []string
	Source string // where it comes from, for Origin: "--temperature"
}

// Config is a composed configuration. Interpolations are evaluated when values
// are read, so that an unset environment variable matters only where it is used.
// It is safe for concurrent use.
type Config struct {
	root    *node
	rt      *runtime
	choices map[string]string
	folder  []string // its environment, sorted

	mu       sync.Mutex
	warnings []string
	texts    map[string]bool // paths of other scalars that were decoded as texts

	secretsOnce sync.Once
	secretSet   secretSet // see secrets
}

// Compose reads the primary file, expands its defaults list, merges, and
// applies the environment and the overrides.
func Compose(opts Options) (*Config, error) {
	if opts.Primary == "" {
		opts.Primary = "config"
	}
	if opts.Environ == nil {
		opts.Environ = os.Environ()
	}
	repo, err := openRepository(opts)
	if err != nil {
		return nil, err
	}
	opts.Folder.Environ = namesNotIn(opts.Folder.Environ, opts.Environ)
	c := &Config{rt: &runtime{env: envLookup(slices.Concat(opts.Environ, opts.Folder.Environ))}, folder: opts.Folder.Environ}
	if err := c.compose(repo, opts); err != nil {
		return nil, c.clean(err)
	}
	return c, nil
}

// composer holds what is known while one configuration is being made.
type composer struct {
	repo   *repository
	walker *defaultsWalker
	values []*override // overrides of values, in order
}

func (c *Config) compose(repo *repository, opts Options) error {
	overrides, err := c.parseOverrides(repo, opts)
	if err != nil {
		return err
	}
	m := &composer{repo: repo, walker: &defaultsWalker{
		repo: repo, choices: map[string]*choice{}, deletions: map[string]*deletion{},
		known: map[string]string{}, byGroup: map[string]map[string]bool{}, warn: c.warn,
	}}
	for _, o := range overrides {
		if err := m.sortOut(o); err != nil {
			return err
		}
	}
	files, err := m.walker.expand(opts.Primary)
	if err != nil {
		return err
	}
	if err := c.merge(repo, files); err != nil {
		return err
	}
	c.choices = m.walker.known
	if err := c.applyAll(m.values); err != nil {
		return err
	}
	if err := c.setValues(opts.Values); err != nil {
		return err
	}
	for _, file := range repo.passed {
		c.warn(Origin{File: file}, "not used for an option that is chosen by name, since one of yours has that name; --config-dir %s takes the folder's", opts.Folder.Dir)
	}
	return c.checkGrammar()
}

// parseOverrides reads the environment's and the command line's overrides, in
// rising precedence.
func (c *Config) parseOverrides(repo *repository, opts Options) ([]*override, error) {
	var typed []*override
	for _, arg := range opts.Overrides {
		o, err := parseOverride(arg)
		if err != nil {
			return nil, err
		}
		if o.sweep != nil {
			return nil, o.notSwept()
		}
		typed = append(typed, o)
	}
	all, err := environOverrides(repo, opts)
	if err != nil {
		return nil, err
	}
	return append(all, typed...), nil
}

// sortOut decides whether an override chooses a group's option or sets a value.
func (m *composer) sortOut(o *override) error {
	isDict := o.value != nil && o.value.kind == kindMap
	switch {
	case isHydraKey(o.key):
		m.walker.warn(o.origin, "%s configures Hydra itself and is ignored", o.key)
		return nil
	case isDict || !m.repo.isGroup(o.key):
		return m.valueOverride(o)
	case o.kind == forceKey:
		return problem(o.origin, o.key, "a group can't be forced with ++").advise("write %s=… to change it or +%s=… to add it", o.key, o.key)
	case o.kind == deleteKey:
		return m.deleteGroup(o)
	}
	return m.chooseOption(o)
}

// valueOverride keeps an override for after the merge.
func (m *composer) valueOverride(o *override) error {
	if !o.hasPkg && !strings.Contains(o.key, "/") {
		m.values = append(m.values, o)
		return nil
	}
	groups := m.repo.groups()
	return problem(o.origin, o.key, "there is no such group%s", near.Hint(o.key, groups)).advise("groups: %s", listed(groups))
}

func (m *composer) deleteGroup(o *override) error {
	d := &deletion{any: o.value == nil || o.value.kind == kindNull}
	if !d.any {
		if o.value.kind != kindString {
			return problem(o.origin, o.key, "the option to delete must be a name, got %s", o.value.kind)
		}
		d.option = o.value.text
	}
	m.walker.deletions[o.groupKey()] = d
	return nil
}

func (m *composer) chooseOption(o *override) error {
	c := &choice{origin: o.origin}
	switch o.value.kind {
	case kindString:
		c.name = o.value.text
	case kindList:
		c.isList = true
		for _, it := range o.value.items {
			if it.kind != kindString {
				return problem(o.origin, o.key, "options must be names, got %s", it.kind)
			}
			c.names = append(c.names, it.text)
		}
	default:
		return problem(o.origin, o.key, "the option of a group must be a name or a list of names, got %s", o.value.kind).
			advise("options: %s", listed(m.repo.options(o.key)))
	}
	if !o.foreign {
		m.repo.own(o.key, append(c.names, c.name)...)
	}
	if o.kind == addKey {
		m.walker.appended = append(m.walker.appended, &defaultEntry{
			group: o.key, name: c.name, names: c.names, isList: c.isList,
			pkg: o.pkg, hasPkg: o.hasPkg, appended: true, origin: o.origin,
		})
		return nil
	}
	m.walker.choices[o.groupKey()] = c
	return nil
}

// merge puts the files together, each at its package.
func (c *Config) merge(repo *repository, files []placedFile) error {
	c.root = newMap(Origin{})
	for _, f := range files {
		loaded, err := repo.load(f.path)
		if err != nil {
			return err
		}
		if err := mergeInto(c.root, place(loaded.content, f.pkg)); err != nil {
			return err
		}
	}
	if h := c.root.fields["hydra"]; h != nil {
		c.root.remove("hydra")
		c.warn(h.origin, "the hydra section configures Hydra itself and is ignored")
	}
	return nil
}

// applyAll performs the value overrides in order.
func (c *Config) applyAll(overrides []*override) error {
	for _, o := range overrides {
		err := o.apply(c.root, c.rt)
		var e *Error
		if o.soft && errors.As(err, &e) {
			c.warn(e.Origin, "%s: %s", e.Key, e.Msg)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// setValues sets what the program itself decided.
func (c *Config) setValues(values []Value) error {
	for _, v := range values {
		at := Origin{File: v.Source}
		n, err := valueNode(v.Value, at)
		if err != nil {
			return problem(at, v.Key, "%s", err)
		}
		if err := update(c.root, v.Key, n, true); err != nil {
			return problem(at, v.Key, "can't be set: %s", err)
		}
	}
	return nil
}

func valueNode(v any, at Origin) (*node, error) {
	switch v := v.(type) {
	case nil:
		return newNull(at), nil
	case bool:
		return newBool(v, at), nil
	case int:
		return newInt(int64(v), at), nil
	case int64:
		return newInt(v, at), nil
	case float64:
		return newFloat(v, at), nil
	case string:
		return newString(escapeInterpolation(v), at), nil
	case []string:
		list := newList(at)
		for _, text := range v {
			list.push(newString(escapeInterpolation(text), at))
		}
		return list, nil
	default:
		return nil, fmt.Errorf("values of type %T are not supported", v)
	}
}

// escapeInterpolation makes text that evaluates to s.
func escapeInterpolation(s string) string {
	var b strings.Builder
	run := 0
	for i := 0; i < len(s); i++ {
		if strings.HasPrefix(s[i:], "${") {
			b.WriteString(strings.Repeat(`\`, run+1))
		}
		if s[i] == '\\' {
			run++
		} else {
			run = 0
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// checkGrammar parses every interpolation, so that a misspelt one is found
// even where it is not used.
func (c *Config) checkGrammar() error {
	var out Problems
	r := c.resolver()
	var walk func(n *node)
	walk = func(n *node) {
		if n.isInterpolation() {
			if _, err := r.parse(n); err != nil {
				out = append(out, err)
			}
		}
		n.children(walk)
	}
	walk(c.root)
	return out.asError()
}

func (c *Config) resolver() *resolver { return newResolver(c.root, c.rt, secretSet{}) }

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
	out := map[string]string{}
	for k, v := range c.choices {
		out[k] = v
	}
	return out
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
			return nil, problem(holder.origin, strings.Join(parts[:i+1], "."), "there is no such key%s", near.Hint(key, holder.keys))
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
	r := c.resolver()
	v, err := r.resolve(n)
	if err != nil {
		return nil, c.clean(err)
	}
	v.key = p
	return v, missingValues(v, p).asError()
}

// missingValues lists every mandatory value that is not set.
func missingValues(n *node, p string) Problems {
	if n.isMissing() {
		return Problems{problem(n.origin, p, "mandatory value is not set").is(ErrMissing).advise("set it with %s=VALUE", p)}
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
	var out Problems
	if n.isMissing() {
		return missingValues(n, n.path())
	}
	if n.isInterpolation() {
		r := c.resolver()
		if _, err := r.resolve(n); err != nil {
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
	if n.kind != kindMap && n.kind != kindList {
		r := newResolver(c.root, c.rt, secrets)
		if v, err := r.resolve(n); err == nil {
			return v
		}
		return n.clone()
	}
	out := &node{kind: n.kind, origin: n.origin, fields: map[string]*node{}}
	for _, k := range n.keys {
		out.set(k, c.best(n.fields[k], secrets))
	}
	for _, it := range n.items {
		out.push(c.best(it, secrets))
	}
	return out
}

// clean makes sure that no secret is in an error.
func (c *Config) clean(err error) error {
	if c.root == nil {
		return err
	}
	secrets := secretSet{}
	secrets.collect(c.root, false) // the tree may be incomplete, so what it evaluates to is not asked
	var e *Error
	if errors.As(err, &e) {
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
