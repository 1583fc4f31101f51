package command

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Writer returns the command that writes text files in the work dir.
func Writer() Command {
	spec := describe(Spec{
		Name:    "writer",
		Aliases: []string{"write", "write_file", "save", "save_file", "create_file"},
		Slots: []Slot{
			{Name: "file", Kind: SlotLine},
			{Name: "text", Kind: SlotText},
		},
		Effect: EffectWrite,
	})
	return Func(spec, write)
}

func write(ctx context.Context, env *Env, call *Call) (*Result, error) {
	root, err := openWorkDir(env)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if len(call.Content) == 0 {
		return failed("no_entry", nil), nil
	}
	w := fileWriter{root: root, workDir: env.WorkDir, bytesMax: env.Limits.orDefaults().FileBytes}
	out := &Result{}
	var parts []string
	for _, entry := range call.Content {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		one := w.write(entry)
		parts = append(parts, one.Text)
		out.Failed = out.Failed || one.Failed
		out.Files = append(out.Files, one.Files...)
	}
	out.Text = strings.Join(parts, "\n")
	return out, nil
}

// fileWriter writes files below root.
type fileWriter struct {
	root     *os.Root
	workDir  string
	bytesMax int64
}

func (w *fileWriter) write(entry map[string]any) *Result {
	name, ok := stringField(entry, fileKeys...)
	if !ok || strings.TrimSpace(name) == "" {
		return failed("no_entry", nil)
	}
	path, ok := localPath(w.workDir, name)
	if !ok || inGit(path) {
		return failed("outside", clip(name))
	}
	text, ok := fileText(entry, path)
	if !ok {
		return failed("no_text", path)
	}
	if int64(len(text)) > w.bytesMax {
		return failed("too_large", map[string]any{"Path": path, "Size": int64(len(text)), "Max": w.bytesMax, "Done": "written"})
	}
	result, err := w.put(path, text)
	if err != nil {
		return failed("not_written", map[string]any{"Path": path, "Why": reason(err)})
	}
	return result
}

// inGit reports paths in a .git folder: what is written there would run later,
// outside of every sandbox, as a hook or by way of the configuration.
func inGit(path string) bool {
	return slices.ContainsFunc(strings.Split(filepath.ToSlash(path), "/"), func(part string) bool {
		return strings.EqualFold(part, ".git")
	})
}

// fileText returns what an entry wants in the file. A value that is no text is
// written as JSON. Fences that models put around code do not belong into it.
func fileText(entry map[string]any, path string) (string, bool) {
	keys := []string{"text", "content", "contents", "data", "body", "code", "file_text"}
	text, ok := stringField(entry, keys...)
	if !ok {
		key := firstKey(entry, keys)
		if entry[key] == nil {
			return "", false
		}
		out, err := json.MarshalIndent(entry[key], "", "  ")
		return string(out) + "\n", err == nil
	}
	ext := strings.ToLower(filepath.Ext(path))
	if ext != ".md" && ext != ".markdown" {
		if _, body, fenced := cutFence(strings.TrimSpace(text)); fenced {
			text = body
		}
	}
	return text, true
}

// put writes one file and tells what changed.
func (w *fileWriter) put(path, text string) (*Result, error) {
	info, err := w.root.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if linked, err := w.root.Lstat(path); err == nil && linked.Mode()&fs.ModeSymlink != 0 {
			return nil, errors.New("it is a symbolic link to nowhere")
		}
		if err := w.replace(path, text, 0o644); err != nil {
			return nil, err
		}
		return &Result{Files: []string{path}, Text: message("created", map[string]any{
			"Path": path, "Lines": lineCount(text), "Size": int64(len(text)),
		})}, nil
	case err != nil:
		return nil, err
	case info.IsDir():
		return failed("is_folder", path), nil
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	}
	return w.change(path, text, info)
}

// change rewrites a file that exists.
func (w *fileWriter) change(path, text string, info fs.FileInfo) (*Result, error) {
	var old []byte
	if info.Size() <= w.bytesMax {
		var err error
		if old, err = readBounded(w.root, path, info, w.bytesMax); err != nil {
			return nil, err
		}
		if string(old) == text {
			return &Result{Text: message("unchanged", map[string]any{"Path": path, "Size": info.Size()})}, nil
		}
	}
	if err := w.replace(path, text, info.Mode().Perm()); err != nil {
		return nil, err
	}
	added, removed := diffStat(string(old), text)
	return &Result{Files: []string{path}, Text: message("changed", map[string]any{
		"Path": path, "Added": added, "Removed": removed, "Lines": lineCount(text),
		"Size": int64(len(text)), "Old": info.Size(),
	})}, nil
}

// replace writes a new file beside the old one and moves it into place, so
// that a reader or a crash sees the old text or the new one and nothing else.
func (w *fileWriter) replace(path, text string, perm fs.FileMode) error {
	path, err := w.target(path)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := w.root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temporary := filepath.Join(dir, ".agent-"+rand.Text())
	if err := w.writeNew(temporary, text, perm); err != nil {
		_ = w.root.Remove(temporary)
		return err
	}
	if err := w.root.Rename(temporary, path); err != nil {
		_ = w.root.Remove(temporary)
		return err
	}
	return nil
}

// target follows a symbolic link within the work dir, so that the link stays
// and its file is replaced. A link that leads out failed in Stat before.
func (w *fileWriter) target(path string) (string, error) {
	const linksMax = 8
	for range linksMax {
		info, err := w.root.Lstat(path)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			return path, nil
		}
		link, err := w.root.Readlink(path)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(path), link)
		}
		next, ok := localPath(w.workDir, link)
		if !ok || inGit(next) {
			return "", errors.New("it is a symbolic link out of the work dir")
		}
		path = next
	}
	return "", fmt.Errorf("more than %d symbolic links in a row", linksMax)
}

func (w *fileWriter) writeNew(path, text string, perm fs.FileMode) error {
	f, err := w.root.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func lineCount(text string) int { return len(splitLines(text)) }

// diffStat counts the lines that only one of the texts has, wherever they
// stand; moved lines count as unchanged.
func diffStat(old, new string) (added, removed int) {
	counts := map[string]int{}
	for _, line := range splitLines(old) {
		counts[line]++
	}
	for _, line := range splitLines(new) {
		if counts[line] > 0 {
			counts[line]--
		} else {
			added++
		}
	}
	for _, n := range counts {
		removed += n
	}
	return added, removed
}
