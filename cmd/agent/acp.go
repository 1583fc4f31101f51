package main

import (
	"github.com/spf13/cobra"

	"agent/internal/cli"
	"agent/internal/serve/acp"
	"agent/internal/setup"
	"agent/session"
)

func (a *app) acpCmd() *cobra.Command {
	var values setup.Flags
	var disable []string
	cmd := &cobra.Command{
		Use:   "acp [flags] [key=value …]",
		Short: "Be the agent of an editor, by the Agent Client Protocol",
		Long: `Be the agent of an editor, by the Agent Client Protocol on standard input and output.
An editor starts it; docs/editors.md says how for Zed, JetBrains and Neovim.

What would be written or run is asked about in the editor. --approve is the mode that
sessions begin in; the editor can change it.`,
		Example: `  agent acp
  agent acp --model qwen2.5-coder-1.5b-instruct --approve auto`,
		Args: cli.OverridesOnly("acp"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.openDesk(cmd, args, &values, disable)
			if err != nil {
				return err
			}
			defer d.model.Close()
			return acp.Serve(cmd.Context(), acp.Config{Open: d.open,
				Mode:     session.ApproveMode(d.cfg.Agent.Approve),
				Sessions: setup.SessionsDir(), Version: version}, a.In, a.Out)
		},
	}
	bindWork(cmd, &values)
	cmd.Flags().StringArrayVar(&disable, "disable", nil,
		"take the command `NAME` away (may be repeated)")
	return cmd
}
