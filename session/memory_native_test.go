package session

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/backend/hf"
	"agent/command"
	"agent/command/stock"
	"agent/inference"
)

// realModel opens the default model with a small context, on one thread.
func realModel(t *testing.T, contextLength, parallel int) *hf.Backend {
	path := cmp.Or(os.Getenv("AGENT_TEST_MODEL"), "../models/SmolLM2-135M-Instruct.Q4_1.gguf")
	if !inference.Built() {
		t.Skip("needs the native libraries: make native")
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("needs the default model: make model")
	}
	temperature := 0.0
	b, err := hf.Open(context.Background(), hf.Config{
		ModelID: filepath.Base(path), Path: path, ContextLength: contextLength, Parallel: parallel, Threads: 1, ThreadsBatch: 1,
		Sampling: &backend.Sampling{Temperature: &temperature},
	})
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b
}

// buried are long results with one line in their middle that the task is
// about; in half of them it shares no rare word with the task.
var buried = []struct{ task, needle, key, line string }{
	{"Which order was refused, and why?", "09:41 order 4711 was REFUSED: card expired", "4711", "09:%02d order %d was paid and shipped to the customer"},
	{"When did the server run out of disk space?", "03:17:22 write failed: no space left on device", "03:17", "02:%02d:07 request %d was answered in 12 ms"},
	{"What is the name of the dog?", "The dog, a brown terrier called Biscuit, slept by the stove.", "Biscuit", "On evening %d the rain went on, and %d carts came up the road."},
	{"How long is the notice period?", "Notice is six weeks to the end of a quarter.", "six weeks", "Paragraph %d: the parties agree on point %d of the annex."},
	{"Who earns the most?", "Abernathy,Ruth,finance,98000", "Abernathy", "Miller%d,Ann,sales,2%03d0"},
	{"Why does the build fail?", "parser_test.go:88: expected ')' but found '}'", "parser_test.go:88", "ok  	example/pkg%d	0.%03ds"},
	{"Which customer is unhappy?", "Mail 57 from Okafor: very disappointed, nothing works and nobody replies.", "Okafor", "Mail %d from Smith%d: thank you, all is fine."},
	{"On which day did the freezer break?", "day 61: freezer at +9 degrees, alarm", "day 61", "day %d: freezer at -18 degrees, %d hours"},
}

// How often the line that matters is in what is shown of a long result, and at
// what cost: a measurement, printed, for each way of making the gist. For
// another model set AGENT_TEST_MODEL to its file.
func TestGistOfRealModels(t *testing.T) {
	if os.Getenv("AGENT_TEST_FULL") == "" {
		t.Skip("a measurement of minutes: set AGENT_TEST_FULL=1")
	}
	b := realModel(t, 4096, 0)
	for _, mode := range []LongResults{ResultsCut, ResultsSummary} {
		s, err := New(Options{Backend: b, Registry: command.NewRegistry(), Env: &command.Env{WorkDir: t.TempDir()}, LongResults: mode})
		require.NoError(t, err)
		found := 0
		start := time.Now()
		for _, tc := range buried {
			var text strings.Builder
			for i := range 90 {
				if i == 50 {
					text.WriteString(tc.needle + "\n")
				}
				fmt.Fprintf(&text, tc.line+"\n", i%60, i)
			}
			s.talk.task = tc.task
			shown, _ := shortened(s, text.String())
			if strings.Contains(shown, tc.key) {
				found++
			} else {
				t.Logf("%s: not shown for %q", mode, tc.task)
			}
		}
		t.Logf("%s, %s: the line that matters is shown in %d of %d; %.1f s and %d tokens evaluated for each",
			b.ModelID(), mode, found, len(buried), time.Since(start).Seconds()/float64(len(buried)), s.speaker.budget.usage.Computed()/len(buried))
	}
}

// spy passes requests on and remembers the largest prompt. It takes the
// options in turn, whatever their odds: a weak model that repeats itself would
// be stopped for it.
type spy struct {
	backend.LanguageBackend
	t       *testing.T
	largest int
	choices int
}

func (s *spy) Unwrap() backend.LanguageBackend { return s.LanguageBackend }

func (s *spy) ChooseFromOptions(ctx context.Context, req *backend.Request, options []backend.Option) (*backend.Choice, error) {
	n, err := s.CountTokens(ctx, req.Messages)
	require.NoError(s.t, err)
	s.largest = max(s.largest, n)
	choice, err := s.LanguageBackend.ChooseFromOptions(ctx, req, options)
	if err == nil {
		choice.Index = s.choices % len(options)
		s.choices++
	}
	return choice, err
}

