package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"agent/session/event"
)

// Saved is a run as its file tells it.
type Saved struct {
	Header  Header
	Task    string // the newest
	Started time.Time
	Entries []*Entry
	Open    *OpenTurn // of the last entry, when nothing came of it yet
	Had     []Done
	Intents map[string]Intent // began, and nothing tells how it ended
	Done    []Done
	Held    Withheld
	Steps   int
	Usage   event.Usage
	WallMS  int64
	costs   []StepCost
	Result  *event.Result // nil: the process was killed, or still works
	Events  []event.Event
	Lost    Lost
	Blind   bool // the last records can't be read: what they told is not known
}

// Read reads a session file.
func Read(path string) (*Saved, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("session file: %w", err)
	}
	defer f.Close()
	found, err := scan(f)
	if err != nil {
		return nil, fmt.Errorf("session file: %w", err)
	}
	return replay(path, found)
}

// replay follows the records of a session file to the state at its end.
func replay(path string, found *scanned) (*Saved, error) {
	if found.size > 0 && !found.ours && len(found.lines) == 0 {
		return nil, fmt.Errorf("%s: not a session file: it begins with no session header", path)
	}
	s := &Saved{Lost: found.lost, Intents: map[string]Intent{}}
	s.Header.ID = strings.TrimSuffix(filepath.Base(path), Ext)
	for _, line := range found.lines {
		s.Blind = s.Blind || line.gap
		if line.event != nil {
			s.follow(line.event)
		} else if err := s.apply(line.record); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	s.Blind = s.Blind || found.unread > 0
	return s, nil
}

// follow takes an event. The first of a run tells what the header tells too,
// in case that was damaged.
func (s *Saved) follow(ev *event.Event) {
	s.Events = append(s.Events, *ev)
	switch data := ev.Data.(type) {
	case *event.Result:
		s.Result = data
	case *event.Started:
		s.Result, s.Task = nil, data.Task // resumed, maybe with new words
		if s.Header.Version == 0 {
			s.Header = Header{Version: Version, ID: s.Header.ID, Model: data.Model, Task: data.Task, WorkDir: data.WorkDir, Mode: data.Mode}
			s.Started = ev.Time
		}
	}
}

func (s *Saved) apply(r *Record) error {
	switch r.Type {
	case TypeHeader:
		if r.Header.Version > Version {
			return fmt.Errorf("written by a later version (format %d, this program knows %d)", r.Header.Version, Version)
		}
		s.Header, s.Task, s.Started = *r.Header, r.Header.Task, r.Time
	case TypeMessage:
		s.Entries = append(s.Entries, r.Entry)
		s.Open, s.Had, s.Blind = r.Turn, nil, false
		if r.Entry.Kind == KindTask {
			s.Held = Withheld{}
		}
		s.spent(r)
	case TypeCompacted:
		s.Entries, s.Open = r.Entries, nil
	case TypeIntent:
		s.Intents[r.Intent.Key] = *r.Intent
	case TypeNotRun:
		delete(s.Intents, r.Intent.Key)
	case TypeDone:
		s.Done = append(s.Done, *r.Done)
		s.Had = append(s.Had, *r.Done)
		delete(s.Intents, r.Done.Key)
	case TypeWithheld:
		s.Held = *r.Held
	case TypeStep:
		s.spent(r)
	}
	return nil
}

// spent takes the cost that a record tells.
func (s *Saved) spent(r *Record) {
	if r.Usage == nil {
		return
	}
	if n := len(s.costs); n > 0 && s.costs[n-1].Step == r.Steps {
		s.costs[n-1].total = *r.Usage
	} else {
		s.costs = append(s.costs, StepCost{Step: r.Steps, total: *r.Usage})
	}
	s.Steps, s.Usage, s.WallMS = r.Steps, *r.Usage, r.WallMS
}
