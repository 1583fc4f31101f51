package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"agent/backend"
	"agent/internal/cli"
	"agent/internal/compare"
	"agent/internal/config"
	"agent/internal/exit"
	"agent/internal/legible"
	"agent/internal/setup"
)

// compareApp is the app with the flags of `agent compare`.
type compareApp struct {
	*app

	llms                      []string
	input, html               string
	method, system            string
	rotate, calibrate, noList bool
	json                      bool
	parallel                  int
	values                    setup.Flags
}

func (a *app) compareCmd() *cobra.Command {
	f := &compareApp{app: a}
	cmd := &cobra.Command{
		Use:   "compare [flags] [key=value …] --llm A --llm B --input FILE",
		Short: "Ask several models the same, and compare what is right, how fast, and at what cost",
		Long: `Ask several models the same, and compare what is right, how fast, and at what cost.

Each --llm is an option of the group llm, with changes of its own after it:
"hf model_id=…" is llm=hf llm.model_id=…; key=value arguments are for all. The
models are asked one after the other, so that they don't slow each other down.

--input has JSON lines: {"prompt":"…"} or {"messages":[…]} is answered by a reply,
with "options":["…"] by a choice; "expected":"…" or ["…"] is what is right, and
"match" says how a reply is held against it: contains, exact or regexp. A call
that fails is a result with its error; Ctrl-C ends with what was done.

docs/compare.md has an example and says what the numbers mean.`,
		Example: `  agent compare --llm hf --llm openai --input tasks.jsonl
  agent compare --llm hf --llm "hf model_id=qwen2.5-coder-0.5b-instruct" --input tasks.jsonl --html report.html
  agent compare --llm openai --llm "openai model_id=gpt-4o" --input - --parallel 4 --json <tasks.jsonl`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&f.llms, "llm", nil,
		"a `configuration` to compare: an option of llm, and key=value of llm after it (repeat)")
	fl.StringVarP(&f.input, "input", "i", "",
		"`file` with a task on each line, as JSON; - is standard input")
	fl.StringVar(&f.html, "html", "", "also write a page with tables and plots to this `file`")
	fl.BoolVar(&f.json, "json", false, "print the whole report as JSON")
	fl.IntVar(&f.parallel, "parallel", 1,
		"tasks of a model at the same time; more than one makes latencies longer")
	fl.StringVar(&f.system, "system", "", "system message before each prompt")
	fl.StringVar(&f.method, "method", "sum",
		"how scores of options are formed: sum, mean, per_byte or pmi")
	fl.BoolVar(&f.rotate, "rotate", false, "average over cyclic rotations of the listed options")
	fl.BoolVar(&f.calibrate, "calibrate", false,
		"subtract the scores under a content-free question (contextual calibration)")
	fl.BoolVar(&f.noList, "no-list", false, "do not list the options after the question")
	f.values.Bind(fl, "temperature", "llm.temperature", 0.0,
		"of sampling; without it and without a configured one it is 0")
	f.values.Bind(fl, "seed", "llm.seed", 0, "of the random numbers of sampling")
	f.values.Bind(fl, "max-tokens", "llm.max_tokens", 0,
		fmt.Sprintf("most tokens of a reply; without it and without a configured one %d",
			compare.TokensMaxDefault))
	return cmd
}

