package session

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"

	"agent/session/event"
	"agent/session/prose"
)

// A record is one line and one JSON object, so that jq reads a session file:
//
//	{"crc":"9ae0daaf","len":41,"seq":3,"type":"note","step":1,"text":"look"}
//
// crc is the CRC-32C of all that follows it up to the newline, len the number
// of bytes after `"seq":3,`, seq counts records from 0. With all three a reader
// knows a damaged record from a whole one, a lost newline from a lost record,
// and how many records are missing where it can read none. Records begin only
// at the start of a line, which no JSON string can hold: what a model or a file
// says can't pass for a record.

const (
	logLineMax   = 16 << 20 // longest line that a reader accepts
	logFileMax   = 1 << 28  // largest file that a reader accepts
	framePrefix  = `{"crc":"`
	crcDigits    = 8
	frameDigits  = 19 // of the numbers in a frame
	legacyPrefix = `{"type":"header"`
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// frame makes a line of a value that marshals to a non-empty JSON object.
func frame(seq int64, v any) ([]byte, error) {
	payload, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(payload) < 3 || payload[0] != '{' {
		return nil, fmt.Errorf("a record is no JSON object: %.20s", payload)
	}
	body := fmt.Appendf(nil, `"len":%d,"seq":%d,`, len(payload)-1, seq)
	body = append(body, payload[1:]...)
	if len(body) > logLineMax/2 {
		return nil, fmt.Errorf("a record of %d bytes is too large", len(body))
	}
	line := fmt.Appendf(nil, `%s%08x",`, framePrefix, crc32.Checksum(body, crcTable))
	return append(append(line, body...), '\n'), nil
}

// unframe reads the record at the start of data. size is how many bytes it
// takes, without its newline; 0 when no whole record stands there.
func unframe(data []byte) (payload []byte, seq int64, size int) {
	rest, ok := bytes.CutPrefix(data, []byte(framePrefix))
	if !ok || len(rest) < crcDigits+2 || string(rest[crcDigits:crcDigits+2]) != `",` {
		return nil, 0, 0
	}
	sum, body := string(rest[:crcDigits]), rest[crcDigits+2:]
	n, tail, ok := frameNumber(body, `"len":`)
	if !ok {
		return nil, 0, 0
	}
	seq, tail, ok = frameNumber(tail, `"seq":`)
	if !ok || n < 1 || n > int64(len(tail)) {
		return nil, 0, 0
	}
	bodyLen := len(body) - len(tail) + int(n)
	if fmt.Sprintf("%08x", crc32.Checksum(body[:bodyLen], crcTable)) != sum {
		return nil, 0, 0
	}
	payload = append([]byte{'{'}, tail[:n]...)
	return payload, seq, len(data) - len(body) + bodyLen
}

// frameNumber reads a number and its comma.
func frameNumber(data []byte, name string) (n int64, rest []byte, ok bool) {
	rest, ok = bytes.CutPrefix(data, []byte(name))
	if !ok {
		return 0, nil, false
	}
	end := bytes.IndexByte(rest[:min(len(rest), frameDigits+1)], ',')
	if end < 1 || rest[0] < '0' || rest[0] > '9' { // no sign
		return 0, nil, false
	}
	n, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	return n, rest[end+1:], err == nil
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

// logLine is one record of a session file: of this package, or an event.
type logLine struct {
	record *record
	event  *Event
	gap    bool // records before it are lost
}

// logScan is what was found in a session file.
type logScan struct {
	lines  []logLine
	lost   Lost
	legacy bool   // it began without frames, as version 1 wrote them
	head   []byte // its first bytes
	size   int64

	seq      int64 // number of the next record
	keep     int64 // where what stays ends; what follows is torn
	open     bool  // there the newline is missing
	tail     int   // unreadable records after the last readable one
	tailKept int   // those of them that stay in the file
}

// scanLog reads what can be read. Its error is that of the reader itself:
// damage is none, it is counted in lost.
func scanLog(r io.Reader) (*logScan, error) {
	s := &logScan{}
	br := bufio.NewReaderSize(io.LimitReader(r, logFileMax+1), 1<<16)
	for {
		line, n, err := readLine(br)
		if n > 0 {
			s.addLine(line, n)
		}
		if s.size > logFileMax {
			return nil, fmt.Errorf("it is larger than %d MiB", logFileMax>>20)
		}
		if errors.Is(err, io.EOF) {
			s.lost.Records += s.tail
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
		if n <= logLineMax {
			line = append(line, part...)
		} else {
			line = nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, n, err
		}
	}
}

// addLine takes one line apart. Where a newline was damaged it holds several
// records.
func (s *logScan) addLine(line []byte, n int64) {
	if s.size == 0 {
		s.head = line[:min(len(line), len(legacyPrefix))]
		s.legacy = bytes.HasPrefix(line, []byte(legacyPrefix))
	}
	at := s.size
	s.size += n
	if line == nil { // too long for a record
		s.unreadable(nil, at, n, true)
		s.keep, s.open = s.size, false
		return
	}
	if line[0] == '\n' { // it stands where a record began
		s.damaged(at, 1)
	}
	for len(line) > 0 && line[0] != '\n' {
		used := s.addRecord(line)
		if used == 0 {
			closed := line[len(line)-1] == '\n'
			s.unreadable(line, at, int64(len(line)), closed)
			if closed {
				s.keep, s.open = s.size, false
			}
			return
		}
		at, line = at+int64(used), line[used:]
		s.keep, s.open = at, true
		if len(line) > 0 && line[0] != '\n' { // something stands in place of a newline
			s.damaged(at, 1)
			at, line = at+1, line[1:]
		}
	}
	if len(line) > 0 {
		s.keep, s.open = s.size, false
	}
}

// addRecord takes the record at the start of data and says how long it is.
func (s *logScan) addRecord(data []byte) int {
	payload, seq, size := unframe(data)
	if size == 0 && s.legacy && s.seq == 0 {
		return s.addLegacy(data)
	}
	if size == 0 || seq < s.seq {
		return 0
	}
	line, ok := parseLine(payload)
	if !ok {
		return 0
	}
	missing := int(min(seq-s.seq, 1<<30))
	if s.legacy && s.seq == 0 {
		missing = s.tail // lines have no numbers there
	}
	line.gap = missing > 0
	s.lost.Records += missing
	s.lines = append(s.lines, line)
	s.seq, s.tail, s.tailKept = seq+1, 0, 0
	return size
}

// addLegacy takes a line of a version 1 file.
func (s *logScan) addLegacy(data []byte) int {
	line, ok := parseLine(bytes.TrimSuffix(data, []byte("\n")))
	if !ok || data[len(data)-1] != '\n' {
		return 0
	}
	s.lines = append(s.lines, line)
	s.lost.Records, s.tail, s.tailKept = s.lost.Records+s.tail, 0, 0
	return len(data) - 1
}

// unreadable counts a stretch in which no record can be read. What does not
// begin like a record is the rest of the one before it.
func (s *logScan) unreadable(line []byte, offset, n int64, kept bool) {
	s.damaged(offset, n)
	if s.tail > 0 && !s.legacy && !bytes.HasPrefix(line, []byte(framePrefix)) {
		return
	}
	s.tail++
	if kept {
		s.tailKept++
	}
}

func (s *logScan) damaged(offset, n int64) {
	if s.lost.Bytes == 0 {
		s.lost.Offset = offset
	}
	s.lost.Bytes += n
}

// nextSeq is the number of the next record that is written, beyond those that
// stay in the file unread: readers then count them as lost.
func (s *logScan) nextSeq() int64 { return s.seq + int64(s.tailKept) }

// isLog reports a file that this program wrote, however much of it is left.
func (s *logScan) isLog() bool {
	n := min(len(s.head), len(framePrefix))
	return len(s.lines) > 0 || string(s.head[:n]) == framePrefix[:n]
}

func parseLine(raw []byte) (logLine, bool) {
	var head struct{ Type string }
	if json.Unmarshal(raw, &head) != nil || head.Type == "" {
		return logLine{}, false
	}
	if event.New(head.Type) != nil {
		ev := &Event{}
		return logLine{event: ev}, json.Unmarshal(raw, ev) == nil
	}
	rec := &record{}
	ok := json.Unmarshal(raw, rec) == nil
	return logLine{record: rec}, ok && rec.whole()
}
