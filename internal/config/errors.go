package config

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrMissing is a mandatory value (`???`) that nobody set.
	ErrMissing = errors.New("mandatory value is not set")
	// ErrUndefinedEnv is an environment variable that is used but not set.
	ErrUndefinedEnv = errors.New("environment variable is not set")
	// ErrUnknownKey is a key that nothing reads.
	ErrUnknownKey = errors.New("unknown key")
)

// Origin is where a value was written. Line and Column count from 1; they are 0
// where the source has no lines, as for "command line".
type Origin struct {
	File   string
	Line   int
	Column int
}

func (o Origin) String() string {
	switch {
	case o.Line == 0:
		return o.File
	case o.Column == 0:
		return fmt.Sprintf("%s:%d", o.File, o.Line)
	default:
		return fmt.Sprintf("%s:%d:%d", o.File, o.Line, o.Column)
	}
}

// Error is a problem in the configuration: where, which key, what, and what to
// do. It never contains a secret value.
type Error struct {
	Origin Origin
	Key    string // dotted path, may be empty
	Msg    string
	Advice string
	Err    error // what errors.Is should find, may be nil
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("config: ")
	if at := e.Origin.String(); at != "" {
		b.WriteString(at + ": ")
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Msg)
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Hint says what a person can do about it.
func (e *Error) Hint() string { return e.Advice }

// problem builds an Error.
func problem(at Origin, key, format string, args ...any) *Error {
	return &Error{Origin: at, Key: key, Msg: fmt.Sprintf(format, args...)}
}

// Advise sets the hint.
func (e *Error) Advise(format string, args ...any) *Error {
	e.Advice = fmt.Sprintf(format, args...)
	return e
}

// is sets the sentinel that errors.Is finds.
func (e *Error) is(err error) *Error {
	e.Err = err
	return e
}

// Problems are several errors of one configuration, each on a line of its own.
type Problems []error

func (p Problems) Error() string {
	lines := make([]string, 0, len(p))
	for i, err := range p {
		if i == errorsMax {
			lines = append(lines, fmt.Sprintf("… and %d more", len(p)-i))
			break
		}
		lines = append(lines, err.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.Is and errors.As every problem.
func (p Problems) Unwrap() []error { return p }

// Hint is that of the first problem that has one.
func (p Problems) Hint() string {
	for _, err := range p {
		var h interface{ Hint() string }
		if errors.As(err, &h) && h.Hint() != "" {
			return h.Hint()
		}
	}
	return ""
}

// asError returns nil, the only problem, or all of them.
func (p Problems) asError() error {
	switch len(p) {
	case 0:
		return nil
	case 1:
		return p[0]
	default:
		return p
	}
}

// listed joins names for a message and keeps it short.
func listed(names []string) string {
	const shown = 12
	if len(names) == 0 {
		return "none"
	}
	if len(names) > shown {
		return strings.Join(names[:shown], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}
