package tasks

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// solution is what a run could leave behind.
type solution struct {
	Answer string            `yaml:"answer"`
	Files  map[string]string `yaml:"files"`
	Gone   []string          `yaml:"gone"` // files that are no longer there
}

// solutions are right ones of a task, and wrong ones that a lax verifier would
// let through. They stand beside the task, where no run sees them.
type solutions struct {
	Wants Wants      `yaml:"wants"`
	Right []solution `yaml:"right"`
	Wrong []solution `yaml:"wrong"`
}

func solutionsOf(t *testing.T, dir, name string) (s solutions) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name, "solutions.yaml"))
	require.NoError(t, err, "a task needs right and wrong solutions")
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	require.NoError(t, dec.Decode(&s))
	require.NotEmpty(t, s.Right)
	require.NotEmpty(t, s.Wrong)
	return s
}

func TestTheSuitesAreSolvedByWhatIsRightAndNothingElse(t *testing.T) {
	byKind := map[string]int{}
	for _, name := range []string{"tasks", "commands"} {
		dir := filepath.Join("..", "..", "..", "bench", name)
		suite, err := Load(dir)
		require.NoError(t, err)
		for _, task := range suite.Tasks {
			byKind[task.Kind]++
			t.Run(task.Name, func(t *testing.T) {
				known := solutionsOf(t, dir, task.Name)
				for _, s := range known.Right {
					assert.Empty(t, verify(t, task, s), "%+v", s)
				}
				for _, s := range append(known.Wrong, solution{}) {
					assert.NotEmpty(t, verify(t, task, s), "%+v", s)
				}
			})
		}
	}
	for _, kind := range kinds {
		assert.GreaterOrEqual(t, byKind[kind], 2, kind)
	}
}

func TestHalvesOfASuite(t *testing.T) {
	suite, err := Load(filepath.Join("..", "..", "..", "bench", "tasks"))
	require.NoError(t, err)
	looked, counted := suite.Half(Looked), suite.Half(Counted)
	assert.Len(t, append(looked, counted...), len(suite.Tasks))
	assert.InDelta(t, len(looked), len(counted), 4)
	assert.Len(t, suite.Half(""), len(suite.Tasks))
	for _, task := range counted {
		assert.True(t, task.Counted, task.Name)
	}
}

// verify lays a task out, leaves a solution behind and verifies it.
func verify(t *testing.T, task *Task, s solution) []string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, task.Lay(dir))
	for _, name := range s.Gone {
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
	}
	for name, text := range s.Files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	o := Outcome{Dir: dir, Answer: s.Answer, Run: func(ctx context.Context, code string) (string, bool, error) {
		return runPython(t, ctx, dir, code)
	}}
	wrong, err := task.Verify(t.Context(), o)
	require.NoError(t, err)
	return wrong
}

// runPython runs code of this test without a sandbox, as it is our own.
func runPython(t *testing.T, ctx context.Context, dir, code string) (string, bool, error) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("needs python3")
	}
	cmd := exec.CommandContext(ctx, python, "-c", code)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err == nil, nil
}

func TestLoadRefuses(t *testing.T) {
	const good = "kind: csv\ntask: Do it.\nchecks: [{of: answer, number: 3}]\n"
	for text, want := range map[string]string{
		"kind: csv\n": "no task",
		strings.Replace(good, "csv", "riddle", 1):                      `kind "riddle" is none of files`,
		good + "colour: red\n":                                         "field colour not found",
		"kind: csv\ntask: Do it.\n":                                    "no checks",
		good + "steps: -1\n":                                           "it must be at least 1",
		good + "tools: [{name: x}]\n":                                  "it needs a name and replies",
		"kind: csv\ntask: Do it.\nchecks: [{}]":                        "it needs either",
		"kind: csv\ntask: Do it.\nchecks: [{of: answer}]":              "of needs some",
		"kind: csv\ntask: x\nchecks: [{run: x}]":                       "belong together",
		"kind: csv\ntask: x\nchecks: [{of: a, is: x}]":                 "one of several choices",
		"kind: csv\ntask: x\nchecks: [{of: a, match: '('}]":            "missing closing )",
		"kind: csv\ntask: x\nchecks: [{of: b.txt, unchanged: true}]":   "b.txt",
		"kind: csv\ntask: x\nchecks: [{of: a, number: 1, within: -1}]": "must not be negative",
		"kind: csv\ntask: x\nchecks: [{of: a, number: 1, run: x}]":     "either",
	} {
		dir := t.TempDir()
		lay(t, dir, text)
		_, err := Load(dir)
		assert.ErrorContains(t, err, want, text)
	}
	_, err := Load(t.TempDir())
	assert.ErrorContains(t, err, "has none")
}

// lay writes a suite of one task without files but a.txt.
func lay(t *testing.T, dir, text string) {
	files := filepath.Join(dir, "one", "files")
	require.NoError(t, os.MkdirAll(files, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(files, "a.txt"), []byte("x\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "one", "task.yaml"), []byte(text), 0o600))
}

func TestASuiteIsIdentifiedByAllOfIt(t *testing.T) {
	dir := t.TempDir()
	sum := func() string {
		s, err := Load(dir)
		require.NoError(t, err)
		return s.Sum
	}
	const text = "kind: csv\ntask: Do it.\nchecks: [{of: answer, number: 3}]\n"
	lay(t, dir, text)
	first := sum()
	assert.Equal(t, first, sum())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "one", "files", "a.txt"), []byte("y\n"), 0o600))
	second := sum()
	lay(t, dir, text+"steps: 3\n")
	assert.NotEqual(t, first, second)
	assert.NotEqual(t, first, sum())
}

func TestVerifyFollowsNoLinkOutOfTheWorkDir(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.txt")
	require.NoError(t, os.WriteFile(out, []byte("3"), 0o600))
	dir := t.TempDir()
	lay(t, dir, "kind: csv\ntask: Do it.\nchecks: [{of: b.txt, number: 3}]\n")
	suite, err := Load(dir)
	require.NoError(t, err)
	work := t.TempDir()
	require.NoError(t, os.Symlink(out, filepath.Join(work, "b.txt")))
	wrong, err := suite.Tasks[0].Verify(t.Context(), Outcome{Dir: work})
	require.NoError(t, err)
	assert.NotEmpty(t, wrong)
}
