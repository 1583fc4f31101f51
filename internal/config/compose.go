package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

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
	c := &Config{env: variables(slices.Concat(opts.Environ, opts.Folder.Environ)),
		folder: opts.Folder.Environ}
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
		c.warn(Origin{File: file},
			"not used for an option that is chosen by name, since one of yours has that name; --config-dir %s "+
				"takes the folder's", opts.Folder.Dir)
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
		return problem(o.origin, o.key,
			"a group can't be forced with ++").Advise("write %s=… to change it or +%s=… to add it", o.key,
			o.key)
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
	return problem(o.origin, o.key, "there is no such group%s",
		near.Hint(o.key, groups)).Advise("groups: %s", listed(groups))
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
		return problem(o.origin, o.key, "the option of a group must be a name or a list of names, got %s",
			o.value.kind).
			Advise("options: %s", listed(m.repo.options(o.key)))
	}
	if !o.foreign {
		m.repo.own(o.key, append(c.names, c.name)...)
	}
	if o.kind == addKey {
		m.walker.appended = append(m.walker.appended, &defaultEntry{
			group: o.key, option: c.option, pkg: o.pkg, hasPkg: o.hasPkg, appended: true, origin: o.origin,
		})
		return nil
	}
	m.walker.choices[o.groupKey()] = c
	return nil
}

// merge puts the files together, each at its package.
func (c *Config) merge(repo *repository, files []placedFile) error {
	c.root = newMap(Origin{})
	chosen := map[string]*node{}
	for _, f := range files {
		loaded, err := repo.load(f.path)
		if err != nil {
			return err
		}
		content := place(loaded.content, f.pkg)
		if err := mergeInto(c.root, content); err != nil {
			return err
		}
		if f.chosen {
			chosen[content.origin.File] = content
		}
	}
	for _, file := range sortedKeys(chosen) {
		if lost, by := replaced(chosen[file], c.root, chosen); lost != nil {
			c.warn(lost.origin, "%s is not used, since %s sets it later; what is to win goes last in the "+
				"defaults list, after _self_", by.path(), by.origin)
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
		err := o.apply(c.root, c.env)
		if e, ok := errors.AsType[*Error](err); ok && o.soft {
			c.warn(e.Origin, "%s: %s", e.Key, e.Msg)
		} else if err != nil {
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
