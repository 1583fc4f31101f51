package session

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"agent/backend"
)

// Aid is one of the ways in which the harness carries a weak model. Options.Aids
// switches each on or off; else an aid is on for models of the sizes at which it
// was measured.
type Aid string

// The aids. Their names are stable: configurations and measurements use them.
const (
	AidNote        Aid = "note"         // a line of free reasoning before the command is chosen
	AidNoteStart   Aid = "note_start"   // that line begins by what happened before it
	AidLookFirst   Aid = "look_first"   // a run that can only read begins by reading a file that the task names
	AidFileHeads   Aid = "file_heads"   // the first message shows how files begin
	AidWholeFiles  Aid = "whole_files"  // and small ones whole
	AidWorkFirst   Aid = "work_first"   // the answer is no choice before there was work, where the task plainly needs some
	AidOtherWay    Aid = "other_way"    // what failed and would be done again is done with another command
	AidResultHeads Aid = "result_heads" // a result shows how the files begin that it changed
	AidTables      Aid = "tables"       // code comes first where there is a table, and begins by reading one that is no plain CSV
	AidPassages    Aid = "passages"     // of a long file, the passages that share the most with the task
	AidErrorLine   Aid = "error_line"   // a failure shows the line of code that it names
	AidRestate     Aid = "restate"      // from the fourth on, each result ends with the task in one line
	AidCircleBreak Aid = "circle_break" // a turn that would repeat an earlier call is drawn again
	AidQuestions   Aid = "questions"    // what the task wants is asked by scoring, for what is offered and checked
	AidColdLogic   Aid = "cold_logic"   // an answer is held against files, results and the form asked for
)

// Aids lists all there are.
func Aids() []Aid {
	return []Aid{
		AidNote, AidNoteStart, AidLookFirst, AidFileHeads, AidWholeFiles,
		AidWorkFirst, AidOtherWay, AidResultHeads, AidPassages, AidTables, AidErrorLine,
		AidRestate, AidCircleBreak, AidQuestions, AidColdLogic,
	}
}

// measuredBelow is the number of parameters below which aids were measured:
// each by itself with a model of 0.5B, all together with one of 1.5B
// (docs/dev/benchmarks.md).
const measuredBelow = 2_000_000_000

// binds reports an aid that decides in the model's place or puts words into its
// mouth. It was measured with small models alone; a larger one may know better.
// The others show facts, stop repetition or test an answer, whatever the size.
func (a Aid) binds() bool {
	return slices.Contains([]Aid{AidNoteStart, AidLookFirst, AidWorkFirst, AidOtherWay, AidRestate,
		AidTables}, a)
}

// askedFrom is the number of parameters from which on models were seen to answer
// plain questions about a task.
const askedFrom = 1_000_000_000

// Suits reports that an aid is on by itself for a model of so many parameters;
// 0 is a model whose size is not known.
func (a Aid) Suits(parameters int64) bool {
	if a == AidQuestions {
		return parameters >= askedFrom
	}
	return !a.binds() || parameters > 0 && parameters < measuredBelow
}

// checkAids refuses names that are none: what switches nothing would measure
// nothing.
func checkAids(aids map[Aid]bool) error {
	for _, a := range slices.Sorted(maps.Keys(aids)) {
		if !slices.Contains(Aids(), a) {
			return &UnknownAidError{Name: string(a)}
		}
	}
	return nil
}

// UnknownAidError is a name in Options.Aids that is no aid.
type UnknownAidError struct{ Name string }

func (e *UnknownAidError) Error() string { return fmt.Sprintf("unknown aid %q", e.Name) }

// Hint lists those that exist.
func (e *UnknownAidError) Hint() string {
	names := make([]string, 0, len(Aids()))
	for _, a := range Aids() {
		names = append(names, string(a))
	}
	return "known are " + strings.Join(names, ", ")
}

// has reports that an aid is on in this run.
func (o *Options) has(a Aid) bool {
	if on, set := o.Aids[a]; set {
		return on
	}
	return a.Suits(backend.ParametersOf(o.Backend))
}
