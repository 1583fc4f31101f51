package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/command"
	"agent/session/journal"
	"agent/session/plan"
)

func TestPickLikely(t *testing.T) {
	o := func(text string, p float64) backend.ScoredOption {
		return backend.ScoredOption{Text: text, Probability: p}
	}
	assert.Equal(t, []string{"b", "c"}, pickLikely([]backend.ScoredOption{o("c", 0.3), o("a", 0.05), o("b", 0.4), o("none", 0.25)}, []string{"c", "a", "b"}))
	assert.Empty(t, pickLikely([]backend.ScoredOption{o("a", 0.05), o("none", 0.95)}, []string{"a"}))
	assert.Len(t, pickLikely([]backend.ScoredOption{o("a", 0.2), o("b", 0.2), o("c", 0.2), o("d", 0.2), o("none", 0.2)}, []string{"a", "b", "c", "d"}), filesPickedMax)
}

// troupe is a backend that several sessions use at once: each follows the
// script of its task.
type troupe struct {
	*model
	mu      sync.Mutex
	scripts map[string][]string
	asked   map[string][]backend.Request
	before  func(task string, n int) error // the n-th request of a task, from 0
	picks   map[string]string              // the file that a subtask needs
}

func newTroupe(t *testing.T, slots bool, scripts map[string][]string) *troupe {
	tr := &troupe{scripts: scripts, asked: map[string][]backend.Request{}, picks: map[string]string{}}
	claims := backend.Capabilities{}
	if slots {
		claims = backend.Capabilities{Prefill: true, ExactChoice: true, Grammar: true, Schema: true}
	}
	tr.model = &model{t: t, Scripted: backend.NewScripted(backend.ScriptedConfig{
		ModelID: "troupe", Parameters: parametersOfTests, Claims: &claims,
		Reply: func(_ context.Context, req *backend.Request) (string, error) { return tr.answer(req) },
		Choose: func(_ context.Context, req *backend.Request, options []backend.Option) (*backend.Choice, error) {
			if about := req.Messages[0].Content; strings.HasPrefix(about, aboutTask) {
				return tr.model.understand(about, options)
			}
			want, err := tr.answer(req)
			if err != nil {
				return nil, err
			}
			return backend.ChooseOption("scripted", want, options)
		},
	})}
	return tr
}

func (tr *troupe) answer(req *backend.Request) (string, error) {
	task := taskOf(req)
	tr.mu.Lock()
	if strings.HasPrefix(req.Messages[0].Content, "You pick") {
		defer tr.mu.Unlock()
		return tr.picks[task], nil
	}
	n := len(tr.asked[task])
	tr.asked[task] = append(tr.asked[task], *req)
	script := tr.scripts[task]
	tr.mu.Unlock()
	if tr.before != nil {
		if err := tr.before(task, n); err != nil {
			return "", err
		}
	}
	if n >= len(script) {
		return "", fmt.Errorf("task %q: request %d: %w", task, n, backend.ErrScriptEnded)
	}
	return script[n], nil
}

// taskOf is the task that a prompt is about.
func taskOf(req *backend.Request) string {
	_, after, _ := strings.Cut(req.Messages[1].Content, "\nTask: ")
	if i := strings.LastIndex(req.Messages[1].Content, "\nTask: "); i >= 0 {
		after = req.Messages[1].Content[i+len("\nTask: "):]
	}
	line, _, _ := strings.Cut(after, "\n")
	return line
}

func newTroupeRig(t *testing.T, tr *troupe, change func(*Options)) *rig {
	r := newRig(t, tr.model, func(o *Options) {
		o.Backend = tr
		o.Registry = testCommands(t, Delegate())
		if change != nil {
			change(o)
		}
	})
	return r
}

func (tr *troupe) Unwrap() backend.LanguageBackend { return tr.Scripted }

// split is the whole task's script: it delegates lines, then answers.
func split(lines string) []string {
	return []string{" split it", " delegate", lines, " that all is done", " answer", " all done"}
}

func says(answer string) []string { return []string{" think", " answer", " " + answer} }

