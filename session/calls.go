package session

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"

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
	return reply{text: d.Told, short: d.Result, failed: d.Next == journal.PhaseFailed, next: d.Next},
		ok
}

// mayHaveRun reports a call that had begun when its process was killed, or one
// that a part of the file told of which can't be read any more.
func (c *calls) mayHaveRun(j job) bool {
	_, began := c.intents[j.key]
	return began || c.blind && (j.consequential() || j.call.Command == delegateName)
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

// identicalCallsMax identical calls in a row end the run.
const identicalCallsMax = 3

// callKey identifies what a call does: its command and content, not its words
// about why. Space around strings does not make a call another one.
func callKey(call *command.Call) string {
	content := make([]any, len(call.Content))
	for i, entry := range call.Content {
		content[i] = trimmed(entry)
	}
	data, err := json.Marshal(content) // map keys are sorted
	if err != nil {
		return "" // not comparable: no circle is seen
	}
	sum := sha256.Sum256(append([]byte(call.Command+"\x00"), data...))
	return hex.EncodeToString(sum[:12])
}

func trimmed(v any) any {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = trimmed(v[k])
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = trimmed(v[i])
		}
		return out
	}
	return v
}

// circles remembers calls, to see when a run goes round in circles.
type circles struct {
	done  map[string]journal.Done
	last  string // key of the last call asked for
	row   int    // how often it was asked for in a row
	vain  map[string]vainCall
	found int // circles seen so far, to ask for another angle each time
}

func newCircles() *circles {
	return &circles{done: map[string]journal.Done{}, vain: map[string]vainCall{}}
}

// vainCall is a call that failed, and failed the same way when it was made
// again.
type vainCall struct {
	done  journal.Done
	steps int
}

// vainMax is how often a call may fail the same way before it is a circle,
// whatever changes in the work dir.
const vainMax = 2

// ask notes that a call is wanted. It returns how many identical calls have
// now been asked for in a row.
func (c *circles) ask(key string) int {
	if key == "" || key != c.last {
		c.last, c.row = key, 0
	}
	c.row++
	return c.row
}

// earlier finds the same call made in the same state of the work dir, or made
// in vain often enough.
func (c *circles) earlier(key, state string) (journal.Done, bool) {
	if v := c.vain[key]; key != "" && v.steps >= vainMax {
		return v.done, true
	}
	d, ok := c.done[key+state]
	return d, ok && key != ""
}

// forget drops the calls of a command that is another one now.
func (c *circles) forget(name string) {
	maps.DeleteFunc(c.done, func(_ string, d journal.Done) bool { return d.Command == name })
}

// record remembers a call that ran.
func (c *circles) record(d journal.Done) {
	c.done[d.Key+d.State] = d
	v, before := c.vain[d.Key]
	switch {
	case !d.Failed:
		delete(c.vain, d.Key)
	case !before || v.done.Result != d.Result:
		c.vain[d.Key] = vainCall{d, 1}
	case v.done.Step != d.Step: // a step is recorded in the states before and after it
		c.vain[d.Key] = vainCall{d, v.steps + 1}
	}
}

// circling is the phase after a call that was wanted again: what had failed is
// not called done.
func circling(done journal.Done) journal.Phase {
	if done.Failed {
		return journal.PhaseStuck
	}
	return journal.PhaseCircling
}
