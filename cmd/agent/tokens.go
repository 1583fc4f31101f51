package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"agent/backend"
	"agent/internal/cli"
	"agent/internal/exit"
	"agent/internal/serve"
	"agent/internal/terminal"
	"agent/tokenizer"
)

// tokensApp is the app with the flags of `agent tokens`.
type tokensApp struct {
	*app

	tokenizer, chat string
	ids, json       bool
}

func (a *app) tokensCmd() *cobra.Command {
	f := &tokensApp{app: a}
	cmd := &cobra.Command{
		Use:   "tokens [flags] [key=value …] [FILE…]",
		Short: "Exact token counts, of text or of a rendered chat",
		Long: `Exact token counts, of text or of a rendered chat. Without a file, standard input
is counted. Text that looks like a control token is counted as text. "source" says
where the count is from; only "estimate" is not exact.`,
		Example: `  agent tokens README.md docs/*.md
  echo -n "Hello" | agent tokens --ids --json
  agent tokens --tokenizer tokenizer.json book.txt
  agent tokens --chat messages.json`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.tokenizer, "tokenizer", "", "count with this tokenizer.json, without a model")
	fl.StringVar(&f.chat, "chat", "", "count the chat in this JSON `file`: [{\"role\",\"content\"},…]")
	fl.BoolVar(&f.ids, "ids", false, "also print the token ids")
	fl.BoolVar(&f.json, "json", false, "print JSON, one line a file")
	return cmd
}

// textCounter counts one text.
type textCounter func(ctx context.Context, text string) (backend.Count, error)

func (a *tokensApp) run(cmd *cobra.Command, args []string) error {
	if a.tokenizer != "" {
		if a.chat != "" {
			return exit.Usagef("--chat needs a model's chat template; use --model instead of --tokenizer")
		}
		if a.Host.Model != "" {
			return exit.Usagef("--model and --tokenizer both say how to count; leave one out")
		}
		_, files, err := a.Compose(cmd, args, nil) // so that a mistake among the arguments shows
		if err != nil {
			return err
		}
		t, err := tokenizer.Open(a.tokenizer)
		if err != nil {
			return err
		}
		defer t.Close()
		return a.countAll(cmd.Context(), files, countWith(t))
	}
	if _, files := cli.Split(cmd, args); a.chat != "" && len(files) > 0 {
		return exit.Usagef("--chat counts %s alone; leave out %q", a.chat, files[0])
	}
	b, files, err := a.Open(cmd, args, nil)
	if err != nil {
		return err
	}
	defer b.Close()
	counter, ok := backend.As[backend.Counter](b)
	if !ok {
		return fmt.Errorf("tokens: %s can't count text", b.ModelID())
	}
	if a.chat != "" {
		return a.countChat(cmd.Context(), counter)
	}
	return a.countAll(cmd.Context(), files,
		func(ctx context.Context, text string) (backend.Count, error) {
			c, err := counter.CountText(ctx, text)
			return c, countError(err)
		})
}

// countError finds the exit code of a count that failed: what a server did not do
// is another thing than what can't be counted.
func countError(err error) error {
	var failed *backend.Error
	var refused *backend.RemoteError
	if errors.As(err, &failed) || errors.As(err, &refused) {
		return backendError(err)
	}
	return err
}

func countWith(t *tokenizer.Tokenizer) textCounter {
	return func(_ context.Context, text string) (backend.Count, error) {
		ids, err := t.Encode(text, tokenizer.Options{})
		return backend.Count{Tokens: len(ids), IDs: ids, Source: "tokenizer.json", Exact: true}, err
	}
}

// countBytesMax bounds one file.
const countBytesMax = 1 << 30

// countAll counts files, or standard input, and their sum.
func (a *tokensApp) countAll(ctx context.Context, files []string, count textCounter) error {
	if len(files) == 0 {
		text, err := terminal.ReadBounded(a.Input(ctx), "standard input", countBytesMax)
		if err != nil {
			return err
		}
		c, err := count(ctx, text)
		if err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
		return a.printCount(c, "")
	}
	total := 0
	for _, name := range files {
		text, err := a.readFile(ctx, name)
		if err != nil {
			return err
		}
		c, err := count(ctx, text)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		total += c.Tokens
		if err := a.printCount(c, name); err != nil {
			return err
		}
	}
	if len(files) > 1 && !a.json {
		fmt.Fprintf(a.Out, "%d total\n", total)
	}
	return nil
}

func (a *tokensApp) readFile(ctx context.Context, name string) (string, error) {
	if name == "-" {
		return terminal.ReadBounded(a.Input(ctx), "standard input", countBytesMax)
	}
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if st, err := file.Stat(); err == nil && st.IsDir() {
		return "", fmt.Errorf("%s is a folder; name the files in it", name)
	}
	return terminal.ReadBounded(file, name, countBytesMax)
}

func (a *tokensApp) countChat(ctx context.Context, counter backend.Counter) error {
	raw, err := a.readFile(ctx, a.chat)
	if err != nil {
		return err
	}
	msgs, err := serve.ReadMessages([]byte(raw))
	if err != nil {
		return fmt.Errorf("%s: %w", a.chat, err)
	}
	c, err := counter.CountChat(ctx, msgs)
	if err != nil {
		return fmt.Errorf("%s: %w", a.chat, countError(err))
	}
	return a.printCount(c, a.chat)
}

// printCount prints one count as people or programs read it.
func (a *tokensApp) printCount(c backend.Count, name string) error {
	if !a.ids {
		c.IDs = nil
	}
	if a.json {
		line := struct {
			File string `json:"file,omitempty"`
			backend.Count
		}{name, c}
		return a.JSONLine(line)
	}
	line := fmt.Sprint(c.Tokens)
	if name != "" {
		line += " " + name
	}
	if !c.Exact {
		line += " (estimate)"
	}
	fmt.Fprintln(a.Out, line)
	if a.ids {
		fmt.Fprintln(a.Out, strings.Trim(fmt.Sprint(c.IDs), "[]"))
	}
	return nil
}
