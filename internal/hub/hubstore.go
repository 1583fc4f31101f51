package hub

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"agent/internal/near"
)

const tokenizerFile = "tokenizer.json"

var errNoGGUF = errors.New("there is no GGUF file in it")

// locateHub finds a repository's model in the shared cache.
func (s *Store) locateHub(ref string, h hubRef) (*Model, error) {
	for i, commit := range s.cache.snapshots(h.repo, h.revision) {
		chosen, others, err := chooseFile(s.cache.files(h.repo, commit), h)
		if err != nil {
			continue
		}
		if i > 0 {
			s.cfg.Note(fmt.Sprintf("%s: taking %s of an earlier revision, %s", h.repo, chosen.first(),
				commit))
		}
		if h.quant != "" && chosen.standsIn(h.quant) {
			s.cfg.Note(fmt.Sprintf("%s: taking %s, which is here, for %s", h.repo, chosen.first(), h.quant))
		}
		return s.hubModel(ref, h, commit, chosen, others)
	}
	return nil, absent(ref)
}

// chooseFile picks what is wanted of a repository's files.
func chooseFile(files []string, h hubRef) (candidate, []candidate, error) {
	if h.file == "" {
		return pick(files, h.quant)
	}
	parts, err := splitParts(h.file)
	if err != nil {
		return candidate{}, nil, err
	}
	for _, p := range parts {
		if !slices.Contains(files, p) {
			return candidate{}, nil, fmt.Errorf("there is no %s", p)
		}
	}
	return candidate{parts: parts, quant: quantOf(h.file)}, nil, nil
}

// hubModel describes a model whose files are all in the cache.
func (s *Store) hubModel(ref string, h hubRef, commit string, chosen candidate, others []candidate,
) (*Model, error) {
	m := &Model{Ref: ref, Name: h.repo, Source: SourceHub, Quant: chosen.quant, Repo: h.repo,
		Revision: commit, Others: quantNames(others)}
	for _, part := range chosen.parts {
		path, ok := s.cache.find(h.repo, commit, part)
		if !ok {
			return nil, absent(ref)
		}
		m.Parts = append(m.Parts, path)
	}
	if err := m.measure(fmt.Sprintf("model %q", ref)); err != nil {
		return nil, err
	}
	if path, ok := s.cache.find(h.repo, commit, tokenizerFile); ok {
		m.Tokenizer = path
	}
	return m, nil
}

// fetchHub brings a repository's model into the shared cache.
func (s *Store) fetchHub(ctx context.Context, ref string, h hubRef) (*Model, error) {
	list, err := s.client.list(ctx, h.repo, h.revision)
	if err != nil {
		return nil, err
	}
	chosen, others, err := chooseFile(list.paths(), h)
	if err != nil {
		return nil, s.choiceFailed(h, list, err)
	}
	if len(others) > 0 && h.quant == "" {
		names := quantNames(append([]candidate{chosen}, others...))
		s.cfg.Note(fmt.Sprintf("%s: taking %s; there are also %s (write %s:QUANT to choose)",
			h.repo, names[0], strings.Join(names[1:], ", "), h.repo))
	}
	if err := s.fetchFiles(ctx, h.repo, list, chosen.parts); err != nil {
		return nil, err
	}
	if err := s.cache.writeRef(h.repo, h.revision, list.commit); err != nil {
		return nil, writeFailure(h.repo, s.cache.repoDir(h.repo), err)
	}
	return s.hubModel(ref, h, list.commit, chosen, others)
}