// run composes all configurations and reads all tasks before any model is
// asked, so that mistakes show at once.
func (a *compareApp) run(cmd *cobra.Command, args []string) error {
	if err := a.check(); err != nil {
		return err
	}
	overrides, rest := cli.Split(cmd, args)
	if len(rest) > 0 {
		return exit.Usagef("compare takes key=value arguments, got %q; tasks come from --input", rest[0])
	}
	if i := slices.IndexFunc(overrides, choosesModel); i >= 0 {
		return exit.Usagef("%s among the arguments would take the place of every --llm; write --llm %s instead",
			overrides[i], overrides[i][strings.Index(overrides[i], "=")+1:])
	}
	models, err := a.models(cmd, overrides)
	if err != nil {
		return err
	}
	tasks, err := a.tasks(cmd.Context())
	if err != nil {
		return err
	}
	if err := checkWritable(a.html); err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	progress := a.Progress()
	update := func(model string, done, tasks int) {
		text := ""
		if done < tasks {
			text = fmt.Sprintf("%s: %d of %d", cmp.Or(legible.OneLine(model), "model"), done, tasks)
		}
		progress.Show(text)
	}
	report := compare.Run(cmd.Context(), models, tasks,
		compare.Config{System: a.system, Parallel: a.parallel, Progress: update,
			Choose: &backend.ChooseConfig{Scoring: backend.Scoring(a.method), List: !a.noList,
				Rotate: a.rotate, Calibrate: a.calibrate}})
	progress.Show("")
	return errors.Join(a.show(report), compareError(cmd.Context(), report))
}

func (a *compareApp) check() error {
	switch {
	case len(a.llms) == 0:
		return exit.Usagef("no models given: add --llm A --llm B")
	case a.input == "":
		return exit.Usagef("no tasks given: add --input FILE, or --input - for standard input")
	case a.rotate && a.noList:
		return exit.Usagef("--rotate needs the options to be listed; drop --no-list")
	case a.parallel < 1:
		return exit.Usagef("--parallel must be at least 1")
	}
	return checkMethod(a.method)
}

