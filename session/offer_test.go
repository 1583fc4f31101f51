package session

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/command"
	"agent/session/journal"
	"agent/session/workdir"
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
		result  string        // the file that is to be written
		phase   journal.Phase // fresh when empty
		change  func(*Options)
		offered string
	}{
		"a small file is shown whole":     {task: "What does note.txt say?", offered: all},
		"a large one was not":             {task: "What does long.txt say?", offered: work},
		"until something was done":        {task: "What does long.txt say?", phase: journal.PhaseRead, offered: all},
		"rows of data are for code":       {task: "Add up rows.csv", offered: "python"},
		"and then free":                   {task: "Add up rows.csv", phase: journal.PhaseFailed, offered: all},
		"a file is asked for":             {task: "Write the sum to sum.txt", result: "sum.txt", offered: work},
		"and its answer was held back":    {task: "Write the sum to sum.txt", result: "sum.txt", phase: journal.PhaseWithheld, offered: work},
		"no file is named":                {task: "What is two and two?", offered: all},
		"the last step may always answer": {task: "Write the sum to sum.txt", result: "sum.txt", change: func(o *Options) { o.Limits.StepsMax = 1 }, offered: all},
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
			r.talk.task = tc.task
			r.about.wants = Wants{Known: tc.result != "", Writes: tc.result != "", Result: tc.result}
			r.watch.now = workdir.Take(r.dir, workdir.Snapshot{})
			r.watch.first = r.watch.now
			r.phase = cmp.Or(tc.phase, journal.PhaseFresh)
			var names []string
			for _, spec := range offer(r.phase, r.view(aim{})) {
				names = append(names, spec.Name)
			}
			assert.Equal(t, tc.offered, strings.Join(names, " "))
		})
	}
}

// What may be chosen follows from the phase and the view alone.
func TestOffer(t *testing.T) {
	file := command.Slot{Name: "file", Kind: command.SlotFile}
	commands := []command.Spec{
		{Name: "list", Effect: command.EffectRead},
		{Name: "reader", Effect: command.EffectRead, Slots: []command.Slot{file}},
		{Name: "writer", Effect: command.EffectWrite, Slots: []command.Slot{file, {Name: "text", Kind: command.SlotText}}},
		{Name: "python", Effect: command.EffectExecute, Slots: []command.Slot{{Name: "code", Kind: command.SlotCode}}},
		{Name: delegateName}, {Name: "answer", Final: true},
	}
	const all, work = "list reader writer python answer", "list reader writer python"
	data, text := []string{"a.csv"}, []string{"a.txt"}
	for name, tc := range map[string]struct {
		phase journal.Phase
		view  view
		want  string
	}{
		"nothing speaks against any":    {journal.PhaseFresh, view{shown: true, workFirst: true, stepsLeft: 9}, all},
		"the task may be split":         {journal.PhaseFresh, view{shown: true, splits: true}, "list reader writer python delegate answer"},
		"wanted in vain":                {journal.PhaseStuck, view{shown: true, barred: "python"}, "list reader writer answer"},
		"the task wants no file":        {journal.PhaseFresh, view{shown: true, workFirst: true, known: true, keeps: true, stepsLeft: 9}, "list reader python answer"},
		"without the aid, it may write": {journal.PhaseFresh, view{shown: true, known: true, keeps: true, stepsLeft: 9}, all},
		"nothing else is left":          {journal.PhaseDone, view{ends: true, workFirst: true, missing: true, stepsLeft: 9}, "answer"},
		"last words":                    {journal.PhaseLastWords, view{heldBack: true}, "answer"},
		"data":                          {journal.PhaseFresh, view{files: data, data: true, workFirst: true, stepsLeft: 9}, "python"},
		"data, without code":            {journal.PhaseFresh, view{files: data, data: true, workFirst: true, stepsLeft: 9, barred: "python"}, "list reader writer"},
		"data, after the first step":    {journal.PhaseDone, view{files: data, data: true, workFirst: true, stepsLeft: 9}, all},
		"data, and no steps":            {journal.PhaseFresh, view{files: data, data: true, workFirst: true, stepsLeft: 1}, all},
		"data, without the aid":         {journal.PhaseFresh, view{files: data, data: true, stepsLeft: 9}, all},
		"not shown whole":               {journal.PhaseFresh, view{files: text, workFirst: true, stepsLeft: 9}, work},
		"shown whole":                   {journal.PhaseFresh, view{files: text, shown: true, workFirst: true, stepsLeft: 9}, all},
		"a file is missing":             {journal.PhaseFresh, view{shown: true, missing: true, workFirst: true, stepsLeft: 9}, work},
		"a file is missing, held back":  {journal.PhaseWithheld, view{shown: true, missing: true, workFirst: true, stepsLeft: 9}, work},
		"a file is missing, tried":      {journal.PhaseFailed, view{shown: true, missing: true, workFirst: true, stepsLeft: 9}, all},
		"a command was made":            {journal.PhaseDone, view{shown: true, made: "python", workFirst: true, stepsLeft: 9}, "list reader writer"},
		"it was made, without the aid":  {journal.PhaseDone, view{shown: true, made: "python", stepsLeft: 9}, all},
		"it was not made":               {journal.PhaseFailed, view{shown: true, made: "python", workFirst: true, stepsLeft: 9}, all},
		"held back for want of work":    {journal.PhaseWithheld, view{shown: true, heldBack: true, stepsLeft: 1}, work},
		"a run that only reads":         {journal.PhaseFresh, view{files: text, lookFirst: true}, "reader"},
		"a run that has read":           {journal.PhaseRead, view{files: text, lookFirst: true}, all},
		"a run that has nothing named":  {journal.PhaseFresh, view{shown: true, lookFirst: true}, all},
	} {
		t.Run(name, func(t *testing.T) {
			tc.view.commands = commands
			var names []string
			for _, spec := range offer(tc.phase, tc.view) {
				names = append(names, spec.Name)
			}
			assert.Equal(t, tc.want, strings.Join(names, " "))
			assert.Len(t, commands, 6, "the view is left as it was")
		})
	}
	only := []command.Spec{{Name: "answer", Final: true}}
	assert.Equal(t, only, offer(journal.PhaseFresh, view{commands: only, workFirst: true, stepsLeft: 9, missing: true, heldBack: true}), "no work can be done")
}

