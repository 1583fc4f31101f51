package stock

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
)

func TestWriterEdits(t *testing.T) {
	const text = "one\ntwo\nthree\ntwo\n"
	for _, tt := range []struct {
		name  string
		file  string // its text before
		entry map[string]any
		want  string // its text after
		says  string
	}{
		{"a word", text, map[string]any{"old": "three", "text": "3"}, "one\ntwo\n3\ntwo\n", "-three\n+3"},
		{"a line of a block", text, map[string]any{"old": "three\n", "text": "3\n"}, "one\ntwo\n3\ntwo\n", "+1 -1 lines"},
		{"last line of a block without an end in the file", "a\nb", map[string]any{"old": "b\n", "text": "c\n"}, "a\nc", "-b"},
		{"other names", text, map[string]any{"search": "one", "replace": "1"}, "1\ntwo\nthree\ntwo\n", "-one\n+1"},
		{"old_str and new_str", text, map[string]any{"old_str": "one\ntwo", "new_str": "1"}, "1\nthree\ntwo\n", "-one\n-two\n+1"},
		{"take away", text, map[string]any{"old": "one\n", "text": ""}, "two\nthree\ntwo\n", "-one"},
		{"twice", text, map[string]any{"old": "two", "text": "2"}, text, "has this text 2 times (lines 2, 4), so nothing was changed. Give more of the lines around it."},
		{"all", text, map[string]any{"old": "two", "text": "2", "all": "yes"}, "one\n2\nthree\n2\n", "+2 -2 lines"},
		{"not there", text, map[string]any{"old": "thre e", "text": "3"}, text, "does not have this text, so nothing was changed. Line 3 is the most like it:\nthree"},
		{"nothing like it", text, map[string]any{"old": "zzzzzzzzzzzz", "text": "3"}, text, "f.txt does not have this text, so nothing was changed."},
		{"no new text", text, map[string]any{"old": "one"}, text, `Give what comes into f.txt instead as "text".`},
		{"several", text, map[string]any{"edits": []any{map[string]any{"old": "one", "new": "1"}, map[string]any{"old": "1\ntwo", "new": "2"}}}, "2\nthree\ntwo\n", "+1 -2 lines"},
		{"several, one fails", text, map[string]any{"edits": []any{map[string]any{"old": "one", "new": "1"}, map[string]any{"old": "one", "new": "2"}}}, text, "does not have this text"},
		{"several, one without old", text, map[string]any{"edits": []any{"x"}}, text, `Give what each edit of f.txt replaces as "old".`},
		{"too many", text, map[string]any{"edits": make([]any, editsMax+1)}, text, "as \"old\""},
		{"fenced", text, map[string]any{"old": "```\nthree\n```", "text": "```\n3\n```"}, "one\ntwo\n3\ntwo\n", "-three\n+3"},
		{"append", text, map[string]any{"text": "four\n", "append": true}, text + "four\n", "+four"},
		{"append by word", "a", map[string]any{"text": "b", "append": "yes"}, "a\nb", "+b"},
		{"append by mode", "a\n", map[string]any{"text": "b\n", "mode": "append"}, "a\nb\n", "+b"},
		{"append no", "a\n", map[string]any{"text": "b\n", "append": "no"}, "b\n", "-a\n+b"},
		{"line ends stay", "a\r\nb\r\n", map[string]any{"old": "a\nb\n", "text": "c\nd\n"}, "c\r\nd\r\n", "Changed"},
		{"line ends stay at the end", "a\r\n", map[string]any{"text": "b\n", "append": true}, "a\r\nb\r\n", "Changed"},
		{"mixed line ends are as given", "a\r\nb\n", map[string]any{"text": "c\n", "append": true}, "a\r\nb\nc\n", "Changed"},
		{"byte order mark stays", "\ufeffa\n", map[string]any{"old": "a", "text": "b"}, "\ufeffb\n", "Changed"},
		{"mixed line ends", "a\r\nb\nc\r\n", map[string]any{"old": "a\nb", "text": "x\ny"}, "x\r\ny\nc\r\n", "-a"},
		{"mixed line ends, a line more", "a\nb\r\nc\n", map[string]any{"old": "b", "text": "b\nb"}, "a\nb\r\nb\r\nc\n", "+b"},
		{"mixed line ends, a line less", "a\nb\r\nc\n", map[string]any{"old": "b\nc", "text": "c"}, "a\nc\n", "-b"},
		{"mixed line ends, as a whole", "a\r\nb\nc\r\nd\n", map[string]any{"text": "a\nB\nc\nd\n"}, "a\r\nB\nc\r\nd\n", "+1 -1 lines"},
		{"line ends stay, as a whole", "a\r\nb\r\n", map[string]any{"text": "a\nc\n"}, "a\r\nc\r\n", "+1 -1 lines"},
		{"byte order mark stays, as a whole", "\ufeffa\nb\n", map[string]any{"text": "a\nc\n"}, "\ufeffa\nc\n", " a\n-b\n+c"},
		{"byte order mark and a diff", "\ufeffa\nb\n", map[string]any{"old": "b", "text": "c"}, "\ufeffa\nc\n", " a\n-b\n+c"},
		{"byte order mark, appended", "\ufeffa\n", map[string]any{"text": "b\n", "append": true}, "\ufeffa\nb\n", " a\n+b"},
		{"utf-16", "\xff\xfea\x00", map[string]any{"old": "a", "text": "b"}, "\xff\xfeb\x00", "now 1 line, 4 bytes (was 4 bytes)."},
		{"utf-16, as a whole", "\xff\xfea\x00\n\x00", map[string]any{"text": "é\n"}, "\xff\xfe\xe9\x00\n\x00", "-a\n+é"},
		{"utf-16, the other way round", "\xfe\xff\x00a\x00\n", map[string]any{"text": "b", "append": true}, "\xfe\xff\x00a\x00\n\x00b", "+b"},
		{"utf-16 without a mark", "a\x00b\x00c\x00d\x00", map[string]any{"old": "d", "text": "e"}, "a\x00b\x00c\x00e\x00", "+abce"},
		{"one bad byte", "Gr\u00f6\u00dfe\n\xff\nb\n", map[string]any{"old": "b", "text": "c"}, "Gr\u00f6\u00dfe\n\xff\nc\n", "-b\n+c"},
		{"not utf-8", "caf\xe9", map[string]any{"text": "b", "append": true}, "caf\xe9", "can only be written as a whole: it is not UTF-8"},
		{"binary", "\x00\x01", map[string]any{"old": "a", "text": "b"}, "\x00\x01", "is no text file"},
		{"binary as a whole", "\x00\x01", map[string]any{"text": "b\n"}, "b\n", "now 1 line, 2 bytes (was 2 bytes)."},
		{"unfinished", "", map[string]any{"text": "a\nb\n", command.FieldUnfinished: true}, "a\nb\n", "now ends with this line:\nb\nTo go on, write what comes after it with append: yes."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := workDir(t, map[string]string{"f.txt": tt.file})
			tt.entry["file"] = "f.txt"
			call := &command.Call{Content: []map[string]any{tt.entry}}
			_, err := Writer().(command.Previewer).Preview(context.Background(), env, call)
			require.NoError(t, err)
			assertFile(t, env, "f.txt", tt.file) // a preview changes nothing
			r := runCommand(t, Writer(), env, tt.entry)
			assert.Contains(t, r.Text, tt.says)
			assertFile(t, env, "f.txt", tt.want)
			assert.Equal(t, tt.want == tt.file, r.Failed)
		})
	}
}

