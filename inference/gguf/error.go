package gguf

import "fmt"

// Error says what is wrong with a file, where, and what a person can do.
type Error struct {
	Path   string // the file, as it was given
	Offset int64  // byte at which the trouble was found; -1 when it has no place
	What   string // one clause, lowercase
	Advice string // what to do; may be empty
}

func (e *Error) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("check %s: %s", e.Path, e.What)
	}
	return fmt.Sprintf("check %s: %s (at byte %d)", e.Path, e.What, e.Offset)
}

// Hint is the advice; empty when there is none.
func (e *Error) Hint() string { return e.Advice }

// Advice that several checks give.
const (
	adviceDamaged    = "the file is incomplete or damaged; delete it and download it again"
	adviceNotGGUF    = "a model in GGUF format is needed; its first four bytes are GGUF"
	adviceReconvert  = "the file was made by a faulty or very old converter; get a newer GGUF of this model"
	adviceNotLoaded  = "this build of llama.cpp cannot load it; pick another model, or update the program"
	adviceOtherModel = "pick an instruction-tuned text model, for example the default one (agent models list)"
)

// fault is an Error before it knows its file.
type fault struct {
	offset       int64
	what, advice string
}

func (e *fault) in(path string) *Error {
	return &Error{Path: path, Offset: e.offset, What: e.what, Advice: e.advice}
}

// faultf makes a fault without a place.
func faultf(advice, format string, args ...any) *fault {
	return &fault{offset: -1, what: fmt.Sprintf(format, args...), advice: advice}
}
