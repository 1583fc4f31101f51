package stock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"agent/command"
	"agent/internal/bounded"
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
	entries, _ := bounded.Folder(root, ".", folderEntriesMax)
	var names []string
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir():
			names = append(names, e.Name()+"/")
		default:
			names = append(names, e.Name())
		}
	}
	return names
}

const folderEntriesMax = 2000 // more are not looked at

// failed is a result that the model can act on.
func failed(name string, data any) *command.Result {
	return &command.Result{Text: texts.Say(name, data), Failed: true}
}

// joint is the result of a call with several entries.
type joint struct {
	command.Result
	parts []string
}

// add adds the result of an entry.
func (j *joint) add(one *command.Result) {
	j.parts = append(j.parts, one.Text)
	j.Failed = j.Failed || one.Failed
	j.Truncated = j.Truncated || one.Truncated
	j.Files = append(j.Files, one.Files...)
}

// result joins the texts, and notes what the call says of the files that it wrote.
func (j *joint) result(env *command.Env, call *command.Call, between string) *command.Result {
	env.Files.DescribeAll(j.Files, call.Summary)
	j.Text = strings.Join(j.parts, between)
	return &j.Result
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
