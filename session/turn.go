package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"agent/backend"
	"agent/command"
	"agent/session/event"
	"agent/session/journal"
	"agent/session/prose"
)

// turn is what the model wants in one step.
type turn struct {
	text    string // the assistant's message, as it stays in the prompt
	raw     string // the model's own words, where text is their canonical form
	note    string
	calls   []*command.Call
	repairs []string
	problem string // why nothing can be carried out; told to the model
	choices []ChoiceMade
	end     ending // of the answer among the calls
}

// work is the loop: ask, carry out, until something ends it.
func (s *Session) work(ctx context.Context, task string) (*Result, error) {
	res := &Result{}
	if err := s.begin(ctx, task); err != nil {
		return res, err
	}
	for s.clock.left() > 0 {
		out, err := s.step(ctx)
		if err != nil {
			return res, err
		}
		switch out.stop {
		case "":
		case StopLoop:
			return s.lastWords(ctx, res, StopLoop), nil
		default:
			res.Answer, res.Stop, res.Cut, res.Unmet = out.answer, out.stop, out.cut, out.unmet
			return res, nil
		}
	}
	return s.lastWords(ctx, res, StopSteps), nil
}

// step is one turn of the model and what comes of it.
func (s *Session) step(ctx context.Context) (outcome, error) {
	if err := ctx.Err(); err != nil {
		return outcome{}, err
	}
	if err := s.book.log.Failure(); err != nil {
		return outcome{}, err
	}
	if s.calls.pending == nil { // else a turn waits that was cut off
		s.clock.steps++
		s.watch.look()
		if err := s.about.suit(ctx); err != nil {
			return outcome{}, err
		}
		s.refreshCommands(ctx)
		t, err := s.askFresh(ctx)
		if err != nil {
			return outcome{}, err
		}
		s.keepTurn(t)
	}
	out, err := s.carryOut(ctx, s.calls.pending)
	if err != nil {
		return outcome{}, err
	}
	s.calls.pending, s.calls.had = nil, nil
	if out.message != "" {
		s.phase = out.next
		s.add(&journal.Entry{Kind: journal.KindResult, Step: s.clock.steps, Text: out.message,
			Digest: out.digest, Next: out.next})
	}
	s.saveStep()
	return out, nil
}

// lastWords lets the model answer with what it has when its steps are spent.
// It is best effort: whatever fails here, the run has ended already.
func (s *Session) lastWords(ctx context.Context, res *Result, stop Stop) *Result {
	res.Stop = stop
	final := s.opts.finalName()
	if s.opts.mode() != modeSlots || final == "" {
		return res
	}
	text := s.words.render("last_words.tmpl", lastWordsData{
		reminder: s.talk.reminder(), Loop: stop == StopLoop, Final: final,
	})
	s.add(&journal.Entry{Kind: journal.KindResult, Step: s.clock.steps, Text: text})
	s.phase = journal.PhaseLastWords
	t, err := s.ask(ctx, aim{phase: s.phase})
	if err != nil || len(t.calls) == 0 {
		return res
	}
	s.add(&journal.Entry{Kind: journal.KindTurn, Step: s.clock.steps, Text: t.text})
	cmd, err := s.opts.Registry.Resolve(final)
	if err != nil {
		return res
	}
	if r, err := s.runSafely(ctx, newJob(cmd, t.calls[0])); err == nil && !r.Failed {
		res.Answer = answerText(r, t.calls[0], cmd.Spec())
	}
	if wasHeld(s.held, res.Answer) {
		s.book.warn("the last answer is left out: a check had held it back")
		res.Answer = ""
	}
	if res.Answer != "" {
		res.Cut = t.end.cut()
		s.warnOfCut(t.end)
	}
	s.checker().warnOfDoubts(res.Answer)
	return res
}

// aim is what a turn is asked for with.
type aim struct {
	phase    journal.Phase     // by which the note begins
	sampling *backend.Sampling // over the session's
	not      *command.Call     // a call that may not be chosen again
	notName  bool              // nor its command
}

// redraftsMax is how often a turn that would only repeat an earlier one is
// drawn again before the model is told.
const redraftsMax = 2

