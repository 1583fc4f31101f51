package session

import (
	"slices"

	"agent/command"
	"agent/session/check"
	"agent/session/journal"
)

// view is what an offer depends on beside the phase of the run.
type view struct {
	commands  []command.Spec // those that the run may use at all
	stepsLeft int
	ends      bool   // only the answer is asked for
	barred    string // a command that was just wanted in vain
	splits    bool   // the task may be split further

	workFirst bool // [AidWorkFirst] is on
	lookFirst bool // [AidLookFirst] is on, in a run that can only read
	heldBack  bool // an answer was, and only work mends it

	files    []string // of the work dir that the task names
	data     bool     // one of them is a table
	shown    bool     // the first message shows all of them whole
	missing  bool     // the task asks for a file that is not there, or unchanged
	keeps    bool     // the task asks for no file to be written
	mends    bool     // it asks for a file that is there to be changed, and most of it, which is long, to stay
	replaces bool     // it asks for a text to be replaced in several files
	counts   bool     // it asks for a number alone
	known    bool     // all that is known, not guessed
	made     string   // the command that has just made another one
}

// workStepsMin steps must be left for an answer to be put off.
const workStepsMin = 2

// offer gives the commands that the model may choose now. Small models answer
// before they looked or wrote: where the task plainly needs work first, the
// choice is among the commands that do it, but in the last steps.
func offer(p journal.Phase, v view) []command.Spec {
	specs := matching(v.commands, func(c command.Spec) bool {
		return c.Name != v.barred && (v.splits || c.Name != delegateName) && !v.unfit(c)
	})
	if v.ends || p.Ends() {
		if i := slices.IndexFunc(specs, isFinal); i >= 0 {
			return specs[i : i+1]
		}
	}
	work := matching(specs, func(c command.Spec) bool { return !c.Final })
	early := v.workFirst && v.stepsLeft >= workStepsMin
	if fits := v.first(); early && p == journal.PhaseFresh && fits != nil &&
		slices.ContainsFunc(specs, fits) {
		return matching(specs, func(c command.Spec) bool { return fits(c) || c.For != nil })
	}
	switch {
	case len(work) == 0:
	case v.heldBack,
		early && (p == journal.PhaseFresh || p == journal.PhaseWithheld) && v.missing,
		early && p == journal.PhaseFresh && !v.shown:
		specs = work
	case early && p == journal.PhaseDone && v.made != "": // it is to be used
		specs = matching(work, func(c command.Spec) bool { return c.Name != v.made })
	}
	if readers := matching(specs, readsFile); len(readers) > 0 && v.mustLook(p) {
		return readers
	}
	return specs
}

// view is what the next offer goes by.
func (s *Session) view(a aim) view {
	wants := s.about.wants
	v := view{
		commands: s.about.offered(), stepsLeft: s.clock.left(), ends: a.phase.Ends(),
		splits:    s.place.mayDelegate(&s.opts),
		workFirst: s.opts.has(AidWorkFirst), lookFirst: s.opts.has(AidLookFirst) && s.opts.readOnly(),
		known: wants.Known, keeps: !wants.Writes, replaces: wants.Replaces, counts: wants.Number,
		mends:    wants.Changes && s.watch.now.Size(wants.Result) > listBytesMax,
		heldBack: s.held.Work && s.opts.has(AidColdLogic), files: s.watch.now.Named(s.talk.task),
	}
	v.shown, v.data = s.watch.shownWhole(v.files), slices.ContainsFunc(v.files, s.watch.computed)
	if last := s.calls.running.Command; s.about.makes(last) {
		v.made = last
	}
	if a.notName {
		v.barred = a.not.Command
	}
	if v.workFirst && (s.phase == journal.PhaseFresh || s.phase == journal.PhaseWithheld) {
		v.missing = check.LacksFile(s.checker().evidence(""))
	}
	return v
}

// mustLook reports that a file has to be read before anything else: one that the
// task names, in a run that can only read.
func (v view) mustLook(p journal.Phase) bool {
	return v.lookFirst && p == journal.PhaseFresh && len(v.files) > 0
}

func matching(specs []command.Spec, fits func(command.Spec) bool) []command.Spec {
	return slices.DeleteFunc(slices.Clone(specs), func(c command.Spec) bool { return !fits(c) })
}

func isFinal(c command.Spec) bool { return c.Final }

func namesOf(specs []command.Spec) []string {
	names := make([]string, len(specs))
	for i, c := range specs {
		names[i] = c.Name
	}
	return names
}

func runsCode(specs []command.Spec) bool {
	return slices.ContainsFunc(specs, func(c command.Spec) bool { return c.Effect == command.EffectExecute })
}

// readsFile reports a command that reads a file.
func readsFile(c command.Spec) bool {
	return c.Effect == command.EffectRead && hasSlot(c, command.SlotFile)
}

// unfit reports a command that does not fit what the task wants: one that writes
// where nothing is to be written, that changes what is there where nothing is, or
// that rewrites all of a file of which most is to stay.
func (v view) unfit(c command.Spec) bool {
	if !v.workFirst || !v.known || c.Effect != command.EffectWrite || c.For != nil {
		return false
	}
	switch {
	case hasPlace(c):
		return !v.mends
	case changesMany(c):
		return !v.mends && !v.replaces
	}
	better := slices.ContainsFunc(v.commands, func(o command.Spec) bool {
		return v.mends && hasPlace(o) || v.replaces && changesMany(o)
	})
	return v.keeps || better && v.stepsLeft >= workStepsMin
}

// first tells which commands the first step is chosen among, by what the task
// plainly wants; nil: that is open.
func (v view) first() func(command.Spec) bool {
	switch {
	case v.replaces:
		return changesMany
	case v.mends:
		return hasPlace
	case v.data, v.counts:
		return hasCode
	case v.asksText():
		return readsFile
	}
	return nil
}

// asksText reports a task that asks for something that stands in a long text: what
// is shown of it is chosen by the task, where code would have to guess its words.
func (v view) asksText() bool {
	return v.known && v.keeps && !v.data && !v.shown && len(v.files) == 1
}

// changesMany reports a command that changes all files that fit a pattern.
func changesMany(c command.Spec) bool {
	return c.Effect == command.EffectWrite &&
		len(c.Folders) > 0
}

// hasPlace reports a command that changes chosen lines of a file.
func hasPlace(c command.Spec) bool { return hasSlot(c, command.SlotPlace) }

func hasSlot(c command.Spec, kind command.SlotKind) bool {
	return slices.ContainsFunc(c.Slots, func(s command.Slot) bool { return s.Kind == kind })
}

// hasCode reports a command that runs code and wants nothing else.
func hasCode(c command.Spec) bool {
	wantsMore := func(s command.Slot) bool { return s.Kind != command.SlotCode && !s.Optional }
	return c.Effect == command.EffectExecute && len(c.Slots) > 0 &&
		!slices.ContainsFunc(c.Slots, wantsMore)
}
