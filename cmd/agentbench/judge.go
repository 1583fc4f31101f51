package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"agent/command"
	"agent/internal/bench/tasks"
	"agent/internal/bounded"
	"agent/internal/exit"
)

// answerBytesMax bounds an answer that is judged.
const answerBytesMax = 1 << 20

// judgeCmd lets other agents be judged as this one is.
func (a *app) judgeCmd() *cobra.Command {
	var folder string
	cmd := &cobra.Command{
		Use:   "judge [flags] TASK FOLDER",
		Short: "Whether a task of bench/tasks was solved, by what an agent left in a folder",
		Long: `Whether a task of bench/tasks was solved, by what an agent left in a folder and the
answer that it gave, which is read from stdin. What is wrong is printed; the exit
code is then 1.`,
		Example: `  echo "It is 42." | agentbench judge csv-sum work`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			suite, err := tasks.Load(folder)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(suite.Tasks, func(t *tasks.Task) bool { return t.Name == args[0] })
			if i < 0 {
				return exit.Usagef("%s has no task %q", folder, args[0])
			}
			dir, err := filepath.Abs(args[1])
			if err != nil {
				return fmt.Errorf("judge: %w", err)
			}
			answer, err := bounded.Read(a.In, answerBytesMax)
			if err != nil {
				return fmt.Errorf("judge: read the answer: %w", err)
			}
			return a.judge(cmd, suite.Tasks[i], dir, string(answer))
		},
	}
	cmd.Flags().StringVar(&folder, "tasks", filepath.Join("bench", "tasks"), "`folder` of the tasks")
	return cmd
}

func (a *app) judge(cmd *cobra.Command, task *tasks.Task, dir, answer string) error {
	left := tasks.Outcome{Dir: dir, Answer: answer, Run: pythonRunner(&command.Env{WorkDir: dir})}
	wrong, err := task.Verify(cmd.Context(), left)
	if err != nil {
		return err
	}
	if len(wrong) > 0 {
		_, _ = io.WriteString(a.Out, strings.Join(wrong, "\n")+"\n")
		return exit.With(exit.Failed, fmt.Errorf("%s is not solved", task.Name))
	}
	fmt.Fprintln(a.Out, "solved")
	return nil
}