// checkWritable finds out before anything is paid for that a file can't be
// written. What is in it stays; an empty name is no file.
func checkWritable(name string) error {
	if name == "" {
		return nil
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return file.Close()
}

// choosesModel reports an override that chooses the option of llm; a dict only
// changes some of its keys.
func choosesModel(override string) bool {
	value, ok := strings.CutPrefix(strings.TrimLeft(override, "+"), "llm=")
	return ok && !strings.HasPrefix(value, "{")
}

// models composes the configuration of each --llm.
func (a *compareApp) models(cmd *cobra.Command, overrides []string) ([]compare.Model, error) {
	var models []compare.Model
	names := map[string]int{}
	for _, spec := range a.llms {
		own, err := setup.SpecOverrides(spec)
		if err != nil {
			return nil, err
		}
		// What is said for all comes first, so that a model's own wins.
		cfg, err := a.Host.Compose(cmd.Context(), slices.Concat(own[:1], overrides, own[1:]),
			a.values.Values(), setup.SectionLLM)
		if err != nil {
			return nil, fmt.Errorf("--llm %q: %w", config.Shown(spec), err)
		}
		s := cfg.LLM
		name := strings.TrimPrefix(own[0], "llm=") + nameSuffix(s.ModelID)
		if names[name]++; names[name] > 1 {
			name += fmt.Sprintf(" #%d", names[name])
		}
		models = append(models, compare.Model{Name: name, Price: price(s.Price), TokensMax: s.TokensMax,
			Temperature: s.Temperature,
			Open: func(ctx context.Context) (backend.LanguageBackend, func(), error) {
				m, err := a.Host.OpenModel(ctx, cfg)
				if err != nil {
					return nil, nil, err
				}
				return m, m.Close, nil
			}})
	}
	return models, nil
}

// nameSuffix tells models of the same backend apart: the model's short name.
func nameSuffix(modelID string) string {
	if modelID == "" {
		return ""
	}
	return ":" + strings.TrimSuffix(path.Base(filepath.ToSlash(modelID)), ".gguf")
}

// price is nil where nothing is said of it; else it has both directions.
func price(p setup.Price) *compare.Price {
	if p.Input == nil || p.Output == nil {
		return nil
	}
	return &compare.Price{Input: *p.Input, CachedInput: p.CachedInput, Output: *p.Output,
		Currency: p.Currency}
}

func (a *compareApp) tasks(ctx context.Context) ([]compare.Task, error) {
	in := a.Input(ctx)
	if a.input != "-" {
		file, err := os.Open(a.input)
		if err != nil {
			return nil, fmt.Errorf("--input: %w", err)
		}
		defer file.Close()
		in = file
	}
	tasks, err := compare.ReadTasks(in)
	if err != nil {
		return nil, fmt.Errorf("--input %s: %w", a.input, err)
	}
	return tasks, nil
}

// show prints the report, and then writes the page: what was paid for
// is seen even where the page is lost.
func (a *compareApp) show(r *compare.Report) error {
	print := a.print
	if a.json {
		print = func(r *compare.Report) error { return a.JSON(r) }
	}
	return errors.Join(print(r), writePage(r, a.html))
}

// writePage writes the report as a page of HTML, if wanted.
func writePage(r *compare.Report, name string) error {
	if name == "" {
		return nil
	}
	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil {
		return err
	}
	if err := os.WriteFile(name, page.Bytes(), 0o644); err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	return nil
}

// differencesMax bounds the tasks that are shown one by one.
const differencesMax = 10

func (a *compareApp) print(r *compare.Report) error {
	head, rows := r.Table()
	out := tabwriter.NewWriter(a.Out, 0, 4, 2, ' ', 0)
	for _, row := range append([][]string{head}, rows...) {
		fmt.Fprintln(out, strings.Join(row, "\t"))
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for _, m := range r.Models {
		if m.Error != "" {
			fmt.Fprintf(a.Out, "\n%s did not start: %s\n", m.Name, m.Error)
		}
	}
	if pairs := r.Pairs(); len(pairs) > 0 {
		fmt.Fprintf(a.Out, "\n%s\n", strings.Join(pairs, "\n"))
	}
	printDifferences(a.Out, r)
	return nil
}

// printDifferences shows the first tasks on which not all say the same.
func printDifferences(out io.Writer, r *compare.Report) {
	tasks := r.Differences()
	if len(tasks) == 0 {
		return
	}
	fmt.Fprintf(out, "\nanswers that differ:\n")
	for _, i := range tasks[:min(len(tasks), differencesMax)] {
		t := r.Tasks[i]
		fmt.Fprintf(out, "  %s  %s", t.ID, legible.Line(t.Question(), 70))
		if len(t.Expected) > 0 {
			fmt.Fprintf(out, "  expected: %s", legible.Line(strings.Join(t.Expected, " | "), 30))
		}
		fmt.Fprintln(out)
		for _, m := range r.Models {
			fmt.Fprintf(out, "     %s %s: %s\n", resultMark(m.Results[i]), m.Name, resultText(m.Results[i]))
		}
	}
	if n := len(tasks) - differencesMax; n > 0 {
		fmt.Fprintf(out, "  … and %d more; --json and --html have all\n", n)
	}
}

func resultMark(r *compare.Result) string {
	switch {
	case r == nil || r.Correct == nil:
		return " "
	case *r.Correct:
		return "✓"
	}
	return "✗"
}

func resultText(r *compare.Result) string {
	switch {
	case r == nil:
		return "not asked"
	case r.Error != "":
		return "error: " + legible.Line(r.Error, 120)
	case r.Abstained:
		return "abstained: " + legible.Line(r.Reason, 120)
	}
	return legible.Line(r.Answer, 120)
}

// compareError says that not all is as it should be. An interruption comes
// before the failures.
func compareError(ctx context.Context, r *compare.Report) error {
	if r.Interrupted {
		return ctx.Err()
	}
	results, models := r.Failures()
	switch {
	case models > 0:
		return exit.With(exit.Backend, fmt.Errorf("%d of %d models did not start", models, len(r.Models)))
	case results > 0:
		return exit.With(exit.Backend, fmt.Errorf("%d of %d calls failed; see their error", results,
			len(r.Models)*len(r.Tasks)))
	}
	return nil
}
