package stock

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
)

// byWord finds a text positive that says so.
func byWord(asked *[]string) func(context.Context, string, string, []string) (command.Judgement, error) {
	return func(_ context.Context, question, text string, options []string) (command.Judgement, error) {
		*asked = append(*asked, question)
		if text == "N/A" {
			return command.Judgement{Probabilities: []float64{0.5, 0.5}}, nil
		}
		if strings.Contains(text, "good") {
			return command.Judgement{Option: 0, Probabilities: []float64{0.9, 0.1}, Margin: 2.2}, nil
		}
		return command.Judgement{Option: 1, Probabilities: []float64{0.4, 0.6}, Margin: 0.4}, nil
	}
}

func TestDecide(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "r.csv"), []byte("id,text\n1,very good\n2,awful\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "r.txt"), []byte("good\nbad\n"), 0o600))
	for _, c := range []struct {
		entry map[string]any
		says  string
		file  string
		holds string
		fails bool
	}{
		{entry: map[string]any{"file": "r.csv", "options": "positive, negative", "save_as": "l.csv"},
			says: "Created l.csv", file: "l.csv", holds: "id,text,label\n1,very good,positive\n2,awful,negative\n"},
		{entry: map[string]any{"file": "r.csv", "options": []any{"positive", "negative"}, "save_as": "m.csv", "column": "text", "label": "mood"},
			says: "positive 1, negative 1", file: "m.csv", holds: "id,text,mood\n1,very good,positive\n2,awful,negative\n"},
		{entry: map[string]any{"file": "r.txt", "options": `["positive", "negative"]`, "save_as": "l.txt", "question": "Is it?"},
			says: "Least certain:\n- line 2: negative 60 %, positive 40 %: bad", file: "l.txt", holds: "positive\nnegative\n"},
		{entry: map[string]any{"texts": []any{"good", "bad", "good"}, "options": "positive;negative", "save_as": "none"}, says: "3 texts decided: positive 2, negative 1."},
		{entry: map[string]any{"text": "good", "options": "positive|negative"}, says: "1 text decided: positive 1, negative 0."},

		{entry: map[string]any{"options": "a, b"}, says: "Say which file", fails: true},
		{entry: map[string]any{"file": "nothere.txt", "options": "a, b"}, says: "nothere.txt: no such file", fails: true},
		{entry: map[string]any{"file": "../r.txt", "options": "a, b"}, says: "only files inside", fails: true},
		{entry: map[string]any{"file": "r.txt", "options": "a"}, says: "at least two options", fails: true},
		{entry: map[string]any{"file": "r.csv", "options": "a, b", "column": "body"}, says: `it has no column "body", only id, text`, fails: true},
		{entry: map[string]any{"file": "r.csv", "options": "a, b", "save_as": "o.csv", "label": "text"}, says: `there is a column "text" already`, fails: true},
		{entry: map[string]any{"file": "r.txt", "options": "a, b", "save_as": ".git/config"}, says: "not written", fails: true},
	} {
		var asked []string
		env := &command.Env{WorkDir: dir, Judge: byWord(&asked)}
		r, err := Decide().Run(t.Context(), env, &command.Call{Command: "decide", Summary: "I label them.", Content: []map[string]any{c.entry}})
		require.NoError(t, err)
		assert.Equal(t, c.fails, r.Failed, r.Text)
		assert.Contains(t, r.Text, c.says)
		if c.file != "" {
			got, err := os.ReadFile(filepath.Join(dir, c.file))
			require.NoError(t, err)
			assert.Equal(t, c.holds, string(got))
			assert.Equal(t, []string{c.file}, r.Files)
		}
		for _, q := range asked {
			if want, given := c.entry["question"]; given {
				assert.Equal(t, want, q)
			} else {
				assert.Equal(t, "I label them.\n\nWhich of the options fits the text?", q)
			}
		}
	}
}

// Only what writes a file is asked about, and without a model that scores there
// is nothing to decide by.
func TestDecideEffects(t *testing.T) {
	d := Decide()
	for save, want := range map[any]command.Effect{"l.csv": command.EffectWrite, "none": command.EffectRead, "": command.EffectRead, nil: command.EffectRead} {
		call := &command.Call{Content: []map[string]any{{"file": "r.txt", "options": "a, b", "save_as": save}}}
		assert.Equal(t, want, command.EffectOf(d, call), save)
	}
	r, err := d.Run(t.Context(), &command.Env{WorkDir: t.TempDir()}, &command.Call{Content: []map[string]any{{"text": "x", "options": "a, b"}}})
	require.NoError(t, err)
	assert.True(t, r.Failed)
	assert.Contains(t, r.Text, "gives no probabilities")
}
