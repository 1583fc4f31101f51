package compare

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
)

func TestReadTasksRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"": "no tasks",
		"\n{\"prompt\":\"a\"}\n{\"prompt\":\"a\",\"opions\":[]}":    "line 3: json: unknown field \"opions\"",
		`{"prompt":"a"} {"prompt":"b"}`:                             "line 1: more than one JSON value",
		`{"id":"x"}`:                                                "neither prompt nor messages",
		`{"prompt":"a","messages":[{"role":"user","content":"b"}]}`: "both prompt and messages",
		`{"messages":[{"role":"wizard","content":"b"}]}`:            "wizard",
		`{"prompt":"a","options":["x","x"]}`:                        "options 1 and 2 are the same",
		`{"prompt":"a","options":["x","y"],"expected":"z"}`:         `expected "z" is none of the options`,
		`{"prompt":"a","options":["x"],"match":"regexp"}`:           "is for replies",
		`{"prompt":"a","expected":"(","match":"regexp"}`:            "missing closing )",
		`{"prompt":"a","expected":"b","match":"like"}`:              `match "like" is none of`,
		`{"prompt":"a","expected":" . "}`:                           "has no word",
		`{"prompt":"a","expected":3}`:                               "must be a text or a list of texts",
		`{"prompt":"a","max_tokens":-1}`:                            "must not be negative",
	} {
		_, err := ReadTasks(strings.NewReader(in))
		assert.ErrorContains(t, err, want, in)
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		match    Match
		expected string
		answer   string
		want     bool
	}{
		{MatchContains, "Paris", "It is  PARIS.", true},
		{MatchContains, "Paris", "comparison", false},
		{MatchContains, "12", "It is 7 + 5 = 12!", true},
		{MatchContains, "12", "It is 112 or 120", false},
		{MatchContains, "no", "nothing, no", true},
		{MatchContains, "new york", "In New\n York City", true},
		{MatchContains, "é", "cafés", false},
		{MatchContains, "c++", "in C++, of course", true},
		{MatchContains, "x", "", false},
		{MatchExact, "Paris", " paris. ", true},
		{MatchExact, "Paris", "It is Paris", false},
		{MatchRegexp, `^\d+$`, "12", true},
		{MatchRegexp, `^\d+$`, "12.", false},
	} {
		task := Task{Prompt: "p", Expected: Texts{c.expected}, Match: c.match}
		require.NoError(t, task.check())
		assert.Equal(t, c.want, task.matched(c.answer) == 0, "%s %q in %q", c.match, c.expected, c.answer)
	}
}

func scriptedModel(name string, cfg backend.ScriptedConfig) Model {
	return Model{Name: name, Open: func(context.Context) (backend.LanguageBackend, func(), error) {
		return backend.NewScripted(cfg), func() {}, nil
	}}
}

func tasksOf(t *testing.T, lines ...string) []Task {
	t.Helper()
	tasks, err := ReadTasks(strings.NewReader(strings.Join(lines, "\n")))
	require.NoError(t, err)
	return tasks
}

func fourTasks(t *testing.T) []Task {
	return tasksOf(t, `{"prompt":"capital of France?","expected":"Paris"}`, `{"prompt":"Say hello."}`,
		`{"id":"wet","prompt":"Is water wet?","options":["yes","no"],"expected":"yes"}`, `{"messages":[{"role":"user","content":"hot?"}],"options":["a","b"]}`)
}

