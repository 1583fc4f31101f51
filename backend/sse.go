package backend

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
)

// sseEventBytesMax bounds one event of a stream.
const sseEventBytesMax = 8 << 20

// errCutOff ends a stream that stopped without saying that it is complete.
var errCutOff = errors.New("the connection ended in the middle of the reply")

// sseBody reads an event stream in all forms that servers send (any line end,
// comments, other fields, data over several lines, no last blank line, an
// event after the end) and gives it in the one form that the client library
// understands: lines "data: …". A stream that ends before "[DONE]" ends with
// errCutOff instead of io.EOF, so that half a reply is not taken for a whole.
type sseBody struct {
	src   io.ReadCloser
	lines *bufio.Scanner
	out   bytes.Buffer
	data  []byte // of the event being read
	any   bool   // the event has data
	seen  bool   // there was an event
	start string // how an answer begins that has none
	done  bool
	err   error
}

func newSSEBody(src io.ReadCloser) *sseBody {
	lines := bufio.NewScanner(src)
	lines.Buffer(nil, sseEventBytesMax)
	lines.Split(scanAnyLine())
	return &sseBody{src: src, lines: lines}
}

// Read gives the normalised stream.
func (b *sseBody) Read(p []byte) (int, error) {
	for b.out.Len() == 0 && b.err == nil {
		b.step()
	}
	if b.out.Len() > 0 {
		return b.out.Read(p)
	}
	return 0, b.err
}

// Close closes the connection's body.
func (b *sseBody) Close() error { return b.src.Close() }

// step reads one line.
func (b *sseBody) step() {
	if b.done {
		b.err = io.EOF
		return
	}
	if !b.lines.Scan() {
		b.end(b.lines.Err())
		return
	}
	line := b.lines.Bytes()
	if len(line) == 0 {
		b.emit()
		return
	}
	value, isData := bytes.CutPrefix(line, []byte("data:"))
	if told, isError := bytes.CutPrefix(line, []byte("error:")); isError { // as llama-server did
		value, isData = slices.Concat([]byte(`{"error":`), told, []byte("}")), true
	}
	if !isData {
		if !b.seen && len(b.start) < cameBytes && line[0] != ':' {
			b.start += string(line) + " "
		}
		return // a comment or a field that means nothing here
	}
	firstLine := !b.any
	if !firstLine {
		b.data = append(b.data, '\n')
	}
	b.data, b.any = append(b.data, bytes.TrimPrefix(value, []byte(" "))...), true
	if len(b.data) > sseEventBytesMax {
		b.err = bufio.ErrTooLong
		return
	}
	if firstLine && isWholeEvent(b.data) {
		b.emit() // some servers send no blank line between events
	}
}

// end ends the stream; an event without its blank line still counts if whole.
func (b *sseBody) end(err error) {
	if err == nil && b.any {
		b.emit()
	}
	switch {
	case err != nil:
		b.err = err
	case !b.done && !b.seen && b.start != "":
		b.err = &noReply{"what is no stream of events", b.start}
	case !b.done && !b.seen:
		b.err = &noReply{"nothing", ""}
	case !b.done:
		b.err = errCutOff
	}
}

// emit writes the event that was read. Newlines in JSON stand only between
// its tokens, so that spaces do as well.
func (b *sseBody) emit() {
	if !b.any {
		return
	}
	data := strings.TrimSpace(strings.ReplaceAll(string(b.data), "\n", " "))
	b.data, b.any = b.data[:0], false
	if data == "" {
		return
	}
	b.done, b.seen = data == "[DONE]", true
	if told, ok := strings.CutPrefix(data, `{"error"`); ok {
		data = `{ "error"` + told // else the library reads it itself, and knows objects alone
	}
	b.out.WriteString("data: " + data + "\n\n")
}

// isWholeEvent reports whether data needs no further line: JSON on one line,
// or the end mark.
func isWholeEvent(data []byte) bool {
	data = bytes.TrimSpace(data)
	return string(data) == "[DONE]" ||
		len(data) > 0 && data[0] == '{' && data[len(data)-1] == '}' && balanced(data)
}

// balanced reports whether the braces outside of strings are.
func balanced(data []byte) bool {
	depth, inString, escaped := 0, false, false
	for _, c := range data {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped = c == '\\'
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{':
			depth++
		case c == '}':
			depth--
		}
	}
	return depth == 0 && !inString
}

// scanAnyLine splits at CRLF, LF or CR, and drops a byte order mark.
func scanAnyLine() bufio.SplitFunc {
	first, skipLF := true, false
	return func(data []byte, atEOF bool) (advance int, token []byte, err error) {
		skip := 0
		if skipLF && len(data) > 0 {
			skipLF = false
			if data[0] == '\n' {
				skip = 1
			}
		}
		i := bytes.IndexAny(data[skip:], "\r\n")
		if i < 0 {
			if atEOF && len(data) > skip {
				return len(data), data[skip:], nil
			}
			return skip, nil, nil
		}
		i += skip
		token = data[skip:i]
		skipLF = data[i] == '\r'
		if first {
			token, first = bytes.TrimPrefix(token, []byte("\xef\xbb\xbf")), false
		}
		return i + 1, token, nil
	}
}