// Independent parts are really worked on at the same time: each waits, in the
// middle of its work, until all have begun.
func TestDelegatedPartsRunTogether(t *testing.T) {
	scripts := map[string][]string{"count all": split("- Count a\n- Count b\n- Count c\n- Count d")}
	for _, part := range []string{"a", "b", "c", "d"} {
		scripts["Count "+part] = says("there are 4 " + part)
	}
	tr := newTroupe(t, true, scripts)
	var begun sync.WaitGroup
	begun.Add(4)
	tr.before = func(task string, n int) error {
		if strings.HasPrefix(task, "Count") && n == 0 {
			begun.Done()
			begun.Wait()
		}
		return nil
	}
	sessions := t.TempDir()
	r := newTroupeRig(t, tr, func(o *Options) { o.SessionsDir = sessions })
	for i, part := range []string{"a", "b", "c", "d"} {
		tr.picks["Count "+part] = []string{"a.txt", "none", "none", "none"}[i]
	}
	r.write(t, "b.txt", "2\n")
	res, err := r.Run(context.Background(), "count all")
	require.NoError(t, err)
	assert.Equal(t, "all done", res.Answer)

	told := r.lastTold("count all", tr)
	assert.Contains(t, told, "Part 1: Count a\nAnswer: there are 4 a\nPart 2: Count b\nAnswer: there are 4 b")
	assert.NotContains(t, told, "template:")
	for part, requests := range tr.asked {
		assert.Equal(t, tr.asked["count all"][0].Messages[0].Content, requests[0].Messages[0].Content, "%s: the fixed part is the same, so that it is evaluated once", part)
	}
	assert.Contains(t, tr.asked["Count a"][0].Messages[1].Content, "a.txt, 8 bytes:\n```\nnothing", "the file that was picked is shown")
	assert.Contains(t, tr.asked["Count a"][0].Messages[1].Content, "Also: b.txt")

	started, ended := r.subtasks()
	assert.Len(t, started, 4)
	require.Len(t, ended, 4)
	sum := Usage{}
	for id, e := range ended {
		assert.True(t, strings.HasPrefix(id, r.ID()+"."), id)
		assert.Equal(t, StopAnswered, e.Stop)
		assert.FileExists(t, filepath.Join(sessions, r.ID()+".children", id+journal.Ext))
		sum.Add(e.Usage)
	}
	assert.Greater(t, res.Usage.PromptTokens, sum.PromptTokens, "the cost of the parts is part of the run's")
	assert.Equal(t, []string{"a.txt"}, started[r.childID(1)].Files)

	list, err := List(sessions)
	require.NoError(t, err)
	assert.Len(t, list, 1, "parts are no runs of their own")
	show, err := Load(r.Path())
	require.NoError(t, err)
	assert.Equal(t, StopAnswered, show.Stop)
	assert.Equal(t, len(r.events), len(show.Events), "the file tells what was told")
}

// childID is the id of the first try of a part of the first step's delegation.
func (r *rig) childID(number int) string {
	started, _ := r.subtasks()
	for id, e := range started {
		if e.Number == number && e.Try == 1 {
			return id
		}
	}
	return "no part began"
}

// subtasks are the events of the parts' beginnings and ends, by session.
func (r *rig) subtasks() (map[string]*SubtaskStarted, map[string]*SubtaskEnded) {
	started, ended := map[string]*SubtaskStarted{}, map[string]*SubtaskEnded{}
	for _, ev := range r.events {
		switch e := ev.Data.(type) {
		case *SubtaskStarted:
			started[ev.Session] = e
			assert.Equal(r.model.t, r.ID(), ev.Parent)
		case *SubtaskEnded:
			ended[ev.Session] = e
		}
	}
	return started, ended
}

func (r *rig) lastTold(task string, tr *troupe) string {
	asked := tr.asked[task]
	msgs := asked[len(asked)-1].Messages
	return msgs[len(msgs)-1].Content
}

