package session

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/command"
)

// meter is a backend that never answers the task. It keeps nothing, and tells
// of each prompt how much of it is new: what follows the longest common start
// with the prompt before it, as a cache of one conversation would find.
type meter struct {
	*backend.Scripted
	t         *testing.T
	limit     int
	last      string
	prompts   int // tokens of all prompts
	evaluated int // of them, new ones
	rewritten int // prompts that do not go on from the one before
	summaries int
}

func newMeter(t *testing.T, contextLength int) *meter {
	m := &meter{t: t}
	m.Scripted = backend.NewScripted(backend.ScriptedConfig{
		ModelID: "meter", ContextLength: contextLength, Parameters: parametersOfTests,
		Claims: &backend.Capabilities{Prefill: true, ExactChoice: true},
		Reply: func(_ context.Context, req *backend.Request) (string, error) {
			if strings.HasPrefix(req.Messages[0].Content, "You shorten the log") {
				m.summaries++
				return fmt.Sprintf("Summary %d: nothing new.", m.summaries), nil
			}
			m.note(req)
			return fmt.Sprintf(" I look again at %d", m.prompts), nil
		},
		Choose: func(_ context.Context, req *backend.Request, options []backend.Option) (*backend.Choice, error) {
			if about := req.Messages[0].Content; strings.HasPrefix(about, aboutTask) {
				return (&model{}).understand(about, options)
			}
			m.note(req)
			return backend.ChooseOption("scripted", options[0].Text, options)
		},
	})
	return m
}

func (m *meter) Unwrap() backend.LanguageBackend { return m.Scripted }

func (m *meter) note(req *backend.Request) {
	n, err := m.CountTokens(context.Background(), req.Messages)
	require.NoError(m.t, err)
	assert.LessOrEqual(m.t, n, m.limit)
	text := prompt(req)
	m.prompts += n
	if strings.HasPrefix(text, m.last) {
		n, err := m.CountText(context.Background(), text[len(m.last):])
		require.NoError(m.t, err)
		m.evaluated += n.Tokens
	} else {
		m.rewritten++
		m.evaluated += n
	}
	m.last = text
}

// noisy gives results of all sizes, some far over the limit, and leaves the
// work dir in a new state each time.
func noisy() command.Command {
	made := 0
	return command.Func(command.Spec{
		Name: "look", Description: "looks", Slots: []command.Slot{{Name: "at", Help: "at what", Kind: command.SlotLine}},
	}, func(_ context.Context, env *command.Env, _ *command.Call) (*command.Result, error) {
		made++
		path := filepath.Join(env.WorkDir, "tick")
		return &command.Result{Text: strings.Repeat(fmt.Sprintf("line of look %d\n", made), 1+made*37%300)},
			os.WriteFile(path, []byte(fmt.Sprint(made)), 0o600)
	})
}

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A run of 200 steps in a small context: every prompt fits; between
// compactions each goes on from the one before, so that only its new tokens
// are evaluated; the user's words stay; and the program's memory does not grow.
func TestTwoHundredSteps(t *testing.T) {
	const steps, contextLength = 200, 4096
	const words = "the user's own words"
	m := newMeter(t, contextLength)
	reg := command.NewRegistry()
	require.NoError(t, reg.Register(noisy()))
	compactions, results := 0, 0
	var used []uint64
	s, err := New(Options{
		Backend: m, Registry: reg, Env: &command.Env{WorkDir: t.TempDir()}, Approve: ApproveAuto,
		Limits: Limits{StepsMax: steps}, SessionsDir: t.TempDir(),
		Sink: func(ev Event) {
			switch e := ev.Data.(type) {
			case *Warning:
				if strings.Contains(e.Text, "was shortened") {
					compactions++
				}
			case *CommandResult:
				if results++; results%50 == 0 {
					used = append(used, heap())
				}
			}
		},
	})
	require.NoError(t, err)
	defer s.Close()
	m.limit = s.speaker.promptLimit()
	res, err := s.Run(context.Background(), words)
	require.NoError(t, err)
	assert.Equal(t, StopSteps, res.Stop)
	assert.Equal(t, steps, res.Steps)
	assert.Contains(t, m.last, words)

	t.Logf("%d steps, %d compactions, %d prompt tokens, of them %d new; heap %v KiB", steps, compactions, m.prompts, m.evaluated, kib(used))
	assert.Greater(t, compactions, 10)
	assert.Equal(t, compactions, m.rewritten, "only a compaction changes what was sent before")
	assert.Less(t, m.evaluated, m.prompts/4)
	require.Len(t, used, 4)
	assert.Less(t, used[3], used[1]+512<<10, "memory is flat")
}

func kib(bytes []uint64) []uint64 {
	out := make([]uint64, len(bytes))
	for i, b := range bytes {
		out[i] = b >> 10
	}
	return out
}
