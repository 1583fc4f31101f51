package stock

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
)

func layFiles(t *testing.T, files map[string]string) *command.Env {
	t.Helper()
	env := &command.Env{WorkDir: t.TempDir()}
	for name, text := range files {
		path := filepath.Join(env.WorkDir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return env
}

func fileOf(t *testing.T, env *command.Env, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(env.WorkDir, name))
	require.NoError(t, err)
	return string(data)
}

func replaceEntry(old, text, files string) map[string]any {
	return map[string]any{"old": old, "new": text, "files": files}
}

// A text is replaced in the files that are meant, and in no other.
func TestReplace(t *testing.T) {
	files := map[string]string{
		"a.py": "area(1) + double_area(2)\r\narea\r\n", "sub/b.py": "area", "sub/c.txt": "The area.", "d.bin": "area\x00",
		".git/config": "area", ".hidden": "area", "e.py": "nothing",
	}
	inside := replaceEntry("area", "size", "a.py")
	inside["inside"] = true
	for name, tc := range map[string]struct {
		entry   map[string]any
		changed map[string]string // nil: refused
		says    string
	}{
		"by ending": {replaceEntry("area", "size", "*.py"),
			map[string]string{"a.py": "size(1) + double_area(2)\r\nsize\r\n", "sub/b.py": "size"},
			"Replaced 3 in 2 files:\na.py: 2\nsub/b.py: 1\n1 more stand inside longer words"},
		"inside words":  {inside, map[string]string{"a.py": "size(1) + double_size(2)\r\nsize\r\n"}, "Replaced 3 in 1 file:\na.py: 3"},
		"a folder":      {replaceEntry("area", "size", "sub"), map[string]string{"sub/b.py": "size", "sub/c.txt": "The size."}, "in 2 files"},
		"several names": {replaceEntry("area", "", "sub/b.py, ./sub/c.txt"), map[string]string{"sub/b.py": "", "sub/c.txt": "The ."}, "in 2 files"},
		"all": {replaceEntry("area", "$1", "**"),
			map[string]string{"a.py": "$1(1) + double_area(2)\r\n$1\r\n", "sub/b.py": "$1", "sub/c.txt": "The $1."}, "in 3 files"},
		"no word":      {replaceEntry("(1)", "[1]", "*"), map[string]string{"a.py": "area[1] + double_area(2)\r\narea\r\n"}, "in 1 file"},
		"nothing":      {replaceEntry("zone", "x", "*.py"), nil, "zone stands in none of the 3 files like *.py"},
		"outside":      {replaceEntry("area", "x", "../*"), nil, "Nothing was changed"},
		"no pattern":   {replaceEntry("area", "x", "[a"), nil, "[a is no pattern"},
		"no files":     {map[string]any{"old": "area", "new": "x"}, nil, "in which files"},
		"the same":     {replaceEntry("area", "area", "*"), nil, "in which files"},
		"a repository": {replaceEntry("area", "x", ".git/*"), nil, "Nothing was changed"},
		"no new text":  {map[string]any{"old": "area", "files": "*"}, nil, "in which files"},
	} {
		t.Run(name, func(t *testing.T) {
			env := layFiles(t, files)
			call := &command.Call{Command: "replace", Content: []map[string]any{tc.entry}}
			preview, err := Replace().(command.Previewer).Preview(t.Context(), env, call)
			require.NoError(t, err)
			for file, text := range files {
				require.Equal(t, text, fileOf(t, env, file), "a preview changes nothing")
			}
			res := runCommand(t, Replace(), env, tc.entry)
			assert.Contains(t, res.Text, tc.says)
			assert.Equal(t, tc.changed == nil, res.Failed)
			assert.Len(t, res.Files, len(tc.changed))
			for file, text := range files {
				if now, ok := tc.changed[file]; ok {
					text = now
					assert.Contains(t, preview, "+++ b/"+file)
				}
				assert.Equal(t, text, fileOf(t, env, file), file)
			}
		})
	}
}

// What a rule keeps from the command stays as it is.
func TestReplaceLeavesWhatIsWithheld(t *testing.T) {
	env := layFiles(t, map[string]string{"a.txt": "x", "secret/b.txt": "x"})
	env.Withheld = func(name, path string) bool { return name == "replace" && path == "secret/b.txt" }
	res := runCommand(t, Replace(), env, replaceEntry("x", "y", "**"))
	assert.Equal(t, []string{"a.txt"}, res.Files)
	assert.Equal(t, "x", fileOf(t, env, "secret/b.txt"))
}

// Lines are replaced by their numbers, as long as they are what was chosen.
func TestEditOfLines(t *testing.T) {
	const text = "one\n  two\nthree\nfour"
	entry := func(first, last, text any) map[string]any {
		return map[string]any{"file": "a.txt", "first": first, "last": last, "text": text}
	}
	elsewhere := func(file string) map[string]any {
		return map[string]any{"file": file, "first": "2", "last": "2", "text": "x"}
	}
	for name, tc := range map[string]struct {
		entry map[string]any
		want  string // empty: refused
	}{
		"one line":         {entry("2:   two", "2:   two", "  2\n"), "one\n  2\nthree\nfour"},
		"numbers alone":    {entry(2.0, 3.0, "2"), "one\n2\nfour"},
		"to the end":       {entry("4", "4", "4"), "one\n  two\nthree\n4"},
		"taken out":        {entry("1", "3", ""), "four"},
		"more lines":       {entry("1: one", "1: one", "one\none and a half\n"), "one\none and a half\n  two\nthree\nfour"},
		"changed meantime": {entry("2: zwei", "2: zwei", "2"), ""},
		"no such line":     {entry("9", "9", "9"), ""},
		"turned round":     {entry("3", "2", "x"), ""},
		"no line":          {entry("two", "two", "x"), ""},
		"no text":          {map[string]any{"file": "a.txt", "first": "2", "last": "2"}, ""},
		"no file":          {elsewhere("b.txt"), ""},
		"outside":          {elsewhere("../b.txt"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			env := layFiles(t, map[string]string{"a.txt": text})
			res := runCommand(t, Edit(), env, tc.entry)
			assert.Equal(t, tc.want == "", res.Failed, res.Text)
			want := tc.want
			if want == "" {
				want = text
			}
			assert.Equal(t, want, fileOf(t, env, "a.txt"))
		})
	}
}
