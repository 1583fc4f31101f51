package session

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"unicode"

	"agent/backend"
	"agent/command"
	"agent/command/salvage"
	"agent/session/journal"
	"agent/session/prose"
)

// callsPerReplyMax bounds what one reply may ask for.
const callsPerReplyMax = 8

// wire reads turns in the wire form, of backends that can't fill in slots.
type wire struct {
	*conversation
	opts *Options
}

// turn is a whole reply in the wire form, read tolerantly. One that can't be used
// is sent back once, with what is wrong with it.
func (w wire) turn(ctx context.Context, msgs []backend.Message) (*turn, error) {
	raw, end, err := w.replyText(ctx, msgs)
	if err != nil {
		return nil, err
	}
	parsed, problem := w.read(raw, end, false)
	if problem == "" {
		return w.usable(raw, parsed, end), nil
	}
	w.invalid(raw, problem)
	raw, end, err = w.replyText(ctx, w.askAgain(msgs, raw, problem))
	if err != nil {
		return nil, err
	}
	if parsed, problem = w.read(raw, end, parsed.Repaired(salvage.RepairMaybeQuoted)); problem == "" {
		t := w.usable(raw, parsed, end)
		if len(parsed.Repairs) == 0 {
			w.budget.usage.RepairedReplies++
		}
		return t, nil
	}
	w.invalid(raw, problem)
	return &turn{text: nonEmpty(raw), problem: w.repairText(problem)}, nil
}

// replyText is a whole reply, and how it ended.
func (w wire) replyText(ctx context.Context, msgs []backend.Message) (string, ending, error) {
	tokensMax, err := w.budget.allow(w.limits.ReplyTokensMax)
	if err != nil {
		return "", endLimit, err
	}
	text, finish, err := w.complete(ctx,
		&backend.Request{Messages: msgs, Sampling: w.sampling, TokensMax: tokensMax}, w.delta)
	return text, endingOf(finish, tokensMax, w.limits.ReplyTokensMax), err
}

// cutInside reports that the reply was cut off within a call. Of JSON it is
// known where a call ends; other forms go on as long as the reply does.
func cutInside(parsed salvage.Parsed, end ending) bool {
	return parsed.Repaired(salvage.RepairTruncated) ||
		end.cut() && (asText(parsed) || parsed.Repaired(salvage.RepairProse))
}

// read makes calls of a reply, or says why none of it can be used. One that was
// asked for again, since it was among words, may still be quoted.
func (w wire) read(raw string, end ending, again bool) (salvage.Parsed, string) {
	parsed := salvage.Parse(raw, w.opts.Registry)
	if parsed.Repaired(salvage.RepairMaybeQuoted) {
		parsed = w.withoutQuoted(raw, parsed)
	}
	if len(parsed.Calls) == 0 {
		return parsed, w.words.render("empty", nil)
	}
	if len(parsed.Calls) > callsPerReplyMax {
		return parsed, w.words.render("too_many", callsPerReplyMax)
	}
	for _, c := range parsed.Calls {
		if problem := w.callProblem(c, parsed, cutInside(parsed, end), again); problem != "" {
			return parsed, problem
		}
	}
	return parsed, ""
}

// callProblem is why a call must not run: its command is unknown, or it would
// change something on the word of a guess, of a reply that was cut off, or of
// what is only quoted.
func (w wire) callProblem(c salvage.ParsedCall, parsed salvage.Parsed, cut, again bool) string {
	d := reasonData{Name: prose.OneLine(c.Command, 60), Nearest: c.Suggestion,
		Names: w.opts.Registry.Names()}
	cmd, err := w.opts.Registry.Resolve(c.Command)
	switch {
	case err != nil && c.Match == command.MatchFuzzy:
		return w.words.render("fuzzy", d)
	case err != nil:
		return w.words.render("unknown", d)
	case !command.EffectOf(cmd, &c.Call).Consequential():
	case cut:
		return w.words.render("cut_off", d)
	case c.Match == command.MatchFuzzy: // harmless by itself, but not with these fields
		return w.words.render("fuzzy", d)
	case w.wasShown(&c.Call, again || asText(parsed) || parsed.Repaired(salvage.RepairMaybeQuoted)):
		return w.words.render("was_shown", d)
	case parsed.Repaired(salvage.RepairMaybeQuoted):
		return w.words.render("maybe_quoted", d)
	}
	return ""
}

// usable is the turn of a reply that was understood. The prompt keeps the
// reply as written if nothing was mended, else its canonical form.
func (w wire) usable(raw string, parsed salvage.Parsed, end ending) *turn {
	t := &turn{text: raw}
	if cutInside(parsed, end) {
		t.end = end
	}
	for _, r := range parsed.Repairs {
		t.repairs = append(t.repairs, string(r))
	}
	var notes []string
	for _, c := range parsed.Calls {
		call := c.Call
		t.calls = append(t.calls, &call)
		notes = append(notes, call.Notes...)
	}
	if len(t.repairs) > 0 {
		w.budget.usage.RepairedReplies++
		t.text, t.raw = wireForm(t.calls), raw
	}
	if t.note = strings.Join(slices.Compact(notes), " "); t.note != "" {
		w.book.emit(&Note{Step: w.clock.steps, Text: t.note})
	}
	return t
}

