package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"agent/backend"
	"agent/internal/cli"
	"agent/internal/exit"
	"agent/internal/legible"
	"agent/internal/setup"
	"agent/internal/terminal"
)

// chooseApp is the app with the flags of `agent choose`.
type chooseApp struct {
	*app

	options                         []string
	method, system                  string
	calibrate, rotate, noList, json bool
	batch                           bool
	each                            eachFlags
	minMargin                       float64
	values                          setup.Flags
}

func (a *app) chooseCmd() *cobra.Command {
	f := &chooseApp{app: a}
	cmd := &cobra.Command{
		Use:   "choose [flags] [key=value …] QUESTION --option A --option B …",
		Short: "Decide between options, with probabilities",
		Long: `Decide between options, with probabilities.

A local model scores each option as its whole reply, from the log-probabilities
themselves: nothing is generated or parsed. Other backends decide as well as they
can, and "method" in the result says how.`,
		Example: `  agent choose "Is this review positive? 'Loved it.'" --option yes --option no
  agent choose "Which tool reads a file?" --option read --option write --option run --json
  agent choose --batch --json <questions.jsonl
  agent choose --each reviews.csv --out labels.csv "Is it positive?" --option yes --option no`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.options, "option", "o", nil, "an option (repeat it for each)")
	fl.StringVar(&f.method, "method", "sum", "how scores are formed: sum, mean, per_byte or pmi")
	fl.StringVar(&f.system, "system", "", "system message before the question")
	fl.BoolVar(&f.calibrate, "calibrate", false,
		"subtract the score under a content-free question (contextual calibration)")
	fl.BoolVar(&f.rotate, "rotate", false, "average over cyclic rotations of the listed order")
	fl.BoolVar(&f.noList, "no-list", false, "do not list the options after the question")
	fl.Float64Var(&f.minMargin, "min-margin", 0, "abstain when the winner leads by less, in nats")
	fl.BoolVar(&f.json, "json", false, "print the result as JSON")
	fl.BoolVar(&f.batch, "batch", false,
		"read JSON lines with prompt or messages, and options, from standard input; print one result a line")
	f.each.bind(fl)
	f.values.Bind(fl, "seed", "llm.seed", 0, "of backends that draw at random")
	_ = cmd.RegisterFlagCompletionFunc("method",
		cobra.FixedCompletions(scoringMethods(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *chooseApp) config() *backend.ChooseConfig {
	return &backend.ChooseConfig{Scoring: backend.Scoring(a.method), List: !a.noList, Rotate: a.rotate,
		Calibrate: a.calibrate, MarginMin: a.minMargin}
}

// scoringMethods are the values of --method.
func scoringMethods() []string { return []string{"sum", "mean", "per_byte", "pmi"} }

// checkMethod refuses an unknown --method.
func checkMethod(method string) error {
	if !slices.Contains(scoringMethods(), method) {
		return exit.Usagef("--method: %q is none of %s", method, strings.Join(scoringMethods(), ", "))
	}
	return nil
}

// check refuses what can be seen to be wrong before a model is loaded.
func (a *chooseApp) check() error {
	switch {
	case a.rotate && a.noList:
		return exit.Usagef("--rotate needs the options to be listed; drop --no-list")
	case math.IsNaN(a.minMargin) || a.minMargin < 0:
		return exit.Usagef("--min-margin is %v, must be 0 or more nats", a.minMargin)
	}
	if err := checkMethod(a.method); err != nil {
		return err
	}
	if err := a.checkEach(); err != nil {
		return err
	}
	return terminal.CheckText("--system", a.system)
}

func (a *chooseApp) run(cmd *cobra.Command, args []string) error {
	if err := a.check(); err != nil {
		return err
	}
	_, rest := cli.Split(cmd, args)
	item := chooseItem{Prompt: strings.Join(rest, " "), Options: a.options}
	switch {
	case a.batch:
		if item.Prompt != "" || len(a.options) > 0 {
			return exit.Usagef("--batch reads questions and options from standard input; drop the others")
		}
	case a.each.file != "":
		if err := a.checkQuestion(item.Prompt); err != nil {
			return err
		}
		return a.decideEach(cmd, args, item.Prompt)
	default:
		piped, err := a.Piped(cmd.Context())
		if err != nil {
			return err
		}
		if item.Prompt != "" {
			item.about = piped
		} else {
			item.Prompt = piped
		}
		if err := a.checkQuestion(item.Prompt); err != nil {
			return err
		}
	}
	b, _, err := a.Open(cmd, args, a.values.Values())
	if err != nil {
		return err
	}
	defer b.Close()
	if a.batch {
		return a.decideBatch(cmd.Context(), b)
	}
	c, err := a.decide(cmd.Context(), b, item)
	if err != nil {
		return err
	}
	if a.json {
		return a.JSONLine(c)
	}
	return a.printChoice(c)
}

// checkQuestion refuses a question without what belongs to it.
func (a *chooseApp) checkQuestion(question string) error {
	switch {
	case question == "":
		return exit.Usagef("no question given: agent choose \"question\" --option A --option B")
	case len(a.options) == 0:
		return exit.Usagef("no options given: add --option A --option B")
	}
	if err := backend.CheckOptions(backend.Options(a.options...)); err != nil {
		return exit.With(exit.Usage, err)
	}
	return terminal.CheckText("the question or an option", question+strings.Join(a.options, ""))
}

// chooseItem is one line of a batch.
type chooseItem struct {
	Prompt   string            `json:"prompt"`
	Messages []backend.Message `json:"messages"`
	Options  []string          `json:"options"`

	about string // a text that the prompt is a question about
}

// decide asks for one decision. Messages are taken as they are; a prompt gets
// the system message and the list of options.
func (a *chooseApp) decide(ctx context.Context, b backend.LanguageBackend, item chooseItem,
) (*backend.Choice, error) {
	cfg := a.config()
	msgs := item.Messages
	switch {
	case len(msgs) > 0 && item.Prompt != "":
		return nil, errors.New("both prompt and messages are given")
	case len(msgs) > 0:
		if cfg.List = false; cfg.Rotate {
			return nil, errors.New("--rotate needs a prompt: messages are taken as they are, with no list to rotate")
		}
	case item.Prompt == "":
		return nil, errors.New("neither prompt nor messages is given")
	default:
		msgs = append(a.systemMessage(), backend.Message{Role: backend.RoleUser, Content: item.Prompt})
		if item.about != "" {
			req := backend.AboutText(item.Prompt, item.about, cfg)
			msgs, cfg = append(a.systemMessage(), req.Messages...), req.Choose
		}
	}
	options := backend.Options(item.Options...)
	if err := backend.CheckOptions(options); err != nil {
		return nil, err
	}
	c, err := b.ChooseFromOptions(ctx, &backend.Request{Messages: msgs, Choose: cfg}, options)
	return c, backendError(err)
}

// systemMessage is what stands before a question.
func (a *chooseApp) systemMessage() []backend.Message {
	if a.system == "" {
		return nil
	}
	return []backend.Message{{Role: backend.RoleSystem, Content: a.system}}
}

// backendError makes the failure of a model one of its exit code; what is too
// long is the user's.
func backendError(err error) error {
	if _, ok := errors.AsType[*backend.ContextError](err); ok {
		return err
	}
	return exit.With(exit.Backend, err)
}

// batchLineMax bounds one line of a batch.
const batchLineMax = 64 << 20

// decideBatch answers JSON lines in order. A line that can't be answered is an
// error line of its own in the output; the others are still answered.
func (a *chooseApp) decideBatch(ctx context.Context, b backend.LanguageBackend) error {
	in := bufio.NewScanner(a.Lines(ctx))
	in.Buffer(make([]byte, 0, 1<<16), batchLineMax)
	var failures []error
	n, line := 0, 0
	for in.Scan() {
		line++
		if len(bytes.TrimSpace(in.Bytes())) == 0 {
			continue
		}
		n++
		c, err := a.decideLine(ctx, b, in.Bytes())
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			failures = append(failures, err)
			err = a.JSONLine(map[string]any{"error": fmt.Sprintf("line %d: %v", line, err), "line": line})
		default:
			err = a.JSONLine(c)
		}
		if err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("read standard input after line %d: %w", line, err)
	}
	if n == 0 {
		return errors.New("standard input is empty: give JSON lines such as {\"prompt\":\"…\",\"options\":[\"a\",\"b\"]}")
	}
	if len(failures) > 0 {
		return exit.With(exit.Shared(failures),
			fmt.Errorf("%d of %d lines could not be decided; see their \"error\"", len(failures), n))
	}
	return nil
}

func (a *chooseApp) decideLine(ctx context.Context, b backend.LanguageBackend, line []byte,
) (*backend.Choice, error) {
	var item chooseItem
	if err := legible.CheckJSON(line); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&item); err != nil {
		return nil, batchLineError(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value on the line")
	}
	return a.decide(ctx, b, item)
}

// batchLineError says what a line should be where the decoder speaks of Go.
func batchLineError(err error) error {
	var typ *json.UnmarshalTypeError
	if !errors.As(err, &typ) {
		return fmt.Errorf("not a JSON object with prompt or messages, and options: %w", err)
	}
	return fmt.Errorf("%s: a %s is not what belongs there; give {\"prompt\":\"…\",\"options\":[\"a\",\"b\"]}",
		cmp.Or(typ.Field, "the line"), typ.Value)
}

// printChoice prints a decision for a person.
func (a *chooseApp) printChoice(c *backend.Choice) error {
	width := 0
	for _, o := range c.Options {
		width = max(width, len([]rune(fmt.Sprintf("%q", o.Text))))
	}
	width = min(width, 60)
	for i, o := range c.Options {
		mark := " "
		if i == c.Index {
			mark = "*"
		}
		line := fmt.Sprintf("%s %-*s", mark, width, fmt.Sprintf("%q", o.Text))
		if !math.IsNaN(o.Probability) {
			line += fmt.Sprintf("  %6.2f %%", 100*o.Probability)
		}
		if !math.IsNaN(o.Logprob) && !math.IsInf(o.Logprob, 0) {
			line += fmt.Sprintf("  %9.3f nats", o.Logprob)
		}
		fmt.Fprintln(a.Out, line)
	}
	if c.Abstained {
		fmt.Fprintf(a.Out, "abstained: %s\n", c.Reason)
	}
	if !a.Quiet {
		fmt.Fprintln(a.Err, choiceLine(c))
	}
	return nil
}

// choiceLine is how a decision was made, in one line.
func choiceLine(c *backend.Choice) string {
	parts := []string{c.Method}
	if !math.IsNaN(c.Margin) && !math.IsInf(c.Margin, 0) {
		parts = append(parts, fmt.Sprintf("margin %.3f nats", c.Margin))
	}
	if c.Tie {
		parts = append(parts, "a tie")
	}
	if !math.IsNaN(c.OutsideMass) {
		parts = append(parts, fmt.Sprintf("%.1f %% of replies are none of these", 100*c.OutsideMass))
	}
	parts = append(parts, fmt.Sprintf("%d tokens evaluated, %d reused", c.EvaluatedTokens,
		c.CachedTokens), fmt.Sprintf("%d ms", c.Wall.Milliseconds()))
	return strings.Join(parts, "; ")
}