// Files of earlier versions name a phase by the label of its note.
func TestPhasesOfEarlierVersions(t *testing.T) {
	for old, want := range map[string]journal.Phase{
		"start_first": journal.PhaseFresh, "start_look": journal.PhaseUncertain, "start_again": journal.PhaseCircling, "start_other": journal.PhaseStuck,
		"start_failed": journal.PhaseFailed, "start_withheld": journal.PhaseWithheld, "start_wrote": journal.PhaseWrote, "withheld": journal.PhaseWithheld,
	} {
		var e journal.Entry
		require.NoError(t, json.Unmarshal([]byte(`{"kind":"result","next":"`+old+`"}`), &e))
		assert.Equal(t, want, e.Next)
	}
}

// Each phase has its words.
func TestPhasesHaveLabels(t *testing.T) {
	words, err := newPrompts()
	require.NoError(t, err)
	for _, p := range []journal.Phase{
		journal.PhaseFresh, journal.PhaseDone, journal.PhaseRead, journal.PhaseWrote, journal.PhaseEmpty, journal.PhaseFailed, journal.PhaseRefused, journal.PhaseWithheld,
		journal.PhaseUncertain, journal.PhaseCircling, journal.PhaseStuck, journal.PhaseFinished, journal.PhaseLastWords,
	} {
		assert.Regexp(t, "^ [A-Za-z]", words.render("start_"+string(p), ""), p)
	}
}

// Small files are shown whole as far as there is room, data never is.
func TestSmallFilesAreShownWhole(t *testing.T) {
	r := newRig(t, newModel(t, true), nil)
	text := strings.Repeat("one\n", 200)
	for _, name := range []string{"b.txt", "c.txt", "d.txt", "e.csv"} {
		r.write(t, name, text+"the end of "+name+"\n")
	}
	r.watch.look()
	message := r.firstMessage("look around")
	for name, whole := range map[string]bool{"b.txt": true, "c.txt": false, "d.txt": false, "e.csv": false} {
		assert.Equal(t, whole, strings.Contains(message, "the end of "+name), name)
	}
}

