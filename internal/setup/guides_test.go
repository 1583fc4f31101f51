package setup

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/session/guide"
)

// TestFollowGuides: a person is asked once for each folder, and the answer is kept, for
// folders below it too.
func TestFollowGuides(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	for _, yes := range []bool{true, false} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "AGENTS.md"), []byte("x"), 0o644))
		asked, warned := 0, ""
		h := &Host{Attended: true, Warn: func(m string) { warned += m },
			Confirm: func(_ context.Context, shown, _ string) (bool, error) {
				asked++
				assert.Contains(t, shown, "AGENTS.md")
				return yes, nil
			}}
		for range 3 {
			follow, err := h.followGuides(t.Context(), dir, guide.OfFolder(dir))
			require.NoError(t, err)
			assert.Equal(t, yes, follow)
		}
		assert.Equal(t, 1, asked)
		alone := &Host{Warn: h.Warn}
		follow, err := alone.followGuides(t.Context(), dir, guide.OfFolder(dir))
		require.NoError(t, err)
		assert.Equal(t, yes, follow, "as it was answered, where nobody is there")
		assert.Empty(t, warned)
		alone.TrustFolder = true
		follow, err = alone.followGuides(t.Context(), dir, guide.OfFolder(dir))
		require.NoError(t, err)
		assert.True(t, follow)
	}
	dir := t.TempDir()
	follow, err := (&Host{}).followGuides(t.Context(), dir, guide.OfFolder(dir))
	assert.NoError(t, err)
	assert.False(t, follow)
}
