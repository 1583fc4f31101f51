package session

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"strings"

	"agent/command"
	"agent/session/journal"
)

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

// vainMax is how often a call may fail the same way before it is a circle in
// any state of the work dir. What changes there meanwhile (a log that someone
// else writes) has no part in it.
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
