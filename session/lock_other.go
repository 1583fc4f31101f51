//go:build !unix && !windows

package session

import (
	"errors"
	"os"
)

// lockFile refuses where there are no locks: two processes that write one
// session spoil it.
func lockFile(*os.File) error { return errors.ErrUnsupported }
