package session

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"agent/backend"
	"agent/command"
)

// Delegation gives parts of a task to sessions of their own, children of the
// one that asked. They run at the same time on the same loaded model, whose
// cache already holds the fixed part of their prompts; each sees only its own
// part, so that a long task does not fill one context.
//
// A child is made from its parent's options, so that whatever limits the
// parent limits it too; see [Session.childOptions]. All descendants of a run
// share a [family]: one token budget, and one lock under which consequential
// calls are decided and carried out.

// delegateName is the command; the harness knows it, since it is not offered
// where delegation has reached its depth.
const delegateName = "delegate"

// Bounds of delegation, beside Limits.DepthMax and Limits.WidthMax.
const (
	triesMax         = 3  // of one subtask
	childStepsMax    = 12 // of one try
	triedTemperature = 0.7
	triedWarmer      = 0.2 // each further try is so much warmer
)

var (
	//go:embed prompts/delegate.md
	delegateDescription string
	//go:embed prompts/delegate_tasks.md
	delegateTasksHelp string
)

// Delegate returns the command with which a model splits its task. Register it
// like any other; it works in the sessions that run it.
func Delegate() command.Command {
	return command.Func(command.Spec{
		Name:        delegateName,
		Aliases:     []string{"subtasks", "delegate_task", "split"},
		Description: strings.TrimSpace(delegateDescription),
		Slots:       []command.Slot{{Name: "tasks", Help: strings.TrimSpace(delegateTasksHelp), Kind: command.SlotText}},
		Effect:      command.EffectNone, // what the parts do is approved one by one
	}, func(ctx context.Context, _ *command.Env, call *command.Call) (*command.Result, error) {
		s, ok := ctx.Value(sessionKey{}).(*Session)
		if !ok {
			return nil, errors.New("delegate: it was not called by a session")
		}
		return s.delegate(ctx, call)
	})
}

// sessionKey finds, in a command's context, the session that runs it.
type sessionKey struct{}

// withSession lets a command that works on sessions find its own.
func withSession(ctx context.Context, s *Session) context.Context {
	return context.WithValue(ctx, sessionKey{}, s)
}

// family is what a run shares with all that it delegates.
type family struct {
	// work is held while a consequential call is decided and carried out, so
	// that two helpers never change the work dir at once, and a person is asked
	// one question at a time.
	work chan struct{}

	mu      sync.Mutex
	spent   map[*Session]int // tokens computed, as each last told
	running int              // children at work
}

func newFamily() *family {
	return &family{work: make(chan struct{}, 1), spent: map[*Session]int{}}
}

// tell notes what s has spent. It returns what all have spent, and among how
// many what is left must do.
func (f *family) tell(s *Session, tokens int) (total, sharers int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spent[s] = tokens
	for _, n := range f.spent {
		total += n
	}
	return total, max(f.running, 1)
}

// enter and leave count the children at work. One that leaves hands its cost
// to its parent.
func (f *family) enter() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running++
}

func (f *family) leave(child, parent *Session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
	f.spent[parent] += child.usage.Computed()
	delete(f.spent, child)
}

