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
			res.Answer, res.Stop = out.answer, out.stop
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
	s.steps++
	s.snap = takeSnapshot(s.opts.Env.WorkDir, s.snap)
	t, err := s.ask(ctx, "")
	if err != nil {
		return outcome{}, err
	}
	turnEntry := &entry{Kind: kindTurn, Step: s.steps, Text: t.text, Raw: t.raw}
	s.add(turnEntry)
	out, err := s.carryOut(ctx, t)
	if err != nil {
		return outcome{}, err
	}
	if out.message != "" {
		s.add(&entry{Kind: kindResult, Step: s.steps, Text: out.message, Digest: out.digest})
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
	t, err := s.ask(ctx, final)
	if err != nil || len(t.calls) == 0 {
		return res
	}
	s.add(&entry{Kind: kindTurn, Step: s.steps, Text: t.text})
	cmd, err := s.opts.Registry.Resolve(final)
	if err != nil {
		return res
	}
	if r, err := s.runSafely(ctx, cmd, t.calls[0]); err == nil && !r.Failed {
		res.Answer = answerText(r, t.calls[0])
	}
	return res
}

// ask gets one turn of the model; only names the one command that is allowed,
// if not all are. A prompt that turns out too long is compacted, once.
func (s *Session) ask(ctx context.Context, only string) (*turn, error) {
	if err := s.fit(ctx); err != nil {
		return nil, err
	}
	t, err := s.askOnce(ctx, only)
	var over *backend.ContextError
	if errors.As(err, &over) {
		if err := s.compact(ctx, s.promptLimit()/2); err != nil {
			return nil, err
		}
		t, err = s.askOnce(ctx, only)
	}
	return t, err
}

func (s *Session) askOnce(ctx context.Context, only string) (*turn, error) {
	msgs := messages(s.system, s.entries)
	if s.mode == modeText {
		return s.textTurn(ctx, msgs)
	}
	return s.slotTurn(ctx, msgs, only)
}

// slotTurn is a turn in three parts: a free note, a scored command, its fields.
func (s *Session) slotTurn(ctx context.Context, msgs []backend.Message, only string) (*turn, error) {
	d := &draft{s: s, msgs: msgs}
	d.write(s.words.render("note", nil))
	note, _, err := d.generate(ctx, generation{tokensMax: s.opts.Limits.NoteTokensMax, stop: []string{"\n"}})
	if err != nil {
		return nil, err
	}
	note = strings.TrimSpace(note)
	s.emit(&Note{Step: s.steps, Text: note})
	d.write("\n" + s.words.render("command", nil))
	spec, err := d.chooseCommand(ctx, only)
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
	return &turn{text: d.text.String(), note: note, calls: []*command.Call{call}}, nil
}

// chooseCommand scores the commands that may be used now.
func (d *draft) chooseCommand(ctx context.Context, only string) (command.Spec, error) {
	specs := d.s.opts.Registry.Specs()
	if only != "" {
		specs = slices.DeleteFunc(specs, func(c command.Spec) bool { return c.Name != only })
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
	stop    Stop
	answer  string
}

// carryOut carries out the calls of a turn in order, until one fails.
func (s *Session) carryOut(ctx context.Context, t *turn) (outcome, error) {
	if t.problem != "" {
		return outcome{message: s.tell(t.problem)}, nil
	}
	var parts, digests []string
	for i, call := range t.calls {
		r, err := s.carryOutCall(ctx, call, t.repairs)
		if err != nil {
			return outcome{}, err
		}
		if r.stop != "" {
			return outcome{stop: r.stop, answer: r.answer}, nil
		}
		parts, digests = append(parts, r.text), append(digests, s.digest(call, r))
		if r.failed {
			// What the model wanted to do or say next relied on this.
			if rest := t.calls[i+1:]; len(rest) > 0 {
				parts = append(parts, s.words.render("skipped.tmpl", callNames(rest)))
			}
			break
		}
	}
	return outcome{message: s.tell(parts...), digest: strings.Join(digests, "\n")}, nil
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
	stop   Stop
	answer string
}

// carryOutCall runs one call, unless something speaks against it.
func (s *Session) carryOutCall(ctx context.Context, call *command.Call, repairs []string) (reply, error) {
	s.emit(callMade(s.steps, call, repairs))
	cmd, err := s.opts.Registry.Resolve(call.Command)
	if err != nil {
		return s.unknown(call.Command), nil
	}
	spec := cmd.Spec()
	key := callKey(call)
	if s.circles.ask(key) >= identicalCallsMax && s.refusals == 0 {
		return reply{stop: StopLoop}, nil
	}
	if spec.Final {
		return s.conclude(ctx, cmd, call)
	}
	if done, ok := s.circles.earlier(key, s.snap.hash()); ok && spec.Effect != command.EffectNetwork {
		return s.circle(done), nil
	}
	decision, err := s.approve(ctx, call, spec)
	if err != nil {
		return reply{}, err
	}
	if !decision.Allow {
		return s.refused(call, decision.Reason), nil
	}
	s.refusals = 0
	return s.runCommand(ctx, cmd, call, key)
}

func (s *Session) unknown(name string) reply {
	look := s.opts.Registry.Lookup(name)
	text := s.words.render("unknown", reasonData{Name: oneLine(name, 60), Nearest: look.Suggestion, Names: s.opts.Registry.Names()})
	return reply{text: text, short: text, failed: true}
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
	return reply{text: text, short: s.words.render("same_call", done), failed: true}
}

func (s *Session) refused(call *command.Call, reason string) reply {
	s.refusals++
	if s.refusals >= refusalsMax {
		return reply{stop: StopRefused}
	}
	text := s.words.render("refused.tmpl", refusedData{Command: call.Command, Reason: reason, Final: s.finalName()})
	return reply{text: text, short: text, failed: true}
}

type reasonData struct {
	Name, Nearest string
	Names         []string
}
