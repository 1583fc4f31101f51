package config

import (
	"slices"
	"sort"
	"strings"

	"agent/internal/near"
)

// selfName stands for the file itself in its defaults list.
const selfName = "_self_"

// globalPackage is the root of the configuration in package names.
const globalPackage = "_global_"

// defaultEntry is one line of a defaults list: a file to include, relative to
// the folder of the list's own file. Either path is set (`- base`), or group
// (`- db: mysql`) with a name, several names, or none (null).
type defaultEntry struct {
	path     string
	group    string
	name     string
	names    []string
	isNull   bool
	isList   bool
	pkg      string
	hasPkg   bool
	optional bool
	override bool
	appended bool // by +group=option
	origin   Origin

	// Known once the entry hangs in a tree.
	parentDir string
	parentPkg string
	header    string
	hasHeader bool
	primary   bool
	dropped   bool
}

// parseDefaults reads a defaults list.
func parseDefaults(list *node) ([]*defaultEntry, error) {
	if list.kind != kindList {
		return nil, problem(list.origin, "defaults", "must be a list, got %s", list.kind)
	}
	var out []*defaultEntry
	selfs := 0
	for _, it := range list.items {
		e, err := parseDefault(it)
		if err != nil {
			return nil, err
		}
		if e.isSelf() {
			selfs++
		}
		if selfs > 1 {
			return nil, problem(it.origin, "defaults", "%s is listed twice", selfName)
		}
		out = append(out, e)
	}
	return out, nil
}

func parseDefault(it *node) (*defaultEntry, error) {
	e := &defaultEntry{origin: it.origin}
	switch it.kind {
	case kindString:
		e.path, e.pkg, e.hasPkg = splitPackage(it.text)
		if e.path == selfName && e.hasPkg {
			return nil, problem(it.origin, "defaults", "%s can't have a package", selfName)
		}
	case kindMap:
		if len(it.keys) != 1 {
			return nil, problem(it.origin, "defaults", "an item names one group, this one names %d", len(it.keys))
		}
		if err := e.parseGroup(it.keys[0], it.fields[it.keys[0]]); err != nil {
			return nil, err
		}
	default:
		return nil, problem(it.origin, "defaults", "an item is a file or \"group: option\", got %s", it.kind)
	}
	return e, nil
}

// parseGroup reads "[optional] [override] group[@package]: option".
func (e *defaultEntry) parseGroup(key string, value *node) error {
	key, e.pkg, e.hasPkg = splitPackage(key)
	words := strings.Split(key, " ")
	e.group = words[len(words)-1]
	for _, w := range words[:len(words)-1] {
		switch w {
		case "optional":
			e.optional = true
		case "override":
			e.override = true
		default:
			return problem(value.origin, "defaults", "unknown keyword %q before the group%s", w, near.Hint(w, []string{"optional", "override"}))
		}
	}
	if e.group == "" {
		return problem(value.origin, "defaults", "item has no group")
	}
	switch value.kind {
	case kindNull:
		e.isNull = true
	case kindString:
		e.name = value.text
	case kindList:
		e.isList = true
		for _, v := range value.items {
			if v.kind != kindString {
				return problem(value.origin, "defaults", "options of %s must be names, got %s", e.group, v.kind)
			}
			if strings.Contains(v.text, "${") {
				return problem(value.origin, "defaults", "an interpolation can't be one of several options")
			}
			e.names = append(e.names, v.text)
		}
	default:
		return problem(value.origin, "defaults", "option of %s must be a name, a list of names or null, got %s", e.group, value.kind).
			advise("quote a name that looks like something else: %s: \"%s\"", e.group, value.text)
	}
	return nil
}

// splitPackage separates "x@pkg". "_here_" is the package of the list's own
// file, which is the empty one.
func splitPackage(s string) (rest, pkg string, has bool) {
	rest, pkg, has = strings.Cut(s, "@")
	pkg, _, _ = strings.Cut(pkg, ":") // Hydra's "@old:new", of which the second part has no use any more
	if pkg == "_here_" {
		pkg = ""
	}
	return rest, pkg, has
}

func (e *defaultEntry) isSelf() bool  { return e.path == selfName }
func (e *defaultEntry) isGroup() bool { return e.group != "" }

// hang records where in the tree the entry is, which decides what its relative
// names mean.
func (e *defaultEntry) hang(dir, pkg string) {
	e.parentDir, e.parentPkg = dir, pkg
	if e.hasPkg && strings.Contains(e.pkg, "_group_") {
		e.pkg = globalPackage + "." + strings.ReplaceAll(e.pkg, "_group_", e.defaultPackage())
	}
}

// target is the group, or the path, as written.
func (e *defaultEntry) target() string {
	if e.isGroup() {
		return e.group
	}
	return e.path
}

// groupPath is the folder of the entry from the root.
func (e *defaultEntry) groupPath() string {
	dir := e.target()
	if !e.isGroup() {
		dir = parentOf(strings.TrimPrefix(dir, "/"))
	}
	if strings.HasPrefix(e.target(), "/") {
		return strings.TrimPrefix(dir, "/")
	}
	return joinPath(e.parentDir, dir)
}

// configPath is the file of the entry from the root, without extension.
func (e *defaultEntry) configPath() string {
	if e.isGroup() {
		return e.groupPath() + "/" + e.name
	}
	if p, absolute := strings.CutPrefix(e.path, "/"); absolute {
		return p
	}
	return joinPath(e.parentDir, e.path)
}

// option is the name chosen: the last part of the file.
func (e *defaultEntry) option() string {
	if e.isGroup() {
		return e.name
	}
	return e.path[strings.LastIndex(e.path, "/")+1:]
}

