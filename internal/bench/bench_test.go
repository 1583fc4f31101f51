package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []float64
		want   Spread
	}{
		{"one", []float64{4}, Spread{Mean: 4, Median: 4, Low: 4, High: 4}},
		{"odd, unsorted", []float64{5, 1, 3}, Spread{Mean: 3, Stddev: 2, Median: 3, Low: 2, High: 4}},
		{"even", []float64{1, 2, 3, 4}, Spread{Mean: 2.5, Stddev: math.Sqrt(5.0 / 3), Median: 2.5, Low: 1.75, High: 3.25}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := NewSpread(c.values)
			assert.Equal(t, c.values, got.Values)
			got.Values = nil
			assert.Equal(t, c.want, got)
		})
	}
}

func TestSpreadOfNothingIsNullInJSON(t *testing.T) {
	raw, err := json.Marshal(NewSpread(nil))
	require.NoError(t, err)
	assert.JSONEq(t, `{"mean":null,"stddev":null,"median":null,"quartile_low":null,"quartile_high":null,"values":null}`, string(raw))
}

func TestCompareAlternatesAndDropsTheWarmUp(t *testing.T) {
	var order []string
	take := func(name string, values ...float64) side {
		return func(context.Context) (float64, error) {
			order = append(order, name)
			v := values[0]
			values = values[1:]
			return v, nil
		}
	}
	// The warm-up would spoil every number if it counted.
	p := Probe{Checks: []Check{{Name: "x", Target: 0.9}}, Round: alternate(take("a", 1000, 9, 20, 30), take("b", 1, 10, 20, 40))}
	var rounds []int
	out, err := Compare(t.Context(), []Probe{p}, 3, func(n int) { rounds = append(rounds, n) })
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b", "b", "a", "a", "b", "b", "a"}, order)
	assert.Equal(t, []int{0, 1, 2, 3}, rounds)
	require.Len(t, out, 1)
	assert.Equal(t, []float64{0.9, 1, 0.75}, out[0].Ratio.Values)
	assert.InDelta(t, 0.9, out[0].Ratio.Median, 1e-9, "the median of ratios, not the ratio of medians")
	assert.True(t, out[0].Met)
	assert.InDelta(t, 0.75, out[0].OfBest, 1e-9)
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		name   string
		atMost bool
		pair   Pair
		met    bool
	}{
		{"reached", false, Pair{97, 100}, true},
		{"missed", false, Pair{96.9, 100}, false},
		{"short enough", true, Pair{0.2, 1}, true},
		{"too long", true, Pair{0.21, 0.2}, false},
		{"nothing measured", false, Pair{0, 0}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.met, Check{Target: 0.97, AtMost: c.atMost}.judge([]Pair{c.pair}).Met)
		})
	}
}

func TestCompareReportsWhichCheckFailed(t *testing.T) {
	broken := errors.New("no such program")
	p := Probe{Checks: []Check{{Name: "decode"}}, Round: func(context.Context, bool) ([]Pair, error) { return nil, broken }}
	_, err := Compare(t.Context(), []Probe{p}, 3, nil)
	assert.ErrorIs(t, err, broken)
	assert.ErrorContains(t, err, "decode")
	_, err = Compare(t.Context(), nil, 0, nil)
	assert.ErrorContains(t, err, "0 rounds, must be 1 to 1000")
}

func TestParseTools(t *testing.T) {
	v, err := parseBench([]byte(`[{"n_prompt": 512, "n_gen": 0, "avg_ns": 1, "avg_ts": 286.5, "samples_ts": [286.5]}]`))
	require.NoError(t, err)
	assert.Equal(t, 286.5, v)
	for _, bad := range []string{``, `[]`, `[{"avg_ts":0}]`, `[{"avg_ts":1},{"avg_ts":2}]`, `{"avg_ts":1}`} {
		_, err := parseBench([]byte(bad))
		assert.Error(t, err, bad)
	}
	v, err = parseBatched([]byte("some log line\n{\"pp\": 16, \"tg\": 64, \"pl\": 4, \"speed_tg\": 150.0, \"speed\": 171.25}\n\n"))
	require.NoError(t, err)
	assert.Equal(t, 171.25, v)
	_, err = parseBatched([]byte("{}\n"))
	assert.Error(t, err)
}

