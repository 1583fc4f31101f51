// Package exit ties errors to the codes with which a program ends.
package exit

import (
	"errors"
	"fmt"
)

// The codes that scripts rely on.
const (
	OK          = 0
	Failed      = 1
	Usage       = 2   // the command line is wrong
	Budget      = 3   // steps, tokens or time are used up
	Refused     = 4   // by a person, a rule or the sandbox
	Backend     = 5   // the model or its server failed
	Unmet       = 6   // the work ended, and what the task asks for is missing
	Interrupted = 130 // as a shell says of Ctrl-C
)

// coded is an error with an exit code.
type coded struct {
	code int
	err  error
}

func (e *coded) Error() string { return e.err.Error() }
func (e *coded) Unwrap() error { return e.err }

// With makes err end the program with code. nil stays nil.
func With(code int, err error) error {
	if err == nil {
		return nil
	}
	return &coded{code, err}
}

// Usagef is an error in how the command line was written.
func Usagef(format string, args ...any) error {
	return With(Usage, fmt.Errorf(format, args...))
}

// ErrInterrupted ends a program that was told to stop.
var ErrInterrupted = With(Interrupted, errors.New("interrupted"))

// Has reports an error that carries a code.
func Has(err error) bool {
	var c *coded
	return errors.As(err, &c)
}

// Code is the exit code that goes with an error.
func Code(err error) int {
	var c *coded
	switch {
	case err == nil:
		return OK
	case errors.As(err, &c):
		return c.code
	}
	return Failed
}

// Shared is the exit code of several failures: the one that all have, or [Failed].
func Shared(failures []error) int {
	code := Code(failures[0])
	for _, err := range failures {
		if Code(err) != code {
			return Failed
		}
	}
	return code
}

// Hint is the advice of an error, "" for none.
func Hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}
