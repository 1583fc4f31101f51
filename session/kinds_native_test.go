package session

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"agent/command"
	"agent/command/stock"
	"agent/session/ask"
)

// kindTask is a task and whether it asks to label several texts.
type kindTask struct {
	Yes    bool
	Looked bool // the threshold was set on it
	Task   string
	Files  map[string]string

	margin float64
}

// How well the question about the kind of a task tells the tasks that decide is
// for, in the prompt in which it is asked: a measurement, printed. For another
// model set AGENT_TEST_MODEL to its file.
func TestKindsOfTasksOfRealModels(t *testing.T) {
	if os.Getenv("AGENT_TEST_FULL") == "" {
		t.Skip("a measurement of minutes: set AGENT_TEST_FULL=1")
	}
	data, err := os.ReadFile("testdata/kinds.yaml")
	require.NoError(t, err)
	var tasks []*kindTask
	require.NoError(t, yaml.Unmarshal(data, &tasks))
	kind := stock.Decide().Spec().For
	b := realModel(t, 4096, 0)
	for _, k := range tasks {
		dir := t.TempDir()
		for name, text := range k.Files {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
		registry, err := stock.Standard()
		require.NoError(t, err)
		s, err := New(Options{Backend: b, Registry: registry, Env: &command.Env{WorkDir: dir}, Approve: ApproveAuto})
		require.NoError(t, err)
		require.NoError(t, s.begin(t.Context(), k.Task))
		a, err := ask.Question{Text: kind.Question}.Ask(t.Context(), s.speaker.choose, s.about.folder().About())
		require.NoError(t, err)
		k.margin = a.Margin
		s.Close()
	}
	slices.SortFunc(tasks, func(a, b *kindTask) int { return cmp.Compare(a.margin, b.margin) })
	for _, looked := range []bool{true, false} {
		right, pairs, won, n := 0, 0.0, 0.0, 0
		for _, k := range tasks {
			if k.Looked != looked {
				continue
			}
			n++
			if k.Yes == (k.margin > kind.Threshold) {
				right++
			}
			for _, other := range tasks {
				if other.Looked == looked && k.Yes && !other.Yes {
					pairs++
					if k.margin > other.margin {
						won++
					}
				}
			}
			t.Logf("%v %6.2f %.90s", map[bool]string{true: "yes", false: "no "}[k.Yes], k.margin, k.Task)
		}
		t.Logf("looked at: %v: %d of %d right above %.2f; area under the curve %.3f", looked, right, n, kind.Threshold, won/pairs)
		assert.NotZero(t, n)
	}
}
