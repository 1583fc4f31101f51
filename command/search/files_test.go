package search

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"agent/command"
	"agent/command/document/documenttest"
	"agent/internal/legible"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// folder makes a work dir with files.
func folder(t *testing.T, files map[string]string) *command.Env {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, dir, name, text)
	}
	return &command.Env{WorkDir: dir}
}

// write makes a file whose time differs from that of any earlier version.
func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// newSearcher gives a searcher that is closed at the end of the test.
func newSearcher(t *testing.T, c Config) *Searcher {
	t.Helper()
	s, err := New(c)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func run(t *testing.T, c command.Command, env *command.Env, query string) *command.Result {
	t.Helper()
	r, err := c.Run(context.Background(), env, callFor(query))
	require.NoError(t, err)
	return r
}

func callFor(query string) *command.Call {
	return &command.Call{Command: "search", Content: []map[string]any{{"query": query}}}
}

func TestLocalSearchFindsPlacesAndSaysSo(t *testing.T) {
	env := folder(t, map[string]string{
		"notes/orders.md": "# Orders\n\nApples were ordered.\nThe refunds for March were late.\nNothing else.\n",
		"code/tax.py":     "def compute_tax(amount):\n    return amount * 0.2\n",
		"other.txt":       "The weather was fine.\n",
	})
	c := newSearcher(t, Config{}).Commands()
	require.Len(t, c, 1)
	spec := c[0].Spec()
	assert.Equal(t, "search", spec.Name)
	assert.Equal(t, command.EffectRead, spec.Effect, "the files may be searched unasked")

	tests := []struct{ name, query, want string }{
		{"stemmed", "refund", "1 place in the 3 files here for \"refund\". Searched the files here; no web search is configured:\n" +
			"1. notes/orders.md:4\n   Apples were ordered.\n   The refunds for March were late.\n   Nothing else."},
		{"part of a name in code", "compute tax", "1. code/tax.py:1\n   def compute_tax(amount):"},
		{"name of a file", "orders md", "1. notes/orders.md:1\n   # Orders"},
		{"misspelt", "wether", "1 place in the 3 files here have words near \"wether\", none has them exactly. Searched"},
		{"nothing", "zebra (striped)", "(Nothing matches \"zebra striped\" in the 3 files here. No web search is configured.)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := run(t, c[0], env, tt.query)
			assert.Contains(t, r.Text, tt.want)
			assert.False(t, r.Failed)
		})
	}
	t.Run("no query", func(t *testing.T) {
		r := run(t, c[0], env, "  ")
		assert.True(t, r.Failed)
		assert.Contains(t, r.Text, `{"query": "..."}`)
	})
}

func TestIndexFollowsTheFolder(t *testing.T) {
	env := folder(t, map[string]string{"a.txt": "alpha\n", "b.txt": "beta\n"})
	c := newSearcher(t, Config{}).Commands()[0]
	assert.Contains(t, run(t, c, env, "alpha").Text, "a.txt:1")

	write(t, env.WorkDir, "a.txt", "gamma rays\n")
	write(t, env.WorkDir, "c.txt", strings.Repeat("delta\n", 3*chunkLines))
	require.NoError(t, os.Remove(filepath.Join(env.WorkDir, "b.txt")))
	assert.Contains(t, run(t, c, env, "gamma").Text, "a.txt:1")
	assert.Contains(t, run(t, c, env, "delta").Text, "c.txt:1")
	for _, gone := range []string{"alpha", "beta"} {
		assert.NotContains(t, run(t, c, env, gone).Text, ".txt:", gone)
	}
	write(t, env.WorkDir, "c.txt", "short now\n")
	assert.NotContains(t, run(t, c, env, "delta").Text, "c.txt", "chunks of the longer version are gone")

	other := folder(t, map[string]string{"d.txt": "delta\n"})
	assert.Contains(t, run(t, c, other, "delta").Text, "d.txt:1", "another work dir has an index of its own")
}

