package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"agent/inference"
	"agent/internal/legible"
	"agent/internal/setup"
)

func (a *app) cacheCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "What was evaluated once and is kept on disk",
		Long: `A local model evaluates the fixed part of its prompts once: its KV cache is kept on disk, and so is that of a run which
has a session file. llm.disk_cache_mib says how much that may be; what was unused the longest goes first.`,
	}
	cmd.AddCommand(a.cacheListCmd(), a.cacheClearCmd())
	return cmd
}

func (a *app) cacheListCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List what is kept, the newest first", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			list, err := inference.OpenPrefixStore(setup.KVDir(), 0).List()
			if err != nil {
				return err
			}
			if asJSON {
				return a.JSON(map[string]any{"prefixes": list})
			}
			w := tabwriter.NewWriter(a.Out, 0, 4, 2, ' ', 0)
			fmt.Fprintln(w, "USED\tMODEL\tTOKENS\tMB")
			total := int64(0)
			for _, p := range list {
				total += p.Bytes
				fmt.Fprintf(w, "%s\t%s\t%d\t%.1f\n", p.Used.Local().Format("2006-01-02 15:04"),
					legible.Line(p.Model, 40), p.Tokens, float64(p.Bytes)/1e6)
			}
			if err := w.Flush(); err != nil {
				return err
			}
			fmt.Fprintf(a.Err, "%.1f MB in %s\n", float64(total)/1e6, setup.KVDir())
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) cacheClearCmd() *cobra.Command {
	return &cobra.Command{
		Use: "clear", Short: "Remove all of it; the next runs evaluate their prompts again",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			freed, err := inference.OpenPrefixStore(setup.KVDir(), 0).Clear()
			fmt.Fprintf(a.Err, "%.1f MB removed\n", float64(freed)/1e6)
			return err
		},
	}
}
