package journal

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/session/event"
)

// A record is read whatever stands before it in its line.
func TestRecordsBehindRubbish(t *testing.T) {
	header, err := frame(Record{Type: TypeHeader, Header: &Header{Version: Version, ID: "x"}})
	require.NoError(t, err)
	note, err := frame(event.Event{Data: &event.Note{Text: "real"}})
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		file    []byte
		records int
		lost    int64
	}{
		"whole":                {bytes.Join([][]byte{header, note}, nil), 2, 0},
		"a byte order mark":    {bytes.Join([][]byte{[]byte("\ufeff"), header, note}, nil), 2, 0},
		"NULs before the last": {bytes.Join([][]byte{header, make([]byte, 512), note}, nil), 2, 512},
		"NULs at the start":    {bytes.Join([][]byte{make([]byte, 9), header, note}, nil), 2, 9},
		"a line of NULs":       {bytes.Join([][]byte{header, make([]byte, 9), []byte("\n"), note}, nil), 2, 10},
		"NULs at the end":      {bytes.Join([][]byte{header, note, make([]byte, 9)}, nil), 2, 9},
	} {
		found, err := scan(bytes.NewReader(tt.file))
		require.NoError(t, err)
		assert.Len(t, found.lines, tt.records, name)
		assert.Equal(t, tt.lost, found.lost.Bytes, name)
	}
}

// Who is at work on a session is told.
func TestSessionAtWork(t *testing.T) {
	if holder(os.DevNull) != 0 {
		t.Skip("somebody has locked the null device")
	}
	dir := t.TempDir()
	w, err := Create(dir, "x")
	require.NoError(t, err)
	require.NoError(t, w.Append(Record{Type: TypeHeader, Header: &Header{Version: Version, ID: "x"}}))
	if holder(w.Path) == 0 {
		t.Skip("this system does not tell who holds a lock")
	}
	list, err := List(dir)
	require.NoError(t, err)
	assert.Equal(t, os.Getpid(), list[0].Process)
	assert.ErrorContains(t, Remove(w.Path), "in use by process")
	_, _, err = Reopen(filepath.Join(dir, "x"+Ext))
	assert.ErrorContains(t, err, "in use by process")
	require.NoError(t, w.Close())
	list, err = List(dir)
	require.NoError(t, err)
	assert.Zero(t, list[0].Process)
}
