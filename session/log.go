package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"agent/command"
)

// A session file is a list of records that is only ever appended to: the
// events of the run, and between them the records of this file, from which a
// run can be resumed. Each goes out in one write, so a process killed at any
// moment leaves at most one torn record, the last. Before a command with side
// effects runs, an intent is on disk, and after it its result: so that what
// may have run is known, whatever happens in between.

const (
	logVersion   = 3 // 2 named phases by labels of the prompt; 1 had no frames and no intents
	logExt       = ".jsonl"
	childrenExt  = ".children" // the folder of those that were delegated to
	recHeader    = "header"
	recMessage   = "message"
	recCompacted = "compacted"
	recIntent    = "intent"
	recDone      = "done"
	recNotRun    = "not_run"
	recStep      = "step"
	recWithheld  = "withheld"
	recInvalid   = "invalid_reply"
)

// record is one line that is not an event.
type record struct {
	Type    string           `json:"type"`
	Time    time.Time        `json:"time"`
	Header  *header          `json:"header,omitempty"`
	Entry   *entry           `json:"entry,omitempty"`
	Turn    *openTurn        `json:"turn,omitempty"` // with an entry of the model's: what it asks for
	Entries []*entry         `json:"entries,omitempty"`
	Intent  *intent          `json:"intent,omitempty"`
	Done    *doneCall        `json:"done,omitempty"`
	Held    *withheldAnswers `json:"held,omitempty"` // all that were held back since the task began
	Steps   int              `json:"steps,omitempty"`
	Usage   *Usage           `json:"usage,omitempty"`
	WallMS  int64            `json:"wall_ms,omitempty"`
	Raw     string           `json:"raw,omitempty"`
	Reason  string           `json:"reason,omitempty"`
}

// header is the first record of a session file.
type header struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	Model   string `json:"model"`
	Task    string `json:"task"`
	WorkDir string `json:"workdir"`
	Mode    string `json:"mode"`
}

// openTurn is what a turn asks for, so that a run killed before its end
// carries it out without asking the model again.
type openTurn struct {
	Calls   []*command.Call `json:"calls,omitempty"`
	Repairs []string        `json:"repairs,omitempty"`
	Choices []ChoiceMade    `json:"choices,omitempty"`
	Problem string          `json:"problem,omitempty"`
}

// intent is a call with side effects that is about to run.
type intent struct {
	Key     string `json:"key"`   // callKey
	State   string `json:"state"` // snapshot hash before it runs
	Step    int    `json:"step"`
	Command string `json:"command"`
}

// whole reports whether a record has what its type promises. Types of later
// versions are let through and ignored.
func (r *record) whole() bool {
	switch r.Type {
	case recHeader:
		return r.Header != nil
	case recMessage:
		return r.Entry != nil && (r.Turn == nil || r.Turn.whole())
	case recIntent, recNotRun:
		return r.Intent != nil
	case recDone:
		return r.Done != nil
	case recStep:
		return r.Usage != nil
	case recWithheld:
		return r.Held != nil
	case recCompacted:
		for _, e := range r.Entries {
			if e == nil {
				return false
			}
		}
	}
	return true
}

func (t *openTurn) whole() bool {
	for _, c := range t.Calls {
		if c == nil {
			return false
		}
	}
	return true
}

// LogError is a session file that can't be written. What can't be recorded is
// not done: a run that meets it ends.
type LogError struct {
	Path string
	Err  error
}

func (e *LogError) Error() string { return fmt.Sprintf("session file %s: %v", e.Path, e.Err) }
func (e *LogError) Unwrap() error { return e.Err }

// Hint says what a person can do about it.
func (e *LogError) Hint() string {
	return "nothing that changes something runs unrecorded: make room or make the folder writable (XDG_STATE_HOME says where it is), or give --no-session to run without a session file"
}

// logWriter appends to a session file. A nil *logWriter keeps nothing.
type logWriter struct {
	f    *os.File
	path string
	told atomic.Bool

	mu   sync.Mutex // a session delegated to writes to its parents' files too
	seq  int64      // number of the next record
	size int64      // bytes of whole records
	err  error      // the first failure; nothing is written after it
}

// logNamesMax files may begin with the same id: those of parts of a task that
// were begun again after a run was cut off.
const logNamesMax = 100

// createLog starts a session file that only its owner can read.
func createLog(dir, id string) (*logWriter, error) {
	path := filepath.Join(dir, id+logExt)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, &LogError{path, bare(err)}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	for n := 2; errors.Is(err, os.ErrExist) && n <= logNamesMax; n++ {
		path = filepath.Join(dir, fmt.Sprintf("%s-%d%s", id, n, logExt))
		f, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	}
	if err != nil {
		return nil, &LogError{path, bare(err)}
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, &LogError{path, err}
	}
	syncDir(dir)
	return &logWriter{f: f, path: path}, nil
}

// bare is the cause of a path error: our own errors name the path already.
func bare(err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

// syncDir makes a new file's name survive a power cut, where a file system can
// do that.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		d.Close()
	}
}

// CheckDir reports whether session files can be kept in dir, before anything
// costly is done for a run. It leaves nothing behind.
func CheckDir(dir string) error {
	there := dir // or the nearest folder above it, in which it can be made
	for st, err := os.Stat(there); ; st, err = os.Stat(there) {
		if err == nil && !st.IsDir() {
			return &LogError{dir, syscall.ENOTDIR}
		}
		if up := filepath.Dir(there); errors.Is(err, os.ErrNotExist) && up != there {
			there = up
			continue
		}
		if err != nil {
			return &LogError{dir, bare(err)}
		}
		break
	}
	f, err := os.CreateTemp(there, ".agent-writable-*")
	if err != nil {
		return &LogError{dir, bare(err)}
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(make([]byte, 4096)); err != nil { // a full disk still has room for names
		return &LogError{dir, bare(err)}
	}
	return nil
}

// reopenLog reads a session file and goes on writing after its last whole
// record. It is locked first: what is read is what is continued.
func reopenLog(path string) (*logWriter, *saved, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, nil, &LogError{path, bare(err)}
	}
	w, old, err := continueLog(f, path)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return w, old, nil
}

