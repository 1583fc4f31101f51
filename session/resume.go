package session

import (
	"cmp"
	"reflect"
	"slices"

	"agent/session/journal"
	"agent/session/redact"
)

// Going on where a killed process stopped: a turn that was written is carried out,
// calls of it that had run give their results, and one that was running is not
// run again without a person's word.

// openTurnOf is what the session file keeps of a turn beside its text. A turn
// whose calls hold something hidden is not kept: it would not be the same.
func openTurnOf(scrub redact.Scrubber, t *turn) *journal.OpenTurn {
	open := &journal.OpenTurn{Repairs: redact.Copy(scrub, t.repairs),
		Choices: redact.Copy(scrub, t.choices), Problem: scrub.Text(t.problem)}
	for _, call := range t.calls {
		if len(call.Content) > 0 && !reflect.DeepEqual(redact.Copy(scrub, call.Content), call.Content) {
			return nil
		}
		c := *call
		c.Summary, c.Notes = scrub.Text(c.Summary), redact.Copy(scrub, c.Notes)
		open.Calls = append(open.Calls, &c)
	}
	return open
}

// keepTurn adds a turn to the conversation, with what it asks for and its cost:
// a process killed from here on has not to ask the model again.
func (s *Session) keepTurn(t *turn) {
	usage := s.speaker.budget.usage
	s.talk.add(&journal.Entry{Kind: journal.KindTurn, Step: s.clock.steps, Text: t.text, Raw: t.raw},
		journal.Record{Turn: openTurnOf(s.book.scrub, t), Steps: s.clock.steps, Usage: &usage,
			WallMS: s.clock.wall()})
	s.calls.pending, s.calls.had = t, nil
}

// restore takes over what a session file tells.
func (s *Session) restore(old *journal.Saved) {
	s.resumed = true
	s.id, s.talk.task, s.talk.entries = old.Header.ID, old.Task, old.Entries
	if n := len(s.talk.entries); n > 0 {
		s.phase = cmp.Or(s.talk.entries[n-1].Next, journal.PhaseFresh)
	}
	if old.Result != nil {
		s.ended = old.Result.Stop
	}
	s.answered = s.ended == StopAnswered
	s.clock.steps, s.speaker.budget.usage, s.clock.wallMS = old.Steps, old.Usage, old.WallMS
	s.held = old.Held
	task := ""
	for _, ev := range old.Events {
		switch data := ev.Data.(type) {
		case *Started:
			if data.Task != task {
				s.about.wants, task = Wants{}, data.Task
			}
		case *Wants:
			s.about.wants = *data
		}
	}
	s.calls.intents, s.calls.blind, s.calls.lost = old.Intents, old.Blind, old.Lost
	for _, e := range s.talk.entries {
		if e.Kind != journal.KindTurn {
			s.book.scrub.Recall(e.Text)
		}
	}
	for _, d := range old.Done {
		d.Told = ""
		s.calls.circles.record(d)
	}
	if old.Open == nil || s.answered {
		return
	}
	s.calls.pending = &turn{calls: old.Open.Calls, repairs: old.Open.Repairs,
		choices: old.Open.Choices, problem: old.Open.Problem}
	s.calls.had = map[string]journal.Done{}
	for _, d := range old.Had {
		if d.Told != "" {
			s.calls.had[d.Key] = d
		}
	}
}

// takeUp makes the conversation whole where it was cut off: it says what was lost,
// and closes a turn that can't or, since the user has new words, shan't go on.
func (s *Session) takeUp(newWords string) {
	if s.calls.lost.Any() {
		s.book.warn("the session file is damaged: " + s.calls.lost.String())
		s.calls.lost = Lost{}
	}
	n := len(s.talk.entries)
	switch {
	case n == 0:
	case s.calls.pending != nil && newWords != "":
		s.dropPending()
	case s.calls.pending == nil && s.talk.entries[n-1].Kind == journal.KindTurn && newWords == "" &&
		s.ended.Budget():
		s.interject(s.words.render("go_on", nil))
	case s.calls.pending == nil && s.talk.entries[n-1].Kind == journal.KindTurn && newWords == "":
		s.interject(s.words.render("interrupted.tmpl", nil))
	}
	if n > 0 && !s.talk.has(journal.KindTask) {
		// it was among the lost
		first := &journal.Entry{Kind: journal.KindTask,
			Text: s.book.scrub.Text(s.firstMessage(s.talk.task))}
		s.talk.entries = slices.Insert(s.talk.entries, 0, first)
	}
}

// dropPending tells what came of a turn that new words of the user make void.
func (s *Session) dropPending() {
	var parts []string
	for _, call := range s.calls.pending.calls {
		if r, ok := s.calls.earlier(call); ok {
			parts = append(parts, r.text)
			continue
		}
		name := "not_begun"
		if cmd, err := s.opts.Registry.Resolve(call.Command); err == nil &&
			s.calls.mayHaveRun(newJob(cmd, call)) {
			name = "interrupted.tmpl"
		}
		parts = append(parts, s.words.render(name, call.Command))
	}
	s.calls.pending, s.calls.had = nil, nil
	s.interject(parts...)
}

// interject tells the model what stands between two runs of a session.
func (s *Session) interject(parts ...string) {
	s.phase = journal.PhaseFresh
	s.add(&journal.Entry{Kind: journal.KindResult, Step: s.clock.steps, Text: s.talk.tell(parts...)})
}

// doubt tells the model of a call that may have run, when nobody can be asked
// whether it shall run again. It is no refusal: looking first is the way on.
func (s *Session) doubt(j job) (reply, bool) {
	if !s.calls.mayHaveRun(j) {
		return reply{}, false
	}
	if s.calls.blind { // one call was cut off, not each that follows
		s.calls.blind = false
		s.calls.intents[j.key] = journal.Intent{Key: j.key, Step: s.clock.steps, Command: j.call.Command}
	}
	s.book.warn(j.call.Command + " may have run already: the run was cut off before its result was recorded")
	if s.opts.Approver != nil {
		return reply{}, false // decide asks
	}
	return s.instead(j, s.words.render("may_have_run", j.call.Command), journal.PhaseUncertain), true
}
