package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"agent/session/event"
	"agent/session/prose"
)

// A record is one line and one JSON object, so that jq reads a session file, and
// goes out in one write: a process killed at any moment leaves at most one torn
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

// Lost is what of a session file could not be read: the disk damaged it, or
// the process was killed while it wrote.
type Lost struct {
	Records int   `json:"records"` // as far as their numbers tell
	Bytes   int64 `json:"bytes"`
	Offset  int64 `json:"offset"` // of the first of them
}

// Any reports whether anything was lost.
func (l Lost) Any() bool { return l.Records > 0 || l.Bytes > 0 }

// String says what was lost, for a person.
func (l Lost) String() string {
	return fmt.Sprintf("%d record%s lost: %d unreadable byte%s, the first at byte %d", l.Records, prose.Plural(l.Records), l.Bytes, prose.Plural(int(min(l.Bytes, 2))), l.Offset)
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
		s.ours = begins(data)
	}
	found, ok := parseLine(data)
	if !ok {
		if !s.lost.Any() {
			s.lost.Offset = at
		}
		s.lost.Records, s.lost.Bytes = s.lost.Records+1, s.lost.Bytes+n
		if closed {
			s.keep, s.open, s.unread = s.size, false, s.unread+1
		}
		return
	}
	found.gap, s.unread = s.unread > 0, 0
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