// holdWork waits until no other member of the family changes the work dir, and
// looks at it again: what the others changed in between is not this call's
// doing. Calls without consequences do not wait.
func (s *Session) holdWork(ctx context.Context, cmd command.Command, call *command.Call) (release func(), err error) {
	if !command.EffectOf(cmd, call).Consequential() {
		return func() {}, nil
	}
	select {
	case s.family.work <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.parent != nil {
		s.snap = takeSnapshot(s.opts.Env.WorkDir, s.snap)
	}
	return func() { <-s.family.work }, nil
}

// mayDelegate reports that delegation has not reached its depth.
func (s *Session) mayDelegate() bool { return s.depth < s.opts.Limits.DepthMax }

// delegate carries out one call of the command.
func (s *Session) delegate(ctx context.Context, call *command.Call) (*command.Result, error) {
	if !s.mayDelegate() {
		return s.noDelegation("too_deep"), nil
	}
	texts := subtaskTexts(call)
	if n := strings.Count(strings.Join(texts, "\n"), "\n"); n >= subtaskLinesMax {
		return s.noDelegation("too_many_parts"), nil
	}
	items := regroup(texts)
	if len(items) == 1 && plainWords(items[0]) == plainWords(s.task) {
		return s.noDelegation("whole_task"), nil
	}
	if len(items) == 0 {
		return s.noDelegation("no_parts"), nil
	}
	d := &delegation{parent: s, id: s.delegationID(call), plan: planSubtasks(items, s.snap.has)}
	for _, t := range d.plan {
		var err error
		if t.files, err = s.relevantFiles(ctx, t.text); err != nil {
			return nil, err
		}
	}
	if err := d.run(ctx); err != nil {
		return nil, err
	}
	return d.result(), nil
}

// Split works on the parts of a task as if a model had delegated them, for a
// program that knows how to divide its task: at most Limits.WidthMax at once,
// those that need another's file after it. It keeps no session file of its own.
// The result has an answer for each part; the usage is that of all.
func Split(ctx context.Context, opts Options, parts []string) (*command.Result, Usage, error) {
	opts.SessionsDir = ""
	s, err := New(opts)
	if err != nil {
		return nil, Usage{}, err
	}
	s.snap = takeSnapshot(s.opts.Env.WorkDir, snapshot{})
	d := &delegation{parent: s, id: s.id, plan: planSubtasks(parts, s.snap.has)}
	if err := d.run(ctx); err != nil {
		return nil, s.usage, err
	}
	return d.result(), s.usage, nil
}

func (s *Session) noDelegation(why string) *command.Result {
	return &command.Result{Text: s.words.render(why, subtaskLinesMax), Failed: true}
}

// has reports a file, by its path or by its name alone, or a folder.
func (s snapshot) has(file string) bool {
	if _, ok := s.files[file]; ok {
		return true
	}
	for p := range s.files {
		if strings.HasPrefix(p, file+"/") {
			return true
		}
	}
	return len(s.named(file)) > 0
}

// delegationID begins the ids of a call's children. It is the same when the
// call is made again after an interruption, and another one in another step.
func (s *Session) delegationID(call *command.Call) string {
	key := callKey(call)
	return fmt.Sprintf("%s.%d-%s", s.id, s.steps, key[:min(4, len(key))])
}

// delegation is one call's subtasks at work.
type delegation struct {
	parent *Session
	id     string
	plan   []*subtask
	mu     sync.Mutex // events and costs of children reach the parent one by one
}

// subtaskDone is what a subtask came to.
type subtaskDone struct {
	answer string
	stop   Stop // of the last try
	files  []string
	tries  int
	reason string // why it was not tried
}

func (d *subtaskDone) ok() bool { return d.stop == StopAnswered }

// run works on all subtasks in their order, those that need no other at the
// same time. It ends when all have ended; an error of the program or the end of
// the context ends all of them.
func (d *delegation) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type end struct {
		index int
		err   error
	}
	ends := make(chan end)
	begun, ended, running := make([]bool, len(d.plan)), make([]bool, len(d.plan)), 0
	var failure error
	for range d.plan { // one ends in each round
		for i, t := range d.plan {
			waits := slices.ContainsFunc(t.after, func(j int) bool { return !ended[j] })
			if begun[i] || waits || running == d.parent.opts.Limits.WidthMax {
				continue
			}
			begun[i] = true
			running++
			go func() { ends <- end{i, d.work(ctx, t)} }()
		}
		e := <-ends // needed ones come before what needs them: one is always running
		ended[e.index] = true
		running--
		if e.err != nil && failure == nil {
			failure = e.err
			cancel(e.err)
		}
	}
	return failure
}

