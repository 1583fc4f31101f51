package decide

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/command"
)

func textsOf(s *Source) []string {
	out := make([]string, len(s.Texts))
	for i, t := range s.Texts {
		out[i] = t.Text
	}
	return out
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name, data, column string
		want               []string
		from               string // column
		err                string
	}{
		{name: "a.txt", data: "good\n\n  bad \r\n", want: []string{"good", "", "bad"}},
		{name: "notes", data: "one line", want: []string{"one line"}},
		{name: "a.csv", data: "id,text\n1,\"so, good\"\n2,\n", want: []string{"so, good", ""}, from: "text"},
		{name: "a.csv", data: "\ufeffid;Text;who\n1;fine;Ann of the longest names\n", column: "text", want: []string{"fine"}, from: "Text"},
		{name: "a.csv", data: "id,text\n1,\"two\nlines\"\n", want: []string{"two\nlines"}, from: "text"},
		{name: "a.tsv", data: "a\tb\nx, y\t2\n", want: []string{"x, y"}, from: "a"},
		{name: "a.csv", data: "a,b\nlong text\n", want: []string{"long text"}, from: "a"},
		{name: "a.json", data: `["good", "bad", 3]`, want: []string{"good", "bad", "3"}},
		{name: "a.json", data: `[{"id": 1, "t": "good"}, {"t": null}, {"id": 2}]`, column: "t", want: []string{"good", "", ""}, from: "t"},
		{name: "a.jsonl", data: "{\"n\":1,\"say\":\"good\"}\n\n{\"say\":\"bad\"}\n", want: []string{"good", "", "bad"}, from: "say"},
		{name: "a.ndjson", data: "\"x\"\n", want: []string{"x"}},

		{name: "a.txt", data: "x", column: "text", err: `a.txt: it has lines and no column "text"`},
		{name: "a.csv", data: "id,text\n", err: "a.csv: it has no rows below a header"},
		{name: "a.csv", data: "id,text\n1,2,3\n", err: "a.csv: row 1 has 3 fields, the header 2"},
		{name: "a.csv", data: "id,text\n1,x\n", column: "body", err: `a.csv: it has no column "body", only id, text`},
		{name: "a.csv", data: "id,text\n1,\"x\n", err: "a.csv: parse error on line 2"},
		{name: "a.json", data: `{"a": 1}`, err: "a.json: it is not one JSON list"},
		{name: "a.json", data: `["a"]`, column: "t", err: "a.json: its entries are no objects"},
		{name: "a.json", data: `[{"a": "x"}]`, column: "t", err: `a.json: it has no column "t", only a`},
		{name: "a.jsonl", data: "\"a\"\nb\n", err: "a.jsonl: line 2 is no JSON"},
		{name: "a.jsonl", data: "\"a\" \"b\"\n", err: "a.jsonl: line 1 holds more than one JSON value"},
		{name: "a.txt", data: "\n \n", err: "a.txt: it holds no text"},
		{name: "a.txt", data: "", err: "a.txt: it holds no text"},
		{name: "a.bin", data: "\x00\x01\x02\x00", err: "a.bin is not text"},
		{name: "a.txt", data: strings.Repeat("x\n", TextsMax+1), err: "a.txt: it holds 100001 texts, more than 100000"},
	} {
		s, err := Read(c.name, []byte(c.data), c.column)
		if c.err != "" {
			assert.ErrorContains(t, err, c.err, c.name)
			continue
		}
		require.NoError(t, err, c.name)
		assert.Equal(t, c.want, textsOf(s), c.name)
		assert.Equal(t, c.from, s.Column, c.name)
	}
}

// byLength is sure of long texts, and can't take very long ones.
func byLength(_ context.Context, _, text string, options []string) (command.Judgement, error) {
	switch n := len(text); {
	case n > 40:
		return command.Judgement{}, fmt.Errorf("model: %w", &backend.ContextError{Tokens: n, Max: 40})
	case n > 9:
		return command.Judgement{Option: 1, Probabilities: []float64{0.1, 0.9}, Margin: 2.2}, nil
	case n == 1:
		return command.Judgement{Option: -1, Probabilities: []float64{0.5, 0.5}, Why: "leads by 0"}, nil
	}
	return command.Judgement{Option: 0, Probabilities: []float64{0.55, 0.45}, Margin: 0.2}, nil
}

var question = Question{Text: "Is it long?", Options: []string{"short", "long"}}

