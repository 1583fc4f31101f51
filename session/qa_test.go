package session

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
	"agent/session/journal"
)

func answerCall(text string) string {
	return `{"command":"answer","summary":"","content":[{"answer":"` + text + `"}]}`
}

func writeCall(path, text string) string {
	return `{"command":"writer","summary":"","content":[{"path":"` + path + `","text":"` + text + `"}]}`
}

// B7, cold logic. What the checks do to a run: what may be wrong sends an answer
// back once, with one clear sentence, and what surely is twice; the third time the
// run ends with it.
func TestColdLogicInARun(t *testing.T) {
	done := []string{" so", " answer", " Done"}
	write := func(name string) []string { return []string{" I write", " writer", " " + name, "hi"} }
	all := func(parts ...[]string) []string { return slices.Concat(parts...) }
	for _, tc := range []struct {
		name, task, result string
		script             []string
		stop               Stop
		held               int
		told               string
	}{
		{"asked for a file, then written", "Put hi in hi.txt", "hi.txt", all(done, write("hi.txt"), done), StopAnswered, 1, "asks for the file hi.txt"},
		{"insists", "Put hi in hi.txt", "hi.txt", all(done, write("b.txt"), done, write("c.txt"), done), StopUnmet, 1, "asks for the file hi.txt"},
		{"written before it answers", "Put hi in hi.txt", "hi.txt", all(write("hi.txt"), done), StopAnswered, 0, ""},
		{"not changed", "Add x to a.txt", "a.txt", all(done, write("a.txt"), done), StopAnswered, 1, "a.txt, and it has not changed"},
		{"no JSON", "Put it in x.json", "x.json", all(write("x.json"), []string{" I write", " writer", " x.json", "[1]"}, done), StopAnswered, 0, "x.json is no valid JSON in line 1"},
		{"claims a file", "Say hi", "", []string{" so", " answer", " I saved it to hi.txt.", " so", " answer", " Done"}, StopAnswered, 1, "names hi.txt, and there is no such file"},
		{"claims one again", "Say hi", "", []string{" so", " answer", " I saved it to hi.txt.", " so", " answer", " It is in hi.txt."}, StopAnswered, 1, "names hi.txt"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newModel(t, true, tc.script...)
			m.yes, m.result = []string{}, tc.result
			if tc.result != "" {
				m.yes = []string{"created or changed"}
			}
			r := newRig(t, m, func(o *Options) { o.Aids = map[Aid]bool{AidWorkFirst: false} })
			res, err := r.Run(context.Background(), tc.task)
			require.NoError(t, err)
			assert.Equal(t, tc.stop, res.Stop)
			assert.Equal(t, tc.stop == StopUnmet, res.Unmet != "", "what is missing is told")
			assert.Equal(t, tc.held, r.held.Count)
			told := ""
			for i := range r.model.requests {
				told += r.lastUser(i)
			}
			assert.Contains(t, told, tc.told)
		})
		t.Run(tc.name+", without", func(t *testing.T) {
			m := newModel(t, true, tc.script...)
			r := newRig(t, m, func(o *Options) { o.Aids = map[Aid]bool{AidColdLogic: false, AidQuestions: false} })
			_, err := r.Run(context.Background(), tc.task)
			require.NoError(t, err)
			assert.Zero(t, r.held.Count)
			assert.Zero(t, m.asked)
		})
	}
}

// What a task wants is asked once for its words; a resumed run remembers it.
func TestWantsAreAskedOnce(t *testing.T) {
	m := newModel(t, true, readThenAnswer[:3]...)
	m.yes, m.result = []string{"created or changed"}, "hi.txt"
	r := newRig(t, m, func(o *Options) { o.SessionsDir, o.Limits.StepsMax = t.TempDir(), 1 })
	r.write(t, "b.txt", "42\n")
	_, err := r.Run(t.Context(), "Put hi in hi.txt")
	require.ErrorIs(t, err, nil)
	require.NoError(t, r.Close())
	want := Wants{Known: true, Writes: true, Result: "hi.txt"}
	assert.Equal(t, want, r.about.wants)

	opts := r.opts
	again := newModel(t, true, readThenAnswer...)
	opts.Backend = again
	s, err := Resume(r.Path(), opts)
	require.NoError(t, err)
	defer s.Close()
	assert.Equal(t, want, s.about.wants)
	_, _ = s.Run(t.Context(), "")
	assert.Zero(t, again.asked)
	_, _ = s.Run(t.Context(), "And now tell me what is in it.")
	assert.NotZero(t, again.asked, "new words are another task")
}

