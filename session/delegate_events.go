package session

import (
	"path/filepath"

	"agent/session/journal"
)

// sink passes a child's events on to its parent, with both ids. How it began
// and ended has another type there, so that a run has one first and one last
// event.
func (d *delegation) sink(id string, t *subtask, try int) func(Event) {
	return func(ev Event) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if ev.Session == "" { // else it is that of a child of this child
			ev.Session, ev.Parent = id, d.parent.id
			ev.Data = d.asSubtask(ev.Data, t, try+1)
		}
		if r, ok := ev.Data.(*CommandResult); ok {
			t.done.files = mergeSorted(t.done.files, r.Files)
		}
		d.parent.book.relay(ev)
	}
}

func (d *delegation) asSubtask(data Payload, t *subtask, try int) Payload {
	switch p := data.(type) {
	case *Started:
		start := &SubtaskStarted{Number: t.number, Task: p.Task, Files: t.files, Try: try}
		for _, j := range t.after {
			start.After = append(start.After, d.plan[j].number)
		}
		return start
	case *Result:
		return &SubtaskEnded{
			Number: t.number, Answer: p.Answer, Stop: p.Stop, Steps: p.Steps, WallMS: p.WallMS, Usage: p.Usage, Error: p.Error, Try: try,
		}
	}
	return data
}

// childrenDir is where the session files of children lie: beside that of their
// parent, and not among those of whole runs.
func (s *Session) childrenDir() string {
	return filepath.Join(s.opts.SessionsDir, s.id+journal.ChildrenExt)
}
