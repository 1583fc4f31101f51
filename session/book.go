package session

import (
	"context"
	"sync"
	"time"

	"agent/session/journal"
	"agent/session/redact"
)

// book tells what happens to those who listen, and keeps it in the session
// file. Secrets are gone before it leaves.
type book struct {
	scrub redact.Scrubber
	sink  func(Event)
	log   *journal.Writer // nil: nothing is kept
	now   func() time.Time
}

// emit tells an event and keeps it.
func (b *book) emit(p Payload) { b.relay(Event{Time: b.now(), Data: redact.Copy(b.scrub, p)}) }

// relay tells an event that has no secrets left in it.
func (b *book) relay(ev Event) {
	if _, streamed := ev.Data.(*Delta); !streamed {
		b.write(ev)
	}
	b.sink(ev)
}

func (b *book) warn(text string) { b.emit(&Warning{Text: text}) }

func (b *book) keep(r journal.Record) {
	r.Time = b.now()
	b.write(r)
}

// write puts a line into the session file. A failure is told once; the run ends
// before its next step, or what would have to be recorded first.
func (b *book) write(v any) {
	if err := b.log.Append(v); err != nil && b.log.TellFailure() {
		told := Payload(&Warning{Text: "the session is no longer kept: " + err.Error()})
		b.sink(Event{Time: b.now(), Data: redact.Copy(b.scrub, told)})
	}
}

// clock counts the steps of a session and the time that it worked.
type clock struct {
	now     func() time.Time
	steps   int
	before  int // steps, when this run began
	max     int // steps of one run
	started time.Time
	wallMS  int64 // of earlier runs
}

// left is how many steps this run may still make.
func (c *clock) left() int { return c.max - (c.steps - c.before) }

// wall is the time that the session has worked, in milliseconds.
func (c *clock) wall() int64 { return c.wallMS + c.now().Sub(c.started).Milliseconds() }

// budget counts what a session costs, and says how much more it may.
type budget struct {
	usage     Usage
	before    Usage // when this run began
	tokensMax int   // 0: no end
	family    *family
}

// allow is how many tokens may be generated now: what is wanted, within what is
// left to all that share it.
func (b *budget) allow(wanted int) (int, error) {
	if b.tokensMax <= 0 {
		return wanted, nil
	}
	spent, sharers := b.family.tell(b, b.usage.Computed()-b.before.Computed())
	left := b.tokensMax - spent
	if left <= 0 {
		return 0, errTokensSpent
	}
	return min(wanted, max(left/sharers, 1)), nil
}

// family is what a run shares with all that it delegates.
type family struct {
	work chan struct{} // held while a consequential call is decided and carried out

	mu      sync.Mutex
	spent   map[*budget]int // tokens computed, as each last told
	running int             // children at work
}

func newFamily() *family {
	return &family{work: make(chan struct{}, 1), spent: map[*budget]int{}}
}

// hold waits until no other member of the family changes the work dir.
func (f *family) hold(ctx context.Context) (release func(), err error) {
	select {
	case f.work <- struct{}{}:
		return func() { <-f.work }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// tell notes what one has spent. It returns what all have spent, and among how
// many what is left must do.
func (f *family) tell(b *budget, tokens int) (total, sharers int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spent[b] = tokens
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

func (f *family) leave(child, parent *budget) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
	f.spent[parent] += child.usage.Computed()
	delete(f.spent, child)
}
