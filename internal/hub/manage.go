package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// State says how much of a model is here.
type State string

// The states of a listed model.
const (
	StatePresent State = "present"
	StatePartial State = "partial" // an interrupted download can go on
	StateAbsent  State = "absent"
)

// Item is one line of what there is: every catalog entry, and every model of
// the shared cache and the model folders.
type Item struct {
	Name          string `json:"name"` // what to write for --model
	Source        Source `json:"source"`
	State         State  `json:"state"`
	Verified      bool   `json:"verified"`        // its hash was checked, and it has not changed since
	Bytes         int64  `json:"bytes"`           // of the whole model
	HaveBytes     int64  `json:"have_bytes"`      // of it on this disk
	Path          string `json:"path,omitempty"`  // the first file, when present
	Parts         int    `json:"parts,omitempty"` // files of a split model
	Quant         string `json:"quant,omitempty"`
	Default       bool   `json:"default,omitempty"`
	License       string `json:"license,omitempty"`
	Params        string `json:"params,omitempty"`
	ContextTokens int    `json:"context_tokens,omitempty"`
	Description   string `json:"description,omitempty"`
}

// List returns the catalog first, then what else is here.
func (s *Store) List() []Item {
	listed := map[string]bool{}
	var out []Item
	for i := range s.cfg.Catalog.Models {
		item := s.catalogItem(&s.cfg.Catalog.Models[i])
		listed[item.Path] = true
		out = append(out, item)
	}
	for _, item := range append(s.folderItems(), s.cacheItems()...) {
		if !listed[item.Path] {
			listed[item.Path] = true
			out = append(out, item)
		}
	}
	return out
}

func (s *Store) catalogItem(e *Entry) Item {
	item := Item{
		Name: e.Name, Source: SourceCatalog, State: StateAbsent, Bytes: e.Bytes, Quant: quantOf(e.File),
		Default: e.Default,
		License: e.License, Params: e.Params, ContextTokens: e.ContextTokens,
		Description: strings.TrimSpace(e.Description),
	}
	for _, dir := range s.cfg.ModelDirs {
		path := filepath.Join(dir, e.File)
		if isFile(path) {
			return s.present(item, path, e.SHA256)
		}
		if n := fileBytes(path + partialSuffix); n > 0 && item.State == StateAbsent {
			item.State, item.HaveBytes = StatePartial, n
		}
	}
	if path, ok := s.catalogInCache(e); ok {
		return s.present(item, path, e.SHA256)
	}
	return item
}

func (s *Store) present(item Item, path, sha256Hex string) Item {
	item.State, item.Path, item.HaveBytes = StatePresent, path, fileBytes(path)
	item.Verified = s.stamped(path, sha256Hex)
	return item
}

// folderItems lists models that a person put into the model folders.
func (s *Store) folderItems() []Item {
	var out []Item
	for _, dir := range s.cfg.ModelDirs {
		files, _ := ggufFiles(dir)
		for _, c := range candidates(files) {
			item := Item{Name: filepath.Join(dir, c.first()), Source: SourcePath,
				State: StatePresent, Quant: quantOf(c.first()), Parts: len(c.parts)}
			item.addParts(dir, c.parts)
			out = append(out, item)
		}
	}
	return out
}

func (it *Item) addParts(dir string, parts []string) {
	it.Path = filepath.Join(dir, filepath.FromSlash(parts[0]))
	for _, p := range parts {
		it.Bytes += fileBytes(filepath.Join(dir, filepath.FromSlash(p)))
	}
	it.HaveBytes = it.Bytes
}

// cacheItems lists the models of the shared cache, of every snapshot; a file
// that did not change between snapshots is listed once.
func (s *Store) cacheItems() []Item {
	var out []Item
	seen := map[string]bool{}
	for _, repo := range s.cache.repos() {
		for _, commit := range s.cache.commits(repo) {
			root := s.cache.snapshotPath(repo, commit, "")
			for _, c := range candidates(s.cache.files(repo, commit)) {
				path := s.cache.snapshotPath(repo, commit, c.first())
				etag := s.cache.etagOf(path)
				if key := repo + etag; etag != "" && seen[key] {
					continue
				} else {
					seen[key] = true
				}
				item := Item{Name: "hf://" + repo + s.revisionSuffix(repo, commit) + "/" + c.first(),
					Source: SourceHub, State: StatePresent,
					Quant: quantOf(c.first()), Parts: len(c.parts), Verified: s.stamped(path, etag)}
				item.addParts(root, c.parts)
				out = append(out, item)
			}
		}
	}
	return out
}

