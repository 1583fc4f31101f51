// Package session runs one task to its answer: prompt, reply, command, result,
// and again, within stated limits.
//
// Make a [Session] with [New] and call [Session.Run]; go on with an earlier one
// by [Resume]. What happens is told as [Event] values to Options.Sink and kept
// in a session file; [RenderText] writes events for a person.
//
// A turn has three parts in one prompt that only grows: a line of free
// reasoning, the choice of a command by scoring, and the command's fields. Backends
// that cannot continue a reply and score options write JSON, read by
// [salvage.Parse].
//
// Promises: every loop has a limit, and each ending its own [Stop]; input is
// counted before it is sent; results are data, never the system's words, and
// can't forge the fences around them; values of Env.Metadata, and what has the
// form of a secret, reach no prompt, event or session file; what a killed
// process did is on disk up to its last whole record, nothing that changes
// something runs unrecorded, and what may have run is not run again unasked.
package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"agent/backend"
	"agent/command"
	"agent/session/journal"
	"agent/session/redact"
	"agent/session/workdir"
)

// Session is one conversation about a task and what follows from it. It is
// used from one goroutine at a time.
type Session struct {
	opts    Options
	id      string
	words   prompts
	place   place
	speaker *speaker
	book    *book
	clock   *clock
	talk    *conversation
	calls   *calls
	gate    *gate
	watch   *watch
	about   *understanding

	phase    journal.Phase
	held     journal.Withheld
	refusals int    // refused calls in a row, without one that ran
	resumed  bool   // it goes on with what a session file tells
	answered bool   // nothing is left to go on with but new words
	ended    Stop   // how the run before this one ended
	scratch  string // a folder for what commands keep, where no session file is kept
}

// place is where a session stands among those that were delegated to.
type place struct {
	id     string // empty: it gets one of its own
	depth  int    // levels above it
	family *family
	above  *calls        // of the session that delegated to it
	focus  []string      // files picked for it
	given  []givenAnswer // what parts before it found out
}

// New prepares a session. It takes no file and asks no model before Run.
func New(opts Options) (*Session, error) { return newSession(opts, place{family: newFamily()}) }

func newSession(opts Options, at place) (*Session, error) {
	if err := checkOptions(&opts); err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	words, err := newPrompts()
	if err != nil {
		return nil, err
	}
	s := &Session{opts: opts, id: at.id, words: words, place: at, phase: journal.PhaseFresh}
	if s.id == "" {
		if s.id, err = newID(opts.Now()); err != nil {
			return nil, err
		}
	}
	scrub := redact.New(opts.Env.Metadata, opts.Secrets...)
	s.clock = &clock{now: opts.Now, max: opts.Limits.StepsMax}
	s.book = &book{scrub: scrub, sink: opts.Sink, now: opts.Now}
	s.speaker = &speaker{
		backend: opts.Backend, caps: backend.CapabilitiesOf(opts.Backend), words: words, scrub: scrub,
		limits:   opts.Limits,
		sampling: opts.Sampling, budget: &budget{tokensMax: opts.Limits.TokensMax, family: at.family},
		warn: s.book.warn,
	}
	if opts.Stream {
		s.speaker.stream = func(d Delta) {
			d.Step = s.clock.steps
			s.book.emit(&d)
		}
	}
	s.talk = &conversation{speaker: s.speaker, book: s.book, clock: s.clock,
		restate: opts.has(AidRestate), renew: s.systemPrompt}
	s.calls = newCalls(s.book, at.above)
	s.gate = &gate{conversation: s.talk, opts: &s.opts, calls: s.calls}
	s.watch = &watch{opts: &s.opts, focus: at.focus, spoiled: map[string]bool{}}
	s.about = &understanding{conversation: s.talk, opts: &s.opts, watch: s.watch}
	s.equip()
	return s, nil
}

// newID is a name that sorts by time, to a quarter of a millisecond, and is not
// given twice by accident.
func newID(now time.Time) (string, error) {
	var b [2]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("session: %w", err)
	}
	now = now.UTC()
	return fmt.Sprintf("%s-%03x%02x%02x", now.Format("20060102-150405"), now.Nanosecond()>>18, b[0],
		b[1]), nil
}

// Resume goes on with the session kept at path, with what it had said, done
// and spent. Its work dir is used unless opts.Env names another. Call Run with
// an empty task to continue, or with new words of the user.
func Resume(path string, opts Options) (*Session, error) {
	log, old, err := journal.Reopen(path)
	if err != nil {
		return nil, err
	}
	if opts.Env == nil {
		opts.Env = &command.Env{}
	}
	if opts.Env.WorkDir == "" {
		env := *opts.Env
		env.WorkDir = old.Header.WorkDir
		opts.Env = &env
	}
	s, err := New(opts)
	if err != nil {
		log.Close()
		return nil, err
	}
	s.book.log = log
	s.restore(old)
	return s, nil
}

// ID names the session, for resuming it.
func (s *Session) ID() string { return s.id }

// Path is the session file, empty when none is kept.
func (s *Session) Path() string {
	if s.book.log == nil {
		return ""
	}
	return s.book.log.Path
}

// Close gives back the session file. Run may not be called after it.
func (s *Session) Close() error {
	if s.scratch != "" {
		_ = os.RemoveAll(s.scratch) // what commands kept there is of no use without the session
	}
	return s.book.log.Close()
}

