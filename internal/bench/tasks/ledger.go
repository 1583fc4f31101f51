package tasks

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Row is one run of one task, as it is kept.
type Row struct {
	Key           string   `json:"key"` // what it is a result of: suite, program, model, settings
	Task          string   `json:"task"`
	Kind          string   `json:"kind"`
	Configuration string   `json:"configuration"`
	Round         int      `json:"round"`
	Solved        bool     `json:"solved"`
	Wrong         []string `json:"wrong,omitempty"` // what the verifier found
	Answer        string   `json:"answer,omitempty"`
	Stop          string   `json:"stop"`
	Error         string   `json:"error,omitempty"`

	Steps           int   `json:"steps"`
	InvalidReplies  int   `json:"invalid_replies"`
	InvalidRun      int   `json:"invalid_commands_executed"`
	EvaluatedTokens int   `json:"evaluated_tokens"`
	CachedTokens    int   `json:"cached_tokens"`
	GeneratedTokens int   `json:"generated_tokens"`
	WallMS          int64 `json:"wall_ms"`
	// ProcessorMS is the time that processors worked for this run, which others
	// on the machine hardly change; -1: unknown.
	ProcessorMS int64 `json:"processor_ms"`
}

// run names a run within a key.
type run struct {
	task, configuration string
	round               int
}

// Ledger is a file of rows, one added as each run ends, so that an interrupted suite goes on
// where it was.
type Ledger struct {
	key  string
	path string
	file *os.File
	rows []Row
	done map[run]bool
}

// rowBytesMax bounds one line of a ledger.
const rowBytesMax = 1 << 20

// OpenLedger opens the file at path, or begins it. Rows of another key (another
// suite, program, model or setting) stay in the file and count for nothing. A
// last line that was cut off is dropped.
func OpenLedger(path, key string) (*Ledger, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	l := &Ledger{key: key, path: path, file: file, done: map[run]bool{}}
	whole, err := l.read()
	if err == nil {
		err = l.cutAt(whole)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("ledger %s: %w", path, err)
	}
	return l, nil
}

// read takes the rows of this key, and gives how many bytes are whole lines.
func (l *Ledger) read() (whole int64, err error) {
	in := bufio.NewReaderSize(l.file, rowBytesMax)
	for number := 1; ; number++ {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return whole, nil // what is left of a line was cut off
		case err != nil:
			return whole, fmt.Errorf("line %d: %w", number, err)
		}
		whole += int64(len(line))
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var row Row
		if err := json.Unmarshal(line, &row); err != nil {
			return whole, fmt.Errorf("line %d is no result: %w", number, err)
		}
		if row.Key == l.key {
			l.take(row)
		}
	}
}

func (l *Ledger) cutAt(whole int64) error {
	if err := l.file.Truncate(whole); err != nil {
		return err
	}
	_, err := l.file.Seek(whole, io.SeekStart)
	return err
}

func (l *Ledger) take(row Row) {
	l.rows = append(l.rows, row)
	l.done[run{row.Task, row.Configuration, row.Round}] = true
}

// Has reports a run that is kept already.
func (l *Ledger) Has(task, configuration string, round int) bool {
	return l.done[run{task, configuration, round}]
}

// Add keeps a run, on disk before it returns.
func (l *Ledger) Add(row Row) error {
	row.Key = l.key
	line, err := json.Marshal(row)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	l.take(row)
	return nil
}

// Rows are the runs of this key, in the order in which they ended.
func (l *Ledger) Rows() []Row { return l.rows }

// Close gives back the file.
func (l *Ledger) Close() error { return l.file.Close() }
