package session

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode"

	"agent/command"
	"agent/command/salvage"
	"agent/session/journal"
)

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
			salvage.RepairXML, salvage.RepairFence, salvage.RepairReAct, salvage.RepairFunctionCall, salvage.RepairFirstWord, salvage.RepairMaybeQuoted,
		}, r)
	})
}

// wasShown reports that a call stands in a result or file that the model has
// before it; by its values alone when it need not stand there in the form of a
// call. The user's own words don't count.
func (w wire) wasShown(call *command.Call, values bool) bool {
	key := callKey(call)
	for _, e := range w.entries {
		text := w.dataOf(e)
		if values && holdsValues(text, call) {
			return true
		}
		for _, t := range []string{text, unescaped.Replace(text)} { // as it is, and inside of a string
			if slices.ContainsFunc(salvage.Within(t, w.opts.Registry), func(c command.Call) bool { return callKey(&c) == key }) {
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
