// Package tasks is a suite of small tasks for an agent, with the programs that
// tell whether one was solved, and the book in which runs are kept.
//
// [Load] reads a suite from folders of task.yaml and files/. [Task.Lay] makes
// the work dir of one run; after it, [Task.Verify] says what is wrong with what
// was left behind. [Ledger] keeps each run as it ends, so that a suite that was
// cut off goes on, and [Summarise] makes the table.
//
// Promises: a task file with a mistake is refused when it is read, and so is a
// check that nothing could fail; a verifier only reads the work dir, but for code
// that a task wants to see run, which the caller runs in its sandbox; no model is
// asked to judge.
package tasks

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"agent/internal/bounded"
)

// StepsDefault is how many steps a run of a task may take, if it does not say:
// the shortest ways through these tasks take two to five.
const StepsDefault = 8

// Bounds of a suite.
const (
	tasksMax     = 500
	fileBytesMax = 1 << 20 // of a task's file, and of a file that is verified
	filesMax     = 100     // of one task
)

// Kinds of tasks, by what they try.
var kinds = []string{
	"files", "csv", "text", "choice", "code", "multi-step", "unknown", "failing tool",
	"table", "edit", "rename", "extract", "long", "forbidden", "injection", "language", "labels",
	"command",
}

// Half is one of the two halves of a suite. While something is made, runs of the
// first are looked at; those of the second are only counted, so that they tell
// what carries over.
type Half string

// The halves; empty means both.
const (
	Looked  Half = "looked"
	Counted Half = "counted"
)

// Task is one small job with its verifier.
type Task struct {
	Name    string  `yaml:"-"`
	Kind    string  `yaml:"kind"`
	Counted bool    `yaml:"counted"` // of the half that nobody looks at
	Prompt  string  `yaml:"task"`    // in the user's words
	Steps   int     `yaml:"steps"`   // 0: StepsDefault
	Tools   []Tool  `yaml:"tools"`   // commands that only this task has
	Checks  []Check `yaml:"checks"`

	files fs.FS
}

// Tool is a command of a task's own that plays a script, to see what an agent
// makes of one that fails.
type Tool struct {
	Name        string            `yaml:"name"`
	Description string            `yaml:"description"`
	Fields      map[string]string `yaml:"fields"`
	Replies     []ToolReply       `yaml:"replies"` // one after another; the last one stays
}

// ToolReply is what a [Tool] says once: a result or, with Failed, an error.
type ToolReply struct {
	Text   string `yaml:"text"`
	Failed string `yaml:"failed"`
}

// Suite is tasks in the order of their names.
type Suite struct {
	Tasks []*Task
	// Sum identifies the whole content: results of another suite are no results
	// of this one.
	Sum string
}

// Load reads the suite in a folder: each folder below it is a task.
func Load(dir string) (*Suite, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("tasks: %w", err)
	}
	suite, sum := &Suite{}, sha256.New()
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if len(suite.Tasks) == tasksMax {
			return nil, fmt.Errorf("tasks: %s has more than %d", dir, tasksMax)
		}
		t, err := loadTask(os.DirFS(filepath.Join(dir, e.Name())), e.Name(), sum)
		if err != nil {
			return nil, fmt.Errorf("tasks: %s: %w", path.Join(filepath.ToSlash(dir), e.Name()), err)
		}
		suite.Tasks = append(suite.Tasks, t)
	}
	if len(suite.Tasks) == 0 {
		return nil, fmt.Errorf("tasks: %s has none: each is a folder with a task.yaml", dir)
	}
	suite.Sum = hex.EncodeToString(sum.Sum(nil)[:8])
	return suite, nil
}

// Half gives the tasks of one half, or all.
func (s *Suite) Half(half Half) []*Task {
	return slices.DeleteFunc(slices.Clone(s.Tasks), func(t *Task) bool {
		return half != "" && t.Counted != (half == Counted)
	})
}

// loadTask reads one task, and adds all of it to sum.
func loadTask(dir fs.FS, name string, sum io.Writer) (*Task, error) {
	text, err := readBounded(dir, "task.yaml")
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(sum, "%q %q\n", name, text)
	t := &Task{Name: name, Steps: StepsDefault}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(t); err != nil {
		return nil, fmt.Errorf("task.yaml: %w", err)
	}
	if t.files, err = fs.Sub(dir, "files"); err != nil {
		return nil, err
	}
	count := 0
	err = t.walk(func(file string) error {
		if count++; count > filesMax {
			return fmt.Errorf("more than %d files", filesMax)
		}
		data, err := readBounded(t.files, file)
		fmt.Fprintf(sum, "%q %q\n", file, data)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("task.yaml: %w", err)
	}
	return t, nil
}

// walk visits the task's files in order.
func (t *Task) walk(visit func(file string) error) error {
	return fs.WalkDir(t.files, ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("files/%s is no ordinary file", file)
		}
		return visit(file)
	})
}

func (t *Task) check() error {
	switch {
	case !slices.Contains(kinds, t.Kind):
		return fmt.Errorf("kind %q is none of %s", t.Kind, strings.Join(kinds, ", "))
	case strings.TrimSpace(t.Prompt) == "":
		return errors.New("no task")
	case t.Steps < 1:
		return fmt.Errorf("steps is %d; it must be at least 1", t.Steps)
	case len(t.Checks) == 0:
		return errors.New("no checks")
	}
	for i, tool := range t.Tools {
		if tool.Name == "" || len(tool.Replies) == 0 {
			return fmt.Errorf("tool %d: it needs a name and replies", i+1)
		}
	}
	for i := range t.Checks {
		if err := t.Checks[i].prepare(t.files); err != nil {
			return fmt.Errorf("check %d: %w", i+1, err)
		}
	}
	return nil
}

// Files are the paths of what a run finds in its work dir, in order.
func (t *Task) Files() (paths []string, err error) {
	err = t.walk(func(file string) error {
		paths = append(paths, file)
		return nil
	})
	return paths, err
}

// Lay copies the task's files into a work dir.
func (t *Task) Lay(dir string) error {
	return t.walk(func(file string) error {
		data, err := readBounded(t.files, file)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return fmt.Errorf("lay task %s: %w", t.Name, err)
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			return fmt.Errorf("lay task %s: %w", t.Name, err)
		}
		return nil
	})
}

// readBounded reads a whole file that is not too large to be one of a task.
func readBounded(dir fs.FS, name string) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := bounded.Read(f, fileBytesMax)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}