func TestRunAndWrite(t *testing.T) {
	long := strings.Repeat("y", 41)
	table := "n,text\n1,few words\n2,a longer text\n3,\n4," + long + "\n"
	s, err := Read("t.csv", []byte(table), "text")
	require.NoError(t, err)
	var told []string
	r, err := Run(t.Context(), s, question, byLength, func(v Verdict) error {
		told = append(told, v.Place()+"="+v.Label)
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"row 1=short", "row 2=long", "row 3=", "row 4="}, told)
	assert.Equal(t, []Count{{"short", 1}, {"long", 1}}, r.Counts())
	assert.Equal(t, "row 4", r.TooLong()[0].Place())
	assert.Equal(t, 1, r.Empty())
	assert.Equal(t, "row 1", r.LeastCertain(5)[0].Place())
	report := r.Report()
	for _, want := range []string{"2 texts decided, of the column text: short 1, long 1.", "1 place without text", "row 4: prompt has 41 tokens",
		"row 1: short 55 %, long 45 %: few words", "a lead under 0.5 nats, which could as well be decided otherwise: 1."} {
		assert.Contains(t, report, want)
	}
	for name, want := range map[string]string{
		"out.csv":   "n,text,label\n1,few words,short\n2,a longer text,long\n3,,\n4," + long + ",\n",
		"out.tsv":   "n\ttext\tlabel\n1\tfew words\tshort\n2\ta longer text\tlong\n3\t\t\n4\t" + long + "\t\n",
		"out.txt":   "short\nlong\n\n\n",
		"":          "short\nlong\n\n\n",
		"out.jsonl": `{"place":"row 1","text":"few words","label":"short","margin":0.2,"close":true,"probabilities":{"long":0.45,"short":0.55}}` + "\n",
		"out.json":  "[\n  {\n    \"place\": \"row 1\",",
	} {
		var out strings.Builder
		require.NoError(t, r.Write(&out, name, LabelDefault))
		assert.True(t, strings.HasPrefix(out.String(), want), "%s: %s", name, out.String())
	}
	assert.Contains(t, r.Question.line(r.Verdicts[3]).Why, "41 tokens")
}

// Labels go into a column of their own, or into one that is there and empty.
func TestLabelsNeverReplaceWhatIsThere(t *testing.T) {
	s, err := Read("t.csv", []byte("text,mood\nfew words,\n"), "text")
	require.NoError(t, err)
	require.NoError(t, s.CheckWrite("out.csv", "mood"))
	r, err := Run(t.Context(), s, question, byLength, nil)
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, r.Write(&out, "out.csv", "mood"))
	assert.Equal(t, "text,mood\nfew words,short\n", out.String())

	s, err = Read("t.csv", []byte("text,mood\nfew,\nwords,glad\n"), "text")
	require.NoError(t, err)
	assert.ErrorContains(t, s.CheckWrite("out.csv", "mood"), `there is a column "mood" already, and row 2 has "glad" in it`)
	assert.NoError(t, s.CheckWrite("out.txt", "mood"))
	assert.NoError(t, s.CheckWrite("out.csv", LabelDefault))
}

func TestTextsOfACall(t *testing.T) {
	r, err := Run(t.Context(), FromTexts("few words", "x"), question, byLength, nil)
	require.NoError(t, err)
	assert.Empty(t, r.TooLong())
	assert.Equal(t, "entry 2", r.Undecided()[0].Place(), "what abstains has no label, and was not too long")
	var out strings.Builder
	require.NoError(t, r.Write(&out, "o.csv", LabelDefault))
	assert.Equal(t, "text,label\nfew words,short\nx,\n", out.String())
}

func TestBadQuestions(t *testing.T) {
	for want, q := range map[string]Question{
		"there is no question":         {Options: []string{"a", "b"}},
		"there must be at least two":   {Text: "?", Options: []string{"a"}},
		"options 1 and 2 are the same": {Text: "?", Options: []string{"a", "a"}},
		"choose: option 2 is empty":    {Text: "?", Options: []string{"a", ""}},
	} {
		_, err := Run(t.Context(), FromTexts("x"), q, byLength, nil)
		assert.ErrorContains(t, err, want)
	}
}

// A model that only says a name has no probabilities to go by.
func TestOnlyScoresDecide(t *testing.T) {
	for _, method := range []string{"text", "schema", "human", "scripted", "random"} {
		judge := By(func(_ context.Context, _ *backend.Request, options []backend.Option) (*backend.Choice, error) {
			return backend.ChooseOption(method, "a", options)
		}, nil)
		_, err := Run(t.Context(), FromTexts("x"), Question{"?", []string{"a", "b"}}, judge, nil)
		assert.ErrorIs(t, err, ErrNoScores, method)
	}
}

// A label that is likely for a text of nothing is none the likelier for that.
func TestCalibrated(t *testing.T) {
	asked := map[string]int{}
	judge := Calibrated(func(_ context.Context, _, text string, _ []string) (command.Judgement, error) {
		asked[text]++
		p := map[string][]float64{contentFree: {0.2, 0.8}, "glad": {0.4, 0.6}, "sad": {0.1, 0.9}, "so": {0.2, 0.8}}[text]
		return command.Judgement{Option: 1, Probabilities: p}, nil
	})
	r, err := Run(t.Context(), FromTexts("glad", "sad", "so"), Question{"?", []string{"a", "b"}}, judge, nil)
	require.NoError(t, err)
	assert.Equal(t, 1, asked[contentFree], "asked once")
	assert.Equal(t, "a", r.Verdicts[0].Label)
	assert.InDelta(t, 2/(2+0.75), r.Verdicts[0].Probabilities[0], 1e-9)
	assert.InDelta(t, math.Log(2/0.75), r.Verdicts[0].Margin, 1e-9)
	assert.Equal(t, "b", r.Verdicts[1].Label)
	assert.InDelta(t, 0, r.Verdicts[2].Margin, 1e-9)
}
