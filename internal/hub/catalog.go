package hub

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// Catalog is the list of models known by a short name.
type Catalog struct {
	Models []Entry `yaml:"models" json:"models"`
}

// Entry is one model of the catalog. Bytes and SHA256 pin its content whatever
// source it comes from.
type Entry struct {
	Name          string          `yaml:"name" json:"name"`
	Default       bool            `yaml:"default" json:"default,omitempty"`
	Description   string          `yaml:"description" json:"description"`
	File          string          `yaml:"file" json:"file"`
	Bytes         int64           `yaml:"bytes" json:"bytes"`
	SHA256        string          `yaml:"sha256" json:"sha256"`
	License       string          `yaml:"license" json:"license"`
	Params        string          `yaml:"params" json:"params"` // as people say it: "0.5B"
	ContextTokens int             `yaml:"context_tokens" json:"context_tokens"`
	Sources       []CatalogSource `yaml:"sources" json:"sources"`
}

// CatalogSource is one place to have a file from: exactly one field is set.
type CatalogSource struct {
	Hub  *HubSource  `yaml:"hub" json:"hub,omitempty"`
	PyPI *PyPIMember `yaml:"pypi" json:"pypi,omitempty"`
}

// HubSource is a file of a hub repository.
type HubSource struct {
	Repo     string `yaml:"repo" json:"repo"`
	Revision string `yaml:"revision" json:"revision"`
	File     string `yaml:"file" json:"file"`
}

// PyPIMember is a file inside a wheel.
type PyPIMember struct {
	Package string `yaml:"package" json:"package"`
	Version string `yaml:"version" json:"version"`
	Member  string `yaml:"member" json:"member"`
}

// ParseCatalog reads a catalog and refuses one that could not be relied on:
// unknown keys, missing pins, file names that leave the folder.
func ParseCatalog(raw []byte) (*Catalog, error) {
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	var c Catalog
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("model catalog: %w", err)
	}
	seen := map[string]bool{}
	defaults := 0
	for i := range c.Models {
		e := &c.Models[i]
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("model catalog: entry %d (%q): %w", i+1, e.Name, err)
		}
		key := strings.ToLower(e.Name)
		if seen[key] {
			return nil, fmt.Errorf("model catalog: %q is listed twice", e.Name)
		}
		seen[key] = true
		if e.Default {
			defaults++
		}
	}
	if defaults > 1 {
		return nil, fmt.Errorf("model catalog: %d entries are marked default, at most one may be",
			defaults)
	}
	return &c, nil
}

var (
	entryName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	hexSHA256  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	pypiName   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	pypiNumber = regexp.MustCompile(`^[0-9][0-9A-Za-z.!+]*$`)
)

func (e *Entry) check() error {
	switch {
	case !entryName.MatchString(e.Name):
		return errors.New("name must be letters, digits, dots, dashes and underscores")
	case e.File != filepath.Base(e.File) || !isGGUF(e.File) || checkRepoPath(e.File) != nil:
		return fmt.Errorf("file must be a plain name ending in .gguf, not %q", e.File)
	case !hexSHA256.MatchString(e.SHA256):
		return errors.New("sha256 must be 64 lower-case hex digits")
	case e.Bytes <= 0:
		return errors.New("bytes must be the size of the file")
	case len(e.Sources) == 0:
		return errors.New("sources must name at least one place to have it from")
	}
	for i, s := range e.Sources {
		if err := s.check(); err != nil {
			return fmt.Errorf("source %d: %w", i+1, err)
		}
	}
	return nil
}

func (s CatalogSource) check() error {
	if (s.Hub == nil) == (s.PyPI == nil) {
		return errors.New("needs exactly one of hub and pypi")
	}
	if s.Hub != nil {
		if err := checkRepo(s.Hub.Repo); err != nil {
			return err
		}
		if err := checkRevision(s.Hub.Revision); err != nil {
			return err
		}
		return checkRepoPath(s.Hub.File)
	}
	if m := s.PyPI; !pypiName.MatchString(m.Package) || !pypiNumber.MatchString(m.Version) ||
		m.Member == "" {
		return fmt.Errorf("needs package, version and member, not %+v", *m)
	}
	return nil
}

// Find returns the entry of that name, in any letter case.
func (c *Catalog) Find(name string) (*Entry, bool) {
	for i := range c.Models {
		if strings.EqualFold(c.Models[i].Name, name) {
			return &c.Models[i], true
		}
	}
	return nil, false
}

// Default returns the entry that is used when nobody names a model.
func (c *Catalog) Default() (*Entry, bool) {
	for i := range c.Models {
		if c.Models[i].Default {
			return &c.Models[i], true
		}
	}
	return nil, false
}

// Names lists all names in the catalog's order.
func (c *Catalog) Names() []string {
	names := make([]string, len(c.Models))
	for i, e := range c.Models {
		names[i] = e.Name
	}
	return names
}
