package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"agent/backend"
	"agent/internal/bench/tasks"
	"agent/internal/cli"
	"agent/internal/exit"
	"agent/session/ask"
	"agent/session/wants"
)

// questionsFlags are the flags of `agentbench questions`.
type questionsFlags struct {
	tasks, half, text, truth string
	list                     bool
}

func (a *app) questionsCmd() *cobra.Command {
	var f questionsFlags
	cmd := &cobra.Command{
		Use:   "questions [flags] [key=value …]",
		Short: "How well a model answers the plain questions about a task by scoring",
		Long: `How well a model answers the plain questions about a task by scoring: each is put
after each task in bench/tasks and the names of its files, and its margin is held
against what the task's solutions.yaml says that it wants. AUC is how often
a task with yes has a higher margin than one with no.`,
		Example: `  agentbench questions --half looked --list --model model.gguf
  agentbench questions --half counted --model model.gguf
  agentbench questions --text "Is a file to be written?" --truth writes --model model.gguf`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.questions(cmd, args, &f) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.tasks, "tasks", filepath.Join("bench", "tasks"), "`folder` of the tasks")
	fs.StringVar(&f.half, "half", "", "only the tasks that are `looked` at, or those that are only counted")
	fs.StringVar(&f.text, "text", "", "score this `question` instead")
	fs.StringVar(&f.truth, "truth", "", "the `question` whose right answers --text is held against")
	fs.BoolVar(&f.list, "list", false, "also print the margins of each task")
	return cmd
}

// scored is the margin of one question for one task, with the right answer.
type scored struct {
	task   string
	margin float64
	yes    bool
}

func (a *app) questions(cmd *cobra.Command, args []string, f *questionsFlags) error {
	overrides, _ := cli.Split(cmd, args)
	questions := wants.Questions()
	if f.text != "" {
		if _, ok := questions[f.truth]; !ok {
			return exit.Usagef("--truth is %q; it must be the name of a question", f.truth)
		}
		questions = map[string]ask.Question{f.truth: {Text: f.text}}
	}
	b := &agentBench{app: a, flags: &agentFlags{tasks: f.tasks, half: f.half, rounds: 1, tokensMax: 1},
		args: overrides}
	if err := b.prepare(); err != nil {
		return err
	}
	model, _, err := a.Open(cmd, args, nil)
	if err != nil {
		return err
	}
	defer model.Close()
	b.model = model
	all, err := b.askTasks(cmd.Context(), f, questions)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(all.curves)) {
		printCurve(a, name, all.curves[name], questions[name].Threshold, f.list)
	}
	if all.files > 0 {
		fmt.Fprintf(a.Out, "result: %d of %d right\n", all.right, all.files)
	}
	return nil
}

// askedTasks is what the model said about all tasks.
type askedTasks struct {
	curves       map[string][]scored // by question
	files, right int                 // tasks whose result is a file, and those where it was found
}

// askTasks asks the questions of each task of which the answers are known.
func (b *agentBench) askTasks(ctx context.Context, f *questionsFlags,
	questions map[string]ask.Question,
) (*askedTasks, error) {
	all := &askedTasks{curves: map[string][]scored{}}
	for _, task := range b.suite.Tasks {
		truth, known, err := tasks.WantsOf(filepath.Join(f.tasks, task.Name))
		if err != nil {
			return nil, err
		}
		if !known {
			continue
		}
		asked, err := b.askAll(ctx, task, truth, questions)
		if err != nil {
			return nil, fmt.Errorf("bench: task %s: %w", task.Name, err)
		}
		for name, s := range asked.margins {
			all.curves[name] = append(all.curves[name], s)
		}
		if truth.Result != "" && f.text == "" {
			all.files++
			if asked.result == truth.Result || asked.result == "" && truth.Result == "several" {
				all.right++
			} else if f.list {
				fmt.Fprintf(b.app.Out, "%s: result in %q, not %q (%.1f)\n", task.Name, asked.result,
					truth.Result, asked.lead)
			}
		}
	}
	return all, nil
}

type askedTask struct {
	margins map[string]scored
	result  string
	lead    float64
}

// askAll puts all questions to the model about one task.
func (b *agentBench) askAll(ctx context.Context, task *tasks.Task, truth tasks.Wants,
	questions map[string]ask.Question,
) (*askedTask, error) {
	paths, err := task.Files()
	if err != nil {
		return nil, err
	}
	folder := wants.Folder{Task: task.Prompt, Paths: paths}
	choose := func(ctx context.Context, req *backend.Request, options []string) (*backend.Choice, error) {
		return b.model.ChooseFromOptions(ctx, req, backend.Options(options...))
	}
	out := &askedTask{margins: map[string]scored{}}
	for name, q := range questions {
		answer, err := q.Ask(ctx, choose, folder.About())
		if err != nil {
			return nil, err
		}
		out.margins[name] = scored{task.Name, answer.Margin, truth.Yes(name)}
	}
	out.result, out.lead, err = folder.Result(ctx, choose)
	return out, err
}

// printCurve says how well margins tell yes from no: by rank, at the threshold
// in use, and at the best one there is.
func printCurve(a *app, name string, all []scored, threshold float64, list bool) {
	slices.SortFunc(all, func(x, y scored) int {
		return cmp.Or(cmp.Compare(y.margin, x.margin), cmp.Compare(x.task, y.task))
	})
	c := tasks.Curve{}
	for _, s := range all {
		c.Add(s.margin, s.yes)
		if list {
			fmt.Fprintf(a.Out, "%-10s %+7.2f  %-5v %s\n", name, s.margin, s.yes, s.task)
		}
	}
	best, at := c.Best()
	fmt.Fprintf(a.Out, "%s: AUC %.3f; %d of %d right above %.2f; %d above %.2f\n", name, c.AUC(),
		c.Right(threshold), len(all), threshold, best, at)
}
