//go:build unix

package sandbox

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openTop opens a work dir.
func openTop(dir string) (*os.File, error) { return openAt(unix.AT_FDCWD, dir, dir, 0) }

// openFolder opens a folder of a folder, and follows no link.
func openFolder(parent *os.File, name string) (*os.File, error) {
	return openAt(int(parent.Fd()), name, filepath.Join(parent.Name(), name), unix.O_NOFOLLOW)
}

// openAt fails with a lack of permission also where the names in a folder could
// be read but nothing be reached.
func openAt(parent int, name, shown string, flags int) (*os.File, error) {
	fd, err := -1, error(unix.EINTR)
	for err == unix.EINTR {
		fd, err = unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|flags, 0)
	}
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(fd, ".", &st, 0); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), shown), nil
}

// withinReach reports whether a job could come into a folder that could not be
// opened. It has the rights of this process: so not into one of another user
// who lets nobody in, but into its own, which it can open up.
func withinReach(parent *os.File, name string) bool {
	var st unix.Stat_t
	err := unix.Fstatat(int(parent.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case err == unix.ENOENT, err == unix.EACCES:
		return false // gone, or a mount of another user
	case err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return false // no longer a folder
	case err == nil && int(st.Uid) == os.Geteuid():
		return true
	}
	return unix.Fstatat(int(parent.Fd()), name+"/.", &st, 0) != unix.EACCES
}
