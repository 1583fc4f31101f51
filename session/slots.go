package session

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"agent/command"
	"agent/session/prose"
)

const (
	filesChoiceMax  = 100 // more files than this are named by writing, not by choosing
	blockPartsMax   = 8   // fenced blocks inside one field
	numberTokensMax = 24
)

// numberGrammar is one number to the end of its line.
const numberGrammar = `root ::= " "? "-"? [0-9]{1,15} ("." [0-9]{1,15})? "\n"`

// numberAnswer is one that ends the reply.
const numberAnswer = `root ::= " "? "-"? [0-9]{1,15} ("." [0-9]{1,15})?`

// slotError is a field that the model wrote in a form that can't be read.
type slotError struct {
	name, problem string
}

func (e *slotError) Error() string { return fmt.Sprintf("field %s: %s", e.name, e.problem) }

// fillSlots asks for the fields of a command one by one, each in the form in
// which a model writes it best, and gives the content of the call.
func (d *draft) fillSlots(ctx context.Context, spec command.Spec) (map[string]any, error) {
	content := map[string]any{}
	var optional []command.Slot
	if d.not != nil && d.not.Command != spec.Name {
		d.not = nil
	}
	for i, slot := range spec.Slots {
		if slot.Optional {
			optional = append(optional, slot)
			continue
		}
		open := spec.Final && i == len(spec.Slots)-1 // the rest of the reply is the answer
		if slot.Kind == command.SlotText {
			slot.Lang = languageOf(content)
		}
		value, err := d.fill(ctx, slot, open)
		if err != nil {
			return content, err
		}
		content[slot.Name] = value
		d.place.chose(slot, value)
		if d.unfinished {
			content[command.FieldUnfinished], d.unfinished = true, false
		}
	}
	return content, d.fillOptional(ctx, optional, content)
}

// languageOf is what the fence of a text says it holds, by the file that an
// earlier field names: a model that is told so writes better code.
func languageOf(content map[string]any) string {
	languages := map[string]string{".py": "python", ".go": "go", ".js": "javascript", ".sh": "bash",
		".json": "json"}
	for _, field := range []string{"file", "path"} {
		name, _ := content[field].(string)
		if language := languages[path.Ext(name)]; language != "" {
			return language
		}
	}
	return ""
}

// fillOptional lets the model choose which optional fields it gives: one that is
// asked for outright gets filled, wanted or not.
func (d *draft) fillOptional(ctx context.Context, slots []command.Slot, content map[string]any,
) error {
	for len(slots) > 0 {
		options := []string{d.words.render("none", nil)}
		for _, slot := range slots {
			options = append(options, slot.Name)
		}
		d.write("\n" + d.words.render("optional", nil))
		i, err := d.pick(ctx, options)
		if err != nil || i == 0 {
			return err
		}
		slot := slots[i-1]
		if content[slot.Name], err = d.fill(ctx, slot, false); err != nil {
			return err
		}
		slots = slices.Delete(slots, i-1, i)
	}
	return nil
}

// fill asks for one field.
func (d *draft) fill(ctx context.Context, slot command.Slot, open bool) (any, error) {
	switch slot.Kind {
	case command.SlotText, command.SlotCode:
		if open && slot.Kind == command.SlotText {
			return d.fillOpen(ctx)
		}
		return d.fillBlock(ctx, slot)
	case command.SlotFile:
		return d.fillFile(ctx, slot)
	case command.SlotPlace:
		return d.fillPlace(ctx, slot)
	case command.SlotEnum:
		return d.fillChoice(ctx, slot, slot.Options)
	case command.SlotYesNo:
		return d.fillYesNo(ctx, slot)
	case command.SlotNumber:
		return d.fillNumber(ctx, slot)
	case command.SlotObject:
		return d.fillObject(ctx, slot)
	}
	switch {
	case open:
		return d.fillOpen(ctx)
	case slot.Target && len(d.targets) > 0:
		return d.fillTarget(ctx, slot)
	}
	return d.fillLine(ctx, slot)
}

// fillTarget picks the file to be written among those that the task wants, or
// lets the model write another name.
func (d *draft) fillTarget(ctx context.Context, slot command.Slot) (any, error) {
	mark := d.text.Len()
	d.begin(slot)
	options := append(slices.Clone(d.targets), d.words.render("another", nil))
	i, err := d.pick(ctx, options)
	if err != nil || i < len(d.targets) {
		return options[i], err
	}
	d.take(mark)
	return d.fillLine(ctx, slot)
}

