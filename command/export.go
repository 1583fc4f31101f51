package command

import "context"

// What commands outside of this package share with those inside.

// Interpreter is a Python of this system and what it needs to read.
type Interpreter struct {
	Executable string   // absolute path
	Paths      []string // of its library and packages
}

// FindPython looks for a Python interpreter, as the python command does. It
// starts processes: callers keep what it found.
func FindPython(ctx context.Context) (*Interpreter, error) {
	found, err := findPython(ctx, "")
	if err != nil {
		return nil, err
	}
	return &Interpreter{Executable: found.Executable, Paths: found.Paths}, nil
}

// OrDefaults fills the zero fields from [DefaultLimits].
func (l Limits) OrDefaults() Limits { return l.orDefaults() }

// CleanCode takes off what models put around code: fences, and an indentation
// common to all lines.
func CleanCode(code string) string { return cleanCode(code) }