// A stand-in for llama-bench shows that its output, its failure and its
// absence are told apart.
func TestToolsRunPrograms(t *testing.T) {
	dir := t.TempDir()
	_, err := NewTools(dir, Settings{})
	var hinter interface{ Hint() string }
	require.ErrorAs(t, err, &hinter)
	assert.ErrorIs(t, err, os.ErrNotExist)

	script := func(name, body string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body), 0o700))
	}
	script(llamaBench, `echo '[{"avg_ts": 12.5}]'`)
	script(batchedBench, `echo "cannot load $2" >&2; exit 3`)
	_, err = NewTools(dir, Settings{})
	require.ErrorContains(t, err, "llama-server is not in")
	script(llamaServer, "")
	tools, err := NewTools(dir, Settings{Model: "m.gguf", Threads: 2, Ubatch: 512})
	require.NoError(t, err)
	v, err := tools.Prefill(t.Context(), 512)
	require.NoError(t, err)
	assert.Equal(t, 12.5, v)
	_, err = tools.DecodeTogether(t.Context(), 4, 16, 64)
	assert.ErrorContains(t, err, "cannot load m.gguf")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = tools.Decode(ctx, 1)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestArgumentsCarryTheSettings(t *testing.T) {
	tools := &Tools{Settings: Settings{Model: "m", Threads: 3, Ubatch: 256, KVType: "q8_0", FlashAttn: "off", LoadMode: "none", GPULayers: 0}}
	for name, args := range map[string][]string{"bench": tools.BenchArgs(512, 0), "batched": tools.BatchedArgs(4, 16, 64),
		"server": tools.LlamaServerArgs(1)} {
		for _, want := range [][]string{{"-m", "m"}, {"-t", "3"}, {"-ub", "256"}, {"-ctk", "q8_0"}, {"-ctv", "q8_0"}, {"-fa", "off"}, {"-lm", "none"}, {"-ngl", "0"}} {
			at := slices.Index(args, want[0])
			require.GreaterOrEqual(t, at, 0, "%s: %s", name, want[0])
			assert.Equal(t, want[1], args[at+1], "%s: %s", name, want[0])
		}
	}
	ours := tools.AgentServeArgs(1)
	for _, want := range []string{"m", "llm.threads=3", "llm.ubatch_size=256", "llm.kv_type=q8_0", "llm.flash_attn=false", "llm.mmap=false", "llm.mlock=false", "llm.gpu_layers=0"} {
		assert.Contains(t, ours, want)
	}
}

// steady is an engine whose speed is known.
type steady struct{ calls []string }

func (s *steady) work(name string, tokens int) (Work, error) {
	s.calls = append(s.calls, name)
	return Work{Tokens: tokens, Wall: time.Second * time.Duration(tokens) / 100}, nil
}
func (s *steady) Prefill(_ context.Context, n int) (Work, error) { return s.work("prefill", n) }
func (s *steady) Decode(_ context.Context, n int) (Work, error)  { return s.work("decode", n) }
func (s *steady) DecodeTogether(_ context.Context, r, p, n int) (Work, error) {
	return s.work("together", r*(p+n))
}
func (s *steady) DecodePrompted(_ context.Context, n int, schema bool) (Work, error) {
	return s.work(map[bool]string{true: "schema", false: "free"}[schema], n)
}
func (s *steady) NewQuestion(_ context.Context, n int) (Work, error) { return s.work("question", n) }
func (s *steady) Choose(_ context.Context, n int, one bool) (Work, error) {
	if one {
		return s.work("one by one", 5*n)
	}
	return s.work("choose", n)
}

