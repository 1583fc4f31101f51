package session

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
)

// A command for one kind of task is offered where the model says that the task is of
// it, told of behind the task, and never part of what is the same for all.
func TestACommandForOneKindOfTask(t *testing.T) {
	labels := command.Func(command.Spec{
		Name: "labels", Description: "Label texts.", For: &command.Kind{Question: "Does the task ask for labels?"},
		Slots: []command.Slot{{Name: "file", Kind: command.SlotFile}},
	}, nil)
	for _, is := range []bool{true, false} {
		m := newModel(t, true, "I label them.", " answer", " done")
		m.isOfKind = is
		offered := ""
		m.offered = func(options string) { offered = options }
		r := newRig(t, m, func(o *Options) { o.Registry = testCommands(t, labels) })
		_, err := r.Run(t.Context(), "Label the texts.")
		require.NoError(t, err)
		assert.Equal(t, []string{"Does the task ask for labels? Reply yes or no."}, m.kinds, "asked once")
		assert.Equal(t, is, strings.Contains(offered, " labels"), offered)
		require.NotEmpty(t, m.requests)
		first := m.requests[len(m.requests)-1].Messages
		assert.NotContains(t, first[0].Content, "labels:", "the fixed part is the same")
		assert.Equal(t, is, strings.Contains(first[1].Content, "There is a new command:\nlabels: Label texts."), first[1].Content)
	}
}

// What can't score is not asked, and not offered such a command.
func TestNoKindsWithoutScores(t *testing.T) {
	labels := command.Func(command.Spec{Name: "labels", For: &command.Kind{Question: "Does the task ask for labels?"}}, nil)
	m := newModel(t, false, `{"command":"answer","content":[{"text":"done"}]}`)
	m.isOfKind = true
	r := newRig(t, m, func(o *Options) { o.Registry = testCommands(t, labels) })
	_, err := r.Run(t.Context(), "Label the texts.")
	require.NoError(t, err)
	assert.Empty(t, m.kinds)
	assert.NotContains(t, prompt(&m.requests[0]), "labels:")
}