// A file that a command left half written does not count as written, until one
// that does not fail has changed it.
func TestColdLogicDoubtsHalfWrittenFiles(t *testing.T) {
	fails := command.Func(command.Spec{
		Name: "half", Description: "writes half of hi.txt and fails", Effect: command.EffectWrite,
		Slots: []command.Slot{{Name: "part", Kind: command.SlotLine}},
	}, func(_ context.Context, env *command.Env, _ *command.Call) (*command.Result, error) {
		return &command.Result{Text: "Error in line 2", Failed: true}, os.WriteFile(env.WorkDir+"/hi.txt", []byte("h"), 0o600)
	})
	finds := command.Func(command.Spec{
		Name: "finds", Description: "finds the file as it was to be", Effect: command.EffectWrite,
		Slots: []command.Slot{{Name: "file", Kind: command.SlotFile}},
	}, func(context.Context, *command.Env, *command.Call) (*command.Result, error) {
		return &command.Result{Text: "it had exactly this text"}, nil
	})
	find := func(file string) []string { return []string{" so", " finds", " " + file} }
	half, write := []string{" so", " half", " 1"}, []string{" so", " writer", " hi.txt", "hi"}
	done := []string{" so", " answer", " Done"}
	for _, tc := range []struct {
		name   string
		script [][]string
		stop   Stop
	}{
		{"left so", [][]string{half, done, find("a.txt"), done, find("a.txt"), find("hi.txt"), done}, StopAnswered},
		{"written then", [][]string{half, write, done}, StopAnswered},
		{"found right then", [][]string{half, find("hi.txt"), done}, StopAnswered},
		{"another is found right then", [][]string{half, find("a.txt"), done, write, done}, StopAnswered},
		{"written, then spoiled", [][]string{write, half, done, write, done}, StopAnswered},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, newModel(t, true, slices.Concat(tc.script...)...), func(o *Options) {
				o.Registry, o.Aids = testCommands(t, fails, finds), map[Aid]bool{AidWorkFirst: false, AidCircleBreak: false}
			})
			r.model.yes, r.model.result = []string{"created or changed"}, "hi.txt"
			res, err := r.Run(context.Background(), "Put hi in hi.txt")
			require.NoError(t, err)
			assert.Equal(t, tc.stop, res.Stop)
			told := ""
			for i := range r.model.requests {
				told += r.lastUser(i)
			}
			spoiled := strings.Contains(told, "the command that wrote it last failed on the way")
			assert.Equal(t, r.held.Count > 0, spoiled)
			assert.Equal(t, slices.Contains([]string{"left so", "another is found right then", "written, then spoiled"}, tc.name), spoiled)
		})
	}
}

// The examples of the system prompt name files; an answer that speaks of one is
// about the example, unless the task or the folder has such a file.
func TestColdLogicKnowsItsOwnExamples(t *testing.T) {
	const copied = "In garden.txt it says that the gate is green."
	for name, tc := range map[string]struct {
		task  string
		there bool
		held  int
	}{
		"an answer from the example": {"What stands in b.txt?", false, 1},
		"the task speaks of it":      {"Is garden.txt there?", false, 0},
		"such a file is there":       {"What costs what?", true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, newModel(t, true, " I tell it", " answer", " "+copied, " I tell it", " answer", " It is a b."), nil)
			if tc.there {
				r.write(t, "garden.txt", "green\n")
			}
			res, err := r.Run(context.Background(), tc.task)
			require.NoError(t, err)
			assert.Equal(t, tc.held, r.held.Count)
			if tc.held > 0 {
				assert.Equal(t, "It is a b.", res.Answer)
				assert.Contains(t, r.lastUser(-1), "garden.txt has nothing to do with this task")
			}
		})
	}
}

