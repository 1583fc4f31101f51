package stock

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
)

// What a command takes for a file is a target, however it is written.
func TestTargets(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "private", "sub"), 0o755))
	require.NoError(t, os.Symlink("private", filepath.Join(dir, "link")))
	typed := command.Spec{Name: "typed", Slots: []command.Slot{{Name: "in_doc", Kind: command.SlotFile}, {Name: "note", Kind: command.SlotText}, {Name: "from", Kind: command.SlotLine}}}
	for _, tt := range []struct {
		name  string
		spec  command.Spec
		entry map[string]any
		want  command.Targets
	}{
		{"number", Writer().Spec(), map[string]any{"file": json.Number("2024"), "text": "x"}, command.Targets{Paths: []string{"2024"}}},
		{"number in a list", Writer().Spec(), map[string]any{"file": []any{json.Number("1"), "a"}}, command.Targets{Paths: []string{"1", "a"}}},
		{"number of another kind", Writer().Spec(), map[string]any{"file": 2024}, command.Targets{Paths: []string{"2024"}}},
		{"number to save in", Reader().Spec(), map[string]any{"file": "a", "save_as": json.Number("7")}, command.Targets{Paths: []string{"7", "a"}}},
		{"yes or no", typed, map[string]any{"in_doc": true}, command.Targets{Paths: []string{"true"}}},
		{"slot spelt otherwise", typed, map[string]any{"In-Doc": "a.txt", "note": "b.txt"}, command.Targets{Paths: []string{"a.txt"}}},
		{"URL in a line", typed, map[string]any{"from": "https://Example.org/x", "note": "https://other.org"}, command.Targets{Hosts: []string{"example.org"}}},
		{"nothing", typed, map[string]any{"in_doc": nil, "from": "x"}, command.Targets{}},
		{"outside", Reader().Spec(), map[string]any{"file": "../x"}, command.Targets{Unclear: true}},
		{"list of a path", List().Spec(), map[string]any{"path": "private"}, command.Targets{Paths: []string{"private"}}},
		{"pattern", List().Spec(), map[string]any{"pattern": "private/*.txt"}, command.Targets{Folders: []string{"private/*.txt"}}},
		{"a pattern of another command", Reader().Spec(), map[string]any{"file": "a", "pattern": "private"}, command.Targets{Paths: []string{"a"}}},
		{"folder behind a link", List().Spec(), map[string]any{"dir": "./link/sub/"}, command.Targets{Folders: []string{"link/sub", "private/sub"}}},
		{"folder as a number", List().Spec(), map[string]any{"directory": json.Number("5")}, command.Targets{Folders: []string{"5"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := command.TargetsOf(tt.spec, &command.Call{Content: []map[string]any{tt.entry}}, dir)
			for _, list := range []*[]string{&got.Paths, &got.Folders, &got.Hosts} {
				if len(*list) == 0 {
					*list = nil
				}
			}
			assert.Equal(t, tt.want, got)
		})
	}
	for _, key := range listKeys {
		got := command.TargetsOf(List().Spec(), &command.Call{Content: []map[string]any{{key: "private"}}}, dir)
		assert.Contains(t, got.All(), "private", "every field that names what is listed is a target: %s", key)
	}
	var many []map[string]any
	for i := range 300 {
		many = append(many, map[string]any{"file": fmt.Sprint(i)})
	}
	got := command.TargetsOf(Reader().Spec(), &command.Call{Content: many}, dir)
	assert.True(t, got.Cut && got.Unclear, "what is not looked at is told")
}

// A list leaves out what is withheld, says so, and no link leads around it.
func TestListWithholds(t *testing.T) {
	env := workDir(t, map[string]string{"a.txt": "aaa", "private/key.txt": "the secret", "private/sub/b.txt": "the secret", "open/private.txt": "free"})
	require.NoError(t, os.Symlink("private", filepath.Join(env.WorkDir, "link")))
	var by []string
	env.Withheld = func(command, path string) bool {
		by = append(by, command)
		return strings.HasPrefix(path, "private/")
	}
	for _, tt := range []struct {
		name    string
		command command.Command
		entry   map[string]any
		want    string
	}{
		{"all", List(), map[string]any{}, "3 files here:\na.txt (3 bytes): aaa\nlink (7 bytes, link)\nopen/private.txt (4 bytes): free\n[2 files not listed: a rule of the user speaks about them]"},
		{"the folder", List(), map[string]any{"folder": "private"}, "private is a folder without files.\n[2 files not listed: a rule of the user speaks about them]"},
		{"below it", List(), map[string]any{"path": "./private/sub"}, "private/sub is a folder without files.\n[1 file not listed: a rule of the user speaks about it]"},
		{"through a link", List(), map[string]any{"glob": "link"}, "link is a folder without files.\n[2 files not listed: a rule of the user speaks about them]"},
		{"through a link and below", List(), map[string]any{"glob": "link/sub"}, "link/sub is a folder without files.\n[1 file not listed: a rule of the user speaks about it]"},
		{"by name", List(), map[string]any{"pattern": "k*.txt"}, "No file is like k*.txt.\n[1 file not listed: a rule of the user speaks about it]"},
		{"by path", List(), map[string]any{"pattern": "pri*/key.txt"}, "No file is like pri*/key.txt.\n[1 file not listed: a rule of the user speaks about it]"},
		{"the reader", Reader(), map[string]any{"file": "."}, "3 files here:\na.txt (3 bytes): aaa\nlink (7 bytes, link)\nopen/private.txt (4 bytes): free\n[2 files not listed: a rule of the user speaks about them]"},
		{"the reader, through a link", Reader(), map[string]any{"file": "link"}, "link is a folder without files.\n[2 files not listed: a rule of the user speaks about them]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			by = nil
			assert.Equal(t, tt.want, runCommand(t, tt.command, env, tt.entry).Text)
			for _, name := range by {
				assert.Equal(t, tt.command.Spec().Name, name)
			}
		})
	}
}
