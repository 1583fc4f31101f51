package page

import (
	"context"
	"encoding/json"
	"sync"

	"agent/internal/serve/work"
	"agent/session"
)

// States of a task.
const (
	stateWorking = "working"
	stateAsking  = "asking"
	stateEnded   = "ended"
)

// task is one run.
type task struct {
	id, text string
	ctx      context.Context
	end      context.CancelFunc

	mu      sync.Mutex
	lines   [][]byte      // events as JSON
	changed chan struct{} // closed when something is added
	ended   bool
	asked   int
	open    map[int]chan session.Decision // questions that wait
}

func (k *task) state() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.ended:
		return stateEnded
	case len(k.open) > 0:
		return stateAsking
	}
	return stateWorking
}

// since are the events from the n-th on, a channel that is closed when there are
// more, and whether there will be none.
func (k *task) since(n int) (lines [][]byte, changed <-chan struct{}, ended bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lines[n:], k.changed, k.ended
}

// add remembers an event. Beyond eventsMax only the end is.
func (k *task) add(v any, last bool) {
	line, err := json.Marshal(v)
	if err != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended || len(k.lines) >= eventsMax && !last {
		return
	}
	k.lines, k.ended = append(k.lines, line), last
	close(k.changed)
	k.changed = make(chan struct{})
}

// work runs the task to its end.
func (k *task) work(cfg Config) {
	defer k.end()
	err := k.run(cfg)
	last := map[string]string{"type": "end"}
	if err != nil {
		last["error"] = problem(err)
	}
	k.add(last, true)
}

func (k *task) run(cfg Config) error {
	run, err := cfg.Open(k.ctx, work.Order{Folder: cfg.Folder, Ask: k.ask})
	if err != nil {
		return err
	}
	defer run.Close()
	run.Options.Sink = func(ev session.Event) { k.add(ev, false) }
	s, err := run.Start("")
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.Run(k.ctx, k.text)
	return err
}

// question is what a page is asked about.
type question struct {
	Type       string `json:"type"` // question
	Number     int    `json:"number"`
	Command    string `json:"command"`
	Effect     string `json:"effect"`
	Summary    string `json:"summary"`
	Shown      string `json:"shown"` // all of what it would do
	MayHaveRun bool   `json:"may_have_run,omitempty"`
}

// ask has the person at the page decide about a call.
func (k *task) ask(ctx context.Context, p *session.Proposal) (session.Decision, error) {
	shown, ok := work.Shown(p)
	if !ok {
		return work.TooLong(p), nil
	}
	answer := make(chan session.Decision, 1)
	k.mu.Lock()
	k.asked++
	n := k.asked
	if k.open == nil {
		k.open = map[int]chan session.Decision{}
	}
	k.open[n] = answer
	k.mu.Unlock()
	k.add(question{"question", n, p.Call.Command, work.Effect(p), p.Call.Summary, shown, p.MayHaveRun},
		false)
	defer k.decide(n, session.Decision{}) // nobody waits any more
	select {
	case d := <-answer:
		return d, nil
	case <-ctx.Done():
		return session.Decision{}, ctx.Err()
	}
}

// decide answers a question; false: it does not wait.
func (k *task) decide(n int, d session.Decision) bool {
	k.mu.Lock()
	answer, waits := k.open[n]
	delete(k.open, n)
	k.mu.Unlock()
	if !waits {
		return false
	}
	answer <- d
	k.add(map[string]any{"type": "decided", "number": n, "allowed": d.Allow}, false)
	return true
}