// A part that needs another's file waits for it and is told what it brought.
func TestDependentPartsWait(t *testing.T) {
	tr := newTroupe(t, true, map[string][]string{
		"all":                        split("Write 42 to n.txt\nDouble the number in n.txt\nThen say it"),
		"Write 42 to n.txt":          {" write", " writer", " n.txt", "42", " done", " answer", " n.txt holds 42"},
		"Double the number in n.txt": says("84"), "Then say it": says("it is 84"),
	})
	r := newTroupeRig(t, tr, nil)
	_, err := r.Run(context.Background(), "all")
	require.NoError(t, err)
	second := tr.asked["Double the number in n.txt"][0].Messages[1].Content
	assert.Contains(t, second, "n.txt, 3 bytes", "it begins when the file is there")
	assert.Contains(t, second, "Done before by a helper: Write 42 to n.txt\nIts answer:\n```\nn.txt holds 42\n```\n\nTask: Double")
	third := tr.asked["Then say it"][0].Messages[1].Content
	assert.Contains(t, third, "n.txt holds 42")
	assert.Contains(t, third, "```\n84\n```")
	assert.Contains(t, r.lastTold("all", tr), "n.txt is now:\n```\n42\n```", "the parts' files are shown")
}

// What stops by a limit is tried again, warmer; what depends on a part that
// was never done is not begun.
func TestPartsAreTriedAgain(t *testing.T) {
	look := []string{" look", " reader", " a.txt", " so far", " half of it"} // the last two: asked for when its only step is spent
	tr := newTroupe(t, true, map[string][]string{
		"all":         split("Look around\nLook well into x.txt\nTell what is in x.txt"),
		"Look around": slices.Concat(look, look, says("found it")), "Look well into x.txt": slices.Concat(look, look, look),
	})
	tr.picks["Look around"], tr.picks["Look well into x.txt"], tr.picks["Tell what is in x.txt"] = "none", "none", "none"
	r := newTroupeRig(t, tr, func(o *Options) { o.Limits.StepsMax = 2 })
	r.write(t, "b.txt", "")
	_, err := r.Run(context.Background(), "all")
	require.NoError(t, err)
	told := r.lastTold("all", tr)
	assert.Contains(t, told, "delegate failed:")
	assert.Contains(t, told, "Part 1: Look around\nAnswer: found it")
	assert.Contains(t, told, "Part 2, not done (stopped: steps): Look well into x.txt\nFound out so far: half of it")
	assert.Contains(t, told, "Part 3, not done (it needs part 2, which was not done): Tell")
	assert.Empty(t, tr.asked["Tell what is in x.txt"])

	asked := tr.asked["Look around"]
	assert.Nil(t, asked[0].Sampling.Temperature, "the first try is as configured")
	assert.InDelta(t, 0.9, *asked[5].Sampling.Temperature, 1e-9)
	assert.InDelta(t, 1.1, *asked[10].Sampling.Temperature, 1e-9)
	_, ended := r.subtasks()
	assert.Contains(t, ended, r.childID(1)+"r2")
}

func TestSplit(t *testing.T) {
	tr := newTroupe(t, true, map[string][]string{"one": says("1"), "two": says("2")})
	r := newTroupeRig(t, tr, nil)
	res, usage, err := Split(context.Background(), r.opts, []string{"one", "two"})
	require.NoError(t, err)
	assert.Equal(t, "Part 1: one\nAnswer: 1\nPart 2: two\nAnswer: 2", res.Text)
	assert.False(t, res.Failed)
	assert.Positive(t, usage.CompletionTokens)
	_, _, err = Split(context.Background(), Options{}, nil)
	assert.ErrorContains(t, err, "no backend")
}

func TestWhatIsNoDelegation(t *testing.T) {
	for _, tc := range []struct{ name, lines, told string }{
		{"the whole task", "Do  it all.", "This is the whole task"},
		{"nothing", "-", "No parts were named"},
		{"too many", strings.Repeat("a line\n", plan.LinesMax+1), "more than 64 parts"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := newTroupe(t, true, map[string][]string{"Do it all": split(tc.lines)})
			r := newTroupeRig(t, tr, nil)
			_, err := r.Run(context.Background(), "Do it all")
			require.NoError(t, err)
			assert.Contains(t, r.lastTold("Do it all", tr), tc.told)
		})
	}
	_, err := Delegate().Run(context.Background(), &command.Env{}, &command.Call{})
	assert.ErrorContains(t, err, "not called by a session")
}