// take takes back what was written since a mark.
func (d *draft) take(mark int) {
	text := d.text.String()[:mark]
	d.text.Reset()
	d.text.WriteString(text)
}

// begin writes the name of a field on a new line.
func (d *draft) begin(slot command.Slot) {
	d.write("\n" + d.words.render("slot", slot.Name))
}

func (d *draft) fillLine(ctx context.Context, slot command.Slot) (any, error) {
	d.begin(slot)
	line := generation{tokensMax: d.limits.LineTokensMax, stop: []string{"\n"}, rut: prose.ProseRut()}
	text, err := d.whole(ctx, slot, line)
	if err != nil {
		return nil, err
	}
	value := unquoted(text)
	if slot.Help != "" && prose.Folded(value) == prose.Folded(slot.Help) {
		return nil, &slotError{slot.Name, d.words.render("echoes_help", nil)}
	}
	return value, nil
}

// whole generates a short field, which is of no use when it is cut: half a
// command line or half a number is another one.
func (d *draft) whole(ctx context.Context, slot command.Slot, g generation) (string, error) {
	text, end, err := d.generate(ctx, g)
	switch {
	case err != nil:
		return "", err
	case end == endBudget:
		return "", errTokensSpent
	case end == endLimit:
		return "", &slotError{slot.Name, d.words.render("too_long", g.tokensMax)}
	}
	return text, nil
}

var (
	hasDigit = regexp.MustCompile(`\d`)
	isNumber = regexp.MustCompile(`^\s*[-+]?[\d.,]+\s*$`)
)

// fillOpen lets the last field of the last command run to the reply's end. It
// has a label of its own: the name of the field ("text") says too little. Where a
// number alone is wanted, words around one are no choice.
func (d *draft) fillOpen(ctx context.Context) (any, error) {
	d.write("\n" + d.words.render("final", nil))
	mark := d.text.Len()
	answer := generation{tokensMax: d.limits.AnswerTokensMax, stop: d.nextLabels(),
		rut: prose.OpenRut()}
	text, end, err := d.generate(ctx, answer)
	if err == nil && d.number && d.caps.Grammar && hasDigit.MatchString(text) &&
		!isNumber.MatchString(text) {
		d.take(mark)
		text, end, err = d.generate(ctx, generation{tokensMax: numberTokensMax, grammar: numberAnswer})
	}
	if err != nil {
		return nil, err
	}
	d.end = end
	return prose.Unfenced(prose.WithoutBareFences(strings.TrimSpace(text))), nil
}

// nextLabels are what a model writes when it goes on to another step or plays
// the user, instead of ending its reply.
func (d *draft) nextLabels() []string {
	var out []string
	for _, name := range []string{"note", "command", "task"} {
		out = append(out, "\n"+d.words.render(name, nil))
	}
	return out
}

// fillBlock asks for text or code in a fenced block, which may hold fenced
// blocks itself.
func (d *draft) fillBlock(ctx context.Context, slot command.Slot) (any, error) {
	d.begin(slot)
	d.write("\n" + prose.FenceMark + slot.Lang + "\n")
	closing := "\n" + prose.FenceMark + "\n"
	block := generation{tokensMax: d.limits.FieldTokensMax, stop: []string{closing},
		rut: prose.BlockRut()}
	body := ""
	if slot.Kind == command.SlotCode && d.opening != "" {
		body = d.opening
		d.write(body)
	}
	for range blockPartsMax {
		part, end, err := d.generate(ctx, block)
		if err != nil {
			return nil, err
		}
		if end.cut() && slot.Partial && strings.TrimSpace(body+part) != "" {
			d.write("\n" + prose.FenceMark)
			d.unfinished = true
			return wholeLines(body + part), nil
		}
		if end == endBudget {
			return nil, errTokensSpent
		}
		if end != endWhole {
			d.write("\n" + prose.FenceMark)
			reason := d.words.render("too_long", d.limits.FieldTokensMax)
			if end == endRut {
				reason = d.words.render("repeats", nil)
			}
			return nil, &slotError{slot.Name, reason}
		}
		body += part
		if prose.BlockEnd(body+closing) >= 0 {
			break
		}
		body += closing // it closed a block inside this one
		d.write(closing)
	}
	d.write("\n" + prose.FenceMark)
	return lines(d.withoutForm(prose.BlockBody(body))), nil
}

