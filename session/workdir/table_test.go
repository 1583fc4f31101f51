package workdir

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A table is told by what stands in a file, whatever its name.
func TestHoldsTable(t *testing.T) {
	for text, want := range map[string]bool{
		"a,b\n1,2\n3,4\n5,6\n":     true,
		"a;b\n1,5;2\n3;4\n5;6\n":   true,
		"a\tb\n1\t2\n3\t4\n5\t6\n": true,
		"# Berths\n\nAll of them.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n":                                                   true,
		"<html><body><p>x</p>\n<TABLE class=\"x\">\n<tr>":                                                                            true,
		"article    pieces\nbolt M6      1200\nhook          310\nhinge          64\n":                                               true,
		"One, two.\nThree, four.\nFive, six.\nSeven, eight.\n":                                                                       false,
		"def f(a, b):\n    return a, b\n\nx = f(1, 2)\n":                                                                             false,
		"The crane is grey, as it says. The\nlamp is red, as it says. The\nboat is old, as it says. The\nrope is new, as it says.\n": false,
		"Dear Ann,\n\nhow are you?\nYours,\nBob\n":                                                                                   false,
		"[\n  {\"a\": 1},\n  {\"a\": 2}\n]\n":                                                                                        true,
		"{\"a\": [1, 2]}\n":                                                                                                          false,
		"":                                                                                                                           false,
		"\x00,\x01\n1,2\n":                                                                                                           false,
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "x"), []byte(text), 0o600))
		assert.Equal(t, want, HoldsTable(dir, "x"), text)
	}
	assert.False(t, HoldsTable(t.TempDir(), "none"))
}
