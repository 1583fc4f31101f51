//go:build unix

package inference

import (
	"io/fs"
	"os"
	"syscall"
)

// ownedAlone reports that a file is this user's and that nobody else may write to it.
func ownedAlone(st fs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(sys.Uid) == os.Geteuid() && st.Mode().Perm()&0o022 == 0
}
