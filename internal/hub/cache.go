package hub

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"agent/internal/bounded"
)

// cache is the folder layout that huggingface_hub gave to the world:
//
//	models--OWNER--REPO/blobs/ETAG                content, named by its hash
//	models--OWNER--REPO/snapshots/COMMIT/FILE     -> ../../blobs/ETAG
//	models--OWNER--REPO/refs/REVISION             the commit it was last seen at
//	.locks/models--OWNER--REPO/ETAG.lock          flock while a blob is written
type cache struct {
	dir        string
	noSymlinks bool
}

const (
	repoPrefix = "models--"
	// cacheFilesMax bounds a walk over one repository's snapshots.
	cacheFilesMax = 100_000
	refFileMax    = 256 // bytes
)

// cacheDirTag tells backup programs to skip the folder.
const cacheDirTag = "Signature: 8a477f597d28d172789f06886806bc55\n# This file marks a cache directory; see https://bford.info/cachedir/\n"

func (c cache) repoDir(repo string) string {
	return filepath.Join(c.dir, repoPrefix+strings.ReplaceAll(repo, "/", "--"))
}

func (c cache) blobPath(repo, etag string) string {
	return filepath.Join(c.repoDir(repo), "blobs", etag)
}

func (c cache) lockPath(repo, etag string) string {
	return filepath.Join(c.dir, ".locks", filepath.Base(c.repoDir(repo)), etag+".lock")
}

func (c cache) snapshotPath(repo, commit, file string) string {
	return filepath.Join(c.repoDir(repo), "snapshots", commit, filepath.FromSlash(file))
}

// commitOf tells at which commit a revision was last seen here.
func (c cache) commitOf(repo, revision string) (string, bool) {
	if commitHash.MatchString(revision) {
		return revision, true
	}
	raw, err := bounded.File(filepath.Join(c.repoDir(repo), "refs", filepath.FromSlash(revision)),
		refFileMax)
	commit := strings.TrimSpace(string(raw))
	return commit, err == nil && commitHash.MatchString(commit)
}

// find returns the path of a file that is here.
func (c cache) find(repo, commit, file string) (string, bool) {
	p := c.snapshotPath(repo, commit, file)
	info, err := os.Stat(p)
	return p, err == nil && info.Mode().IsRegular()
}

// files lists what a snapshot holds, with slashes.
func (c cache) files(repo, commit string) []string {
	root := filepath.Join(c.repoDir(repo), "snapshots", commit)
	var out []string
	_ = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || len(out) >= cacheFilesMax {
			return fs.SkipAll
		}
		if rel, err := filepath.Rel(root, p); err == nil && !d.IsDir() {
			if _, ok := c.find(repo, commit, filepath.ToSlash(rel)); ok {
				out = append(out, filepath.ToSlash(rel))
			}
		}
		return nil
	})
	return out
}

// repos lists the repositories that have a folder here.
func (c cache) repos() []string {
	entries, _ := os.ReadDir(c.dir)
	var out []string
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), repoPrefix)
		repo := strings.Replace(name, "--", "/", 1)
		if ok && e.IsDir() && checkRepo(repo) == nil {
			out = append(out, repo)
		}
	}
	return out
}

// commits lists the snapshots of a repository, the one of "main" first.
func (c cache) commits(repo string) []string {
	entries, _ := os.ReadDir(filepath.Join(c.repoDir(repo), "snapshots"))
	var out []string
	for _, e := range entries {
		if e.IsDir() && commitHash.MatchString(e.Name()) {
			out = append(out, e.Name())
		}
	}
	if main, ok := c.commitOf(repo, defaultRevision); ok {
		if i := slices.Index(out, main); i > 0 {
			out[0], out[i] = out[i], out[0]
		}
	}
	return out
}

// snapshots lists where to look for a revision: at the commit it was last seen at, and,
// for what nobody named, at all others, the newest first. A file that is there is found
// without a ref, or when the ref has moved on.
func (c cache) snapshots(repo, revision string) []string {
	var out []string
	if commit, ok := c.commitOf(repo, revision); ok {
		out = append(out, commit)
	}
	if revision != defaultRevision {
		return out
	}
	others := slices.DeleteFunc(c.commits(repo),
		func(commit string) bool { return slices.Contains(out, commit) })
	changed := func(commit string) int64 {
		info, err := os.Stat(c.snapshotPath(repo, commit, ""))
		if err != nil {
			return 0
		}
		return info.ModTime().UnixNano()
	}
	slices.SortStableFunc(others, func(a, b string) int { return cmp.Compare(changed(b), changed(a)) })
	return append(out, others...)
}

// etagOf names the blob that a snapshot's file stands for; "" when it is a
// plain copy.
func (c cache) etagOf(path string) string {
	real, err := filepath.EvalSymlinks(path)
	if err != nil || filepath.Base(filepath.Dir(real)) != "blobs" {
		return c.etagByIdentity(path)
	}
	return filepath.Base(real)
}

// etagByIdentity finds the blob that a hard-linked snapshot file is.
func (c cache) etagByIdentity(path string) string {
	info, err := os.Stat(path)
	rel, relErr := filepath.Rel(c.dir, path)
	if err != nil || relErr != nil {
		return ""
	}
	repoDir, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
	blobs := filepath.Join(c.dir, repoDir, "blobs")
	entries, _ := os.ReadDir(blobs)
	for _, e := range entries {
		if other, err := os.Stat(filepath.Join(blobs, e.Name())); err == nil && os.SameFile(info, other) {
			return e.Name()
		}
	}
	return ""
}

// point makes a snapshot's file stand for a blob: a relative symlink, else a
// hard link, else a copy.
func (c cache) point(repo, commit, file, etag string) (string, error) {
	blob, dst := c.blobPath(repo, etag), c.snapshotPath(repo, commit, file)
	if _, ok := c.find(repo, commit, file); ok {
		return dst, nil
	}
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return "", err
	}
	if err := os.Remove(dst); err != nil && !errors.Is(err, os.ErrNotExist) { // a dangling link
		return "", err
	}
	if !c.noSymlinks {
		target, err := filepath.Rel(filepath.Dir(dst), blob)
		if err == nil && os.Symlink(target, dst) == nil {
			return dst, nil
		}
	}
	if os.Link(blob, dst) == nil {
		return dst, nil
	}
	return dst, copyFile(blob, dst)
}

// writeRef remembers the commit of a branch or tag.
func (c cache) writeRef(repo, revision, commit string) error {
	if revision == commit {
		return nil
	}
	p := filepath.Join(c.repoDir(repo), "refs", filepath.FromSlash(revision))
	if have, err := bounded.File(p, refFileMax); err == nil && string(have) == commit {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return err
	}
	return writeAtomically(p, []byte(commit))
}

// tag marks the cache for backup programs, where that is possible.
func (c cache) tag() {
	p := filepath.Join(c.dir, "CACHEDIR.TAG")
	if _, err := os.Stat(p); errors.Is(err, os.ErrNotExist) {
		_ = os.WriteFile(p, []byte(cacheDirTag), 0o644)
	}
}

// copyFile copies by way of a temporary name, so that a half copy is never
// taken for the file.
func copyFile(src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(filepath.Dir(dst), ".copy-*")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return fmt.Errorf("copy %s: %w", src, err)
	}
	if err := errors.Join(out.Chmod(0o644), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), dst)
}

// writeAtomically replaces a small file in one step.
func writeAtomically(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
