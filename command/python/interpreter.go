// Package python finds the Python of this system and puts in order the code that
// models write for it.
package python

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"agent/internal/bounded"
	"agent/internal/legible"
)

// whereScript asks an interpreter where its files are.
//
//go:embed where.py
var whereScript string

const shownMax = 64 // bytes of what was no answer

// Interpreter is a Python of this system and what it needs to read.
type Interpreter struct {
	Executable string   `json:"executable"`
	Version    []int    `json:"version"`
	Paths      []string `json:"paths"` // of its library and packages
	// User is the folder of a person's own packages, empty if there is none: an
	// isolated Python has to be told of it.
	User string `json:"user"`
}

// errNoPython means that no usable Python was found.
type errNoPython struct{ tried []string }

func (e *errNoPython) Error() string {
	return fmt.Sprintf("python: no Python 3.8 or newer found (tried %v)", e.tried)
}

func (e *errNoPython) Hint() string {
	return "install python3 and see that it is on PATH, or take the command away with --disable python"
}

// Isolated are the arguments of a Python that runs code: without a person's own
// packages and settings, without .pyc files, in UTF-8, with output as it happens.
func Isolated(args ...string) []string {
	return append([]string{"-I", "-B", "-X", "utf8", "-u"}, args...)
}

// Finder finds an interpreter once for a work dir. A failure is tried again, since a
// person may install one meanwhile.
type Finder struct {
	mu    sync.Mutex
	dir   string
	found *Interpreter
}

// Find looks for an interpreter and asks it where its files are. The program on
// PATH may be a shim; the one that it starts counts. None is taken from the work
// dir: it would run outside the sandbox, and anybody may have put it there. Find
// starts processes, so callers keep the result.
func (f *Finder) Find(ctx context.Context, workDir string) (*Interpreter, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if f.found == nil || f.dir != workDir {
		f.found, err = Find(ctx, workDir)
		f.dir = workDir
	}
	return f.found, err
}

const discoveryTimeout = 20 * time.Second

// Find looks for an interpreter and asks it where its files are. The
// program on PATH may be a shim; what it starts is what counts. None is taken
// from the work dir, since it is asked outside of the sandbox and what lies there
// may be anybody's. It starts processes: callers keep what it found.
func Find(ctx context.Context, workDir string) (*Interpreter, error) {
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	folders := programFolders(workDir)
	version := localVersion(workDir)
	var tried []string
	for _, name := range []string{"python3", "python", "/usr/bin/python3"} {
		path, err := lookIn(folders, name)
		if err != nil {
			tried = append(tried, name)
			continue
		}
		found, err := askPython(ctx, path, folders, version)
		if err != nil && version != "" { // which is not installed
			found, err = askPython(ctx, path, folders, "")
		}
		if err == nil {
			return found.inEnvironment(ctx, workDir, folders), nil
		}
		if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, ctx.Err()
		}
		tried = append(tried, fmt.Sprintf("%s: %v", path, err))
	}
	return nil, &errNoPython{tried}
}

// programFolders are the folders of PATH outside the work dir and the current
// folder. If a whole home is the work dir, all of PATH is used.
func programFolders(workDir string) []string {
	avoided := avoidedFolders(workDir)
	var out []string
	for _, folder := range filepath.SplitList(os.Getenv("PATH")) {
		within := func(dir string) bool { return isWithin(folder, dir) || isWithin(realPath(folder), dir) }
		if filepath.IsAbs(folder) && !slices.ContainsFunc(avoided, within) {
			out = append(out, folder)
		}
	}
	return out
}

// avoidedFolders are those in which anybody may have put a program.
func avoidedFolders(workDir string) []string {
	var avoided []string
	current, _ := os.Getwd()
	home, _ := os.UserHomeDir()
	for _, dir := range []string{workDir, current} {
		if real := realPath(dir); real != "" && (home == "" || !isWithin(realPath(home), real)) {
			avoided = append(avoided, real)
		}
	}
	return avoided
}

// realPath is a path without links, empty where there is nothing.
func realPath(path string) string {
	absolute, err := filepath.Abs(path)
	if path == "" || err != nil {
		return ""
	}
	real, err := filepath.EvalSymlinks(absolute)
	if err != nil {
		return ""
	}
	return real
}

