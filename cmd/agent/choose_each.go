package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"agent/backend"
	"agent/command/decide"
	"agent/internal/bounded"
	"agent/internal/exit"
	"agent/internal/legible"
	"agent/internal/terminal"
)

// eachFlags say about which texts `agent choose` decides, and where the labels go.
type eachFlags struct {
	file, column, out, label string
}

func (e *eachFlags) bind(fl *pflag.FlagSet) {
	fl.StringVar(&e.file, "each", "",
		"decide about each text of this `FILE`: lines, rows of .csv or .tsv, entries of .json or .jsonl; - is "+
			"standard input")
	fl.StringVar(&e.column, "column", "",
		"of --each: the column or field with the texts (default the one with the most text)")
	fl.StringVar(&e.out, "out", "",
		"of --each: write the labels to this `FILE`; .csv: the table with a column more, .jsonl: with "+
			"probabilities")
	fl.StringVar(&e.label, "label", decide.LabelDefault, "of --each: name of the column of labels")
}

// checkEach refuses flags that do not go with --each, or without it.
func (a *chooseApp) checkEach() error {
	switch e := a.each; {
	case e.file == "" && (e.column != "" || e.out != "" || e.label != decide.LabelDefault):
		return exit.Usagef("--column, --out and --label are for --each FILE")
	case e.file == "":
		return nil
	case a.batch:
		return exit.Usagef("--each and --batch are given; give one")
	case len(a.options) == 1:
		return exit.Usagef("--each needs at least two options")
	case e.label == "":
		return exit.Usagef("--label is empty")
	}
	return nil
}

// decideEach decides about each text of a file.
func (a *chooseApp) decideEach(cmd *cobra.Command, args []string, question string) error {
	source, err := a.readTexts(cmd.Context())
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	if err := source.CheckWrite(a.each.out, a.each.label); err != nil {
		return exit.Usagef("--out %s: %w", a.each.out, err)
	}
	b, _, err := a.Open(cmd, args, a.values.Values())
	if err != nil {
		return err
	}
	defer b.Close()
	q := decide.Question{Text: question, Options: a.options}
	judge := decide.By(func(ctx context.Context, req *backend.Request, options []backend.Option) (*backend.Choice, error) {
		req.Messages = append(a.systemMessage(), req.Messages...)
		return b.ChooseFromOptions(ctx, req, options)
	}, a.config())
	result, err := decide.Run(cmd.Context(), source, q, judge, a.eachShown(q, len(source.Texts)))
	if errors.Is(err, decide.ErrNoScores) {
		return exit.With(exit.Backend, &noScoresError{b.ModelID()})
	}
	if err != nil {
		return backendError(err)
	}
	if err := a.each.write(result); err != nil {
		return err
	}
	if !a.Quiet {
		fmt.Fprintln(a.Err, result.Report())
	}
	if failed := result.TooLong(); len(failed) > 0 {
		return fmt.Errorf("%d of %d texts have no label, the first is %s: %s", len(failed),
			len(source.Texts), failed[0].Place(), failed[0].Why)
	}
	return nil
}

// noScoresError is a model that can't decide about many texts.
type noScoresError struct{ model string }

func (e *noScoresError) Error() string {
	return "--each: " + e.model + ": " + decide.ErrNoScores.Error()
}

// Hint says what a person can do about it.
func (e *noScoresError) Hint() string { return "use a local model: llm=hf" }

// readTexts reads the texts of --each.
func (a *chooseApp) readTexts(ctx context.Context) (*decide.Source, error) {
	e := a.each
	if e.file == "-" {
		text, err := terminal.ReadBounded(a.Input(ctx), "standard input", terminal.InputBytesMax)
		if err != nil {
			return nil, err
		}
		return decide.Read("standard input", []byte(text), e.column)
	}
	data, err := bounded.File(e.file, terminal.InputBytesMax)
	if err != nil {
		return nil, fmt.Errorf("--each: %w", err)
	}
	return decide.Read(e.file, data, e.column)
}

// eachShown prints each verdict as it comes, unless they go to a file; then how
// far the work is.
func (a *chooseApp) eachShown(q decide.Question, total int) func(decide.Verdict) error {
	n, progress := 0, a.Progress()
	return func(v decide.Verdict) error {
		n++
		switch {
		case a.json:
			return q.WriteLine(a.Out, v)
		case a.each.out != "" && n == total:
			progress.Show("")
		case a.each.out != "":
			progress.Show(fmt.Sprintf("%d of %d", n, total))
		default:
			_, err := fmt.Fprintf(a.Out, "%s\t%s\t%s\n", v.Label, shareOf(v), legible.OneLine(v.Text.Text))
			return err
		}
		return nil
	}
}

// shareOf is the probability of the label.
func shareOf(v decide.Verdict) string {
	best := 0.0
	for _, p := range v.Probabilities {
		best = max(best, p)
	}
	if v.Label == "" {
		return ""
	}
	return fmt.Sprintf("%.2f %%", 100*best)
}

// write writes the labels into the file of --out.
func (e *eachFlags) write(r *decide.Result) error {
	if e.out == "" {
		return nil
	}
	var text bytes.Buffer
	if err := r.Write(&text, e.out, e.label); err != nil {
		return err
	}
	if err := os.WriteFile(e.out, text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return nil
}
