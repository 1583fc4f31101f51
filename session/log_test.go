package session

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
)

// finishedLog is the session file of a whole run.
func finishedLog(t *testing.T) []byte {
	r := newRig(t, newModel(t, true, readThenAnswer...), func(o *Options) { o.SessionsDir = t.TempDir() })
	r.write(t, "b.txt", "42\n")
	_, err := r.Run(context.Background(), "task")
	require.NoError(t, err)
	data, err := os.ReadFile(r.Path())
	require.NoError(t, err)
	return data
}

// A process may be killed after any byte: what is on disk then can be read,
// resumed and worked on to the end.
func TestLogSurvivesAnyCut(t *testing.T) {
	whole := finishedLog(t)
	header := bytes.IndexByte(whole, '\n') + 1
	work := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(work, "b.txt"), []byte("42\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(work, "a.txt"), nil, 0o600))
	path := filepath.Join(t.TempDir(), "cut"+logExt)
	for cut := range len(whole) {
		lines, wholeBytes, err := readLog(bytes.NewReader(whole[:cut]))
		require.NoError(t, err)
		old, err := replay("cut", lines, wholeBytes)
		if cut < header {
			assert.Error(t, err, "cut at %d", cut)
			continue
		}
		require.NoError(t, err, "cut at %d", cut)
		assert.Equal(t, "task", old.header.Task)
		if cut%53 != 0 {
			continue // resuming at each byte would take long and show nothing more
		}
		require.NoError(t, os.WriteFile(path, whole[:cut], 0o600))
		m := newModel(t, true, " so", " answer", " 42")
		words := ""
		if old.result != nil {
			words = "and again?"
		}
		s, err := Resume(path, Options{Backend: m, Registry: testCommands(t), Env: &command.Env{WorkDir: work}, Approve: ApproveAuto})
		require.NoError(t, err, "cut at %d", cut)
		res, err := s.Run(context.Background(), words)
		require.NoError(t, err, "cut at %d", cut)
		assert.Equal(t, "42", res.Answer)
		require.NoError(t, s.Close())
		again, err := Load(path)
		require.NoError(t, err)
		assert.Equal(t, StopAnswered, again.Stop, "cut at %d", cut)
	}
}

func TestDamagedLineCostsOnlyItself(t *testing.T) {
	whole := finishedLog(t)
	lines := bytes.SplitAfter(whole, []byte("\n"))
	lines[2] = append(bytes.Repeat([]byte{0}, 20), '\n')
	got, n, err := readLog(bytes.NewReader(bytes.Join(lines, nil)))
	require.NoError(t, err)
	assert.Len(t, got, len(lines)-2, "one is damaged, one is the empty rest")
	assert.Equal(t, int64(len(bytes.Join(lines, nil))), n)
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"20260101-000000-aaaaaa", "20260101-000000-abbbbb", "20260102-000000-cccccc"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+logExt), nil, 0o600))
	}
	for _, tc := range []struct{ id, want, err string }{
		{"cccccc", "20260102-000000-cccccc", ""},
		{"20260102", "20260102-000000-cccccc", ""},
		{"last", "20260102-000000-cccccc", ""},
		{"20260101", "", "fits 2 sessions"},
		{"zzz", "", "none with id"},
		{"", "", "none with id"},
		{"../x", "", "none with id"},
	} {
		path, err := Find(dir, tc.id)
		if tc.err != "" {
			assert.ErrorContains(t, err, tc.err)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(dir, tc.want+logExt), path)
	}
	list, err := List(filepath.Join(dir, "not there"))
	require.NoError(t, err)
	assert.Empty(t, list)
}

// FuzzReadLog: whatever is in a file, reading it ends, without a panic, and
// never claims more whole bytes than there are.
func FuzzReadLog(f *testing.F) {
	f.Add([]byte(`{"type":"header","header":{"version":1,"id":"x"}}` + "\n" + `{"type":"message","entry":{"kind":"task","text":"t"}}` + "\n"))
	f.Add([]byte(`{"type":"header","header":null}` + "\n{\"type\":\"compacted\",\"entries\":[null]}\n"))
	f.Add([]byte(`{"type":"result","stop":"answered"}` + "\n" + `{"type":"done"}` + "\n{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, whole, err := readLog(bytes.NewReader(data))
		if whole > int64(len(data)) {
			t.Fatalf("%d whole bytes of %d", whole, len(data))
		}
		if err != nil {
			return
		}
		if s, err := replay("f", lines, whole); err == nil {
			s.info("f")
			messages("system", s.entries)
		}
	})
}
