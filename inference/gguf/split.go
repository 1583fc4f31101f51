package gguf

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
)

// partsMax bounds the parts of a split model; the largest published have under 200.
const partsMax = 1000

// partName is what llama.cpp calls the parts of a split model.
var partName = regexp.MustCompile(`^(.+)-(\d{5})-of-(\d{5})\.gguf$`)

// PartPaths lists the parts of the split model that path belongs to, first part
// first, going by the name alone; nil when it is not a part's name.
func PartPaths(path string) []string {
	m := partName.FindStringSubmatch(filepath.Base(path))
	if m == nil {
		return nil
	}
	no, _ := strconv.Atoi(m[2]) // five digits
	n, _ := strconv.Atoi(m[3])
	if n < 1 || n > partsMax || no < 1 || no > n {
		return nil
	}
	paths := make([]string, n)
	for i := range paths {
		paths[i] = filepath.Join(filepath.Dir(path), fmt.Sprintf("%s-%05d-of-%05d.gguf", m[1], i+1, n))
	}
	return paths
}

// parts checks the other parts of a split model and collects all tensors.
func (c *checker) parts() error {
	c.info.Tensors = c.f.Tensors
	count, fault := splitNumber(c.f, "split.count", Uint16)
	if fault != nil {
		return fault.in(c.f.Path)
	}
	if count < 2 {
		return nil
	}
	paths, fault := c.partPaths(count)
	if fault != nil {
		return fault.in(c.f.Path)
	}
	c.info.Files = paths
	for i, path := range paths[1:] {
		if err := c.part(path, i+1, count); err != nil {
			return err
		}
	}
	return c.allParts()
}

// partPaths checks the first part's own numbers against its name.
func (c *checker) partPaths(count int64) ([]string, *fault) {
	no, fault := splitNumber(c.f, "split.no", Uint16)
	if fault != nil {
		return nil, fault
	}
	paths := PartPaths(c.f.Path)
	switch {
	case paths == nil || int64(len(paths)) != count:
		return nil, faultf("give the parts their names back: NAME-00001-of-000NN.gguf",
			"part %d of %d of a split model, but the file is not named so", no+1, count)
	case no != 0:
		return nil, faultf("name the first part instead: "+paths[0], "part %d of %d of a split model",
			no+1, count)
	case filepath.Base(paths[0]) != filepath.Base(c.f.Path):
		return nil, faultf("give the parts their names back",
			"the first part of a split model, named as another")
	}
	paths[0] = c.f.Path
	return paths, nil
}

// part checks one of the other parts.
func (c *checker) part(path string, no int, count int64) error {
	p, err := Open(path)
	if err != nil {
		if _, bad := err.(*Error); bad {
			return err
		}
		return &Error{Path: c.f.Path, Offset: -1,
			What:   fmt.Sprintf("part %d of %d cannot be read: %v", no+1, count, err),
			Advice: "download all parts of the model into one directory"}
	}
	defer p.Close()
	for key, want := range map[string]int64{"split.no": int64(no), "split.count": count} {
		got, fault := splitNumber(p, key, Uint16)
		if fault == nil && (got != want || !p.Has(key)) {
			fault = faultf("download all parts of one model into one directory",
				"%s is %d, and by the file's name it is %d", key, got, want)
		}
		if fault != nil {
			return fault.in(path)
		}
	}
	c.info.FileBytes += p.Size
	c.info.Tensors = append(c.info.Tensors[:len(c.info.Tensors):len(c.info.Tensors)], p.Tensors...)
	return nil
}

// allParts checks that the parts together hold each tensor once.
func (c *checker) allParts() error {
	want, fault := splitNumber(c.f, "split.tensors.count", Int32)
	if fault == nil && want != int64(len(c.info.Tensors)) {
		fault = faultf("download all parts of one model into one directory",
			"the parts hold %d tensors together, and %d are expected", len(c.info.Tensors), want)
	}
	seen := make(map[string]bool, len(c.info.Tensors))
	for _, t := range c.info.Tensors {
		if fault == nil && seen[t.Name] {
			fault = faultf("download all parts of one model into one directory", "tensor %q is in two parts",
				t.Name)
		}
		seen[t.Name] = true
	}
	if fault != nil {
		return fault.in(c.f.Path)
	}
	return nil
}

// splitNumber reads a number about the split; 0 when absent.
func splitNumber(f *File, key string, typ ValueType) (int64, *fault) {
	e := f.entry(key)
	if e == nil {
		return 0, nil
	}
	v, _ := e.int()
	if e.typ != typ || v < 0 {
		return 0, faultf(adviceReconvert, "%s must be a %v, and is %v %s", key, typ, e.typ, e.display())
	}
	return v, nil
}
