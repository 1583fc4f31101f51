package python

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakePython stands for an interpreter: it notes that it ran and what it ran
// with, and answers as one.
func fakePython(t *testing.T, folder, note string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(folder, 0o755))
	path := filepath.Join(folder, "python3")
	script := "#!/bin/sh\nenv > '" + note + "'\necho '{\"executable\": \"" + path + "\", \"version\": [3, 12, 0], \"paths\": []}'\n"
	require.NoError(t, os.WriteFile(path, []byte(script), 0o755))
	return path
}

func needsShell(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
}

// Whatever stands in the environment, what is asked outside of the sandbox loads
// nothing of it.
func TestPythonIsAskedInACleanEnvironment(t *testing.T) {
	needsShell(t)
	bin, note, evil := t.TempDir(), filepath.Join(t.TempDir(), "note"), t.TempDir()
	path := fakePython(t, bin, note)
	t.Setenv("PATH", "."+string(os.PathListSeparator)+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	names := []string{"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONPLATLIBDIR",
		"PYTHONEXECUTABLE", "PYENV_VERSION", "PYENV_DIR", "BASH_ENV", "ENV", "SHELLOPTS", "GCONV_PATH", "GLIBC_TUNABLES", "OPENAI_API_KEY", "ANY_OTHER"}
	for _, name := range names[3:] {
		t.Setenv(name, evil)
	}
	for _, name := range names[:3] {
		t.Setenv(name, filepath.Join(evil, "none.so")) // the loader says that it is not there
	}
	found, err := Find(context.Background(), t.TempDir())
	require.NoError(t, err)
	assert.Equal(t, path, found.Executable)
	data, err := os.ReadFile(note)
	require.NoError(t, err)
	assert.Contains(t, string(data), "PATH="+bin)
	assert.NotContains(t, string(data), evil)
	for _, name := range names {
		assert.NotContains(t, string(data), "\n"+name+"=")
	}
}

// An interpreter in the work dir, of a virtual environment there for instance,
// is run by nobody outside of the sandbox.
func TestPythonOfTheWorkDirIsNotAsked(t *testing.T) {
	needsShell(t)
	for name, place := range map[string]func(dir string) string{
		"in it":       func(dir string) string { return dir },
		"below it":    func(dir string) string { return filepath.Join(dir, ".venv", "bin") },
		"by a link":   func(dir string) string { return linkTo(t, filepath.Join(dir, "bin")) },
		"relative":    func(dir string) string { t.Chdir(dir); return "bin" },
		"the current": func(dir string) string { t.Chdir(dir); return "" },
	} {
		t.Run(name, func(t *testing.T) {
			dir, note := t.TempDir(), filepath.Join(t.TempDir(), "note")
			folder := place(dir)
			if filepath.IsAbs(folder) {
				fakePython(t, folder, note)
			} else {
				fakePython(t, filepath.Join(dir, folder), note)
			}
			t.Setenv("PATH", folder)
			_, err := Find(context.Background(), dir)
			var none *errNoPython
			if err != nil {
				assert.True(t, errors.As(err, &none), "%v", err)
			}
			assert.NoFileExists(t, note)
		})
	}
	bin, note := t.TempDir(), filepath.Join(t.TempDir(), "note")
	fakePython(t, bin, note)
	t.Setenv("PATH", bin)
	t.Setenv("HOME", bin)
	_, err := Find(context.Background(), bin)
	require.NoError(t, err, "a whole home is the work dir")
	assert.FileExists(t, note)
	assert.True(t, slices.Contains(programFolders(""), bin), strings.Join(programFolders(""), " "))
}

// linkTo is a link in another folder.
func linkTo(t *testing.T, target string) string {
	t.Helper()
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.MkdirAll(target, 0o755))
	require.NoError(t, os.Symlink(target, link))
	return link
}

// An environment that is active in the work dir is used, and what starts it is asked
// outside of the sandbox only where it is a Python from elsewhere.
func TestActiveEnvironmentOfTheWorkDir(t *testing.T) {
	needsShell(t)
	bin, note, evil := t.TempDir(), filepath.Join(t.TempDir(), "note"), filepath.Join(t.TempDir(), "evil")
	base := fakePython(t, bin, note)
	for name, tt := range map[string]struct {
		target func(dir string) string // of the environment's python3
		used   bool
	}{
		"of the system":   {func(string) string { return base }, true},
		"of the folder":   {func(dir string) string { return fakePython(t, filepath.Join(dir, "other"), evil) }, false},
		"of another name": {func(string) string { return "/bin/sh" }, false},
		"missing":         {func(dir string) string { return filepath.Join(dir, "none") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			env := filepath.Join(dir, ".venv")
			require.NoError(t, os.MkdirAll(filepath.Join(env, "bin"), 0o755))
			require.NoError(t, os.Symlink(tt.target(dir), filepath.Join(env, "bin", "python3")))
			t.Setenv("VIRTUAL_ENV", env)
			t.Setenv("PATH", filepath.Join(env, "bin")+string(os.PathListSeparator)+bin)
			found, err := Find(context.Background(), dir)
			require.NoError(t, err)
			assert.Equal(t, tt.used, strings.HasSuffix(found.Executable, filepath.Join(".venv", "bin", "python3")), found.Executable)
			assert.NoFileExists(t, evil)
		})
	}
}
