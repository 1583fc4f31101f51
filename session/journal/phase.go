package journal

import "strings"

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
		"first": PhaseFresh, "look": PhaseUncertain, "again": PhaseCircling, "other": PhaseStuck, "last": PhaseLastWords,
	}[name]; old && renamed {
		*p = now
		return nil
	}
	*p = Phase(name)
	return nil
}
