package config

import (
	"maps"
	"slices"
	"strings"

	"agent/internal/near"
)

// defaultsNode is an entry with what its file includes in turn.
type defaultsNode struct {
	entry    *defaultEntry
	children []*defaultsNode
}

// placedFile is one file of the final list and where it goes.
type placedFile struct {
	path    string
	pkg     string
	primary bool
	chosen  bool // on the command line or in the environment
}

// choice is a group's option and who chose it.
type choice struct {
	option
	origin Origin
	used   bool
	inList bool // chosen by "override" in a defaults list
}

// defaultsWalker expands the primary file's defaults list into the files to
// merge, in order. It follows Hydra: children are visited from the last to the
// first, so that later and outer overrides win.
type defaultsWalker struct {
	repo      *repository
	choices   map[string]*choice
	appended  []*defaultEntry
	deletions map[string]*deletion
	known     map[string]string          // group key → option taken
	byGroup   map[string]map[string]bool // group → keys it is known by
	open      []string                   // files being expanded, to notice cycles
	visited   int
	warn      func(at Origin, format string, args ...any)
}

type deletion struct {
	option string
	any    bool
	used   bool
}

// expand returns the files to merge, in order.
func (w *defaultsWalker) expand(primary string) ([]placedFile, error) {
	root := &defaultsNode{entry: &defaultEntry{path: primary, primary: true, origin: commandLine}}
	if err := w.visit(root, false); err != nil {
		return nil, err
	}
	var out []placedFile
	seen := map[string]bool{}
	if err := flatten(root, nil, seen, &out); err != nil {
		return nil, err
	}
	return out, w.unused()
}

// flatten lists the leaves from left to right.
func flatten(n, parent *defaultsNode, seen map[string]bool, out *[]placedFile) error {
	for _, c := range n.children {
		if err := flatten(c, n, seen, out); err != nil {
			return err
		}
	}
	e := n.entry
	if len(n.children) > 0 || e.dropped || e.isNull || e.isList || e.chosen() == missingMark {
		return nil
	}
	if e.isSelf() {
		e = parent.entry
	} else if e.isGroup() {
		key := e.overrideKey()
		if seen[key] {
			return problem(e.origin, "defaults", "%s appears more than once in the final list", key)
		}
		seen[key] = true
	}
	*out = append(*out, placedFile{e.configPath(), e.finalPackage(true), e.primary,
		isUsers(e.origin) && !e.primary})
	return nil
}

// visit loads the file of n and hangs what its defaults list names below it.
// deferred says that n was chosen by an interpolation.
func (w *defaultsWalker) visit(n *defaultsNode, deferred bool) error {
	e := n.entry
	if w.visited++; w.visited > filesMax {
		return problem(e.origin, "defaults", "defaults lists name more than %d files", filesMax)
	}
	if w.deleted(e) {
		return nil
	}
	if err := w.remember(e); err != nil {
		return err
	}
	file, err := w.loadEntry(e)
	if err != nil || file == nil {
		return err
	}
	if slices.Contains(w.open, e.configPath()) {
		chain := append(w.open[slices.Index(w.open, e.configPath()):], e.configPath())
		return problem(e.origin, "defaults", "files include each other: %s", strings.Join(chain, " → "))
	}
	w.open = append(w.open, e.configPath())
	defer func() { w.open = w.open[:len(w.open)-1] }()
	if len(w.open) > depthMax {
		return problem(e.origin, "defaults", "files include each other more than %d deep", depthMax)
	}
	return w.visitChildren(n, file, deferred)
}

// loadEntry reads the file of e; nil without an error when there is nothing to
// read: a null choice, or an optional file that is absent.
func (w *defaultsWalker) loadEntry(e *defaultEntry) (*configFile, error) {
	if e.isNull || e.isList {
		return nil, nil
	}
	if e.chosen() == missingMark {
		return nil, w.mustChoose(e)
	}
	f, err := w.repo.load(e.configPath())
	if err != nil {
		return nil, err
	}
	if f == nil {
		if !e.optional {
			return nil, w.notFound(e)
		}
		e.dropped = true
		return nil, nil
	}
	e.setHeader(f)
	return f, nil
}

