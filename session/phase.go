package session

import "strings"

// phase is where a run stands before its next turn: what came of the last one,
// or why it is asked for again. What may be chosen and the words with which the
// next note begins are looked up by it.
type phase string

const (
	phaseFresh     phase = "fresh"      // nothing was done for the newest words of the user
	phaseDone      phase = "done"       // a call was carried out
	phaseRead      phase = "read"       // it read one file
	phaseWrote     phase = "wrote"      // it wrote
	phaseEmpty     phase = "empty"      // it brought nothing
	phaseFailed    phase = "failed"     // it failed, or the turn could not be read
	phaseRefused   phase = "refused"    // it was not allowed
	phaseWithheld  phase = "withheld"   // an answer was held back
	phaseUncertain phase = "uncertain"  // it may have run before the process was killed
	phaseCircling  phase = "circling"   // it had been made before
	phaseStuck     phase = "stuck"      // it had been made before, and had failed
	phaseFinished  phase = "finished"   // it had been made before, and nothing but the answer is left
	phaseLastWords phase = "last_words" // the run is over: what was found out is asked for
)

// ends reports that only the answer can follow.
func (p phase) ends() bool { return p == phaseFinished || p == phaseLastWords }

// circling is the phase after a call that was wanted again: what had failed is
// not called done.
func circling(done doneCall) phase {
	if done.Failed {
		return phaseStuck
	}
	return phaseCircling
}

// UnmarshalText also reads what files of versions before 3 hold: the name of
// the label with which the note began.
func (p *phase) UnmarshalText(text []byte) error {
	name, old := strings.CutPrefix(string(text), "start_")
	if now, renamed := map[string]phase{
		"first": phaseFresh, "look": phaseUncertain, "again": phaseCircling, "other": phaseStuck, "last": phaseLastWords,
	}[name]; old && renamed {
		*p = now
		return nil
	}
	*p = phase(name)
	return nil
}
