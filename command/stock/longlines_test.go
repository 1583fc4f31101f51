package stock

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
)

// oneLine200k is a file of one long line, with a fact in the middle of it.
func oneLine200k(fact string) string {
	var b strings.Builder
	for i := 0; b.Len() < 200_000; i++ {
		fmt.Fprintf(&b, `{"id":%d,"größe":"filler"}, `, i)
		if i == 4000 {
			b.WriteString(fact)
		}
	}
	return "[" + b.String() + "]"
}

// numbers is a text of so many bytes without spaces, in which nothing is twice.
func numbers(mark string, n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n+10; i++ {
		fmt.Fprintf(&b, "%s%d", mark, i)
	}
	return b.String()[:runeStart(b.String(), n)]
}

// Every byte of a long line is in some piece, and what a cut falls on is whole
// in the next one.
func TestChunksOfLongLines(t *testing.T) {
	const size = 1000
	long := oneLine200k(`{"harbour":1907}`)
	for name, lines := range map[string][]string{
		"one line":       {long},
		"between others": {"short", "", long, "another", numbers("x", 3*size), "end"},
		"no spaces":      {numbers("ä", 10*size)},
		"just full":      {numbers("x", size), numbers("y", size+1), "z"},
	} {
		t.Run(name, func(t *testing.T) {
			chunks, rest := (&paper{each: eachOf(lines)}).chunks(1, len(lines), size)
			assert.Zero(t, rest)
			covered := make([]int, len(lines)) // bytes of each line that were seen so far
			for _, c := range chunks {
				require.LessOrEqual(t, len(c.text), size)
				require.True(t, utf8.ValidString(c.text))
				parts := strings.Split(c.text, "\n")
				require.Len(t, parts, c.to-c.from+1)
				for i, part := range parts {
					n := c.from - 1 + i
					at := strings.Index(lines[n][max(0, covered[n]-chunkOverlapBytes-utf8.UTFMax):], part)
					require.GreaterOrEqual(t, at, 0, "%.50q is a piece of line %d, and none is left out before it", part, n+1)
					covered[n] = max(covered[n], max(0, covered[n]-chunkOverlapBytes-utf8.UTFMax)+at+len(part))
				}
			}
			for n, line := range lines {
				assert.Equal(t, len(line), covered[n], "line %d", n+1)
			}
		})
	}
}

// Of a text that is enormous it is said up to where it was looked at.
func TestChunksOfAnEnormousText(t *testing.T) {
	half := strings.Repeat("x", extractBytesMax/2)
	for _, tt := range []struct {
		name  string
		lines []string
		want  unread
	}{
		{"in one line", []string{half + half + "y"}, unread{1, true}},
		{"in a later line", []string{"a", half, half + "y", "b"}, unread{3, true}},
		{"between lines", []string{half, half, "b"}, unread{3, false}},
		{"not at all", []string{half, half}, unread{}},
	} {
		chunks, rest := (&paper{each: eachOf(tt.lines)}).chunks(1, len(tt.lines), 1<<20)
		assert.Equal(t, tt.want, rest, tt.name)
		assert.NotEmpty(t, chunks)
	}
}

// What stands in the middle of a long line is found, whether the file is held or
// read in pieces.
func TestReaderExtractsFromLongLines(t *testing.T) {
	env := workDir(t, map[string]string{"a.json": oneLine200k(`{"harbour":"opened in 1907"}`)})
	env.AskBytesMax = 6000
	env.Ask = func(_ context.Context, prompt string, _ int) (string, error) {
		assert.LessOrEqual(t, len(prompt), env.AskBytesMax)
		assert.True(t, utf8.ValidString(prompt))
		if strings.Contains(prompt, "opened in 1907") {
			return "in 1907", nil
		}
		return "nothing", nil
	}
	for _, max := range []int64{0, 10_000} { // the default, and one that the file is larger than
		env.Limits.FileBytes = max
		r := runCommand(t, Reader(), env, map[string]any{"file": "a.json", "extract": "When was the harbour opened?"})
		assert.Contains(t, r.Text, "lines 1-1: in 1907")
	}
}

var leftOutPattern = regexp.MustCompile(`\[… (\d+) bytes left out …\]`)

