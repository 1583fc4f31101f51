package session

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"agent/backend"
	"agent/command"
	"agent/session/journal"
	"agent/session/plan"
	"agent/session/workdir"
)

// Delegation gives parts of a task to child sessions. They run at the same time
// on one loaded model, whose cache holds the fixed part of their prompts; each
// sees its own part alone. A child has its parent's options, so that what limits
// the parent limits it, and shares its [family]: budget and lock.

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
		Slots: []command.Slot{{Name: "tasks", Help: strings.TrimSpace(delegateTasksHelp),
			Kind: command.SlotText}},
		Effect: command.EffectNone, // what the parts do is approved one by one
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

// holdWork waits until no other member of the family changes the work dir, and
// looks at it again. Calls without consequences do not wait.
func (s *Session) holdWork(ctx context.Context, j job) (release func(), err error) {
	if !j.consequential() {
		return func() {}, nil
	}
	release, err = s.place.family.hold(ctx)
	if err == nil && s.place.depth > 0 {
		s.watch.look()
	}
	return release, err
}

// mayDelegate reports that delegation has not reached its depth.
func (p *place) mayDelegate(o *Options) bool { return p.depth < o.Limits.DepthMax }

// delegate carries out one call of the command.
func (s *Session) delegate(ctx context.Context, call *command.Call) (*command.Result, error) {
	texts := plan.Texts(call)
	lines, items, why := strings.Count(strings.Join(texts, "\n"), "\n"), plan.Regroup(texts), ""
	switch {
	case !s.place.mayDelegate(&s.opts):
		why = "too_deep"
	case lines >= plan.LinesMax:
		why = "too_many_parts"
	case len(items) == 0:
		why = "no_parts"
	case len(items) == 1 && plan.Plain(items[0]) == plan.Plain(s.talk.task):
		why = "whole_task"
	}
	if why != "" {
		return &command.Result{Text: s.words.render(why, plan.LinesMax), Failed: true}, nil
	}
	// The same when the call is made again after an interruption.
	key := callKey(call)
	id := fmt.Sprintf("%s.%d-%s", s.id, s.clock.steps, key[:min(4, len(key))])
	d := &delegation{parent: s, id: id, parts: subtasks(items, s.watch.now)}
	var heads []promptFile
	for _, p := range s.watch.now.Paths() {
		heads = append(heads, s.watch.view(p, 1))
	}
	for _, t := range d.parts {
		if t.files = s.watch.now.Named(t.Text); len(t.files) > 0 {
			continue
		}
		var err error
		if t.files, err = s.speaker.relevantFiles(ctx, heads, t.Text); err != nil {
			return nil, err
		}
	}
	if err := d.run(ctx); err != nil {
		return nil, err
	}
	return d.result(), nil
}

// Split works on the parts of a task as if a model had delegated them. It keeps
// no session file. The result has an answer for each part.
func Split(ctx context.Context, opts Options, parts []string) (*command.Result, Usage, error) {
	opts.SessionsDir = ""
	s, err := New(opts)
	if err != nil {
		return nil, Usage{}, err
	}
	s.watch.look()
	d := &delegation{parent: s, id: s.id, parts: subtasks(parts, s.watch.now)}
	if err := d.run(ctx); err != nil {
		return nil, s.speaker.budget.usage, err
	}
	return d.result(), s.speaker.budget.usage, nil
}

// delegation is one call's subtasks at work.
type delegation struct {
	parent *Session
	id     string
	parts  []*subtask
	mu     sync.Mutex // events and costs of children reach the parent one by one
}

// subtask is a part of a task, for a session of its own.
type subtask struct {
	plan.Part
	files []string
	done  *subtaskDone
}

func subtasks(texts []string, now workdir.Snapshot) []*subtask {
	var out []*subtask
	for _, p := range plan.Of(texts, now.Has) {
		out = append(out, &subtask{Part: p})
	}
	return out
}

// subtaskDone is what a subtask came to.
type subtaskDone struct {
	answer string
	stop   Stop // of the last try
	files  []string
	reason string // why it was not tried
}

func (d *subtaskDone) ok() bool { return d.stop == StopAnswered }