// What can't be written is not asked for.
func TestColdLogicKnowsWhatIsAllowed(t *testing.T) {
	r := newRig(t, newModel(t, true, " so", " answer", " Done"), func(o *Options) { o.Approve = ApproveNever })
	res, err := r.Run(context.Background(), "Write hi to hi.txt")
	require.NoError(t, err)
	assert.Equal(t, "Done", res.Answer)
}

// B7. An answer that was held back comes out nowhere: not in later prompts, not in
// a summary, not as the last words of a run that ends otherwise.
func TestWithheldAnswerNeverLeaks(t *testing.T) {
	const bad = "forty-two bananas"
	r := newRig(t, newModel(t, true,
		" I say it", " answer", " "+bad, "no", " it is about apples.",
		" I read", " reader", " b.txt",
		" so", bad,
	), func(o *Options) { o.QA, o.Limits.StepsMax, o.SessionsDir = true, 2, t.TempDir() })
	r.write(t, "b.txt", "apples\n")
	res, err := r.Run(context.Background(), "How many apples?")
	require.NoError(t, err)
	assert.Equal(t, StopSteps, res.Stop)
	assert.Empty(t, res.Answer, "the last words are what had been held back")
	for i, req := range r.model.requests[4:] {
		if i > 0 { // the request for the reason has it
			assert.NotContains(t, prompt(&req), bad)
		}
	}
	for _, e := range r.talk.entries[:len(r.talk.entries)-1] { // the last turn is the last words themselves
		assert.NotContains(t, e.Text+e.Digest, "bananas")
	}
	old, err := journal.Read(r.Path())
	require.NoError(t, err)
	for _, e := range old.Entries[:len(old.Entries)-1] {
		assert.NotContains(t, e.Text+e.Digest, "bananas", "nor after a resume")
	}
}

// The calls before a withheld answer in the same reply stay.
func TestWithheldAnswerAmongCalls(t *testing.T) {
	r := newRig(t, newModel(t, false,
		"["+writeCall("b.txt", "x")+","+answerCall("I saved it as nowhere.txt.")+"]", answerCall("ok")), nil)
	res, err := r.Run(context.Background(), "task")
	require.NoError(t, err)
	assert.Equal(t, "ok", res.Answer)
	last := prompt(&r.model.requests[len(r.model.requests)-1])
	assert.Contains(t, last, `"path":"b.txt"`)
	assert.Equal(t, 1, strings.Count(last, "nowhere.txt"), "only in the reason")
}

// Each aid can be taken away, and only what it does is gone.
func TestWithoutAids(t *testing.T) {
	run := func(t *testing.T, without Aid) *rig {
		r := newRig(t, newModel(t, true, readThenAnswer...), func(o *Options) { o.Aids = map[Aid]bool{without: false} })
		r.write(t, "b.txt", "the number is 42\n")
		_, err := r.Run(context.Background(), "Which number is in b.txt?")
		require.NoError(t, err)
		return r
	}
	r := run(t, AidNoteStart)
	assert.Equal(t, "Note:", r.model.requests[0].Prefill)
	r = run(t, AidFileHeads)
	assert.NotContains(t, r.lastUser(0), "the number is 42")
	assert.Contains(t, r.lastUser(0), "b.txt, 17 bytes")
	r = run(t, AidRestate)
	assert.NotContains(t, r.lastUser(-1), "Task:")

	r = newRig(t, newModel(t, true, readThenAnswer[1], readThenAnswer[2], readThenAnswer[4], readThenAnswer[5]), func(o *Options) { o.Aids = map[Aid]bool{AidNote: false} })
	r.write(t, "b.txt", "42\n")
	_, err := r.Run(context.Background(), "task")
	require.NoError(t, err)
	assert.Equal(t, "Command:", r.model.requests[0].Prefill)
	assert.NotContains(t, r.model.requests[0].Messages[0].Content, "Note:")

	_, err = New(Options{Backend: r.model, Registry: testCommands(t), Env: r.opts.Env, Aids: map[Aid]bool{"notes": true}})
	assert.ErrorContains(t, err, `unknown aid "notes"`)
}

