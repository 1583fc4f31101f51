package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// repositoryName is what git looks for in every folder up from the current one.
const repositoryName = ".git"

// Bounds of the search. Beyond them it does not end silently: a job is refused,
// or its result is an error.
const (
	searchEntriesMax = 1_000_000 // before a job, files and folders
	searchDepthMax   = 256       // folders within each other, each of which is open meanwhile
)

// survey is what a search found.
type survey struct {
	found  []repository     // one within another comes after it
	unseen map[string]error // what it could not look into, though a job might
	byPath map[string]repository
}

// search looks for repositories in a work dir and below it, and follows no
// links. With most it looks at no more entries than that. After a job, before
// is what was there before it: only what is new is found then, and folders that
// the job closed are opened.
func search(ctx context.Context, dir string, most int, before *survey) (*survey, error) {
	s := &searcher{ctx: ctx, most: most, before: before, names: newGuardedNames(),
		survey: survey{unseen: map[string]error{}, byPath: map[string]repository{}}}
	if before != nil && before.unseen["."] != nil {
		return &s.survey, nil // what was in there before nobody knows
	}
	top, err := openTop(dir)
	if errors.Is(err, fs.ErrPermission) && before != nil && os.Chmod(dir, 0o700) == nil {
		top, err = openTop(dir) // the job had closed it
	}
	if errors.Is(err, fs.ErrPermission) {
		s.unseen["."] = err
		return &s.survey, nil
	}
	if err != nil {
		return nil, fmt.Errorf("search %s for repositories: %w", dir, err)
	}
	defer top.Close()
	if s.root, err = os.OpenRoot(dir); err != nil {
		return nil, err
	}
	defer s.root.Close()
	if err := s.folder(top, ".", 0); err != nil && err != errTooMany {
		return nil, err
	}
	return &s.survey, nil
}

// errTooMany ends a search.
var errTooMany = errors.New("too many entries")

// problems says what could not be looked into.
func (s *survey) problems() []string {
	const namedMax = 3
	var out []string
	for _, name := range slices.Sorted(maps.Keys(s.unseen)) {
		if len(out) == namedMax {
			return append(out, fmt.Sprintf("and %d more", len(s.unseen)-namedMax))
		}
		text := s.unseen[name].Error()
		if name != "." {
			text = legiblePath(name) + ": " + text
		}
		out = append(out, text)
	}
	return out
}

// paths are where the repositories are, byte for byte.
func (s *survey) paths() [][]byte {
	var out [][]byte
	for _, r := range s.found {
		out = append(out, []byte(r.path))
	}
	return out
}

// knows reports a repository that was found, and one that was found elsewhere.
func (s *survey) knows(r repository) (here, moved bool) {
	if old, ok := s.byPath[r.path]; ok && old.same(r) {
		return true, false
	}
	return false, slices.ContainsFunc(s.found, r.same)
}

// searcher is one search.
type searcher struct {
	ctx     context.Context
	root    *os.Root // the work dir
	most    int
	before  *survey
	names   guardedNames
	entries int
	survey
}

