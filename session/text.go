package session

import (
	"context"
	"slices"
	"strings"

	"agent/backend"
	"agent/command"
	"agent/command/salvage"
)

// callsPerReplyMax bounds what one reply may ask for.
const callsPerReplyMax = 8

// textTurn is a turn of a backend without slots: a whole reply in the wire
// form, read tolerantly. One that can't be used is sent back once, with what
// is wrong with it.
func (s *Session) textTurn(ctx context.Context, msgs []backend.Message) (*turn, error) {
	raw, end, err := s.replyText(ctx, msgs)
	if err != nil {
		return nil, err
	}
	parsed, problem := s.read(raw, end, false)
	if problem == "" {
		return s.usable(raw, parsed, end), nil
	}
	s.invalid(raw, problem)
	raw, end, err = s.replyText(ctx, s.askAgain(msgs, raw, problem))
	if err != nil {
		return nil, err
	}
	if parsed, problem = s.read(raw, end, parsed.Repaired(salvage.RepairMaybeQuoted)); problem == "" {
		t := s.usable(raw, parsed, end)
		if len(parsed.Repairs) == 0 {
			s.usage.RepairedReplies++
		}
		return t, nil
	}
	s.invalid(raw, problem)
	return &turn{text: nonEmpty(raw), problem: s.repairText(problem)}, nil
}

// replyText is a whole reply, and how it ended.
func (s *Session) replyText(ctx context.Context, msgs []backend.Message) (string, ending, error) {
	tokensMax, err := s.allowance(s.opts.Limits.ReplyTokensMax)
	if err != nil {
		return "", endLimit, err
	}
	text, finish, err := s.completion(ctx, &backend.Request{Messages: msgs, Sampling: s.opts.Sampling, TokensMax: tokensMax}, s.tellDelta)
	return text, endingOf(finish, tokensMax, s.opts.Limits.ReplyTokensMax), err
}

// cutInside reports that the reply was cut off within a call. Of JSON it is
// known where a call ends; other forms go on as long as the reply does.
func cutInside(parsed salvage.Parsed, end ending) bool {
	if parsed.Repaired(salvage.RepairTruncated) {
		return true
	}
	return end.cut() && slices.ContainsFunc(parsed.Repairs, func(r salvage.Repair) bool {
		return slices.Contains([]salvage.Repair{
			salvage.RepairXML, salvage.RepairFence, salvage.RepairReAct, salvage.RepairFunctionCall, salvage.RepairFirstWord, salvage.RepairProse,
		}, r)
	})
}

// read makes calls of a reply, or says why none of it can be used. One that was
// asked for again, since it was among words, may still be quoted.
func (s *Session) read(raw string, end ending, again bool) (salvage.Parsed, string) {
	parsed := salvage.Parse(raw, s.opts.Registry)
	if parsed.Repaired(salvage.RepairMaybeQuoted) {
		parsed = s.withoutQuoted(raw, parsed)
	}
	if len(parsed.Calls) == 0 {
		return parsed, s.words.render("empty", nil)
	}
	if len(parsed.Calls) > callsPerReplyMax {
		return parsed, s.words.render("too_many", callsPerReplyMax)
	}
	for _, c := range parsed.Calls {
		if problem := s.callProblem(c, parsed, cutInside(parsed, end), again); problem != "" {
			return parsed, problem
		}
	}
	return parsed, ""
}

// callProblem is why a call must not run: its command is unknown, or it would
// change something on the word of a guess, of a reply that was cut off, or of
// what is only quoted.
func (s *Session) callProblem(c salvage.ParsedCall, parsed salvage.Parsed, cut, again bool) string {
	d := reasonData{Name: oneLine(c.Command, 60), Nearest: c.Suggestion, Names: s.opts.Registry.Names()}
	cmd, err := s.opts.Registry.Resolve(c.Command)
	switch {
	case err != nil && c.Match == command.MatchFuzzy:
		return s.words.render("fuzzy", d)
	case err != nil:
		return s.words.render("unknown", d)
	case !command.EffectOf(cmd, &c.Call).Consequential():
	case cut:
		return s.words.render("cut_off", d)
	case c.Match == command.MatchFuzzy: // harmless by itself, but not with these fields
		return s.words.render("fuzzy", d)
	case s.wasShown(&c.Call, again || asText(parsed)):
		return s.words.render("was_shown", d)
	case parsed.Repaired(salvage.RepairMaybeQuoted):
		return s.words.render("maybe_quoted", d)
	}
	return ""
}

// usable is the turn of a reply that was understood. The prompt keeps the
// reply as written if nothing was mended, else its canonical form.
func (s *Session) usable(raw string, parsed salvage.Parsed, end ending) *turn {
	t := &turn{text: raw}
	if cutInside(parsed, end) {
		t.end = end
	}
	for _, r := range parsed.Repairs {
		t.repairs = append(t.repairs, string(r))
	}
	var notes, lines []string
	for _, c := range parsed.Calls {
		call := c.Call
		t.calls = append(t.calls, &call)
		notes = append(notes, call.Notes...)
		if line, err := command.Marshal(&call); err == nil {
			lines = append(lines, string(line))
		}
	}
	if len(t.repairs) > 0 {
		s.usage.RepairedReplies++
		t.text, t.raw = strings.Join(lines, "\n"), raw
	}
	if t.note = strings.Join(slices.Compact(notes), " "); t.note != "" {
		s.emit(&Note{Step: s.steps, Text: t.note})
	}
	return t
}

func (s *Session) invalid(raw, problem string) {
	s.usage.InvalidReplies++
	s.keep(record{Type: recInvalid, Raw: s.scrub.text(raw), Reason: problem})
}

// askAgain is the conversation with the unusable reply and what is wrong with
// it. It is asked beside the transcript, which keeps only what was usable.
func (s *Session) askAgain(msgs []backend.Message, raw, problem string) []backend.Message {
	out := slices.Clone(msgs)
	return append(out,
		backend.Message{Role: backend.RoleAssistant, Content: nonEmpty(raw)},
		backend.Message{Role: backend.RoleUser, Content: s.repairText(problem)})
}

func (s *Session) repairText(problem string) string {
	return s.words.render("repair.tmpl", map[string]string{"Reason": problem, "Example": s.exampleCall()})
}

// exampleCall is a call in the wire form: the one that ends a task.
func (s *Session) exampleCall() string {
	final := s.finalName()
	call := command.Call{Command: final, Summary: "…", Content: []map[string]any{{}}}
	if cmd, err := s.opts.Registry.Resolve(final); err == nil {
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
