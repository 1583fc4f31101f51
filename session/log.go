package session

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A session file is a list of JSON lines that is only ever appended to: the
// events of the run, and between them the records of this file, from which a
// run can be resumed. Each line goes out in one write, so a process killed at
// any moment leaves at most one torn line, the last, which a reader drops.

const (
	logVersion   = 1
	logExt       = ".jsonl"
	logLineMax   = 16 << 20 // longest line that a reader accepts
	logFileMax   = 1 << 30
	recMessage   = "message"
	recCompacted = "compacted"
	recDone      = "done"
	recStep      = "step"
	recHeader    = "header"
	recInvalid   = "invalid_reply"
)

// record is one line that is not an event.
type record struct {
	Type    string    `json:"type"`
	Time    time.Time `json:"time"`
	Header  *header   `json:"header,omitempty"`
	Entry   *entry    `json:"entry,omitempty"`
	Entries []*entry  `json:"entries,omitempty"`
	Done    *doneCall `json:"done,omitempty"`
	Steps   int       `json:"steps,omitempty"`
	Usage   *Usage    `json:"usage,omitempty"`
	WallMS  int64     `json:"wall_ms,omitempty"`
	Raw     string    `json:"raw,omitempty"`
	Reason  string    `json:"reason,omitempty"`
}

// header is the first line of a session file.
type header struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	Model   string `json:"model"`
	Task    string `json:"task"`
	WorkDir string `json:"workdir"`
	Mode    string `json:"mode"`
}

// logWriter appends to a session file. A nil *logWriter keeps nothing.
type logWriter struct {
	f    *os.File
	path string
}

// createLog starts a session file that only its owner can read.
func createLog(dir, id string) (*logWriter, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("session file: %w", err)
	}
	path := filepath.Join(dir, id+logExt)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("session file: %w", err)
	}
	return lockedLog(f, path)
}

// reopenLog continues a session file after its last whole line.
func reopenLog(path string, wholeBytes int64) (*logWriter, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Errorf("session file: %w", err)
	}
	w, err := lockedLog(f, path)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(wholeBytes); err != nil {
		f.Close()
		return nil, fmt.Errorf("session file: drop the torn last line: %w", err)
	}
	return w, nil
}

func lockedLog(f *os.File, path string) (*logWriter, error) {
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("session file %s: in use by another process: %w", path, err)
	}
	return &logWriter{f: f, path: path}, nil
}

// append writes one value as one line.
func (w *logWriter) append(v any) error {
	if w == nil {
		return nil
	}
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("session file: %w", err)
	}
	if _, err := w.f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("session file %s: %w", w.path, err)
	}
	return nil
}

// sync makes what was written survive a power cut too.
func (w *logWriter) sync() {
	if w != nil {
		_ = w.f.Sync() // a kill loses nothing either way
	}
}

func (w *logWriter) close() error {
	if w == nil {
		return nil
	}
	return w.f.Close()
}

// logLine is one whole line of a session file: a record or an event.
type logLine struct {
	record *record
	event  *Event
}

// readLog reads the whole lines of a session file. What follows the last
// newline is torn and left out; wholeBytes is where it begins. A whole line
// that can't be read (a damaged disk) costs only itself.
func readLog(r io.Reader) (lines []logLine, wholeBytes int64, err error) {
	br := bufio.NewReader(io.LimitReader(r, logFileMax))
	for {
		raw, err := readLine(br)
		if errors.Is(err, io.EOF) {
			return lines, wholeBytes, nil // anything after the last newline is torn
		}
		if err != nil {
			return lines, wholeBytes, err
		}
		wholeBytes += int64(len(raw))
		if line, ok := parseLine(raw); ok {
			lines = append(lines, line)
		}
	}
}

