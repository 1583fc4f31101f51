package session

import (
	"cmp"
	"math"
	"reflect"
	"slices"
	"strings"

	"agent/backend"
	"agent/command"
)

// Going on where a killed process stopped. A turn that the model had written is
// carried out without asking for it again; calls of it that had run give the
// results they had; one that was running when the process died may have taken
// effect or not, and is not run again without a person's word.

// openTurnOf is what the session file keeps of a turn beside its text. A turn
// whose calls hold something hidden is not kept: it would not be the same.
func (s *Session) openTurnOf(t *turn) *openTurn {
	open := &openTurn{Repairs: s.scrub.texts(t.repairs), Choices: scrubbed(s.scrub, t.choices), Problem: s.scrub.text(t.problem)}
	for _, call := range t.calls {
		if len(call.Content) > 0 && !reflect.DeepEqual(scrubbed(s.scrub, call.Content), call.Content) {
			return nil
		}
		c := *call
		c.Summary, c.Notes = s.scrub.text(c.Summary), s.scrub.texts(c.Notes)
		open.Calls = append(open.Calls, &c)
	}
	return open
}

// keepTurn adds a turn to the conversation, with what it asks for and its cost:
// a process killed from here on has not to ask the model again.
func (s *Session) keepTurn(t *turn) {
	usage := s.usage
	s.addWith(&entry{Kind: kindTurn, Step: s.steps, Text: t.text, Raw: t.raw},
		record{Turn: s.openTurnOf(t), Steps: s.steps, Usage: &usage, WallMS: s.wallNow()})
	s.pending, s.had = t, nil
}

// restore takes over what a session file tells.
func (s *Session) restore(old *saved) {
	s.resumed = true
	s.id, s.task, s.entries = old.header.ID, old.task, old.entries
	if old.result != nil {
		s.ended = old.result.Stop
	}
	s.answered = s.ended == StopAnswered
	s.steps, s.usage, s.wallMS = old.steps, old.usage, old.wallMS
	s.held = old.held
	s.intents, s.blind, s.lost = old.intents, old.blind, old.lost
	for _, e := range s.entries {
		if e.Kind != kindTurn && placeholder.MatchString(e.Text) {
			s.scrub.hid.Store(true)
		}
	}
	for _, d := range old.done {
		d.Told = ""
		s.circles.record(d)
	}
	if old.open == nil || s.answered {
		return
	}
	s.pending = &turn{calls: old.open.Calls, repairs: old.open.Repairs, choices: old.open.Choices, problem: old.open.Problem}
	s.had = map[string]doneCall{}
	for _, d := range old.had {
		if d.Told != "" {
			s.had[d.Key] = d
		}
	}
}

// earlierReply is the result of a call of a turn that was cut off, when the
// call had run before the cut.
func (s *Session) earlierReply(call *command.Call) (reply, bool) {
	d, ok := s.had[callKey(call)]
	return reply{text: d.Told, short: d.Result, failed: d.Next == startFailed, next: d.Next}, ok
}

// takeUp makes the conversation whole where it was cut off, so that the next
// turn can follow: it says what was lost, and closes a turn that can't be
// carried out or, since the user has new words, shall not be.
func (s *Session) takeUp(newWords string) {
	if s.lost.Any() {
		s.warn("the session file is damaged: " + s.lost.String())
		s.lost = Lost{}
	}
	n := len(s.entries)
	switch {
	case n == 0:
	case s.pending != nil && newWords != "":
		s.dropPending()
	case s.pending == nil && s.entries[n-1].Kind == kindTurn && newWords == "" && s.ended.Budget():
		s.add(&entry{Kind: kindResult, Step: s.steps, Text: s.tell(s.words.render("go_on", nil))})
	case s.pending == nil && s.entries[n-1].Kind == kindTurn && newWords == "":
		s.add(&entry{Kind: kindResult, Step: s.steps, Text: s.tell(s.words.render("interrupted.tmpl", nil))})
	}
	if n > 0 && !slices.ContainsFunc(s.entries, func(e *entry) bool { return e.Kind == kindTask }) {
		first := &entry{Kind: kindTask, Text: s.scrub.text(s.firstMessage(s.task, s.snap))} // it was among the lost
		s.entries = slices.Insert(s.entries, 0, first)
	}
}

// dropPending tells what came of a turn that new words of the user make void.
func (s *Session) dropPending() {
	var parts []string
	for _, call := range s.pending.calls {
		if r, ok := s.earlierReply(call); ok {
			parts = append(parts, r.text)
			continue
		}
		name := "not_begun"
		if cmd, err := s.opts.Registry.Resolve(call.Command); err == nil && s.mayHaveRun(cmd, call) {
			name = "interrupted.tmpl"
		}
		parts = append(parts, s.words.render(name, call.Command))
	}
	s.pending, s.had = nil, nil
	s.add(&entry{Kind: kindResult, Step: s.steps, Text: s.tell(parts...)})
}