func assertFile(t *testing.T, env *command.Env, name, want string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(env.WorkDir, name))
	require.NoError(t, err)
	assert.Equal(t, want, string(data))
}

func TestWriterWithoutAFile(t *testing.T) {
	env := workDir(t, map[string]string{"a.txt": "x"})
	r := runCommand(t, Writer(), env, map[string]any{"file": "b.txt", "old": "x", "text": "y"})
	assert.True(t, r.Failed)
	assert.Contains(t, r.Text, "b.txt: no such file. Did you mean a.txt?")
	r = runCommand(t, Writer(), env, map[string]any{"file": "b.txt", "append": true, "text": "y"})
	assert.Equal(t, "Created b.txt: 1 line, 1 byte.", r.Text)
}

func TestWriterPreview(t *testing.T) {
	env := workDir(t, map[string]string{"a.txt": "one\ntwo\n"})
	preview := func(entry map[string]any) string {
		text, err := Writer().(command.Previewer).Preview(context.Background(), env, &command.Call{Content: []map[string]any{entry}})
		require.NoError(t, err)
		return text
	}
	assert.Equal(t, "--- a/a.txt\n+++ b/a.txt\n@@ -1,2 +1,2 @@\n-one\n+1\n two", preview(map[string]any{"file": "a.txt", "old": "one", "text": "1"}))
	assert.Equal(t, "--- /dev/null\n+++ b/b.txt\n@@ -0,0 +1 @@\n+new", preview(map[string]any{"file": "b.txt", "text": "new\n"}))
	assert.Contains(t, preview(map[string]any{"file": "../b.txt", "text": "new\n"}), "only files inside the work dir")
	code, err := Python().(command.Previewer).Preview(context.Background(), env, &command.Call{Content: []map[string]any{{"code": "```python\nprint(1)\n```"}}})
	require.NoError(t, err)
	assert.Equal(t, "print(1)", code)
}

