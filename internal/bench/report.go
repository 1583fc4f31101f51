package bench

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"
)

// Report is a whole comparison, for people ([Report.Print]) or as JSON.
type Report struct {
	Machine  Machine   `json:"machine"`
	Backend  string    `json:"backend"`
	Settings Settings  `json:"settings"`
	Rounds   int       `json:"rounds"`
	Commands []string  `json:"commands"`
	Outcomes []Outcome `json:"checks"`
	// OtherLoad is the part of the machine that other processes used meanwhile,
	// 0 to 1; -1 when unknown. Much of it means that ratios are uncertain.
	OtherLoad float64 `json:"other_load"`
}

// Machine is where the numbers are from.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	System string `json:"system"`
}

// ThisMachine describes the machine that the program runs on.
func ThisMachine() Machine {
	return Machine{CPU: cpuName(), Cores: runtime.NumCPU(), System: runtime.GOOS + "/" +
		runtime.GOARCH}
}

// otherLoadNoisy is where a warning is due: beyond it, the two sides of a
// ratio rarely had the same share of the machine.
const otherLoadNoisy = 0.05

// Print writes the report as a table.
func (r *Report) Print(w io.Writer) error {
	s := r.Settings
	fmt.Fprintf(w, "machine   %s, %d cores, %s; model on %s\n", r.Machine.CPU, r.Machine.Cores,
		r.Machine.System, r.Backend)
	fmt.Fprintf(w, "model     %s\n", s.Model)
	fmt.Fprintf(w, "settings  threads %d, ubatch %d, KV %s, flash attention %s, load mode %s, the same on both sides\n",
		s.Threads, s.Ubatch, s.KVType, s.FlashAttn, s.LoadMode)
	fmt.Fprintf(w, "rounds    %d, alternating; medians, in brackets quartiles of the rounds' ratios\n\n", r.Rounds)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "CHECK\tOURS\tCOMPARED WITH\tRATIO\tOF BEST\tTARGET\t")
	for _, o := range r.Outcomes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%.3f [%.3f–%.3f]\t%.3f\t%s %.2f\t%s\n", o.Name,
			quantity(o.Ours, o.OursSpread.Median, o.Unit), quantity(o.Theirs, o.TheirsSpread.Median, o.Unit),
			o.Ratio.Median, o.Ratio.Low, o.Ratio.High, o.OfBest, sign(o.AtMost), o.Target, verdict(o.Met))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if r.OtherLoad > otherLoadNoisy {
		fmt.Fprintf(w,
			"\nnote: other processes used %.0f %% of the machine meanwhile, so these ratios are uncertain; run it "+
				"again when it is quiet\n", 100*r.OtherLoad)
	}
	fmt.Fprintf(w, "\n%s\n", strings.Join(r.Commands, "\n"))
	return nil
}

func quantity(name string, v float64, unit string) string {
	if unit == "s" {
		return fmt.Sprintf("%s %.3f s", name, v)
	}
	return fmt.Sprintf("%s %.1f %s", name, v, unit)
}

func sign(atMost bool) string {
	if atMost {
		return "≤"
	}
	return "≥"
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "MISSED"
}
