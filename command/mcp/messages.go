package mcp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
)

// newMessages reads a program's messages, a line each. Programs also print to their standard
// output what is none; that goes where their other words go.
func newMessages(out io.ReadCloser, words io.Writer) io.ReadCloser {
	return &messageLines{ReadCloser: out, lines: bufio.NewReaderSize(out, 64<<10), words: words}
}

type messageLines struct {
	io.ReadCloser
	lines *bufio.Reader
	words io.Writer
	rest  []byte // of the message that is being read
}

func (m *messageLines) Read(p []byte) (int, error) {
	for len(m.rest) == 0 {
		line, err := m.line()
		printed, message := splitPrinted(line)
		_, _ = m.words.Write(printed)
		if m.rest = message; len(message) > 0 {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// line is the next one; of one that is too long, as much as the transport refuses.
func (m *messageLines) line() (line []byte, err error) {
	for {
		part, err := m.lines.ReadSlice('\n')
		line = append(line, part...)
		if err != bufio.ErrBufferFull || len(line) > messageBytesMax {
			return line, err
		}
	}
}

// splitPrinted parts what is printed from the message after it. A broken one counts as one,
// so that the transport says what is wrong.
func splitPrinted(line []byte) (printed, message []byte) {
	message = bytes.TrimPrefix(line, []byte("\ufeff"))
	if end := bytes.TrimRight(message, "\r\n"); len(end) > 0 { // a bar of progress is overwritten
		message = message[bytes.LastIndexByte(end, '\r')+1:]
	}
	isMessage := bytes.HasPrefix(bytes.TrimSpace(message), []byte("{")) &&
		bytes.Contains(message, []byte(`"jsonrpc"`))
	printed = line[:len(line)-len(message)]
	if !isMessage && len(line) <= messageBytesMax {
		if meant := asMessages(bytes.TrimSpace(message)); meant != nil {
			return printed, meant
		}
		return line, nil
	}
	return printed, message
}

// asMessages is what a line was meant as that is no message: a batch, which an older version
// of the protocol has, or an answer without its version.
func asMessages(line []byte) (out []byte) {
	var batch []json.RawMessage
	if json.Unmarshal(line, &batch) != nil {
		batch = []json.RawMessage{line}
	}
	for _, one := range batch {
		var m struct {
			Version           string `json:"jsonrpc"`
			ID, Result, Error json.RawMessage
		}
		if json.Unmarshal(one, &m) != nil ||
			m.Version == "" && (m.ID == nil || m.Result == nil && m.Error == nil) {
			return nil
		}
		if m.Version == "" {
			one = append([]byte(`{"jsonrpc":"2.0",`), one[1:]...)
		}
		out = append(append(out, one...), '\n')
	}
	return out
}
