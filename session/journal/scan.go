package journal

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

	"agent/session/event"
	"agent/session/prose"
)

// A record is a line that goes out in one write: a kill leaves at most one torn
// line, the last. No JSON string holds the end of a line, so what a model or a
// file says can't pass for a record.

const (
	lineMax = 16 << 20 // longest line that a reader accepts
	fileMax = 1 << 28  // largest file that a reader accepts
)

// frame makes a line of a value that marshals to a JSON object.
func frame(v any) ([]byte, error) {
	line, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(line) > lineMax/2 {
		return nil, fmt.Errorf("a record of %d bytes is too large", len(line))
	}
	return append(line, '\n'), nil
}

// Lost is the part of a session file that could not be read: the disk damaged it, or the process
// was killed while writing.
type Lost struct {
	Records int   `json:"records"` // as far as their numbers tell
	Bytes   int64 `json:"bytes"`
	Offset  int64 `json:"offset"` // of the first of them
}

// Any reports whether anything was lost.
func (l Lost) Any() bool { return l.Records > 0 || l.Bytes > 0 }

// add counts a record lost whose n bytes begin at an offset.
func (l *Lost) add(offset, n int64) {
	if !l.Any() {
		l.Offset = offset
	}
	l.Records++
	l.Bytes += n
}

// String says what was lost, for a person.
func (l Lost) String() string {
	return fmt.Sprintf("%d record%s lost: %d unreadable byte%s, the first at byte %d", l.Records,
		prose.Plural(l.Records), l.Bytes, prose.Plural(int(min(l.Bytes, 2))), l.Offset)
}

// line is one record of a session file: of this package, or an event.
type line struct {
	record *Record
	event  *event.Event
	gap    bool // records before it are lost
}

// scanned is what was found in a session file.
type scanned struct {
	lines  []line
	lost   Lost
	size   int64
	ours   bool  // it begins as this program begins one
	keep   int64 // where what stays ends; what follows is torn
	open   bool  // there the newline is missing
	unread int   // whole lines that can't be read, after the last that can
}

// scan reads what can be read. Its error is that of the reader itself: damage is
// none, it is counted in lost.
func scan(r io.Reader) (*scanned, error) {
	s := &scanned{}
	br := bufio.NewReaderSize(io.LimitReader(r, fileMax+1), 1<<16)
	for {
		data, n, err := readLine(br)
		if n > 0 {
			s.add(data, n, err == nil)
		}
		if s.size > fileMax {
			return nil, fmt.Errorf("it is larger than %d MiB", fileMax>>20)
		}
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// readLine reads one line with its newline, or what stands after the last one.
// n is its length; of a line that is too long nothing more is given.
func readLine(br *bufio.Reader) (line []byte, n int64, err error) {
	for {
		part, err := br.ReadSlice('\n')
		n += int64(len(part))
		if n <= lineMax {
			line = append(line, part...)
		} else {
			line = nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, n, err
		}
	}
}

// add takes one line of n bytes; closed: with its newline.
func (s *scanned) add(data []byte, n int64, closed bool) {
	at := s.size
	s.size += n
	if at == 0 {
		data = bytes.TrimPrefix(data, []byte("\ufeff"))
		s.ours = begins(data)
	}
	record := bytes.TrimLeft(data, "\x00") // which a disk leaves for what it never wrote
	zeros := int64(len(data) - len(record))
	found, ok := parseLine(record)
	if !ok {
		s.lost.add(at, n)
		if closed {
			s.keep, s.open, s.unread = s.size, false, s.unread+1
		}
		return
	}
	if zeros > 0 {
		s.lost.add(at, zeros)
	}
	found.gap, s.unread = s.unread > 0 || zeros > 0, 0
	s.lines = append(s.lines, found)
	s.keep, s.open = s.size, !closed
}

// begins reports the start of a session file, however little of it is left.
func begins(data []byte) bool {
	for _, start := range []string{`{"type":"header"`, `{"crc":"`} { // the second up to version 2
		n := min(len(data), len(start))
		if string(data[:n]) == start[:n] {
			return true
		}
	}
	return false
}

func parseLine(raw []byte) (line, bool) {
	var head struct{ Type string }
	if json.Unmarshal(raw, &head) != nil || head.Type == "" {
		return line{}, false
	}
	if event.New(head.Type) != nil {
		ev := &event.Event{}
		return line{event: ev}, json.Unmarshal(raw, ev) == nil
	}
	rec := &Record{}
	ok := json.Unmarshal(raw, rec) == nil
	return line{record: rec}, ok && rec.whole()
}

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
			s.Header = Header{Version: Version, ID: s.Header.ID, Model: data.Model, Task: data.Task,
				WorkDir: data.WorkDir, Mode: data.Mode}
			s.Started = ev.Time
		}
	}
}

func (s *Saved) apply(r *Record) error {
	switch r.Type {
	case TypeHeader:
		if r.Header.Version > Version {
			return fmt.Errorf("written by a later version (format %d, this program knows %d)",
				r.Header.Version, Version)
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