// What decides in the model's place binds only models of the sizes that it was
// measured at; a person switches each aid by its name, whatever the size.
func TestAidsFollowTheModelsSize(t *testing.T) {
	const small, large, unknown = 500_000_000, 7_000_000_000, 0
	binding := []Aid{AidNoteStart, AidLookFirst, AidWorkFirst, AidOtherWay, AidRestate, AidTables}
	for _, parameters := range []int64{135_000_000, small, 1_543_714_304, 2_000_000_000, large, 70_000_000_000, unknown} {
		claims := backend.Capabilities{Prefill: true, ExactChoice: true}
		sized := backend.NewScripted(backend.ScriptedConfig{Parameters: parameters, Claims: &claims})
		for _, b := range []backend.LanguageBackend{sized, &backend.History{LanguageBackend: sized}} {
			r := newRig(t, newModel(t, true), func(o *Options) { o.Backend = b })
			for _, aid := range Aids() {
				want := !slices.Contains(binding, aid) || parameters > 0 && parameters < 2_000_000_000
				if aid == AidQuestions {
					want = parameters >= 1_000_000_000
				}
				assert.Equal(t, want, r.opts.has(aid), "%s of %d", aid, parameters)
				for _, on := range []bool{true, false} {
					r.opts.Aids = map[Aid]bool{aid: on}
					assert.Equal(t, on, r.opts.has(aid), "%s is switched", aid)
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

// What is offered fits what the task wants, where that is known.
func TestOfferFitsTheTask(t *testing.T) {
	file := command.Slot{Name: "file", Kind: command.SlotFile}
	commands := []command.Spec{
		{Name: "reader", Effect: command.EffectRead, Slots: []command.Slot{file}},
		{Name: "writer", Effect: command.EffectWrite, Slots: []command.Slot{{Name: "file"}, {Name: "text", Kind: command.SlotText}}},
		{Name: "edit", Effect: command.EffectWrite, Slots: []command.Slot{file, {Name: "first", Kind: command.SlotPlace}}},
		{Name: "replace", Effect: command.EffectWrite, Slots: []command.Slot{{Name: "old"}}, Folders: []string{"files"}},
		{Name: "python", Effect: command.EffectExecute, Slots: []command.Slot{{Name: "code", Kind: command.SlotCode}}},
		{Name: "answer", Final: true},
	}
	for name, tc := range map[string]struct {
		phase journal.Phase
		view  view
		want  string
	}{
		"nobody knows":                 {journal.PhaseFresh, view{}, "reader writer edit replace python answer"},
		"no file":                      {journal.PhaseFresh, view{known: true, keeps: true}, "reader python answer"},
		"a number alone is computed":   {journal.PhaseFresh, view{known: true, keeps: true, counts: true}, "python"},
		"what stands in a long text":   {journal.PhaseFresh, view{known: true, keeps: true, files: []string{"a.txt"}}, "reader"},
		"what stands in two":           {journal.PhaseFresh, view{known: true, keeps: true, files: []string{"a.txt", "b.txt"}}, "reader python"},
		"a new file":                   {journal.PhaseFresh, view{known: true}, "reader writer python answer"},
		"a text in several files":      {journal.PhaseFresh, view{known: true, replaces: true}, "replace"},
		"and then other ways":          {journal.PhaseFailed, view{known: true, replaces: true}, "reader replace python answer"},
		"a part of a long file":        {journal.PhaseFresh, view{known: true, mends: true}, "edit"},
		"and then not all of it":       {journal.PhaseDone, view{known: true, mends: true}, "reader edit replace python answer"},
		"but in the last step":         {journal.PhaseDone, view{known: true, mends: true, stepsLeft: 1}, "reader writer edit replace python answer"},
		"a large model does as it may": {journal.PhaseFresh, view{known: true, keeps: true, stepsLeft: -1}, "reader writer edit replace python answer"},
	} {
		t.Run(name, func(t *testing.T) {
			v := tc.view
			v.commands, v.shown, v.workFirst = commands, len(v.files) == 0, v.stepsLeft >= 0
			v.stepsLeft = cmp.Or(v.stepsLeft, 9)
			assert.Equal(t, tc.want, strings.Join(namesOf(offer(tc.phase, v)), " "))
		})
	}
}