// Run works on a task until it is answered or stopped. The result is never
// nil and tells what was had; the error is that of the model or the program
// when Stop is StopError, and nil for every other ending.
func (s *Session) Run(ctx context.Context, task string) (*Result, error) {
	s.clock.started = s.opts.Now()
	run, cancel := ctx, context.CancelFunc(func() {})
	if s.opts.Limits.Timeout > 0 {
		run, cancel = context.WithTimeout(ctx, s.opts.Limits.Timeout)
	}
	defer cancel()
	res, err := s.work(run, task)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		res.Stop, err = StopInterrupted, nil
	case run.Err() != nil && errors.Is(err, context.DeadlineExceeded):
		res.Stop, err = StopTime, nil
	case errors.Is(err, errTokensSpent):
		res.Stop, err = StopTokens, nil
	default:
		res.Stop, res.Error = StopError, err.Error()
	}
	return s.finish(res), err
}

// finish completes and tells the result.
func (s *Session) finish(res *Result) *Result {
	res.ID, res.Steps, res.Usage = s.id, s.clock.steps, s.speaker.budget.usage
	s.answered, s.ended = s.answered || res.Stop == StopAnswered, res.Stop
	res.Answer = s.book.scrub.Text(res.Answer)
	res.WallMS = s.clock.wall()
	s.saveStep()
	s.book.emit(res)
	_ = s.book.log.Sync() // keepLine told a failure
	return res
}

// begin opens the session file and puts the task into the conversation.
func (s *Session) begin(ctx context.Context, task string) error {
	task = s.book.scrub.Text(task) // before anything is made of it: summaries and checks quote it, too
	if task != "" {
		s.talk.task = task
	}
	if s.talk.task == "" {
		return errors.New("session: no task given")
	}
	if s.answered && task == "" {
		return &answeredError{s.id}
	}
	s.answered, s.opts.Env.Task = false, s.talk.task
	if s.phase.Ends() {
		s.phase = journal.PhaseFresh
	}
	if err := s.openLog(); err != nil {
		return err
	}
	if err := s.openState(); err != nil {
		return err
	}
	s.clock.before, s.speaker.budget.before = s.clock.steps, s.speaker.budget.usage
	s.book.emit(&Started{ID: s.id, Model: s.opts.Backend.ModelID(), Task: s.talk.task,
		WorkDir: s.opts.Env.WorkDir, Mode: s.opts.mode(), Resumed: s.resumed})
	s.tellWithheld()
	s.talk.system = s.systemPrompt()
	s.watch.now = workdir.Take(s.opts.Env.WorkDir, workdir.Snapshot{})
	if task != "" { // else it goes on: what earlier runs made counts as made
		s.watch.first, s.held, s.about.wants = s.watch.now, journal.Withheld{}, Wants{}
	}
	s.takeUp(task)
	if err := errors.Join(s.about.askWants(ctx), s.about.takeGuides(ctx, task)); err != nil {
		return err
	}
	switch {
	case len(s.talk.entries) == 0:
		s.add(&journal.Entry{Kind: journal.KindTask, Text: s.firstMessage(s.talk.task)})
	case task != "":
		s.phase = journal.PhaseFresh
		text := s.words.render("followup.tmpl", firstData{Task: task, Guides: s.talk.guides})
		s.add(&journal.Entry{Kind: journal.KindTask, Step: s.clock.steps, Text: text})
	}
	return nil
}

// answeredError is a finished session that was asked to go on.
type answeredError struct{ id string }

func (e *answeredError) Error() string { return "session " + e.id + ": it is answered already" }

// Hint says what a person can do about it.
func (e *answeredError) Hint() string { return "give new words to go on with, or start a new session" }

func (s *Session) openLog() error {
	if s.book.log != nil || s.opts.SessionsDir == "" {
		return nil
	}
	var err error
	if s.book.log, err = journal.Create(s.opts.SessionsDir, s.id); err != nil {
		return err
	}
	return s.book.log.Append(journal.Record{Type: journal.TypeHeader, Time: s.opts.Now(),
		Header: &journal.Header{
			Version: journal.Version, ID: s.id, Model: s.opts.Backend.ModelID(),
			Task:    s.book.scrub.Text(s.talk.task),
			WorkDir: s.opts.Env.WorkDir, Mode: s.opts.mode(),
		}})
}

// systemPrompt is the fixed part: the same for every step of a run, so that it
// is evaluated once.
func (s *Session) systemPrompt() string {
	offered := s.opts.offered()
	s.talk.known = fingerprints(offered)
	d := systemData{Commands: offered, Final: s.opts.finalName(), Code: runsCode(offered),
		ReadOnly: s.opts.readOnly(), Plain: !s.opts.has(AidNote)}
	for _, spec := range d.Commands {
		if n := len(spec.Slots); spec.Final && n > 0 {
			d.Open = spec.Slots[n-1].Name
		}
	}
	for d.Examples = examplesMax; ; d.Examples-- {
		text := s.book.scrub.Text(s.words.render("system_"+s.opts.mode()+".tmpl", d))
		if d.Examples == 0 || s.speaker.count(context.Background(), text) <= systemTokensMax {
			return text
		}
	}
}

// The fixed part shows examples only as far as there is room: the more commands
// there are, the fewer.
const (
	systemTokensMax = 900
	examplesMax     = 3
)

// add appends to the conversation.
func (s *Session) add(e *journal.Entry) { s.talk.add(e, journal.Record{}) }

func (s *Session) saveStep() {
	usage := s.speaker.budget.usage
	s.book.keep(journal.Record{Type: journal.TypeStep, Steps: s.clock.steps, Usage: &usage,
		WallMS: s.clock.wall()})
}