// askFresh gets a turn that is not a circle, if the model has one. One that
// repeats a call is drawn again: in the prompt it would teach repetition.
func (s *Session) askFresh(ctx context.Context) (*turn, error) {
	t, err := s.ask(ctx, aim{phase: s.phase})
	if s.opts.mode() != modeSlots || !s.opts.has(AidCircleBreak) {
		return t, err
	}
	for try := 0; try < redraftsMax && err == nil; try++ {
		call, done := s.repeats(t)
		if call == nil {
			break
		}
		s.book.warn(fmt.Sprintf("the same call as in step %d was wanted again; another was asked for",
			done.Step))
		t, err = s.ask(ctx, s.otherAim(call, done, try))
	}
	return t, err
}

// otherAim is how a turn that would repeat an earlier call is drawn again: a
// choice without what was chosen, another command instead of a look that names
// nothing. If that does not help, only the answer is left after what had worked
// (unless one was just held back), and another command after what had failed.
func (s *Session) otherAim(call *command.Call, done journal.Done, try int) aim {
	again := aim{phase: circling(done), sampling: redraftSampling(s.clock.steps, try), not: call,
		notName: try == redraftsMax-1 || done.Failed && s.opts.has(AidOtherWay)}
	cmd, err := s.opts.Registry.Resolve(call.Command)
	switch {
	case err != nil || done.Failed:
		return again
	case s.phase == journal.PhaseWithheld:
		again.notName = true
		return again
	}
	spec := cmd.Spec()
	reads, bare := spec.Effect == command.EffectRead, len(optionalSlots(spec.Slots)) == len(spec.Slots)
	if choice := s.hasChoice(spec); try == 0 && (choice || reads && bare) {
		again.notName = !choice
		return again
	}
	if reads {
		return aim{phase: journal.PhaseLastWords}
	}
	return aim{phase: journal.PhaseFinished}
}

// hasChoice reports a command one of whose fields can be chosen another way.
func (s *Session) hasChoice(spec command.Spec) bool {
	files := func() bool {
		return len(s.watch.choices(s.talk.task, s.view(aim{}).mustLook(s.phase))) > 1
	}
	return slices.ContainsFunc(spec.Slots, func(slot command.Slot) bool {
		return !slot.Optional && (slot.Kind == command.SlotEnum ||
			slot.Kind == command.SlotFile && files())
	})
}

// repeats finds a call of this turn that would only repeat that of an earlier
// step.
func (s *Session) repeats(t *turn) (*command.Call, journal.Done) {
	for _, call := range t.calls {
		cmd, err := s.opts.Registry.Resolve(call.Command)
		if err != nil || cmd.Spec().Final || cmd.Spec().Effect == command.EffectNetwork {
			continue
		}
		if done, ok := s.calls.circles.earlier(callKey(call), s.watch.now.Hash()); ok {
			return call, done
		}
	}
	return nil, journal.Done{}
}

// redraftTemperature is warm enough to leave a rut and not to write nonsense.
const redraftTemperature = 0.7

func redraftSampling(step, try int) *backend.Sampling {
	return &backend.Sampling{Temperature: new(redraftTemperature),
		Seed: new(uint32(step*redraftsMax + try))}
}

// ask gets one turn of the model. A prompt that turns out too long is
// compacted, once.
func (s *Session) ask(ctx context.Context, a aim) (*turn, error) {
	if err := s.talk.fit(ctx); err != nil {
		return nil, err
	}
	t, err := s.askOnce(ctx, a)
	if _, ok := errors.AsType[*backend.ContextError](err); ok {
		if err := s.talk.compact(ctx, s.speaker.promptLimit()/2); err != nil {
			return nil, err
		}
		t, err = s.askOnce(ctx, a)
	}
	return t, err
}

func (s *Session) askOnce(ctx context.Context, a aim) (*turn, error) {
	if s.opts.mode() == modeText {
		return wire{s.talk, &s.opts}.turn(ctx, s.talk.messages())
	}
	return s.slotTurn(ctx, a)
}

