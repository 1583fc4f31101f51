// Package session runs one task to its answer: prompt, reply, command, result,
// and again, within stated limits.
//
// Make a [Session] with [New] and call [Session.Run]; go on with an earlier one
// by [Resume]. What happens is told as [Event] values to Options.Sink and kept
// in a session file; [RenderText] writes events for a person.
//
// A turn has three parts in one prompt that only grows: a line of free
// reasoning, the choice of a command by scoring, and the command's fields, each
// asked for in the form in which a model writes it best. Backends that cannot
// continue a reply and score options get the same turn as plain JSON, read by
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
	"path/filepath"
	"slices"
	"time"

	"agent/backend"
	"agent/command"
)

// Limits bound a run. A zero field means its value in [DefaultLimits];
// TokensMax and Timeout are unbounded when zero.
type Limits struct {
	StepsMax  int           // turns of the model
	TokensMax int           // prompt tokens evaluated and tokens generated, together
	Timeout   time.Duration // wall time of the run

	NoteTokensMax   int // the line of reasoning of a step
	LineTokensMax   int // a short field
	FieldTokensMax  int // a long field: text or code
	AnswerTokensMax int // an answer
	ReplyTokensMax  int // a whole reply of a backend without slots
	ResultTokensMax int // a command's result; see LongResults for what is over
	// HistoryTokensMax starts compaction when a prompt would be larger, also
	// where the context could hold it: long prompts make small models worse and
	// each step slower. 0: four fifths of the context.
	HistoryTokensMax int

	DepthMax int // levels of delegation: 1 lets a task be split, not its parts
	WidthMax int // parts of a task that are worked on at once
}