func continueLog(f *os.File, path string) (*logWriter, *saved, error) {
	if err := lockFile(f); err != nil {
		return nil, nil, fmt.Errorf("session file %s: in use by another process: %w", path, err)
	}
	scan, err := scanLog(f)
	if err != nil {
		return nil, nil, &LogError{path, bare(err)}
	}
	old, err := replay(path, scan)
	if err != nil {
		return nil, nil, err
	}
	w := &logWriter{f: f, path: path, seq: scan.nextSeq(), size: scan.keep}
	if err := f.Truncate(scan.keep); err != nil {
		return nil, nil, &LogError{path, bare(err)}
	}
	if scan.open {
		if err := w.write([]byte{'\n'}); err != nil {
			return nil, nil, err
		}
	}
	return w, old, nil
}

// append writes one value as one record.
func (w *logWriter) append(v any) error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	line, err := frame(w.seq, v)
	if err != nil {
		w.err = &LogError{w.path, err}
		return w.err
	}
	w.seq++
	return w.write(line)
}

// write appends bytes, all or none where the file system lets it.
func (w *logWriter) write(data []byte) error {
	if _, err := w.f.Write(data); err != nil {
		w.err = &LogError{w.path, bare(err)}
		_ = w.f.Truncate(w.size) // a reader skips the torn rest if this fails too
		return w.err
	}
	w.size += int64(len(data))
	return nil
}

// sync makes what was written survive a power cut too. It also tells of an
// earlier failure.
func (w *logWriter) sync() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if err := w.f.Sync(); err != nil {
		w.err = &LogError{w.path, bare(err)}
	}
	return w.err
}

// failure is why nothing can be written any more.
func (w *logWriter) failure() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *logWriter) close() error {
	if w == nil {
		return nil
	}
	return w.f.Close()
}

// saved is a run as its file tells it.
type saved struct {
	header  header
	task    string // the newest
	started time.Time
	entries []*entry
	open    *openTurn // of the last entry, when nothing came of it yet
	had     []doneCall
	intents map[string]intent // began, and nothing tells how it ended
	done    []doneCall
	held    withheldAnswers
	steps   int
	usage   Usage
	wallMS  int64
	costs   []StepCost
	result  *Result // nil: the process was killed, or still works
	events  []Event
	lost    Lost
	blind   bool // the last records can't be read: what they told is not known
}

// loadLog reads a session file.
func loadLog(path string) (*saved, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("session file: %w", err)
	}
	defer f.Close()
	scan, err := scanLog(f)
	if err != nil {
		return nil, fmt.Errorf("session file: %w", err)
	}
	return replay(path, scan)
}

// replay follows the records of a session file to the state at its end.
func replay(path string, scan *logScan) (*saved, error) {
	if scan.size > 0 && !scan.isLog() {
		return nil, fmt.Errorf("%s: not a session file: it begins with no session header", path)
	}
	s := &saved{lost: scan.lost, intents: map[string]intent{}}
	s.header.ID = strings.TrimSuffix(filepath.Base(path), logExt)
	for _, line := range scan.lines {
		s.blind = s.blind || line.gap
		if line.event != nil {
			s.follow(line.event)
		} else if err := s.apply(line.record); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	s.blind = s.blind || scan.tailKept > 0
	return s, nil
}

// follow takes an event. The first of a run tells what the header tells too,
// in case that was damaged.
func (s *saved) follow(ev *Event) {
	s.events = append(s.events, *ev)
	switch data := ev.Data.(type) {
	case *Result:
		s.result = data
	case *Started:
		s.result, s.task = nil, data.Task // resumed, maybe with new words
		if s.header.Version == 0 {
			s.header = header{Version: logVersion, ID: s.header.ID, Model: data.Model, Task: data.Task, WorkDir: data.WorkDir, Mode: data.Mode}
			s.started = ev.Time
		}
	}
}

func (s *saved) apply(r *record) error {
	switch r.Type {
	case recHeader:
		if r.Header.Version > logVersion {
			return fmt.Errorf("written by a later version (format %d, this program knows %d)", r.Header.Version, logVersion)
		}
		s.header, s.task, s.started = *r.Header, r.Header.Task, r.Time
	case recMessage:
		s.entries = append(s.entries, r.Entry)
		s.open, s.had, s.blind = r.Turn, nil, false
		if r.Entry.Kind == kindTask {
			s.held = withheldAnswers{}
		}
		s.spent(r)
	case recCompacted:
		s.entries, s.open = r.Entries, nil
	case recIntent:
		s.intents[r.Intent.Key] = *r.Intent
	case recNotRun:
		delete(s.intents, r.Intent.Key)
	case recDone:
		s.done = append(s.done, *r.Done)
		s.had = append(s.had, *r.Done)
		delete(s.intents, r.Done.Key)
	case recWithheld:
		s.held = *r.Held
	case recStep:
		s.spent(r)
	}
	return nil
}

// spent takes the cost that a record tells.
func (s *saved) spent(r *record) {
	if r.Usage == nil {
		return
	}
	if n := len(s.costs); n > 0 && s.costs[n-1].Step == r.Steps {
		s.costs[n-1].total = *r.Usage
	} else {
		s.costs = append(s.costs, StepCost{Step: r.Steps, total: *r.Usage})
	}
	s.steps, s.usage, s.wallMS = r.Steps, *r.Usage, r.WallMS
}