// A run may delegate more than once; no part is taken for another.
func TestDelegatingTwice(t *testing.T) {
	tr := newTroupe(t, true, map[string][]string{
		"all": slices.Concat(split("one\ntwo")[:3], split("three\ntwo")),
		"one": says("1"), "two": append(says("2"), says("22")...), "three": says("3"),
	})
	for _, part := range []string{"one", "two", "three"} {
		tr.picks[part] = "none"
	}
	r := newTroupeRig(t, tr, func(o *Options) { o.SessionsDir = t.TempDir() })
	_, err := r.Run(context.Background(), "all")
	require.NoError(t, err)
	assert.Contains(t, r.lastTold("all", tr), "Part 2: two\nAnswer: 22")
	started, _ := r.subtasks()
	assert.Len(t, started, 4)
}

// Parts are not split again, whether they choose a command or write its name.
func TestDelegationHasADepth(t *testing.T) {
	again := `{"command":"delegate","summary":"","content":[{"tasks":"x\ny"}]}`
	answer := `{"command":"answer","summary":"","content":[{"answer":"ok"}]}`
	for _, depth := range []int{1, 2} {
		tr := newTroupe(t, false, map[string][]string{
			"all": {`{"command":"delegate","summary":"","content":[{"tasks":["one","two"]}]}`, answer},
			"one": {again, answer}, "two": {answer}, "x": {again, answer}, "y": {answer},
		})
		r := newTroupeRig(t, tr, func(o *Options) { o.Limits.DepthMax = depth })
		_, err := r.Run(context.Background(), "all")
		require.NoError(t, err)
		deepest := map[int]string{1: "one", 2: "x"}[depth]
		assert.Contains(t, r.lastTold(deepest, tr), "not split again")
		assert.Equal(t, depth == 2, len(tr.asked["x"]) > 0)
		if depth == 2 {
			assert.Contains(t, r.lastTold("one", tr), "Part 1: x\nAnswer: ok")
		}
	}

	offered := ""
	tr := newTroupe(t, true, map[string][]string{"all": split("one\ntwo"), "one": says("1"), "two": says("2")})
	r := newTroupeRig(t, tr, nil)
	s, err := New(r.opts)
	require.NoError(t, err)
	s.place.depth = 1
	for _, spec := range s.opts.offered() {
		offered += spec.Name + " "
	}
	assert.Contains(t, offered, "delegate", "it stays in the fixed part of the prompt, which all share")
	for _, spec := range offer(s.phase, s.view(aim{})) {
		assert.NotEqual(t, delegateName, spec.Name, "but can't be chosen")
	}
}

