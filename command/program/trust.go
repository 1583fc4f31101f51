package program

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"agent/internal/bounded"
)

// Trust remembers which folders' commands a person allows to run, in a file of
// the user's that no project can write. A trusted folder stays trusted as it
// grows. Only a file that wants the network or metadata needs trust for its exact
// content: it could carry data out of this machine, and the agent itself may have
// written it.
//
// The zero value trusts nothing and keeps nothing.
type Trust struct {
	path string

	mu      sync.Mutex
	granted map[string]map[string]bool // for this process alone
}

// trustFile is the form on disk.
type trustFile struct {
	Version int                     `json:"version"`
	Folders map[string]trustedFiles `json:"folders"` // by canonical path
}

type trustedFiles struct {
	// hash to name, of files that want more than the folder's trust gives
	Files map[string]string `json:"files"`
}

const (
	trustVersion  = 1
	trustBytesMax = 4 << 20
)

// OpenTrust reads and keeps trust in the file at path, which need not exist.
func OpenTrust(path string) *Trust { return &Trust{path: path} }

// Trusted reports whether the commands of a folder may run.
func (t *Trust) Trusted(folder string) (bool, error) {
	real, err := canonical(folder)
	if err != nil {
		return false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.granted[real] != nil {
		return true, nil
	}
	kept, err := t.read()
	_, ok := kept.Folders[real]
	return ok, err
}

// Holds reports whether a file with this hash may have what it wants beyond the
// trust of its folder.
func (t *Trust) Holds(folder, hash string) bool {
	real, err := canonical(folder)
	if err != nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.granted[real][hash] {
		return true
	}
	kept, err := t.read()
	if err != nil {
		return false
	}
	_, ok := kept.Folders[real].Files[hash]
	return ok
}

// Add trusts a folder with the files it has now, in this process and, unless
// once is set, for good.
func (t *Trust) Add(folder string, files []FoundFile, once bool) error {
	real, err := canonical(folder)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if once {
		if t.granted == nil {
			t.granted = map[string]map[string]bool{}
		}
		t.granted[real] = map[string]bool{}
		for _, f := range files {
			t.granted[real][f.Hash] = true
		}
		return nil
	}
	kept, err := t.read()
	if err != nil {
		return err
	}
	entry := trustedFiles{Files: map[string]string{}}
	for _, f := range files {
		entry.Files[f.Hash] = f.Name
	}
	kept.Folders[real] = entry
	return t.write(kept)
}

// AddFile trusts one more file of a folder for good.
func (t *Trust) AddFile(folder string, file FoundFile) error {
	real, err := canonical(folder)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	kept, err := t.read()
	if err != nil {
		return err
	}
	entry := kept.Folders[real]
	if entry.Files == nil {
		entry.Files = map[string]string{}
	}
	entry.Files[file.Hash] = file.Name
	kept.Folders[real] = entry
	return t.write(kept)
}

// Remove takes trust back. It reports whether there was any.
func (t *Trust) Remove(folder string) (bool, error) {
	real, err := canonical(folder)
	if errors.Is(err, fs.ErrNotExist) { // it is gone, its trust may be there
		real, err = filepath.Abs(folder)
	}
	if err != nil {
		return false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	kept, err := t.read()
	if err != nil {
		return false, err
	}
	if _, ok := kept.Folders[real]; !ok {
		return false, nil
	}
	delete(kept.Folders, real)
	return true, t.write(kept)
}

// List names the folders trusted for good.
func (t *Trust) List() ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept, err := t.read()
	return slices.Sorted(maps.Keys(kept.Folders)), err
}

// read reads the file. One that can't be read trusts nothing.
func (t *Trust) read() (trustFile, error) {
	none := trustFile{Version: trustVersion, Folders: map[string]trustedFiles{}}
	if t.path == "" {
		return none, nil
	}
	data, err := bounded.File(t.path, trustBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("trusted folders: %w", err)
	}
	kept := none
	if err := json.Unmarshal(data, &kept); err != nil || kept.Version != trustVersion {
		return none, &trustFileError{t.path}
	}
	if kept.Folders == nil {
		kept.Folders = none.Folders
	}
	return kept, nil
}

// trustFileError is a file of trusted folders that can't be read.
type trustFileError struct{ path string }

func (e *trustFileError) Error() string {
	return fmt.Sprintf(
		"trusted folders: %s is damaged or of another version, so that no project's commands are trusted",
		e.path)
}

// Hint says what a person can do about it.
func (e *trustFileError) Hint() string { return "remove that file, and trust folders anew" }

// write replaces the file in one step.
func (t *Trust) write(kept trustFile) error {
	if t.path == "" {
		return errors.New("trusted folders: there is no place to keep them")
	}
	data, err := json.MarshalIndent(kept, "", "  ")
	if err != nil {
		return fmt.Errorf("trusted folders: %w", err)
	}
	dir := filepath.Dir(t.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("trusted folders: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("trusted folders: %w", err)
	}
	defer root.Close()
	if err := replaceFile(root, filepath.Base(t.path), append(data, '\n')); err != nil {
		return fmt.Errorf("trusted folders: %w", err)
	}
	return nil
}

// canonical is the one path under which a folder is known.
func canonical(folder string) (string, error) {
	abs, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}
