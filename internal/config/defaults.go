package config

import (
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
	path  string
	group string
	option
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

// option is what is chosen of a group.
type option struct {
	name   string
	names  []string
	isNull bool
	isList bool
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
			return nil, problem(it.origin, "defaults", "an item names one group, this one names %d",
				len(it.keys))
		}
		if err := e.parseGroup(it.keys[0], it.fields[it.keys[0]]); err != nil {
			return nil, err
		}
	default:
		return nil, problem(it.origin, "defaults", "an item is a file or \"group: option\", got %s",
			it.kind)
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
			return problem(value.origin, "defaults", "unknown keyword %q before the group%s", w,
				near.Hint(w, []string{"optional", "override"}))
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
		return problem(value.origin, "defaults",
			"option of %s must be a name, a list of names or null, got %s", e.group, value.kind).
			Advise("quote a name that looks like something else: %s: \"%s\"", e.group, value.text)
	}
	return nil
}

// splitPackage separates "x@pkg". "_here_" is the package of the list's own
// file, which is the empty one.
func splitPackage(s string) (rest, pkg string, has bool) {
	rest, pkg, has = strings.Cut(s, "@")
	// Hydra's "@old:new", of which the second part has no use any more
	pkg, _, _ = strings.Cut(pkg, ":")
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

// chosen is the name of the option: the last part of the file.
func (e *defaultEntry) chosen() string {
	if e.isGroup() {
		return e.name
	}
	return e.path[strings.LastIndex(e.path, "/")+1:]
}

// defaultPackage is where the entry goes when nothing says otherwise.
func (e *defaultEntry) defaultPackage() string {
	return strings.ReplaceAll(e.groupPath(), "/",
		".")
}

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
		pkg = strings.ReplaceAll(pkg, "_name_", e.chosen())
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