// A part may do what its parent may do, and nothing else.
func TestPartsInheritLimits(t *testing.T) {
	write := []string{" write", " writer", " out.txt", "secret", " done", " answer", " tried"}
	t.Run("approval", func(t *testing.T) {
		tr := newTroupe(t, true, map[string][]string{"all": split("Fill x\nFill y"), "Fill x": write, "Fill y": write})
		tr.picks["Fill x"], tr.picks["Fill y"] = "none", "none"
		inside, most := 0, 0
		var mu sync.Mutex
		r := newTroupeRig(t, tr, func(o *Options) {
			o.Approve = ApproveAsk
			o.Approver = approverOf(func() bool {
				mu.Lock()
				inside++
				most = max(most, inside)
				mu.Unlock()
				defer func() { mu.Lock(); inside--; mu.Unlock() }()
				return false
			})
		})
		r.write(t, "b.txt", "")
		_, err := r.Run(context.Background(), "all")
		require.NoError(t, err)
		assert.NoFileExists(t, filepath.Join(r.dir, "out.txt"))
		assert.Equal(t, 1, most, "a person is asked one question at a time")
		assert.Contains(t, r.lastTold("all", tr), "not done (stopped: refused)")
		assert.Len(t, tr.asked["Fill x"], len(write), "no further try: a person said no")
	})
	t.Run("tokens", func(t *testing.T) {
		tr := newTroupe(t, true, map[string][]string{"all": split("Fill x\nFill y"), "Fill x": write, "Fill y": write})
		tr.picks["Fill x"], tr.picks["Fill y"] = "none", "none"
		r := newTroupeRig(t, tr, nil)
		_, err := r.Run(context.Background(), "all")
		require.NoError(t, err)
		whole := r.speaker.budget.usage.Computed()

		again := newTroupe(t, true, tr.scripts)
		again.picks = tr.picks
		r2 := newTroupeRig(t, again, func(o *Options) { o.Limits.TokensMax = whole / 2 })
		res, err := r2.Run(context.Background(), "all")
		require.NoError(t, err)
		assert.Equal(t, StopTokens, res.Stop)
		assert.Less(t, res.Usage.Computed(), whole)
	})
	t.Run("secrets", func(t *testing.T) {
		tr := newTroupe(t, true, map[string][]string{"all": split("Show x\nShow y"), "Show x": says("it is hunter2hunter2"), "Show y": says("no")})
		tr.picks["Show x"], tr.picks["Show y"] = "none", "none"
		r := newTroupeRig(t, tr, func(o *Options) {
			o.Env.Metadata = map[string]string{"password": "hunter2hunter2"}
			o.SessionsDir = t.TempDir()
		})
		_, err := r.Run(context.Background(), "all")
		require.NoError(t, err)
		assert.NotContains(t, fmt.Sprint(tr.asked), "hunter2")
		files, err := filepath.Glob(filepath.Join(r.opts.SessionsDir, "*", "*"))
		require.NoError(t, err)
		require.Len(t, files, 2)
		for _, f := range append(files, r.Path()) {
			kept, err := os.ReadFile(f)
			require.NoError(t, err)
			assert.NotContains(t, string(kept), "hunter2", f)
		}
	})
	t.Run("every option", func(t *testing.T) {
		tr := newTroupe(t, true, nil)
		r := newTroupeRig(t, tr, func(o *Options) { o.Limits.TokensMax, o.Limits.Timeout = 5, 1<<40 })
		d := &delegation{parent: r.Session}
		o := r.childOptions(d, "x", &subtask{Part: plan.Part{Number: 1}}, 0)
		own := []string{"Sink", "Limits", "SessionsDir", "Sampling"}
		parent, child := reflect.ValueOf(r.opts), reflect.ValueOf(o)
		for i := range parent.NumField() {
			if name := parent.Type().Field(i).Name; !slices.Contains(own, name) {
				assert.Equal(t, fmt.Sprintf("%v", parent.Field(i)), fmt.Sprintf("%v", child.Field(i)), name)
			}
		}
		limits := r.opts.Limits
		limits.StepsMax, limits.Timeout = childStepsMax, 0
		assert.Equal(t, limits, o.Limits)
	})
}

// The end of a run's context ends all that it delegated.
func TestInterruptEndsParts(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	tr := newTroupe(t, true, map[string][]string{"all": split("one\ntwo\nthree"), "one": says("1"), "two": says("2"), "three": says("3")})
	tr.picks["one"], tr.picks["two"], tr.picks["three"] = "none", "none", "none"
	tr.before = func(task string, n int) error {
		if task == "two" && n == 1 {
			cancel()
		}
		return nil
	}
	r := newTroupeRig(t, tr, nil)
	res, err := r.Run(ctx, "all")
	require.NoError(t, err)
	assert.Equal(t, StopInterrupted, res.Stop)
}

// A model that fails in one part ends the others, and the parent is told.
func TestFailingModelEndsParts(t *testing.T) {
	tr := newTroupe(t, true, map[string][]string{"all": split("one\ntwo"), "one": says("1"), "two": says("2")})
	tr.before = func(task string, n int) error {
		if task == "two" {
			return errors.New("out of memory")
		}
		return nil
	}
	r := newTroupeRig(t, tr, nil)
	_, err := r.Run(context.Background(), "all")
	require.NoError(t, err)
	assert.Contains(t, r.lastTold("all", tr), "out of memory")
}
