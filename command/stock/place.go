package stock

import (
	"context"
	"regexp"
	"strconv"
	"strings"

	"agent/command"
)

// Edit returns the command that replaces lines of a file, named by their numbers,
// with new ones. The lines are chosen among those that are there, so that nothing
// is misquoted.
func Edit() command.Command {
	return &editCommand{describe(command.Spec{
		Name:    "edit",
		Aliases: []string{"edit_lines", "replace_lines", "change_lines"},
		Slots: []command.Slot{
			{Name: "file", Kind: command.SlotFile},
			{Name: "first", Kind: command.SlotPlace},
			{Name: "last", Kind: command.SlotPlace},
			{Name: "text", Kind: command.SlotText},
		},
		Effect: command.EffectWrite,
	})}
}

type editCommand struct{ spec command.Spec }

func (c *editCommand) Spec() command.Spec { return c.spec }

func (c *editCommand) Run(ctx context.Context, env *command.Env, call *command.Call,
) (out *command.Result, err error) {
	if len(call.Content) != 1 {
		return failed("edit_fields", nil), nil
	}
	err = eachEntry(ctx, env, call, func(w *fileWriter, entry map[string]any) {
		change, problem := c.prepare(w, entry)
		if out = problem; problem == nil {
			out = w.put(change)
		}
	})
	if err == nil {
		env.Files.DescribeAll(out.Files, call.Summary)
	}
	return out, err
}

// Preview is the whole diff.
func (c *editCommand) Preview(ctx context.Context, env *command.Env, call *command.Call,
) (shown string, err error) {
	err = eachEntry(ctx, env, call, func(w *fileWriter, entry map[string]any) {
		change, problem := c.prepare(w, entry)
		if problem != nil {
			shown = problem.Text
			return
		}
		shown = change.preview()
	})
	return shown, err
}

// placeForm is a line's number, and maybe what stands in it.
var placeForm = regexp.MustCompile(`^\s*(\d{1,7})(?::\s?(.*))?$`)

// prepare works out what an entry would change.
func (c *editCommand) prepare(w *fileWriter, entry map[string]any) (*fileChange, *command.Result) {
	name, ok := command.FileOf(entry)
	text, given := command.TextOf(entry, newKeys...)
	if !ok || !given {
		return nil, failed("edit_fields", nil)
	}
	change, problem := w.open(name)
	switch {
	case problem != nil:
		return nil, problem
	case change.info == nil:
		return nil, &command.Result{Text: change.missing(), Failed: true}
	}
	if problem := change.editable(); problem != nil {
		return nil, problem
	}
	lines := strings.SplitAfter(change.raw, "\n")
	first, okFirst := placeIn(lines, entry["first"])
	last, okLast := placeIn(lines, entry["last"])
	if !okFirst || !okLast || last < first {
		return nil, failed("bad_place", map[string]any{"Path": change.path,
			"Lines": lineCount(change.raw)})
	}
	text = change.lineEnds(withoutFence(text, change.path))
	if text != "" && !strings.HasSuffix(text, "\n") && strings.HasSuffix(lines[last-1], "\n") {
		text += change.lineEnds("\n")
	}
	change.text = strings.Join(lines[:first-1], "") + text + strings.Join(lines[last:], "")
	return change, w.tooLarge(change)
}

// placeIn is the number of a line, if the line is there and still what was chosen.
func placeIn(lines []string, value any) (int, bool) {
	found := placeForm.FindStringSubmatch(command.AsText(value))
	if found == nil {
		return 0, false
	}
	n, err := strconv.Atoi(found[1])
	if err != nil || n < 1 || n > len(lines) {
		return 0, false
	}
	said := strings.TrimSpace(strings.TrimSuffix(found[2], "…"))
	return n, strings.HasPrefix(strings.TrimSpace(lines[n-1]), said)
}
