// Package wants finds out what a task wants by plain questions about it, which a
// model answers by scoring: is a file to be written, and which; is one there to be
// changed; must a text be replaced in several; is the answer a number alone.
//
//	w, err := wants.Of(ctx, speaker.choose, wants.Folder{Task: task, Paths: paths})
//
// The questions are about the task, never about finished work. Those that were
// kept, and their thresholds, are measured (docs/dev/experiments.md).
package wants

import (
	"context"
	"embed"
	"fmt"
	"slices"
	"strings"

	"agent/backend"
	"agent/internal/words"
	"agent/session/ask"
	"agent/session/event"
	"agent/session/workdir"
)

//go:embed prompts
var prompts embed.FS

// Names of the questions that yes or no answers.
const (
	Writes   = "writes"
	Changes  = "changes"
	Replaces = "replaces"
	Number   = "number"
)

// Bounds.
const (
	namesMax  = 24  // files that are told of, or chosen from
	leadMin   = 0.5 // nats by which a file must be likelier than the others to count
	taskBytes = 4 << 10
)

// Questions are those that yes or no answers, by name, with thresholds for
// models of 1 to 2 billion parameters.
func Questions() map[string]ask.Question {
	texts := words.Open(prompts)
	out := map[string]ask.Question{}
	for name, threshold := range map[string]float64{Writes: 0, Changes: 1.4, Replaces: 1.5,
		Number: 2.5} {
		out[name] = ask.Question{Text: texts.Say(name, nil), Threshold: threshold}
	}
	return out
}

// Folder is a task and the files beside it.
type Folder struct {
	Task  string
	Paths []string
}

// About is the conversation that the questions are put to: the task and the names
// of files, and nothing else. Behind the long fixed part of a run, which asks for
// replies of another form, the same questions tell much less.
func (f Folder) About() []backend.Message {
	return []backend.Message{{Role: backend.RoleUser,
		Content: words.Open(prompts).Say("about", map[string]any{
			"Task":  strings.ToValidUTF8(f.Task[:min(len(f.Task), taskBytes)], ""),
			"Names": f.Paths[:min(len(f.Paths), namesMax)],
		})}}
}

// Of asks the model what a task wants.
func Of(ctx context.Context, choose ask.Choose, f Folder) (event.Wants, error) {
	w := event.Wants{Known: true}
	questions, about := Questions(), f.About()
	put := func(name string, to *bool) error {
		answer, err := questions[name].Ask(ctx, choose, about)
		*to = answer.Yes
		return err
	}
	if err := put(Writes, &w.Writes); err != nil {
		return event.Wants{}, err
	}
	if !w.Writes {
		return w, put(Number, &w.Number)
	}
	var err error
	if w.Result, _, err = f.Result(ctx, choose); err != nil {
		return event.Wants{}, err
	}
	if w.Result != "" && !slices.Contains(f.Paths, w.Result) {
		return w, nil // nothing that is there is changed
	}
	if err := put(Replaces, &w.Replaces); err != nil {
		return w, err
	}
	if w.Replaces {
		w.Result = "" // it is no single one
		return w, nil
	}
	return w, put(Changes, &w.Changes)
}

// Result picks the file in which the result of a task that writes stands when it
// is done, with its lead over the next one in nats. A single name that is not
// there yet needs no asking. Empty: several, or it is not clear.
func (f Folder) Result(ctx context.Context, choose ask.Choose,
) (name string, lead float64, err error) {
	named, there := f.named()
	missing := slices.DeleteFunc(slices.Clone(named),
		func(n string) bool { return slices.Contains(there, n) })
	if len(missing) == 1 {
		return missing[0], leadMin, nil
	}
	texts := words.Open(prompts)
	options := append(f.options(named), texts.Say("several", nil))
	choice, err := choose(ctx, &backend.Request{Messages: ask.After(f.About(),
		texts.Say("result", nil))}, options)
	if err != nil {
		return "", 0, err
	}
	if choice.Index < 0 || choice.Index >= len(options) {
		return "", 0, fmt.Errorf("wants: no file chosen: %s", choice.Reason)
	}
	if choice.Index == len(options)-1 || choice.Margin < leadMin {
		return "", choice.Margin, nil
	}
	return options[choice.Index], choice.Margin, nil
}

// named are the files that the task names, by their paths where they are there.
func (f Folder) named() (all, there []string) {
	for _, name := range workdir.Mentioned(f.Task) {
		if p := workdir.Find(f.Paths, name); p != "" {
			name = p
			there = append(there, p)
		}
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all, there
}

// options are what is named first, then what is there.
func (f Folder) options(named []string) []string {
	out := slices.Clone(named[:min(len(named), namesMax)])
	for _, p := range f.Paths {
		if !slices.Contains(out, p) && len(out) < namesMax {
			out = append(out, p)
		}
	}
	return out
}