// revisionSuffix is "" for the snapshot that a plain reference means.
func (s *Store) revisionSuffix(repo, commit string) string {
	if main, ok := s.cache.commitOf(repo, defaultRevision); ok && main == commit {
		return ""
	}
	return "@" + commit
}

// Check is the result of hashing one file again.
type Check struct {
	Name      string `json:"name"`
	Path      string `json:"path"`
	Algorithm string `json:"algorithm"`
	Want      string `json:"want,omitempty"` // "" when nothing is promised of this file
	Got       string `json:"got"`
	OK        bool   `json:"ok"` // true also when nothing is promised
}

// Verify hashes a model's files again and compares them with what was promised
// of them: by the catalog's pin, or by the name of the blob.
func (s *Store) Verify(ctx context.Context, ref string) ([]Check, error) {
	paths, pin, err := s.filesToVerify(ctx, ref)
	if err != nil {
		return nil, err
	}
	var out []Check
	for _, path := range paths {
		want := digest{algoSHA256, pin}
		if pin == "" {
			want = digestOf(s.cacheETag(path))
		}
		got, _, err := s.hashFile(ctx, path, want)
		if err != nil {
			return out, &Error{Op: "verify " + path, Err: err}
		}
		if isGGUF(path) {
			if what := notGGUF(headOf(path)); what != "" {
				return out, &Error{Op: "verify " + path, Err: errors.New("it is " + what), Reason: ErrNotFound,
					Advice: "remove it, and pull the model again"}
			}
		}
		c := Check{Name: ref, Path: path, Algorithm: cmp.Or(want.algorithm, algoSHA256), Want: want.hex,
			Got: got, OK: want.hex == "" || got == want.hex}
		switch {
		case !c.OK:
			_ = os.Remove(s.stampPath(path))
		case want.algorithm == algoSHA256 && want.hex != "":
			s.stamp(path, got)
		}
		out = append(out, c)
	}
	return out, nil
}

// headOf is the beginning of a file, empty when it can't be read.
func headOf(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	head := make([]byte, headBytes)
	n, _ := io.ReadFull(f, head)
	return head[:n]
}

// filesToVerify finds a model's files without judging them, so that a damaged
// catalog model can be looked at too.
func (s *Store) filesToVerify(ctx context.Context, ref string,
) (paths []string, pin string, err error) {
	m, err := s.Locate(ctx, ref)
	var bad *HashError
	if errors.As(err, &bad) && bad.KeptAtPath != "" {
		return []string{bad.KeptAtPath}, bad.Want, nil
	}
	if err != nil {
		return nil, "", err
	}
	paths = slices.Clone(m.Parts)
	if m.Source == SourceHub && m.Tokenizer != "" {
		paths = append(paths, m.Tokenizer)
	}
	if m.Entry != nil {
		return paths, m.Entry.SHA256, nil
	}
	for _, e := range s.cfg.Catalog.Models { // a catalog model named by its path
		if s.Contains(m.Path) && filepath.Base(m.Path) == e.File {
			return paths, e.SHA256, nil
		}
	}
	return paths, "", nil
}

// Removal is what removing a model would delete; nothing is done before Do.
type Removal struct {
	Ref   string   `json:"ref"`
	Files []string `json:"files"`
	Bytes int64    `json:"bytes"` // freed on the disk
	prune []string // folders to remove when they are empty
}

// PlanRemoval finds what belongs to a model inside the store, an interrupted
// download included. Files outside the store are refused.
func (s *Store) PlanRemoval(ref string) (*Removal, error) {
	r, err := s.understand(ref)
	if err != nil {
		return nil, err
	}
	plan := &Removal{Ref: ref}
	switch r.kind {
	case refPath:
		err = s.planPath(plan, r.path)
	case refCatalog:
		s.planCatalog(plan, r.entry)
	case refHub:
		s.planHub(plan, r.hub)
	}
	if err != nil {
		return nil, err
	}
	if len(plan.Files) == 0 {
		return nil, fail(fmt.Sprintf("remove %q", ref), ErrAbsent, "agent models list shows what is here",
			"it is not on this machine")
	}
	return plan, nil
}

// Do deletes the planned files.
func (r *Removal) Do() error {
	for _, f := range r.Files {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return &Error{Op: "remove " + r.Ref, Err: err, Advice: "check the permissions of the folder"}
		}
	}
	for _, dir := range r.prune {
		removeEmpty(dir)
	}
	return nil
}

func (r *Removal) add(path string) {
	info, err := os.Lstat(path)
	if err != nil || slices.Contains(r.Files, path) {
		return
	}
	r.Files = append(r.Files, path)
	if info.Mode().IsRegular() {
		r.Bytes += info.Size()
	}
}

