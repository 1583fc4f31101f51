//go:build unix

package journal

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockFile keeps two processes from appending to one session; the kernel
// gives the lock back when the process ends, however it ends.
func lockFile(f *os.File) error {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}