// readLine reads one line with its newline; io.EOF when there is no whole one.
func readLine(br *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > logLineMax {
			return nil, fmt.Errorf("session file: a line is longer than %d bytes", logLineMax)
		}
		if err == nil || !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func parseLine(raw []byte) (logLine, bool) {
	var head eventHead
	if json.Unmarshal(raw, &head) != nil || head.Type == "" {
		return logLine{}, false
	}
	if newPayload(head.Type) != nil {
		ev := &Event{}
		return logLine{event: ev}, json.Unmarshal(raw, ev) == nil
	}
	rec := &record{}
	ok := json.Unmarshal(bytes.TrimSpace(raw), rec) == nil
	return logLine{record: rec}, ok && rec.whole()
}

// whole reports whether a record has what its type promises. Types of later
// versions are let through and ignored.
func (r *record) whole() bool {
	switch r.Type {
	case recHeader:
		return r.Header != nil
	case recMessage:
		return r.Entry != nil
	case recDone:
		return r.Done != nil
	case recStep:
		return r.Usage != nil
	case recCompacted:
		for _, e := range r.Entries {
			if e == nil {
				return false
			}
		}
	}
	return true
}

// saved is a run as its file tells it.
type saved struct {
	header     header
	task       string // the newest
	started    time.Time
	entries    []*entry
	done       []doneCall
	steps      int
	usage      Usage
	wallMS     int64
	result     *Result // nil: the process was killed, or still works
	events     []Event
	wholeBytes int64
}

// loadLog reads a session file.
func loadLog(path string) (*saved, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("session file: %w", err)
	}
	defer f.Close()
	lines, whole, err := readLog(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return replay(path, lines, whole)
}

// replay follows the lines of a session file to the state at its end.
func replay(path string, lines []logLine, wholeBytes int64) (*saved, error) {
	if len(lines) == 0 || lines[0].record == nil || lines[0].record.Header == nil {
		return nil, fmt.Errorf("%s: not a session file: its first line is no session header", path)
	}
	head := lines[0].record
	if head.Header.Version > logVersion {
		return nil, fmt.Errorf("%s: written by a later version (format %d, this program knows %d)", path, head.Header.Version, logVersion)
	}
	s := &saved{header: *head.Header, task: head.Header.Task, started: head.Time, wholeBytes: wholeBytes}
	for _, line := range lines[1:] {
		if line.event != nil {
			s.events = append(s.events, *line.event)
			if r, ok := line.event.Data.(*Result); ok {
				s.result = r
			} else if run, ok := line.event.Data.(*Started); ok {
				s.result, s.task = nil, run.Task // resumed, maybe with new words
			}
			continue
		}
		s.apply(line.record)
	}
	return s, nil
}

func (s *saved) apply(r *record) {
	switch r.Type {
	case recMessage:
		s.entries = append(s.entries, r.Entry)
	case recCompacted:
		s.entries = r.Entries
	case recDone:
		s.done = append(s.done, *r.Done)
	case recStep:
		s.steps, s.usage, s.wallMS = r.Steps, *r.Usage, r.WallMS
	}
}

// Info is a past run in a few words.
type Info struct {
	ID      string    `json:"id"`
	Path    string    `json:"path"`
	Task    string    `json:"task"`
	Model   string    `json:"model"`
	WorkDir string    `json:"workdir"`
	Started time.Time `json:"started"`
	Steps   int       `json:"steps"`
	Stop    Stop      `json:"stop,omitempty"` // empty: killed, or still at work
	Answer  string    `json:"answer,omitempty"`
}

// Show is a past run with its events, for [RenderText].
type Show struct {
	Info
	Events []Event
}

func (s *saved) info(path string) Info {
	info := Info{
		ID: s.header.ID, Path: path, Task: s.header.Task, Model: s.header.Model,
		WorkDir: s.header.WorkDir, Started: s.started, Steps: s.steps,
	}
	if s.result != nil {
		info.Stop, info.Answer = s.result.Stop, s.result.Answer
	}
	return info
}

// Load reads a session file with its events.
func Load(path string) (*Show, error) {
	s, err := loadLog(path)
	if err != nil {
		return nil, err
	}
	return &Show{Info: s.info(path), Events: s.events}, nil
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
		if s, err := loadLog(path); err == nil {
			out = append(out, s.info(path))
		}
	}
	return out, nil
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
		if f.Type().IsRegular() && strings.HasSuffix(f.Name(), logExt) {
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
	var found []string
	for _, name := range names {
		base := strings.TrimSuffix(name, logExt)
		if base == id {
			return filepath.Join(dir, name), nil
		}
		if id != "" && (strings.HasPrefix(base, id) || strings.HasSuffix(base, id)) {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 1:
		return filepath.Join(dir, found[0]), nil
	case 0:
		return "", &notFoundError{id: id, dir: dir}
	}
	return "", fmt.Errorf("sessions: %q fits %d sessions: give more of the id", id, len(found))
}

// notFoundError is an id that no session has.
type notFoundError struct{ id, dir string }

func (e *notFoundError) Error() string {
	return fmt.Sprintf("sessions: none with id %q in %s", e.id, e.dir)
}

// Hint says what a person can do about it.
func (e *notFoundError) Hint() string { return "agent sessions list shows those that are kept" }
