package decide

import (
	"embed"

	"agent/internal/legible"
	"agent/internal/words"
)

//go:embed prompts
var prompts embed.FS

// Bounds of a report.
const (
	leastCertainMax = 5
	undecidedMax    = 10
	shownRunes      = 80
)

// reported is a text in a report.
type reported struct {
	Place, Text string
	Shares      []share // of the options, the likeliest first
	Why         string
}

type share struct {
	Label   string
	Percent float64
}

// Report says how many texts got which label, which decisions are the least
// certain, and what was not decided.
func (r *Result) Report() string {
	data := map[string]any{
		"Judged": r.Judged(), "Column": r.Source.Column, "Counts": r.Counts(), "Empty": r.Empty(),
		"Close": r.Close(), "Nats": CloseNats,
	}
	var least, undecided []reported
	for _, v := range r.LeastCertain(leastCertainMax) {
		least = append(least, r.reported(v))
	}
	all := r.Undecided()
	for _, v := range all[:min(len(all), undecidedMax)] {
		undecided = append(undecided, r.reported(v))
	}
	data["Least"], data["Undecided"], data["More"] = least, undecided, len(all)-len(undecided)
	return words.Open(prompts).Say("report", data)
}

func (r *Result) reported(v Verdict) reported {
	out := reported{Place: v.Place(), Text: legible.Clip(legible.OneLine(v.Text.Text), shownRunes),
		Why: v.Why}
	for i, p := range v.Probabilities {
		at := len(out.Shares)
		for at > 0 && out.Shares[at-1].Percent < 100*p {
			at--
		}
		out.Shares = append(out.Shares[:at:at],
			append([]share{{r.Question.Options[i], 100 * p}}, out.Shares[at:]...)...)
	}
	out.Shares = out.Shares[:min(len(out.Shares), 3)]
	return out
}