// Who decides sees all that would run or be written, however long it is and
// wherever it stands.
func TestPreviewsAreWhole(t *testing.T) {
	const hidden = "open('data.csv', 'w').close()"
	far := "x = 1" + strings.Repeat(" ", 5000) + "; " + hidden
	deep := strings.Repeat("x = 1\n", 5000) + hidden
	big := strings.Repeat("line\n", diffBytesMax/4)
	env := workDir(t, map[string]string{"a.txt": "one\n", "big.txt": big, "data.bin": "\x00\x01", "wide.txt": "caf\xe9\n"})
	entry := func(fields ...string) map[string]any {
		out := map[string]any{}
		for i := 0; i < len(fields); i += 2 {
			out[fields[i]] = fields[i+1]
		}
		return out
	}
	for _, tt := range []struct {
		name    string
		command command.Command
		content []map[string]any
		want    []string
	}{
		{"code behind spaces", Python(), []map[string]any{entry("code", far)}, []string{far}},
		{"code behind code", Python(), []map[string]any{entry("code", deep)}, []string{deep}},
		{"code of two entries", Python(), []map[string]any{entry("code", "1"), entry("code", hidden)}, []string{"1\n" + hidden}},
		{"text behind spaces", Writer(), []map[string]any{entry("file", "new.py", "text", far)}, []string{"\n+" + far}},
		{"text behind text", Writer(), []map[string]any{entry("file", "new.py", "text", deep)}, []string{"\n+" + hidden}},
		{"beside a binary file", Writer(), []map[string]any{entry("file", "a.txt", "text", "1\n"), entry("file", "data.bin", "text", hidden)},
			[]string{"-one\n+1", "--- a/data.bin (its 2 bytes are not shown; all of it is replaced)\n+++ b/data.bin\n", "\n+" + hidden}},
		{"in a large file", Writer(), []map[string]any{entry("file", "a.txt", "text", "1\n"), entry("file", "big.txt", "text", hidden, "append", "yes")},
			[]string{"-one\n+1", "--- a/big.txt\n+++ b/big.txt\n@@ from line 262145: 0 lines become 1 line @@\n+" + hidden}},
		{"only other bytes", Writer(), []map[string]any{entry("file", "wide.txt", "text", "café\n")}, []string{"+++ b/wide.txt\n@@"}},
		{"an edit of what an entry before writes", Writer(), []map[string]any{entry("file", "a.txt", "text", "two\n"), entry("file", "./a.txt", "old", "two", "text", hidden)},
			[]string{"-one\n+two", "-two\n+" + hidden}},
		{"an edit of what an entry before makes", Writer(), []map[string]any{entry("file", "c.txt", "text", "two\n"), entry("file", "c.txt", "old", "two", "text", hidden)},
			[]string{"/dev/null", "-two\n+" + hidden}},
		{"the end of an address", Reader(), []map[string]any{entry("file", "https://example.org/?q="+strings.Repeat("x", 500)+"secret")}, []string{"xsecret"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, err := tt.command.(command.Previewer).Preview(context.Background(), env, &command.Call{Content: tt.content})
			require.NoError(t, err)
			for _, want := range tt.want {
				assert.True(t, strings.Contains(text, want), "%q is not in %.300q", want, text)
			}
		})
	}
	assertFile(t, env, "a.txt", "one\n")
	text, err := Writer().(command.Previewer).Preview(context.Background(), env, &command.Call{Content: []map[string]any{entry("file", "a.txt", "text", "one\n")}})
	require.NoError(t, err)
	assert.Empty(t, text, "nothing would change")
}

