// Choose asks a local model to decide between options, and prints the probability of each:
//
//	go run ./examples/choose model.gguf "What is the capital of France?" Paris Rome Madrid
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"agent/backend"
	"agent/backend/hf"
)

func main() {
	if len(os.Args) < 5 {
		fmt.Fprintln(os.Stderr, "usage: choose MODEL.gguf QUESTION OPTION OPTION…")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "choose:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, model, question string, options []string) error {
	b, err := hf.Open(ctx, hf.Config{Path: model})
	if err != nil {
		return err
	}
	defer b.Close()
	return choose(ctx, b, os.Stdout, question, options)
}

// choose works with every backend; how the decision was made, Method says. The
// model is shown the options after the question.
func choose(ctx context.Context, b backend.LanguageBackend, w io.Writer, question string,
	options []string,
) error {
	request := &backend.Request{
		Messages: []backend.Message{{Role: backend.RoleUser, Content: question}},
		Choose:   &backend.ChooseConfig{List: true},
	}
	choice, err := b.ChooseFromOptions(ctx, request, backend.Options(options...))
	if err != nil {
		return err
	}
	for _, o := range choice.Options {
		fmt.Fprintf(w, "%-12s %5.1f %%\n", o.Text, 100*o.Probability)
	}
	fmt.Fprintf(w, "%s, by %s\n", choice.Text, choice.Method)
	return nil
}
