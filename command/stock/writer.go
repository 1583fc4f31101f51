package stock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"agent/command"
	"agent/command/sandbox"
	"agent/internal/bounded"
	"agent/internal/legible"
)

// Writer returns the command that writes text files in the work dir: it writes a
// whole file, replaces an exact piece of text, or adds to the end. It shows what
// changed.
func Writer() command.Command {
	return &writerCommand{describe(command.Spec{
		Name: "writer",
		Aliases: []string{"write", "write_file", "save", "save_file", "create_file", "edit_file",
			"replace_in_file", "append"},
		Slots: []command.Slot{
			{Name: "file", Kind: command.SlotLine, Target: true},
			{Name: "text", Kind: command.SlotText, Partial: true},
			{Name: "old", Kind: command.SlotText, Optional: true},
			{Name: "append", Kind: command.SlotYesNo, Optional: true},
		},
		Effect: command.EffectWrite,
	})}
}

type writerCommand struct{ spec command.Spec }

func (c *writerCommand) Spec() command.Spec { return c.spec }

func (c *writerCommand) Run(ctx context.Context, env *command.Env, call *command.Call,
) (*command.Result, error) {
	if len(call.Content) == 0 {
		return failed("no_entry", nil), nil
	}
	var out joint
	err := eachEntry(ctx, env, call, func(w *fileWriter, entry map[string]any) { out.add(w.write(entry)) })
	if err != nil {
		return nil, err
	}
	return out.result(env, call, "\n"), nil
}

// Preview shows the whole diff of each entry, or why it would fail. An entry is
// compared with what the earlier ones would leave.
func (c *writerCommand) Preview(ctx context.Context, env *command.Env, call *command.Call,
) (string, error) {
	var parts []string
	err := eachEntry(ctx, env, call, func(w *fileWriter, entry map[string]any) {
		change, problem := w.prepare(entry)
		if problem != nil {
			parts = append(parts, problem.Text)
			return
		}
		if diff := change.preview(); diff != "" {
			parts = append(parts, diff)
		}
		w.plan(change)
	})
	return strings.Join(parts, "\n"), err
}

// Rewrites are the changes of all entries, one for each file.
func (c *writerCommand) Rewrites(ctx context.Context, env *command.Env, call *command.Call,
) ([]command.Rewrite, error) {
	var out []command.Rewrite
	err := eachEntry(ctx, env, call, func(w *fileWriter, entry map[string]any) {
		change, problem := w.prepare(entry)
		if problem != nil || change.binary || change.known && change.raw == change.bytes() {
			return
		}
		w.plan(change)
		path := filepath.ToSlash(change.path)
		if i := slices.IndexFunc(out, func(r command.Rewrite) bool { return r.Path == path }); i >= 0 {
			out[i].New = change.text
			return
		}
		out = append(out, command.Rewrite{Path: path, Old: change.old, New: change.text,
			Created: change.info == nil})
	})
	return out, err
}

// eachEntry calls do for each entry of a call.
func eachEntry(ctx context.Context, env *command.Env, call *command.Call,
	do func(*fileWriter, map[string]any),
) error {
	root, err := openWorkDir(env)
	if err != nil {
		return err
	}
	defer root.Close()
	w := newFileWriter(ctx, root, env)
	for _, entry := range call.Content {
		if err := ctx.Err(); err != nil {
			return err
		}
		do(w, entry)
	}
	return nil
}

// fileWriter writes files below root.
type fileWriter struct {
	root     *os.Root
	workDir  string
	bytesMax int64
	planned  map[string]string // texts that a preview takes for written, by path
	buffers  buffers
}

func newFileWriter(ctx context.Context, root *os.Root, env *command.Env) *fileWriter {
	return &fileWriter{root: root, workDir: env.WorkDir, bytesMax: env.Limits.OrDefaults().FileBytes,
		buffers: buffers{ctx, env}}
}

// buffers reads and writes by the editor, where there is one.
type buffers struct {
	ctx context.Context
	env *command.Env
}

// newer is what the editor shows of a text file, else what was read from disk.
func (b buffers) newer(path string, data []byte) []byte {
	if b.env.Buffers == nil {
		return data
	}
	if _, encoding, text := legible.Decode(data); !text || encoding != "" {
		return data
	}
	if text, ok := b.env.Buffers.ReadText(b.ctx, filepath.Join(b.env.WorkDir, path)); ok {
		return []byte(text)
	}
	return data
}

// write has the editor write a text. False: it does not.
func (b buffers) write(path, text string) (bool, error) {
	if b.env.Buffers == nil {
		return false, nil
	}
	return b.env.Buffers.WriteText(b.ctx, filepath.Join(b.env.WorkDir, path), text)
}

// plan treats a change as made, for a preview.
func (w *fileWriter) plan(c *fileChange) {
	if w.planned == nil {
		w.planned = map[string]string{}
	}
	w.planned[w.plannedPath(c.path)] = c.bytes()
}

func (w *fileWriter) plannedText(path string) (text string, ok bool) {
	if len(w.planned) > 0 {
		text, ok = w.planned[w.plannedPath(path)]
	}
	return text, ok
}

// plannedPath is the same for every name of a file.
func (w *fileWriter) plannedPath(path string) string {
	if real, ok := command.BehindLinks(w.workDir, path); ok {
		return real
	}
	return path
}

// plannedFile is a file that a preview treats as written.
type plannedFile struct {
	fs.FileInfo
	size int64
}

func (f plannedFile) Size() int64 { return f.size }

