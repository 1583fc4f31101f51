package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
)

// A repository's hooks and configuration run programs, later and outside of
// every sandbox, when a person types a git command. So those in the work dir
// are read-only for a job, and one that a job made is put out of use.

// repositoryName is what git looks for in every folder up from the current one.
const repositoryName = ".git"

// walkEntriesMax bounds the search for repositories in a huge work dir; what
// lies beyond is not looked at.
const walkEntriesMax = 50_000

// repository is a folder, or a file that points to one, named .git.
type repository struct {
	path string // slash-separated, relative to the work dir
	info fs.FileInfo
}

type repositories []repository

// findRepositories looks for repositories in a work dir and below it. It
// follows no links.
func findRepositories(dir string) repositories {
	var out repositories
	seen := 0
	_ = fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if seen++; seen > walkEntriesMax {
			return fs.SkipAll
		}
		switch {
		case err != nil:
			return nil // not readable for the job either
		case d.Name() == repositoryName:
			if info, err := d.Info(); err == nil {
				out = append(out, repository{name, info})
			}
			if d.IsDir() {
				return fs.SkipDir
			}
		case d.IsDir() && d.Name() == "node_modules":
			return fs.SkipDir // many, and nobody works in there
		}
		return nil
	})
	return out
}

func (rs repositories) paths() []string {
	var out []string
	for _, r := range rs {
		out = append(out, r.path)
	}
	return out
}

// setAsideNew renames repositories that were not there before, and returns
// their new names.
func (rs repositories) setAsideNew(dir string) ([]string, error) {
	var out []string
	for _, r := range findRepositories(dir) {
		known := slices.ContainsFunc(rs, func(old repository) bool { return old.path == r.path && os.SameFile(old.info, r.info) })
		if known {
			continue
		}
		name, err := setAside(dir, r.path)
		if err != nil {
			return out, fmt.Errorf("put the repository %s out of use: %w", r.path, err)
		}
		out = append(out, name)
	}
	return out, nil
}

// setAside renames a repository so that git no longer finds it. No link leads
// it out of the work dir.
func setAside(dir, name string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	const namesMax = 1000
	for i := range namesMax {
		to := path.Join(path.Dir(name), fmt.Sprintf("git-set-aside-%d", i+1))
		if _, err := root.Lstat(to); err == nil {
			continue
		}
		if err := root.Rename(name, to); err == nil {
			return to, nil
		}
		// The job may have taken away the right to write in the folder.
		return to, errors.Join(root.Chmod(path.Dir(name), 0o700), root.Rename(name, to))
	}
	return "", fmt.Errorf("set aside %s: too many were already", name)
}