func (s *Store) planPath(plan *Removal, path string) error {
	abs, err := filepath.Abs(path)
	if err != nil || !s.Contains(abs) || isDir(abs) {
		return fail("remove "+path, nil, "delete it yourself, or name a model of `agent models list`",
			"it is not a model of the store")
	}
	if rel, err := filepath.Rel(s.cfg.CacheDir, abs); err == nil && filepath.IsLocal(rel) {
		return s.planCachePath(plan, rel)
	}
	parts, err := splitParts(filepath.Base(abs))
	if err != nil {
		parts = []string{filepath.Base(abs)}
	}
	for _, p := range parts {
		s.planFile(plan, filepath.Join(filepath.Dir(abs), p))
	}
	return nil
}

// planCachePath takes a path of the form models--O--R/snapshots/COMMIT/FILE.
func (s *Store) planCachePath(plan *Removal, rel string) error {
	parts := strings.SplitN(filepath.ToSlash(rel), "/", 4)
	if len(parts) == 4 && parts[1] == "snapshots" && commitHash.MatchString(parts[2]) &&
		isGGUF(parts[3]) {
		repo := strings.Replace(strings.TrimPrefix(parts[0], repoPrefix), "--", "/", 1)
		if checkRepo(repo) == nil {
			s.planHub(plan, hubRef{repo: repo, revision: parts[2], file: parts[3]})
			return nil
		}
	}
	return fail("remove "+rel, nil, "name the model as `agent models list` does",
		"it is not a model file of the cache")
}

func (s *Store) planCatalog(plan *Removal, e *Entry) {
	for _, dir := range s.cfg.ModelDirs {
		s.planFile(plan, filepath.Join(dir, e.File))
	}
	for _, src := range e.Sources {
		if src.Hub == nil {
			continue
		}
		if path, ok := s.catalogInCache(e); ok {
			rel, err := filepath.Rel(s.cfg.CacheDir, path)
			if err == nil {
				_ = s.planCachePath(plan, rel)
			}
		}
	}
}

// planFile takes a file of a model folder with what belongs to it.
func (s *Store) planFile(plan *Removal, path string) {
	stamp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".verified")
	for _, p := range []string{path, path + partialSuffix, stamp} {
		plan.add(p)
	}
}

// planHub takes the model files that match in every snapshot, or in the named
// one, and the blobs that nothing else stands for.
func (s *Store) planHub(plan *Removal, h hubRef) {
	commits := s.cache.commits(h.repo)
	if h.revision != defaultRevision {
		commits = nil
		if c, ok := s.cache.commitOf(h.repo, h.revision); ok {
			commits = []string{c}
		}
	}
	for _, commit := range commits {
		files := s.cache.files(h.repo, commit)
		all := candidates(files)
		if h.quant != "" || h.file != "" {
			c, _, err := chooseFile(files, h)
			if all = nil; err == nil {
				all = []candidate{c}
			}
		}
		for _, c := range all {
			for _, p := range c.parts {
				plan.add(s.cache.snapshotPath(h.repo, commit, p))
			}
		}
	}
	s.planBlobs(plan, h)
	root := s.cache.repoDir(h.repo)
	plan.prune = append(plan.prune, filepath.Join(root, "snapshots"), filepath.Join(root, "blobs"))
}

// planBlobs takes the blobs whose every snapshot file is to be removed, and
// partial downloads when the whole repository is meant.
func (s *Store) planBlobs(plan *Removal, h hubRef) {
	users := map[string]int{} // blob -> snapshot files that stay
	for _, commit := range s.cache.commits(h.repo) {
		for _, f := range s.cache.files(h.repo, commit) {
			path := s.cache.snapshotPath(h.repo, commit, f)
			etag := s.cache.etagOf(path)
			if !slices.Contains(plan.Files, path) {
				users[etag]++
			} else if _, ok := users[etag]; !ok {
				users[etag] = 0
			}
		}
	}
	for etag, n := range users {
		if n == 0 && etag != "" {
			plan.add(s.cache.blobPath(h.repo, etag))
			plan.add(filepath.Join(s.cfg.StateDir, etag+".verified"))
		}
	}
	if h.file == "" && h.quant == "" {
		partials, _ := filepath.Glob(filepath.Join(s.cache.repoDir(h.repo), "blobs", "*"+partialSuffix))
		for _, p := range partials {
			plan.add(p)
		}
	}
}

// removeEmpty removes a folder and those in it that hold no file.
func removeEmpty(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() {
			removeEmpty(filepath.Join(dir, e.Name()))
		}
	}
	_ = os.Remove(dir) // fails unless empty, which is the point
}

// fileBytes is a file's size, 0 when it is not there.
func fileBytes(path string) int64 {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