// TestRun: one model that is always right, one that is wrong, fails once and
// abstains once, and one that does not start.
func TestRun(t *testing.T) {
	closed := 0
	good := scriptedModel("good", backend.ScriptedConfig{Replies: []string{"Paris.", "Hello there"}, Choices: []string{"yes", "a"}, DeltaDelay: time.Millisecond})
	good.Price = &Price{Input: 1, Output: 3, Currency: "EUR"}
	open := good.Open
	good.Open = func(ctx context.Context) (backend.LanguageBackend, func(), error) {
		b, _, err := open(ctx)
		return b, func() { closed++ }, err
	}
	bad := scriptedModel("bad", backend.ScriptedConfig{
		Reply: func(_ context.Context, r *backend.Request) (string, error) {
			if strings.Contains(r.Messages[len(r.Messages)-1].Content, "France") {
				return "London\nof course", nil
			}
			return "", errors.New("out\nof order")
		},
		Choose: func(_ context.Context, _ *backend.Request, options []backend.Option) (*backend.Choice, error) {
			if options[0].Text == "yes" {
				return &backend.Choice{Index: -1, Abstained: true, Reason: "no idea", Method: "text", Options: []backend.ScoredOption{{Text: "yes"}, {Text: "no"}}}, nil
			}
			return backend.ChooseOption("scripted", "a", options)
		},
	})
	broken := Model{Name: "broken", Open: func(context.Context) (backend.LanguageBackend, func(), error) {
		return nil, nil, errors.New("no such file")
	}}
	var progress atomic.Int32
	r := Run(t.Context(), []Model{good, bad, broken}, fourTasks(t), Config{Progress: func(string, int, int) { progress.Add(1) }})

	assert.Equal(t, 1, closed)
	assert.EqualValues(t, 8, progress.Load())
	assert.False(t, r.Interrupted)
	g := r.Models[0].Summary
	assert.Equal(t, []int{4, 0, 2, 2}, []int{g.Done, g.Failed, g.Right, g.Expected})
	assert.Equal(t, 1.0, *g.Accuracy)
	assert.Equal(t, []string{"reply", "scripted"}, g.Methods)
	assert.Equal(t, CountsEstimate, g.Counts)
	assert.Equal(t, "EUR", g.Currency)
	assert.InDelta(t, float64(g.Tokens.Prompt+3*g.Tokens.Reply)/1e6, *g.Cost, 1e-12)
	assert.Positive(t, *g.TokensPerSecond)
	assert.LessOrEqual(t, *g.LatencyMedianMS, *g.LatencyP90MS)
	assert.Positive(t, *g.FirstTextMedianMS)

	b := r.Models[1]
	assert.Equal(t, []int{4, 1, 1, 0, 2}, []int{b.Summary.Done, b.Summary.Failed, b.Summary.Abstained, b.Summary.Right, b.Summary.Expected})
	assert.Contains(t, b.Results[1].Error, "out of order")
	assert.Nil(t, b.Results[1].Correct)
	assert.False(t, *b.Results[2].Correct, "to abstain is not right")
	assert.Nil(t, b.Summary.Cost)
	assert.Equal(t, "no such file", r.Models[2].Error)
	assert.Nil(t, r.Models[2].Summary.Accuracy)

	require.Len(t, r.Agreement, 3)
	assert.Equal(t, []int{1, 2}, []int{r.Agreement[0].Same, r.Agreement[0].Both}, "the option a, of that and the capital")
	assert.Nil(t, r.Agreement[1].Share)
	assert.Equal(t, []int{0, 1, 2}, r.Differences())
	results, models := r.Failures()
	assert.Equal(t, []int{1, 1}, []int{results, models})
}

func TestRequests(t *testing.T) {
	half := 0.5
	m := &modelRun{Model: &Model{}, cfg: Config{System: "be brief", Choose: &backend.ChooseConfig{List: true, Rotate: true}}}
	tasks := tasksOf(t, `{"prompt":"a","max_tokens":7}`, `{"prompt":"a"}`, `{"prompt":"a","options":["x"]}`, `{"messages":[{"role":"user","content":"b"}],"options":["x"]}`)
	r := m.request(&tasks[0])
	assert.Equal(t, []backend.Message{{Role: "system", Content: "be brief"}, {Role: "user", Content: "a"}}, r.Messages)
	assert.Equal(t, 7, r.TokensMax)
	assert.Equal(t, 0.0, *r.Sampling.Temperature)
	m.Temperature, m.TokensMax = &half, 9
	r = m.request(&tasks[1])
	assert.Equal(t, 9, r.TokensMax)
	assert.Equal(t, 0.5, *r.Sampling.Temperature)
	r = m.request(&tasks[2])
	assert.Zero(t, r.TokensMax)
	assert.True(t, r.Choose.List && r.Choose.Rotate)
	r = m.request(&tasks[3])
	assert.False(t, r.Choose.List || r.Choose.Rotate, "messages are taken as they are")
	assert.Len(t, r.Messages, 1)
}

// TestInterrupted: what was done is kept, what was cut off is not a failure.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := 0
	m := scriptedModel("m", backend.ScriptedConfig{Reply: func(ctx context.Context, _ *backend.Request) (string, error) {
		if asked++; asked == 3 {
			cancel()
			<-ctx.Done()
			return "", ctx.Err()
		}
		return "fine", nil
	}})
	var lines []string
	for i := range 6 {
		lines = append(lines, fmt.Sprintf(`{"prompt":"%d"}`, i))
	}
	r := Run(ctx, []Model{m, scriptedModel("next", backend.ScriptedConfig{})}, tasksOf(t, lines...), Config{})
	assert.True(t, r.Interrupted)
	assert.Equal(t, []int{2, 0}, []int{r.Models[0].Summary.Done, r.Models[0].Summary.Failed})
	assert.Nil(t, r.Models[0].Results[2])
	assert.Zero(t, r.Models[1].Summary.Done)
	var page bytes.Buffer
	require.NoError(t, r.WriteHTML(&page))
	assert.Contains(t, page.String(), "interrupted")
	assert.Equal(t, 3, asked)
}