// The last words of a run that ends otherwise can't be sent back; what speaks
// against them is told to the person.
func TestDoubtsAboutLastWordsAreTold(t *testing.T) {
	r := newRig(t, newModel(t, true, append(readThenAnswer[:3:3], " that it says so", " I wrote it to total.txt.")...),
		func(o *Options) { o.Limits.StepsMax = 1 })
	r.write(t, "b.txt", "42\n")
	_, err := r.Run(context.Background(), "task")
	require.NoError(t, err)
	var warnings string
	for _, ev := range r.events {
		if w, ok := ev.Data.(*Warning); ok {
			warnings += w.Text + "\n"
		}
	}
	assert.Contains(t, warnings, "about the answer: The answer names total.txt, and there is no such file")
}

// A call that fails the same way again and again is a circle although someone
// else changes the work dir all the time.
func TestVainCallsAreACircle(t *testing.T) {
	read := `{"command":"reader","summary":"","content":[{"file":"none.txt"}]}`
	other := `{"command":"reader","summary":"","content":[{"file":"a.txt"}]}`
	m := newModel(t, false, read, other, read, read, answerCall("ok"))
	r := newRig(t, m, nil)
	n := 0
	m.onAsk = func(int) error {
		n++
		r.write(t, "noise.log", strings.Repeat("x", n))
		return nil
	}
	_, err := r.Run(context.Background(), "task")
	require.NoError(t, err)
	assert.NotContains(t, r.lastUser(3), "was not carried out", "once more may help")
	assert.Contains(t, r.lastUser(4), "the same call as in step 3")
}

// A file that the task names can be chosen although it is not there, unless it
// is one that is to be written: reading another in its place would be worse.
func TestMissingFileCanBeChosen(t *testing.T) {
	r := newRig(t, newModel(t, true, " so", " reader", " ghost.txt", " so", " answer", " There is none."), nil)
	r.write(t, "b.txt", "42\n")
	res, err := r.Run(context.Background(), "What is in ghost.txt? Write it to out.txt, or say that it can not be done.")
	require.NoError(t, err)
	assert.Equal(t, "There is none.", res.Answer)
	assert.Contains(t, r.lastUser(3), "no such file")
	assert.Equal(t, []string{"ghost.txt"}, r.watch.missing(r.talk.task, "out.txt"))
}

// A look that is wanted again is no sign that the task is done: another command
// is taken first. And after an answer that was held back, an answer is not all
// that is left.
func TestLookingAgainIsNotBeingDone(t *testing.T) {
	list := command.Func(command.Spec{Name: "list", Description: "lists files", Effect: command.EffectRead},
		func(context.Context, *command.Env, *command.Call) (*command.Result, error) {
			return &command.Result{Text: "a.txt\nb.txt"}, nil
		})
	var offered []string
	r := newRig(t, newModel(t, true,
		" see what is there", " list",
		" see what is there", " list", " read one", " reader", " b.txt", // drawn again without list
		" say it", " answer", " It is in c.txt.", // there is none
		" looking", " list", " look at the other", " reader", " a.txt", // drawn again, and not forced to answer
		" so", " answer", " b.txt does.",
	), func(o *Options) { o.Registry = testCommands(t, list) })
	r.write(t, "b.txt", "42\n")
	r.model.offered = func(options string) { offered = append(offered, options) }
	res, err := r.Run(context.Background(), "Which file has the 42?")
	require.NoError(t, err)
	assert.Equal(t, "b.txt does.", res.Answer)
	assert.Equal(t, " reader| writer| answer", offered[2])
	assert.Equal(t, " reader| writer| answer", offered[5])
}

// Right after an answer was held back for want of work, an answer is no choice;
// after some work it is again.
func TestWorkBeforeTheNextAnswer(t *testing.T) {
	var offered []string
	r := newRig(t, newModel(t, true,
		" say it", " answer", " It is written.",
		" write", " writer", " b.txt", "refund",
		" so", " answer", " It is written.",
	), func(o *Options) { o.Aids = map[Aid]bool{AidWorkFirst: false} })
	r.model.offered = func(options string) { offered = append(offered, options) }
	r.model.yes = []string{"created or changed"}
	_, err := r.Run(context.Background(), "Write refund to b.txt.")
	require.NoError(t, err)
	assert.Equal(t, []string{" reader| writer| answer", " reader| writer", " reader| writer| answer"}, offered)
}
