package program

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The examples of docs/commands.md are what a person copies: they run as printed.
func TestDocumentedCommands(t *testing.T) {
	r := newRig(t)
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "commands.md"))
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(page), "\n## Your own commands\n")
	require.True(t, ok)
	r.writeUser("bmi.py", fencedIn(t, section, "python"))
	r.write(filepath.Join(r.user, "lines"), fencedIn(t, section, "sh"), 0o755)
	r.write(filepath.Join(r.project, "three.txt"), "a\nb\nc\n", 0o600)
	require.Equal(t, "added bmi\nadded lines", r.refresh())

	example := r.Programs()[0].Example()
	require.NotNil(t, example)
	got := r.call("body_mass_index", example.Content[0]).Text
	assert.Contains(t, section, "       "+got+"\n", "the output is as printed there")
	assert.Equal(t, "Ann has a body mass index of 22.9", r.call("bmi", map[string]any{"weight": "70", "height": 1.75, "name": "Ann"}).Text)
	assert.Equal(t, "3", strings.TrimSpace(r.call("lines", map[string]any{"file": "three.txt"}).Text))

	for _, limit := range []struct {
		said string
		is   int
	}{{`(\d+) characters together`, wordsMax}, {`Python files over (\d+) MiB`, pythonBytesMax >> 20}, {`other programs over (\d+) MiB`, executableBytesMax >> 20}} {
		m := regexp.MustCompile(limit.said).FindStringSubmatch(strings.Join(strings.Fields(section), " "))
		require.NotNil(t, m, limit.said)
		assert.Equal(t, strconv.Itoa(limit.is), m[1], limit.said)
	}
	for _, k := range kinds {
		assert.Contains(t, section, "`"+k.name+"`")
	}
}

// fencedIn is the first block of a language.
func fencedIn(t *testing.T, text, lang string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n```"+lang+"\n")
	require.True(t, ok, lang)
	block, _, ok := strings.Cut(rest, "\n```\n")
	require.True(t, ok, lang)
	return block + "\n"
}
