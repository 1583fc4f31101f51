package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// source is one folder of the search path.
type source struct {
	name    string // how files in it are called in errors
	fsys    fs.FS
	foreign bool // the folder's
}

// fileName is the name of a file of this source in errors.
func (s source) fileName(p string) string { return path.Join(s.name, p) }

// repository finds configuration files along the search path. The first
// folder that has a file wins; files are read once.
type repository struct {
	sources []source
	files   map[string]*configFile
	owned   map[string]bool // files that the user chose by name
	passed  []string        // the folder's files of such names
}

// own notes that the user chose options of a group by name: these are the
// user's, or stock, where there are any.
func (r *repository) own(group string, options ...string) {
	for _, o := range options {
		if file, ok := cleanPath(withExtension(path.Join(group, o))); ok {
			r.owned[file] = true
		}
	}
}

// configFile is a loaded file, split into its parts.
type configFile struct {
	name     string // as in errors
	content  *node  // without the defaults list
	defaults []*defaultEntry
	header   string // of "# @package", "" when absent
	hasHead  bool
}

// openRepository checks the folders of the search path. Those that do not
// exist are skipped, unless asked for by name.
func openRepository(opts Options) (*repository, error) {
	r := &repository{files: map[string]*configFile{}, owned: map[string]bool{}}
	for _, dir := range opts.Dirs {
		info, err := os.Stat(dir)
		if err != nil || !info.IsDir() {
			what := "does not exist"
			if err == nil {
				what = "is not a folder"
			} else if !errors.Is(err, fs.ErrNotExist) {
				what = "can't be read"
			}
			return nil, problem(Origin{File: dir}, "", "configuration folder %s", what)
		}
		r.sources = append(r.sources, source{name: filepath.ToSlash(dir), fsys: os.DirFS(dir)})
	}
	if dir := opts.Folder.Dir; isFolder(dir) &&
		!sameFolder(dir, slices.Concat(opts.Dirs, opts.OptionalDirs)) {
		r.sources = append(r.sources, source{name: filepath.ToSlash(dir), fsys: os.DirFS(dir),
			foreign: true})
	}
	for _, dir := range opts.OptionalDirs {
		if isFolder(dir) {
			r.sources = append(r.sources, source{name: filepath.ToSlash(dir), fsys: os.DirFS(dir)})
		}
	}
	if opts.Embedded != nil {
		r.sources = append(r.sources, source{name: embeddedName, fsys: opts.Embedded})
	}
	return r, nil
}

// embeddedName stands for the folder of the files that are built in.
const embeddedName = "embedded:"

func isFolder(dir string) bool {
	info, err := os.Stat(dir)
	return dir != "" && err == nil && info.IsDir()
}

// sameFolder reports a folder that is among others, whatever it is called.
func sameFolder(dir string, others []string) bool {
	info, err := os.Stat(dir)
	return err == nil && slices.ContainsFunc(others, func(other string) bool {
		o, err := os.Stat(other)
		return err == nil && os.SameFile(info, o)
	})
}

// cleanPath makes a path within a source of what a defaults list or the
// command line names; false when it would leave the source.
func cleanPath(p string) (string, bool) {
	c := path.Clean(p)
	return c, fs.ValidPath(c) && !strings.ContainsAny(p, "\\\x00")
}

// withExtension is the file of a configuration's name.
func withExtension(p string) string {
	if strings.HasSuffix(p, ".yaml") {
		return p
	}
	return p + ".yaml"
}

// find returns the first source that has the file p and its clean path. What the
// user chose by name is the folder's only where nobody else has it.
func (r *repository) find(p string) (source, string, bool) {
	clean, ok := cleanPath(withExtension(p))
	if !ok {
		return source{}, "", false
	}
	having := r.having(clean)
	if len(having) == 0 {
		return source{}, "", false
	}
	if r.owned[clean] && having[0].foreign && len(having) > 1 {
		if file := having[0].fileName(clean); !slices.Contains(r.passed, file) &&
			!sameFile(having[0], having[1], clean) {
			r.passed = append(r.passed, file)
		}
		return having[1], clean, true
	}
	return having[0], clean, true
}

// sameFile reports that two sources have the same text in a file, so that it makes no
// difference which is taken.
func sameFile(a, b source, clean string) bool {
	x, errX := readBounded(a.fsys, clean)
	y, errY := readBounded(b.fsys, clean)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// having are the sources that have a file.
func (r *repository) having(clean string) []source {
	var out []source
	for _, s := range r.sources {
		if info, err := fs.Stat(s.fsys, clean); err == nil && !info.IsDir() {
			out = append(out, s)
		}
	}
	return out
}

// isGroup reports whether p is a folder in any source.
func (r *repository) isGroup(p string) bool {
	clean, ok := cleanPath(p)
	if !ok || p == "" || clean == "." {
		return false
	}
	return slices.ContainsFunc(r.sources, func(s source) bool {
		info, err := fs.Stat(s.fsys, clean)
		return err == nil && info.IsDir()
	})
}

// load reads the configuration named p, or returns nil when there is none.
func (r *repository) load(p string) (*configFile, error) {
	if f, ok := r.files[p]; ok {
		return f, nil
	}
	if len(r.files) >= filesMax {
		return nil, problem(Origin{}, "", "more than %d configuration files are needed", filesMax)
	}
	src, file, ok := r.find(p)
	if !ok {
		r.files[p] = nil
		return nil, nil
	}
	name := src.fileName(file)
	data, err := readBounded(src.fsys, file)
	if err != nil {
		return nil, problem(Origin{File: name}, "", "can't be read: %s", reason(err)).is(err)
	}
	f, err := parseFile(name, data)
	if err != nil {
		return nil, err
	}
	r.files[p] = f
	return f, nil
}

// reason is the error without the path, which the message already has.
func reason(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

func readBounded(fsys fs.FS, file string) ([]byte, error) {
	if info, err := fs.Stat(fsys, file); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("not a regular file") // opening a pipe would wait for its writer
	}
	f, err := fsys.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("not a regular file")
	}
	return io.ReadAll(io.LimitReader(f, fileBytesMax+1))
}