func TestSameSizeAndNewTimeIsAChange(t *testing.T) {
	env := folder(t, map[string]string{"a.txt": "alpha\n"})
	c := newSearcher(t, Config{}).Commands()[0]
	run(t, c, env, "alpha")
	write(t, env.WorkDir, "a.txt", "omega\n")
	require.NoError(t, os.Chtimes(filepath.Join(env.WorkDir, "a.txt"), time.Time{}, time.Now().Add(time.Hour)))
	assert.Contains(t, run(t, c, env, "omega").Text, "a.txt:1")
}

func TestIndexLeavesOut(t *testing.T) {
	env := folder(t, map[string]string{
		"seen.txt": "treasure\n", ".hidden": "treasure\n", ".git/config": "treasure\n", "node_modules/x/y.js": "treasure\n",
		"picture.png": "PNG\x00treasure\n",
	})
	if runtime.GOOS != "windows" {
		outside := t.TempDir()
		write(t, outside, "secret.txt", "treasure outside\n")
		require.NoError(t, os.Symlink(outside, filepath.Join(env.WorkDir, "link")))
		require.NoError(t, os.Symlink(filepath.Join(outside, "secret.txt"), filepath.Join(env.WorkDir, "link.txt")))
	}
	r := run(t, newSearcher(t, Config{Results: 20}).Commands()[0], env, "treasure")
	assert.Contains(t, r.Text, "1 place in the 1 file here")
	assert.Contains(t, r.Text, "seen.txt:1")
}

func TestIndexIsBounded(t *testing.T) {
	files := map[string]string{"deep/er/z.txt": "needle deep\n", "long.txt": "needle\n" + strings.Repeat("hay\n", 100) + "pin\n"}
	for i := range 8 {
		files[fmt.Sprintf("f%d.txt", i)] = "needle\n"
	}
	env := folder(t, files)
	s := newSearcher(t, Config{Results: 20})
	s.index = newIndex(bounds{files: 9, fileBytes: 100, totalBytes: 1 << 20, entries: 1000, depth: 8})
	r := run(t, s.Commands()[0], env, "needle")
	assert.Contains(t, r.Text, "9 places in the 9 files here", "those near the top come first")
	assert.NotContains(t, r.Text, "deep/er")
	assert.Contains(t, r.Text, "[1 file not searched: there are too many]")
	assert.Contains(t, r.Text, "[1 large file searched only at the start]")
	assert.NotContains(t, run(t, s.Commands()[0], env, "pin").Text, "long.txt:")

	s.index.bounds.entries = 3
	assert.Contains(t, run(t, s.Commands()[0], env, "needle").Text, "[only 3 entries of folders were looked at; there are more]")
}

func TestBinaryFilesDoNotUseTheBoundsUp(t *testing.T) {
	env := folder(t, map[string]string{"a.bin": "\x00" + strings.Repeat("x", sniffedOver), "b.txt": "needle\n"})
	s := newSearcher(t, Config{})
	s.index = newIndex(bounds{files: 1, fileBytes: 1 << 20, totalBytes: 1000, entries: 1000, depth: 8})
	r := run(t, s.Commands()[0], env, "needle")
	assert.Contains(t, r.Text, "b.txt:1")
	assert.NotContains(t, r.Text, "not searched")
}

func TestSmallWordsDoNotDecide(t *testing.T) {
	env := folder(t, map[string]string{"a.txt": strings.Repeat("of the of the of the\n", 9), "b.txt": "the temperature of water\n", "c.txt": "To be, or not to be.\n"})
	c := newSearcher(t, Config{}).Commands()[0]
	r := run(t, c, env, "temperture of the oceans")
	assert.Contains(t, r.Text, "have words near")
	assert.Contains(t, r.Text, "b.txt:1")
	assert.NotContains(t, r.Text, "a.txt")
	assert.Contains(t, run(t, c, env, "to be or not to be").Text, "c.txt:1", "unless there are no others")
}

