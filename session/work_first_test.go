package session

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/command"
)

// What is offered for the next step, by the task and what went before.
func TestWorkComesFirst(t *testing.T) {
	code := command.Func(command.Spec{
		Name: "python", Effect: command.EffectExecute, Slots: []command.Slot{{Name: "code", Kind: command.SlotCode}},
	}, nil)
	maker := command.Func(command.Spec{
		Name: "create_command", Effect: command.EffectExecute,
		Slots: []command.Slot{{Name: "name", Kind: command.SlotLine}, {Name: "code", Kind: command.SlotCode}},
	}, nil)
	const all = "reader writer answer python create_command"
	const work = "reader writer python create_command"
	for name, tc := range map[string]struct {
		task    string
		next    string // how the last result said to go on
		change  func(*Options)
		offered string
	}{
		"a small file is shown whole":     {task: "What does note.txt say?", offered: all},
		"a large one was not":             {task: "What does long.txt say?", offered: work},
		"until something was done":        {task: "What does long.txt say?", next: startRead, offered: all},
		"rows of data are for code":       {task: "Add up rows.csv", offered: "python"},
		"and then free":                   {task: "Add up rows.csv", next: startFailed, offered: all},
		"a file is asked for":             {task: "Write the sum to sum.txt", offered: work},
		"and its answer was held back":    {task: "Write the sum to sum.txt", next: startWithheld, offered: work},
		"no file is named":                {task: "What is two and two?", offered: all},
		"the last step may always answer": {task: "Write the sum to sum.txt", change: func(o *Options) { o.Limits.StepsMax = 1 }, offered: all},
		"without the aid":                 {task: "Add up rows.csv", change: func(o *Options) { o.Aids = map[Aid]bool{AidWorkFirst: false} }, offered: all},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, newModel(t, true), func(o *Options) {
				o.Registry = testCommands(t, code, maker)
				if tc.change != nil {
					tc.change(o)
				}
			})
			r.write(t, "note.txt", "short\n")
			r.write(t, "long.txt", strings.Repeat("a line of text\n", 200))
			r.write(t, "rows.csv", "a,b\n1,2\n")
			r.task = tc.task
			r.snap = takeSnapshot(r.dir, snapshot{})
			r.first = r.snap
			r.entries = []*entry{{Kind: kindTask, Next: tc.next}}
			var names []string
			for _, spec := range r.worthwhile(r.offered()) {
				names = append(names, spec.Name)
			}
			assert.Equal(t, tc.offered, strings.Join(names, " "))
		})
	}
}

// Small files are shown whole as far as there is room, data never is.
func TestSmallFilesAreShownWhole(t *testing.T) {
	r := newRig(t, newModel(t, true), nil)
	text := strings.Repeat("one\n", 200)
	for _, name := range []string{"b.txt", "c.txt", "d.txt", "e.csv"} {
		r.write(t, name, text+"the end of "+name+"\n")
	}
	message := r.firstMessage("look around", takeSnapshot(r.dir, snapshot{}))
	for name, whole := range map[string]bool{"b.txt": true, "c.txt": false, "d.txt": false, "e.csv": false} {
		assert.Equal(t, whole, strings.Contains(message, "the end of "+name), name)
	}
}

// What decides in the model's place binds only models of the sizes that it was
// measured at; a person switches each aid by its name, whatever the size.
func TestAidsFollowTheModelsSize(t *testing.T) {
	const small, large, unknown = 500_000_000, 7_000_000_000, 0
	binding := []Aid{AidNoteStart, AidLookFirst, AidWorkFirst, AidOtherWay, AidRestate}
	for _, parameters := range []int64{135_000_000, small, 1_543_714_304, 2_000_000_000, large, 70_000_000_000, unknown} {
		claims := backend.Capabilities{Prefill: true, ExactChoice: true}
		sized := backend.NewScripted(backend.ScriptedConfig{Parameters: parameters, Claims: &claims})
		for _, b := range []backend.LanguageBackend{sized, &backend.History{LanguageBackend: sized}} {
			r := newRig(t, newModel(t, true), func(o *Options) { o.Backend = b })
			for _, aid := range Aids() {
				want := !slices.Contains(binding, aid) || parameters > 0 && parameters < 2_000_000_000
				assert.Equal(t, want, r.has(aid), "%s of %d", aid, parameters)
				for _, on := range []bool{true, false} {
					r.opts.Aids = map[Aid]bool{aid: on}
					assert.Equal(t, on, r.has(aid), "%s is switched", aid)
				}
				r.opts.Aids = nil
			}
		}
	}
}

// A large model, or one of unknown size, may answer about data without code,
// and begins its notes as it likes.
func TestLargeModelsAreNotBound(t *testing.T) {
	for _, parameters := range []int64{0, 7_000_000_000} {
		m := newModelSized(t, parameters, 8192, true, " think", " answer", " 3")
		r := newRig(t, m, nil)
		r.write(t, "rows.csv", "a,b\n1,2\n")
		res, err := r.Run(context.Background(), "Which is the sum of the row in rows.csv?")
		require.NoError(t, err)
		assert.Equal(t, "3", res.Answer)
		assert.Equal(t, "Note:", m.requests[0].Prefill)
	}
}
