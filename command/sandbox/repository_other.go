//go:build !unix

package sandbox

import (
	"os"
	"path/filepath"
)

// openTop opens a work dir.
func openTop(dir string) (*os.File, error) { return os.Open(dir) }

// openFolder opens a folder of a folder. Links are no folders to those who read
// the names.
func openFolder(parent *os.File, name string) (*os.File, error) {
	return os.Open(filepath.Join(parent.Name(), name))
}

// withinReach reports whether a job could come into a folder that could not be
// opened; rights say little here.
func withinReach(parent *os.File, name string) bool {
	info, err := os.Lstat(filepath.Join(parent.Name(), name))
	return err == nil && info.IsDir()
}
