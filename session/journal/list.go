package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"

	"agent/session/event"
)

// Info is a past run in a few words.
type Info struct {
	ID      string     `json:"id"`
	Path    string     `json:"path"`
	Task    string     `json:"task"`
	Model   string     `json:"model"`
	WorkDir string     `json:"workdir"`
	Started time.Time  `json:"started"`
	Steps   int        `json:"steps"`
	Stop    event.Stop `json:"stop,omitempty"`    // empty: killed, or still at work
	Process int        `json:"process,omitempty"` // that is at work on it, where that is known
	Answer  string     `json:"answer,omitempty"`
	Lost    *Lost      `json:"lost,omitempty"` // what of its file could not be read
}

// Show is a past run with its events, for [RenderText] and [ExportHTML].
type Show struct {
	Info
	Events []event.Event
	Costs  []StepCost
}

// StepCost is the cost of one step.
type StepCost struct {
	Step            int
	EvaluatedTokens int
	CachedTokens    int
	Generated       int

	total event.Usage // of the run up to its end
}

func (s *Saved) info(path string) Info {
	info := Info{
		ID: s.Header.ID, Path: path, Task: s.Header.Task, Model: s.Header.Model,
		WorkDir: s.Header.WorkDir, Started: s.Started, Steps: s.Steps,
	}
	if s.Result != nil {
		info.Stop, info.Answer = s.Result.Stop, s.Result.Answer
	}
	info.Process = holder(path)
	if s.Lost.Any() {
		info.Lost = &s.Lost
	}
	return info
}

// stepCosts are the differences between the sums that the file tells.
func (s *Saved) stepCosts() []StepCost {
	out := slices.Clone(s.costs)
	var before event.Usage
	for i := range out {
		now := out[i].total
		out[i].EvaluatedTokens = now.EvaluatedTokens - before.EvaluatedTokens
		out[i].CachedTokens = now.CachedTokens - before.CachedTokens
		out[i].Generated = now.CompletionTokens - before.CompletionTokens
		before = now
	}
	return out
}

// Load reads a session file with its events.
func Load(path string) (*Show, error) {
	s, err := Read(path)
	if err != nil {
		return nil, err
	}
	return &Show{Info: s.info(path), Events: s.Events, Costs: s.stepCosts()}, nil
}

// List finds the sessions kept in dir, the newest last. Files that are no
// session files are left out. A dir that is not there holds none.
func List(dir string) ([]Info, error) {
	names, err := logNames(dir)
	if err != nil {
		return nil, err
	}
	var out []Info
	for _, name := range names {
		path := filepath.Join(dir, name)
		if s, err := Read(path); err == nil {
			out = append(out, s.info(path))
		}
	}
	return out, nil
}

// Remove deletes a session file, those of the sessions that it delegated to,
// and what commands kept for them, unless a process is writing to it. The file
// goes last: a session of which something could not be deleted stays listed.
func Remove(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("session file: %w", err)
	}
	defer f.Close()
	if err := lockFile(f); err != nil {
		return inUse(path, err)
	}
	base := strings.TrimSuffix(path, Ext)
	if err := os.RemoveAll(base + ChildrenExt); err != nil {
		return fmt.Errorf("session files of what was delegated: %w", err)
	}
	if err := removeState(base + StateExt); err != nil {
		return fmt.Errorf("what commands kept for the session: %w", err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("session file: %w", err)
	}
	return nil
}

// removeState deletes a folder that code could write, which may have closed
// folders in it.
func removeState(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700) // before its entries are read
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// logNames lists session files by name; names begin with the time.
func logNames(dir string) ([]string, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	var names []string
	for _, f := range files {
		if f.Type().IsRegular() && strings.HasSuffix(f.Name(), Ext) {
			names = append(names, f.Name())
		}
	}
	return names, nil
}

// Find gives the path of the session whose id is, or uniquely begins or ends
// with, id; "last" is the newest.
func Find(dir, id string) (string, error) {
	names, err := logNames(dir)
	if err != nil {
		return "", err
	}
	if id == "last" && len(names) > 0 {
		return filepath.Join(dir, names[len(names)-1]), nil
	}
	var ids, found []string
	for _, name := range names {
		base := strings.TrimSuffix(name, Ext)
		if base == id {
			return filepath.Join(dir, name), nil
		}
		if id != "" && (strings.HasPrefix(base, id) || strings.HasSuffix(base, id)) {
			found = append(found, base)
		}
		ids = append(ids, base)
	}
	switch len(found) {
	case 1:
		return filepath.Join(dir, found[0]+Ext), nil
	case 0:
		return "", &notFoundError{id: id, dir: dir, nearest: nearestID(id, ids)}
	}
	return "", fmt.Errorf("sessions: %q fits %d sessions, %s among them: give more of the id", id,
		len(found), strings.Join(found[:min(3, len(found))], ", "))
}

// nearestID is the id that was meant, if any is near. Part of an id is
// compared with the same part of each, its beginning and its end.
func nearestID(id string, ids []string) string {
	near, best := "", max(2, len(id)/3)+1
	for _, candidate := range slices.Backward(ids) { // of equals, the newest
		n := min(len(id), len(candidate))
		d := min(levenshtein.ComputeDistance(id, candidate[:n]),
			levenshtein.ComputeDistance(id, candidate[len(candidate)-n:]))
		if d < best {
			near, best = candidate, d
		}
	}
	return near
}

// notFoundError is an id that no session has.
type notFoundError struct{ id, dir, nearest string }

func (e *notFoundError) Error() string {
	text := fmt.Sprintf("sessions: none with id %q in %s", e.id, e.dir)
	if e.nearest != "" {
		text += "; did you mean " + e.nearest + "?"
	}
	return text
}

// Hint says what a person can do about it.
func (e *notFoundError) Hint() string { return "agent sessions list shows those that are kept" }
