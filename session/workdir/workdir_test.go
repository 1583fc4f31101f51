package workdir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/session/prose"
)

func TestHeadLines(t *testing.T) {
	for _, tc := range []struct {
		name   string
		data   string
		cut    bool
		lines  []string
		more   bool
		binary bool
	}{
		{"empty", "", false, nil, false, false},
		{"short", "a\r\nb\n", false, []string{"a", "b"}, false, false},
		{"more", "a\nb\nc\nd", false, []string{"a", "b", "c"}, true, false},
		{"binary", "a\x00b", false, nil, false, true},
		{"not text", "\xff\xfea", false, nil, false, true},
		{"torn rune", "ab\xe2\x82", true, []string{"ab"}, true, false},
		{"long line", strings.Repeat("ä", 500), false, []string{strings.Repeat("ä", prose.LineRunes) + "…"}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lines, more, binary := headLines([]byte(tc.data), 3, tc.cut)
			assert.Equal(t, tc.lines, lines)
			assert.Equal(t, tc.more, more)
			assert.Equal(t, tc.binary, binary)
		})
	}
}

func TestSnapshot(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string, age time.Duration) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		at := time.Now().Add(-age)
		require.NoError(t, os.Chtimes(path, at, at))
	}
	put("a.txt", "1", time.Hour)
	put("sub/b.txt", "2", time.Hour)
	put(".git/c", "3", 0)
	put("__pycache__/d", "4", 0)
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link")))
	first := Take(dir, Snapshot{})
	assert.Equal(t, []string{"a.txt", "sub/b.txt"}, first.Paths())

	put("a.txt", "1", time.Minute) // written again with the same content
	same := Take(dir, first)
	assert.Equal(t, first.Hash(), same.Hash())
	assert.Empty(t, Changes(first, same))

	put("a.txt", "9", time.Second)
	put("new.txt", "", time.Second)
	other := Take(dir, same)
	assert.NotEqual(t, first.Hash(), other.Hash())
	assert.Equal(t, []string{"a.txt", "new.txt"}, Changes(same, other))
	assert.Empty(t, Take(filepath.Join(dir, "gone"), first).files)
	assert.Empty(t, ViewOf(dir, "link", 3).Lines, "a link out of the work dir is not read")
	assert.Empty(t, ViewOf(dir, "../"+filepath.Base(dir)+"/a.txt", 3).Lines)
}
