package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// enterView gives this process a root of its own: an empty one in memory, with
// the readable paths bound read-only, the work dir bound writable, and private
// /tmp, /dev and /proc. The real root is gone afterwards.
func (o *order) enterView() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	v := view{root: o.Scratch}
	v.tmpfs("/", "size=4m,mode=0755")
	v.tmpfs("/tmp", tmpMemory().options(o.Job.Limits))
	for _, path := range o.readable() {
		v.show(path)
	}
	v.tmpfs("/dev", "size=64k,nr_inodes=64,mode=0755")
	for _, path := range devices() {
		v.bind(path)
	}
	v.tmpfs("/dev/shm", shmMemory().options(o.Job.Limits))
	v.proc()
	for _, path := range append(slices.Clone(o.Job.Writable), o.Job.Dir) {
		v.bind(path)
		v.restrict(path, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	}
	for _, path := range o.Protect {
		v.protect(o.Job.Dir, string(path))
	}
	if v.err != nil {
		return v.err
	}
	return v.pivot()
}

// inMemory is the share of a job's memory that a folder in memory may use.
type inMemory struct {
	bytesMax, share int64
}

const fileMemory = 4 << 10 // that a file takes at most beside its content

func tmpMemory() inMemory { return inMemory{256 << 20, 8} }
func shmMemory() inMemory { return inMemory{64 << 20, 16} }

func (m inMemory) bytes(l Limits) int64 { return min(m.bytesMax, l.MemoryBytes/m.share) }

// options of its mount. Each file counts, an empty one too.
func (m inMemory) options(l Limits) string {
	return fmt.Sprintf("size=%d,nr_inodes=%d,mode=1777", m.bytes(l), max(m.bytes(l)/fileMemory/4, 256))
}

// view builds a root step by step; the first error stops it.
type view struct {
	root string
	err  error
}

func (v *view) try(what, path string, err error) {
	if err != nil && v.err == nil {
		v.err = fmt.Errorf("%s %s: %w", what, path, err)
	}
}

func (v *view) tmpfs(path, options string) {
	if v.err != nil {
		return
	}
	target := filepath.Join(v.root, path)
	v.try("make", path, os.MkdirAll(target, 0o755))
	v.try("mount", path, unix.Mount("tmpfs", target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options))
}

// show makes a path readable. Links of the system, such as /lib, stay links.
func (v *view) show(path string) {
	if link, err := os.Readlink(path); err == nil {
		target := filepath.Join(v.root, path)
		if _, err := os.Lstat(target); err == nil || v.err != nil {
			return
		}
		v.try("make", path, os.MkdirAll(filepath.Dir(target), 0o755))
		v.try("link", path, os.Symlink(link, target))
		return
	}
	v.bind(path)
	v.restrict(path, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
}

// bind shows a file or folder of the real root at the same path.
func (v *view) bind(path string) {
	if v.err != nil {
		return
	}
	info, err := os.Stat(path)
	if err != nil {
		v.try("bind", path, err)
		return
	}
	target := filepath.Join(v.root, path)
	if info.IsDir() {
		v.try("make", path, os.MkdirAll(target, 0o755))
	} else if !exists(target) {
		v.try("make", path, os.MkdirAll(filepath.Dir(target), 0o755))
		v.try("make", path, os.WriteFile(target, nil, 0o644))
	}
	v.try("bind", path, unix.Mount(path, target, "", unix.MS_BIND|unix.MS_REC, ""))
}

// restrict sets attributes of a mount and everything mounted below it.
func (v *view) restrict(path string, attributes uint64) {
	if v.err != nil {
		return
	}
	attr := &unix.MountAttr{Attr_set: attributes}
	v.try("protect", path, unix.MountSetattr(unix.AT_FDCWD, filepath.Join(v.root, path),
		unix.AT_RECURSIVE, attr))
}

// protect makes a file or folder within a writable folder read-only. Another job
// may be writing there, so the path is resolved once, no link is followed, and
// the mount covers exactly what was found.
func (v *view) protect(dir, path string) {
	if v.err != nil {
		return
	}
	err := protectBelow(filepath.Join(v.root, dir), path)
	switch err {
	case unix.ENOENT, unix.ELOOP: // gone, or a link, which can only be replaced
		err = nil
	case unix.EACCES: // in another user's folder, into which the job can't come either
		err = nil
	}
	v.try("protect", path, err)
}

func protectBelow(dir, path string) error {
	base, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(base)
	target, err := unix.Openat2(base, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return err
	}
	defer unix.Close(target)
	tree, err := unix.OpenTree(target, "",
		unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attr); err != nil {
		return err
	}
	return unix.MoveMount(tree, "", target, "",
		unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// proc shows the job's own processes. Containers may forbid it; most programs do
// not need it.
func (v *view) proc() {
	target := filepath.Join(v.root, "proc")
	v.try("make", "/proc", os.MkdirAll(target, 0o555))
	_ = unix.Mount("proc", target, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

// sealProc makes /proc read-only: its files belong to root, which this process
// may be without any privilege, and some change the whole machine.
func sealProc() error {
	if entries, err := os.ReadDir("/proc"); err != nil || len(entries) == 0 {
		return nil // not mounted
	}
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	return unix.MountSetattr(unix.AT_FDCWD, "/proc", unix.AT_RECURSIVE, attr)
}

// pivot switches to the new root and releases the old one.
func (v *view) pivot() error {
	if err := os.Chdir(v.root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave old root: %w", err)
	}
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", 0, attr); err != nil {
		return fmt.Errorf("protect root: %w", err)
	}
	return os.Chdir("/")
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil || !os.IsNotExist(err) && !strings.Contains(err.Error(), "not a directory")
}
