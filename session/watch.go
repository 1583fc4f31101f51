package session

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"agent/command"
	"agent/session/prose"
	"agent/session/workdir"
)

// watch is what a session knows of its work dir.
type watch struct {
	opts    *Options
	focus   []string         // files picked for this session
	now     workdir.Snapshot // taken once a step, and after each call
	first   workdir.Snapshot // when the work on the task began
	spoiled map[string]bool  // files, by path, that a failed command changed last
	last    string           // the file that the last call named, if it was one
}

// look takes the snapshot anew.
func (w *watch) look() { w.now = workdir.Take(w.opts.Env.WorkDir, w.now) }

// named are the files that a session is about: those that its task names, and
// those that were picked for it.
func (w *watch) named(task string) []string {
	picked := slices.DeleteFunc(slices.Clone(w.focus), func(p string) bool { return !w.now.There(p) })
	return mergeSorted(w.now.Named(task), picked)
}

// choices are the files that a field can name. Among too many to choose from, or
// where a file must be looked at, those count that the task names.
func (w *watch) choices(task string, mustLook bool) []string {
	if named := w.named(task); len(named) > 0 && (mustLook || w.now.Len() > filesChoiceMax) {
		return named
	}
	return w.now.Paths()
}

// missingFilesMax bounds the names offered of files that are not there.
const missingFilesMax = 4

// missing are the files that the task names, but for its result, as if they were there. They can be
// chosen too: else another would be read in their place.
func (w *watch) missing(task, result string) []string {
	var out []string
	for _, name := range workdir.Mentioned(task) {
		if !w.now.Holds(name) && name != result && len(out) < missingFilesMax {
			out = append(out, name)
		}
	}
	return out
}

// Bounds of the file list in the first message.
const (
	listFilesMax = 12 // files shown with their first lines
	listLinesMax = 3
	listBytesMax = 1000 // a file up to this size is shown whole,
	listBytesSum = 1600 // as long as all of them together are not larger
	listNamesMax = 40   // further files, by name alone
	headFilesMax = 3    // changed files shown after a command
	headLinesMax = 6
)

// list shows the work dir for a first message: so many files with their first
// lines, so many more by name, and of long ones passages, where they are wanted.
func (w *watch) list(task string, passages bool, filesMax, namesMax int) firstData {
	paths := w.now.Paths()
	d := firstData{Task: strings.TrimSpace(task), Count: len(paths), More: w.now.More,
		Date: w.opts.Now().Format(time.DateOnly)}
	named := w.named(d.Task)
	if len(named) > 0 { // the others are known to be beside the point
		paths = slices.Concat(named, slices.DeleteFunc(paths,
			func(p string) bool { return slices.Contains(named, p) }))
	}
	shown := min(len(paths), cmp.Or(len(named), filesMax), filesMax)
	room := int64(listBytesSum)
	for _, p := range paths[:shown] {
		file := w.view(p, w.lines(p, &room))
		if slices.Contains(named, p) && len(file.Lines) > 0 {
			file.Table = w.holdsTable(p)
			if passages && file.More && !w.computed(p) && w.opts.has(AidPassages) {
				file.Passages = passagesAbout(d.Task, w.textOf(p))
			}
		}
		d.Files = append(d.Files, file)
	}
	names := paths[shown:]
	d.Names = names[:min(len(names), namesMax)]
	d.Unnamed = len(names) - len(d.Names)
	return d
}

// view is the head of a file, unless a rule speaks against showing it.
func (w *watch) view(name string, lines int) promptFile {
	if w.opts.policy().KeepsBack(name) {
		lines = 0
	}
	return newPromptFile(workdir.ViewOf(w.opts.Env.WorkDir, name, lines))
}

// textOf are the lines of a text file that may be shown.
func (w *watch) textOf(name string) []string {
	if w.opts.policy().KeepsBack(name) || !slices.Contains(w.now.Paths(), name) {
		return nil
	}
	text := string(workdir.Read(w.opts.Env.WorkDir, name))
	if text == "" || !utf8.ValidString(text) {
		return nil
	}
	return strings.Split(strings.TrimSuffix(strings.ReplaceAll(text, "\r\n", "\n"), "\n"), "\n")
}

// lines is how many lines of a file the first message shows. Small files are
// shown whole while there is room: what stands before it a small model reads
// best. Rows of data only begin: a model that has all adds them up in its head.
func (w *watch) lines(name string, room *int64) int {
	size := w.now.Size(name)
	switch {
	case w.opts.policy().KeepsBack(name) || !w.opts.has(AidFileHeads):
		return 0
	case w.opts.has(AidWholeFiles) && size <= min(listBytesMax, *room) && !isData(name):
		*room -= size
		return listBytesMax
	}
	return listLinesMax
}

// isData reports a file that holds one record on each line.
func isData(name string) bool {
	return slices.Contains([]string{".csv", ".tsv", ".jsonl", ".log"}, path.Ext(name))
}

// opening is what code about such tables begins with: small models go on with what
// stands there, and do not take up what they are told of it.
func (w *watch) opening(files []string, writes bool) string {
	tables := slices.DeleteFunc(slices.Clone(files),
		func(name string) bool { return !w.holdsTable(name) })
	switch {
	case len(tables) == 0:
		return ""
	case len(tables) > 1:
		return "from tablefile import rows, save\n"
	case writes:
		return fmt.Sprintf("from tablefile import rows, save\ntable = rows(%q)\n", tables[0])
	}
	return fmt.Sprintf("from tablefile import rows\ntable = rows(%q)\n", tables[0])
}

// holdsTable reports a file with a table that is no plain CSV.
func (w *watch) holdsTable(name string) bool {
	if !w.opts.has(AidTables) || !workdir.HoldsTable(w.opts.Env.WorkDir, name) {
		return false
	}
	head := workdir.ViewOf(w.opts.Env.WorkDir, name, 1).Lines
	return path.Ext(name) != ".csv" || len(head) > 0 && strings.ContainsAny(head[0], ";\t|")
}

// computed reports a file whose content is to be computed with rather than read: data,
// or a text in which a table stands.
func (w *watch) computed(name string) bool {
	return isData(name) || w.opts.has(AidTables) && workdir.HoldsTable(w.opts.Env.WorkDir, name)
}

// shownWhole reports that the first message shows all of these files.
func (w *watch) shownWhole(names []string) bool {
	room := int64(listBytesSum)
	return !slices.ContainsFunc(names, func(name string) bool {
		return w.lines(name, &room) < listBytesMax && w.now.Size(name) > 0
	})
}

// oneFileOf is the file that a call names, for the next note to name it; empty
// when it names none, or several.
func (w *watch) oneFileOf(spec command.Spec, call *command.Call) string {
	paths := command.TargetsOf(spec, call, w.opts.Env.WorkDir).Paths
	if len(paths) != 1 || prose.OneLine(paths[0], prose.LineRunes) != paths[0] {
		return ""
	}
	return paths[0]
}

// changed takes the snapshot after a call and tells which files it changed: those
// that it says, and if nobody else is at work, those that are seen to differ.
func (w *watch) changed(res *command.Result, alone bool) []string {
	before, files := w.now, res.Files
	w.look()
	if alone {
		files = mergeSorted(files, workdir.Changes(before, w.now))
	}
	for _, name := range files {
		w.spoiled[name] = res.Failed
	}
	return files
}
