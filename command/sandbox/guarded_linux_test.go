package sandbox

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// guardedPaths are members of every kind, at the top and further down, in
// another case too.
func guardedPaths() []string {
	var out []string
	for _, name := range guardedAnywhere() {
		out = append(out, name, "sub/"+strings.ToUpper(name))
	}
	return append(append(out, guardedAtTop()...), "x.code-workspace")
}

// TestGuardedNames: what configures the agent, a shell or an editor is read-only
// for a job, and put out of use when a job made it.
func TestGuardedNames(t *testing.T) {
	names := strings.Join(guardedPaths(), " ")
	eachPlan(t, func(t *testing.T, p plan) {
		t.Run("there before", func(t *testing.T) {
			dir := t.TempDir()
			for i, name := range guardedPaths() {
				file := filepath.Join(dir, name)
				if i%2 == 0 { // each is a file or a folder to some program
					file = filepath.Join(file, "inner")
				}
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
				require.NoError(t, os.WriteFile(file, []byte("mine"), 0o644))
			}
			before := contentsOf(t, dir)
			out, err := shellContext(t, context.Background(), p, dir, "for f in "+names+`; do
				echo x > "$f/inner"; echo x > "$f/new"; echo x > "$f"; ln -f "$f" hard && echo x > hard; rm -rf "$f" hard; mv "$f" "$f.old"; done 2>/dev/null; echo over`)
			if !p.protects() {
				var refused *RefusedError
				require.ErrorAs(t, err, &refused)
				return
			}
			require.NoError(t, err)
			assert.Contains(t, string(out.Head), "over\n")
			assert.Empty(t, out.SetAside)
			assert.Equal(t, before, contentsOf(t, dir))
		})
		t.Run("made by the job", func(t *testing.T) {
			dir := t.TempDir()
			out := shell(t, p, dir, "mkdir sub; for f in "+names+`; do mkdir "$f"; echo x > "$f/inner"; done; mkdir -p a/configs a/commands; echo kept > a/configs/x`)
			assert.Len(t, out.SetAside, len(guardedPaths()))
			assert.Empty(t, repositoriesIn(t, dir))
			assert.FileExists(t, filepath.Join(dir, "a/configs/x"), "further down the name is an ordinary one")
		})
		t.Run("what a link stands for", func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "tools"), 0o755))
			require.NoError(t, os.Symlink("tools", filepath.Join(dir, "commands")))
			_, err := shellContext(t, context.Background(), p, dir, "echo x > tools/new")
			if p.protects() {
				require.NoError(t, err)
			}
			assert.NoFileExists(t, filepath.Join(dir, "tools/new"))
		})
	})
}

// contentsOf is each file of a folder with what is in it.
func contentsOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, dir)] = string(data)
		return err
	}))
	return out
}

func TestGuarded(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"half/objects", "half/refs", "store/objects/aa", "store/refs", "linked"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
	}
	for _, name := range []string{"store/HEAD", "linked/commondir"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	for _, name := range guardedPaths() {
		assert.True(t, Guarded(root, name), name)
		assert.True(t, Guarded(root, name+"/x"), name)
	}
	for _, name := range []string{"half/HEAD", "half/head", "store/config", "store/hooks/post-commit", "linked/HEAD", ".vscode/tasks.json", "a/.hg/hgrc"} {
		assert.True(t, Guarded(root, name), name)
	}
	for _, name := range []string{"a.txt", "src/commands/x.go", "app/configs/a.yaml", ".env.example", "half/config", "half/objects/x", "HEAD", "agents.txt", "environment"} {
		assert.False(t, Guarded(root, name), name)
	}
}
