package report

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/session/event"
)

// Parts of a task are on the page with what they were and what they came to.
func TestExportedPageTellsTheParts(t *testing.T) {
	item := newItem(&event.Event{Session: "x.1", Data: &event.SubtaskStarted{Number: 1, Task: "count <b>words</b>", Files: []string{"a.txt"}, Try: 2}})
	require.NotNil(t, item)
	assert.Equal(t, "part 1", item.Title)
	assert.Equal(t, "try 2", item.Aside)
	require.Len(t, item.Texts, 2)
	item = newItem(&event.Event{Session: "x.1", Data: &event.SubtaskEnded{Number: 1, Answer: "12 words", Stop: event.StopSteps, Steps: 3}})
	require.NotNil(t, item)
	assert.Equal(t, "part 1: steps", item.Title)
	assert.Equal(t, "bad", item.Class)
	assert.Equal(t, "12 words", item.Texts[0].Lines[0].Text)
}