func TestParallel(t *testing.T) {
	var now, most atomic.Int32
	m := scriptedModel("m", backend.ScriptedConfig{Reply: func(context.Context, *backend.Request) (string, error) {
		most.Store(max(most.Load(), now.Add(1)))
		time.Sleep(5 * time.Millisecond)
		now.Add(-1)
		return "fine", nil
	}})
	r := Run(t.Context(), []Model{m}, tasksOf(t, strings.Repeat("{\"prompt\":\"a\"}\n", 12)), Config{Parallel: 3})
	assert.Equal(t, 12, r.Models[0].Summary.Done)
	assert.LessOrEqual(t, most.Load(), int32(3))
	assert.Greater(t, most.Load(), int32(1))
}

func TestCost(t *testing.T) {
	cached := 0.5
	r := &Result{Tokens: Tokens{Prompt: 100, Cached: 40, Reply: 10}}
	assert.Nil(t, (*Price)(nil).of(r))
	assert.InDelta(t, (100*2.0+10*6)/1e6, *(&Price{Input: 2, Output: 6}).of(r), 1e-12)
	assert.InDelta(t, (60*2+40*0.5+10*6)/1e6, *(&Price{Input: 2, CachedInput: &cached, Output: 6}).of(r), 1e-12)
	assert.Nil(t, (&Price{Input: 2}).of(&Result{}), "nothing is known of the tokens")
	assert.Equal(t, "0.000083", money(0.0000832))
	assert.Equal(t, "12.50", money(12.5))
}

func TestWilson(t *testing.T) {
	low, high := wilson(8, 10) // as R's prop.test(8, 10, correct = FALSE)
	assert.InDelta(t, 0.4901625, *low, 1e-6)
	assert.InDelta(t, 0.9433178, *high, 1e-6)
	low, high = wilson(0, 3)
	assert.Zero(t, *low)
	assert.Less(t, *high, 0.6)
	low, _ = wilson(0, 0)
	assert.Nil(t, low)
}

// TestPage: one well-formed page with nothing from elsewhere, in which what
// models and users wrote is text.
func TestPage(t *testing.T) {
	const evil = `<script>alert(1)</script><img src=x onerror="x()">'"&`
	line, err := json.Marshal(map[string]any{"id": evil, "prompt": evil, "expected": evil})
	require.NoError(t, err)
	m := scriptedModel(evil, backend.ScriptedConfig{Replies: []string{evil}})
	m.Price = &Price{Input: 1, Currency: evil}
	failing := scriptedModel("failing", backend.ScriptedConfig{Reply: func(context.Context, *backend.Request) (string, error) { return "", errors.New(evil) }})
	broken := Model{Name: "broken", Open: func(context.Context) (backend.LanguageBackend, func(), error) { return nil, nil, errors.New(evil) }}
	r := Run(t.Context(), []Model{m, failing, broken}, tasksOf(t, string(line)), Config{})
	var page bytes.Buffer
	require.NoError(t, r.WriteHTML(&page))
	text := page.String()
	assert.NotContains(t, text, "<script")
	assert.NotContains(t, text, "<img")
	assert.NotContains(t, text, "ZgotmplZ", "the template refused a value")
	assert.NotContains(t, text, "://", "something from elsewhere")
	assert.NotContains(t, text, "NaN")
	assert.Equal(t, 4, strings.Count(text, "<svg"), "accuracy, latency, speed, cost")
	assert.Contains(t, text, "prefers-color-scheme: dark")
	for _, svg := range strings.SplitAfter(text, "<svg")[1:] {
		checkXML(t, "<svg"+svg[:strings.Index(svg, "</svg>")+len("</svg>")])
	}
	data, err := json.Marshal(r)
	require.NoError(t, err)
	assert.Contains(t, string(data), `"wall_ms":`)
}

func checkXML(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			require.NoError(t, err, "%s", text)
		}
	}
}

func TestScales(t *testing.T) {
	for _, top := range []float64{0, 1e-7, 0.3, 1, 7, 99, 100, 101, 12345} {
		s := linear(top)
		assert.GreaterOrEqual(t, s.high, top)
		assert.LessOrEqual(t, len(s.marks), 8, "%v", top)
		assert.GreaterOrEqual(t, len(s.marks), 3, "%v", top)
		assert.Equal(t, plotRight, s.x(s.high))
	}
	for _, c := range [][2]float64{{0.01, 0.01}, {1, 1}, {3, 700}, {999, 1001}, {0.5, 1e6}} {
		s := logarithmic(c[0], c[1])
		assert.LessOrEqual(t, s.low, c[0])
		assert.GreaterOrEqual(t, s.high, c[1])
		assert.LessOrEqual(t, len(s.marks), 12, "%v", c)
		for _, m := range s.ticks(number) {
			assert.False(t, math.IsNaN(m.X))
			assert.True(t, m.X >= plotLeft && m.X <= plotRight)
		}
	}
}
