package program

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"agent/command"
)

// CheckFile reads one file as [Set.Refresh] would, wherever it lies, and
// registers nothing. Its error says what is wrong with it.
func (s *Set) CheckFile(ctx context.Context, path string) (*Program, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, &FileError{File: path, Err: err}
	}
	defer root.Close()
	c, is := look(root, filepath.Dir(path), filepath.Base(path))
	if !is || c.err != nil {
		return nil, &FileError{File: path, Err: whyNot(root, c),
			Advice: "a command is a file that ends in .py, or one that may be executed (chmod +x)"}
	}
	code, err := readFile(root, c)
	if err != nil {
		return nil, &FileError{File: path, Err: err}
	}
	it := &item{file: path, code: code, python: c.python()}
	if err := s.runner.load(ctx, []*item{it}); err != nil {
		return nil, err
	}
	if it.err != nil {
		return nil, it.err
	}
	own := ""
	if r, ok := s.records[path]; ok && r.installed != nil {
		own = r.installed.spec.Name
	}
	if err := s.conflict(it.program.spec, own); err != nil {
		return it.program, &FileError{File: path, Err: err, Advice: "give it another name"}
	}
	return it.program, nil
}

// whyNot is why a path is no command file.
func whyNot(root *os.Root, c candidate) error {
	if c.err != nil {
		return c.err
	}
	info, err := root.Stat(c.name)
	switch {
	case err != nil:
		return linkReason(err)
	case info.IsDir():
		return errors.New("it is a folder")
	}
	return errors.New("it may not be executed")
}

// Example is the call that the header of a program gives; nil without one.
func (p *Program) Example() *command.Call {
	if p.example == nil {
		return nil
	}
	return &command.Call{Command: p.spec.Name, Summary: "example",
		Content: []map[string]any{p.example}}
}
