package hub

import (
	"errors"
	"fmt"
)

// Reasons that callers tell apart with errors.Is.
var (
	// ErrAbsent: the model is not on this machine (and was not to be fetched).
	ErrAbsent = errors.New("not on this machine")
	// ErrOffline: it would have to be fetched, and offline mode is on.
	ErrOffline = errors.New("offline mode is on")
	// ErrNotFound: no such name, repository, revision or file.
	ErrNotFound = errors.New("not found")
	// ErrAccess: it exists, but needs a token or accepted terms.
	ErrAccess = errors.New("access denied")
	// ErrNoSpace: the disk is full, or would be.
	ErrNoSpace = errors.New("not enough disk space")
	// ErrUnavailable: the hub can't be reached or does not answer properly.
	ErrUnavailable = errors.New("hub unavailable")
)

// Error is a failed operation with advice for a person. Reason, when set, is
// one of the sentinels of this package.
type Error struct {
	Op     string // "pull NAME", "resolve REF"
	Err    error
	Reason error
	Advice string
}

func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap gives the cause and the sentinel, for errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	if e.Reason == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.Reason}
}

// Hint says what a person can do about it; empty when there is no advice.
func (e *Error) Hint() string { return e.Advice }

// fail builds an Error of a message.
func fail(op string, reason error, advice, format string, args ...any) error {
	return &Error{Op: op, Err: fmt.Errorf(format, args...), Reason: reason, Advice: advice}
}

// HashError reports content that is not what was promised. The bad content has
// been deleted, unless Kept says otherwise.
type HashError struct {
	Name       string // the file
	Algorithm  string // "sha256" or "git-sha1"
	Want, Got  string // hex
	Bytes      int64  // size of what was found
	WantBytes  int64  // size promised; negative when unknown
	KeptAtPath string // where the bad file still is; empty when deleted
}

func (e *HashError) Error() string {
	msg := fmt.Sprintf("%s has %s %s, expected %s", e.Name, e.Algorithm, e.Got, e.Want)
	if e.WantBytes >= 0 && e.Bytes != e.WantBytes {
		msg += fmt.Sprintf(" (%d bytes, expected %d)", e.Bytes, e.WantBytes)
	}
	return msg
}

// Hint says what a person can do about it.
func (e *HashError) Hint() string {
	if e.KeptAtPath != "" {
		return "the file was changed after it was downloaded; remove it and pull it again: " +
			e.KeptAtPath
	}
	return "the source serves other content than the pinned one; nothing was kept; try again, or check HF_ENDPOINT and proxies"
}
