package tasks

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"gopkg.in/yaml.v3"
)

// Wants is what a task wants, as its solutions.yaml tells.
type Wants struct {
	Result  string `yaml:"result"` // the file to be written, or "several"
	Changes bool   `yaml:"changes"`
	Renames bool   `yaml:"renames"`
	Form    string `yaml:"form"` // of the answer: number, name
}

// Yes is the right answer to a question, by its name.
func (w Wants) Yes(question string) bool {
	switch question {
	case "writes":
		return w.Result != ""
	case "changes":
		return w.Changes
	case "replaces":
		return w.Result == "several" && w.Changes
	}
	return w.Form == question
}

// WantsOf reads what the task in a folder wants, if that is known.
func WantsOf(dir string) (Wants, bool, error) {
	text, err := os.ReadFile(filepath.Join(dir, "solutions.yaml"))
	if err != nil {
		return Wants{}, false, fmt.Errorf("tasks: %w", err)
	}
	var s struct {
		Wants *Wants `yaml:"wants"`
	}
	if err := yaml.Unmarshal(text, &s); err != nil {
		return Wants{}, false, fmt.Errorf("tasks: %s: %w", dir, err)
	}
	if s.Wants == nil {
		return Wants{}, false, nil
	}
	return *s.Wants, true, nil
}

// Curve is how the margins of a question tell yes from no.
type Curve struct{ yes, no []float64 }

// Add notes a margin with the right answer.
func (c *Curve) Add(margin float64, yes bool) {
	if yes {
		c.yes = append(c.yes, margin)
	} else {
		c.no = append(c.no, margin)
	}
}

// AUC is the probability that a yes has a higher margin than a no; 0.5 is chance.
func (c *Curve) AUC() float64 {
	sum := 0.0
	for _, y := range c.yes {
		for _, n := range c.no {
			sum += float64(cmp.Compare(y, n)+1) / 2
		}
	}
	return sum / float64(max(1, len(c.yes)*len(c.no)))
}

// Right is how many margins are on their side of a threshold.
func (c *Curve) Right(threshold float64) int {
	right := 0
	for _, y := range c.yes {
		if y > threshold {
			right++
		}
	}
	for _, n := range c.no {
		if n <= threshold {
			right++
		}
	}
	return right
}

// Best is the most that any threshold gets right, and that threshold.
func (c *Curve) Best() (right int, threshold float64) {
	for i, m := range slices.Concat(c.yes, c.no) {
		for _, t := range []float64{m, m - 0.01} {
			if r := c.Right(t); r > right || i == 0 {
				right, threshold = r, t
			}
		}
	}
	return right, threshold
}
