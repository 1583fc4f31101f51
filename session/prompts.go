package session

import (
	"cmp"
	"context"
	"embed"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"time"

	"agent/command"
)

//go:embed prompts/*.tmpl
var promptFiles embed.FS

// prompts renders the words that a model reads. They all live in
// prompts/*.tmpl.
type prompts struct{ t *template.Template }

func newPrompts() (prompts, error) {
	t, err := template.New("").Option("missingkey=error").Funcs(template.FuncMap{"optional": optionalSlots}).ParseFS(promptFiles, "prompts/*.tmpl")
	if err != nil {
		return prompts{}, fmt.Errorf("session: prompts: %w", err)
	}
	return prompts{t}, nil
}

// optionalSlots are the fields that a command can do without.
func optionalSlots(slots []command.Slot) []command.Slot {
	var out []command.Slot
	for _, slot := range slots {
		if slot.Optional {
			out = append(out, slot)
		}
	}
	return out
}

// render fills a template. A template that fails is a mistake in this package,
// found by its tests; its error then stands in the prompt for all to see.
func (p prompts) render(name string, data any) string {
	var b strings.Builder
	if err := p.t.ExecuteTemplate(&b, name, data); err != nil {
		return "[" + err.Error() + "]"
	}
	return strings.TrimRight(b.String(), "\n")
}

// reminder is the end of each message to the model: the task in one line.
type reminder struct {
	Task      string
	StepsLeft int
}

// taskLineRunes cuts the task where it is repeated.
const taskLineRunes = 400

// oneLine puts text on one line of at most n runes.
func oneLine(text string, n int) string {
	return cutRunes(strings.Join(strings.Fields(text), " "), n)
}

type systemData struct {
	Commands []command.Spec
	Final    string // the command that ends a task
	Open     string // its field that runs to the end of the reply
	Code     bool   // it may run code
	ReadOnly bool   // nothing can be changed in this run
	Plain    bool   // steps have no note
	Examples int    // how many are shown
}

type firstData struct {
	Task    string
	Date    string
	Count   int
	More    bool
	Files   []promptFile
	Names   []string
	Unnamed int
	Given   []givenAnswer
}

// promptFile is a file's head with its lines in a fence of their own.
type promptFile struct {
	fileView
	Block string
}

func newPromptFile(v fileView) promptFile {
	lines := v.Lines
	if v.More {
		lines = append(lines[:len(lines):len(lines)], "…")
	}
	return promptFile{v, fenced(strings.Join(lines, "\n"))}
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

// firstMessage is the task with what lies in the work dir, as far as there is
// room: nothing cuts this message later. The heads of files go first, then names.
func (s *Session) firstMessage(task string, snap snapshot) string {
	ctx := context.Background()
	free := max(s.promptLimit()-s.systemTokens(ctx)-s.countText(ctx, task), 0)
	given := s.givenWithin(ctx, free/4)
	room := s.promptLimit() - s.systemTokens(ctx) - free/2
	for files, names := listFilesMax, listNamesMax; ; {
		d := s.firstData(task, snap, files, names)
		d.Given = given
		text := s.scrub.text(s.words.render("first.tmpl", d))
		switch {
		case files == 0 && names == 0 || s.countText(ctx, text) <= room:
			return text
		case files > 0:
			files /= 2
		default:
			names /= 2
		}
	}
}

// givenWithin are the answers of earlier parts, each cut to its share of so
// many tokens.
func (s *Session) givenWithin(ctx context.Context, tokens int) []givenAnswer {
	out := slices.Clone(s.given)
	for i, g := range out {
		text, _ := shorten(g.Answer, max(tokens/len(out), resultTokensMin), func(t string) int { return s.countText(ctx, t) }, s.leftOut)
		out[i].Block = fenced(text)
	}
	return out
}

// firstData lists the work dir: so many files with their first lines, and so
// many more by name.
func (s *Session) firstData(task string, snap snapshot, filesMax, namesMax int) firstData {
	paths := snap.paths()
	d := firstData{Task: strings.TrimSpace(task), Count: len(paths), More: snap.more, Date: s.opts.Now().Format(time.DateOnly)}
	named := s.namedFiles(snap, d.Task)
	if len(named) > 0 { // the others are known to be beside the point
		paths = slices.Concat(named, slices.DeleteFunc(paths, func(p string) bool { return slices.Contains(named, p) }))
	}
	shown := min(len(paths), cmp.Or(len(named), filesMax), filesMax)
	room := int64(listBytesSum)
	for _, p := range paths[:shown] {
		lines := s.listLines(p, snap.files[p].size, &room)
		d.Files = append(d.Files, newPromptFile(viewFile(s.opts.Env.WorkDir, p, lines)))
	}
	names := paths[shown:]
	d.Names = names[:min(len(names), namesMax)]
	d.Unnamed = len(names) - len(d.Names)
	return d
}

// listLines is how many lines of a file of this size the first message shows.
// Small files are shown whole while there is room: to read what stands before
// it is what a small model does best, and it spares the step of looking. Of rows
// of data it sees only how they begin: they are for code to work on, and a model
// that has all of them before it adds them up in its head.
func (s *Session) listLines(name string, size int64, room *int64) int {
	switch {
	case s.keepsBack(name):
		return 0
	case s.has(AidWholeFiles) && s.has(AidFileHeads) && size <= min(listBytesMax, *room) && !isData(name):
		*room -= size
		return listBytesMax
	case s.has(AidFileHeads):
		return listLinesMax
	}
	return 0
}

type resultData struct {
	Command    string
	Failed     bool
	Block      string
	Line       string
	LineNumber int
	Files      []promptFile
}

type circleData struct {
	Earlier int
	Block   string
	Angle   string
}

type refusedData struct {
	Command string
	Reason  string
	Names   []string // commands that are not known to be refused
}

// tell makes one message to the model of parts, with the task at its end where
// that is far back, and the steps that are left where those are few.
func (s *Session) tell(parts ...string) string {
	r := s.reminder()
	if !s.has(AidRestate) || !s.taskIsFar() {
		r.Task = ""
	}
	if text := s.words.render("reminder.tmpl", r); text != "" {
		parts = append(parts, text)
	}
	return strings.Join(parts, "\n\n")
}

// restateAfter is how many results may follow a task before each restates it.
// Right after it that did more harm than good: the next note was the task once more.
const restateAfter = 3

// taskIsFar reports a task that stands before a summary, or so many results.
func (s *Session) taskIsFar() bool {
	results := 0
	for _, e := range slices.Backward(s.entries) {
		switch e.Kind {
		case kindTask:
			return results >= restateAfter
		case kindSummary:
			return true
		case kindResult:
			results++
		}
	}
	return true
}