func TestDiffsAreBounded(t *testing.T) {
	old := strings.Repeat("a\n", 5000)
	env := workDir(t, map[string]string{"f.txt": old, "huge.txt": strings.Repeat("x\n", diffBytesMax)})
	r := runCommand(t, Writer(), env, map[string]any{"file": "f.txt", "text": strings.ReplaceAll(old, "a", "b")})
	assert.Less(t, len(r.Text), diffShownMax+500)
	assert.Regexp(t, `\n\[\d+ more lines of changes\]$`, r.Text)
	r = runCommand(t, Writer(), env, map[string]any{"file": "huge.txt", "text": "y\n"})
	assert.NotContains(t, r.Text, "@@")
	env.Limits.FileBytes = 1000
	r = runCommand(t, Writer(), env, map[string]any{"file": "huge.txt", "text": "z\n"})
	assert.Contains(t, r.Text, "Changed huge.txt: +1 -1 lines")
	require.NoError(t, os.WriteFile(filepath.Join(env.WorkDir, "huge.txt"), make([]byte, 2000), 0o644))
	r = runCommand(t, Writer(), env, map[string]any{"file": "huge.txt", "text": "z\n"})
	assert.Equal(t, "Changed huge.txt: now 1 line, 2 bytes (was 2000 bytes).", r.Text)
	r = runCommand(t, Writer(), env, map[string]any{"file": "f.txt", "append": true, "text": "z\n"})
	assert.Equal(t, "f.txt can only be written as a whole (10 KB).", r.Text)
}

// An edit never writes anything but the file with exactly that piece changed.
func FuzzEdit(f *testing.F) {
	f.Add("one\ntwo\n", "two", "2")
	f.Add("a\r\nb", "b\n", "")
	f.Add("aaa", "aa", "a")
	f.Fuzz(func(t *testing.T, text, old, new string) {
		c := &fileChange{path: "f.txt"}
		c.read([]byte(text))
		e := replacement{old: old, new: new}
		if old == "" || c.binary || c.encoding != "" {
			return
		}
		out, problem := e.apply("f.txt", c.old)
		if problem != nil {
			assert.True(t, problem.Failed)
			assert.Empty(t, out)
			return
		}
		at := strings.Index(c.old, old)
		if at < 0 {
			old, new = withoutLastLineEnd(old), withoutLastLineEnd(new)
			at = strings.Index(c.old, old)
		}
		assert.Equal(t, c.old[:at]+new+c.old[at+len(old):], out)
	})
}

func TestBoolField(t *testing.T) {
	for value, want := range map[any][2]bool{true: {true, true}, false: {false, true}, "Yes ": {true, true}, "0": {false, true}, "maybe": {false, false}, json.Number("1"): {true, true}} {
		got, ok := command.YesNoOf(map[string]any{"x": value}, "y", "x")
		assert.Equal(t, want, [2]bool{got, ok}, "%v", value)
	}
}

// TestWriterMakesNoRepository: not file by file either, nor by way of a link.
func TestWriterMakesNoRepository(t *testing.T) {
	env := workDir(t, map[string]string{"tools/a.py": "x\n"})
	require.NoError(t, os.Symlink("tools", filepath.Join(env.WorkDir, "commands")))
	for _, order := range [][]string{
		{"store/HEAD", "store/objects/info/x", "store/refs/heads/main"},
		{"store/refs/heads/main", "store/objects/info/x", "store/HEAD"},
		{"store/objects/x", "store/head", "store/REFS/x", "store/config"},
		{"other/commondir", "other/HEAD"},
	} {
		failed := false
		for _, name := range order {
			r := runCommand(t, Writer(), env, map[string]any{"file": name, "text": "x\n"})
			failed = failed || r.Failed
		}
		assert.True(t, failed, order)
		require.NoError(t, os.RemoveAll(filepath.Join(env.WorkDir, "store")))
	}
	for _, name := range []string{"tools/a.py", "tools/new.py", "commands/new.py"} {
		r := runCommand(t, Writer(), env, map[string]any{"file": name, "text": "y\n"})
		assert.True(t, r.Failed, name)
	}
}
