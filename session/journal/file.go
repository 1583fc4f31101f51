package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
)

// LogError is a session file that can't be written. What can't be recorded is
// not done: a run that meets it ends.
type LogError struct {
	Path string
	Err  error
}

func (e *LogError) Error() string { return fmt.Sprintf("session file %s: %v", e.Path, e.Err) }
func (e *LogError) Unwrap() error { return e.Err }

// Hint says what a person can do about it.
func (e *LogError) Hint() string {
	return "nothing that changes something runs unrecorded: make room or make the folder writable " +
		"(XDG_STATE_HOME says where it is), or give --no-session to run without a session file"
}

// Writer appends to a session file. A nil *Writer keeps nothing.
type Writer struct {
	File *os.File
	Path string
	told atomic.Bool // that nothing is kept any more

	mu   sync.Mutex // a session delegated to writes to its parents' files too
	size int64      // bytes of whole records
	err  error      // the first failure; nothing is written after it
}

// logNamesMax files may begin with the same id: those of parts of a task that
// were begun again after a run was cut off.
const logNamesMax = 100

// Create starts a session file that only its owner can read.
func Create(dir, id string) (*Writer, error) {
	path := filepath.Join(dir, id+Ext)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, &LogError{path, bare(err)}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	for n := 2; errors.Is(err, os.ErrExist) && n <= logNamesMax; n++ {
		path = filepath.Join(dir, fmt.Sprintf("%s-%d%s", id, n, Ext))
		f, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	}
	if err != nil {
		return nil, &LogError{path, bare(err)}
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, &LogError{path, err}
	}
	syncDir(dir)
	return &Writer{File: f, Path: path}, nil
}

// inUse is the error of a file that another process has locked.
func inUse(path string, err error) error {
	if pid := holder(path); pid > 0 {
		return fmt.Errorf("session file %s: in use by process %d: %w", path, pid, err)
	}
	return fmt.Errorf("session file %s: in use by another process: %w", path, err)
}

// bare is the cause of a path error: our own errors name the path already.
func bare(err error) error {
	if pathError, ok := errors.AsType[*os.PathError](err); ok {
		return pathError.Err
	}
	return err
}

// syncDir makes a new file's name survive a power cut, where a file system can
// do that.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		d.Close()
	}
}

// CheckDir reports whether session files can be kept in dir, before anything
// costly is done for a run. It leaves nothing behind.
func CheckDir(dir string) error {
	there := dir // or the nearest folder above it, in which it can be made
	for st, err := os.Stat(there); ; st, err = os.Stat(there) {
		if err == nil && !st.IsDir() {
			return &LogError{dir, syscall.ENOTDIR}
		}
		if up := filepath.Dir(there); errors.Is(err, os.ErrNotExist) && up != there {
			there = up
			continue
		}
		if err != nil {
			return &LogError{dir, bare(err)}
		}
		break
	}
	f, err := os.CreateTemp(there, ".agent-writable-*")
	if err != nil {
		return &LogError{dir, bare(err)}
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(make([]byte, 4096)); err != nil { // a full disk still has room for names
		return &LogError{dir, bare(err)}
	}
	return nil
}

// Reopen reads a session file and goes on writing after its last whole
// record. It is locked first: what is read is what is continued.
func Reopen(path string) (*Writer, *Saved, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, nil, &LogError{path, bare(err)}
	}
	w, old, err := continueLog(f, path)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return w, old, nil
}

func continueLog(f *os.File, path string) (*Writer, *Saved, error) {
	if err := lockFile(f); err != nil {
		return nil, nil, inUse(path, err)
	}
	found, err := scan(f)
	if err != nil {
		return nil, nil, &LogError{path, bare(err)}
	}
	old, err := replay(path, found)
	if err != nil {
		return nil, nil, err
	}
	w := &Writer{File: f, Path: path, size: found.keep}
	if err := f.Truncate(found.keep); err != nil {
		return nil, nil, &LogError{path, bare(err)}
	}
	if found.open {
		if err := w.write([]byte{'\n'}); err != nil {
			return nil, nil, err
		}
	}
	return w, old, nil
}

// Append writes one value as one record.
func (w *Writer) Append(v any) error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	line, err := frame(v)
	if err != nil {
		w.err = &LogError{w.Path, err}
		return w.err
	}
	return w.write(line)
}

// write appends bytes, all or none where the file system lets it.
func (w *Writer) write(data []byte) error {
	if _, err := w.File.Write(data); err != nil {
		w.err = &LogError{w.Path, bare(err)}
		_ = w.File.Truncate(w.size) // a reader skips the torn rest if this fails too
		return w.err
	}
	w.size += int64(len(data))
	return nil
}

// Sync makes what was written survive a power cut too. It also tells of an
// earlier failure.
func (w *Writer) Sync() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if err := w.File.Sync(); err != nil {
		w.err = &LogError{w.Path, bare(err)}
	}
	return w.err
}

// TellFailure reports, once, that nothing is kept any more.
func (w *Writer) TellFailure() bool { return w.told.CompareAndSwap(false, true) }

// Failure is why nothing can be written any more.
func (w *Writer) Failure() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Close gives the file back.
func (w *Writer) Close() error {
	if w == nil {
		return nil
	}
	return w.File.Close()
}
