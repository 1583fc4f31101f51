package stock

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
	"agent/internal/legible"
)

// workDir makes a folder with files; a name that ends in / is a folder.
func workDir(t *testing.T, files map[string]string) *command.Env {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			require.NoError(t, os.MkdirAll(path, 0o755))
			continue
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return &command.Env{WorkDir: dir}
}

func runCommand(t *testing.T, c command.Command, env *command.Env, content ...map[string]any) *command.Result {
	t.Helper()
	r, err := c.Run(context.Background(), env, &command.Call{Command: c.Spec().Name, Content: content})
	require.NoError(t, err)
	return r
}

func TestReader(t *testing.T) {
	long := strings.Repeat("é123456789\n", 100)
	env := workDir(t, map[string]string{
		"a.txt": "one\ntwo\nthree\n", "empty.txt": "", "long.txt": long, "sub/b.txt": "x", ".hidden": "h",
		"bin.dat": "PNG\x00\x01\x02", "latin.txt": "caf\xe9\n", "utf16.txt": "\xff\xfeh\x00i\x00", "bom.txt": "\xef\xbb\xbfhi\n",
		"wide.txt": strings.Repeat("é", 5000), "crlf.txt": "a\r\nb\r\n",
	})
	env.Limits.OutputBytes = 200
	tests := []struct {
		name   string
		entry  map[string]any
		want   string
		failed bool
	}{
		{"whole", map[string]any{"file": "a.txt"}, "a.txt (3 lines, 14 bytes):\none\ntwo\nthree", false},
		{"other key", map[string]any{"filename": "./a.txt"}, "a.txt (3 lines, 14 bytes):\none\ntwo\nthree", false},
		{"absolute", map[string]any{"file": filepath.Join(env.WorkDir, "a.txt"), "lines": "2"}, "a.txt, lines 2-2 of 3 lines:\ntwo", false},
		{"file url", map[string]any{"url": "file://" + env.WorkDir + "/sub/b.txt"}, "sub/b.txt (1 line, 1 byte):\nx", false},
		{"range", map[string]any{"file": "a.txt", "lines": "2-9"}, "a.txt, lines 2-3 of 3 lines:\ntwo\nthree", false},
		{"range as number", map[string]any{"file": "a.txt", "line": json.Number("3")}, "a.txt, lines 3-3 of 3 lines:\nthree", false},
		{"bad range", map[string]any{"file": "a.txt", "lines": "9-12"}, "a.txt has 3 lines; there is no line range 9-12. Write it like 10-40.", true},
		{"find", map[string]any{"file": "a.txt", "find": "TWO"}, "a.txt (3 lines, 14 bytes):\n1: one\n2: two\n3: three", false},
		{"find nothing", map[string]any{"file": "a.txt", "find": "zzz"}, "a.txt: nothing matches \"zzz\" in its 3 lines.\na.txt (3 lines, 14 bytes):\none\ntwo\nthree", false},
		{"empty", map[string]any{"file": "empty.txt"}, "empty.txt (0 lines, 0 bytes):", false},
		{"long", map[string]any{"file": "long.txt"}, "long.txt (100 lines, 1200 bytes):\n" + strings.Repeat("é123456789\n", 16) + "[84 lines (1008 bytes) left out; read lines 17-100 for the rest]", false},
		{"one long line", map[string]any{"file": "wide.txt"}, "wide.txt (1 line, 10 KB):\n" + strings.Repeat("é", 100) + "\n[9800 bytes of line 1 left out; read lines 1@200 for the rest]", false},
		{"crlf", map[string]any{"file": "crlf.txt"}, "crlf.txt (2 lines, 6 bytes):\na\nb", false},
		{"latin", map[string]any{"file": "latin.txt"}, "latin.txt (1 line, 5 bytes), not UTF-8, read as Windows-1252, which is a guess:\ncafé", false},
		{"utf16", map[string]any{"file": "utf16.txt"}, "utf16.txt (1 line, 6 bytes), UTF-16:\nhi", false},
		{"bom", map[string]any{"file": "bom.txt"}, "bom.txt (1 line, 6 bytes):\nhi", false},
		{"binary", map[string]any{"file": "bin.dat"}, `bin.dat is no text file (6 bytes, starts with "PNG\x00\x01\x02"). Use python to read it.`, true},
		{"folder", map[string]any{"file": "sub"}, "sub is a folder with 1 file:\nsub/b.txt (1 byte): x", false},
		{"outside", map[string]any{"file": "../x"}, "../x: only files inside the work dir are allowed. Use a relative path.", true},
		{"absolute outside", map[string]any{"file": "/etc/passwd"}, "/etc/passwd: only files inside the work dir are allowed. Use a relative path.", true},
		{"file url outside", map[string]any{"file": "file:///etc/passwd"}, "file:///etc/passwd: only files inside the work dir are allowed. Use a relative path.", true},
		{"web", map[string]any{"file": "https://example.org"}, "https://example.org: pages of the web can't be read in this run.", true},
		{"no file named", map[string]any{"x": "y"}, `Say which file: {"file": "..."}.`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := runCommand(t, Reader(), env, tt.entry)
			assert.Equal(t, tt.want, r.Text)
			assert.Equal(t, tt.failed, r.Failed)
			assert.True(t, utf8.ValidString(r.Text))
			assert.Equal(t, strings.Contains(r.Text, "left out"), r.Truncated)
		})
	}
	t.Run("missing", func(t *testing.T) {
		r := runCommand(t, Reader(), env, map[string]any{"file": "b.txt"})
		assert.True(t, r.Failed)
		assert.Contains(t, r.Text, "b.txt: no such file. Did you mean a.txt? Files here: a.txt, bin.dat, bom.txt")
		assert.NotContains(t, r.Text, ".hidden")
	})
	t.Run("several", func(t *testing.T) {
		r := runCommand(t, Reader(), env, map[string]any{"file": "a.txt"}, map[string]any{"file": "sub/b.txt"})
		assert.Equal(t, "a.txt (3 lines, 14 bytes):\none\ntwo\nthree\n\nsub/b.txt (1 line, 1 byte):\nx", r.Text)
	})
}

