package session

import (
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

// write puts a line into the session file. When the disk fails, that is told
// once; the run ends before its next step, and before anything runs that would
// have to be recorded first.
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
