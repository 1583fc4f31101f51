// Command agentbench measures the agent for its developers: what it gets done
// with a model, and how fast, beside llama.cpp's own tools. docs/dev/benchmarks.md
// has the figures.
package main

import (
	"os"

	"agent/internal/cli"

	"github.com/spf13/cobra"
)

func main() { os.Exit(cli.Main(nil, root)) }

// app is one start of this program.
type app struct{ *cli.App }

func root(c *cli.App) *cobra.Command {
	a := &app{c}
	root := &cobra.Command{Use: "agentbench",
		Short: "What the agent gets done with a model, and how fast, beside llama.cpp's own tools"}
	root.AddCommand(a.agentCmd(), a.compareCmd(), a.judgeCmd(), a.questionsCmd())
	return root
}
