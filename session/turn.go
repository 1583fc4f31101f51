package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"agent/backend"
	"agent/command"
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
	if err := s.begin(task); err != nil {
		return res, err
	}
	for s.runSteps() < s.opts.Limits.StepsMax {
		out, err := s.step(ctx)
		if err != nil {
			return res, err
		}
		switch out.stop {
		case "":
		case StopLoop:
			return s.lastWords(ctx, res, StopLoop), nil
		default:
			res.Answer, res.Stop, res.Cut = out.answer, out.stop, out.cut
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
	if err := s.log.failure(); err != nil {
		return outcome{}, err
	}
	if s.pending == nil { // else a turn waits that was cut off
		s.steps++
		s.snap = takeSnapshot(s.opts.Env.WorkDir, s.snap)
		s.refreshCommands(ctx)
		t, err := s.askFresh(ctx)
		if err != nil {
			return outcome{}, err
		}
		s.keepTurn(t)
	}
	out, err := s.carryOut(ctx, s.pending)
	if err != nil {
		return outcome{}, err
	}
	s.pending, s.had = nil, nil
	if out.message != "" {
		s.add(&entry{Kind: kindResult, Step: s.steps, Text: out.message, Digest: out.digest, Next: out.next})
	}
	s.saveStep()
	return out, nil
}

// lastWords lets the model answer with what it has when its steps are spent.
// It is best effort: whatever fails here, the run has ended already.
func (s *Session) lastWords(ctx context.Context, res *Result, stop Stop) *Result {
	res.Stop = stop
	final := s.finalName()
	if s.mode != modeSlots || final == "" {
		return res
	}
	s.add(&entry{Kind: kindResult, Step: s.steps, Text: s.words.render("last_words.tmpl", lastWordsData{
		reminder: s.reminder(), Loop: stop == StopLoop, Final: final,
	})})
	t, err := s.ask(ctx, aim{only: final, start: startLast})
	if err != nil || len(t.calls) == 0 {
		return res
	}
	s.add(&entry{Kind: kindTurn, Step: s.steps, Text: t.text})
	cmd, err := s.opts.Registry.Resolve(final)
	if err != nil {
		return res
	}
	if r, err := s.runSafely(ctx, cmd, t.calls[0]); err == nil && !r.Failed {
		res.Answer = answerText(r, t.calls[0], cmd.Spec())
	}
	if s.wasWithheld(res.Answer) {
		s.warn("the last answer is left out: a check had held it back")
		res.Answer = ""
	}
	if res.Cut = res.Answer != "" && t.end.cut(); res.Cut {
		s.warnOfCut(t.end)
	}
	s.warnOfDoubts(res.Answer)
	return res
}

// aim is what a turn is asked for with.
type aim struct {
	only     string            // the one command that is allowed, if not all are
	start    string            // how the note begins
	sampling *backend.Sampling // over the session's
	not      *command.Call     // a call that may not be chosen again
	notName  bool              // nor its command
}

// redraftsMax is how often a turn that would only repeat an earlier one is
// drawn again before the model is told.
const redraftsMax = 2

// askFresh gets a turn that is not a circle, if the model has one. A turn
// that repeats an earlier call is dropped and drawn again: in the prompt it
// would only teach the model to repeat itself.
func (s *Session) askFresh(ctx context.Context) (*turn, error) {
	t, err := s.ask(ctx, aim{start: s.nextStart()})
	for try := 0; try < redraftsMax && err == nil && s.mode == modeSlots && s.has(AidCircleBreak); try++ {
		call, done := s.repeats(t)
		if call == nil {
			break
		}
		s.warn(fmt.Sprintf("the same call as in step %d was wanted again; another was asked for", done.Step))
		t, err = s.ask(ctx, s.otherAim(call, done, try))
	}
	return t, err
}

// otherAim is how a turn that would repeat an earlier call is drawn again. A
// choice (of a file, say) is made without what was chosen, and instead of a
// look that names nothing, such as a list, another command is taken. When that does not help, what
// had worked means that nothing is left to do but to answer, unless an answer
// was just held back; what had failed is tried another way, and last with
// another command.
func (s *Session) otherAim(call *command.Call, done doneCall, try int) aim {
	again := aim{start: againStart(done), sampling: redraftSampling(s.steps, try), not: call, notName: try == redraftsMax-1 || done.Failed && s.has(AidOtherWay)}
	cmd, err := s.opts.Registry.Resolve(call.Command)
	switch {
	case err != nil || done.Failed:
		return again
	case s.nextStart() == startWithheld:
		again.notName = true
		return again
	}
	spec := cmd.Spec()
	reads, bare := spec.Effect == command.EffectRead, len(optionalSlots(spec.Slots)) == len(spec.Slots)
	if choice := s.hasChoice(spec); try == 0 && (choice || reads && bare) {
		again.notName = !choice
		return again
	}
	start := startFinished
	if reads {
		start = startLast
	}
	return aim{start: start, only: s.finalName()}
}

// againStart begins the note of a turn that is drawn again: what had failed is
// not called done.
func againStart(done doneCall) string {
	if done.Failed {
		return startOther
	}
	return startAgain
}

// hasChoice reports a command one of whose fields can be chosen another way.
func (s *Session) hasChoice(spec command.Spec) bool {
	return slices.ContainsFunc(spec.Slots, func(slot command.Slot) bool {
		files := slot.Kind == command.SlotFile && len(s.fileChoices()) > 1
		return !slot.Optional && (files || slot.Kind == command.SlotEnum)
	})
}

// nextStart is how the next note begins, by what the model was told last.
func (s *Session) nextStart() string {
	if n := len(s.entries); n > 0 && s.entries[n-1].Next != "" {
		return s.entries[n-1].Next
	}
	return startFirst
}

// repeats finds a call of this turn that would only repeat that of an earlier
// step.
func (s *Session) repeats(t *turn) (*command.Call, doneCall) {
	for _, call := range t.calls {
		cmd, err := s.opts.Registry.Resolve(call.Command)
		if err != nil || cmd.Spec().Final || cmd.Spec().Effect == command.EffectNetwork {
			continue
		}
		if done, ok := s.circles.earlier(callKey(call), s.snap.hash()); ok {
			return call, done
		}
	}
	return nil, doneCall{}
}

// redraftTemperature is warm enough to leave a rut and not to write nonsense.
const redraftTemperature = 0.7

func redraftSampling(step, try int) *backend.Sampling {
	temperature, seed := redraftTemperature, uint32(step*redraftsMax+try)
	return &backend.Sampling{Temperature: &temperature, Seed: &seed}
}

// ask gets one turn of the model. A prompt that turns out too long is
// compacted, once.
func (s *Session) ask(ctx context.Context, a aim) (*turn, error) {
	if err := s.fit(ctx); err != nil {
		return nil, err
	}
	t, err := s.askOnce(ctx, a)
	var over *backend.ContextError
	if errors.As(err, &over) {
		if err := s.compact(ctx, s.promptLimit()/2); err != nil {
			return nil, err
		}
		t, err = s.askOnce(ctx, a)
	}
	return t, err
}

func (s *Session) askOnce(ctx context.Context, a aim) (*turn, error) {
	msgs := messages(s.system, s.entries)
	if s.mode == modeText {
		return s.textTurn(ctx, msgs)
	}
	return s.slotTurn(ctx, msgs, a)
}

// slotTurn is a turn in three parts: a free note, a scored command, its fields.
func (s *Session) slotTurn(ctx context.Context, msgs []backend.Message, a aim) (*turn, error) {
	d := &draft{s: s, msgs: msgs, sampling: a.sampling.Merge(s.opts.Sampling)}
	if a.not != nil && !a.notName {
		d.not = a.not
	}
	note, err := d.writeNote(ctx, a)
	if err != nil {
		return nil, err
	}
	d.write(s.words.render("command", nil))
	spec, err := d.chooseCommand(ctx, a)
	if err != nil {
		return nil, err
	}
	content, err := d.fillSlots(ctx, spec)
	var bad *slotError
	if errors.As(err, &bad) {
		return s.unusable(d.text.String(), note, bad), nil
	}
	if err != nil {
		return nil, err
	}
	call := &command.Call{Command: spec.Name, Summary: note, Content: []map[string]any{content}}
	return &turn{text: d.text.String(), note: note, calls: []*command.Call{call}, choices: d.choices, end: d.end}, nil
}

// writeNote lets the model reason in a line of its own.
func (d *draft) writeNote(ctx context.Context, a aim) (string, error) {
	if !d.s.has(AidNote) {
		return "", nil
	}
	start := ""
	if d.s.has(AidNoteStart) {
		start = d.s.words.render(a.start, d.s.lastFile)
	}
	d.write(d.s.words.render("note", nil) + start)
	rest, _, err := d.generate(ctx, generation{tokensMax: d.s.opts.Limits.NoteTokensMax, stop: []string{"\n"}, rut: proseRut})
	if err != nil {
		return "", err
	}
	note := strings.TrimSpace(start + rest)
	d.s.emit(&Note{Step: d.s.steps, Text: note})
	d.write("\n")
	return note, nil
}

// chooseCommand scores the commands that may be used now.
func (d *draft) chooseCommand(ctx context.Context, a aim) (command.Spec, error) {
	specs := slices.DeleteFunc(d.s.offered(), func(c command.Spec) bool {
		return a.only != "" && c.Name != a.only || a.notName && c.Name == a.not.Command ||
			c.Name == delegateName && !d.s.mayDelegate()
	})
	if a.only == "" {
		specs = d.s.workFirst(d.s.worthwhile(specs))
	}
	if reading := readers(specs); len(reading) > 0 && d.s.mustLook() {
		specs = reading
	}
	if len(specs) == 0 {
		return command.Spec{}, errors.New("session: no command is enabled")
	}
	names := make([]string, len(specs))
	for i, c := range specs {
		names[i] = " " + c.Name
	}
	i, err := d.choose(ctx, names)
	if err != nil {
		return command.Spec{}, err
	}
	return specs[i], nil
}

// unusable is a turn whose fields can't be read.
func (s *Session) unusable(text, note string, bad *slotError) *turn {
	s.usage.InvalidReplies++
	s.keep(record{Type: recInvalid, Raw: s.scrub.text(text), Reason: bad.Error()})
	return &turn{text: text, note: note, problem: s.words.render("bad_slot", map[string]string{
		"Name": bad.name, "Problem": bad.problem,
	})}
}

type lastWordsData struct {
	reminder
	Loop  bool
	Final string
}

// outcome is what a step came to.
type outcome struct {
	message string // to the model
	digest  string // in one line, for summaries
	next    string // how the next note begins
	stop    Stop
	answer  string
	cut     bool // the answer goes on, and nobody knows how
}

// carryOut carries out the calls of a turn in order, until one fails.
func (s *Session) carryOut(ctx context.Context, t *turn) (outcome, error) {
	if t.problem != "" {
		return outcome{message: s.tell(t.problem), next: startFailed}, nil
	}
	var parts, digests []string
	next := startDone
	for i, call := range t.calls {
		r, had := s.earlierReply(call)
		if !had {
			var err error
			if r, err = s.carryOutCall(ctx, t, call); err != nil {
				return outcome{}, err
			}
		}
		if r.stop != "" {
			return outcome{stop: r.stop, answer: r.answer, cut: r.answer != "" && t.end.cut()}, nil
		}
		if r.withheld {
			s.forgetAnswer(t.calls[:i])
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
	return outcome{message: s.tell(parts...), digest: strings.Join(digests, "\n"), next: next}, nil
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
	next   string // how the next note begins
	stop   Stop
	answer string

	withheld bool // an answer that is not accepted
}

// carryOutCall runs one call, unless something speaks against it.
func (s *Session) carryOutCall(ctx context.Context, t *turn, call *command.Call) (reply, error) {
	cmd, err := s.opts.Registry.Resolve(call.Command)
	if err != nil {
		s.emit(callMade(s.steps, call, false, t.repairs))
		return s.unknown(call.Command), nil
	}
	spec := specOf(cmd, call)
	made := callMade(s.steps, call, spec.Final, t.repairs)
	made.Choices = t.choices
	s.emit(made)
	key := callKey(call)
	if spec.Final { // how often it is sent back is bounded
		return s.conclude(ctx, t, cmd, call)
	}
	s.held.Work = false
	if s.circles.ask(key) >= identicalCallsMax && s.refusals == 0 {
		return reply{stop: StopLoop}, nil
	}
	if done, ok := s.circles.earlier(key, s.snap.hash()); ok && spec.Effect != command.EffectNetwork {
		return s.circle(done), nil
	}
	release, err := s.holdWork(ctx, cmd, call)
	if err != nil {
		return reply{}, err
	}
	defer release()
	if r, told := s.destroysSecret(cmd, call); told {
		return r, nil
	}
	if r, told := s.doubt(cmd, call); told {
		return r, nil
	}
	decision, err := s.approve(ctx, cmd, spec, call)
	if err != nil {
		return reply{}, err
	}
	if !decision.Allow && s.mayHaveRun(cmd, call) {
		s.refusals-- // not to repeat a call keeps nobody from doing the task
	}
	if !decision.Allow {
		return s.refused(call, decision), nil
	}
	return s.runCommand(ctx, cmd, call, key)
}

func (s *Session) unknown(name string) reply {
	look := s.opts.Registry.Lookup(name)
	text := s.words.render("unknown", reasonData{Name: oneLine(name, 60), Nearest: look.Suggestion, Names: s.opts.Registry.Names()})
	return reply{text: text, short: text, failed: true, next: startFailed}
}

// circle answers a call that was already made, with its result and with the
// way to go on that is next in turn.
func (s *Session) circle(done doneCall) reply {
	const angles = 4
	angle := fmt.Sprintf("angle%d", s.circles.found%angles)
	s.circles.found++
	text := s.words.render("circle.tmpl", circleData{
		Earlier: done.Step, Block: fenced(done.Result),
		Angle: s.words.render(angle, systemData{Final: s.finalName()}),
	})
	s.emit(&CommandResult{Step: s.steps, Command: done.Command, Text: text, Failed: true})
	return reply{text: text, short: s.words.render("same_call", done), failed: true, next: againStart(done)}
}

type reasonData struct {
	Name, Nearest string
	Names         []string
}
