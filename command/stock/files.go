package stock

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"agent/command"
	"agent/internal/near"
)

// openWorkDir opens the folder that confines a command. Every access goes through
// the returned root, which no path and no symbolic link can leave.
func openWorkDir(env *command.Env) (*os.Root, error) {
	if env.WorkDir == "" {
		return nil, errors.New("open work dir: Env.WorkDir is empty")
	}
	root, err := os.OpenRoot(env.WorkDir)
	if err != nil {
		return nil, fmt.Errorf("open work dir: %w", err)
	}
	return root, nil
}

// missing says that a file does not exist, and lists those that do.
func missing(root *os.Root, path string) string {
	names := fileNames(root)
	const namesMax = 12
	data := struct {
		Path, Near string
		Names      []string
		More       int
	}{Path: path, Near: near.Name(filepath.Base(path), names), Names: names}
	if len(names) > namesMax {
		data.Names, data.More = names[:namesMax], len(names)-namesMax
	}
	return texts.Say("missing", data)
}

// fileNames lists the top of the work dir, without hidden files.
func fileNames(root *os.Root) []string {
	entries, err := readFolder(root, ".")
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		names = append(names, displayName(e))
	}
	return names
}

const folderEntriesMax = 2000 // more are not looked at

func readFolder(root *os.Root, path string) ([]fs.DirEntry, error) {
	f, err := root.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(folderEntriesMax)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

func displayName(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

// failed is a result that the model can act on.
func failed(name string, data any) *command.Result {
	return &command.Result{Text: texts.Say(name, data), Failed: true}
}

// reason is the cause of a file error without the path, which the message already
// has.
func reason(err error) string {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	if linkErr, ok := errors.AsType[*os.LinkError](err); ok {
		err = linkErr.Err
	}
	return err.Error()
}