// withoutForm is a text without the line of the form that comes after its fence,
// which models write inside the fence at times: in a file it would be damage.
func (d *draft) withoutForm(text string) string {
	line := d.words.render("optional", nil) + " " + d.words.render("none", nil)
	body, ok := strings.CutSuffix(strings.TrimRight(text, "\n"), "\n"+line)
	if !ok {
		return text
	}
	d.warn(fmt.Sprintf("the line %q at the end of the text belongs to the form of the reply and was left out", line))
	return body
}

// wholeLines is a text that was cut, without the line that it was cut in unless
// that is all there is.
func wholeLines(text string) string {
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		return text[:i+1]
	}
	return text
}

// lines ends text like a file of lines: that is what stands in a block.
func lines(text string) string {
	if text == "" {
		return ""
	}
	return text + "\n"
}

func (d *draft) fillYesNo(ctx context.Context, slot command.Slot) (any, error) {
	d.begin(slot)
	i, err := d.pick(ctx, []string{d.words.render("yes", nil), d.words.render("no", nil)})
	return i == 0, err
}

// fillFile picks an existing file. With none to pick, or too many, the model
// writes the name.
func (d *draft) fillFile(ctx context.Context, slot command.Slot) (any, error) {
	paths := slices.Clone(d.files)
	if slot.Web {
		paths = append(paths, d.addresses...)
	}
	broken := func(path string) bool { return strings.ContainsAny(path, "\r\n") }
	if len(paths) == 0 || len(paths) > filesChoiceMax || slices.ContainsFunc(paths, broken) {
		return d.fillLine(ctx, slot)
	}
	return d.fillChoice(ctx, slot, paths)
}

func (d *draft) fillChoice(ctx context.Context, slot command.Slot, options []string) (any, error) {
	options = d.withoutRepeated(slot.Name, options)
	d.begin(slot)
	i, err := d.pick(ctx, options)
	if err != nil {
		return nil, err
	}
	return options[i], nil
}

// withoutRepeated leaves out what the call that may not be made again chose,
// unless nothing else is left.
func (d *draft) withoutRepeated(name string, options []string) []string {
	if d.not == nil || len(options) < 2 {
		return options
	}
	return slices.DeleteFunc(slices.Clone(options), func(o string) bool {
		return len(d.not.Content) > 0 && d.not.Content[0][name] == any(o)
	})
}

func (d *draft) fillNumber(ctx context.Context, slot command.Slot) (any, error) {
	d.begin(slot)
	g := generation{tokensMax: numberTokensMax, stop: []string{"\n"}}
	if d.caps.Grammar {
		g.grammar = numberGrammar
	}
	text, err := d.whole(ctx, slot, g)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseFloat(strings.ReplaceAll(unquoted(text), ",", ""), 64)
	if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
		return nil, &slotError{slot.Name, fmt.Sprintf("%q is no number", prose.OneLine(text, 40))}
	}
	return n, nil
}

// fillObject asks for a JSON value, under its schema where the backend can.
func (d *draft) fillObject(ctx context.Context, slot command.Slot) (any, error) {
	d.begin(slot)
	d.write("\n" + prose.FenceMark + "json\n")
	g := generation{tokensMax: d.limits.FieldTokensMax, stop: []string{"\n" + prose.FenceMark}}
	if d.caps.Schema && slot.Schema != "" {
		g.schema = slot.Schema
	}
	text, err := d.whole(ctx, slot, g)
	if err != nil {
		return nil, err
	}
	d.write("\n" + prose.FenceMark)
	var value any
	if err := json.Unmarshal([]byte(prose.BlockBody(text)), &value); err != nil {
		return nil, &slotError{slot.Name, fmt.Sprintf("it is no JSON: %v", err)}
	}
	return value, nil
}

// unquoted is a short field without the quotes or backticks around all of it.
func unquoted(text string) string {
	text = strings.TrimSpace(text)
	for len(text) >= 2 && strings.ContainsRune("\"'`", rune(text[0])) &&
		text[len(text)-1] == text[0] &&
		strings.Count(text, text[:1]) == 2 {
		text = strings.TrimSpace(text[1 : len(text)-1])
	}
	return text
}
