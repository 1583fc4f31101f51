package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"agent/backend"
	"agent/command"
	"agent/command/stock"
	"agent/internal/bench"
	"agent/internal/bench/engine"
	"agent/session"
)

// partsWorker works on parts of a task through the sessions that also serve the
// command delegate. Each part is one step: all that it can do is answer.
type partsWorker struct {
	backend backend.LanguageBackend
	reg     *command.Registry
}

// openParts opens the model once more, with a sequence for each part.
func (a *app) openParts(cmd *cobra.Command, f *engine.Flags, args []string,
) (*partsWorker, func(), error) {
	m, _, err := a.Open(cmd, args, f.Values(bench.PartContext, 4))
	if err != nil {
		return nil, nil, err
	}
	reg := command.NewRegistry()
	if err := reg.Register(stock.Answer()); err != nil {
		m.Close()
		return nil, nil, err
	}
	return &partsWorker{backend: m, reg: reg}, m.Close, nil
}

// partNoteTokens keeps the note of a step short: the reply is to be timed.
const partNoteTokens = 8

// work implements bench.Parts.
func (p *partsWorker) work(ctx context.Context, prompts []string, atOnce int,
) (bench.PartsWork, error) {
	dir, err := os.MkdirTemp("", "agent-bench-")
	if err != nil {
		return bench.PartsWork{}, fmt.Errorf("bench: %w", err)
	}
	defer os.RemoveAll(dir)
	start := time.Now()
	res, usage, err := session.Split(ctx, session.Options{
		Backend: p.backend, Registry: p.reg, Env: &command.Env{WorkDir: dir},
		Approve: session.ApproveNever,
		Limits: session.Limits{WidthMax: atOnce, NoteTokensMax: partNoteTokens,
			AnswerTokensMax: bench.PartReply},
	}, prompts)
	if err != nil {
		return bench.PartsWork{}, err
	}
	if res.Failed {
		return bench.PartsWork{}, errors.New("bench: a part of the task was not answered")
	}
	return bench.PartsWork{Work: bench.Work{Tokens: usage.CompletionTokens, Wall: time.Since(start)},
		Evaluated: usage.EvaluatedTokens, Prompts: usage.PromptTokens}, nil
}
