//go:build unix

package hub

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// freeBytes is how much an ordinary user may still write in dir; negative when
// that can't be told.
func freeBytes(dir string) int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return -1
	}
	return int64(st.Bavail) * int64(st.Bsize)
}

// isDiskFull recognises a full disk, an exhausted quota and a file size limit.
func isDiskFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

// changeTime is when a file was changed, as the system noted it.
func changeTime(path string) string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return ""
	}
	return fmt.Sprintf("%d.%09d", st.Ctim.Sec, st.Ctim.Nsec)
}

func isReadOnly(err error) bool { return errors.Is(err, unix.EROFS) }

// isUnreachable recognises a machine without a way to the network.
func isUnreachable(err error) bool {
	return errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH)
}
