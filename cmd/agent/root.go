package main

import (
	"github.com/spf13/cobra"
)

// globalFlags apply to every subcommand.
type globalFlags struct {
	model      string   // --model: short for a local model
	configDirs []string // --config-dir: searched before ./configs
	quiet      bool

	trustFolder bool // --trust-folder: what the current folder asks for is allowed
}

// rootCmd assembles the command tree. Each subcommand lives in a file of its
// own as a method of app returning *cobra.Command.
func (a *app) rootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:           "agent",
		Short:         "A language-model agent with the model inside the process",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return refuseEmpty(cmd.Flags())
		},
	}
	f := root.PersistentFlags()
	f.StringVar(&a.flags.model, "model", "", "local model: a path, a catalog name, hf://OWNER/REPO[@REV][/FILE] or a hub id")
	f.StringArrayVar(&a.flags.configDirs, "config-dir", nil, "search this folder for configuration before ./configs")
	f.BoolVar(&a.flags.trustFolder, "trust-folder", false, "allow what configs and .env of this folder ask for, this time")
	f.BoolVarP(&a.flags.quiet, "quiet", "q", false, "no progress on stderr")
	root.AddCommand(a.runCmd(), a.chatCmd(), a.chooseCmd(), a.tokensCmd(), a.modelsCmd(), a.configCmd(),
		a.commandsCmd(), a.sessionsCmd(), a.serveCmd(), a.compareCmd(), a.cacheCmd(), a.benchCmd(), a.doctorCmd(), a.versionCmd())
	strictUsage(root)
	return root
}
