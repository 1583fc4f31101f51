package session

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/command"
	"agent/session/journal"
)

// counter is a command that says how often it ran.
func counterCommand(description string) (command.Command, *int) {
	runs := new(int)
	return command.Func(command.Spec{
		Name: "counter", Description: description, Effect: command.EffectNone,
		Slots: []command.Slot{{Name: "unit", Help: "what is counted", Kind: command.SlotLine}},
	}, func(context.Context, *command.Env, *command.Call) (*command.Result, error) {
		*runs++
		return &command.Result{Text: strings.Repeat("I", *runs)}, nil
	}), runs
}

// commandEvents are the changes told, one text for each event.
func (r *rig) commandEvents() []string {
	var out []string
	for _, ev := range r.events {
		if e, ok := ev.Data.(*Commands); ok {
			var parts []string
			for _, c := range e.Changes {
				parts = append(parts, c.Change+" "+c.Command+c.Problem)
			}
			out = append(out, strings.Join(parts, ", "))
		}
	}
	return out
}

// A command that appears while the session works is offered at the next step,
// described at the end of the prompt, and its going is told too; the start of
// the prompt stays as it was.
func TestCommandsComeAndGo(t *testing.T) {
	m := newModel(t, true,
		" look.", " reader",
		" count.", " counter", " sheep",
		" again.", " counter", " sheep",
		" done.", " answer", " three")
	var offered []string
	m.offered = func(options string) { offered = append(offered, options) }
	added, runs := counterCommand("counts things")
	changed, _ := counterCommand("counts things twice")
	var reg *command.Registry
	step := 0
	r := newRig(t, m, func(o *Options) {
		reg = o.Registry
		o.Refresh = func(context.Context) []CommandChange {
			step++
			switch step {
			case 2:
				require.NoError(t, reg.Register(added))
				return []CommandChange{{Change: CommandAdded, Command: "counter", File: "counter.py"}, {Change: CommandBroken, File: "other.py", Problem: "other.py:3: wrong"}}
			case 3:
				return []CommandChange{{Change: CommandChanged, Command: "counter"}} // inside: the same call is no circle
			case 4:
				require.NoError(t, reg.Replace(changed))
			case 5:
				require.NoError(t, reg.Remove("counter"))
			}
			return nil
		}
	})
	res, err := r.Run(context.Background(), "count the sheep")
	require.NoError(t, err)
	assert.Equal(t, StopAnswered, res.Stop)
	assert.Equal(t, 2, *runs, "a changed command is called again")
	assert.Equal(t, []string{
		" reader| writer| answer", " reader| writer| answer| counter", " reader| writer| answer| counter", " reader| writer| answer| counter",
	}, offered)
	assert.Equal(t, []string{"added counter, broken other.py:3: wrong", "changed counter", "changed counter"}, r.commandEvents())

	told := r.lastUser(2) // the first request of step 2
	assert.Contains(t, told, "There is a new command:\ncounter: counts things\n  unit: what is counted")
	assert.NotContains(t, told, "wrong", "what is broken is the person's business")
	assert.Contains(t, r.lastUser(5), "The command counter works differently now.")
	assert.Contains(t, r.lastUser(-1), "A command has changed:\ncounter: counts things twice\n")
	for i := 1; i < len(m.requests); i++ {
		assert.True(t, isPrefix(m.requests[i-1].Messages, m.requests[i].Messages), "request %d keeps what was evaluated", i)
	}
}

func isPrefix(before, after []backend.Message) bool {
	for i := range before {
		if i >= len(after) || before[i].Role != after[i].Role || !strings.HasPrefix(after[i].Content, before[i].Content) {
			return false
		}
	}
	return true
}

// A program may change its registry itself, without a Refresh.
func TestCommandRegisteredByTheProgram(t *testing.T) {
	added, _ := counterCommand("counts things")
	m := newModel(t, false,
		`{"command": "reader", "content": [{"file": "a.txt"}]}`,
		`{"command": "counter", "content": [{"unit": "sheep"}]}`,
		`{"command": "answer", "content": [{"answer": "one"}]}`)
	var reg *command.Registry
	r := newRig(t, m, func(o *Options) { reg = o.Registry })
	m.onAsk = func(n int) error {
		switch n {
		case 0:
			return reg.Register(added)
		case 1:
			return reg.Disable("writer")
		}
		return nil
	}
	res, err := r.Run(context.Background(), "count")
	require.NoError(t, err)
	assert.Equal(t, "one", res.Answer)
	assert.Equal(t, []string{"added counter", "removed writer"}, r.commandEvents())
	assert.Contains(t, r.lastUser(1), "There is a new command:\ncounter: counts things")
	assert.Contains(t, r.lastUser(2), "The command writer is gone.")
}

// What is never allowed in a run is not offered, and so not spoken of.
func TestNewCommandThatIsNotAllowed(t *testing.T) {
	m := newModel(t, true, " look.", " reader", " done.", " answer", " nothing")
	var reg *command.Registry
	step := 0
	r := newRig(t, m, func(o *Options) {
		reg = o.Registry
		o.Approve = ApproveNever
		o.Refresh = func(context.Context) []CommandChange {
			if step++; step != 2 {
				return nil
			}
			require.NoError(t, reg.Register(command.Func(command.Spec{Name: "sender", Description: "sends", Effect: command.EffectNetwork}, nil)))
			return []CommandChange{{Change: CommandAdded, Command: "sender"}}
		}
	})
	_, err := r.Run(context.Background(), "look into a file")
	require.NoError(t, err)
	assert.NotContains(t, r.lastUser(-1), "sender")
	assert.Equal(t, []string{"added sender"}, r.commandEvents())
}

// When the conversation is compacted, the system's message is made anew.
func TestCompactionRenewsTheCommands(t *testing.T) {
	added, _ := counterCommand("counts things")
	m := newModel(t, true)
	r := newRig(t, m, nil)
	require.NoError(t, r.begin(t.Context(), "task"))
	before := r.talk.system
	assert.Equal(t, before, r.systemPrompt(), "nothing has changed")
	require.NoError(t, r.opts.Registry.Register(added))
	for range 6 {
		r.add(&journal.Entry{Kind: journal.KindTurn, Text: strings.Repeat("word ", 400)})
		r.add(&journal.Entry{Kind: journal.KindResult, Text: strings.Repeat("word ", 400), Digest: "did"})
	}
	require.NoError(t, r.talk.compact(context.Background(), 2000))
	assert.Contains(t, r.talk.system, "counter: counts things")
	r.events = nil
	r.refreshCommands(context.Background())
	assert.Empty(t, r.commandEvents(), "it is known from the system's message")
}