// work tries one subtask, each time warmer, until it is answered.
func (d *delegation) work(ctx context.Context, t *subtask) error {
	t.done = &subtaskDone{}
	for _, j := range t.after {
		if earlier := d.plan[j]; !earlier.done.ok() {
			t.done.reason = d.parent.words.render("part_needed", earlier.number)
			return ctx.Err()
		}
	}
	for try := range triesMax {
		res, err := d.try(ctx, t, try)
		var over *backend.ContextError
		if errors.As(err, &over) { // its own failure: what the others did stands
			t.done.tries, t.done.stop, t.done.reason = try+1, StopError, err.Error()
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		if res.Answer != "" || t.done.answer == "" {
			t.done.answer = res.Answer
		}
		t.done.tries, t.done.stop = try+1, res.Stop
		if res.Stop != StopSteps && res.Stop != StopLoop {
			break // answered; or refused or out of budget, which no try mends
		}
	}
	return nil
}

// try runs one child from its start to its end.
func (d *delegation) try(ctx context.Context, t *subtask, try int) (*Result, error) {
	s := d.parent
	child, err := s.newChild(d, t, try)
	if err != nil {
		return nil, err
	}
	defer child.Close()
	s.family.enter()
	res, err := child.Run(ctx, t.text)
	d.mu.Lock()
	defer d.mu.Unlock()
	s.usage.add(child.usage)
	s.family.leave(child, s)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return res, err
}

// newChild makes the session of one try.
func (s *Session) newChild(d *delegation, t *subtask, try int) (*Session, error) {
	id := fmt.Sprintf("%s.%d", d.id, t.number)
	if try > 0 {
		id += fmt.Sprintf("r%d", try)
	}
	child, err := New(s.childOptions(d, id, t, try))
	if err != nil {
		return nil, fmt.Errorf("delegate: %w", err)
	}
	child.id, child.parent, child.depth, child.family = id, s, s.depth+1, s.family
	child.focus = t.files
	for _, j := range t.after {
		child.given = append(child.given, givenAnswer{Task: d.plan[j].text, Answer: d.plan[j].done.answer})
	}
	return child, nil
}

// childOptions are the parent's but for what a child must have of its own, so
// that nothing which limits the parent can be forgotten.
func (s *Session) childOptions(d *delegation, id string, t *subtask, try int) Options {
	o := s.opts
	o.Sink = d.sink(id, t, try)
	o.Limits.StepsMax = min(childStepsMax, max(o.Limits.StepsMax-s.runSteps(), 1))
	o.Limits.Timeout = 0 // the parent's context carries its end
	if try > 0 {
		o.Sampling = warmer(o.Sampling, t.number, try)
	}
	if o.SessionsDir != "" {
		o.SessionsDir = s.childrenDir()
	}
	return o
}

// warmer is the sampling of a further try.
func warmer(base *backend.Sampling, number, try int) *backend.Sampling {
	temperature, seed := triedTemperature, uint32(number*triesMax+try)
	if base != nil && base.Temperature != nil {
		temperature = max(temperature, *base.Temperature)
	}
	temperature += triedWarmer * float64(try)
	return (&backend.Sampling{Temperature: &temperature, Seed: &seed}).Merge(base)
}

// result makes one result of the subtasks' answers.
func (d *delegation) result() *command.Result {
	res := &command.Result{}
	var parts []string
	for _, t := range d.plan {
		parts = append(parts, d.parent.words.render("delegated.tmpl", delegatedData{
			Number: t.number, Text: t.text, Answer: t.done.answer, OK: t.done.ok(), Stop: t.done.stop, Reason: t.done.reason,
		}))
		res.Failed = res.Failed || !t.done.ok()
		res.Files = mergeSorted(res.Files, t.done.files)
	}
	res.Text = strings.Join(parts, "\n")
	return res
}

type delegatedData struct {
	Number int
	Text   string
	Answer string
	OK     bool
	Stop   Stop
	Reason string
}

func mergeSorted(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// add takes over what a child cost.
func (u *Usage) add(v Usage) {
	u.PromptTokens += v.PromptTokens
	u.EvaluatedTokens += v.EvaluatedTokens
	u.CachedTokens += v.CachedTokens
	u.CompletionTokens += v.CompletionTokens
	u.PrefillMS += v.PrefillMS
	u.DecodeMS += v.DecodeMS
	u.InvalidReplies += v.InvalidReplies
	u.RepairedReplies += v.RepairedReplies
}