func (w *defaultsWalker) visitChildren(n *defaultsNode, file *configFile, deferred bool) error {
	e := n.entry
	list := make([]*defaultEntry, 0, len(file.defaults)+1)
	for _, d := range file.defaults {
		c := *d
		list = append(list, &c)
	}
	if len(list) > 0 || (e.primary && len(w.appended) > 0) {
		list = withSelf(list)
	}
	if e.primary {
		list = append(list, w.appended...)
	}
	list = w.withoutHydra(list)
	if err := w.takeOverrides(e, list, deferred); err != nil {
		return err
	}
	var later []*defaultsNode // chosen by interpolation, once all else is known
	for _, d := range slices.Backward(list) {
		if d.override {
			continue
		}
		nodes, wait, err := w.child(e, d, deferred)
		if err != nil {
			return err
		}
		if wait {
			later = append(later, nodes...)
		}
		n.children = append(n.children, nodes...)
	}
	for _, c := range later {
		if err := w.visitDeferred(c); err != nil {
			return err
		}
	}
	slices.Reverse(n.children)
	return nil
}

// withSelf adds _self_ where a list does not place it: at the end, but before
// overrides, which are no files.
func withSelf(list []*defaultEntry) []*defaultEntry {
	if slices.ContainsFunc(list, (*defaultEntry).isSelf) {
		return list
	}
	return append(list, &defaultEntry{path: selfName})
}

// withoutHydra drops what configures Hydra itself: this program has no
// launchers, sweepers or job loggers to choose.
func (w *defaultsWalker) withoutHydra(list []*defaultEntry) []*defaultEntry {
	return slices.DeleteFunc(list, func(d *defaultEntry) bool {
		isHydra := isHydraKey(strings.TrimPrefix(d.target(), "/"))
		if isHydra {
			w.warn(d.origin, "%s configures Hydra itself and is ignored", d.target())
		}
		return isHydra
	})
}

func isHydraKey(key string) bool {
	return key == "hydra" || strings.HasPrefix(key, "hydra/") || strings.HasPrefix(key, "hydra.")
}

// takeOverrides records the "override" lines of a list, which must come last.
func (w *defaultsWalker) takeOverrides(parent *defaultEntry, list []*defaultEntry, deferred bool,
) error {
	seen := ""
	for _, d := range list {
		if d.isSelf() {
			continue
		}
		d.hang(parent.groupPath(), parent.finalPackage(true))
		switch {
		case !d.override && !d.appended && seen != "":
			return problem(d.origin, "defaults",
				"%s comes after the override of %s; overrides must be at the end of the list", d.target(), seen)
		case !d.override:
			continue
		case deferred:
			return problem(d.origin, "defaults",
				"overrides are not allowed below a group chosen by an interpolation")
		}
		seen = d.overrideKey()
		if _, decided := w.choices[seen]; !decided {
			w.choices[seen] = &choice{option: d.option, origin: d.origin, inList: true}
		}
	}
	return nil
}

// child makes the nodes of one line of a list. wait says that they are chosen
// by an interpolation and must be visited at the end.
func (w *defaultsWalker) child(parent, d *defaultEntry, deferred bool,
) (nodes []*defaultsNode, wait bool, err error) {
	if d.isSelf() {
		d.hang(parent.parentDir, "")
		return []*defaultsNode{{entry: d}}, false, nil
	}
	w.applyChoice(d)
	entries := []*defaultEntry{d}
	if d.isList {
		entries = d.expandNames(parent)
	} else if strings.Contains(d.name, "${") || strings.Contains(d.path, "${") {
		return []*defaultsNode{{entry: d}}, true, nil
	}
	for _, it := range slices.Backward(entries) {
		c := &defaultsNode{entry: it}
		if err := w.visit(c, deferred); err != nil {
			return nil, false, err
		}
		nodes = append(nodes, c)
	}
	return nodes, false, nil
}

// applyChoice replaces the option of d by the one chosen elsewhere.
func (w *defaultsWalker) applyChoice(d *defaultEntry) {
	if !d.isGroup() {
		return
	}
	if c := w.choices[d.overrideKey()]; c != nil {
		d.option, d.origin, c.used = c.option, c.origin, true
	}
}