// choiceFailed explains that a repository has not what was asked for.
func (s *Store) choiceFailed(h hubRef, list listing, err error) error {
	op := "pull " + h.String()
	var quants *Error
	switch {
	case errors.As(err, &quants):
		if lost := missingPart(matching(list.paths(), h.quant)); lost != "" {
			return fail(op, ErrNotFound, quants.Advice, "the repository lacks %s, which %s needs", lost,
				h.quant)
		}
		quants.Op = op
		return quants
	case errors.Is(err, errNoGGUF) && piecesOf(list.paths()) != "":
		pieces := piecesOf(list.paths())
		return fail(op, ErrNotFound, "fetch them and put them together in order (cat "+pieces+"* > model.gguf), then give the path",
			"its GGUF is cut into pieces that are no models by themselves, such as %s", pieces)
	case errors.Is(err, errNoGGUF) && missingPart(list.paths()) != "":
		return fail(op, ErrNotFound, "ask its owner, or choose another repository",
			"the repository lacks %s, which its model needs", missingPart(list.paths()))
	case errors.Is(err, errNoGGUF) && slices.ContainsFunc(list.paths(), isGGUF):
		name := list.paths()[slices.IndexFunc(list.paths(), isGGUF)]
		return fail(op, ErrNotFound, fmt.Sprintf("write hf://%s/%s to take it even so", h.repo, name),
			"it holds only what belongs to another model, such as %s", name)
	case errors.Is(err, errNoGGUF):
		advice := fmt.Sprintf("look for a repository named like %s-GGUF, which holds the same model in the form needed here", h.repo)
		return fail(op, ErrNotFound, advice, "no GGUF in this repository%s", whatElse(list))
	}
	var names []string
	for _, c := range candidates(list.paths()) {
		names = append(names, c.first())
	}
	advice := "it holds no GGUF file at all"
	if near := near.Name(h.file, names); near != "" {
		advice = "did you mean " + near + "?"
	} else if len(names) > 0 {
		advice = "it holds: " + strings.Join(names[:min(len(names), 20)], ", ")
	}
	return fail(op, ErrNotFound, advice, "%w in %s", err, h.repo)
}

func whatElse(list listing) string {
	for _, kind := range []string{".safetensors", ".bin", ".onnx"} {
		for _, p := range list.paths() {
			if strings.HasSuffix(p, kind) {
				return " (its weights are " + kind + " files)"
			}
		}
	}
	return ""
}

// fetchFiles brings all parts, and tokenizer.json if there is one. Whether all
// will fit on the disk is seen before the first begins.
func (s *Store) fetchFiles(ctx context.Context, repo string, list listing, parts []string) error {
	wanted := slices.Clone(parts)
	if slices.Contains(list.paths(), tokenizerFile) {
		wanted = append(wanted, tokenizerFile)
	}
	var missingBytes int64
	for _, f := range list.files {
		if _, here := s.cache.find(repo, list.commit, f.path); slices.Contains(wanted, f.path) && !here {
			missingBytes += max(0, f.size-s.partialBytes(repo, f))
		}
	}
	dir := existingParent(s.cache.dir)
	if err := checkSpace(repo, dir, missingBytes); err != nil {
		return err
	}
	for _, file := range wanted {
		if err := s.fetchFile(ctx, repo, list.commit, file); err != nil {
			return err
		}
	}
	return nil
}

// partialBytes is what of a file is on the disk already.
func (s *Store) partialBytes(repo string, f repoFile) int64 {
	if f.sha256 == "" {
		return 0
	}
	blob := s.cache.blobPath(repo, f.sha256)
	return max(fileBytes(blob), fileBytes(blob+partialSuffix))
}

// fetchFile brings one file into the shared cache, as huggingface_hub does.
func (s *Store) fetchFile(ctx context.Context, repo, commit, file string) error {
	if _, ok := s.cache.find(repo, commit, file); ok {
		return nil
	}
	have, err := s.client.stat(ctx, repo, commit, file)
	if err != nil {
		return err
	}
	t := target{name: displayName(file), final: s.cache.blobPath(repo, have.etag), size: have.size,
		digest: digestOf(have.etag)}
	return s.withLock(ctx, s.cache.lockPath(repo, have.etag), t.name, func() error {
		if !isFile(t.final) {
			if err := s.obtain(ctx, t, s.receive(s.client, t,
				s.client.fileURL(repo, commit, file))); err != nil {
				return err
			}
			s.cache.tag()
		}
		path, err := s.cache.point(repo, commit, file, have.etag)
		if err != nil {
			return writeFailure(t.name, path, err)
		}
		if t.digest.algorithm == algoSHA256 {
			s.stamp(path, t.digest.hex)
		}
		return nil
	})
}

func existingParent(dir string) string {
	for !isDir(dir) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	return dir
}