// DefaultLimits suit small models on a laptop.
func DefaultLimits() Limits {
	return Limits{
		StepsMax: 30, NoteTokensMax: 60, LineTokensMax: 120, FieldTokensMax: 1024, AnswerTokensMax: 2048,
		ReplyTokensMax: 1536, ResultTokensMax: 500, DepthMax: 1, WidthMax: 4,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, f := range []struct{ field, def *int }{
		{&l.StepsMax, &d.StepsMax}, {&l.NoteTokensMax, &d.NoteTokensMax}, {&l.LineTokensMax, &d.LineTokensMax},
		{&l.FieldTokensMax, &d.FieldTokensMax}, {&l.AnswerTokensMax, &d.AnswerTokensMax}, {&l.ReplyTokensMax, &d.ReplyTokensMax}, {&l.ResultTokensMax, &d.ResultTokensMax},
		{&l.DepthMax, &d.DepthMax}, {&l.WidthMax, &d.WidthMax},
	} {
		if *f.field <= 0 {
			*f.field = *f.def
		}
	}
	return l
}

// Options configure a session. Backend, Registry and Env are needed.
type Options struct {
	Backend  backend.LanguageBackend
	Registry *command.Registry
	Env      *command.Env
	Secrets  []string // keys of the configuration, hidden as values of Env.Metadata are
	Limits   Limits
	Sampling *backend.Sampling // over the backend's own settings

	Approve  ApproveMode // default ApproveAsk
	Rules    Rules       // decide before the mode does
	Approver Approver    // asked in ApproveAsk; nil: nobody is there
	Overseer Overseer    // has a second look at what is consequential; nil: none

	// Refresh brings the registry up to date at the start of each step and tells
	// what changed: commands may be files. Sessions delegated to call it too, at
	// the same time. nil: only the program itself changes the registry.
	Refresh func(ctx context.Context) []CommandChange

	// Sink is told every event, in order, from the goroutine that runs.
	Sink func(Event)
	// Stream also sends the model's text as it is written.
	Stream bool
	// QA sends an answer back, at most twice, when the model itself judges that
	// it does not do what the task asks.
	QA bool
	// Aids switches aids for weak models on or off; those that it does not name
	// are on for models of the sizes that they were measured at.
	Aids map[Aid]bool
	// LongResults says how the gist is made of what a result shows in part;
	// default ResultsCut.
	LongResults LongResults
	// Text uses the plain JSON form also on a backend that could do slots.
	Text bool

	// SessionsDir keeps session files; empty: none is kept.
	SessionsDir string
	// Now is the clock, for tests; nil: time.Now.
	Now func() time.Time

	rulesChecked bool // against the registry as it was when the run began
}

// Session is one conversation about a task and what follows from it. It is
// used from one goroutine at a time.
type Session struct {
	opts  Options
	mode  string
	id    string
	words prompts
	scrub scrubber
	log   *logWriter
	caps  backend.Capabilities

	system  string            // the fixed part of every prompt
	known   map[string]string // what the model was told of the commands: fingerprints by name
	entries []*entry          // the conversation
	task    string            // the newest task, in the user's words
	circles *circles
	snap    snapshot

	steps       int
	usage       Usage
	wallMS      int64 // of earlier runs of this session
	started     time.Time
	resumed     bool
	stepsBefore int // steps and usage when this run began
	usageBefore Usage
	refusals    int  // refused calls in a row, without one that ran
	answered    bool // nothing is left to go on with but new words
	ended       Stop // how the run before this one ended
	held        withheldAnswers
	first       snapshot        // of the work dir when the work on the task began
	spoiled     map[string]bool // files, by path, that a failed command changed last
	lastFile    string          // the file that the last call named, if it was one
	systemCount int             // tokens of the fixed part, counted once

	pending *turn               // what the model wants and nothing has come of yet
	had     map[string]doneCall // calls of it that ran before it was cut off, by key
	running intent              // the call that runs now, or ran last
	intents map[string]intent   // calls of which it is not known whether they ran
	blind   bool                // there may be one more, unreadable
	lost    Lost                // what of the session file could not be read
	scratch string              // a folder for what commands keep, where no session file is kept

	family *family       // what is shared with the sessions delegated to
	parent *Session      // of a session that works on a part of a task
	depth  int           // levels above it
	focus  []string      // files picked for it
	given  []givenAnswer // what parts before it found out
}

// The two forms of a turn.
const (
	modeSlots = "slots"
	modeText  = "text"
)

// New prepares a session. It takes no file and asks no model before Run.
func New(opts Options) (*Session, error) {
	if err := checkOptions(&opts); err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	words, err := newPrompts()
	if err != nil {
		return nil, err
	}
	s := &Session{
		opts: opts, words: words, scrub: newScrubber(opts.Env.Metadata, opts.Secrets...), mode: modeText,
		caps: backend.CapabilitiesOf(opts.Backend), circles: newCircles(), intents: map[string]intent{}, spoiled: map[string]bool{}, family: newFamily(),
	}
	if s.caps.Prefill && s.caps.ExactChoice && !opts.Text {
		s.mode = modeSlots
	}
	if s.id, err = newID(opts.Now()); err != nil {
		return nil, err
	}
	s.equip()
	return s, nil
}

func checkOptions(o *Options) error {
	switch {
	case o.Backend == nil:
		return errors.New("no backend given")
	case o.Registry == nil:
		return errors.New("no commands given")
	case o.Env == nil || o.Env.WorkDir == "":
		return errors.New("no work dir given")
	}
	if st, err := os.Stat(o.Env.WorkDir); err != nil {
		return fmt.Errorf("work dir: %w", err)
	} else if !st.IsDir() {
		return fmt.Errorf("work dir: %s is not a folder", o.Env.WorkDir)
	}
	dir, err := filepath.Abs(o.Env.WorkDir)
	if err != nil {
		return fmt.Errorf("work dir: %w", err)
	}
	env := *o.Env
	env.WorkDir = dir
	o.Env = &env
	o.Limits = o.Limits.withDefaults()
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sink == nil {
		o.Sink = func(Event) {}
	}
	if o.LongResults == "" {
		o.LongResults = ResultsCut
	}
	if err := o.LongResults.check(); err != nil {
		return err
	}
	if o.Approve == "" {
		o.Approve = ApproveAsk
	}
	if err := errors.Join(o.Approve.check(), checkAids(o.Aids)); err != nil || o.rulesChecked {
		return err
	}
	o.Rules = slices.Clone(o.Rules) // Check makes names canonical
	o.rulesChecked = true           // a command that they name may go while the run is at work
	return o.Rules.Check(o.Registry)
}

// newID is a name that sorts by time, to a quarter of a millisecond, and is not
// given twice by accident.
func newID(now time.Time) (string, error) {
	var b [2]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("session: %w", err)
	}
	now = now.UTC()
	return fmt.Sprintf("%s-%03x%02x%02x", now.Format("20060102-150405"), now.Nanosecond()>>18, b[0], b[1]), nil
}

