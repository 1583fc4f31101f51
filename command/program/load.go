package program

import (
	"context"
	"errors"
)

// item is a file's contents on their way to be a program.
type item struct {
	file   string
	code   []byte
	python bool

	program *Program
	err     error // what is wrong with the file
}

// load turns items into programs, or finds what is wrong with each. An error
// concerns this system, not the files: they can be tried again.
func (r *runner) load(ctx context.Context, items []*item) error {
	for _, it := range items {
		header, err := r.headerOf(ctx, it)
		if err != nil {
			return err
		}
		if it.err != nil {
			continue
		}
		d, err := parseHeader(it.file, header)
		if err != nil {
			it.err = err
			continue
		}
		it.program = &Program{definition: d, file: it.file, code: it.code, python: it.python, runner: r}
	}
	return r.checkSyntax(ctx, items)
}

// headerOf finds an item's header, or sets its error.
func (r *runner) headerOf(ctx context.Context, it *item) (string, error) {
	if it.python {
		text, ok := docstring(it.code)
		if !ok {
			it.err = &FileError{
				File: it.file, Line: 1,
				Err: errors.New(
					"it has no header: a text in triple quotes at its start that gives name, description and fields"),
				Advice: "docs/commands.md has a complete example; a file whose name begins with _ is passed over",
			}
		}
		return text, nil
	}
	out, err := r.describe(ctx, it.file, it.code)
	if err == nil {
		return validText(out), nil
	}
	if isSystemError(ctx, err) {
		return "", err
	}
	it.err = &FileError{File: it.file, Err: err,
		Advice: "an executable in commands/ must answer --describe with JSON that gives name, " +
			"description and fields"}
	return "", nil
}

// isSystemError reports an error that keeps every program from running, not just
// one.
func isSystemError(ctx context.Context, err error) bool {
	var refused interface{ Refused() bool }
	return ctx.Err() != nil || errors.As(err, &refused) && refused.Refused()
}

// checkSyntax lets Python parse the items that are Python and have no error yet.
func (r *runner) checkSyntax(ctx context.Context, items []*item) error {
	var sources []source
	var of []*item
	for _, it := range items {
		if it.python && it.err == nil {
			sources = append(sources, source{Name: it.file, Code: validText(it.code)})
			of = append(of, it)
		}
	}
	verdicts, err := r.check(ctx, sources)
	if broke, ok := errors.AsType[*parserError](err); ok {
		verdicts, err = []verdict{{Line: 1, Error: broke.Error()}}, nil
	}
	if err != nil {
		return err
	}
	for i, v := range verdicts {
		if v.Error != "" {
			of[i].program = nil
			of[i].err = &FileError{File: of[i].file, Line: v.Line, Err: errors.New(v.Error)}
		}
	}
	return nil
}