func TestReaderFindsAround(t *testing.T) {
	var text strings.Builder
	for i := 1; i <= 100; i++ {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	env := workDir(t, map[string]string{"a.txt": text.String() + "the refund was late\n"})
	r := runCommand(t, Reader(), env, map[string]any{"file": "a.txt", "find": "line 5"})
	assert.Contains(t, r.Text, "\n3: line 3\n4: line 4\n5: line 5\n6: line 6\n7: line 7\n...\n48: line 48\n")
	r = runCommand(t, Reader(), env, map[string]any{"file": "a.txt", "extract": "late refund"})
	assert.Contains(t, r.Text, "\n99: line 99\n100: line 100\n101: the refund was late")
	r = runCommand(t, Reader(), env, map[string]any{"file": "a.txt", "find": "line"})
	assert.Contains(t, r.Text, "[100 lines match; the first 20 are shown]")
	assert.True(t, r.Truncated)
}

func TestLinksDoNotLeadOut(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs symbolic links, which Windows grants to few")
	}
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret.txt")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o644))
	env := workDir(t, map[string]string{"real.txt": "old", "sub/": ""})
	for name, target := range map[string]string{"file": secret, "folder": outside, "inside": "real.txt", "nowhere": filepath.Join(outside, "new.txt")} {
		require.NoError(t, os.Symlink(target, filepath.Join(env.WorkDir, name)))
	}
	for _, name := range []string{"file", "folder/secret.txt", "folder", "nowhere"} {
		r := runCommand(t, Reader(), env, map[string]any{"file": name})
		assert.True(t, r.Failed, name)
		assert.NotContains(t, r.Text, "secret\n", name)
		r = runCommand(t, Writer(), env, map[string]any{"file": name, "text": "changed"})
		assert.True(t, r.Failed, name)
	}
	left, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Len(t, left, 1)
	data, err := os.ReadFile(secret)
	require.NoError(t, err)
	assert.Equal(t, "secret", string(data))

	r := runCommand(t, Writer(), env, map[string]any{"file": "inside", "text": "new"})
	assert.False(t, r.Failed, r.Text)
	data, err = os.ReadFile(filepath.Join(env.WorkDir, "real.txt"))
	require.NoError(t, err)
	assert.Equal(t, "new", string(data), "a link within the work dir is followed")
}