// parseFile splits a file into header, defaults list and content.
func parseFile(name string, data []byte) (*configFile, error) {
	content, err := parseYAML(name, data)
	if err != nil {
		return nil, err
	}
	f := &configFile{name: name, content: content}
	if f.header, f.hasHead, err = packageHeader(name, data); err != nil {
		return nil, err
	}
	list := content.fields["defaults"]
	if list == nil {
		return f, nil
	}
	content.remove("defaults")
	f.defaults, err = parseDefaults(list)
	return f, err
}

// packageHeader reads "# @package NAME" from the comments that a file begins
// with. Reading stops at the first line that is not such a comment, as in Hydra.
func packageHeader(name string, data []byte) (pkg string, found bool, err error) {
	const headerBytesMax = 512
	lines := strings.Split(string(data[:min(len(data), headerBytesMax)]), "\n")
	for i, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		body := strings.TrimSpace(line[1:])
		if line[0] != '#' || !strings.HasPrefix(body, "@") {
			break
		}
		words := strings.Fields(body)
		if len(words) != 2 {
			return "", false, problem(Origin{name, i + 1, 1}, "",
				"header %q is not of the form \"# @package NAME\"", line)
		}
		if words[0] == "@package" {
			pkg, found = words[1], true
		}
	}
	return pkg, found, nil
}

// options lists the names that may be chosen for a group, over all sources.
// Options in folders below are named with slashes.
func (r *repository) options(group string) []string {
	seen := map[string]bool{}
	for _, s := range r.sources {
		for _, o := range sourceOptions(s, group) {
			seen[o] = true
		}
	}
	return sortedKeys(seen)
}

// sourceOptions walks one source's folder of a group.
func sourceOptions(s source, group string) []string {
	var out []string
	clean, ok := cleanPath(group)
	if !ok {
		return nil
	}
	_ = fs.WalkDir(s.fsys, clean, func(p string, d fs.DirEntry, err error) error {
		if err != nil || len(out) >= filesMax {
			return fs.SkipDir
		}
		hidden := p != clean && strings.HasPrefix(d.Name(), ".")
		switch {
		case d.IsDir() && (hidden || strings.Count(p, "/") > depthMax):
			return fs.SkipDir
		case !d.IsDir() && !hidden && strings.HasSuffix(p, ".yaml"):
			rel := strings.TrimPrefix(strings.TrimPrefix(p, clean), "/")
			out = append(out, strings.TrimSuffix(rel, ".yaml"))
		}
		return nil
	})
	return out
}

// groups lists the top-level folders of all sources.
func (r *repository) groups() []string {
	seen := map[string]bool{}
	for _, s := range r.sources {
		entries, err := fs.ReadDir(s.fsys, ".")
		if err != nil {
			continue
		}
		for _, e := range entries {
			if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && len(sourceOptions(s, e.Name())) > 0 {
				seen[e.Name()] = true
			}
		}
	}
	return sortedKeys(seen)
}

// Group is a folder of configurations, one of which is chosen.
type Group struct {
	Name    string   `json:"name"`
	Options []Option `json:"options"`
}

// Option is one configuration of a group, and the file that it comes from.
type Option struct {
	Name    string   `json:"name"`
	File    string   `json:"file"`
	Shadows []string `json:"shadows,omitempty"` // files of the same name later in the search path
}

// Groups lists the groups and options found along the search path.
func Groups(opts Options) ([]Group, error) {
	r, err := openRepository(opts)
	if err != nil {
		return nil, err
	}
	var out []Group
	for _, g := range r.groups() {
		group := Group{Name: g}
		for _, o := range r.options(g) {
			group.Options = append(group.Options, r.describe(g, o))
		}
		out = append(out, group)
	}
	return out, nil
}

// describe tells which file a choice by name takes.
func (r *repository) describe(group, option string) Option {
	o := Option{Name: option}
	clean, _ := cleanPath(path.Join(group, withExtension(option)))
	having := r.having(clean)
	if len(having) > 1 && having[0].foreign {
		having[0], having[1] = having[1], having[0]
	}
	for i, s := range having {
		if i == 0 {
			o.File = s.fileName(clean)
		} else {
			o.Shadows = append(o.Shadows, s.fileName(clean))
		}
	}
	return o
}