// invalid counts and keeps a reply that can't be used.
func (c *conversation) invalid(raw, problem string) {
	c.budget.usage.InvalidReplies++
	c.book.keep(journal.Record{Type: journal.TypeInvalid, Raw: c.scrub.Text(raw), Reason: problem})
}

// askAgain is the conversation with the unusable reply and what is wrong with
// it. It is asked beside the transcript, which keeps only what was usable.
func (w wire) askAgain(msgs []backend.Message, raw, problem string) []backend.Message {
	out := slices.Clone(msgs)
	return append(out,
		backend.Message{Role: backend.RoleAssistant, Content: nonEmpty(raw)},
		backend.Message{Role: backend.RoleUser, Content: w.repairText(problem)})
}

func (w wire) repairText(problem string) string {
	return w.words.render("repair.tmpl",
		map[string]string{"Reason": problem, "Example": w.exampleCall()})
}

// exampleCall is a call in the wire form: the one that ends a task.
func (w wire) exampleCall() string {
	final := w.opts.finalName()
	call := command.Call{Command: final, Summary: "…", Content: []map[string]any{{}}}
	if cmd, err := w.opts.Registry.Resolve(final); err == nil {
		for _, slot := range cmd.Spec().Slots {
			call.Content[0][slot.Name] = slot.Help
		}
	}
	line, err := command.Marshal(&call)
	if err != nil {
		return ""
	}
	return string(line)
}

// nonEmpty stands in for an empty message, which many services refuse.
func nonEmpty(text string) string {
	if strings.TrimSpace(text) == "" {
		return "…"
	}
	return text
}

// withoutQuoted drops the consequential calls that a reply only quotes from what
// the model was shown. A reply that does nothing else is an answer in words.
func (w wire) withoutQuoted(raw string, parsed salvage.Parsed) salvage.Parsed {
	kept := slices.DeleteFunc(slices.Clone(parsed.Calls), func(c salvage.ParsedCall) bool {
		return w.opts.consequential(&c.Call) && w.wasShown(&c.Call, false)
	})
	if len(kept) == 0 {
		return salvage.ParseProse(raw, w.opts.Registry)
	}
	parsed.Calls = kept
	return parsed
}

// asText reports calls that were written in a form that other texts have, too,
// such as a block of code.
func asText(parsed salvage.Parsed) bool {
	return slices.ContainsFunc(parsed.Repairs, func(r salvage.Repair) bool {
		return slices.Contains([]salvage.Repair{
			salvage.RepairXML, salvage.RepairFence, salvage.RepairReAct, salvage.RepairFunctionCall,
			salvage.RepairFirstWord,
		}, r)
	})
}

// wasShown reports that a call stands in a result or file that the model has
// before it, with values by its values alone. The user's words don't count.
func (w wire) wasShown(call *command.Call, values bool) bool {
	key := callKey(call)
	for _, e := range w.entries {
		text := w.dataOf(e)
		if values && holdsValues(text, call) {
			return true
		}
		for _, t := range []string{text, unescaped.Replace(text)} { // as it is, and inside of a string
			if slices.ContainsFunc(salvage.Within(t, w.opts.Registry),
				func(c command.Call) bool { return callKey(&c) == key }) {
				return true
			}
		}
	}
	return false
}

var unescaped = strings.NewReplacer(`\\`, `\`, `\"`, `"`)

// dataOf is the text of an entry that is neither the model's nor the user's.
func (w wire) dataOf(e *journal.Entry) string {
	switch e.Kind {
	case journal.KindTurn:
		return ""
	case journal.KindTask:
		return e.Text[:max(strings.LastIndex(e.Text, "\n"+w.words.render("task", nil)), 0)]
	}
	return e.Text
}

// holdsValues reports a text in which all values of a call stand, whatever marks
// and spaces are in or around them.
func holdsValues(text string, call *command.Call) bool {
	text = lettersOf(text)
	found := false
	for _, entry := range call.Content {
		for _, v := range entry {
			value, ok := v.(string)
			if !ok {
				data, err := json.Marshal(v)
				if err != nil {
					return false
				}
				value = string(data)
			}
			if value = lettersOf(value); value == "" {
				continue
			}
			if !strings.Contains(text, value) {
				return false
			}
			found = true
		}
	}
	return found
}

// lettersOf is a text without marks, spaces and escapes.
func lettersOf(text string) string {
	text = strings.NewReplacer(`\n`, "", `\t`, "", `\r`, "").Replace(text)
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsNumber(r) {
			return r
		}
		return -1
	}, text)
}
