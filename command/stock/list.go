package stock

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"

	"agent/command"
	"agent/command/document"
	"agent/internal/legible"
)

// Bounds of a list. What lies beyond them is counted or named.
const (
	listVisitsMax   = 20_000 // files and folders looked at
	listDepthMax    = 12
	listFilesMax    = 500 // collected for one list
	listAboutBytes  = 70  // of a file's description
	listHeadBytes   = 1024
	patternBytesMax = 200
	patternAltsMax  = 4 // alternatives in braces, each of which doubles the work
)

// List returns the command that lists files with their sizes and what they are.
func List() command.Command {
	spec := describe(command.Spec{
		Name: "list",
		Aliases: []string{"ls", "dir", "list_files", "files", "tree", "list_directory", "list_dir",
			"glob", "find_files"},
		Slots:   []command.Slot{{Name: "pattern", Kind: command.SlotLine, Optional: true}},
		Folders: listKeys,
		Effect:  command.EffectRead,
	})
	return command.Func(spec, list)
}

// listKeys are the names that models use for what to list.
var listKeys = []string{"pattern", "glob", "path", "folder", "directory", "dir", "file", "query"}

func list(ctx context.Context, env *command.Env, call *command.Call) (*command.Result, error) {
	root, err := openWorkDir(env)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	entries := call.Content
	if len(entries) == 0 {
		entries = []map[string]any{{}}
	}
	var out joint
	left := env.Limits.OrDefaults().OutputBytes
	for _, entry := range entries {
		pattern, _ := command.TextOf(entry, listKeys...)
		one := (&listing{ctx: ctx, env: env, command: "list", root: root, left: left}).list(pattern)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out.add(one)
		left = max(left-len(one.Text), minimumShown)
	}
	return out.result(env, call, "\n\n"), nil
}

// listing is one list of files.
type listing struct {
	ctx      context.Context
	env      *command.Env
	command  string // that lists
	root     *os.Root
	left     int // bytes that the list may have
	found    []listedFile
	more     int  // files beyond listFilesMax
	withheld int  // files that the rules keep out of it
	cut      bool // not everything was looked at
	hidden   bool // hidden files count, too
	seen     int
}

// listedFile is a file or a folder in a list.
type listedFile struct {
	path string // slash-separated
	info fs.FileInfo
}

// list lists what a pattern means: a folder, or the matching files.
func (l *listing) list(pattern string) *command.Result {
	pattern = strings.TrimSpace(pattern)
	if pattern == "" || pattern == "*" {
		return l.folder(".")
	}
	local, ok := command.LocalPath(l.env.WorkDir, pattern)
	if !ok {
		return failed("outside", clip(pattern))
	}
	if info, err := l.root.Stat(local); err == nil && info.IsDir() {
		return l.folder(filepath.ToSlash(local))
	}
	glob := filepath.ToSlash(local)
	if len(glob) > patternBytesMax || strings.Count(glob, "{") > patternAltsMax ||
		!doublestar.ValidatePattern(glob) {
		return failed("bad_pattern", clip(pattern))
	}
	l.hidden = strings.HasPrefix(glob, ".") || strings.Contains(glob, "/.")
	l.walk(".", func(name string) bool { return matchesGlob(glob, name) })
	if len(l.found) == 0 {
		return l.render(texts.Say("nothing_matches",
			map[string]any{"Pattern": clip(pattern), "Cut": l.cut}))
	}
	return l.render(texts.Say("list_head",
		map[string]any{"Pattern": clip(pattern), "Count": len(l.found) + l.more, "Cut": l.cut}))
}

// matchesGlob reports whether a file matches: by its whole path, or by its name
// when the pattern names no folder.
func matchesGlob(glob, name string) bool {
	if !strings.Contains(glob, "/") {
		name = path.Base(name)
	}
	return doublestar.MatchUnvalidated(glob, name)
}

// folder lists a folder and what is below it.
func (l *listing) folder(name string) *command.Result {
	l.walk(name, func(string) bool { return true })
	if len(l.found) == 0 {
		return l.render(texts.Say("folder_empty", map[string]any{"Path": name, "Cut": l.cut}))
	}
	return l.render(texts.Say("folder",
		map[string]any{"Path": name, "Count": len(l.found) + l.more, "Cut": l.cut}))
}

