package session

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tiktoken-go/tokenizer"

	"agent/backend"
	"agent/command"
	"agent/command/program"
	"agent/command/search"
	"agent/command/stock"
	hftokenizer "agent/tokenizer"
)

// commandTokensMax is what the words about one command may cost in a prompt.
const commandTokensMax = 60

// kindTokens may come on top where a command is shown for one kind of task alone.
const kindTokens = 50

// always is a command that is offered whatever the task.
type always struct{ command.Command }

func (a always) Spec() command.Spec {
	spec := a.Command.Spec()
	spec.For = nil
	return spec
}

// Each command costs little, and all of them together leave the fixed part of
// the prompt within its bound, counted as the default model does.
func TestPromptsOfCommandsAreSmall(t *testing.T) {
	count := tokenCounter(t)
	reg, err := stock.Standard()
	require.NoError(t, err)
	require.NoError(t, reg.Register(Delegate()))
	require.NoError(t, reg.Register(program.Create(nil, "")))
	searcher, err := search.New(search.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, searcher.Close()) })
	for _, c := range searcher.Commands() {
		require.NoError(t, reg.Register(c))
	}
	for _, slots := range []bool{true, false} {
		prompt := func(names ...string) int {
			part := command.NewRegistry()
			for _, name := range append(names, "answer") {
				c, err := reg.Resolve(name)
				require.NoError(t, err)
				if part.Register(always{c}) != nil {
					continue // answer itself
				}
			}
			r := newRig(t, newModel(t, slots), func(o *Options) {
				o.Registry, o.Backend = part, &countingModel{o.Backend, count}
			})
			return count(r.systemPrompt())
		}
		for _, name := range reg.Names() {
			// One that runs code brings examples, which are not about it.
			without := []string{}
			if specOfName(t, reg, name).Effect == command.EffectExecute {
				without = []string{"python"}
				if name == "python" {
					without = []string{program.CreateName}
				}
			}
			cost := prompt(append(without, name)...) - prompt(without...)
			if name == "answer" {
				cost = count("answer: " + specOfName(t, reg, name).Description)
			}
			if specOfName(t, reg, name).For != nil {
				cost -= kindTokens
			}
			t.Logf("slots %v: %s costs %d tokens", slots, name, cost)
			assert.LessOrEqual(t, cost, commandTokensMax, "slots %v: %s", slots, name)
		}
		all := prompt(reg.Names()...)
		t.Logf("slots %v: %d tokens with all commands", slots, all)
		assert.LessOrEqual(t, all, systemTokensMax)
	}
}

// countingModel counts as another model does.
type countingModel struct {
	backend.LanguageBackend
	count func(text string) int
}

func (m *countingModel) Unwrap() backend.LanguageBackend { return m.LanguageBackend }

func (m *countingModel) CountText(_ context.Context, text string) (backend.Count, error) {
	return backend.Count{Tokens: m.count(text)}, nil
}

func (m *countingModel) CountChat(ctx context.Context, msgs []backend.Message) (backend.Count, error) {
	n, err := m.CountTokens(ctx, msgs)
	return backend.Count{Tokens: n}, err
}

func specOfName(t *testing.T, reg *command.Registry, name string) command.Spec {
	c, err := reg.Resolve(name)
	require.NoError(t, err)
	return c.Spec()
}

// tokenCounter counts as the default model does; where its tokenizer is not at
// hand, as one does that differs by a few per cent.
func tokenCounter(t *testing.T) func(text string) int {
	shared := os.Getenv("AGENT_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "shared")
	}
	own, err := hftokenizer.Open(filepath.Join(shared, "fixtures", "tokenizers", "SmolLM2-135M-Instruct", "tokenizer.json"))
	if err == nil {
		t.Cleanup(func() { assert.NoError(t, own.Close()) })
		return func(text string) int {
			n, err := own.Count(text, hftokenizer.Options{})
			require.NoError(t, err)
			return n
		}
	}
	t.Logf("counted approximately, for want of the default model's tokenizer.json (AGENT_SHARED): %v", err)
	near, err := tokenizer.Get(tokenizer.Cl100kBase)
	require.NoError(t, err)
	return func(text string) int {
		ids, _, err := near.Encode(text)
		require.NoError(t, err)
		return len(ids)
	}
}
