package session

import (
	"context"
	"embed"
	"fmt"
	"slices"
	"strings"
	"text/template"

	"agent/command"
	"agent/session/journal"
	"agent/session/prose"
	"agent/session/workdir"
)

//go:embed prompts/*.tmpl
var promptFiles embed.FS

// prompts renders the words that a model reads. They all live in
// prompts/*.tmpl.
type prompts struct{ t *template.Template }

func newPrompts() (prompts, error) {
	t, err := template.New("").Option("missingkey=error").Funcs(template.FuncMap{"optional": optionalSlots}).
		ParseFS(promptFiles, "prompts/*.tmpl")
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

// start is how the note of a turn begins in a phase: a start that fits leads a
// small model to say something that fits.
func (p prompts) start(at journal.Phase, file string) string {
	return p.render("start_"+string(at), file)
}

// effect words what a kind of effect does.
func (p prompts) effect(e command.Effect) string {
	switch e {
	case command.EffectWrite, command.EffectExecute, command.EffectNetwork:
		return p.render("effect_"+e.String(), nil)
	}
	return p.render("effect_other", nil)
}

// reminder is the end of each message to the model: the task in one line.
type reminder struct {
	Task      string
	StepsLeft int
}

// taskLineRunes cuts the task where it is repeated.
const taskLineRunes = 400

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
	Guides  string // what the folder says to agents, rendered
}

// promptFile is a file's head with its lines in a fence of their own.
type promptFile struct {
	workdir.View
	Block    string
	Passages []excerpt // of a long file, about the task
	Table    bool      // it holds one that code reads best by the module tablefile
}

func newPromptFile(v workdir.View) promptFile {
	lines := v.Lines
	if v.More {
		lines = append(lines[:len(lines):len(lines)], "…")
	}
	return promptFile{View: v, Block: prose.Fenced(strings.Join(lines, "\n"))}
}

// firstMessage is the task with what lies in the work dir, as far as there is
// room: nothing cuts this message later. The heads of files go first, then names.
func (s *Session) firstMessage(task string) string {
	ctx := context.Background()
	limit, system := s.speaker.promptLimit(), s.talk.systemTokens(ctx)
	free := max(limit-system-s.speaker.count(ctx, task), 0)
	given := s.speaker.givenWithin(ctx, s.place.given, free/4)
	for files, names := listFilesMax, listNamesMax; ; {
		d := s.watch.list(task, s.about.wants.Known && !s.about.wants.Writes, files, names)
		d.Given, d.Guides = given, s.talk.guides
		text := s.book.scrub.Text(s.words.render("first.tmpl", d))
		switch {
		case files == 0 && names == 0 || s.speaker.count(ctx, text) <= limit-system-free/2:
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
func (sp *speaker) givenWithin(ctx context.Context, given []givenAnswer, tokens int) []givenAnswer {
	out := slices.Clone(given)
	for i, g := range out {
		text, _ := sp.shorten(ctx, g.Answer, max(tokens/len(out), resultTokensMin))
		out[i].Block = prose.Fenced(text)
	}
	return out
}

type resultData struct {
	Command    string
	Failed     bool
	Block      string
	Problem    string // with what it wrote
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
