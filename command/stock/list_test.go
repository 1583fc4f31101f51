package stock

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
	"agent/command/document/documenttest"
)

func TestList(t *testing.T) {
	env := workDir(t, map[string]string{
		"notes.md": "\n# The plan\n\nmore", "a.csv": "name,price\npear,2\n", "run.sh": "#!/bin/sh\n# starts it\n", "empty.txt": "",
		"sub/deep/c.go": "// Package c counts.\npackage c\n", "sub/b.txt": "b", ".hidden/x": "x", ".env": "SECRET=1", "node_modules/m.js": "m",
		"page.html": "<!doctype html><title>x</title>", "two.pdf": string(documenttest.PDF("x")), "pic.png": "\x89PNG\r\n\x1a\n\x00", "data.bin": "\x00\x01",
		"void/": "",
	})
	env.Files = command.NewFileIndex()
	env.Files.Describe("sub/b.txt", "the second\n letter")
	pdf := len(documenttest.PDF("x"))
	all := fmt.Sprintf(`10 files here:
a.csv (18 bytes): name,price
data.bin (2 bytes, binary)
empty.txt (0 bytes)
notes.md (17 bytes): The plan
page.html (31 bytes, HTML)
pic.png (9 bytes, image/png)
run.sh (22 bytes): starts it
sub/b.txt (1 byte): the second letter
sub/deep/c.go (31 bytes): Package c counts.
two.pdf (%d bytes, PDF)`, pdf)
	for _, tt := range []struct {
		name  string
		entry map[string]any
		want  string
	}{
		{"all", map[string]any{}, all},
		{"star", map[string]any{"pattern": " * "}, all},
		{"dot", map[string]any{"path": "./"}, all},
		{"folder", map[string]any{"folder": "sub"}, "sub is a folder with 2 files:\nsub/b.txt (1 byte): the second letter\nsub/deep/c.go (31 bytes): Package c counts."},
		{"names anywhere", map[string]any{"pattern": "*.{go,md}"}, "2 files like *.{go,md}:\nnotes.md (17 bytes): The plan\nsub/deep/c.go (31 bytes): Package c counts."},
		{"path", map[string]any{"glob": "sub/**/*.go"}, "1 file like sub/**/*.go:\nsub/deep/c.go (31 bytes): Package c counts."},
		{"one file", map[string]any{"pattern": "notes.md"}, "1 file like notes.md:\nnotes.md (17 bytes): The plan"},
		{"hidden when asked for", map[string]any{"pattern": ".env"}, "1 file like .env:\n.env (8 bytes): SECRET=1"},
		{"empty folder", map[string]any{"pattern": "void"}, "void is a folder without files."},
		{"nothing", map[string]any{"pattern": "*.xyz"}, "No file is like *.xyz."},
		{"outside", map[string]any{"pattern": "../*"}, "../*: only files inside the work dir are allowed. Use a relative path."},
		{"no pattern", map[string]any{"pattern": "[a"}, "[a is no pattern for names. Write it like *.csv or notes/**."},
		{"braces without end", map[string]any{"pattern": strings.Repeat("{a,b}", 20)}, strings.Repeat("{a,b}", 12) + "{a,b… is no pattern for names. Write it like *.csv or notes/**."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, runCommand(t, List(), env, tt.entry).Text)
		})
	}
	assert.Equal(t, all, runCommand(t, List(), env).Text)
}

func TestListIsBounded(t *testing.T) {
	env := workDir(t, nil)
	for i := range listFilesMax + 30 {
		require.NoError(t, os.WriteFile(filepath.Join(env.WorkDir, fmt.Sprintf("f%04d.txt", i)), []byte(strings.Repeat("long words ", 50)), 0o644))
	}
	deep := filepath.Join(env.WorkDir, strings.Repeat("d/", listDepthMax+3))
	require.NoError(t, os.MkdirAll(deep, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(deep, "x"), nil, 0o644))
	env.Limits.OutputBytes = 1000
	r := runCommand(t, List(), env)
	assert.True(t, r.Truncated)
	assert.Less(t, len(r.Text), 1100)
	assert.True(t, strings.HasPrefix(r.Text, "530 files here and more that were not looked at:\nf0000.txt (550 bytes): long words"), r.Text[:100])
	assert.Regexp(t, `\n\[\d+ more not listed\]$`, r.Text)

	env.Fits = func(text string) bool { return len(text) < 300 }
	assert.Less(t, len(runCommand(t, List(), env).Text), 330)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := List().Run(ctx, env, &command.Call{})
	assert.ErrorIs(t, err, context.Canceled)
}

func TestListHostile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs names and links that Windows does not have")
	}
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "secret.txt"), []byte("top secret"), 0o644))
	env := workDir(t, map[string]string{"a\nb.txt": "two\nlines", "\x1b[31m.txt": "red", "utf16.txt": "\xff\xfeh\x00i\x00", "long.txt": strings.Repeat("x", 1<<20), "bad\xff.txt": "x"})
	require.NoError(t, os.Symlink(filepath.Join(outside, "secret.txt"), filepath.Join(env.WorkDir, "link")))
	require.NoError(t, os.Symlink(outside, filepath.Join(env.WorkDir, "folder")))
	require.NoError(t, os.Symlink(".", filepath.Join(env.WorkDir, "self")))
	r := runCommand(t, List(), env)
	assert.Equal(t, strings.Join([]string{
		"8 files here:", `"\x1b[31m.txt" (3 bytes): red`, `"a\nb.txt" (9 bytes): two`, `"bad\xff.txt" (1 byte): x`,
		fmt.Sprintf("folder (%d bytes, link)", len(outside)), fmt.Sprintf("link (%d bytes, link)", len(filepath.Join(outside, "secret.txt"))),
		"long.txt (1048 KB): " + strings.Repeat("x", listAboutBytes) + "…", "self (1 byte, link)", "utf16.txt (6 bytes): hi",
	}, "\n"), r.Text)
	for _, name := range []string{"folder", "folder/*", "link"} {
		assert.NotContains(t, runCommand(t, List(), env, map[string]any{"pattern": name}).Text, "top secret", name)
	}
}

func TestFileIndex(t *testing.T) {
	var none *command.FileIndex
	none.Describe("a", "b")
	assert.Empty(t, none.About("a"))
	x := command.NewFileIndex()
	for i := range 2010 {
		x.Describe(fmt.Sprint(i), "about "+fmt.Sprint(i))
	}
	assert.Equal(t, "about 0", x.About("0"))
	assert.Empty(t, x.About(fmt.Sprint(2005)))
	x.Describe("0", " ")
	assert.Equal(t, "about 0", x.About("0"))
	env := workDir(t, nil)
	env.Files = x
	_, err := Writer().Run(context.Background(), env, &command.Call{Summary: "the total", Content: []map[string]any{{"file": "0", "text": "1"}}})
	require.NoError(t, err)
	assert.Equal(t, "the total", x.About("0"))
}
