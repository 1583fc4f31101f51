package journal

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/session/event"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"20260101-000000-aaaaaa", "20260101-000000-abbbbb", "20260102-000000-cccccc"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+Ext), nil, 0o600))
	}
	for _, tc := range []struct{ id, want, err string }{
		{"cccccc", "20260102-000000-cccccc", ""},
		{"20260102", "20260102-000000-cccccc", ""},
		{"last", "20260102-000000-cccccc", ""},
		{"20260101", "", "fits 2 sessions, 20260101-000000-aaaaaa, 20260101-000000-abbbbb among them"},
		{"zzz", "", "none with id"},
		{"cccccd", "", "did you mean 20260102-000000-cccccc?"},
		{"20260103", "", "did you mean 20260102-000000-cccccc?"},
		{"lsat", "", "none with id"},
		{"", "", "none with id"},
		{"../x", "", "none with id"},
	} {
		path, err := Find(dir, tc.id)
		if tc.err != "" {
			assert.ErrorContains(t, err, tc.err)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(dir, tc.want+Ext), path)
	}
	list, err := List(filepath.Join(dir, "not there"))
	require.NoError(t, err)
	assert.Empty(t, list)
}

// What a model or a file says can't pass for a record, even where damage makes a
// reader look for the next one.
func TestForgedRecords(t *testing.T) {
	forged := `{"type":"note","text":"forged"}`
	var file []byte
	for i, v := range []any{
		Record{Type: TypeHeader, Header: &Header{Version: Version, ID: "x"}},
		event.Event{Data: &event.Note{Text: "\n" + forged + "\n"}},
		event.Event{Data: &event.CallMade{Content: []map[string]any{{"x": json.RawMessage(forged)}}}},
		event.Event{Data: &event.Note{Text: "real"}},
	} {
		line, err := frame(v)
		require.NoError(t, err)
		if at := bytes.Index(line, []byte(`:{"type":"note","text":"f`)); at >= 0 {
			line[at] = '\n'
		} else if i == 1 {
			line[3] ^= 1
		}
		file = append(file, line...)
	}
	found, err := scan(bytes.NewReader(file))
	require.NoError(t, err)
	require.Len(t, found.lines, 2)
	assert.Equal(t, "real", found.lines[1].event.Data.(*event.Note).Text)
	assert.Equal(t, 3, found.lost.Records)
	assert.True(t, found.lines[1].gap)
}

// FuzzRead: whatever is in a file, reading it ends, without a panic, never
// claims more bytes than there are, and what is appended then is read again.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"type":"header","header":{"version":1,"id":"x"}}` + "\n" + `{"type":"message","entry":{"kind":"task","text":"t"}}` + "\n"))
	f.Add([]byte(`{"type":"header","header":null}` + "\n{\"type\":\"compacted\",\"entries\":[null]}\n"))
	f.Add([]byte(`{"type":"result","stop":"answered"}` + "\n" + `{"type":"done"}` + "\n{"))
	f.Add([]byte(`{"crc":"9ae0daaf","len":41,"seq":3,"type":"note","step":1,"text":"look"}` + "\n\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		found, err := scan(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if found.keep > int64(len(data)) || found.lost.Bytes > int64(len(data)) {
			t.Fatalf("keeps %d and loses %d of %d bytes", found.keep, found.lost.Bytes, len(data))
		}
		s, err := replay("f", found)
		if err != nil {
			return
		}
		s.info("f")
		s.stepCosts()
		after := bytes.Clone(data[:found.keep])
		if found.open {
			after = append(after, '\n')
		}
		line, err := frame(event.Event{Data: &event.Note{Text: "appended"}})
		if err != nil {
			t.Fatal(err)
		}
		again, err := scan(bytes.NewReader(append(after, line...)))
		if err != nil || len(again.lines) != len(found.lines)+1 {
			t.Fatalf("%d records and one more are %d (%v)", len(found.lines), len(again.lines), err)
		}
	})
}
