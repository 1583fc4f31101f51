package stock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"agent/command"
)

// TestFilesSwappedForLinks reads and writes a file in a folder that something
// else keeps swapping for a link to a folder outside, as a program that runs
// beside the agent could. Whatever the moment, nothing outside is read or
// changed.
func TestFilesSwappedForLinks(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "note.txt")
	require.NoError(t, os.WriteFile(secret, []byte("secret of others\n"), 0o644))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sub", "note.txt"), []byte("own\n"), 0o644))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "other")))

	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		swaps := 0
		for {
			select {
			case <-stop:
				if swaps == 0 {
					done <- errors.New("nothing was swapped")
				}
				close(done)
				return
			default:
				if unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, "sub"), unix.AT_FDCWD, filepath.Join(dir, "other"), unix.RENAME_EXCHANGE) == nil {
					swaps++
				}
			}
		}
	}()
	env := &command.Env{WorkDir: dir}
	entry := func(fields map[string]any) *command.Call { return &command.Call{Content: []map[string]any{fields}} }
	for i := range 300 {
		r, err := Reader().Run(context.Background(), env, entry(map[string]any{"file": "sub/note.txt"}))
		if err == nil {
			assert.NotContains(t, r.Text, "secret")
		}
		_, _ = Writer().Run(context.Background(), env, entry(map[string]any{"file": "sub/note.txt", "text": strings.Repeat("x", i+1)}))
		_, _ = Writer().Run(context.Background(), env, entry(map[string]any{"file": "sub/new.txt", "text": "x"}))
	}
	close(stop)
	if err := <-done; err != nil {
		t.Skipf("needs a file system that can exchange two names: %v", err)
	}
	data, err := os.ReadFile(secret)
	require.NoError(t, err)
	assert.Equal(t, "secret of others\n", string(data))
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	assert.Len(t, entries, 1)
}
