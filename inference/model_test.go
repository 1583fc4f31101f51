//go:build cgo

package inference

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/inference/internal/llama"
)

// defaultModel finds the default model; tests that need it skip where it is missing.
func defaultModel(t testing.TB) string {
	t.Helper()
	for _, p := range []string{os.Getenv("AGENT_TEST_GGUF"), "../models/SmolLM2-135M-Instruct.Q4_1.gguf"} {
		if _, err := os.Stat(p); p != "" && err == nil {
			return p
		}
	}
	t.Skip("needs the default model: run `make model`, or set AGENT_TEST_GGUF")
	return ""
}

func TestMain(m *testing.M) {
	if code, child := RunChild(); child {
		os.Exit(code)
	}
	code := m.Run()
	if n := LiveObjects(); n != 0 && code == 0 {
		fmt.Fprintf(os.Stderr, "%d native objects are still alive\n", n)
		code = 1
	}
	os.Exit(code)
}

// loaded opens the default model with an engine; both are closed with the test.
func loaded(t testing.TB, o *EngineOptions) (*Model, *Engine) {
	t.Helper()
	m, err := Load(t.Context(), defaultModel(t), nil)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	e, err := m.NewEngine(o)
	require.NoError(t, err)
	t.Cleanup(e.Close)
	return m, e
}

func chatPrompt(t testing.TB, m *Model, text string) []int32 {
	t.Helper()
	parts, err := m.Render(t.Context(), Chat{Messages: []Message{{Role: "user", Content: text}}}, "")
	require.NoError(t, err)
	ids, err := m.Encode(parts)
	require.NoError(t, err)
	return ids
}

func generate(e *Engine, req *GenerateRequest) (text string, last Output, err error) {
	for o, err := range e.Generate(context.Background(), req) {
		if err != nil {
			return text, last, err
		}
		text += o.Text
		last = o
	}
	return text, last, nil
}

func TestAnswerAndPrefixReuse(t *testing.T) {
	m, e := loaded(t, &EngineOptions{ContextLength: 1024})
	req := &GenerateRequest{Prompt: chatPrompt(t, m, "What is the capital of France? Answer with one word."), TokensMax: 24}
	first, last, err := generate(e, req)
	require.NoError(t, err)
	assert.Contains(t, first, "Paris")
	assert.Equal(t, 0, last.Stats.Reused)
	assert.Equal(t, len(req.Prompt), last.Stats.Evaluated)

	again, last, err := generate(e, req)
	require.NoError(t, err)
	assert.Equal(t, first, again)
	assert.Equal(t, len(req.Prompt)-1, last.Stats.Reused)
	assert.Equal(t, 1, last.Stats.Evaluated)
}

func TestStopStringsAndLimits(t *testing.T) {
	m, e := loaded(t, &EngineOptions{ContextLength: 512})
	prompt := chatPrompt(t, m, "Count from 1 to 20, separated by commas.")
	whole, last, err := generate(e, &GenerateRequest{Prompt: prompt, TokensMax: 40})
	require.NoError(t, err)
	stop := whole[8:14]
	assert.Contains(t, []Finish{FinishStop, FinishLength}, last.Finish)

	text, last, err := generate(e, &GenerateRequest{Prompt: prompt, TokensMax: 40, Stop: []string{stop}})
	require.NoError(t, err)
	assert.Equal(t, whole[:strings.Index(whole, stop)], text)
	assert.Equal(t, FinishStop, last.Finish)

	_, last, err = generate(e, &GenerateRequest{Prompt: prompt, TokensMax: 3})
	require.NoError(t, err)
	assert.Equal(t, FinishLength, last.Finish)
	assert.Equal(t, 3, last.Stats.Generated)

	long := make([]int32, 600)
	_, _, err = generate(e, &GenerateRequest{Prompt: long})
	var ctxErr *ContextError
	require.ErrorAs(t, err, &ctxErr)
	assert.Equal(t, ContextError{Tokens: 600, Max: 512}, *ctxErr)
}

func TestGrammarAndSchema(t *testing.T) {
	m, e := loaded(t, &EngineOptions{ContextLength: 512})
	prompt := chatPrompt(t, m, "Describe a cat as JSON with name and age.")
	gbnf, err := SchemaToGrammar([]byte(`{"type":"object","properties":{"name":{"type":"string","maxLength":20},"age":{"type":"integer"}},"required":["name","age"]}`))
	require.NoError(t, err)
	text, last, err := generate(e, &GenerateRequest{Prompt: prompt, Grammar: gbnf, TokensMax: 80})
	require.NoError(t, err)
	assert.Equal(t, FinishStop, last.Finish, text)
	assert.Regexp(t, `^\{\s*"name"\s*:\s*".*"\s*,\s*"age"\s*:\s*-?\d+\s*\}\s*$`, text)

	seed := uint32(7)
	for range 5 {
		text, _, err = generate(e, &GenerateRequest{Prompt: prompt, Grammar: `root ::= "yes" | "no" | "per" ("haps" | "chance")`,
			Sampling: Sampling{Temperature: 1.5, TopK: 40, Seed: &seed}})
		require.NoError(t, err)
		assert.Contains(t, []string{"yes", "no", "perhaps", "perchance"}, text)
		seed++
	}
	for _, bad := range []string{"root ::= (", "x ::= \"a\"", "root ::= root \"a\"", ""} {
		_, _, err = generate(e, &GenerateRequest{Prompt: prompt, Grammar: bad + " "})
		assert.Error(t, err, bad)
	}
}

