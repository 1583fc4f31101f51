package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"agent/backend"
	"agent/command"
	"agent/session/guide"
	"agent/session/policy"
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
	GuideTokensMax  int // of AGENTS.md files together, and of the chosen skill
	// HistoryTokensMax starts compaction when a prompt would be larger, also where
	// the context could hold it. 0: four fifths of the context.
	HistoryTokensMax int

	DepthMax int // levels of delegation: 1 lets a task be split, not its parts
	WidthMax int // parts of a task that are worked on at once
}

// DefaultLimits suit small models on a laptop.
func DefaultLimits() Limits {
	return Limits{
		StepsMax: 30, NoteTokensMax: 60, LineTokensMax: 120, FieldTokensMax: 1024, AnswerTokensMax: 2048,
		ReplyTokensMax: 1536, ResultTokensMax: 500, GuideTokensMax: 1000, DepthMax: 1, WidthMax: 4,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, f := range []struct{ field, def *int }{
		{&l.StepsMax, &d.StepsMax}, {&l.NoteTokensMax, &d.NoteTokensMax},
		{&l.LineTokensMax, &d.LineTokensMax},
		{&l.FieldTokensMax, &d.FieldTokensMax}, {&l.AnswerTokensMax, &d.AnswerTokensMax},
		{&l.ReplyTokensMax, &d.ReplyTokensMax}, {&l.ResultTokensMax, &d.ResultTokensMax},
		{&l.GuideTokensMax, &d.GuideTokensMax}, {&l.DepthMax, &d.DepthMax}, {&l.WidthMax, &d.WidthMax},
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
	Secrets  []string     // keys of the configuration, hidden as values of Env.Metadata are
	Guides   guide.Guides // what the folder and the user say to agents, as far as it is trusted
	Limits   Limits
	Sampling *backend.Sampling // over the backend's own settings

	Approve ApproveMode // default ApproveAsk
	// Mode is asked in the place of Approve before each decision, so that a person may
	// change it while the run goes on; nil: it stays as Approve says.
	Mode     func() ApproveMode
	Rules    Rules    // decide before the mode does
	Approver Approver // asked in ApproveAsk; nil: nobody is there
	Overseer Overseer // has a second look at what is consequential; nil: none

	// Refresh brings the registry up to date before each step and tells what
	// changed. Children call it too, at the same time.
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
	o.LongResults, o.Approve = cmp.Or(o.LongResults, ResultsCut), cmp.Or(o.Approve, ApproveAsk)
	if err := errors.Join(o.LongResults.check(), o.Approve.Check(), checkAids(o.Aids)); err != nil ||
		o.rulesChecked {
		return err
	}
	o.Rules = slices.Clone(o.Rules) // Check makes names canonical
	o.rulesChecked = true           // a command that they name may go while the run is at work
	return o.Rules.Check(o.Registry)
}

// The two forms of a turn.
const (
	modeSlots = "slots"
	modeText  = "text"
)

// mode is the form of a turn that the backend can do.
func (o *Options) mode() string {
	if caps := backend.CapabilitiesOf(o.Backend); caps.Prefill && caps.ExactChoice && !o.Text {
		return modeSlots
	}
	return modeText
}

// finalName is the command that ends a task.
func (o *Options) finalName() string {
	return append(namesOf(matching(o.Registry.Specs(), isFinal)), "")[0]
}

// allowedNames are the commands that are worth trying after one was refused.
func (o *Options) allowedNames(refused string) []string {
	return namesOf(matching(o.Registry.Specs(), func(c command.Spec) bool {
		return c.Name != refused && !o.policy().Hopeless(c)
	}))
}

// offered are the commands of the fixed part of the prompt: not those that are for
// one kind of task, so that it is the same for all. A model that can't be asked about
// tasks has those that work without.
func (o *Options) offered() []command.Spec {
	scores := backend.CapabilitiesOf(o.Backend).ExactChoice
	return matching(o.allowed(), func(c command.Spec) bool { return c.For == nil || c.For.Unscored && !scores })
}

// allowed are the commands that may be used. Where the model chooses among names,
// those that are never allowed are left out; else it is told why when it wants
// one.
func (o *Options) allowed() []command.Spec {
	specs := o.Registry.Specs()
	if o.mode() == modeSlots {
		specs = slices.DeleteFunc(specs, o.policy().Hopeless)
	}
	if n := backend.ParametersOf(o.Backend); n > 0 && n < askedFrom { // more than it can tell apart
		specs = slices.DeleteFunc(specs, func(c command.Spec) bool { return hasPlace(c) || changesMany(c) })
	}
	return specs
}

// withheld names the commands that are not offered.
func (o *Options) withheld() []string {
	if o.mode() == modeText {
		return nil
	}
	return namesOf(matching(o.Registry.Specs(), o.policy().Hopeless))
}

// readOnly reports a run in which nothing can be changed, because what could
// is not allowed.
func (o *Options) readOnly() bool {
	changes := func(c command.Spec) bool { return c.Effect.Consequential() }
	return len(o.withheld()) > 0 && !slices.ContainsFunc(o.offered(), changes)
}

func (o *Options) approve() ApproveMode {
	if o.Mode != nil {
		return o.Mode()
	}
	return o.Approve
}

func (o *Options) policy() policy.Policy {
	return policy.Policy{Mode: o.approve(), Rules: o.Rules, Attended: o.Approver != nil}
}

// consequential reports a call that writes, runs code or reaches out.
func (o *Options) consequential(call *command.Call) bool {
	cmd, err := o.Registry.Resolve(call.Command)
	return err == nil && command.EffectOf(cmd, call).Consequential()
}
