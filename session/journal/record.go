// Package journal keeps a session in a file, and reads it again.
//
// A session file is only appended to: the events of the run, and between them the
// records from which it can be resumed. Before a command with side effects runs
// an intent is on disk, and after it its result, so that what may have run is
// known whatever happens.
package journal

import (
	"slices"
	"strings"
	"time"

	"agent/command"
	"agent/session/event"
)

// Version of the files that are written. 2 named phases by labels of the prompt
// and framed its records with checksums; 1 had no intents.
const Version = 3

// Names of what belongs to a session, beside its id.
const (
	Ext         = ".jsonl"
	ChildrenExt = ".children" // the folder of the sessions that were delegated to
	StateExt    = ".state"    // the folder in which commands keep things
)

// Types of records.
const (
	TypeHeader    = "header"
	TypeMessage   = "message"
	TypeCompacted = "compacted"
	TypeIntent    = "intent"
	TypeDone      = "done"
	TypeNotRun    = "not_run"
	TypeStep      = "step"
	TypeWithheld  = "withheld"
	TypeInvalid   = "invalid_reply"
	TypeWhole     = "whole_result" // before it was condensed
)

// Record is one line that is not an event.
type Record struct {
	Type    string       `json:"type"`
	Time    time.Time    `json:"time"`
	Header  *Header      `json:"header,omitempty"`
	Entry   *Entry       `json:"entry,omitempty"`
	Turn    *OpenTurn    `json:"turn,omitempty"` // with an entry of the model's: what it asks for
	Entries []*Entry     `json:"entries,omitempty"`
	Intent  *Intent      `json:"intent,omitempty"`
	Done    *Done        `json:"done,omitempty"`
	Held    *Withheld    `json:"held,omitempty"` // all that were held back since the task began
	Steps   int          `json:"steps,omitempty"`
	Usage   *event.Usage `json:"usage,omitempty"`
	WallMS  int64        `json:"wall_ms,omitempty"`
	Raw     string       `json:"raw,omitempty"`
	Reason  string       `json:"reason,omitempty"`
}

// Header is the first record of a session file.
type Header struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	Model   string `json:"model"`
	Task    string `json:"task"`
	WorkDir string `json:"workdir"`
	Mode    string `json:"mode"`
}

// OpenTurn is a turn whose calls are not all carried out: a run that was killed goes on with it,
// without asking the model again.
type OpenTurn struct {
	Calls   []*command.Call    `json:"calls,omitempty"`
	Repairs []string           `json:"repairs,omitempty"`
	Choices []event.ChoiceMade `json:"choices,omitempty"`
	Problem string             `json:"problem,omitempty"`
}

// Intent is a call with side effects that is about to run.
type Intent struct {
	Key     string `json:"key"`   // of the call
	State   string `json:"state"` // of the work dir before it runs
	Step    int    `json:"step"`
	Command string `json:"command"`
}

// whole reports whether a record has what its type promises. Types of later
// versions are let through and ignored.
func (r *Record) whole() bool {
	switch r.Type {
	case TypeHeader:
		return r.Header != nil
	case TypeMessage:
		return r.Entry != nil && (r.Turn == nil || !slices.Contains(r.Turn.Calls, nil))
	case TypeIntent, TypeNotRun:
		return r.Intent != nil
	case TypeDone:
		return r.Done != nil
	case TypeStep:
		return r.Usage != nil
	case TypeWithheld:
		return r.Held != nil
	case TypeCompacted:
		return !slices.Contains(r.Entries, nil)
	}
	return true
}

// Kind says what an entry of the transcript is, which decides what
// compaction may do with it.
type Kind string

// Kinds of entries.
const (
	KindTask    Kind = "task"    // the user's words: kept as they are, always
	KindTurn    Kind = "turn"    // what the model wrote
	KindResult  Kind = "result"  // data for the model
	KindSummary Kind = "summary" // what older turns and results became
)

