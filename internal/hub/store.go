// Package hub finds models on this machine and fetches those that are not.
//
// A reference is a name of the catalog, a hub id OWNER/REPO[:QUANT] that is in the
// cache, a path, hf://OWNER/REPO[@REV][/FILE], or another hub id, in that order: a
// file in the current folder takes no model's name. Make a [Store] with [New] from
// [ConfigFromEnv], then [Store.Resolve] a reference to the files it means.
//
// Promises: files are shared with huggingface_hub in both directions, because
// the cache has its layout, its locks and its environment variables. What has a
// hash is verified against it before it gets its name. An interrupted download
// goes on where it stopped. What is here is used without a word to the network.
// The token goes to the hub and nowhere else. Names that come from a server or
// a catalog never lead out of the store.
package hub

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Store is the models of this machine and the way to more. It is safe for
// concurrent use, also by several processes.
type Store struct {
	cfg       Config
	cache     cache
	client    *client
	clientErr error // why there is no client; told only when one is needed
}

// New makes a store. It touches neither disk nor network.
func New(cfg Config) *Store {
	cfg = cfg.withDefaults()
	s := &Store{cfg: cfg, cache: cache{dir: cfg.CacheDir, noSymlinks: cfg.NoSymlinks}}
	s.client, s.clientErr = newClient(cfg)
	return s
}

// Source says which part of the store a model is from.
type Source string

// Where a model is from.
const (
	SourcePath    Source = "path"    // a file outside the store
	SourceCatalog Source = "catalog" // a named model, pinned by the catalog
	SourceHub     Source = "hub"     // a repository in the Hugging Face cache
)

// Model is a model that is on this machine.
type Model struct {
	Ref       string   `json:"ref"`    // as it was asked for
	Name      string   `json:"name"`   // for people: a catalog name, OWNER/REPO, or the file's name
	Source    Source   `json:"source"` // which part of the store
	Path      string   `json:"path"`   // the file to load; of a split model the first
	Parts     []string `json:"parts"`  // all files, in order; one unless split
	Bytes     int64    `json:"bytes"`  // of all parts
	Quant     string   `json:"quant,omitempty"`
	Tokenizer string   `json:"tokenizer,omitempty"` // tokenizer.json that came with it; "" when none did
	Repo      string   `json:"repo,omitempty"`      // OWNER/REPO, of a hub model
	Revision  string   `json:"revision,omitempty"`  // its commit
	Others    []string `json:"others,omitempty"`    // quantisations that were there too and not taken
	Entry     *Entry   `json:"-"`                   // of a catalog model
}

// Resolve returns the model that ref names, fetching it when it is not here.
func (s *Store) Resolve(ctx context.Context, ref string) (*Model, error) {
	r, err := s.understand(ref)
	if err != nil {
		return nil, err
	}
	m, err := s.locate(ctx, ref, r)
	if !errors.Is(err, ErrAbsent) {
		return m, err
	}
	return s.fetch(ctx, ref, r)
}

// Locate returns the model that ref names if it is here; else the error is
// [ErrAbsent]. The network is not used.
func (s *Store) Locate(ctx context.Context, ref string) (*Model, error) {
	r, err := s.understand(ref)
	if err != nil {
		return nil, err
	}
	return s.locate(ctx, ref, r)
}

// Pull is Resolve that, unless offline, asks the hub whether a branch has moved
// on.
func (s *Store) Pull(ctx context.Context, ref string) (*Model, error) {
	r, err := s.understand(ref)
	if err != nil {
		return nil, err
	}
	if r.kind != refHub || s.cfg.Offline || commitHash.MatchString(r.hub.revision) {
		if m, err := s.locate(ctx, ref, r); !errors.Is(err, ErrAbsent) {
			return m, err
		}
	}
	return s.fetch(ctx, ref, r)
}

func (s *Store) locate(ctx context.Context, ref string, r reference) (*Model, error) {
	switch r.kind {
	case refPath:
		return s.modelAtPath(ref, r.path)
	case refCatalog:
		return s.locateCatalog(ctx, ref, r.entry)
	default:
		return s.locateHub(ref, r.hub)
	}
}

func (s *Store) fetch(ctx context.Context, ref string, r reference) (*Model, error) {
	if s.cfg.Offline {
		return nil, fail(fmt.Sprintf("model %q", ref), ErrOffline,
			"pull it while online (agent models pull "+ref+"), or unset HF_HUB_OFFLINE",
			"it is not on this machine, and offline mode is on")
	}
	if s.clientErr != nil {
		return nil, s.clientErr
	}
	if r.kind == refCatalog {
		return s.fetchCatalog(ctx, ref, r.entry)
	}
	return s.fetchHub(ctx, ref, r.hub)
}

