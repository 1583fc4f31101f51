package inference

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A verdict holds for a model as it was: another part of a split one is another
// model, whichever it is, and so is another time or size.
func TestIdentityOfSplitModels(t *testing.T) {
	dir := t.TempDir()
	then := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chtimes(path, then, then))
		return path
	}
	var first string
	for i := range 3 {
		path := write(fmt.Sprintf("m-%05d-of-00003.gguf", 3-i), "part")
		first = path
	}
	identity := func(path string) string {
		id, err := fileIdentity(path)
		require.NoError(t, err)
		return id
	}
	before := identity(first)
	assert.Equal(t, before, identity(first))
	for i := range 3 {
		name := fmt.Sprintf("m-%05d-of-00003.gguf", i+1)
		write(name, "PART")
		assert.NotEqual(t, before, identity(first), "part %d has other bytes", i+1)
		path := write(name, "part")
		assert.Equal(t, before, identity(first))
		require.NoError(t, os.Chtimes(path, then, then.Add(time.Second)))
		assert.NotEqual(t, before, identity(first), "part %d was written again", i+1)
		write(name, "part")
	}
	require.NoError(t, os.Remove(filepath.Join(dir, "m-00002-of-00003.gguf")))
	assert.NotEqual(t, before, identity(first), "a part is gone")

	whole := identity(write("whole.gguf", "part"))
	write("m-00001-of-00009.gguf", "part")
	assert.NotEqual(t, whole, identity(write("whole.gguf", "other")))
	identity(filepath.Join(dir, "m-00001-of-00009.gguf")) // a whole model by a part's name

	_, err := fileIdentity(filepath.Join(dir, "none.gguf"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}