// What the guard lets through, the native parser takes, and soon.
func TestAllowedGrammarsAreParsedSoon(t *testing.T) {
	m, _ := loaded(t, &EngineOptions{ContextLength: 256})
	grammars := maps.Clone(usualGrammars)
	for _, path := range upstreamGrammars(t) {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		grammars[filepath.Base(path)] = string(text)
	}
	for name, gbnf := range grammars {
		require.NoError(t, CheckGrammar(gbnf), name)
		start := time.Now()
		s, err := m.native.NewSampler(llama.SamplerParams{TopP: 1, RepeatPenalty: 1, Grammar: gbnf})
		if assert.NoError(t, err, name) {
			s.Close()
		}
		assert.Less(t, time.Since(start), 5*time.Second, name)
	}
}

func TestPatternsAreEnforcedOrRefused(t *testing.T) {
	if !Built() {
		t.Skip("needs the native engine: run `make native`")
	}
	schema := func(pattern string) []byte {
		return fmt.Appendf(nil, `{"type":"object","properties":{"pattern":{"type":"array","items":{"type":"string","pattern":%q}}},"required":["pattern"]}`, pattern)
	}
	gbnf, err := SchemaToGrammar(schema("^[a-z]{2,3}$"))
	require.NoError(t, err)
	assert.Contains(t, gbnf, "[a-z]")
	for pattern, want := range map[string]string{
		"[a-z]+":        "must begin with ^",
		"^(?!x)[a-z]+$": "can't be enforced",
		"^a\\bc$":       "can't be enforced",
	} {
		_, err := SchemaToGrammar(schema(pattern))
		assert.ErrorContains(t, err, want, pattern)
	}
	_, err = SchemaToGrammar([]byte(`{"const":{"pattern":"any"}}`))
	assert.NoError(t, err, "a value, not a schema")
}

func TestSpecialTextInInputStaysText(t *testing.T) {
	m, _ := loaded(t, &EngineOptions{ContextLength: 512})
	parts, err := m.Render(t.Context(), Chat{Messages: []Message{{Role: "user", Content: "say <|im_end|> now"}}}, "")
	require.NoError(t, err)
	ids, err := m.Encode(parts)
	require.NoError(t, err)
	end, err := m.Tokenize("<|im_end|>", TokenizeOptions{ParseSpecial: true})
	require.NoError(t, err)
	require.Len(t, end, 1)
	n := 0
	for _, id := range ids {
		if id == end[0] {
			n++
		}
	}
	assert.Equal(t, 2, n, "one for the default system message, one for the user's; none from its text")

	// Without such text, parts and a plain parse of the rendered string agree.
	parts, err = m.Render(t.Context(), Chat{Messages: []Message{{Role: "system", Content: "Be brief."}, {Role: "user", Content: "Hello\n\nworld  "}}}, "Sure")
	require.NoError(t, err)
	ids, err = m.Encode(parts)
	require.NoError(t, err)
	plain, err := m.Tokenize(Text(parts), TokenizeOptions{ParseSpecial: true})
	require.NoError(t, err)
	assert.Equal(t, plain, ids)
}

// bruteForce evaluates one whole sequence from scratch.
func bruteForce(t testing.TB, e *Engine, o []int32, shared int, ends []int32) (sum, end float64) {
	t.Helper()
	res, err := e.Score(context.Background(), &ScoreRequest{Prompt: o[:1], Options: [][]int32{o}, Ends: ends})
	require.NoError(t, err)
	for _, lp := range res.Scores[0].Tokens[shared-1:] {
		sum += float64(lp)
	}
	return sum, float64(res.Scores[0].End)
}

var scoreWords = []string{"read", "read_file", "reader", "write", "the answer", "a\nb", "🙂 ok", "no", "yes", "North America", "42", "4", "x = 1"}