// slotTurn is a turn in three parts: a free note, a scored command, its fields.
func (s *Session) slotTurn(ctx context.Context, a aim) (*turn, error) {
	v := s.view(a)
	d := &draft{speaker: s.speaker, msgs: s.talk.messages(),
		sampling: a.sampling.Merge(s.opts.Sampling)}
	d.files = append(s.watch.choices(s.talk.task, v.mustLook(s.phase)),
		s.watch.missing(s.talk.task, s.about.wants.Result)...)
	d.place = &passage{lines: s.linesOf, task: s.talk.task}
	d.targets, d.number = s.about.targets(), s.about.wants.Number
	d.opening = s.watch.opening(v.files, s.about.wants.Writes)
	if s.opts.Env.Web.Allow {
		d.addresses = s.talk.seenAddresses()
	}
	if !a.notName {
		d.not = a.not
	}
	note, err := s.writeNote(ctx, d, a.phase)
	if err != nil {
		return nil, err
	}
	d.write(s.words.render("command", nil))
	spec, err := d.command(ctx, offer(s.phase, v))
	if err != nil {
		return nil, err
	}
	content, err := d.fillSlots(ctx, spec)
	if bad, ok := errors.AsType[*slotError](err); ok {
		return s.talk.unusable(d.text.String(), note, bad), nil
	}
	if err != nil {
		return nil, err
	}
	call := &command.Call{Command: spec.Name, Summary: note, Content: []map[string]any{content}}
	return &turn{text: d.text.String(), note: note, calls: []*command.Call{call}, choices: d.choices,
		end: d.end}, nil
}

// writeNote lets the model reason in a line of its own.
func (s *Session) writeNote(ctx context.Context, d *draft, p journal.Phase) (string, error) {
	if !s.opts.has(AidNote) {
		return "", nil
	}
	start := ""
	if s.opts.has(AidNoteStart) {
		start = s.words.start(p, s.watch.last)
	}
	d.write(s.words.render("note", nil) + start)
	line := generation{tokensMax: d.limits.NoteTokensMax, stop: []string{"\n"}, rut: prose.ProseRut()}
	rest, _, err := d.generate(ctx, line)
	if err != nil {
		return "", err
	}
	note := strings.TrimSpace(start + rest)
	s.book.emit(&Note{Step: s.clock.steps, Text: note})
	d.write("\n")
	return note, nil
}

// command scores the commands that are offered.
func (d *draft) command(ctx context.Context, specs []command.Spec) (command.Spec, error) {
	if len(specs) == 0 {
		return command.Spec{}, errors.New("session: no command is enabled")
	}
	i, err := d.pick(ctx, namesOf(specs))
	if err != nil {
		return command.Spec{}, err
	}
	return specs[i], nil
}

// unusable is a turn whose fields can't be read.
func (c *conversation) unusable(text, note string, bad *slotError) *turn {
	c.invalid(text, bad.Error())
	problem := c.words.render("bad_slot", map[string]string{"Name": bad.name, "Problem": bad.problem})
	return &turn{text: text, note: note, problem: problem}
}

type lastWordsData struct {
	reminder
	Loop  bool
	Final string
}

// outcome is what a step came to.
type outcome struct {
	message string        // to the model
	digest  string        // in one line, for summaries
	next    journal.Phase // of the run
	stop    Stop
	answer  string
	cut     bool   // the answer goes on, and nobody knows how
	unmet   string // what the answer leaves missing
}

// carryOut carries out the calls of a turn in order, until one fails.
func (s *Session) carryOut(ctx context.Context, t *turn) (outcome, error) {
	if t.problem != "" {
		return outcome{message: s.talk.tell(t.problem), next: journal.PhaseFailed}, nil
	}
	var parts, digests []string
	next := journal.PhaseDone
	for i, call := range t.calls {
		r, had := s.calls.earlier(call)
		if !had {
			var err error
			if r, err = s.carryOutCall(ctx, t, call); err != nil {
				return outcome{}, err
			}
		}
		if r.stop != "" {
			return outcome{stop: r.stop, answer: r.answer, cut: r.answer != "" && t.end.cut(),
				unmet: r.unmet}, nil
		}
		if r.withheld {
			s.talk.forgetAnswer(t.calls[:i])
		}
		parts, digests = append(parts, r.text), append(digests, s.digest(call, r))
		next = r.next
		if r.failed {
			// What the model wanted to do or say next relied on this.
			if rest := t.calls[i+1:]; len(rest) > 0 {
				parts = append(parts, s.words.render("skipped.tmpl", callNames(rest)))
			}
			break
		}
	}
	return outcome{message: s.talk.tell(parts...), digest: strings.Join(digests, "\n"), next: next},
		nil
}

