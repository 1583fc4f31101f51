package journal

import (
	"os"

	"golang.org/x/sys/windows"
)

// lockFile keeps two processes from appending to one session. Windows keeps
// readers out of what is locked, so that is one byte far behind any text.
func lockFile(f *os.File) error {
	const exclusive = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	return windows.LockFileEx(windows.Handle(f.Fd()), exclusive, 0, 1, 0,
		&windows.Overlapped{OffsetHigh: 1 << 30})
}