// Entry is one part of the conversation. The transcript only grows, except
// when it is compacted, so that an evaluated prompt stays a prefix of the next.
type Entry struct {
	Kind   Kind   `json:"kind"`
	Step   int    `json:"step"`
	Text   string `json:"text"`
	Raw    string `json:"raw,omitempty"`    // the model's own text where Text is its canonical form
	Digest string `json:"digest,omitempty"` // a turn and its result in one line, for a summary

	Next Phase `json:"next,omitempty"` // of the run, after this

	Tokens int `json:"-"` // counted once, 0 = not yet
}

// Done is a call that was carried out, the state of the work dir then, and its result.
type Done struct {
	Key     string `json:"key"`   // of the call
	State   string `json:"state"` // of the work dir before it ran
	Step    int    `json:"step"`
	Command string `json:"command"`
	Result  string `json:"result"` // as the model was shown it
	Failed  bool   `json:"failed"` // or brought nothing

	// For a run that is killed before its next message: the result with all that
	// the model is told around it, and the phase after it.
	Told string `json:"told,omitempty"`
	Next Phase  `json:"next,omitempty"`
}

// Withheld is an answer that was held back, and the checks that did it.
type Withheld struct {
	Count   int             `json:"count"`
	Tried   map[string]bool `json:"tried,omitempty"`   // checks that have held an answer back, or warned
	Said    map[string]int  `json:"said,omitempty"`    // how often what is surely missing was said, by check
	Answers []string        `json:"answers,omitempty"` // as marks: the words themselves are forgotten
	Told    string          `json:"told,omitempty"`    // why the last was
	Work    bool            `json:"work,omitempty"`    // something else has to be done before the next
}

// Try notes that a check has held an answer back, or warned.
func (w *Withheld) Try(name string) {
	if w.Tried == nil {
		w.Tried = map[string]bool{}
	}
	w.Tried[name] = true
}

// Say notes that what a check found was said once more, and tells how often it
// was said before.
func (w *Withheld) Say(check string) int {
	if w.Said == nil {
		w.Said = map[string]int{}
	}
	w.Said[check]++
	return w.Said[check] - 1
}

// Phase is where a run stands before its next turn: what came of the last one,
// or why it is asked for again. What may be chosen and the words with which the
// next note begins are looked up by it.
type Phase string

const (
	PhaseFresh     Phase = "fresh"      // nothing was done for the newest words of the user
	PhaseDone      Phase = "done"       // a call was carried out
	PhaseRead      Phase = "read"       // it read one file
	PhaseWrote     Phase = "wrote"      // it wrote
	PhaseEmpty     Phase = "empty"      // it brought nothing
	PhaseFailed    Phase = "failed"     // it failed, or the turn could not be read
	PhaseRefused   Phase = "refused"    // it was not allowed
	PhaseWithheld  Phase = "withheld"   // an answer was held back
	PhaseUncertain Phase = "uncertain"  // it may have run before the process was killed
	PhaseCircling  Phase = "circling"   // it had been made before
	PhaseStuck     Phase = "stuck"      // it had been made before, and had failed
	PhaseFinished  Phase = "finished"   // it had been made before, and nothing but the answer is left
	PhaseLastWords Phase = "last_words" // the run is over: what was found out is asked for
)

// Ends reports that only the answer can follow.
func (p Phase) Ends() bool { return p == PhaseFinished || p == PhaseLastWords }

// UnmarshalText also reads what files of versions before 3 hold: the name of
// the label with which the note began.
func (p *Phase) UnmarshalText(text []byte) error {
	name, old := strings.CutPrefix(string(text), "start_")
	if now, renamed := map[string]Phase{
		"first": PhaseFresh, "look": PhaseUncertain, "again": PhaseCircling, "other": PhaseStuck,
		"last": PhaseLastWords,
	}[name]; old && renamed {
		*p = now
		return nil
	}
	*p = Phase(name)
	return nil
}
