package stock

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"agent/command"
	"agent/command/decide"
	"agent/internal/bounded"
)

// DecideName is the command that decides about many texts.
const DecideName = "decide"

// decideThreshold is for the question decide_for.md: see docs/dev/experiments.md.
const decideThreshold = 2

// Decide returns the command that makes one decision about many texts, by the
// probabilities that the run's model gives the options: of a file's lines, a
// table's column, or texts in the call.
func Decide() command.Command {
	return &decideCommand{describe(command.Spec{
		Name:    DecideName,
		Aliases: []string{"classify", "categorize"},
		Slots: []command.Slot{
			{Name: "file", Kind: command.SlotFile},
			{Name: "options", Kind: command.SlotLine},
			{Name: "save_as", Kind: command.SlotLine, Target: true},
			{Name: "question", Kind: command.SlotLine, Optional: true},
			{Name: "column", Kind: command.SlotLine, Optional: true},
			{Name: "label", Kind: command.SlotLine, Optional: true},
		},
		Effect: command.EffectRead,
		For:    &command.Kind{Question: texts.Text("decide_for.md"), Threshold: decideThreshold},
	})}
}

type decideCommand struct{ spec command.Spec }

func (c *decideCommand) Spec() command.Spec { return c.spec }

// CallEffect is writing where the labels go into a file.
func (c *decideCommand) CallEffect(call *command.Call) command.Effect {
	if slices.ContainsFunc(call.Content,
		func(entry map[string]any) bool { return saveOf(entry) != "" }) {
		return command.EffectWrite
	}
	return command.EffectRead
}

// saveOf is the file for the labels; empty: none is wanted.
func saveOf(entry map[string]any) string {
	name, _ := command.SaveOf(entry)
	name = strings.TrimSpace(name)
	if strings.EqualFold(name, texts.Say("decide_no_file", nil)) {
		return ""
	}
	return name
}

// Preview has one line for each entry.
func (c *decideCommand) Preview(_ context.Context, _ *command.Env, call *command.Call,
) (string, error) {
	var lines []string
	for _, entry := range call.Content {
		name, _ := command.FileOf(entry)
		question, _ := command.TextOf(entry, "question")
		lines = append(lines, texts.Say("decide_preview", map[string]any{
			"Name": shownPath(name), "Question": question, "Options": optionsOf(entry),
			"Save": shownPath(saveOf(entry)),
		}))
	}
	return strings.Join(lines, "\n"), nil
}

func (c *decideCommand) Run(ctx context.Context, env *command.Env, call *command.Call,
) (*command.Result, error) {
	root, err := openWorkDir(env)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	switch {
	case env.Judge == nil:
		return failed("decide_no_scores", nil), nil
	case len(call.Content) == 0:
		return failed("decide_no_source", nil), nil
	}
	d := &deciding{ctx: ctx, env: env, root: root, bytesMax: env.Limits.OrDefaults().FileBytes}
	var out joint
	for _, entry := range call.Content {
		one, err := d.entry(entry, cmp.Or(env.Task, call.Summary))
		if err != nil {
			return nil, err
		}
		out.add(one)
	}
	return out.result(env, call, "\n\n"), nil
}

// deciding is one call of the command.
type deciding struct {
	ctx      context.Context
	env      *command.Env
	root     *os.Root
	bytesMax int64
}

// entry decides about the texts of one entry and writes their labels. Without a
// question of its own it asks which label fits, for the task: small models copy the
// form's words where they should write a question, and label best by the user's.
func (d *deciding) entry(entry map[string]any, purpose string) (*command.Result, error) {
	source, problem := d.source(entry)
	if problem != nil {
		return problem, nil
	}
	question, _ := phraseField(entry, "question", "instruction", "what", "criterion")
	if question == "" {
		question = texts.Say("decide_question", purpose)
	}
	q := decide.Question{Text: question, Options: optionsOf(entry)}
	if err := q.Check(); err != nil {
		return failed("decide_bad_question", err.Error()), nil
	}
	label, _ := phraseField(entry, "label", "label_column", "name_of_label")
	label = cmp.Or(label, decide.LabelDefault)
	save := saveOf(entry)
	if err := source.CheckWrite(save, label); err != nil {
		return failed("decide_not_written", map[string]any{"Path": clip(save), "Why": err.Error()}), nil
	}
	result, err := decide.Run(d.ctx, source, q, d.env.Judge, nil)
	if errors.Is(err, decide.ErrNoScores) {
		return failed("decide_no_scores", nil), nil
	}
	if err != nil {
		return nil, fmt.Errorf("decide: %w", err)
	}
	return d.write(result, save, label)
}

// write puts the labels into the file, if there is one, and reports.
func (d *deciding) write(result *decide.Result, save, label string) (*command.Result, error) {
	out := &command.Result{}
	if save != "" {
		var text bytes.Buffer
		if err := result.Write(&text, save, label); err != nil {
			return nil, fmt.Errorf("decide: %w", err)
		}
		w := newFileWriter(d.ctx, d.root, d.env)
		if out = w.save(save, text.String()); out.Failed {
			return out, nil
		}
		out.Text += "\n"
	}
	out.Text += result.Report()
	return out, nil
}

// source is the texts of an entry: those in it, or those of its file.
func (d *deciding) source(entry map[string]any) (*decide.Source, *command.Result) {
	for _, field := range []string{"texts", "items", "text"} {
		switch v := entry[field].(type) {
		case string:
			return decide.FromTexts(v), nil
		case []any:
			list := make([]string, len(v))
			for i, item := range v {
				list[i] = command.AsText(item)
			}
			return decide.FromTexts(list...), nil
		}
	}
	name, ok := command.FileOf(entry)
	if !ok || strings.TrimSpace(name) == "" {
		return nil, failed("decide_no_source", nil)
	}
	path, ok := command.LocalPath(d.env.WorkDir, name)
	if !ok {
		return nil, failed("outside", clip(name))
	}
	if _, err := d.root.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, &command.Result{Text: missing(d.root, path), Failed: true}
	}
	data, err := bounded.Within(d.root, path, d.bytesMax)
	if err != nil {
		return nil, unreadable(path, err)
	}
	column, _ := phraseField(entry, "column", "field")
	source, err := decide.Read(path, data, column)
	if err != nil {
		return nil, failed("decide_bad_source", err.Error())
	}
	return source, nil
}

// optionsOf are the options of an entry: a list, or a text with commas,
// semicolons, bars or lines between them.
func optionsOf(entry map[string]any) []string {
	var list []string
	switch v := entry["options"].(type) {
	case []any:
		for _, item := range v {
			list = append(list, command.AsText(item))
		}
	case string:
		if json.Unmarshal([]byte(v), &list) != nil {
			list = strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune(",;|\n、，；", r) })
		}
	}
	var out []string
	for _, o := range list {
		if o = strings.Trim(strings.TrimSpace(o), "\"'`"); o != "" {
			out = append(out, o)
		}
	}
	return out
}
