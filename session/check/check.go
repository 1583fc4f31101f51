// Package check holds an answer against the task, the files and the results of a
// run, without a model: [Doubts] says what plainly speaks against it. What the
// task wants comes from elsewhere (session/wants); no check reads words of a
// human language.
//
// Promise: its functions are pure and read a bounded part of any text. A doubtful
// case counts as fine, since an agent that is sent back for nothing may do harm.
package check

import (
	"path"
	"slices"
	"strings"

	"agent/session/event"
	"agent/session/prose"
	"agent/session/workdir"
)

// Evidence is what an answer is checked against.
type Evidence struct {
	Task, Answer string
	Wants        event.Wants
	Exists       func(name string) bool   // in the work dir now
	Existed      func(name string) bool   // when the work on the task began
	Touched      []string                 // files created or changed since then
	Spoiled      map[string]bool          // by path: a command that failed changed it last
	Seen         string                   // all that the model was shown: files and results
	Read         func(name string) []byte // a file of the work dir; nil: it is too large
	Examples     []string                 // files that only the examples of the system prompt name
	Told         string                   // why the last answer was held back
	CanWrite     bool                     // a command that writes or runs code is allowed
	CanCompute   bool                     // one that runs code is
	Worked       bool                     // a command was carried out, or the task names a file
}

// Bounds of what the checks read: the beginning of a long task or answer, and
// the end of what was shown.
const (
	checkedBytesMax = 8 << 10
	seenBytesMax    = 128 << 10
)

// bounded cuts the texts to what is read.
func (e Evidence) bounded() Evidence {
	head := func(text string) string { return strings.ToValidUTF8(text[:min(len(text), checkedBytesMax)], "") }
	e.Task, e.Answer = head(e.Task), head(e.Answer)
	e.Seen = strings.ToValidUTF8(e.Seen[max(0, len(e.Seen)-seenBytesMax):], "")
	return e
}

// Doubt is a reason against an answer.
type Doubt struct {
	Check  string // that found it
	Reason string // a template in checks.tmpl
	What   any    // the template's data
	Warn   bool   // worth telling a person, too little to send the answer back
	Work   bool   // not mended by other words: something has to be done or looked at first
	Sure   bool   // a run that leaves it so has not done its task
}

// Doubts are the findings of all checks that are not skipped.
func Doubts(e Evidence, skip func(check string) bool) []Doubt {
	e = e.bounded()
	var out []Doubt
	for _, c := range checks() {
		if skip(c.name) {
			continue
		}
		if d, found := c.run(e); found {
			d.Check = c.name
			out = append(out, d)
		}
	}
	return out
}

// LacksFile reports that the task asks for a file that is not there, or is as it
// was.
func LacksFile(e Evidence) bool {
	_, lacks := checkAskedFile(e.bounded())
	return lacks
}

// AtOnce finds what is plainly wrong with files right after they were written: a
// form that is broken, or another name than the one that was asked for.
func AtOnce(e Evidence) (Doubt, bool) {
	e = e.bounded()
	if d, found := checkMalformed(e); found {
		d.Check = "malformed"
		return d, true
	}
	d, found := checkAskedFile(e)
	d.Check = "asked_file"
	return d, found && d.Reason == "asked_other"
}

// check is one of the tests.
type check struct {
	name string
	run  func(e Evidence) (Doubt, bool)
}

// checks lists the tests in the order in which they are tried.
func checks() []check {
	return []check{
		{"asked_file", checkAskedFile},
		{"malformed", checkMalformed},
		{"unasked_file", checkUnaskedFile},
		{"claimed_file", checkClaimedFile},
		{"example", checkExample},
		{"echo", checkEcho},
		{"number", checkNumber},
	}
}

// otherFile is a file that is missing, and one that was made instead.
type otherFile struct{ Name, Made string }

// checkAskedFile: the file that the task asks to write is there under its own
// name, and changed by a command that did not fail.
func checkAskedFile(e Evidence) (Doubt, bool) {
	name := e.Wants.Result
	sure := Doubt{What: name, Work: true, Sure: true}
	switch {
	case !e.CanWrite || !e.Wants.Writes:
		return Doubt{}, false
	case name == "" && len(e.Touched) == 0:
		sure.Reason = "asked_nothing"
	case name == "":
		return Doubt{}, false
	case !e.Exists(name):
		sure.Reason = "asked_missing"
		if made := e.made(); len(made) > 0 {
			sure.Reason, sure.What = "asked_other", otherFile{name, made[0]}
		}
	case !e.touched(name):
		sure.Reason = "asked_unchanged"
	case e.Spoiled[path.Clean(name)]:
		sure.Reason = "asked_spoiled"
	default:
		return Doubt{}, false
	}
	return sure, true
}

// made are the files that are new, and that the task neither wants nor names.
func (e Evidence) made() []string {
	named := append(workdir.Mentioned(e.Task), e.Wants.Result)
	return slices.DeleteFunc(slices.Clone(e.Touched), func(name string) bool {
		return e.Existed(name) || slices.Contains(named, name) || slices.Contains(named, path.Base(name))
	})
}

// touched reports a file, by its path or name, that was created or changed.
func (e Evidence) touched(name string) bool {
	return slices.ContainsFunc(e.Touched,
		func(p string) bool { return p == path.Clean(name) || path.Base(p) == name })
}

// checkUnaskedFile: where the task asks for no file, or for one, no other is made.
func checkUnaskedFile(e Evidence) (Doubt, bool) {
	made := e.made()
	if !e.Wants.Known || e.Wants.Writes && e.Wants.Result == "" || len(made) == 0 {
		return Doubt{}, false
	}
	return Doubt{Reason: "unasked", What: made, Work: true, Warn: !e.CanWrite}, true
}

// checkMalformed: what was written is of the form that its name says.
func checkMalformed(e Evidence) (Doubt, bool) {
	for _, name := range e.Touched {
		if problem := Malformed(name, e.Read(name)); problem != nil {
			return Doubt{Reason: problem.Reason, What: problem, Work: true, Sure: true}, true
		}
	}
	return Doubt{}, false
}

// checkClaimedFile: a file that an answer names is there, unless the task or a
// result spoke of it.
func checkClaimedFile(e Evidence) (Doubt, bool) {
	for _, m := range workdir.Mentions(e.Answer) {
		told := strings.Contains(e.Seen, m.Name) || strings.Contains(e.Task, m.Name)
		if !told && !e.Exists(m.Name) && !slices.Contains(e.Examples, m.Name) {
			return Doubt{Reason: "claimed", What: m.Name}, true
		}
	}
	return Doubt{}, false
}

// checkExample: an answer is about the task at hand, and not about that of an
// example, which a small model tells at times when it has nothing else to tell.
func checkExample(e Evidence) (Doubt, bool) {
	for _, m := range workdir.Mentions(e.Answer) {
		if slices.Contains(e.Examples, m.Name) && !e.Exists(m.Name) && !strings.Contains(e.Seen, m.Name) {
			return Doubt{Reason: "example", What: m.Name}, true
		}
	}
	return Doubt{}, false
}

// checkEcho: an answer is more than what the model was told about the last one.
func checkEcho(e Evidence) (Doubt, bool) {
	told := prose.Folded(e.Told)
	return Doubt{Reason: "echo"}, told != "" && strings.Contains(prose.Folded(e.Answer), told)
}