// folder looks through an open folder and those below it. An error ends the
// search.
func (s *searcher) folder(f *os.File, name string, depth int) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	has, err := s.read(f, name)
	if err != nil {
		return err
	}
	if has.bare() && !s.keep(name, has.head) {
		return nil
	}
	for _, named := range has.named {
		if !s.keep(path.Join(name, named.Name()), "") || !named.IsDir() {
			continue
		}
		if err := s.enter(f, name, named.Name(), depth+1); err != nil {
			return err
		}
	}
	for _, folder := range has.folders {
		if err := s.enter(f, name, folder, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// contents is what matters of a folder's entries.
type contents struct {
	named   []fs.DirEntry // guarded by their names
	folders []string      // the others
	// What a repository of any name has: the last is in one that has the two
	// before it in another folder.
	head                  string
	objects, refs, common bool
}

// read reads a folder's entries, some at a time: there may be very many.
func (s *searcher) read(f *os.File, name string) (contents, error) {
	const atOnce = 1024
	var has contents
	for {
		entries, err := f.ReadDir(atOnce)
		for _, e := range entries {
			if s.names.holds(name, e.Name()) {
				has.named = append(has.named, e)
				continue
			}
			if e.IsDir() {
				has.folders = append(has.folders, e.Name())
			}
			has.addPart(e.Name(), e.IsDir())
		}
		s.entries += len(entries)
		switch {
		case s.most > 0 && s.entries > s.most:
			s.unseen["."] = fmt.Errorf("it has more than %d files and folders", s.most)
			return has, errTooMany
		// its end, or another job took it away
		case errors.Is(err, io.EOF), errors.Is(err, fs.ErrNotExist):
			return has, nil
		case err != nil:
			s.unseen[name] = reason(err)
			return has, nil
		}
	}
}

// addPart notes an entry that a repository has. Case does not count, since some
// disks make no difference.
func (c *contents) addPart(name string, isDir bool) {
	switch {
	case strings.EqualFold(name, "HEAD") && !isDir:
		c.head = name
	case strings.EqualFold(name, "objects"):
		c.objects = true
	case strings.EqualFold(name, "refs"):
		c.refs = true
	case strings.EqualFold(name, "commondir") && !isDir:
		c.common = true
	}
}

// bare reports what git takes for a repository whatever the folder's name.
func (c *contents) bare() bool { return c.head != "" && (c.objects && c.refs || c.common) }

// keep keeps a repository and reports whether to look for others in it: in
// one that a job made, but not in one that is read-only as a whole.
func (s *searcher) keep(name, head string) (enter bool) {
	r, err := s.describe(name, head)
	if errors.Is(err, fs.ErrNotExist) {
		return false // another job took it away
	}
	if err != nil {
		s.unseen[name] = reason(err)
		return false
	}
	here, moved := false, false
	if s.before != nil {
		here, moved = s.before.knows(r)
	}
	if !here {
		s.found = append(s.found, r)
		s.byPath[r.path] = r
	}
	if s.before == nil && r.link != "" {
		s.keepTarget(r)
	}
	return s.before != nil && !here && !moved
}

// keepTarget keeps what a link stands for, where that lies in the work dir too:
// it is as good as the link.
func (s *searcher) keepTarget(r repository) {
	base, err := filepath.EvalSymlinks(s.root.Name())
	if err != nil {
		return
	}
	real, err := filepath.EvalSymlinks(filepath.Join(base, filepath.FromSlash(r.path)))
	if err != nil {
		return
	}
	rel, err := filepath.Rel(base, real)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return
	}
	target, err := s.describe(filepath.ToSlash(rel), "")
	if _, known := s.byPath[target.path]; err == nil && !known {
		s.found = append(s.found, target)
		s.byPath[target.path] = target
	}
}

func (s *searcher) describe(name, head string) (repository, error) {
	r := repository{path: name, head: head}
	var err error
	if r.info, err = s.root.Lstat(name); err == nil && r.info.Mode()&fs.ModeSymlink != 0 {
		r.link, err = s.root.Readlink(name)
	}
	return r, err
}

// enter looks through a folder of a folder.
func (s *searcher) enter(parent *os.File, parentName, child string, depth int) error {
	name := path.Join(parentName, child)
	if s.before != nil && s.before.unseen[name] != nil {
		return nil // what was in there before nobody knows
	}
	if depth > searchDepthMax {
		s.unseen[name] = fmt.Errorf("it is nested more than %d folders deep", searchDepthMax)
		return nil
	}
	f, err := openFolder(parent, child)
	if errors.Is(err, fs.ErrPermission) && s.before != nil && s.root.Chmod(name, 0o700) == nil {
		f, err = openFolder(parent, child) // the job had closed it
	}
	if err != nil {
		if withinReach(parent, child) {
			s.unseen[name] = reason(err)
		}
		return nil
	}
	defer f.Close()
	return s.folder(f, name, depth)
}

// reason is an error without the path, which is said before it.
func reason(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	return err
}