// run works on all subtasks, at once those that need no other. An error or the
// end of the context ends all of them.
func (d *delegation) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type end struct {
		index int
		err   error
	}
	ends := make(chan end)
	begun, ended, running := make([]bool, len(d.parts)), make([]bool, len(d.parts)), 0
	var failure error
	for range d.parts { // one ends in each round
		for i, t := range d.parts {
			waits := slices.ContainsFunc(t.After, func(j int) bool { return !ended[j] })
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
	for _, j := range t.After {
		if earlier := d.parts[j]; !earlier.done.ok() {
			t.done.reason = d.parent.words.render("part_needed", earlier.Number)
			return ctx.Err()
		}
	}
	for try := range triesMax {
		res, err := d.try(ctx, t, try)
		// its own failure: what the others did stands
		if _, ok := errors.AsType[*backend.ContextError](err); ok {
			t.done.stop, t.done.reason = StopError, err.Error()
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		if res.Answer != "" || t.done.answer == "" {
			t.done.answer = res.Answer
		}
		t.done.stop = res.Stop
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
	s.place.family.enter()
	res, err := child.Run(ctx, t.Text)
	d.mu.Lock()
	defer d.mu.Unlock()
	s.speaker.budget.usage.Add(child.speaker.budget.usage)
	s.place.family.leave(child.speaker.budget, s.speaker.budget)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return res, err
}

// newChild makes the session of one try.
func (s *Session) newChild(d *delegation, t *subtask, try int) (*Session, error) {
	id := fmt.Sprintf("%s.%d", d.id, t.Number)
	if try > 0 {
		id += fmt.Sprintf("r%d", try)
	}
	at := place{id: id, depth: s.place.depth + 1, family: s.place.family, above: s.calls,
		focus: t.files}
	for _, j := range t.After {
		at.given = append(at.given, givenAnswer{Task: d.parts[j].Text, Answer: d.parts[j].done.answer})
	}
	child, err := newSession(s.childOptions(d, id, t, try), at)
	if err != nil {
		return nil, fmt.Errorf("delegate: %w", err)
	}
	return child, nil
}

// childOptions are the parent's but for what a child must have of its own, so
// that nothing which limits the parent can be forgotten.
func (s *Session) childOptions(d *delegation, id string, t *subtask, try int) Options {
	o := s.opts
	o.Sink = d.sink(id, t, try)
	o.Limits.StepsMax = min(childStepsMax, max(s.clock.left(), 1))
	o.Limits.Timeout = 0 // the parent's context carries its end
	if try > 0 {
		o.Sampling = warmer(o.Sampling, t.Number, try)
	}
	if o.SessionsDir != "" {
		o.SessionsDir = s.childrenDir()
	}
	return o
}

// warmer is the sampling of a further try.
func warmer(base *backend.Sampling, number, try int) *backend.Sampling {
	temperature := triedTemperature
	if base != nil && base.Temperature != nil {
		temperature = max(temperature, *base.Temperature)
	}
	temperature += triedWarmer * float64(try)
	return (&backend.Sampling{Temperature: &temperature,
		Seed: new(uint32(number*triesMax + try))}).Merge(base)
}

// result makes one result of the subtasks' answers.
func (d *delegation) result() *command.Result {
	res := &command.Result{}
	var parts []string
	for _, t := range d.parts {
		parts = append(parts, d.parent.words.render("delegated.tmpl", delegatedData{
			Number: t.Number, Text: t.Text, Answer: t.done.answer, OK: t.done.ok(), Stop: t.done.stop,
			Reason: t.done.reason,
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

// sink passes a child's events on to its parent. How it began and ended has
// another type there: a run has one first and one last event.
func (d *delegation) sink(id string, t *subtask, try int) func(Event) {
	return func(ev Event) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if ev.Session == "" { // else it is that of a child of this child
			ev.Session, ev.Parent = id, d.parent.id
			ev.Data = d.asSubtask(ev.Data, t, try+1)
		}
		if r, ok := ev.Data.(*CommandResult); ok {
			t.done.files = mergeSorted(t.done.files, r.Files)
		}
		d.parent.book.relay(ev)
	}
}

func (d *delegation) asSubtask(data Payload, t *subtask, try int) Payload {
	switch p := data.(type) {
	case *Started:
		start := &SubtaskStarted{Number: t.Number, Task: p.Task, Files: t.files, Try: try}
		for _, j := range t.After {
			start.After = append(start.After, d.parts[j].Number)
		}
		return start
	case *Result:
		return &SubtaskEnded{
			Number: t.Number, Answer: p.Answer, Stop: p.Stop, Steps: p.Steps, WallMS: p.WallMS,
			Usage: p.Usage,
			Error: p.Error, Try: try,
		}
	}
	return data
}

// childrenDir is where the session files of children lie: beside that of their
// parent, and not among those of whole runs.
func (s *Session) childrenDir() string {
	return filepath.Join(s.opts.SessionsDir, s.id+journal.ChildrenExt)
}

// Bounds of looking for the files that a subtask needs.
const (
	filesScoredMax     = 24   // among more, only those that the subtask names count
	filesPickedMax     = 3    // more than these are not relevant but possible
	fileProbabilityMin = 0.15 // of being the one that is needed
)

// relevantFiles are the files to which the model gives the best odds of being
// needed for a subtask. It stands at the end of the question, so that the list
// is evaluated once for all. Without odds none is picked.
func (sp *speaker) relevantFiles(ctx context.Context, files []promptFile, text string,
) ([]string, error) {
	if !sp.caps.ExactChoice || len(files) < 2 || len(files) > filesScoredMax {
		return nil, nil
	}
	var paths []string
	for _, f := range files {
		paths = append(paths, f.Path)
	}
	question := sp.words.render("relevant.tmpl", relevantData{Files: files, Task: text})
	choice, err := sp.choose(ctx, &backend.Request{Messages: []backend.Message{
		{Role: backend.RoleSystem, Content: sp.words.render("relevant_system.tmpl", nil)},
		{Role: backend.RoleUser, Content: sp.scrub.Text(question)},
	}}, sp.scrub.Distinct(append(slices.Clone(paths), sp.words.render("none", nil))))
	if err != nil {
		return nil, err
	}
	return pickLikely(choice.Options, paths), nil
}

type relevantData struct {
	Files []promptFile
	Task  string
}

// pickLikely takes the likeliest of the paths, as far as they are likely at
// all. They are the first of the scored options; those after them stand for none.
func pickLikely(scored []backend.ScoredOption, paths []string) []string {
	var files []int
	for i := range min(len(paths), len(scored)) {
		if scored[i].Probability >= fileProbabilityMin {
			files = append(files, i)
		}
	}
	slices.SortStableFunc(files, func(a, b int) int { return cmp.Compare(scored[b].Probability, scored[a].Probability) })
	var out []string
	for _, i := range files[:min(len(files), filesPickedMax)] {
		out = append(out, paths[i])
	}
	slices.Sort(out)
	return out
}

// givenAnswer is what an earlier subtask found out, for one that needs it.
type givenAnswer struct {
	Task   string
	Answer string
	Block  string // the answer as the prompt shows it
}
