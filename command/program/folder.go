package program

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"agent/internal/bounded"
)

// Bounds of a folder of commands.
const (
	filesMax           = 100
	entriesMax         = 2000     // looked at to find them
	pythonBytesMax     = 1 << 20  // of a Python file
	executableBytesMax = 32 << 20 // of any other
	setBytesMax        = 256 << 20
)

// Folder is a place where command files lie.
type Folder struct {
	// Path is the folder itself. It need not exist.
	Path string
	// Inside is set for the commands of a project: the folder that has to be
	// trusted, which Path may not leave by a link. Empty for the user's own.
	Inside string
}

// open opens the folder; every file is reached through the root it returns,
// which no link leaves. nil without an error means that there is no folder.
func (f Folder) open() (*os.Root, error) {
	root, err := f.openRoot()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	return root, err
}

func (f Folder) openRoot() (*os.Root, error) {
	if f.Inside == "" {
		return os.OpenRoot(f.Path)
	}
	relative, err := filepath.Rel(f.Inside, f.Path)
	if err != nil {
		return nil, err
	}
	outer, err := os.OpenRoot(f.Inside)
	if err != nil {
		return nil, err
	}
	defer outer.Close()
	return outer.OpenRoot(relative)
}

// candidate is a file that may be a command.
type candidate struct {
	path   string // as told to people
	name   string // in its folder
	folder int
	state  fileState
	err    error // it can't be one
}

// fileState is what tells that a file may have changed.
type fileState struct {
	size     int64
	modified time.Time
	mode     fs.FileMode
}

func (c candidate) python() bool { return strings.HasSuffix(c.name, ".py") }

// candidates lists the files of a folder that may be commands, by name: Python
// files and executables. Hidden files, files that begin with _ and folders are
// skipped.
func candidates(root *os.Root, path string) ([]candidate, error) {
	entries, err := bounded.Folder(root, ".", entriesMax)
	if err != nil {
		return nil, err
	}
	var out []candidate
	for _, e := range entries {
		if name := e.Name(); e.IsDir() || name[0] == '.' || name[0] == '_' {
			continue
		}
		if c, ok := look(root, path, e.Name()); ok {
			out = append(out, c)
		}
	}
	if len(out) > filesMax {
		for i := range out[filesMax:] {
			out[filesMax+i].err = fmt.Errorf("more than %d command files are in this folder", filesMax)
		}
		out = out[:filesMax+1] // one error says it for all
	}
	return out, nil
}

// look inspects a file without opening it.
func look(root *os.Root, path, name string) (candidate, bool) {
	c := candidate{path: filepath.Join(path, name), name: name}
	info, err := root.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, false // it went away, or is a link to nothing, as editors make for locks
	case err != nil:
		c.err = fmt.Errorf("not read: %w", linkReason(err))
		return c, true
	case info.IsDir():
		return c, false
	case !info.Mode().IsRegular():
		c.err = errors.New("it is no regular file")
		return c, c.python()
	}
	c.state = fileState{info.Size(), info.ModTime(), info.Mode()}
	return c, c.python() || info.Mode().Perm()&0o111 != 0
}

// linkReason explains a link that leads out of the folder.
func linkReason(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	if strings.Contains(err.Error(), "escapes") {
		return errors.New("it is a link that leads out of its folder")
	}
	return err
}

// readFile reads a candidate. It may have been replaced since it was inspected: a
// pipe does not block.
func readFile(root *os.Root, c candidate) ([]byte, error) {
	max := int64(executableBytesMax)
	if c.python() {
		max = pythonBytesMax
	}
	data, err := bounded.Within(root, c.name, max)
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("not read: %w", linkReason(err))
	}
	return data, err
}

// hashOf identifies the contents of a file.
func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// withoutFolder removes the private folder of a copy from a traceback.
func withoutFolder(text, dir string) string {
	return strings.ReplaceAll(text, dir+string(filepath.Separator), "")
}