// defaultPackage is where the entry goes when nothing says otherwise.
func (e *defaultEntry) defaultPackage() string { return strings.ReplaceAll(e.groupPath(), "/", ".") }

// setHeader takes the "# @package" of the entry's file. A header is absolute.
func (e *defaultEntry) setHeader(f *configFile) {
	if !f.hasHead || f.header == "_group_" {
		return
	}
	h := strings.ReplaceAll(f.header, "_group_", e.defaultPackage())
	if h != globalPackage && !strings.HasPrefix(h, globalPackage+".") {
		h = globalPackage + "." + h
	}
	e.header, e.hasHeader = h, true
}

// finalPackage is where the entry's content is put, as a dotted path from the
// root.
func (e *defaultEntry) finalPackage(useHeader bool) string {
	pkg := ""
	switch {
	case e.hasPkg:
		pkg = e.pkg
	case useHeader && e.hasHeader:
		pkg = e.header
	default:
		dir := strings.TrimPrefix(e.target(), "/")
		if !e.isGroup() {
			dir = parentOf(dir)
		}
		pkg = strings.ReplaceAll(dir, "/", ".")
	}
	if !e.isList && !e.isNull {
		pkg = strings.ReplaceAll(pkg, "_name_", e.option())
	}
	full := joinDots(e.parentPkg, pkg)
	if i := strings.LastIndex(full, globalPackage); i >= 0 {
		return strings.TrimPrefix(full[i+len(globalPackage):], ".")
	}
	return full
}

// overrideKey is the name by which the choice is overridden: "db" or "db@pkg".
func (e *defaultEntry) overrideKey() string {
	key, pkg := e.groupPath(), e.finalPackage(false)
	if pkg == e.defaultPackage() {
		return key
	}
	if pkg == "" {
		pkg = globalPackage
	}
	return key + "@" + pkg
}

func parentOf(p string) string {
	if i := strings.LastIndex(p, "/"); i >= 0 {
		return p[:i]
	}
	return ""
}

func joinPath(dir, p string) string { return joinWith("/", dir, p) }
func joinDots(a, b string) string   { return joinWith(".", a, b) }

func joinWith(sep, a, b string) string {
	switch {
	case a == "":
		return b
	case b == "":
		return a
	default:
		return a + sep + b
	}
}

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
}

// choice is a group's option and who chose it.
type choice struct {
	name   string
	names  []string
	isList bool
	isNull bool
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
	if len(n.children) > 0 || e.dropped || e.isNull || e.isList || e.option() == missingMark {
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
	*out = append(*out, placedFile{e.configPath(), e.finalPackage(true), e.primary})
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
	if e.option() == missingMark {
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
		if err := w.visitDeferred(e, c); err != nil {
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
func (w *defaultsWalker) takeOverrides(parent *defaultEntry, list []*defaultEntry, deferred bool) error {
	seen := ""
	for _, d := range list {
		if d.isSelf() {
			continue
		}
		d.hang(parent.groupPath(), parent.finalPackage(true))
		switch {
		case !d.override && !d.appended && seen != "":
			return problem(d.origin, "defaults", "%s comes after the override of %s; overrides must be at the end of the list", d.target(), seen)
		case !d.override:
			continue
		case deferred:
			return problem(d.origin, "defaults", "overrides are not allowed below a group chosen by an interpolation")
		}
		seen = d.overrideKey()
		if _, decided := w.choices[seen]; !decided {
			w.choices[seen] = &choice{name: d.name, names: d.names, isList: d.isList, isNull: d.isNull, origin: d.origin, inList: true}
		}
	}
	return nil
}

// child makes the nodes of one line of a list. wait says that they are chosen
// by an interpolation and must be visited at the end.
func (w *defaultsWalker) child(parent, d *defaultEntry, deferred bool) (nodes []*defaultsNode, wait bool, err error) {
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
	key := d.overrideKey()
	c, ok := w.choices[key]
	if !ok {
		return
	}
	d.name, d.names, d.isList, d.isNull, d.origin = c.name, c.names, c.isList, c.isNull, c.origin
	c.used = true
}

// expandNames makes one entry per option of a list.
func (e *defaultEntry) expandNames(parent *defaultEntry) []*defaultEntry {
	var out []*defaultEntry
	for _, name := range e.names {
		c := &defaultEntry{path: e.group + "/" + name, pkg: e.pkg, hasPkg: e.hasPkg, optional: e.optional, origin: e.origin}
		c.hang(parent.groupPath(), parent.finalPackage(true))
		out = append(out, c)
	}
	return out
}

// visitDeferred resolves an option given as an interpolation of other choices.
func (w *defaultsWalker) visitDeferred(parent *defaultEntry, n *defaultsNode) error {
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
	r := newResolver(known, nil, nil)
	v, err := r.resolve(holder)
	if err != nil || v.kind != kindString {
		keys := make([]string, 0, len(w.known))
		for k := range w.known {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		return problem(n.entry.origin, "defaults", "can't resolve %s from the groups chosen so far (%s)", *field, listed(keys))
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
			advise("to change a choice write \"override %s: %s\"", key, prev)
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
		advise("add %s=OPTION; options: %s", key, listed(w.repo.options(e.groupPath())))
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
		err = problem(e.origin, "defaults", "there is no configuration %q%s", name, near.Hint(name, options))
	}
	return err.advise("known: %s", listed(options))
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
			err = problem(c.origin, key, "no defaults list has this group and package, did you mean %s?", listed(keys))
		}
		if !c.inList {
			err = err.advise("to add the group write +%s=%s", key, c.name)
		}
		out = append(out, err)
	}
	for _, key := range sortedKeys(w.deletions) {
		if d := w.deletions[key]; !d.used {
			out = append(out, problem(commandLine, key, "no defaults list has this choice, so there is nothing to delete"))
		}
	}
	return out.asError()
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