// digest is a call and its result in one line.
func (s *Session) digest(call *command.Call, r reply) string {
	about := ""
	if !r.withheld { // a withheld answer must not come out later
		about = prose.OneLine(aboutCall(call), 60)
	}
	return s.words.render("digest.tmpl", map[string]any{
		"Step": s.clock.steps, "Command": call.Command, "About": about,
		"Failed": r.failed, "Result": prose.OneLine(r.short, digestResultRunes),
	})
}

func callNames(calls []*command.Call) string {
	names := make([]string, len(calls))
	for i, c := range calls {
		names[i] = c.Command
	}
	return strings.Join(names, ", ")
}

// reply is what the model is told of one call.
type reply struct {
	text   string // whole, with fences
	short  string // the result alone, for a digest
	failed bool
	next   journal.Phase
	stop   Stop
	answer string
	unmet  string // what is missing, with StopUnmet

	withheld bool // an answer that is not accepted
}

// carryOutCall runs one call, unless something speaks against it.
func (s *Session) carryOutCall(ctx context.Context, t *turn, call *command.Call) (reply, error) {
	cmd, err := s.opts.Registry.Resolve(call.Command)
	if err != nil {
		s.book.emit(event.Made(s.clock.steps, call, false, t.repairs))
		return s.unknown(call.Command), nil
	}
	j := newJob(cmd, call)
	made := event.Made(s.clock.steps, call, j.spec.Final, t.repairs)
	made.Choices = t.choices
	s.book.emit(made)
	if j.spec.Final { // how often it is sent back is bounded
		return s.conclude(ctx, t, j)
	}
	s.held.Work = false
	if s.calls.circles.ask(j.key) >= identicalCallsMax && s.refusals == 0 {
		return reply{stop: StopLoop}, nil
	}
	if done, ok := s.calls.circles.earlier(j.key, s.watch.now.Hash()); ok &&
		j.spec.Effect != command.EffectNetwork {
		return s.circle(j, done), nil
	}
	release, err := s.holdWork(ctx, j)
	if err != nil {
		return reply{}, err
	}
	defer release()
	if r, is := s.destroysSecret(j); is {
		return r, nil
	}
	if r, is := s.doubt(j); is {
		return r, nil
	}
	decision, err := s.gate.approve(ctx, j)
	switch {
	case err != nil:
		return reply{}, err
	case decision.Allow:
		return s.run(ctx, j)
	case s.calls.mayHaveRun(j):
		s.refusals-- // not to repeat a call keeps nobody from doing the task
	}
	return s.refused(call, decision), nil
}

func (s *Session) unknown(name string) reply {
	reg := s.opts.Registry
	return told(s.words.render("unknown", reasonData{
		Name: prose.OneLine(name, 60), Nearest: reg.Lookup(name).Suggestion, Names: reg.Names(),
	}), journal.PhaseFailed)
}

// circle answers a call that was already made, with its result and with the
// way to go on that is next in turn.
func (s *Session) circle(j job, done journal.Done) reply {
	const angles = 4
	angle := fmt.Sprintf("angle%d", s.calls.circles.found%angles)
	s.calls.circles.found++
	r := s.instead(j, s.words.render("circle.tmpl", circleData{
		Earlier: done.Step, Block: prose.Fenced(done.Result),
		Angle: s.words.render(angle, systemData{Final: s.opts.finalName()}),
	}), circling(done))
	r.short = s.words.render("same_call", done)
	return r
}

type reasonData struct {
	Name, Nearest string
	Names         []string
}