func absent(ref string) error {
	return fail(fmt.Sprintf("model %q", ref), ErrAbsent, "get it with: agent models pull "+ref,
		"it is not on this machine")
}

// modelAtPath describes a file, or the best model of a folder.
func (s *Store) modelAtPath(ref, path string) (*Model, error) {
	op := fmt.Sprintf("model %q", ref)
	dir, files := filepath.Dir(path), []string{filepath.Base(path)}
	chosen, others := candidate{parts: files}, []candidate(nil)
	if info, err := os.Stat(path); err != nil {
		return nil, &Error{Op: op, Err: err}
	} else if info.IsDir() {
		dir = path
		if files, err = ggufFiles(dir); err != nil {
			return nil, &Error{Op: op, Err: err}
		}
		if chosen, others, err = pick(files, ""); err != nil {
			return nil, fail(op, ErrNotFound, "name the file itself", "the folder %s holds no whole model",
				path)
		}
	} else if parts, err := splitParts(files[0]); err == nil {
		chosen.parts = parts
	}
	m := &Model{Ref: ref, Name: chosen.first(), Source: SourcePath, Others: quantNames(others)}
	if isGGUF(chosen.first()) {
		m.Quant = quantOf(chosen.first())
	}
	for _, part := range chosen.parts {
		m.Parts = append(m.Parts, filepath.Join(dir, part))
	}
	if err := m.measure(op); err != nil {
		return nil, err
	}
	m.Tokenizer = tokenizerBeside(m.Path)
	if len(others) > 0 {
		s.cfg.Note(fmt.Sprintf("%s: taking %s; there are also %s", path, chosen.first(),
			strings.Join(m.Others, ", ")))
	}
	return m, nil
}

// measure sets Path and Bytes from Parts, all of which must be there.
func (m *Model) measure(op string) error {
	m.Bytes = 0
	for i, p := range m.Parts {
		info, err := os.Stat(p)
		if err != nil {
			return fail(op, ErrNotFound, "all parts of a split model must lie in one folder",
				"part %d of %d is missing: %s", i+1, len(m.Parts), p)
		}
		if !info.Mode().IsRegular() {
			return fail(op, ErrNotFound, "name a .gguf file", "%s is not a regular file", p)
		}
		m.Bytes += info.Size()
	}
	m.Path = m.Parts[0]
	return nil
}

// tokenizerBeside finds the tokenizer.json of a model file: one that bears its
// name, else the folder's when no other model could be meant.
func tokenizerBeside(model string) string {
	own := model[:len(model)-len(filepath.Ext(model))] + ".tokenizer.json"
	if isFile(own) {
		return own
	}
	dir := filepath.Dir(model)
	files, err := ggufFiles(dir)
	shared := filepath.Join(dir, tokenizerFile)
	if err == nil && len(candidates(files)) == 1 && isFile(shared) {
		return shared
	}
	return ""
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// Contains reports whether a path lies in the store, and may thus be removed
// by it.
func (s *Store) Contains(path string) bool {
	abs, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(s.roots(), func(root string) bool {
		rel, err := filepath.Rel(root, abs)
		return err == nil && filepath.IsLocal(rel) && rel != "."
	})
}

// roots are the folders that belong to the store.
func (s *Store) roots() []string {
	var out []string
	for _, dir := range append(slices.Clone(s.cfg.ModelDirs), s.cfg.CacheDir) {
		if abs, err := filepath.Abs(dir); err == nil && dir != "" {
			out = append(out, abs)
		}
	}
	return out
}

// stampPath is where it is remembered that a file was verified: always in the
// user's own folder, since what lies beside a model may have come with it. "" is
// nowhere.
func (s *Store) stampPath(path string) string {
	name := s.cacheETag(path)
	if name == "" {
		abs, err := filepath.Abs(path)
		if err != nil {
			return ""
		}
		sum := sha256.Sum256([]byte(abs))
		name = hex.EncodeToString(sum[:])
	}
	if s.cfg.StateDir == "" {
		return ""
	}
	return filepath.Join(s.cfg.StateDir, name+".verified")
}

// cacheETag is the blob's name when path is a file of the shared cache.
func (s *Store) cacheETag(path string) string {
	if rel, err := filepath.Rel(s.cfg.CacheDir, path); err != nil || !filepath.IsLocal(rel) {
		return ""
	}
	return s.cache.etagOf(path)
}