// write carries out one entry.
func (w *fileWriter) write(entry map[string]any) *command.Result {
	change, problem := w.prepare(entry)
	if problem != nil {
		return problem
	}
	out := w.put(change)
	if unfinished, _ := command.YesNoOf(entry, command.FieldUnfinished); unfinished && !out.Failed {
		out.Text += "\n" + texts.Say("unfinished",
			map[string]any{"Path": change.path, "Last": lastLine(change.text)})
		out.Truncated = true
	}
	return out
}

// save writes a whole text that the model did not write.
func (w *fileWriter) save(name, text string) *command.Result {
	change, problem := w.open(name)
	if problem != nil {
		return problem
	}
	change.text = text
	if problem := w.tooLarge(change); problem != nil {
		return problem
	}
	change.quiet = true
	return w.put(change)
}

// open reads the current content of a file that a call names, and checks that it
// may be written.
func (w *fileWriter) open(name string) (*fileChange, *command.Result) {
	path, ok := command.LocalPath(w.workDir, name)
	switch {
	case strings.TrimSpace(name) == "":
		return nil, failed("no_entry", nil)
	case !ok:
		return nil, failed("outside", clip(name))
	case w.guarded(path):
		return nil, failed("guarded", clip(name))
	}
	return w.compare(path)
}

// prepare works out what an entry would change, without changing it.
func (w *fileWriter) prepare(entry map[string]any) (*fileChange, *command.Result) {
	name, ok := command.FileOf(entry)
	if !ok {
		return nil, failed("no_entry", nil)
	}
	change, problem := w.open(name)
	if problem != nil {
		return nil, problem
	}
	if problem := change.make(entry); problem != nil {
		return nil, problem
	}
	return change, w.tooLarge(change)
}

func (w *fileWriter) tooLarge(c *fileChange) *command.Result {
	if int64(len(c.text)) <= w.bytesMax {
		return nil
	}
	return failed("too_large", map[string]any{"Path": c.path, "Size": int64(len(c.text)),
		"Max": w.bytesMax, "Done": "written"})
}

// compare reads the current content of a path.
func (w *fileWriter) compare(path string) (*fileChange, *command.Result) {
	c := &fileChange{path: path}
	if text, ok := w.plannedText(path); ok {
		c.info = plannedFile{size: int64(len(text))}
		c.read([]byte(text))
		return c, nil
	}
	info, err := w.root.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if linked, err := w.root.Lstat(path); err == nil && linked.Mode()&fs.ModeSymlink != 0 {
			return nil, notWritten(path, errors.New("it is a symbolic link to nowhere"))
		}
		c.missing = func() string { return missing(w.root, path) }
		return c, nil
	case err != nil:
		return nil, notWritten(path, err)
	case info.IsDir():
		return nil, failed("is_folder", path)
	case !info.Mode().IsRegular():
		return nil, notWritten(path, errors.New("it is no regular file"))
	}
	c.info = info
	if info.Size() > w.bytesMax {
		return c, nil
	}
	data, err := bounded.Within(w.root, path, w.bytesMax)
	if err != nil {
		return nil, notWritten(path, err)
	}
	c.read(w.buffers.newer(path, data))
	return c, nil
}

func notWritten(path string, err error) *command.Result {
	return failed("not_written", map[string]any{"Path": path, "Why": reason(err)})
}

// put writes a change and says what changed.
func (w *fileWriter) put(c *fileChange) *command.Result {
	switch {
	case c.info == nil:
		if err := w.replace(c.path, c.text, 0o644); err != nil {
			return notWritten(c.path, err)
		}
		return &command.Result{Files: []string{c.path}, Text: texts.Say("created", map[string]any{
			"Path": c.path, "Lines": lineCount(c.text), "Size": int64(len(c.text)),
		})}
	case c.known && c.raw == c.bytes():
		return &command.Result{Text: texts.Say("unchanged",
			map[string]any{"Path": c.path, "Size": c.info.Size()})}
	}
	if err := w.replace(c.path, c.bytes(), c.info.Mode().Perm()); err != nil {
		return notWritten(c.path, err)
	}
	return c.result()
}

// guarded reports a path that would later run something outside every sandbox:
// part of a repository, or configuration of the agent, a shell or an editor. A
// link to such a path counts too.
func (w *fileWriter) guarded(path string) bool {
	if sandbox.Guarded(w.root, path) {
		return true
	}
	real, ok := command.BehindLinks(w.workDir, path)
	if !ok || sandbox.Guarded(w.root, real) {
		return ok
	}
	entries, err := bounded.Folder(w.root, ".", folderEntriesMax)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		if e.Type()&fs.ModeSymlink == 0 || !sandbox.Guarded(w.root, e.Name()) {
			return false
		}
		target, ok := command.BehindLinks(w.workDir, e.Name())
		below, err := filepath.Rel(target, real)
		return ok && err == nil && filepath.IsLocal(below)
	})
}

// replace writes a new file beside the old one and renames it into place, so that
// a reader or a crash sees the old text or the new one.
func (w *fileWriter) replace(path, text string, perm fs.FileMode) error {
	path, err := w.target(path)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := w.root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if done, err := w.buffers.write(path, text); done {
		return err
	}
	temporary := filepath.Join(dir, ".agent-"+rand.Text())
	if err = w.writeNew(temporary, text, perm); err == nil {
		err = w.root.Rename(temporary, path)
	}
	if err != nil {
		_ = w.root.Remove(temporary)
	}
	return err
}

// target follows a symbolic link within the work dir, so that the link stays and
// its target is replaced. Stat has already refused a link that leads out.
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
		next, ok := command.LocalPath(w.workDir, link)
		if !ok || w.guarded(next) {
			return "", errors.New("it is a symbolic link to what may not be written")
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
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