// A run of the real model stays within its context, evaluates only new tokens
// between compactions, and its memory is flat. 60 steps where AGENT_TEST_FULL
// is set, else as many as show it.
func TestLongRunOfTheDefaultModel(t *testing.T) {
	steps, contextLength := 7, 1024
	if os.Getenv("AGENT_TEST_FULL") != "" {
		steps, contextLength = 60, 1536
	}
	b := &spy{LanguageBackend: realModel(t, contextLength, 0), t: t}
	reg := command.NewRegistry()
	made := 0
	for _, name := range []string{"look", "listen"} {
		require.NoError(t, reg.Register(command.Func(command.Spec{
			Name: name, Description: "tells what is going on in the house", Effect: command.EffectNetwork, // never the same twice
		}, func(context.Context, *command.Env, *command.Call) (*command.Result, error) {
			made++
			return &command.Result{Text: strings.Repeat(fmt.Sprintf("In room %d somebody is reading. ", made), 4+made%5)}, nil
		})))
	}
	var perStep, afterCompaction []int
	var used []uint64
	compacted := true // the first step evaluates the whole prompt
	var s *Session
	before := 0
	s, err := New(Options{
		Backend: b, Registry: reg, Env: &command.Env{WorkDir: t.TempDir()}, Approve: ApproveAuto,
		Limits: Limits{StepsMax: steps, NoteTokensMax: 12, FieldTokensMax: 64},
		Sink: func(ev Event) {
			switch e := ev.Data.(type) {
			case *Warning:
				compacted = compacted || strings.Contains(e.Text, "was shortened")
			case *CommandResult:
				evaluated := s.speaker.budget.usage.EvaluatedTokens - before
				before = s.speaker.budget.usage.EvaluatedTokens
				if compacted {
					afterCompaction = append(afterCompaction, evaluated)
				} else {
					perStep = append(perStep, evaluated)
				}
				compacted = false
				if made%10 == 0 {
					used = append(used, heap()+nativeBytes())
				}
			}
		},
	})
	require.NoError(t, err)
	res, err := s.Run(context.Background(), "Watch the house and tell me what happens in it.")
	require.NoError(t, err)
	assert.Equal(t, steps, made, "ended: %s", res.Stop)
	u := res.Usage
	t.Logf("%d steps; largest prompt %d of %d; evaluated %d, reused %d; new per step %v; with a compaction %v; KiB %v",
		steps, b.largest, contextLength, u.EvaluatedTokens, u.CachedTokens, perStep, afterCompaction, kib(used))
	assert.LessOrEqual(t, b.largest, s.speaker.promptLimit()+64)
	assert.Greater(t, len(afterCompaction), 1, "it was compacted")
	for _, n := range perStep {
		// A result, a note, names of commands, and what a template puts around.
		assert.Less(t, n, 160, "a step evaluates what is new")
	}
	assert.Greater(t, u.CachedTokens, u.EvaluatedTokens)
	if len(used) > 2 {
		assert.Less(t, used[len(used)-1], used[1]+8<<20, "memory is flat")
	}
}

// nativeBytes is what the process has beside Go's heap, where that is known.
func nativeBytes() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident, shared uint64
	if _, err := fmt.Sscan(string(text), &size, &resident, &shared); err != nil {
		return 0
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return (resident-shared)*uint64(os.Getpagesize()) - min(m.HeapAlloc, (resident-shared)*uint64(os.Getpagesize()))
}

// Parts of a task that run at once evaluate the part of the prompt that they
// share once, and each what is its own.
func TestPartsShareTheirPrompt(t *testing.T) {
	b := realModel(t, 2048, 4)
	reg := command.NewRegistry()
	require.NoError(t, reg.Register(stock.Answer()))
	opts := Options{
		Backend: b, Registry: reg, Env: &command.Env{WorkDir: t.TempDir()}, Approve: ApproveNever,
		Limits: Limits{NoteTokensMax: 4, FieldTokensMax: 8},
	}
	_, first, err := Split(t.Context(), opts, []string{"Name a colour."})
	require.NoError(t, err)
	res, four, err := Split(t.Context(), opts, []string{"Name a river.", "Name a tree.", "Name a fish.", "Name a bird."})
	require.NoError(t, err)
	assert.False(t, res.Failed)
	t.Logf("one part: %d evaluated; then four: %d evaluated, %d reused", first.EvaluatedTokens, four.EvaluatedTokens, four.CachedTokens)
	assert.Greater(t, first.EvaluatedTokens, 200, "the fixed part is worth sharing")
	assert.Less(t, four.EvaluatedTokens, first.EvaluatedTokens, "four cost less than one did")
}
