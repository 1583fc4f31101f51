package session

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
	"agent/session/journal"
)

// cutAfter is a session file as it is when the process is killed right after a
// record that holds mark.
func cutAfter(t *testing.T, data []byte, mark string) []byte {
	at := bytes.Index(data, []byte(mark))
	require.Positive(t, at, "no record holds %s", mark)
	return data[:at+bytes.IndexByte(data[at:], '\n')+1]
}

const (
	afterIntent = `"type":"intent"`
	afterDone   = `"type":"done"`
	afterTurn   = `"turn":{"calls"`
)

// resumed goes on with finishedLog cut after a record, with a model that says
// what follows.
func resumed(t *testing.T, mark string, change func(*Options), words string, script ...string) (*rig, *Result) {
	path := filepath.Join(t.TempDir(), "x"+journal.Ext)
	require.NoError(t, os.WriteFile(path, cutAfter(t, finishedLog(t), mark), 0o600))
	r := &rig{model: newModel(t, true, script...), dir: workWithFiles(t)}
	opts := Options{
		Backend: r.model, Registry: testCommands(t), Env: &command.Env{WorkDir: r.dir}, Approve: ApproveAuto,
		Sink: func(ev Event) { r.events = append(r.events, ev) },
	}
	if change != nil {
		change(&opts)
	}
	s, err := Resume(path, opts)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	r.Session = s
	res, err := s.Run(context.Background(), words)
	require.NoError(t, err)
	assert.Equal(t, StopAnswered, res.Stop)
	return r, res
}

// wrote reports whether the call of finishedLog was carried out here.
func (r *rig) wrote() bool {
	_, err := os.Stat(filepath.Join(r.dir, "c.txt"))
	return err == nil
}

// A turn that was written but not begun is carried out as it was written: the
// model is not asked for it again.
func TestTurnThatWasCutOffIsCarriedOut(t *testing.T) {
	r, res := resumed(t, afterTurn, nil, "", " so", " answer", " 42")
	assert.True(t, r.wrote())
	assert.Equal(t, "42", res.Answer)
	assert.Equal(t, 2, res.Steps)
	assert.Contains(t, r.lastUser(0), "Result of writer:\n```\nwritten\n```\nc.txt is now:\n```\n42\n```")
}

// The result of a call that had run is the one that it had; it is not run again.
func TestResultOfACallThatRanIsKept(t *testing.T) {
	r, _ := resumed(t, afterDone, nil, "", " so", " answer", " 42")
	assert.False(t, r.wrote())
	assert.Contains(t, r.lastUser(0), "Result of writer:\n```\nwritten\n```\nc.txt is now:\n```\n42\n```", "as it was told then")
	assert.NotContains(t, r.types(), "call approval")
}

// With new words, what was wanted before is not done.
func TestNewWordsTakeTheTurnBack(t *testing.T) {
	for mark, told := range map[string]string{
		afterTurn: "writer was not carried out", afterIntent: "Whether the last command took effect is not known", afterDone: "Result of writer:",
	} {
		r, _ := resumed(t, mark, nil, "no, don't", " so", " answer", " 42")
		assert.False(t, r.wrote())
		assert.Contains(t, r.lastUser(0), told)
		assert.Contains(t, r.lastUser(0), "Task: no, don't")
	}
}

// A call that was running may have taken effect. Where nobody can be asked the
// model is told, also when it wants the very same again.
func TestCallInDoubtIsNotRunAgainUnasked(t *testing.T) {
	again := []string{" again", " writer", " c.txt", "42\n"}
	r, res := resumed(t, afterIntent, nil, "", append(again, " so", " answer", " 42")...)
	assert.False(t, r.wrote())
	assert.Equal(t, 3, res.Steps)
	assert.Contains(t, r.lastUser(0), "it may have taken effect")
	assert.Contains(t, r.lastUser(-1), "it may have taken effect")
	assert.Equal(t, "Note: It may be done already, so I look what is there:", r.model.requests[0].Prefill)
}

// Another call is none in doubt.
func TestAnotherCallIsNotInDoubt(t *testing.T) {
	r, _ := resumed(t, afterIntent, nil, "", " other", " writer", " d.txt", "43\n", " so", " answer", " 42")
	assert.False(t, r.wrote())
	assert.FileExists(t, filepath.Join(r.dir, "d.txt"))
}

// Where a person is there they are asked, whatever rule allows such calls.
func TestCallInDoubtIsAskedAbout(t *testing.T) {
	for _, allow := range []bool{true, false} {
		for _, mode := range []ApproveMode{ApproveAsk, ApproveAuto} {
			var asked []Proposal
			r, _ := resumed(t, afterIntent, func(o *Options) {
				o.Approve, o.Rules = mode, Rules{{Command: "writer", Do: RuleAllow}}
				o.Approver = func(_ context.Context, p *Proposal) (Decision, error) {
					asked = append(asked, *p)
					return Decision{Allow: allow, Reason: "it is there"}, nil
				}
			}, "", " look", " reader", " b.txt", " so", " answer", " 42")
			require.Len(t, asked, 1)
			assert.True(t, asked[0].MayHaveRun)
			assert.Equal(t, allow, r.wrote())
			if !allow {
				assert.Contains(t, r.lastUser(0), "it is there")
				assert.Zero(t, r.refusals, "it does not end as refused")
			}
		}
	}
}