func isWithin(path, dir string) bool {
	relative, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(relative)
}

// lookIn finds a program in folders; one with a path is where it says.
func lookIn(folders []string, name string) (string, error) {
	if filepath.IsAbs(name) {
		return exec.LookPath(name)
	}
	for _, folder := range folders {
		if path, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// discoveryEnvironment is the environment of an interpreter that is asked for its
// files, outside the sandbox. It has what finds the interpreter and its shims,
// and no variable that loads other code, such as LD_PRELOAD or PYTHONHOME.
func discoveryEnvironment(folders []string) []string {
	env := []string{"PATH=" + strings.Join(folders, string(os.PathListSeparator))}
	for _, name := range []string{"HOME", "USER", "LOGNAME", "TMPDIR", "PYENV_ROOT", "ASDF_DIR",
		"ASDF_DATA_DIR", "MISE_DATA_DIR", "SYSTEMROOT", "USERPROFILE", "LOCALAPPDATA"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return append(env, "LANG=C.UTF-8")
}

// versionNames are how .python-version names an interpreter. Nothing of it may be a
// path.
var versionNames = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}$`)

// localVersion is what .python-version of the work dir, or of a folder around it,
// asks shims for; empty if nothing does.
func localVersion(workDir string) string {
	dir := realPath(workDir)
	for range localDepthMax {
		if dir == "" {
			return ""
		}
		data, err := bounded.File(filepath.Join(dir, ".python-version"), localBytesMax)
		if err == nil {
			var names []string
			for line := range strings.Lines(string(data)) {
				if name := strings.TrimSpace(line); versionNames.MatchString(name) {
					names = append(names, name)
				}
			}
			return strings.Join(names, ":")
		}
		if filepath.Dir(dir) == dir {
			return ""
		}
		dir = filepath.Dir(dir)
	}
	return ""
}

const (
	localDepthMax = 64
	localBytesMax = 4 << 10
)

// inEnvironment is the interpreter of the virtual environment that is active, where
// that lies in the work dir or the current folder. What it starts must be a Python from
// elsewhere, which is asked in its place; the environment itself is used in the sandbox
// alone.
func (i *Interpreter) inEnvironment(ctx context.Context, workDir string, folders []string,
) *Interpreter {
	active, avoided := realPath(os.Getenv("VIRTUAL_ENV")), avoidedFolders(workDir)
	inside := func(path string) bool {
		return slices.ContainsFunc(avoided, func(dir string) bool { return isWithin(path, dir) })
	}
	if active == "" || !inside(active) {
		return i
	}
	path := filepath.Join(active, "bin", "python3")
	base := realPath(path)
	if base == "" || inside(base) || !pythonNames.MatchString(filepath.Base(base)) {
		return i
	}
	found, err := askPython(ctx, base, folders, "")
	if err != nil {
		return i
	}
	return &Interpreter{Executable: path, Version: found.Version, Paths: append(found.Paths, active)}
}

var pythonNames = regexp.MustCompile(`^python3?(\.\d+)?$`)

// askPython asks an interpreter where its files are. A shim is told which version.
func askPython(ctx context.Context, path string, folders []string, version string,
) (*Interpreter, error) {
	cmd := exec.CommandContext(ctx, path, "-I", "-B", "-c", whereScript)
	cmd.Dir, cmd.Env = filepath.Dir(path), discoveryEnvironment(folders)
	if version != "" {
		cmd.Env = append(cmd.Env, "PYENV_VERSION="+version)
	}
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var found Interpreter
	if err := json.Unmarshal(out, &found); err != nil {
		return nil, fmt.Errorf("unexpected output %q", legible.Clip(string(out), shownMax))
	}
	if !filepath.IsAbs(found.Executable) {
		return nil, fmt.Errorf("its executable %q is no absolute path", found.Executable)
	}
	if v := found.Version; len(v) < 2 || v[0] < 3 || v[0] == 3 && v[1] < 8 {
		return nil, fmt.Errorf("version %v is too old", v)
	}
	return &found, nil
}