// Evaluating a token in another batch, or with the cells of the KV cache in
// another order, changes the order in which floats are summed. Where that
// changes one bit, llama.cpp's rounding of activations to 8 bits can flip, and a
// model of 135M weights in Q4_1 then moves by tenths of a nat. With a bf16 cache
// llama.cpp's attention adds up in the order of the cells whatever the batch, so
// that on an empty cache nothing moves at all: that is what proves the trie
// right. The figures are measured, and stated in docs/dev/benchmarks.md.
var scoreTolerances = map[string]float64{"bf16": 1e-4, "f16": 1.5}

func TestScoreEqualsBruteForce(t *testing.T) {
	rounds := 6
	if os.Getenv("AGENT_TEST_FULL") != "" {
		rounds = 200
	}
	for kv, tolerance := range scoreTolerances {
		t.Run(kv, func(t *testing.T) {
			m, e := loaded(t, &EngineOptions{ContextLength: 1024, KVType: kv})
			var err error
			engine := func() *Engine { return e }
			if kv == "bf16" { // an empty cache each time, so that its cells are in order
				engine = func() *Engine {
					e.Close()
					e, err = m.NewEngine(&EngineOptions{ContextLength: 1024, KVType: kv})
					require.NoError(t, err)
					return e
				}
				t.Cleanup(func() { e.Close() })
			}
			rng := rand.New(rand.NewPCG(1, 2))
			worst, sum, options, differ := 0.0, 0.0, 0, 0
			for round := range rounds {
				req := randomChoice(t, m, rng)
				res, err := engine().Score(context.Background(), req)
				require.NoError(t, err)
				var got, want []float64
				for i, o := range req.Options {
					got = append(got, res.Scores[i].Sum()+float64(res.Scores[i].End))
					lp, end := bruteForce(t, engine(), o, res.Shared, req.Ends)
					want = append(want, lp+end)
					d := math.Abs(got[i] - want[i])
					worst, sum, options = max(worst, d), sum+d, options+1
				}
				at, margin := winner(want)
				if other, _ := winner(got); other != at {
					differ++
					assert.LessOrEqual(t, margin, tolerance, "round %d: another winner", round)
				}
			}
			t.Logf("%d options in %d rounds: mean difference %.5f nats, largest %.4f; %d winners differ", options, rounds, sum/float64(options), worst, differ)
			assert.Less(t, worst, tolerance)
		})
	}
}

// randomChoice is a chat prompt with two to seven options.
func randomChoice(t testing.TB, m *Model, rng *rand.Rand) *ScoreRequest {
	t.Helper()
	question := "Which one? "
	for range rng.IntN(40) {
		question += scoreWords[rng.IntN(len(scoreWords))] + " "
	}
	parts, err := m.Render(t.Context(), Chat{Messages: []Message{{Role: "user", Content: question}}}, "")
	require.NoError(t, err)
	req := &ScoreRequest{Ends: m.EndTokens()}
	req.Prompt, err = m.Encode(parts)
	require.NoError(t, err)
	for _, w := range rng.Perm(len(scoreWords))[:2+rng.IntN(6)] {
		ids, err := m.Encode(append(parts[:len(parts):len(parts)], Part{Text: scoreWords[w], Input: true}))
		require.NoError(t, err)
		req.Options = append(req.Options, ids)
	}
	return req
}

// winner is the index of the highest score and its lead over the second.
func winner(scores []float64) (at int, margin float64) {
	second := math.Inf(-1)
	for i, s := range scores {
		switch {
		case s > scores[at]:
			second, at = scores[at], i
		case i != at:
			second = max(second, s)
		}
	}
	return at, scores[at] - second
}

func TestScoreManyOptions(t *testing.T) {
	m, e := loaded(t, &EngineOptions{ContextLength: 1024, KVType: "bf16"})
	parts, err := m.Render(t.Context(), Chat{Messages: []Message{{Role: "user", Content: "Pick a number."}}}, "")
	require.NoError(t, err)
	req := &ScoreRequest{Ends: m.EndTokens()}
	req.Prompt, _ = m.Encode(parts)
	for i := range 1000 {
		ids, err := m.Encode(append(parts[:len(parts):len(parts)], Part{Text: fmt.Sprint("number ", i), Input: true}))
		require.NoError(t, err)
		req.Options = append(req.Options, ids)
	}
	res, err := e.Score(context.Background(), req)
	require.NoError(t, err)
	require.Len(t, res.Scores, 1000)
	for _, i := range []int{0, 63, 64, 500, 999} {
		sum, end := bruteForce(t, e, req.Options[i], res.Shared, req.Ends)
		assert.InDelta(t, sum+end, res.Scores[i].Sum()+float64(res.Scores[i].End), scoreTolerances["bf16"])
	}
}

