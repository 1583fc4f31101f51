//go:build unix

package bounded

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), []byte("12345"), 0o600))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	require.NoError(t, os.Symlink(os.DevNull, filepath.Join(dir, "out")))
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	for name, read := range map[string]func(name string, max int64) ([]byte, error){
		"File":   func(name string, max int64) ([]byte, error) { return File(filepath.Join(dir, name), max) },
		"Within": func(name string, max int64) ([]byte, error) { return Within(root, name, max) },
	} {
		data, err := read("a", 5)
		require.NoError(t, err, name)
		assert.Equal(t, "12345", string(data), name)
		_, err = read("a", 4)
		assert.EqualError(t, err, "it has more than 4 bytes", name)
		for _, other := range []string{"pipe", ".", "out", "none"} {
			_, err = read(other, 100)
			assert.Error(t, err, "%s of %s", name, other)
		}
	}
}
