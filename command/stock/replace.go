package stock

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"agent/command"
)

// replaceFilesMax bounds how many files one call changes.
const replaceFilesMax = 200

// Replace returns the command that puts one text in the place of another, in all
// files whose names fit a pattern, and counts. A word is replaced as a whole word,
// unless the call says otherwise.
func Replace() command.Command {
	return &replaceCommand{describe(command.Spec{
		Name:    "replace",
		Aliases: []string{"rename", "replace_all", "substitute", "sed", "search_replace"},
		Slots: []command.Slot{
			{Name: "old", Kind: command.SlotLine},
			{Name: "new", Kind: command.SlotLine},
			{Name: "files", Kind: command.SlotLine},
			{Name: "inside", Kind: command.SlotYesNo, Optional: true},
		},
		Folders: []string{"files"},
		Effect:  command.EffectWrite,
	})}
}

type replaceCommand struct{ spec command.Spec }

func (c *replaceCommand) Spec() command.Spec { return c.spec }

// replaced is what a replacement does to one file.
type replaced struct {
	change *fileChange
	count  int
	inside int // more of them stand inside longer words, and stay
}

func (c *replaceCommand) Run(ctx context.Context, env *command.Env, call *command.Call,
) (*command.Result, error) {
	w, done, problem, err := c.plan(ctx, env, call)
	if err != nil || problem != nil {
		return problem, err
	}
	defer w.root.Close()
	out, sum, inside := &command.Result{}, 0, 0
	var lines []string
	for _, r := range done {
		one := w.put(r.change)
		if one.Failed {
			return one, nil
		}
		out.Files = append(out.Files, one.Files...)
		lines = append(lines, fmt.Sprintf("%s: %d", r.change.path, r.count))
		sum, inside = sum+r.count, inside+r.inside
	}
	env.Files.DescribeAll(out.Files, call.Summary)
	out.Text = texts.Say("replaced", map[string]any{"Sum": sum, "Files": len(done), "Lines": lines,
		"Inside": inside})
	return out, nil
}

// Preview is the diff of each file.
func (c *replaceCommand) Preview(ctx context.Context, env *command.Env, call *command.Call,
) (string, error) {
	w, done, problem, err := c.plan(ctx, env, call)
	if err != nil || problem != nil {
		if problem != nil {
			return problem.Text, err
		}
		return "", err
	}
	defer w.root.Close()
	var parts []string
	for _, r := range done {
		parts = append(parts, r.change.preview())
	}
	return strings.Join(parts, "\n"), nil
}

// plan works out what a call would change.
func (c *replaceCommand) plan(ctx context.Context, env *command.Env, call *command.Call,
) (*fileWriter, []replaced, *command.Result, error) {
	if len(call.Content) != 1 {
		return nil, nil, failed("replace_fields", nil), nil
	}
	old, _ := command.TextOf(call.Content[0], oldKeys...)
	text, given := command.TextOf(call.Content[0], newKeys...)
	pattern, _ := command.TextOf(call.Content[0], append([]string{"files"}, listKeys...)...)
	if old == "" || !given || old == text || strings.TrimSpace(pattern) == "" {
		return nil, nil, failed("replace_fields", nil), nil
	}
	inside, _ := command.YesNoOf(call.Content[0], "inside", "parts")
	find, anywhere := finder(old, !inside), finder(old, false)
	root, err := openWorkDir(env)
	if err != nil {
		return nil, nil, nil, err
	}
	w := newFileWriter(ctx, root, env)
	globs := globsOf(root, pattern)
	if globs == nil {
		root.Close()
		return nil, nil, failed("bad_pattern", clip(pattern)), nil
	}
	l := &listing{ctx: ctx, env: env, command: c.spec.Name, root: root}
	l.walk(".", func(name string) bool {
		return slices.ContainsFunc(globs, func(glob string) bool { return matchesGlob(glob, name) })
	})
	out := replaceIn(l.found, w, find, anywhere, text)
	switch {
	case len(out) == 0:
		root.Close()
		return nil, nil, failed("replace_nothing",
			map[string]any{"Old": clip(old), "Files": clip(pattern), "Looked": len(l.found)}), nil
	case len(out) > replaceFilesMax || l.more > 0:
		root.Close()
		return nil, nil, failed("replace_many", replaceFilesMax), nil
	}
	return w, out, nil, nil
}

// replaceIn puts text in place of what find finds in files. anywhere finds it within words, too.
func replaceIn(files []listedFile, w *fileWriter, find, anywhere *regexp.Regexp, text string,
) (out []replaced) {
	for _, f := range files {
		if !f.info.Mode().IsRegular() || w.guarded(f.path) {
			continue
		}
		change, problem := w.compare(f.path)
		if problem != nil || change.editable() != nil {
			continue // no text, or not one that can be changed in part
		}
		if n := len(find.FindAllStringIndex(change.raw, -1)); n > 0 {
			change.text, change.quiet = find.ReplaceAllLiteralString(change.raw, text), true
			out = append(out, replaced{change, n, len(anywhere.FindAllStringIndex(change.raw, -1)) - n})
		}
	}
	return out
}

// globsOf are the patterns in a field: one, or several with commas or spaces
// between them. A folder means all that is in it. nil: one is no pattern.
func globsOf(root *os.Root, field string) []string {
	field = filepath.ToSlash(strings.TrimSpace(field))
	fields := []string{field}
	if !strings.Contains(field, "{") {
		fields = strings.FieldsFunc(field, func(r rune) bool { return r == ',' || r == ' ' })
	}
	var out []string
	for _, glob := range fields {
		glob = strings.TrimSuffix(strings.TrimPrefix(glob, "./"), "/")
		if len(glob) > patternBytesMax || strings.Count(glob, "{") > patternAltsMax ||
			!doublestar.ValidatePattern(glob) {
			return nil
		}
		if info, err := root.Stat(filepath.FromSlash(glob)); glob == "." || err == nil && info.IsDir() {
			glob = strings.TrimPrefix(glob+"/**", "./")
		}
		out = append(out, glob)
	}
	return out
}

// finder finds a text; as whole words only where its ends are those of words.
func finder(old string, words bool) *regexp.Regexp {
	expression := regexp.QuoteMeta(old)
	if words && beginsWord.MatchString(old) {
		expression = `\b` + expression
	}
	if words && endsWord.MatchString(old) {
		expression += `\b`
	}
	return regexp.MustCompile(expression)
}

// \b of regexp knows ASCII alone.
var (
	beginsWord = regexp.MustCompile(`^\w`)
	endsWord   = regexp.MustCompile(`\w$`)
)
