package session

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
	"agent/session/journal"
)

// fillDisk makes every further write to the session file fail as on a full
// disk. Nothing of the file itself changes.
func fillDisk(t *testing.T, s *Session) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("needs /dev/full: " + err.Error())
	}
	t.Cleanup(func() { full.Close() })
	s.book.log.File.Close() // gives back the lock, too
	s.book.log.File = full
}

// Whenever the disk gets full, the run ends with an error that says so, nothing
// ran that was not recorded before it did, and once there is room again the
// session goes on.
func TestFullDisk(t *testing.T) {
	script := []string{
		" write", " writer", " one.txt", "1\n",
		" write", " writer", " two.txt", "2\n",
		" write", " writer", " three.txt", "3\n",
		" so", " answer", " 42",
	}
	for full := 1; ; full++ {
		m := newModel(t, true, script...)
		told := 0
		var r *rig
		r = newRig(t, m, func(o *Options) {
			o.SessionsDir = t.TempDir()
			sink := o.Sink
			o.Sink = func(ev Event) {
				sink(ev)
				if told++; told == full {
					fillDisk(t, r.Session)
				}
			}
		})
		res, err := r.Run(context.Background(), "task")
		require.NotNil(t, res)
		if told < full { // it never got full
			assert.Greater(t, full, 10)
			return
		}
		if res.Stop != StopAnswered { // else the answer was had before it mattered
			var failed *LogError
			require.ErrorAs(t, err, &failed, "full at event %d", full)
			require.ErrorIs(t, err, syscall.ENOSPC)
			assert.Contains(t, failed.Hint(), "--no-session")
			assert.Equal(t, StopError, res.Stop)
		}
		path := filepath.Join(r.opts.SessionsDir, r.ID()+journal.Ext)
		old, err := journal.Read(path)
		require.NoError(t, err)
		began := map[string]bool{}
		for _, d := range old.Done {
			began[d.Key] = true
		}
		for key := range old.Intents {
			began[key] = true
		}
		for _, name := range []string{"one.txt", "two.txt", "three.txt"} {
			if _, err := os.Stat(filepath.Join(r.dir, name)); err == nil {
				key := callKey(&command.Call{Command: "writer", Content: []map[string]any{{"path": name, "text": map[string]string{"one.txt": "1\n", "two.txt": "2\n", "three.txt": "3\n"}[name]}}})
				assert.True(t, began[key], "full at event %d: %s was written and nothing tells of it", full, name)
			}
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		loadsClean(t, path, goOn(t, path, data))
	}
}

func TestFolderThatCanNotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, dir := range map[string]string{"no folder": filepath.Join(file, "sessions"), "not made by anyone": "/proc/1/sessions"} {
		t.Run(name, func(t *testing.T) {
			var failed *LogError
			require.ErrorAs(t, CheckDir(dir), &failed)
			r := newRig(t, newModel(t, true), func(o *Options) { o.SessionsDir = dir })
			res, err := r.Run(context.Background(), "task")
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, StopError, res.Stop)
			assert.Empty(t, r.model.requests, "the model is not asked in vain")
		})
	}
	dir := filepath.Join(t.TempDir(), "new", "sessions")
	require.NoError(t, CheckDir(dir))
	assert.NoDirExists(t, filepath.Dir(dir), "nothing is left behind")
}
