// Command agent runs a language-model agent with the model inside the process,
// and the same agent on OpenAI, FastChat or a human. See docs/ and `agent --help`.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"agent/internal/cli"
)

func main() { os.Exit(cli.Main(customBackends(), root)) }

// app is one start of this program. Each subcommand has a file of its own.
type app struct{ *cli.App }

// root assembles the commands.
func root(c *cli.App) *cobra.Command {
	a := &app{c}
	a.Host.Version = version
	root := &cobra.Command{Use: "agent",
		Short: "A language-model agent with the model inside the process"}
	root.AddCommand(a.runCmd(), a.chatCmd(), a.chooseCmd(), a.tokensCmd(), a.modelsCmd(),
		a.configCmd(),
		a.commandsCmd(), a.sessionsCmd(), a.serveCmd(), a.mcpCmd(), a.acpCmd(), a.launchCmd(),
		a.compareCmd(),
		a.cacheCmd(), a.benchCmd(), a.doctorCmd(), a.versionCmd())
	return root
}