// walk collects the wanted files at and below a folder. It follows no links and
// skips hidden files and the folders of package managers.
func (l *listing) walk(top string, wanted func(name string) bool) {
	depth, realPath := strings.Count(top, "/"), l.realPaths(top)
	err := fs.WalkDir(l.root.FS(), top, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			l.cut = l.cut || name != top
			return nil // what can't be opened is not listed
		}
		if l.seen++; l.seen > listVisitsMax || l.ctx.Err() != nil {
			l.cut = true
			return fs.SkipAll
		}
		base := path.Base(name)
		out := name != top && (!l.hidden && strings.HasPrefix(base, ".") || base == ".git")
		switch {
		case d.IsDir() && (out || base == "__pycache__" || base == "node_modules"):
			return fs.SkipDir
		case d.IsDir() && strings.Count(name, "/")-depth >= listDepthMax:
			l.cut = true
			return fs.SkipDir
		case d.IsDir() || out || !wanted(name):
			return nil
		case l.withholds(name, realPath(name)):
			l.withheld++
			return nil
		case len(l.found) >= listFilesMax:
			l.more++
			return nil
		}
		if info, err := d.Info(); err == nil {
			l.found = append(l.found, listedFile{name, info})
		}
		return nil
	})
	l.cut = l.cut || err != nil
}

// realPaths maps a name below a folder, which may be a link, to its real path.
// Other links are not followed.
func (l *listing) realPaths(top string) func(name string) string {
	real, ok := command.BehindLinks(l.env.WorkDir, filepath.FromSlash(top))
	if !ok || top == "." {
		return func(name string) string { return name }
	}
	return func(name string) string {
		return path.Join(filepath.ToSlash(real), strings.TrimPrefix(name, top))
	}
}

// withholds reports a file that must not be listed, by any of its paths.
func (l *listing) withholds(paths ...string) bool {
	return l.env.Withheld != nil && slices.ContainsFunc(paths, func(name string) bool {
		return l.env.Withheld(l.command, name)
	})
}

// render writes the head and a line for each file, as far as there is room.
func (l *listing) render(head string) *command.Result {
	var out strings.Builder
	out.WriteString(head)
	for i, f := range l.found {
		line := "\n" + l.line(f)
		if i > 0 && (out.Len()+len(line) > l.left ||
			l.env.Fits != nil && !l.env.Fits(out.String()+line)) {
			l.more += len(l.found) - i
			break
		}
		out.WriteString(line)
	}
	if l.more > 0 {
		out.WriteString("\n" + texts.Say("folder_cut", l.more))
	}
	if l.withheld > 0 {
		out.WriteString("\n" + texts.Say("withheld", l.withheld))
	}
	return &command.Result{Text: out.String(), Truncated: l.more > 0 || l.cut}
}

// line describes a file in one line: name, size, kind and content.
func (l *listing) line(f listedFile) string {
	about := l.env.Files.About(f.path)
	kind, first := l.look(f)
	if about == "" && !(l.env.KeptBack != nil && l.env.KeptBack(command.ReaderName, f.path)) {
		about = first
	}
	return texts.Say("list_line", map[string]any{"Path": shownPath(f.path), "Size": f.info.Size(),
		"Kind": kind, "About": about})
}

// shownPath is a path that always stays on one line.
func shownPath(name string) string {
	if strings.IndexFunc(name, func(r rune) bool { return legible.Unseen(r) || r == utf8.RuneError }) >= 0 {
		return strconv.Quote(name)
	}
	return name
}

// look tells from its start what a file is and how a text begins.
func (l *listing) look(f listedFile) (kind, first string) {
	switch {
	case f.info.Mode()&fs.ModeSymlink != 0:
		return texts.Say("kind_link", nil), ""
	case !f.info.Mode().IsRegular():
		return texts.Say("kind_special", nil), ""
	case f.info.Size() == 0:
		return "", ""
	}
	head, cut, err := l.head(f.path)
	if err != nil {
		return texts.Say("kind_unreadable", nil), ""
	}
	if format := document.Sniff(f.path, "", head); format != "" {
		return string(format), ""
	}
	if cut {
		head = legible.WithoutTornRune(head)
	}
	text, _, ok := legible.Decode(head)
	if !ok {
		return binaryKind(head), ""
	}
	return "", firstLine(text)
}

func (l *listing) head(name string) (head []byte, cut bool, err error) {
	f, err := l.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	head, err = io.ReadAll(io.LimitReader(f, listHeadBytes))
	return head, len(head) == listHeadBytes, err
}

// binaryKind names the kind of a file that is not text, as far as its start
// tells.
func binaryKind(head []byte) string {
	kind, _, _ := strings.Cut(http.DetectContentType(head), ";")
	if kind == "application/octet-stream" || bytes.HasPrefix([]byte(kind), []byte("text/")) {
		return texts.Say("kind_binary", nil)
	}
	return strings.TrimPrefix(strings.TrimPrefix(kind, "application/"), "x-")
}

// firstLine is how a text begins, without marks of headings and comments.
func firstLine(text string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#!") {
			continue
		}
		line = strings.TrimSpace(strings.Trim(strings.TrimSpace(line), "#/*-=<!>; \t"))
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			return cutLine(line, listAboutBytes)
		}
	}
	return ""
}

// cutLine shortens a line to n bytes and marks the cut with an ellipsis.
func cutLine(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.TrimSpace(legible.Head(s, n)) + "…"
}