// mayHaveRun reports a call that had begun when its process was killed, or one
// that a part of the file told of which can't be read any more.
func (s *Session) mayHaveRun(cmd command.Command, call *command.Call) bool {
	if _, began := s.intents[callKey(call)]; began {
		return true
	}
	return s.blind && (command.EffectOf(cmd, call).Consequential() || call.Command == delegateName)
}

// doubt tells the model of a call that may have run, when nobody can be asked
// whether it shall run again. It is no refusal: looking first is the way on.
func (s *Session) doubt(cmd command.Command, call *command.Call) (reply, bool) {
	if !s.mayHaveRun(cmd, call) {
		return reply{}, false
	}
	if s.blind { // one call was cut off, not each that follows
		s.blind = false
		s.intents[callKey(call)] = intent{Key: callKey(call), Step: s.steps, Command: call.Command}
	}
	s.warn(call.Command + " may have run already: the run was cut off before its result was recorded")
	if s.opts.Approver != nil {
		return reply{}, false // decide asks
	}
	text := s.words.render("may_have_run", call.Command)
	s.emit(&CommandResult{Step: s.steps, Command: call.Command, Text: text, Failed: true})
	return reply{text: text, short: text, failed: true, next: startLook}, true
}

// intend makes it known on disk that a call is about to run, before it does. A
// call that can't be recorded does not run.
func (s *Session) intend(cmd command.Command, call *command.Call, key string) error {
	s.running = intent{Key: key, State: s.snap.hash(), Step: s.steps, Command: call.Command}
	if !command.EffectOf(cmd, call).Consequential() {
		return nil
	}
	for p := s.parent; p != nil; p = p.parent { // what was delegated has begun to have effects
		if _, known := p.intents[p.running.Key]; known {
			continue
		}
		if err := p.recordIntent(p.running); err != nil {
			return err
		}
	}
	return s.recordIntent(s.running)
}

func (s *Session) recordIntent(in intent) error {
	s.intents[in.Key] = in
	s.keep(record{Type: recIntent, Intent: &in})
	return s.log.sync()
}

// settle makes it known that the running call has ended, and how: done is nil
// for one that did not run.
func (s *Session) settle(done *doneCall) error {
	_, began := s.intents[s.running.Key]
	if done != nil {
		s.keep(record{Type: recDone, Done: done})
	} else if in := s.running; began {
		s.keep(record{Type: recNotRun, Intent: &in})
	}
	if !began {
		return nil
	}
	delete(s.intents, s.running.Key)
	return s.log.sync()
}

// ChoiceMade is a choice among options by their probabilities.
type ChoiceMade struct {
	Field       string         `json:"field"` // "command", or a field of it
	Method      string         `json:"method"`
	Options     []ScoredChoice `json:"options"` // the likeliest first
	More        int            `json:"more,omitempty"`
	OutsideMass *float64       `json:"outside_mass,omitempty"` // of replies that are none of the options
}

// ScoredChoice is one option; Probability is nil where the backend knows none.
type ScoredChoice struct {
	Text        string   `json:"text"`
	Probability *float64 `json:"probability,omitempty"`
	Chosen      bool     `json:"chosen,omitempty"`
}

// choiceOptionsMax options of a choice are told.
const choiceOptionsMax = 12

// choiceMade tells a choice with its numbers.
func choiceMade(field string, c *backend.Choice) ChoiceMade {
	made := ChoiceMade{Field: field, Method: c.Method, OutsideMass: known(c.OutsideMass)}
	for i, o := range c.Options {
		made.Options = append(made.Options, ScoredChoice{Text: strings.TrimSpace(o.Text), Probability: known(o.Probability), Chosen: i == c.Index})
	}
	made.More = max(len(made.Options)-choiceOptionsMax, 0)
	made.Options = likeliest(made.Options, choiceOptionsMax)
	return made
}

// known leaves out a number that a backend does not have.
func known(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

// likeliest puts options in order and keeps the first n; the chosen one stays
// whatever its place.
func likeliest(options []ScoredChoice, n int) []ScoredChoice {
	slices.SortStableFunc(options, func(a, b ScoredChoice) int {
		if a.Probability == nil || b.Probability == nil {
			return 0
		}
		return cmp.Compare(*b.Probability, *a.Probability)
	})
	if len(options) <= n {
		return options
	}
	if i := slices.IndexFunc(options, func(o ScoredChoice) bool { return o.Chosen }); i >= n {
		options[n-1] = options[i]
	}
	return options[:n]
}

// fieldName is the label after which a choice is made.
func fieldName(reply string) string {
	line := reply[strings.LastIndexByte(reply, '\n')+1:]
	return strings.ToLower(strings.TrimSuffix(line, ":"))
}

// startLook begins the note after a call that may have run.
const startLook = "start_look"