func TestSpeed(t *testing.T) {
	e := &steady{}
	r, err := Speed(t.Context(), e, SpeedConfig{Repeat: 2})
	require.NoError(t, err)
	assert.Equal(t, []string{"prefill", "prefill", "prefill", "decode", "decode", "decode"}, e.calls)
	assert.Equal(t, 100.0, r.PromptTokensPerSecond.Mean)
	assert.Equal(t, 0.0, r.GenTokensPerSecond.Stddev)
	assert.Equal(t, []int{512, 64, 1, 2}, []int{r.PromptTokens, r.GenTokens, r.Parallel, r.Repeat})

	e = &steady{}
	_, err = Speed(t.Context(), e, SpeedConfig{Repeat: 1, Parallel: 4})
	require.NoError(t, err)
	assert.Equal(t, []string{"prefill", "prefill", "together", "together"}, e.calls)

	_, err = Speed(t.Context(), e, SpeedConfig{PromptTokens: -1})
	assert.ErrorContains(t, err, "prompt is -1, must be 1 to")
}

func TestChooseProbeNeedsThePromptFirst(t *testing.T) {
	for _, flip := range []bool{false, true} {
		e := &steady{}
		got, err := chooseProbe(e).Round(t.Context(), flip)
		require.NoError(t, err)
		want := []string{"question", "choose", "one by one"}
		if flip {
			want[1], want[2] = want[2], want[1]
		}
		assert.Equal(t, want, e.calls)
		assert.InDelta(t, 0.032, got[0].Ours/got[0].Theirs, 1e-9)
		assert.InDelta(t, 5, got[1].Ours/got[1].Theirs, 1e-9)
	}
}

func TestReportShowsWhatWasMissed(t *testing.T) {
	check := Check{Name: "decode 64", Ours: "agent", Theirs: "llama-bench tg64", Unit: "tokens/s", Target: 0.97}
	times := Check{Name: "choose", Ours: "choose", Theirs: "prefill", Unit: "s", Target: 0.2, AtMost: true}
	r := Report{Machine: Machine{CPU: "A CPU", Cores: 2, System: "linux/amd64"}, Backend: "CPU", Rounds: 1, OtherLoad: 0.5,
		Settings: Settings{Model: "m.gguf", Threads: 2, Ubatch: 512, KVType: "f16", FlashAttn: "auto", LoadMode: "mmap"},
		Commands: []string{"agentbench compare"}, Outcomes: []Outcome{check.judge([]Pair{{90, 100}}), times.judge([]Pair{{0.1, 1}})}}
	var out bytes.Buffer
	require.NoError(t, r.Print(&out))
	text := out.String()
	for _, want := range []string{"A CPU, 2 cores", "m.gguf", "threads 2, ubatch 512", "agent 90.0 tokens/s", "0.900 [0.900–0.900]", "≥ 0.97  MISSED",
		"≤ 0.20  met", "used 50 % of the machine", "agentbench compare"} {
		assert.Contains(t, text, want)
	}
	raw, err := json.Marshal(r)
	require.NoError(t, err)
	assert.Contains(t, string(raw), `"met":false`)
}

func TestWorkload(t *testing.T) {
	options := Options()
	assert.Len(t, options, questionOptions)
	slices.Sort(options)
	assert.Len(t, slices.Compact(options), questionOptions, "options differ from one another")
	assert.True(t, json.Valid(ListSchema))
	assert.NotEmpty(t, ListPrompt)
	first := map[string]bool{} // a shared start would come from a cache
	for round := range 3 {
		for _, p := range storyPrompts(serveSlots, round) {
			assert.NotContains(t, p, "{{")
			word, _, _ := strings.Cut(p, " ")
			assert.False(t, first[word], p)
			first[word] = true
		}
	}
}