// A match in a long line is shown, and each byte that is not is counted.
func TestReaderFindsInLongLines(t *testing.T) {
	far := func(n int) string { return strings.Repeat("größe ", n/8) }
	line := far(100_000) + "The Needle is here" + far(50_000) + "and the THREAD there" + far(100_000)
	torn := strings.Repeat("x", lineBytesMax-3) + "needle" + strings.Repeat("y", 2*lineBytesMax)
	env := workDir(t, map[string]string{
		"long.txt": "first\n" + line + "\n" + far(30_000) + "\nlast\n", "torn.txt": torn + "\r\n", "many.txt": strings.Repeat(line+"\n", 3),
		"short.txt": "a needle\n", "kelvin.txt": strings.Repeat("\u212a", 30_000) + "needle" + strings.Repeat("\u0130", 30_000),
	})
	for _, fileBytes := range []int64{0, 1000} { // held, and read in pieces
		for _, tt := range []struct {
			name, file, find string
			want             []string
			lines            string // of the file, as far as they are shown
			cut              bool
		}{
			{"a phrase", "long.txt", "the needle is", []string{"\n1: first\n2: [… ", "The Needle is here", " bytes left out …]\n3: größe ", "\n4: last"}, "first\n" + line + "\n" + far(30_000) + "\nlast", true},
			{"words far apart", "long.txt", "needle thread", []string{"The Needle is here", "and the THREAD there"}, "first\n" + line + "\n" + far(30_000) + "\nlast", true},
			{"beside the match", "long.txt", "last", []string{"\n2: größe ", "\n3: größe ", "\n4: last"}, line + "\n" + far(30_000) + "\nlast", true},
			{"where the file is torn", "torn.txt", "NEEDLE", []string{"xneedley"}, torn, true},
			{"among characters of another size in lower case", "kelvin.txt", "needle", []string{"\u212aneedle\u0130"}, "", true},
			{"several", "many.txt", "needle", []string{"Needle", "[3 lines match; the first "}, "", true},
			{"a short line", "short.txt", "needle", []string{"\n1: a needle"}, "a needle", false},
		} {
			t.Run(fmt.Sprintf("%s, %d", tt.name, fileBytes), func(t *testing.T) {
				env.Limits = command.Limits{FileBytes: fileBytes, OutputBytes: 3000}
				r := runCommand(t, Reader(), env, map[string]any{"file": tt.file, "find": tt.find})
				for _, want := range tt.want {
					assert.Contains(t, r.Text, want)
				}
				assert.Equal(t, tt.cut, r.Truncated)
				assert.Less(t, len(r.Text), 3600)
				assert.True(t, utf8.ValidString(r.Text))
				if tt.lines != "" {
					assert.Equal(t, len(tt.lines), bytesAccounted(t, r.Text))
				}
			})
		}
	}
}

// bytesAccounted is how many bytes of the file a result shows or says that it
// leaves out.
func bytesAccounted(t *testing.T, text string) int {
	t.Helper()
	_, text, _ = strings.Cut(text, "\n")
	sum := 0
	for _, m := range leftOutPattern.FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		sum += n
	}
	text = leftOutPattern.ReplaceAllString(text, "")
	return sum + len(regexp.MustCompile(`(?m)^\d+: `).ReplaceAllString(text, ""))
}

// What is saved is all of what was asked for, or nothing, and that is said.
func TestReaderSavesAllOrNothing(t *testing.T) {
	long := "first\n" + strings.Repeat("é", lineBytesMax) + "\n\n" + strings.Repeat("x", lineBytesMax) + "\r\nlast"
	env := workDir(t, map[string]string{"a.log": long, "b.log": strings.Repeat("0123456789\n", 1000), "c.log": strings.Repeat("x", 20_000)})
	r := reading{ctx: context.Background(), env: env, limits: command.Limits{FileBytes: 1000}}
	open := func() (fs.File, error) { return os.Open(filepath.Join(env.WorkDir, "a.log")) }
	p, problem, err := r.openLarge(&source{name: "a.log", size: int64(len(long)), open: open})
	require.NoError(t, err)
	require.Nil(t, problem)
	text, whole := p.text(1, p.total, 1<<20)
	assert.True(t, whole)
	assert.True(t, strings.ReplaceAll(long, "\r\n", "\n")+"\n" == text, "lines longer than what is held at once are whole")

	for _, tt := range []struct {
		name  string
		max   int64
		entry map[string]any
		want  string
		saved string // empty: nothing is
	}{
		{"all", 11_000, map[string]any{"file": "b.log"}, "What was read of b.log is kept. Created out.txt: 1000 lines", strings.Repeat("0123456789\n", 1000)},
		{"too much", 10_999, map[string]any{"file": "b.log"}, "b.log was not kept in out.txt: that would be more than the 10 KB that can be written. Nothing was written.", ""},
		{"a part of it", 10_999, map[string]any{"file": "b.log", "lines": "1-999"}, "is kept", strings.Repeat("0123456789\n", 999)},
		{"one line that is too long", 10_999, map[string]any{"file": "c.log"}, "c.log was not kept in out.txt", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env.Limits.FileBytes = tt.max
			tt.entry["save_as"] = "out.txt"
			r := runCommand(t, Reader(), env, tt.entry)
			assert.Contains(t, r.Text, tt.want)
			assert.Equal(t, tt.saved == "", r.Failed)
			if tt.saved == "" {
				assert.NoFileExists(t, filepath.Join(env.WorkDir, "out.txt"))
				return
			}
			assertFile(t, env, "out.txt", tt.saved)
			require.NoError(t, os.Remove(filepath.Join(env.WorkDir, "out.txt")))
		})
	}
}