func TestWriter(t *testing.T) {
	env := workDir(t, map[string]string{"a.txt": "one\ntwo\n", "sub/": "", "run.sh": "#!/bin/sh\n"})
	require.NoError(t, os.Chmod(filepath.Join(env.WorkDir, "run.sh"), 0o755))
	tests := []struct {
		name  string
		entry map[string]any
		want  string
		file  string // then has text
		text  string
	}{
		{"new", map[string]any{"file": "new.txt", "text": "hello\n"}, "Created new.txt: 1 line, 6 bytes.", "new.txt", "hello\n"},
		{"new folder", map[string]any{"path": "x/y/z.txt", "content": "z"}, "Created x/y/z.txt: 1 line, 1 byte.", "x/y/z.txt", "z"},
		{"change", map[string]any{"file": "a.txt", "text": "one\n2\nthree\n"}, "Changed a.txt: +2 -1 lines, now 3 lines, 12 bytes (was 8 bytes).\n@@ -1,2 +1,3 @@\n one\n-two\n+2\n+three", "a.txt", "one\n2\nthree\n"},
		{"same", map[string]any{"file": "a.txt", "text": "one\n2\nthree\n"}, "a.txt already had exactly this text (12 bytes). Nothing was written.", "a.txt", "one\n2\nthree\n"},
		{"lines", map[string]any{"file": "l.txt", "text": []any{"a", "b"}}, "Created l.txt: 2 lines, 3 bytes.", "l.txt", "a\nb"},
		{"json", map[string]any{"file": "d.json", "text": map[string]any{"a": json.Number("1.0")}}, "Created d.json: 3 lines, 15 bytes.", "d.json", "{\n  \"a\": 1.0\n}\n"},
		{"fences around code", map[string]any{"file": "p.py", "text": "```python\nprint(1)\n```"}, "Created p.py: 1 line, 9 bytes.", "p.py", "print(1)\n"},
		{"fences in markdown", map[string]any{"file": "p.md", "text": "```\nx\n```"}, "Created p.md: 3 lines, 9 bytes.", "p.md", "```\nx\n```"},
		{"empty text", map[string]any{"file": "e.txt", "text": ""}, "Created e.txt: 0 lines, 0 bytes.", "e.txt", ""},
		{"mode kept", map[string]any{"file": "run.sh", "text": "#!/bin/sh\nls\n"}, "Changed run.sh: +1 -0 lines, now 2 lines, 13 bytes (was 10 bytes).\n@@ -1 +1,2 @@\n #!/bin/sh\n+ls", "run.sh", "#!/bin/sh\nls\n"},
		{"folder", map[string]any{"file": "sub", "text": "x"}, "sub is a folder. Give the path of a file.", "", ""},
		{"below a file", map[string]any{"file": "a.txt/b", "text": "x"}, "a.txt/b was not written: not a directory.", "", ""},
		{"outside", map[string]any{"file": "../b", "text": "x"}, "../b: only files inside the work dir are allowed. Use a relative path.", "", ""},
		{"git hook", map[string]any{"file": ".git/hooks/pre-commit", "text": "x"}, ".git/hooks/pre-commit: not written: a repository, or what configures the agent, a shell or an editor, is only for a person to change. Use another name.", "", ""},
		{"no text", map[string]any{"file": "n.txt", "instruction": "write"}, `Give the text of n.txt as "text".`, "", ""},
		{"no file", map[string]any{"text": "x"}, `Say which file: {"file": "..."}.`, "", ""},
		{"too large", map[string]any{"file": "big", "text": strings.Repeat("x", 2000)}, "big has 2000 bytes, more than the 1000 bytes that can be written.", "", ""},
	}
	env.Limits.FileBytes = 1000
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := runCommand(t, Writer(), env, tt.entry)
			assert.Equal(t, tt.want, r.Text)
			assert.Equal(t, tt.file == "", r.Failed)
			if tt.file == "" {
				assert.Empty(t, r.Files)
				return
			}
			data, err := os.ReadFile(filepath.Join(env.WorkDir, tt.file))
			require.NoError(t, err)
			assert.Equal(t, tt.text, string(data))
		})
	}
	info, err := os.Stat(filepath.Join(env.WorkDir, "run.sh"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o755), info.Mode().Perm())
	leftovers, err := filepath.Glob(filepath.Join(env.WorkDir, ".agent-*"))
	require.NoError(t, err)
	assert.Empty(t, leftovers)
}

func TestAnswerAndThink(t *testing.T) {
	env := &command.Env{}
	r := runCommand(t, Answer(), env, map[string]any{"text": "42"}, map[string]any{"answer": "and more"})
	assert.Equal(t, "42\nand more", r.Answer)
	r = runCommand(t, Answer(), env, map[string]any{"total": json.Number("4"), "unit": "m"})
	assert.JSONEq(t, `{"total":4,"unit":"m"}`, r.Answer)
	r = runCommand(t, Answer(), env, map[string]any{"total": json.Number("4")})
	assert.Equal(t, "4", r.Answer)
	r = runCommand(t, Answer(), env)
	assert.True(t, r.Failed)
	assert.Empty(t, r.Answer)
	r = runCommand(t, Think(), env, map[string]any{"text": "hm"})
	assert.False(t, r.Failed)
	assert.NotEmpty(t, r.Text)
}

func TestCut(t *testing.T) {
	text := strings.Repeat("é", 100)
	for n := range len(text) + 2 {
		assert.True(t, utf8.ValidString(legible.Head(text, n)) && utf8.ValidString(legible.Tail(text, n)), n)
		assert.LessOrEqual(t, max(len(legible.Head(text, n)), len(legible.Tail(text, n))), n)
	}
	assert.Equal(t, "one\ntwo\n", legible.Head("one\ntwo\nthree", 9))
	assert.Equal(t, "three", legible.Tail("one\ntwo and four\nthree", 6))
}

func FuzzDecodeText(f *testing.F) {
	f.Add([]byte("\xff\xfeh\x00"))
	f.Add([]byte("caf\xe9"))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, _, ok := legible.Decode(data)
		assert.True(t, utf8.ValidString(text))
		if ok && utf8.Valid(data) && !bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
			assert.Equal(t, string(data), text)
		}
	})
}