// expandNames makes one entry per option of a list.
func (e *defaultEntry) expandNames(parent *defaultEntry) []*defaultEntry {
	var out []*defaultEntry
	for _, name := range e.names {
		c := &defaultEntry{path: e.group + "/" + name, pkg: e.pkg, hasPkg: e.hasPkg, optional: e.optional,
			origin: e.origin}
		c.hang(parent.groupPath(), parent.finalPackage(true))
		out = append(out, c)
	}
	return out
}

// visitDeferred resolves an option given as an interpolation of other choices.
func (w *defaultsWalker) visitDeferred(n *defaultsNode) error {
	known := newMap(n.entry.origin)
	for key, option := range w.known {
		known.set(key, newString(option, n.entry.origin))
	}
	field := &n.entry.name
	if !n.entry.isGroup() {
		field = &n.entry.path
	}
	holder := newString(*field, n.entry.origin)
	known.set("defaults", newList(n.entry.origin))
	known.set("_choice_", holder)
	v, err := newResolver(known, nil, nil).resolve(holder)
	if err != nil || v.kind != kindString {
		return problem(n.entry.origin, "defaults", "can't resolve %s from the groups chosen so far (%s)",
			*field, listed(sortedKeys(w.known)))
	}
	*field = v.text
	return w.visit(n, true)
}

// deleted applies ~group and ~group=option.
func (w *defaultsWalker) deleted(e *defaultEntry) bool {
	if !e.isGroup() {
		return false
	}
	d := w.deletions[e.overrideKey()]
	if d == nil || (!d.any && d.option != e.name) {
		return false
	}
	e.dropped, d.used = true, true
	return true
}

// remember notes the option taken for a group, for interpolations, messages and
// the summary of choices.
func (w *defaultsWalker) remember(e *defaultEntry) error {
	if !e.isGroup() {
		return nil
	}
	key := e.overrideKey()
	if prev, ok := w.known[key]; ok && prev != e.name {
		return problem(e.origin, "defaults", "%s is chosen twice: %s and %s", key, e.name, prev).
			Advise("to change a choice write \"override %s: %s\"", key, prev)
	}
	w.known[key] = e.name
	group := e.groupPath()
	if w.byGroup[group] == nil {
		w.byGroup[group] = map[string]bool{}
	}
	w.byGroup[group][key] = true
	return nil
}

func (w *defaultsWalker) mustChoose(e *defaultEntry) error {
	key := e.target()
	if e.isGroup() {
		key = e.overrideKey()
	}
	return problem(e.origin, key, "an option must be chosen").is(ErrMissing).
		Advise("add %s=OPTION; options: %s", key, listed(w.repo.options(e.groupPath())))
}

func (w *defaultsWalker) notFound(e *defaultEntry) error {
	if e.primary {
		return problem(Origin{}, "", "primary configuration %q is not in the search path", e.path)
	}
	if _, ok := cleanPath(e.configPath()); !ok {
		return problem(e.origin, "defaults", "%q leaves the configuration folder", e.configPath())
	}
	options := w.repo.options(e.groupPath())
	name := strings.TrimPrefix(e.configPath(), e.groupPath()+"/")
	err := problem(e.origin, e.groupPath(), "there is no option %q%s", name, near.Hint(name, options))
	if e.groupPath() == "" {
		err = problem(e.origin, "defaults", "there is no configuration %q%s", name,
			near.Hint(name, options))
	}
	return err.Advise("known: %s", listed(options))
}

// unused reports choices and deletions that met no group.
func (w *defaultsWalker) unused() error {
	var out Problems
	for _, key := range sortedKeys(w.choices) {
		c := w.choices[key]
		if c.used {
			continue
		}
		group, _, _ := strings.Cut(key, "@")
		err := problem(c.origin, key, "no defaults list has this group, so there is nothing to override")
		if keys := sortedKeys(w.byGroup[group]); len(keys) > 0 {
			err = problem(c.origin, key, "no defaults list has this group and package, did you mean %s?",
				listed(keys))
		}
		if !c.inList {
			err = err.Advise("to add the group write +%s=%s", key, c.name)
		}
		out = append(out, err)
	}
	for _, key := range sortedKeys(w.deletions) {
		if d := w.deletions[key]; !d.used {
			out = append(out, problem(commandLine, key,
				"no defaults list has this choice, so there is nothing to delete"))
		}
	}
	return out.asError()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