// What a part of a task may have done makes the call that split it doubtful:
// the whole is not done twice.
func TestDelegatedEffectsMakeTheWholeDoubtful(t *testing.T) {
	dir := t.TempDir()
	split := `{"command":"delegate","summary":"","content":[{"tasks":"write one\nwrite two"}]}`
	write := `{"command":"writer","summary":"","content":[{"path":"c.txt","text":"1"}]}`
	done := `{"command":"answer","summary":"","content":[{"answer":"done"}]}`
	commands := func() *command.Registry { return testCommands(t, Delegate()) }
	m := newModel(t, false, split, write, done, done, done)
	r := newRig(t, m, func(o *Options) {
		o.SessionsDir, o.Registry, o.Limits.WidthMax = dir, commands(), 1
	})
	_, err := r.Run(context.Background(), "write both")
	require.NoError(t, err)
	require.True(t, r.wrote())
	data, err := os.ReadFile(r.Path())
	require.NoError(t, err)
	require.NoError(t, r.Close())

	for _, tc := range []struct {
		name, mark string
		again      bool
	}{{"before any effect", afterTurn, true}, {"after one", afterIntent, false}} {
		t.Run(tc.name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(r.Path(), cutAfter(t, data, tc.mark), 0o600))
			work := workWithFiles(t)
			script := []string{done}
			if tc.again {
				script = []string{write, done, done, done}
			}
			s, err := Resume(r.Path(), Options{
				Backend: newModel(t, false, script...), Registry: commands(), Env: &command.Env{WorkDir: work}, Approve: ApproveAuto,
				SessionsDir: dir, Limits: Limits{WidthMax: 1},
			})
			require.NoError(t, err)
			defer s.Close()
			res, err := s.Run(context.Background(), "")
			require.NoError(t, err)
			assert.Equal(t, StopAnswered, res.Stop)
			_, err = os.Stat(filepath.Join(work, "c.txt"))
			assert.Equal(t, tc.again, err == nil)
		})
	}
}

// A run whose steps are used up goes on when it is let.
func TestGoingOnAfterTheLastStep(t *testing.T) {
	m := newModel(t, true, " look", " reader", " b.txt", " not yet", " not known", " so", " answer", " 42")
	r := newRig(t, m, func(o *Options) { o.Limits.StepsMax = 1 })
	r.write(t, "b.txt", "42\n")
	res, err := r.Run(context.Background(), "task")
	require.NoError(t, err)
	require.Equal(t, StopSteps, res.Stop)
	res, err = r.Run(context.Background(), "")
	require.NoError(t, err)
	assert.Equal(t, StopAnswered, res.Stop)
	assert.Equal(t, "42", res.Answer)
	assert.True(t, strings.Contains(r.lastUser(-1), "The user lets you go on"))
}

// An answer that was held back stays so when the run is resumed, and counts.
func TestWithheldAnswersAreKnownAfterAResume(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	m := newModel(t, true, " so", " answer", " I saved it as nowhere.txt.")
	m.onAsk = func(n int) error {
		if n == 3 {
			cancel()
			return ctx.Err()
		}
		return nil
	}
	r := newRig(t, m, func(o *Options) { o.SessionsDir = t.TempDir() })
	res, err := r.Run(ctx, "Tell me.")
	require.NoError(t, err)
	require.Equal(t, StopInterrupted, res.Stop)
	require.NoError(t, r.Close())

	opts := r.opts
	opts.Backend = newModel(t, true, " I look", " reader", " so", " I saved it as nowhere.txt.")
	opts.Limits.StepsMax = 1
	s, err := Resume(r.Path(), opts)
	require.NoError(t, err)
	defer s.Close()
	assert.Equal(t, 1, s.held.Count)
	assert.True(t, s.held.Tried["claimed_file"])
	res, err = s.Run(t.Context(), "")
	require.NoError(t, err)
	assert.Equal(t, StopSteps, res.Stop)
	assert.Empty(t, res.Answer, "it had been held back before")
}

// New words are a new task, for which nothing was held back yet.
func TestNewWordsForgetWhatWasWithheld(t *testing.T) {
	r := newRig(t, newModel(t, true, " so", " answer", " I saved it as nowhere.txt.", " so", " answer", " ok",
		" so", " answer", " Sure"), func(o *Options) { o.SessionsDir = t.TempDir() })
	_, err := r.Run(t.Context(), "Tell me.")
	require.NoError(t, err)
	require.Equal(t, 1, r.held.Count)
	_, err = r.Run(t.Context(), "Thanks!")
	require.NoError(t, err)
	require.NoError(t, r.Close())
	old, err := journal.Read(r.Path())
	require.NoError(t, err)
	assert.Zero(t, old.Held.Count)
}
