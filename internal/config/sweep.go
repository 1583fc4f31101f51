package config

import "slices"

// sweep is a value that stands for several jobs.
type sweep struct {
	items  []element
	simple bool // a,b,c rather than choice(a,b,c)
}

// Sweep expands overrides with several values, a=1,2 or a=choice(1,2), into one
// list of overrides per job, the last varying fastest, as Hydra's --multirun
// does. Without sweeps there is one job.
func Sweep(args []string) ([][]string, error) {
	var keys []string
	values := map[string][]string{}
	jobs := 1
	for _, arg := range args {
		o, err := parseOverride(arg)
		if err != nil {
			return nil, err
		}
		key, expanded := o.keyElement(), []string{arg}
		if o.sweep != nil {
			expanded = nil
			for _, it := range o.sweep.items {
				expanded = append(expanded, key+"="+it.text)
			}
		}
		if _, again := values[key]; !again {
			keys = append(keys, key)
		}
		values[key] = expanded
	}
	for _, k := range keys {
		if jobs *= len(values[k]); jobs > sweepJobsMax {
			return nil, problem(commandLine, k, "sweep has more than %d jobs", sweepJobsMax)
		}
	}
	return product(keys, values), nil
}

// product is the Cartesian product in the order of keys.
func product(keys []string, values map[string][]string) [][]string {
	jobs := [][]string{{}}
	for _, k := range keys {
		var next [][]string
		for _, job := range jobs {
			for _, v := range values[k] {
				next = append(next, append(slices.Clone(job), v))
			}
		}
		jobs = next
	}
	return jobs
}

// notSwept is the error for several values outside a sweep.
func (o *override) notSwept() error {
	key := o.keyElement()
	e := problem(commandLine, o.key, "%q gives several values to one key", o.shown())
	if o.sweep.simple {
		return e.Advise(
			"for a list write %s=[a,b]; for text with commas quote it: %s='\"a,b\"'; to run each value add "+
				"--multirun%s", key, key, o.maybeText())
	}
	return e.Advise("to run each value add --multirun%s", o.maybeText())
}
