// Command runs a task with a command of its own, which tells the price of an article:
//
//	go run ./examples/command model.gguf "What do two pens and a folder cost?"
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"agent/backend"
	"agent/backend/hf"
	"agent/command"
	"agent/command/stock"
	"agent/session"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: command MODEL.gguf TASK")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "command:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, model, task string) error {
	b, err := hf.Open(ctx, hf.Config{Path: model})
	if err != nil {
		return err
	}
	defer b.Close()
	return work(ctx, b, os.Stdout, task)
}

// article is what the model fills in. Its fields become those of the command.
type article struct {
	Name string `json:"name" help:"which article, in the singular"`
}

// price is a command: what the model reads of it, and what it does.
func price() command.Command {
	prices := map[string]string{"pen": "1.20", "folder": "3.50"}
	spec := command.Spec{Name: "price", Description: "Tell what an article costs.",
		Effect: command.EffectRead}
	return command.Typed(spec, func(_ context.Context, _ *command.Env, in article) (*command.Result, error) {
		cost, ok := prices[in.Name]
		if !ok { // the model is told, and can try again
			return &command.Result{Text: "There is no article " + in.Name + ".", Failed: true}, nil
		}
		return &command.Result{Text: in.Name + ": " + cost}, nil
	})
}

// work gives the task to an agent that may ask for prices, and answer.
func work(ctx context.Context, b backend.LanguageBackend, w io.Writer, task string) error {
	commands := command.NewRegistry() // stock.Standard() has all that `agent run` has
	for _, c := range []command.Command{price(), stock.Answer()} {
		if err := commands.Register(c); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "agent-example-") // the files of the task
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := session.New(session.Options{
		Backend: b, Registry: commands, Env: &command.Env{WorkDir: dir},
		Approve: session.ApproveNever, // nothing that writes, runs code or reaches out
		Sink:    func(ev session.Event) { _ = session.RenderText(w, ev, session.RenderOptions{}) },
	})
	if err != nil {
		return err
	}
	defer s.Close()
	result, err := s.Run(ctx, task)
	if err != nil {
		return err
	}
	fmt.Fprintln(w, result.Answer)
	return nil
}