func TestResultIsBounded(t *testing.T) {
	env := folder(t, map[string]string{"a.txt": strings.Repeat("needle in hay é", 2000)})
	env.Limits.OutputBytes = 100
	r := run(t, newSearcher(t, Config{}).Commands()[0], env, "needle")
	assert.True(t, r.Truncated)
	assert.True(t, utf8.ValidString(r.Text))
	assert.Less(t, len(r.Text), 160)
	assert.Contains(t, r.Text, "[the rest of the results is left out]")
}

func TestLongLineIsShownAroundTheWord(t *testing.T) {
	hay, straw, wide := strings.Repeat("hay ", 500), strings.Repeat(" é straw", 500), strings.Repeat("干し草", 500)
	for name, line := range map[string]string{
		"in the middle": hay + "the needle is here" + straw, "at the start": "the needle is here" + straw, "at the end": hay + "the needle is here",
		"after wide letters": wide + " the needle is here " + wide, "in JSON": `{"a":[` + strings.Repeat(`{"b":1},`, 500) + `{"c":"the needle is here"}]}`,
		"after tabs": strings.Repeat("\t\t1", 900) + "\tthe needle is here\t" + hay, "in capitals": hay + "THE NEEDLE IS HERE" + straw,
		"between letters": strings.Repeat("x", 3000) + " the needle is here " + strings.Repeat("y", 3000),
	} {
		env := folder(t, map[string]string{"a.txt": "first\n" + line + "\nlast\n"})
		r := run(t, newSearcher(t, Config{}).Commands()[0], env, "needle")
		assert.Contains(t, r.Text, "a.txt:2\n", name)
		assert.Contains(t, strings.ToLower(r.Text), "the needle is here", name)
		assert.Less(t, len(r.Text), 900, name)
	}
}

func TestOneFileDoesNotHideTheOthers(t *testing.T) {
	env := folder(t, map[string]string{"much.txt": strings.Repeat("needle needle needle\n", 400), "once.txt": strings.Repeat("hay\n", 15) + "needle\n"})
	r := run(t, newSearcher(t, Config{}).Commands()[0], env, "needle")
	assert.Contains(t, r.Text, "once.txt:16")
	assert.Equal(t, hitsPerFile, strings.Count(r.Text, "much.txt:"))
}

func TestEncodings(t *testing.T) {
	env := folder(t, map[string]string{
		"latin.txt": "caf\xe9 needle\n", "utf16.txt": "\xff\xfen\x00e\x00e\x00d\x00l\x00e\x00", "utf16nobom.txt": "n\x00e\x00e\x00d\x00l\x00e\x00", "bom.txt": "\xef\xbb\xbfneedle\n", "cjk.txt": "針 は ここ needle\n",
		"escape.txt": "needle \x1b[31mred\x1b[0m \u202egnirts\n",
	})
	r := run(t, newSearcher(t, Config{Results: 20}).Commands()[0], env, "needle")
	for _, want := range []string{"café needle", "utf16.txt:1\n   needle", "utf16nobom.txt:1\n   needle", "bom.txt:1\n   needle", "針 は ここ", "needle [31mred[0m gnirts"} {
		assert.Contains(t, r.Text, want)
	}
}

