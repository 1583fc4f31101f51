package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"agent/backend"
	"agent/internal/cli"
	"agent/internal/exit"
	"agent/internal/setup"
	"agent/internal/terminal"
)

// chatApp is the app with the flags of `agent chat`.
type chatApp struct {
	*app

	system string
	json   bool
	values setup.Flags
}

func (a *app) chatCmd() *cobra.Command {
	f := &chatApp{app: a}
	cmd := &cobra.Command{
		Use:   "chat [flags] [key=value …] [MESSAGE]",
		Short: "Talk to the model; a pipe on standard input is one message",
		Long: `Talk to the model. Arguments, or a pipe on standard input, are one message, and its reply goes to standard
output. On a terminal the talk goes on; /clear forgets it, /quit or the end of input ends it.`,
		Example: `  agent chat
  agent chat "Write a haiku about tea"
  cat notes.md | agent chat "Summarise this:"`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.system, "system", "", "system message at the start")
	fl.BoolVar(&f.json, "json", false, "print the reply to one message as JSON")
	f.values.Bind(fl, "temperature", "llm.temperature", 0.0,
		"of sampling; 0 always takes the likeliest token")
	f.values.Bind(fl, "seed", "llm.seed", 0, "of the random numbers of sampling")
	f.values.Bind(fl, "max-tokens", "llm.max_tokens", 0, "most tokens of a reply")
	return cmd
}

func (a *chatApp) run(cmd *cobra.Command, args []string) error {
	_, rest := cli.Split(cmd, args)
	message := strings.Join(rest, " ")
	piped, err := a.Piped(cmd.Context())
	if err != nil {
		return err
	}
	message = withPiped(message, piped)
	talk := message == "" && a.Attended()
	if message == "" && !talk {
		return exit.Usagef("no message given: agent chat \"message\", or pipe one in")
	}
	err = errors.Join(terminal.CheckText("the message", message),
		terminal.CheckText("--system", a.system))
	if err != nil {
		return err
	}
	b, _, err := a.Open(cmd, args, a.values.Values())
	if err != nil {
		return err
	}
	defer b.Close()
	c := &conversation{app: a.app, b: b}
	if a.system != "" {
		c.msgs = append(c.msgs, backend.Message{Role: backend.RoleSystem, Content: a.system})
	}
	c.keep = len(c.msgs)
	if talk {
		return c.talk(cmd.Context())
	}
	return c.once(cmd.Context(), message, a.json)
}

// conversation is a chat with its history.
type conversation struct {
	app  *app
	b    *setup.Model
	msgs []backend.Message
	keep int // messages that /clear keeps
}

// once answers one message.
func (c *conversation) once(ctx context.Context, message string, asJSON bool) error {
	out := c.app.Out
	if asJSON {
		out = io.Discard
	}
	text, last, err := c.reply(ctx, message, out)
	if err != nil {
		return backendError(err)
	}
	if asJSON {
		return c.app.JSONLine(map[string]any{"reply": text, "finish": last.Finish, "usage": last.Usage,
			"model": c.b.ModelID()})
	}
	fmt.Fprintln(c.app.Out)
	c.cost(last)
	return nil
}

// talk goes on until the end of input. Ctrl-C ends a reply, not the talk.
func (c *conversation) talk(ctx context.Context) error {
	a := c.app
	fmt.Fprintf(a.Err, "%s%s. /clear forgets, /quit ends.\n", c.b.ModelID(), c.b.Place())
	lines := bufio.NewScanner(a.In)
	lines.Buffer(make([]byte, 0, 1<<16), terminal.InputBytesMax)
	for {
		fmt.Fprint(a.Err, "\n> ")
		if !lines.Scan() {
			fmt.Fprintln(a.Err)
			return lines.Err()
		}
		line := strings.TrimSpace(lines.Text())
		switch line {
		case "":
			continue
		case "/quit", "/exit":
			return nil
		case "/clear":
			c.msgs = c.msgs[:c.keep]
			continue
		}
		if err := c.exchange(ctx, line); err != nil {
			return err
		}
	}
}

// exchange is one message and its reply. What can be mended by saying
// something else is shown, and the talk goes on.
func (c *conversation) exchange(ctx context.Context, line string) error {
	own, stop := signal.NotifyContext(context.WithoutCancel(ctx), os.Interrupt)
	defer stop()
	_, last, err := c.reply(own, line, c.app.Out)
	fmt.Fprintln(c.app.Out)
	var tooLong *backend.ContextError
	switch {
	case err == nil:
		c.cost(last)
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(c.app.Err, "(interrupted)")
	case errors.As(err, &tooLong):
		c.app.Report(own, err)
	default:
		return backendError(err)
	}
	return nil
}

// reply streams the reply to one message. The history grows only by what was
// really said.
func (c *conversation) reply(ctx context.Context, message string, out io.Writer,
) (string, backend.Delta, error) {
	msgs := append(c.msgs[:len(c.msgs):len(c.msgs)],
		backend.Message{Role: backend.RoleUser, Content: message})
	var text strings.Builder
	var last backend.Delta
	var failed error
	wait := c.app.Waiting()
	defer wait.Close()
	for d, err := range c.b.ChatCompletion(ctx, &backend.Request{Messages: msgs}) {
		if err != nil {
			failed = err
			break
		}
		last = d
		text.WriteString(d.Text)
		if d.Text != "" {
			wait.Close()
		}
		if _, err := io.WriteString(out, d.Text); err != nil {
			failed = err
			break
		}
	}
	if failed == nil || text.Len() > 0 {
		c.msgs = append(msgs, backend.Message{Role: backend.RoleAssistant, Content: text.String()})
	}
	return text.String(), last, failed
}

// cost is one line about what the reply took.
func (c *conversation) cost(d backend.Delta) {
	if c.app.Quiet || d.Usage == nil {
		return
	}
	u := d.Usage
	line := fmt.Sprintf("%s%s: %d tokens", c.b.ModelID(), c.b.Place(), u.CompletionTokens)
	if u.Decode > 0 && u.CompletionTokens > 1 {
		line += fmt.Sprintf(", %.1f tokens/s", float64(u.CompletionTokens-1)/u.Decode.Seconds())
	}
	line += fmt.Sprintf("; prompt %d: %d evaluated, %d reused", u.PromptTokens, u.EvaluatedTokens,
		u.CachedTokens)
	if d.Finish == backend.FinishLength || d.Finish == backend.FinishContext {
		line += fmt.Sprintf("; ended by %s", d.Finish)
	}
	fmt.Fprintln(c.app.Err, line)
}
