package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"agent/internal/cli"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test binary stand in for the program.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"agentbench": func() { os.Exit(cli.Main(nil, root)) }})
}

// TestScripts runs testdata/script/*.txtar. Beside testscript's own commands
// they have: exits CODE COMMAND…, the command ends with exactly this code.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			return os.MkdirAll(home, 0o755)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": func(ts *testscript.TestScript, _ bool, args []string) {
			want, err := strconv.Atoi(args[0])
			ts.Check(err)
			var ended *exec.ExitError
			if err := ts.Exec(args[1], args[2:]...); !errors.As(err, &ended) || ended.ExitCode() != want {
				ts.Fatalf("exit %v, expected %d", err, want)
			}
		}},
	})
}