// Resume goes on with the session kept at path, with what it had said, done
// and spent. Its work dir is used unless opts.Env names another. Call Run with
// an empty task to continue, or with new words of the user.
func Resume(path string, opts Options) (*Session, error) {
	log, old, err := reopenLog(path)
	if err != nil {
		return nil, err
	}
	if opts.Env == nil {
		opts.Env = &command.Env{}
	}
	if opts.Env.WorkDir == "" {
		env := *opts.Env
		env.WorkDir = old.header.WorkDir
		opts.Env = &env
	}
	s, err := New(opts)
	if err != nil {
		log.close()
		return nil, err
	}
	s.log = log
	s.restore(old)
	return s, nil
}

// ID names the session, for resuming it.
func (s *Session) ID() string { return s.id }

// Path is the session file, empty when none is kept.
func (s *Session) Path() string {
	if s.log == nil {
		return ""
	}
	return s.log.path
}

// Close gives back the session file. Run may not be called after it.
func (s *Session) Close() error {
	if s.scratch != "" {
		_ = os.RemoveAll(s.scratch) // what commands kept there is of no use without the session
	}
	return s.log.close()
}

// Run works on a task until it is answered or stopped. The result is never
// nil and tells what was had; the error is that of the model or the program
// when Stop is StopError, and nil for every other ending.
func (s *Session) Run(ctx context.Context, task string) (*Result, error) {
	s.started = s.opts.Now()
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
	res.ID, res.Steps, res.Usage = s.id, s.steps, s.usage
	s.answered, s.ended = s.answered || res.Stop == StopAnswered, res.Stop
	res.Answer = s.scrub.text(res.Answer)
	res.WallMS = s.wallNow()
	s.saveStep()
	s.emit(res)
	_ = s.log.sync() // keepLine told a failure
	return res
}

// begin opens the session file and puts the task into the conversation.
func (s *Session) begin(task string) error {
	task = s.scrub.text(task) // before anything is made of it: summaries and checks quote it, too
	if task != "" {
		s.task = task
	}
	if s.task == "" {
		return errors.New("session: no task given")
	}
	if s.answered && task == "" {
		return &answeredError{s.id}
	}
	s.answered = false
	if err := s.openLog(); err != nil {
		return err
	}
	if err := s.openState(); err != nil {
		return err
	}
	s.stepsBefore, s.usageBefore = s.steps, s.usage
	s.emit(&Started{ID: s.id, Model: s.opts.Backend.ModelID(), Task: s.task, WorkDir: s.opts.Env.WorkDir, Mode: s.mode, Resumed: s.resumed})
	s.tellWithheld()
	s.system = s.systemPrompt()
	s.snap = takeSnapshot(s.opts.Env.WorkDir, snapshot{})
	if task != "" { // else it goes on: what earlier runs made counts as made
		s.first, s.held = s.snap, withheldAnswers{}
	}
	s.takeUp(task)
	switch {
	case len(s.entries) == 0:
		s.add(&entry{Kind: kindTask, Text: s.firstMessage(s.task, s.snap)})
	case task != "":
		s.add(&entry{Kind: kindTask, Step: s.steps, Text: s.words.render("followup.tmpl", reminder{Task: task})})
	}
	return nil
}

// answeredError is a finished session that was asked to go on.
type answeredError struct{ id string }

func (e *answeredError) Error() string { return "session " + e.id + ": it is answered already" }

