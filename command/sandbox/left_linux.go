package sandbox

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// What a job leaves in its temporary folder is gone with it. The init lists it
// before, since the job, or the model that wrote it, may believe it kept.

// Bounds of that list.
const (
	leftMax        = 10 // files
	leftEntriesMax = 2000
	leftDepthMax   = 4
)

// tmpSocket is the launcher's end of the pair on which it gives away its /tmp,
// which nobody outside of its private root can open by name.
const tmpSocket = 5

// giveTmp sends the open folder to the init.
func giveTmp() {
	defer unix.Close(tmpSocket)
	dir, err := unix.Open("/tmp", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(dir)
	_ = unix.Sendmsg(tmpSocket, []byte{0}, unix.UnixRights(dir), nil, 0)
}

// openTmp is the job's temporary folder, open.
func (o *order) openTmp(socket int) *os.File {
	defer unix.Close(socket)
	if o.Plan.View {
		return takeTmp(socket)
	}
	tmp, err := os.Open(o.Scratch)
	if err != nil {
		return nil
	}
	return tmp
}

// takeTmp receives the open folder, nil if there is none.
func takeTmp(socket int) *os.File {
	space := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), space,
		unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(space[:n])
	if err != nil || len(messages) == 0 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return nil
	}
	return os.NewFile(uintptr(fds[0]), fmt.Sprintf("/proc/self/fd/%d", fds[0]))
}

// left lists the files of a temporary folder as the job calls them, but for those
// of the sandbox and hidden ones, which are caches.
func (o *order) left(tmp *os.File) []string {
	if tmp == nil {
		return nil
	}
	var out []string
	seen := 0
	own := append(slices.Concat(o.Job.Writable, o.readable()), o.Job.Dir, o.Job.Path)
	_ = fs.WalkDir(os.DirFS(tmp.Name()), ".", func(name string, d fs.DirEntry, err error) error {
		full := filepath.Join(o.tmp(), name)
		seen++
		switch {
		case err != nil, seen > leftEntriesMax, len(out) == leftMax:
			return fs.SkipAll
		case name == ".":
			return nil
		case strings.HasPrefix(d.Name(), "."), strings.HasPrefix(d.Name(), "pymp-"),
			slices.Contains(own, full):
			return skipped(d)
		case d.IsDir() && strings.Count(name, "/") >= leftDepthMax:
			return fs.SkipDir
		case d.Type().IsRegular():
			out = append(out, legiblePath(path.Clean(full)))
		}
		return nil
	})
	return out
}

func skipped(d fs.DirEntry) error {
	if d.IsDir() {
		return fs.SkipDir
	}
	return nil
}
