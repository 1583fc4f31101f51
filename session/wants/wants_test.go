package wants

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/session/event"
)

// model says yes by the margins of questions that hold a word, and picks a file.
type model struct {
	margins map[string]float64
	result  string
	lead    float64
	asked   []string
	options []string
}

func (m *model) choose(_ context.Context, req *backend.Request, options []string) (*backend.Choice, error) {
	text := req.Messages[0].Content
	m.asked = append(m.asked, text[strings.LastIndex(text, "\n")+1:])
	if !slices.Equal(options, []string{"yes", "no"}) {
		m.options = options
		return &backend.Choice{Index: slices.Index(options, m.result), Margin: m.lead}, nil
	}
	margin := math.Inf(-1)
	for word, value := range m.margins {
		if strings.Contains(m.asked[len(m.asked)-1], word) {
			margin = value
		}
	}
	return &backend.Choice{Options: []backend.ScoredOption{{Logprob: margin}, {}}}, nil
}

func TestWhatATaskWants(t *testing.T) {
	const write, change, replace, number = "created or changed", "most of it staying", "in several files", "number alone"
	for name, tc := range map[string]struct {
		task  string
		model model
		want  event.Wants
		asked int
	}{
		"an answer":                 {"What is in a.txt?", model{}, event.Wants{}, 2},
		"a number":                  {"How many lines?", model{margins: map[string]float64{number: 3}}, event.Wants{Number: true}, 2},
		"maybe a number":            {"How many lines?", model{margins: map[string]float64{number: 2}}, event.Wants{}, 2},
		"a new file":                {"Sort a.txt into b.txt", model{margins: map[string]float64{write: 1}}, event.Wants{Writes: true, Result: "b.txt"}, 1},
		"one of two new ones":       {"b.txt and c.txt", model{margins: map[string]float64{write: 1}, result: "c.txt", lead: 2}, event.Wants{Writes: true, Result: "c.txt"}, 2},
		"either of two":             {"b.txt and c.txt", model{margins: map[string]float64{write: 1}, result: "c.txt", lead: 0.1}, event.Wants{Writes: true}, 4},
		"one that is there":         {"Mend a.txt", model{margins: map[string]float64{write: 1, change: 2}, result: "a.txt", lead: 2}, event.Wants{Writes: true, Result: "a.txt", Changes: true}, 4},
		"the one that is there":     {"Mend it", model{margins: map[string]float64{write: 1}, result: "sub/d.md", lead: 2}, event.Wants{Writes: true, Result: "sub/d.md"}, 4},
		"several":                   {"Rename x to y", model{margins: map[string]float64{write: 1, replace: 2, change: 2}, result: "a.txt", lead: 2}, event.Wants{Writes: true, Replaces: true}, 3},
		"several, one by one":       {"Mend them", model{margins: map[string]float64{write: 1}, result: "several files", lead: 2}, event.Wants{Writes: true}, 4},
		"the folder is not written": {"Sort a.txt into out/b.txt", model{margins: map[string]float64{write: 1}}, event.Wants{Writes: true, Result: "out/b.txt"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Of(t.Context(), tc.model.choose, Folder{Task: tc.task, Paths: []string{"a.txt", "sub/d.md"}})
			require.NoError(t, err)
			tc.want.Known = true
			assert.Equal(t, tc.want, got)
			assert.Len(t, tc.model.asked, tc.asked, tc.model.asked)
		})
	}
}

// However many files there are, and however long the task is, a question stays
// small.
func TestQuestionsAreBounded(t *testing.T) {
	var paths []string
	for i := range 3000 {
		paths = append(paths, strings.Repeat("x", i%40)+".txt")
	}
	f := Folder{Task: strings.Repeat("Write ä. ", 10_000), Paths: paths}
	assert.Less(t, len(f.About()[0].Content), 8<<10)
	m := model{result: "several files", lead: 1}
	_, _, err := f.Result(t.Context(), m.choose)
	require.NoError(t, err)
	assert.LessOrEqual(t, len(m.options), namesMax+1)
}
