package session

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/session/guide"
)

// TestGuides: they stand before the task, the outermost first, in the user's role; a
// skill is chosen for each task, and shown once.
func TestGuides(t *testing.T) {
	m := newModel(t, true, "tables", "none", " done", " answer", " yes", "mail", "none", " done", " answer", " sent")
	r := newRig(t, m, func(o *Options) {
		o.Secrets = []string{"hunter2"}
		o.Guides = guide.Guides{
			Instructions: []guide.Instructions{
				{Path: "../AGENTS.md", Text: "Outer. The key is hunter2."},
				{Path: "AGENTS.md", Text: "Inner ``` fence."},
			},
			Skills: []guide.Skill{
				{Name: "tables", Description: "For tables.", Path: "t", Text: "Head line."},
				{Name: "mail", Description: "For mails.", Path: "m", Text: "Be polite."},
			},
		}
	})
	_, err := r.Run(context.Background(), "fill it")
	require.NoError(t, err)
	question, first := r.lastUser(0), r.lastUser(2)
	assert.Contains(
		t,
		question,
		"- tables: For tables.\n- mail: For mails.\n- none: anything else\n\nTask: fill it",
	)
	places := []int{
		strings.Index(first, "../AGENTS.md:"),
		strings.Index(first, " AGENTS.md:"),
		strings.Index(first, "Head line."),
		strings.Index(first, "Task: fill it"),
	}
	assert.IsIncreasing(t, places)
	assert.Positive(t, places[0])
	assert.NotContains(t, first, "hunter2")
	assert.NotContains(t, first, "Be polite.")
	assert.NotContains(
		t,
		m.requests[2].Messages[0].Content,
		"Inner",
		"they are no words of the system",
	)
	_, err = r.Run(context.Background(), "now tell them")
	require.NoError(t, err)
	assert.NotContains(t, prompt(&m.requests[5]), "- tables:", "it was shown before")
	last := r.lastUser(7)
	assert.Contains(t, last, "Be polite.")
	assert.NotContains(t, last, "AGENTS.md")
	assert.Contains(t, r.types(), "session guides")
}

// TestGuidesHaveABudget: the nearest file keeps most, and what is left out is told.
func TestGuidesHaveABudget(t *testing.T) {
	long := strings.Repeat("one two three four\n", 100)
	for name, c := range map[string]struct{ context, most int }{"as configured": {8192, 150}, "a small context": {1400, 1000}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(
				t,
				newModelOf(t, c.context, false, `{"command": "answer", "content": [{"answer": "x"}]}`),
				func(o *Options) {
					o.Limits.GuideTokensMax = c.most
					o.Guides.Instructions = []guide.Instructions{
						{Path: "../AGENTS.md", Text: "Outer. " + long},
						{Path: "AGENTS.md", Text: "Inner. " + long},
					}
				},
			)
			_, err := r.Run(context.Background(), "fill it")
			require.NoError(t, err)
			var told *Guides
			for _, ev := range r.events {
				if g, ok := ev.Data.(*Guides); ok {
					told = g
				}
			}
			require.NotNil(t, told)
			require.Len(t, told.Files, 2)
			assert.Equal(t, "AGENTS.md", told.Files[0].Path)
			assert.Positive(t, told.Files[0].Tokens)
			assert.LessOrEqual(t, told.Files[0].Tokens+told.Files[1].Tokens, c.most)
			assert.True(t, told.Files[0].Cut && told.Files[1].Cut)
			assert.Contains(t, r.lastUser(0), "left out here")
			assert.Contains(t, r.types(), "warning")
		})
	}
}

// TestRuleKeepsGuidesBack: what the reader may not read does not get in by this way.
func TestRuleKeepsGuidesBack(t *testing.T) {
	r := newRig(
		t,
		newModel(t, false, `{"command": "answer", "content": [{"answer": "x"}]}`),
		func(o *Options) {
			o.Rules = Rules{{Path: "AGENTS.md", Do: RuleDeny}}
			o.Guides.Instructions = []guide.Instructions{{Path: "AGENTS.md", Text: "Inner."}}
		},
	)
	_, err := r.Run(context.Background(), "fill it")
	require.NoError(t, err)
	assert.NotContains(t, r.lastUser(0), "Inner.")
}

// TestSkillsAreCalibrated: what a model prefers for no task at all does not count.
func TestSkillsAreCalibrated(t *testing.T) {
	scored := func(values ...float64) (out []backend.ScoredOption) {
		for _, v := range values {
			out = append(out, backend.ScoredOption{Logprob: v})
		}
		return out
	}
	index, lead := calibrated(scored(-1, -3, -9), scored(-1, -6, -8.5))
	assert.Equal(t, 1, index)
	assert.InDelta(t, 3.0, lead, 1e-9)
	index, lead = calibrated(scored(0, math.Inf(-1), math.Inf(-1)), scored(math.Inf(-1), math.Inf(-1), 0))
	assert.Equal(t, 0, index)
	assert.True(t, math.IsInf(lead, 1))
	_, lead = calibrated(scored(-1, -2), scored(-1, -2))
	assert.Less(t, lead, skillMarginMin)
}
