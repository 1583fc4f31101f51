package program

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"agent/command"
	"agent/command/stock"
)

// needSandbox skips where programs can't run.
func needSandbox(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("needs a build without the race detector, which can't start under a memory limit")
	}
	if _, err := sharedRunner().python.Find(context.Background(), ""); err != nil {
		t.Skipf("needs python3: %v", err)
	}
	report, err := sharedRunner().sandbox.Probe(context.Background())
	require.NoError(t, err)
	if !report.Confined() {
		t.Skipf("needs a system that confines: %v", report.Reasons)
	}
}

// sharedRunner finds Python and a way to confine once for all tests.
var sharedRunner = sync.OnceValue(func() *runner { return &runner{} })

// rig is a registry with a set over two folders, the user's and a project's.
type rig struct {
	*Set
	t       *testing.T
	reg     *command.Registry
	user    string // folder of the user's commands
	project string // work dir
	env     *command.Env
}

func newRig(t *testing.T) *rig {
	t.Helper()
	needSandbox(t)
	reg, err := stock.Standard()
	require.NoError(t, err)
	r := &rig{t: t, reg: reg, user: filepath.Join(t.TempDir(), "commands"), project: t.TempDir()}
	r.env = &command.Env{WorkDir: r.project, Metadata: map[string]string{"token": "s3cret-token", "other": "s3cret-other"}}
	r.Set = NewSet(Config{
		Registry: reg,
		Folders:  []Folder{{Path: r.user}, {Path: filepath.Join(r.project, "commands"), Inside: r.project}},
		Trust:    OpenTrust(filepath.Join(t.TempDir(), "trust.json")),
	})
	r.runner = sharedRunner()
	return r
}

func (r *rig) write(path, text string, mode os.FileMode) {
	r.t.Helper()
	require.NoError(r.t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(r.t, os.WriteFile(path, []byte(text), mode))
	require.NoError(r.t, os.Chmod(path, mode))
}

func (r *rig) writeUser(name, text string) { r.write(filepath.Join(r.user, name), text, 0o600) }
func (r *rig) writeProject(name, text string) {
	r.write(filepath.Join(r.project, "commands", name), text, 0o600)
}

// refresh tells changes as "kind name", problems with their text.
func (r *rig) refresh() string {
	r.t.Helper()
	var out []string
	for _, c := range r.Refresh(context.Background()) {
		line := strings.TrimSpace(fmt.Sprintf("%s %s", c.Kind, c.Name))
		if c.Err != nil {
			text := strings.ReplaceAll(strings.ReplaceAll(c.Err.Error(), r.user, "USER"), r.project, "PROJECT")
			line += ": " + text
			if c.Kept {
				line += " (kept)"
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// call runs a command of the registry.
func (r *rig) call(name string, content map[string]any) *command.Result {
	r.t.Helper()
	c, err := r.reg.Resolve(name)
	require.NoError(r.t, err)
	res, err := c.Run(context.Background(), r.env, &command.Call{Command: name, Summary: "why", Content: []map[string]any{content}})
	require.NoError(r.t, err)
	return res
}

// script is a command file with a header.
func script(header, code string) string {
	return "\"\"\"\n" + header + "\n\"\"\"\n" + code
}

const fahrenheit = `name: fahrenheit
description: Convert a temperature from Fahrenheit to Celsius.
aliases: [f_to_c]
fields:
  - name: degrees
    kind: number
    help: degrees Fahrenheit
example: {degrees: 212}`

const fahrenheitCode = `import json, sys
for entry in json.load(sys.stdin)["content"]:
    print(round((entry["degrees"] - 32) * 5 / 9, 2))
`
