package program

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"agent/internal/bounded"
)

// Every command that the agent makes is kept with its earlier versions, as
// .history/NAME/0001.py and so on, the newest being the one in force.
const (
	historyName = ".history"
	versionsMax = 9999
)

// save puts a command in force and into its history.
func save(folder, name string, code []byte) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("save command: %w", err)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return fmt.Errorf("save command: %w", err)
	}
	defer root.Close()
	if err := addVersion(root, name, code); err != nil {
		return fmt.Errorf("save command: history: %w", err)
	}
	if err := replaceFile(root, name+".py", code); err != nil {
		return fmt.Errorf("save command: %w", err)
	}
	return nil
}

// addVersion adds a version to the history, unless it is the newest already.
func addVersion(root *os.Root, name string, code []byte) error {
	dir := filepath.Join(historyName, name)
	if err := root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	versions, err := versionsOf(root, name)
	if err != nil {
		return err
	}
	next := 1
	if n := len(versions); n > 0 {
		next = versions[n-1] + 1
		if newest, err := readFile(root, candidate{name: versionPath(name, versions[n-1])}); err == nil &&
			bytes.Equal(newest, code) {
			return nil
		}
	}
	if next > versionsMax {
		return fmt.Errorf("%s has %d versions; clear its folder %s", name, versionsMax, dir)
	}
	f, err := root.OpenFile(versionPath(name, next), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(code)
	return errors.Join(err, f.Sync(), f.Close())
}

func versionPath(name string, n int) string {
	return filepath.Join(historyName, name, fmt.Sprintf("%04d.py", n))
}

// versionsOf lists the versions of a command, oldest first.
func versionsOf(root *os.Root, name string) ([]int, error) {
	entries, err := bounded.Folder(root, filepath.Join(historyName, name), versionsMax+1)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var versions []int
	for _, e := range entries {
		number, ok := strings.CutSuffix(e.Name(), ".py")
		if n, err := strconv.Atoi(number); ok && err == nil && n > 0 {
			versions = append(versions, n)
		}
	}
	slices.Sort(versions)
	return versions, nil
}

// ownVersion reports whether the command of that name is one that the agent
// made and nobody changed since.
func ownVersion(folder, name string) (bool, error) {
	root, err := os.OpenRoot(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open commands folder: %w", err)
	}
	defer root.Close()
	versions, err := versionsOf(root, name)
	if err != nil || len(versions) == 0 {
		return false, err
	}
	newest, err := readFile(root, candidate{name: versionPath(name, versions[len(versions)-1])})
	if err != nil {
		return false, nil // no proof that it is the agent's own
	}
	current, err := readFile(root, candidate{name: name + ".py"})
	return err == nil && bytes.Equal(newest, current), nil
}

func fileExists(folder, name string) bool {
	_, err := os.Lstat(filepath.Join(folder, name))
	return err == nil
}
