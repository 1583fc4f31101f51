package tasks

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"agent/internal/bench"
)

// Report is the outcome of a suite, for people ([Report.Print]) or as JSON.
type Report struct {
	Machine bench.Machine `json:"machine"`
	Device  string        `json:"device"`
	Model   string        `json:"model"`
	Threads int           `json:"threads"`
	Command string        `json:"command"`
	Suite   string        `json:"suite"`
	Tasks   int           `json:"tasks"`
	Rounds  int           `json:"rounds"`
	// OtherLoad is the part of the machine that other processes used during this
	// sitting, 0 to 1; -1 when unknown.
	OtherLoad      float64         `json:"other_load"`
	Configurations []Configuration `json:"configurations"`
	Effects        []Effect        `json:"effects,omitempty"` // of a [Screen]
	Rows           []Row           `json:"runs"`
}

// Configuration is the outcome of one way of working, over all tasks and rounds.
type Configuration struct {
	Name            string           `json:"name"`
	Runs            int              `json:"runs"`
	Solved          int              `json:"solved"`
	SuccessRate     float64          `json:"success_rate"`
	ByKind          map[string]Share `json:"by_kind"`
	ByRound         []Share          `json:"by_round"`
	InvalidReplies  int              `json:"invalid_replies"`
	InvalidRun      int              `json:"invalid_commands_executed"`
	Errors          int              `json:"errors"` // runs that the model or the program ended
	Steps           float64          `json:"steps_mean"`
	EvaluatedTokens int              `json:"evaluated_tokens"`
	CachedTokens    int              `json:"cached_tokens"`
	GeneratedTokens int              `json:"generated_tokens"`
	WallSeconds     float64          `json:"wall_seconds"`
	WallMedian      float64          `json:"wall_seconds_median"`
	// Processor time, summed over processors; 0 where it is not known.
	ProcessorSeconds float64 `json:"processor_seconds"`
	ProcessorMedian  float64 `json:"processor_seconds_median"`
	// Better and Worse are the runs that this configuration alone solved, and
	// that the first configuration alone solved, of those that both made.
	Better int `json:"better_than_first"`
	Worse  int `json:"worse_than_first"`
}

// Share is solved runs of all runs.
type Share struct {
	Solved int `json:"solved"`
	Runs   int `json:"runs"`
}

func (s Share) add(row Row) Share {
	s.Runs++
	if row.Solved {
		s.Solved++
	}
	return s
}

// Summarise adds up rows by configuration, in the order of names. The others are compared with
// the first.
func Summarise(rows []Row, names []string) []Configuration {
	var out []Configuration
	for _, name := range names {
		own := slices.DeleteFunc(slices.Clone(rows), func(r Row) bool { return r.Configuration != name })
		c := summary(name, own)
		if name != names[0] {
			c.Better, c.Worse = compared(rows, names[0], own)
		}
		out = append(out, c)
	}
	return out
}

func summary(name string, rows []Row) Configuration {
	c := Configuration{Name: name, Runs: len(rows), ByKind: map[string]Share{}}
	var walls, works []float64
	steps := 0
	for _, r := range rows {
		c.ByKind[r.Kind] = c.ByKind[r.Kind].add(r)
		for len(c.ByRound) <= r.Round {
			c.ByRound = append(c.ByRound, Share{})
		}
		c.ByRound[r.Round] = c.ByRound[r.Round].add(r)
		if r.Solved {
			c.Solved++
		}
		if r.Error != "" {
			c.Errors++
		}
		steps += r.Steps
		c.InvalidReplies += r.InvalidReplies
		c.InvalidRun += r.InvalidRun
		c.EvaluatedTokens += r.EvaluatedTokens
		c.CachedTokens += r.CachedTokens
		c.GeneratedTokens += r.GeneratedTokens
		walls = append(walls, float64(r.WallMS)/1000)
		c.WallSeconds += float64(r.WallMS) / 1000
		works = append(works, float64(max(0, r.ProcessorMS))/1000)
		c.ProcessorSeconds += float64(max(0, r.ProcessorMS)) / 1000
	}
	if len(rows) > 0 {
		c.SuccessRate = float64(c.Solved) / float64(len(rows))
		c.Steps = float64(steps) / float64(len(rows))
		c.WallMedian = bench.Quantile(walls, 0.5)
		c.ProcessorMedian = bench.Quantile(works, 0.5)
	}
	return c
}

