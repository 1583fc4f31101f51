package event

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
)

func TestEventsAreFlatLines(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, data := range []Payload{
		&Started{ID: "x"}, &Note{Step: 1, Text: "n"}, Made(1, &command.Call{Command: "reader"}, false, nil),
		&Approval{Command: "writer"}, &CommandResult{Text: "t"}, &Delta{Text: "d"}, &Warning{Text: "w"}, &Result{Stop: StopAnswered},
	} {
		line, err := json.Marshal(Event{Time: at, Data: data})
		require.NoError(t, err)
		var flat map[string]any
		require.NoError(t, json.Unmarshal(line, &flat))
		assert.Equal(t, data.EventType(), flat["type"])
		assert.Equal(t, "2026-11-21T12:00:00Z", flat["time"])
		var back Event
		require.NoError(t, json.Unmarshal(line, &back))
		assert.Equal(t, data, back.Data)
	}
	line, err := json.Marshal(Event{Time: at, Data: &Result{Answer: "42", Stop: StopAnswered}})
	require.NoError(t, err)
	for _, key := range []string{`"answer":"42"`, `"stop":"answered"`, `"steps":0`, `"wall_ms":0`, `"usage":{"prompt_tokens":0,"evaluated_tokens":0,"cached_tokens":0,"completion_tokens":0,"invalid_replies":0,"repaired_replies":0}`} {
		assert.Contains(t, string(line), key)
	}
}

func TestUsageAddForgetsNothing(t *testing.T) {
	one := Usage{}
	v := reflect.ValueOf(&one).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.CanInt() {
			f.SetInt(3)
		} else {
			f.SetFloat(3)
		}
	}
	sum := Usage{}
	sum.Add(one)
	assert.Equal(t, one, sum)
}