func TestCancelledSearchLeavesAWorkingIndex(t *testing.T) {
	env := folder(t, map[string]string{"a.txt": "needle\n", "b.txt": strings.Repeat("needle\n", 400*chunkLines)})
	s := newSearcher(t, Config{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Commands()[0].Run(ctx, env, callFor("needle"))
	require.ErrorIs(t, err, context.Canceled)
	assert.Contains(t, run(t, s.Commands()[0], env, "needle").Text, "a.txt:1")
}

func TestUnreadableWorkDir(t *testing.T) {
	_, err := newSearcher(t, Config{}).Commands()[0].Run(context.Background(), &command.Env{WorkDir: filepath.Join(t.TempDir(), "gone")}, callFor("x"))
	assert.ErrorContains(t, err, "search the files: ")
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte("a\nb\r\n\xff\xfe"))
	f.Add([]byte("\xff\xfeh\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, ok := decode(data)
		if ok {
			assert.True(t, utf8.ValidString(plainLine(text)))
			assert.True(t, utf8.ValidString(legible.Clip(plain(text), 20)))
		}
	})
}

// What the rules of a run withhold is not found, nor is it in the index later.
func TestSearchWithholds(t *testing.T) {
	env := folder(t, map[string]string{"private/key.txt": "the word is mandrake\n", "a.txt": "a mandrake is a plant\n"})
	s := newSearcher(t, Config{})
	c := s.Commands()[0]
	assert.Contains(t, run(t, c, env, "mandrake").Text, "private/key.txt")
	env.Withheld = func(command, path string) bool { return command == "search" && strings.HasPrefix(path, "private/") }
	for query, want := range map[string]string{"mandrake": "a.txt", "word": "Nothing matches"} {
		text := run(t, c, env, query).Text
		assert.Contains(t, text, want)
		assert.NotContains(t, text, "private")
		assert.Contains(t, text, "[1 file not searched: a rule of the user speaks about it]")
	}
}

// What the reader shows of a file is what is searched, and what could not be is named.
func TestDocumentsAreSearchedAsTheyAreRead(t *testing.T) {
	if raceEnabled {
		t.Skip("needs a build without the race detector, which can't start under a memory limit")
	}
	env := folder(t, map[string]string{
		"a.html":     "<html><meta charset=\"windows-1251\"><p>\xcf\xee\xe5\xe7\xe4</p></html>",
		"b.html":     "<html><body><p>One&nbsp;h&auml;user</p></body></html>",
		"c.pdf":      string(documenttest.PDF("first page", "an otter\nand a walrus")),
		"d.txt":      "\xff\xfew\x00i\x00d\x00e\x00",
		"e.txt":      "Gr\u00f6\u00dfe \xff kiwi\n",
		"broken.pdf": "%PDF-1.4\n\xff\xfe no more",
		"f.html":     "<html><script>var hidden = 'zebra'</script><p>seen</p></html>",
	})
	c := newSearcher(t, Config{}).Commands()[0]
	for query, want := range map[string]string{"Поезд": "a.html:1", "häuser": "b.html:1", "walrus": "c.pdf:5", "wide": "d.txt:1", "kiwi": "e.txt:1"} {
		r := run(t, c, env, query)
		assert.Contains(t, r.Text, want, query)
		assert.Contains(t, r.Text, "not yet: broken.pdf]", query)
	}
	assert.Contains(t, run(t, c, env, "zebra").Text, "Nothing matches")
	assert.Contains(t, run(t, c, env, "Поезда").Text, "a.html:1", "a word that is near")
	write(t, env.WorkDir, "c.pdf", string(documenttest.PDF("a badger")))
	assert.Contains(t, run(t, c, env, "badger").Text, "c.pdf:2")
	assert.Contains(t, run(t, c, env, "walrus").Text, "Nothing matches")
}

// Of a long line the part around the word is shown, wherever in it that stands.
func TestWordsFarInALongLine(t *testing.T) {
	far := strings.Repeat("hay ", 60_000) + "a needle here " + strings.Repeat("hay ", 1000)
	env := folder(t, map[string]string{"long.json": far, "words.txt": strings.Repeat("x", 200_000) + " needle"})
	r := run(t, newSearcher(t, Config{}).Commands()[0], env, "needle")
	assert.Contains(t, r.Text, "a needle here")
	assert.Equal(t, 2, strings.Count(r.Text, "…"+"hay")+strings.Count(r.Text, "…x"), r.Text)
}
