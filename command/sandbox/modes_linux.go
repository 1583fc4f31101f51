package sandbox

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is how much earlier than the clock the time of a file may be.
const clockTick = 20 * time.Millisecond

// dropRoot does it where root is the owner, after a job as root; to look through
// 200,000 files takes about a second.
func dropRoot(j Job, since time.Time) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var problems []error
	for _, dir := range append([]string{j.Dir}, j.Writable...) {
		problems = append(problems, dropOtherOwner(dir, since))
	}
	return errors.Join(problems...)
}

// dropOtherOwner clears the bits that let others act as a file's owner, on each
// file below dir that changed since a job began. The filter keeps a job from
// setting them, but a job can write to a program that has them already, and the
// kernel clears them for a write, not for a write to a mapping.
func dropOtherOwner(dir string, since time.Time) error {
	top, err := os.Open(dir)
	if err != nil {
		return err
	}
	return dropBelow(top, since.Add(-clockTick))
}

func dropBelow(folder *os.File, since time.Time) error {
	defer folder.Close()
	entries, _ := folder.ReadDir(-1) // what can't be read, others can't reach either
	for _, e := range entries {
		switch {
		case e.IsDir():
			fd, err := unix.Openat(int(folder.Fd()), e.Name(),
				unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if err != nil {
				continue
			}
			if err := dropBelow(os.NewFile(uintptr(fd), e.Name()), since); err != nil {
				return err
			}
		case e.Type().IsRegular():
			if err := dropFrom(folder, e.Name(), since); err != nil {
				return fmt.Errorf("take the setuid and setgid bits from %s: %w", legiblePath(e.Name()), err)
			}
		}
	}
	return nil
}

func dropFrom(folder *os.File, name string, since time.Time) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(folder.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil ||
		!actsAsOwner(&st, since) {
		return nil
	}
	fd, err := unix.Openat(int(folder.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &st); err != nil || !actsAsOwner(&st, since) ||
		int(st.Uid) != os.Geteuid() {
		return err // of another user: the job could not change it
	}
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), st.Mode&0o777)
}

func actsAsOwner(st *unix.Stat_t, since time.Time) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&otherOwner != 0 &&
		time.Unix(st.Ctim.Unix()).After(since)
}
