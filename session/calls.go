package session

import (
	"slices"

	"agent/command"
	"agent/session/journal"
)

// calls is what is known of a session's calls: what they came to, which may have
// run though nothing tells, and which of the last turn are yet to be carried out.
type calls struct {
	book  *book
	above *calls // those of the session that delegated to this one

	circles *circles
	pending *turn                     // what the model wants and nothing has come of yet
	had     map[string]journal.Done   // calls of it that ran before it was cut off, by key
	running journal.Intent            // the call that runs now, or ran last
	intents map[string]journal.Intent // calls of which it is not known whether they ran
	blind   bool                      // there may be one more, unreadable
	lost    Lost                      // what of the session file could not be read
}

func newCalls(b *book, above *calls) *calls {
	return &calls{book: b, above: above, circles: newCircles(), intents: map[string]journal.Intent{}}
}

// earlier is the result of a call of a turn that was cut off, when the call had
// run before the cut.
func (c *calls) earlier(call *command.Call) (reply, bool) {
	d, ok := c.had[callKey(call)]
	return reply{text: d.Told, short: d.Result, failed: d.Next == journal.PhaseFailed, next: d.Next}, ok
}

// mayHaveRun reports a call that had begun when its process was killed, or one
// that a part of the file told of which can't be read any more.
func (c *calls) mayHaveRun(cmd command.Command, call *command.Call) bool {
	if _, began := c.intents[callKey(call)]; began {
		return true
	}
	return c.blind && (command.EffectOf(cmd, call).Consequential() || call.Command == delegateName)
}

// begin makes it known on disk that a call with consequences is about to run,
// before it does. A call that can't be recorded does not run.
func (c *calls) begin(in journal.Intent, consequential bool) error {
	c.running = in
	if !consequential {
		return nil
	}
	for up := c.above; up != nil; up = up.above { // what was delegated has begun to have effects
		if _, known := up.intents[up.running.Key]; known {
			continue
		}
		if err := up.record(up.running); err != nil {
			return err
		}
	}
	return c.record(in)
}

func (c *calls) record(in journal.Intent) error {
	c.intents[in.Key] = in
	c.book.keep(journal.Record{Type: journal.TypeIntent, Intent: &in})
	return c.book.log.Sync()
}

// end makes it known that the running call has ended, and how: done is nil for
// one that did not run.
func (c *calls) end(done *journal.Done) error {
	_, began := c.intents[c.running.Key]
	if done != nil {
		c.book.keep(journal.Record{Type: journal.TypeDone, Done: done})
	} else if in := c.running; began {
		c.book.keep(journal.Record{Type: journal.TypeNotRun, Intent: &in})
	}
	if !began {
		return nil
	}
	delete(c.intents, c.running.Key)
	return c.book.log.Sync()
}

// remember keeps a call as done in the states before and after it: made again
// right after itself it is a circle too, though it changed a file.
func (c *calls) remember(done journal.Done, states ...string) error {
	told := done
	told.State = states[0]
	err := c.end(&told)
	done.Told, done.Next = "", ""
	for i, state := range slices.Compact(states) {
		done.State = state
		c.circles.record(done)
		if i > 0 {
			c.book.keep(journal.Record{Type: journal.TypeDone, Done: &done})
		}
	}
	return err
}