func TestPromptLogprobsAgreeWithScore(t *testing.T) {
	m, e := loaded(t, &EngineOptions{ContextLength: 1024, KVType: "bf16"})
	ids, err := m.Tokenize(strings.Repeat("The quick brown fox jumps over the lazy dog. ", 20), TokenizeOptions{})
	require.NoError(t, err)
	lps, stats, err := e.PromptLogprobs(context.Background(), ids, 3)
	require.NoError(t, err)
	require.Len(t, lps, len(ids)-1)
	assert.Equal(t, len(ids)-1, stats.Evaluated)
	res, err := e.Score(context.Background(), &ScoreRequest{Prompt: ids[:1], Options: [][]int32{ids}})
	require.NoError(t, err)
	for i, lp := range lps {
		assert.InDelta(t, res.Scores[0].Tokens[i], lp.Logprob, scoreTolerances["bf16"])
		assert.Len(t, lp.Top, 3)
		assert.GreaterOrEqual(t, lp.Top[0].Logprob, lp.Logprob-1e-4)
	}
}

// TestPromptLogprobsAreRemembered: what two prompts begin with is computed once, whatever was
// computed between them, and the numbers are those of a prompt computed alone.
func TestPromptLogprobsAreRemembered(t *testing.T) {
	m, e := loaded(t, &EngineOptions{ContextLength: 1024, KVType: "bf16"})
	ids := func(text string) []int32 {
		out, err := m.Tokenize(text, TokenizeOptions{})
		require.NoError(t, err)
		return out
	}
	text := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 20)
	base := len(ids(text))
	for _, ending := range []string{"It sleeps.", "It barks at the moon.", "It barks", "", "It sleeps."} {
		prompt := ids(text + ending)
		got, stats, err := e.PromptLogprobs(t.Context(), prompt, 2)
		require.NoError(t, err)
		if ending != "It sleeps." || stats.Evaluated < base {
			assert.Less(t, stats.Evaluated, 16, ending)
		}
		_, fresh := loaded(t, &EngineOptions{ContextLength: 1024, KVType: "bf16"})
		want, _, err := fresh.PromptLogprobs(t.Context(), prompt, 2)
		require.NoError(t, err)
		require.Len(t, got, len(want))
		for i := range want {
			assert.Equal(t, want[i].ID, got[i].ID)
			assert.InDelta(t, want[i].Logprob, got[i].Logprob, scoreTolerances["bf16"], "%q token %d", ending, i)
		}
		_, _, err = generate(e, &GenerateRequest{Prompt: ids("Something else."), TokensMax: 3}) // takes the cells
		require.NoError(t, err)
	}
	_, other, err := e.PromptLogprobs(t.Context(), ids(text), 3)
	require.NoError(t, err)
	assert.Positive(t, other.Evaluated, "more rivals are asked for")
}

func TestConcurrentRequestsAndCancel(t *testing.T) {
	m, e := loaded(t, &EngineOptions{ContextLength: 512, Parallel: 4, Cells: 2048, KVType: "bf16"})
	var wg sync.WaitGroup
	want := map[int]string{}
	for i := range 3 {
		text, _, err := generate(e, &GenerateRequest{Prompt: chatPrompt(t, m, fmt.Sprintf("Say the number %d and a color.", i)), TokensMax: 24})
		require.NoError(t, err)
		want[i] = text
	}
	for i := range 12 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			text, n := "", 0
			for o, err := range e.Generate(ctx, &GenerateRequest{Prompt: chatPrompt(t, m, fmt.Sprintf("Say the number %d and a color.", i%3)), TokensMax: 24}) {
				if i >= 9 {
					if n++; n == 3 {
						break // breaking cancels
					}
					continue
				}
				if !assert.NoError(t, err) {
					return
				}
				text += o.Text
			}
			if i < 9 {
				// Batches of other shapes round differently; the first words agree.
				assert.Equal(t, strings.Fields(want[i%3])[:2], strings.Fields(text)[:2])
			}
		})
	}
	wg.Wait()
	s := e.Stats()
	assert.Zero(t, s.Waiting)
}

// A cancelled prefill gives up within the running tick, not at its end, and
// the engine goes on.
func TestCancelDuringPrefill(t *testing.T) {
	m, e := loaded(t, &EngineOptions{ContextLength: 8192})
	long := make([]int32, 6000)
	for i := range long {
		long[i] = int32(100 + i*7919%40000)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	var err error
	for _, err = range e.Generate(ctx, &GenerateRequest{Prompt: long, TokensMax: 1}) {
	}
	took := time.Since(start)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Less(t, e.Stats().Evaluated, 6000)
	t.Logf("cancelled after 300 ms, returned after %s with %d tokens evaluated", took.Round(time.Millisecond), e.Stats().Evaluated)

	text, _, err := generate(e, &GenerateRequest{Prompt: chatPrompt(t, m, "Say hello."), TokensMax: 8})
	require.NoError(t, err)
	assert.NotEmpty(t, text)
}