// compared counts where only one of two configurations solved the same task in
// the same round.
func compared(rows []Row, first string, own []Row) (better, worse int) {
	solved := map[run]bool{}
	for _, r := range rows {
		if r.Configuration == first {
			solved[run{task: r.Task, round: r.Round}] = r.Solved
		}
	}
	for _, r := range own {
		theirs, both := solved[run{task: r.Task, round: r.Round}]
		switch {
		case both && r.Solved && !theirs:
			better++
		case both && !r.Solved && theirs:
			worse++
		}
	}
	return better, worse
}

// otherLoadNoisy is where wall times deserve a warning.
const otherLoadNoisy = 0.05

// Print writes the report as tables.
func (r *Report) Print(w io.Writer) error {
	fmt.Fprintf(w, "machine  %s, %d cores, %s; model on %s, threads %d\n", r.Machine.CPU,
		r.Machine.Cores, r.Machine.System, r.Device, r.Threads)
	fmt.Fprintf(w, "model    %s\n", r.Model)
	fmt.Fprintf(w,
		"suite    %s, %d tasks, %d rounds: the first at temperature 0, others warmer with a seed each\n\n",
		r.Suite, r.Tasks, r.Rounds)
	table := r.printConfigurations
	if len(r.Effects) > 0 {
		table = r.printEffects // the configurations of a screen are many, and none is of interest
	}
	if err := table(w); err != nil {
		return err
	}
	if r.OtherLoad > otherLoadNoisy {
		fmt.Fprintf(w,
			"\nnote: other processes used %.0f %% of the machine meanwhile, so wall times are uncertain; "+
				"processor times are less so\n", 100*r.OtherLoad)
	}
	_, err := fmt.Fprintf(w, "\n%s\n", r.Command)
	return err
}

func (r *Report) printConfigurations(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t,
		"CONFIGURATION\tSOLVED\tRATE\tBY ROUND\tVS FIRST\tINVALID\tRAN "+
			"INVALID\tSTEPS\tEVALUATED\tREUSED\tGENERATED\tWALL\tMEDIAN\tPROCESSOR\tMEDIAN")
	for i, c := range r.Configurations {
		versus := "–"
		if i > 0 {
			versus = fmt.Sprintf("+%d −%d", c.Better, c.Worse)
		}
		fmt.Fprintf(t,
			"%s\t%d of %d\t%.0f %%\t%s\t%s\t%d\t%d\t%.1f\t%d\t%d\t%d\t%.0f s\t%.1f s\t%.0f s\t%.1f s\n",
			c.Name,
			c.Solved, c.Runs, 100*c.SuccessRate,
			rounds(c.ByRound), versus, c.InvalidReplies, c.InvalidRun, c.Steps, c.EvaluatedTokens,
			c.CachedTokens,
			c.GeneratedTokens, c.WallSeconds, c.WallMedian, c.ProcessorSeconds, c.ProcessorMedian)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return r.printTasks(w)
}

func rounds(shares []Share) string {
	var out []string
	for _, s := range shares {
		out = append(out, fmt.Sprint(s.Solved))
	}
	return strings.Join(out, "/")
}

// printTasks shows how often each task was solved.
func (r *Report) printTasks(w io.Writer) error {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprint(t, "TASK")
	for _, c := range r.Configurations {
		fmt.Fprint(t, "\t", c.Name)
	}
	fmt.Fprintln(t)
	var names []string
	shares := map[run]Share{}
	for _, row := range r.Rows {
		names = append(names, row.Task)
		key := run{task: row.Task, configuration: row.Configuration}
		shares[key] = shares[key].add(row)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		fmt.Fprint(t, name)
		for _, c := range r.Configurations {
			s := shares[run{task: name, configuration: c.Name}]
			fmt.Fprintf(t, "\t%d of %d", s.Solved, s.Runs)
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}