// Hint says what a person can do about it.
func (e *answeredError) Hint() string { return "give new words to go on with, or start a new session" }

func (s *Session) openLog() error {
	if s.log != nil || s.opts.SessionsDir == "" {
		return nil
	}
	var err error
	if s.log, err = createLog(s.opts.SessionsDir, s.id); err != nil {
		return err
	}
	return s.log.append(record{Type: recHeader, Time: s.opts.Now(), Header: &header{
		Version: logVersion, ID: s.id, Model: s.opts.Backend.ModelID(), Task: s.scrub.text(s.task),
		WorkDir: s.opts.Env.WorkDir, Mode: s.mode,
	}})
}

// systemPrompt is the fixed part: the same for every step of a run, so that it
// is evaluated once.
func (s *Session) systemPrompt() string {
	offered := s.offered()
	s.known = fingerprints(offered)
	d := systemData{Commands: offered, Final: s.finalName(), Code: runsCode(offered), ReadOnly: s.readOnly(), Plain: !s.has(AidNote)}
	for _, spec := range d.Commands {
		if n := len(spec.Slots); spec.Final && n > 0 {
			d.Open = spec.Slots[n-1].Name
		}
	}
	for d.Examples = examplesMax; ; d.Examples-- {
		text := s.scrub.text(s.words.render("system_"+s.mode+".tmpl", d))
		if d.Examples == 0 || s.countText(context.Background(), text) <= systemTokensMax {
			return text
		}
	}
}

// The fixed part shows examples only as far as there is room: the more commands
// there are, the fewer.
const (
	systemTokensMax = 800
	examplesMax     = 3
)

// finalName is the command that ends a task.
func (s *Session) finalName() string {
	for _, spec := range s.opts.Registry.Specs() {
		if spec.Final {
			return spec.Name
		}
	}
	return ""
}

func (s *Session) reminder() reminder {
	return reminder{Task: oneLine(s.task, taskLineRunes), StepsLeft: s.opts.Limits.StepsMax - s.runSteps()}
}

// runSteps is how many steps this run has made, without those before it was
// resumed.
func (s *Session) runSteps() int { return s.steps - s.stepsBefore }

// add appends to the conversation and to the session file.
func (s *Session) add(e *entry) { s.addWith(e, record{}) }

// addWith keeps more in the record of an entry than its text.
func (s *Session) addWith(e *entry, r record) {
	e.Text, e.Raw, e.Digest = s.scrub.text(e.Text), s.scrub.text(e.Raw), s.scrub.text(e.Digest)
	s.entries = append(s.entries, e)
	r.Type, r.Entry = recMessage, e
	s.keep(r)
}

// emit tells an event and keeps it. Secrets are gone before it leaves.
func (s *Session) emit(p Payload) {
	ev := Event{Time: s.opts.Now(), Data: s.scrub.payload(p)}
	if _, streamed := p.(*Delta); !streamed {
		s.keepLine(ev)
	}
	s.opts.Sink(ev)
}

func (s *Session) warn(text string) { s.emit(&Warning{Text: text}) }

func (s *Session) keep(r record) {
	r.Time = s.opts.Now()
	s.keepLine(r)
}

// keepLine writes to the session file. When the disk fails, that is told once;
// the run ends before its next step, and before anything runs that would have
// to be recorded first.
func (s *Session) keepLine(v any) {
	if err := s.log.append(v); err != nil && s.log.told.CompareAndSwap(false, true) {
		told := s.scrub.payload(&Warning{Text: "the session is no longer kept: " + err.Error()})
		s.opts.Sink(Event{Time: s.opts.Now(), Data: told})
	}
}

func (s *Session) saveStep() {
	usage := s.usage
	s.keep(record{Type: recStep, Steps: s.steps, Usage: &usage, WallMS: s.wallNow()})
}

// wallNow is the time that this session has worked, in all its runs.
func (s *Session) wallNow() int64 { return s.wallMS + s.opts.Now().Sub(s.started).Milliseconds() }
