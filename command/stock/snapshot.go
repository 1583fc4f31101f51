package stock

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"agent/internal/legible"
)

// snapshotFilesMax bounds how many files are compared before and after a command.
const snapshotFilesMax = 20_000

// snapshot records the files of a work dir, to tell what a command changed.
type snapshot struct {
	files   map[string]fileState
	partial bool // there are more files than were looked at
}

type fileState struct {
	size     int64
	modified time.Time
}

// takeSnapshot walks the work dir. It follows no links and skips the folders of
// version control and package managers.
func takeSnapshot(root *os.Root) snapshot {
	s := snapshot{files: map[string]fileState{}}
	_ = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // not readable: nothing to say about it
		case d.IsDir():
			if base := path.Base(name); name != "." &&
				(base == ".git" || base == "__pycache__" || base == "node_modules") {
				return fs.SkipDir
			}
			return nil
		case len(s.files) >= snapshotFilesMax:
			s.partial = true
			return fs.SkipAll
		}
		if info, err := d.Info(); err == nil {
			s.files[name] = fileState{info.Size(), info.ModTime()}
		}
		return nil
	})
	return s
}

// changes is the difference of two snapshots, sorted by name.
type changes struct {
	Created, Changed, Removed []string
	Partial                   int // files compared when there were more, else 0
}

func (s snapshot) to(after snapshot) changes {
	var c changes
	for name, state := range after.files {
		before, ok := s.files[name]
		switch {
		case !ok:
			c.Created = append(c.Created, name)
		case before != state:
			c.Changed = append(c.Changed, name)
		}
	}
	for name := range s.files {
		if _, ok := after.files[name]; !ok {
			c.Removed = append(c.Removed, name)
		}
	}
	if s.partial || after.partial {
		c.Partial = snapshotFilesMax
		c.Created, c.Removed = nil, nil // a file not seen before may just not have been looked at
	}
	slices.Sort(c.Created)
	slices.Sort(c.Changed)
	slices.Sort(c.Removed)
	return c
}

// outside drops changes in a folder of the agent's own, which may be inside a
// work dir as large as a home.
func (c changes) outside(workDir, folder string) changes {
	relative, err := filepath.Rel(workDir, folder)
	if folder == "" || err != nil || !filepath.IsLocal(relative) {
		return c
	}
	prefix := filepath.ToSlash(relative) + "/"
	within := func(name string) bool { return strings.HasPrefix(name, prefix) }
	c.Created = slices.DeleteFunc(c.Created, within)
	c.Changed = slices.DeleteFunc(c.Changed, within)
	c.Removed = slices.DeleteFunc(c.Removed, within)
	return c
}

func (c changes) any() bool { return len(c.Created)+len(c.Changed)+len(c.Removed) > 0 }

// files are the created and changed ones.
func (c changes) files() []string { return slices.Concat(c.Created, c.Changed) }

// listed shortens a list of names for a model.
func listed(names []string) []string {
	const namesMax = 15
	if len(names) <= namesMax {
		return names
	}
	return append(slices.Clone(names[:namesMax]), legible.Count(len(names)-namesMax, "more file"))
}
