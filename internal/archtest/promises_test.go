package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	promiseRow = regexp.MustCompile(`(?m)^\| (B\d+) \|.*$`)
	shownBy    = regexp.MustCompile("`((?:Test|Example|Fuzz)\\w+|\\w+\\.txtar)`")
	testFunc   = regexp.MustCompile(`(?m)^func ((?:Test|Example|Fuzz)\w*)\(`)
)

// TestPromisesAreShown: each row of the table of promises in docs/dev/promises.md
// names tests, and those exist.
func TestPromisesAreShown(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "dev", "promises.md"))
	require.NoError(t, err)
	known := allTests(t)
	rows := promiseRow.FindAllStringSubmatch(string(doc), -1)
	require.Len(t, rows, 15)
	for _, row := range rows {
		names := shownBy.FindAllStringSubmatch(row[0], -1)
		assert.NotEmpty(t, names, row[1])
		for _, name := range names {
			assert.True(t, known[name[1]], "%s: there is no %s", row[1], name[1])
		}
	}
}

// allTests are the names of all tests of the module, scripts included.
func allTests(t *testing.T) map[string]bool {
	out := map[string]bool{}
	require.NoError(t, filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "build" || d.Name() == ".git" || d.Name() == "third_party"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".txtar"):
			out[d.Name()] = true
		case strings.HasSuffix(path, "_test.go"):
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range testFunc.FindAllStringSubmatch(string(data), -1) {
				out[m[1]] = true
			}
		}
		return nil
	}))
	return out
}
