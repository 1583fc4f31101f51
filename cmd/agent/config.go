package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"agent/internal/cli"
	"agent/internal/config"
	"agent/internal/exit"
	"agent/internal/setup"
)

func (a *app) configCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "The composed configuration: show, check, list",
		Long: `The composed configuration.

It is read as Hydra would: config.yaml, the files that its defaults list names,
then the environment (AGENT_LLM=openai, AGENT_LLM__TEMPERATURE=0) and the
key=value arguments. Of files with the same name the first one found is used, in
--config-dir, ./configs, ~/.config/agent/configs, and those built in.`,
		Example: `  agent config show
  agent config show llm llm=openai --origin
  agent config check --config-dir my-configs
  agent config list`,
	}
	cmd.AddCommand(a.configShowCmd(), a.configCheckCmd(), a.configListCmd())
	return cmd
}

func (a *app) configShowCmd() *cobra.Command {
	var asJSON, origin bool
	cmd := &cobra.Command{
		Use:   "show [SECTION] [key=value…]",
		Short: "Print the configuration that these arguments give, secrets redacted",
		Long: `Print the configuration that these arguments give. Secrets are never shown.
Interpolations that can't be evaluated, and mandatory values (???) that are not
set, stay as written; "agent config check" reports them.`,
		Example: `  agent config show llm --origin
  agent config show llm=fschat/mistral-7b llm.temperature=0 --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			overrides, rest := cli.Split(cmd, args)
			cfg, err := a.Host.Look(overrides)
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings() {
				a.Warn(w)
			}
			if len(rest) > 1 {
				return exit.Usagef("config show takes one section, got %q", rest)
			}
			section := ""
			if len(rest) == 1 {
				section = rest[0]
			}
			for _, s := range setup.Sections() { // which tells what is used as a text
				_, _ = a.Host.Decode(cfg, s) // "config check" tells what is wrong
			}
			return setup.UsageError(a.showConfig(cfg, config.ShowOptions{Path: section, Origin: origin},
				asJSON))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&origin, "origin", false, "tell where each value was written")
	return cmd
}

func (a *app) showConfig(cfg *config.Config, o config.ShowOptions, asJSON bool) error {
	if !asJSON {
		out, err := cfg.YAML(o)
		if err != nil {
			return err
		}
		_, err = a.Out.Write(out)
		return err
	}
	out, err := cfg.JSON(o)
	if err != nil {
		return err
	}
	if !o.Origin {
		return a.JSON(json.RawMessage(out))
	}
	origins := map[string]string{}
	for key, at := range cfg.Origins() {
		if o.Path == "" || key == o.Path || strings.HasPrefix(key, o.Path+".") {
			origins[key] = at.String()
		}
	}
	return a.JSON(map[string]any{"config": json.RawMessage(out), "origins": origins,
		"choices": cfg.Choices()})
}

func (a *app) configCheckCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check [key=value…]",
		Short: "Resolve the configuration and every option of every group, without running",
		Long: `Resolve everything without running: first the configuration that the arguments
give, then the same with each option of each group in turn. A problem in the
first is an error. An option that was not chosen may want an environment variable
or a value; that is shown as "needs" and is no error.`,
		Example: `  agent config check
  agent config check llm=openai
  agent config check --config-dir my-configs --json`,
		Args: cli.OverridesOnly("config check"),
		RunE: func(cmd *cobra.Command, args []string) error {
			overrides, _ := cli.Split(cmd, args)
			a.Host.WarnOfFolder(overrides)
			checks, err := a.Host.CheckAll(overrides)
			if err != nil {
				return err
			}
			return a.printConfigChecks(checks, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) printConfigChecks(checks []setup.Outcome, asJSON bool) error {
	failed := 0
	for _, c := range checks {
		if c.Status == setup.OutcomeError {
			failed++
		}
	}
	if asJSON {
		if err := a.JSON(map[string]any{"ok": failed == 0, "checks": checks}); err != nil {
			return err
		}
	} else {
		printCheckLines(a.Out, checks)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d configurations have problems", failed, len(checks))
	}
	return nil
}

func printCheckLines(out io.Writer, checks []setup.Outcome) {
	for _, c := range checks {
		fmt.Fprintf(out, "%-5s  %s\n", c.Status, cmp.Or(c.Composition, "(as given)"))
		for _, line := range strings.Split(c.Problem, "\n") {
			if line != "" {
				fmt.Fprintf(out, "       %s\n", strings.TrimPrefix(line, "config: "))
			}
		}
		if c.Hint != "" {
			fmt.Fprintf(out, "       hint: %s\n", c.Hint)
		}
		for _, w := range c.Warnings {
			fmt.Fprintf(out, "       warning: %s\n", w)
		}
	}
}

func (a *app) configListCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [key=value…]",
		Short: "List the groups, their options, and the files they come from",
		Long:  "List the groups, their options, and the files they come from. A star marks the option in use.",
		Example: `  agent config list
  agent config list --config-dir my-configs --json`,
		Args: cli.OverridesOnly("config list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			overrides, _ := cli.Split(cmd, args)
			opts, err := a.Host.Options(overrides)
			if err != nil {
				return err
			}
			a.Host.WarnOfFolder(overrides)
			groups, err := config.Groups(opts)
			if err != nil {
				return err
			}
			chosen := map[string]string{} // unknown where the configuration has problems
			cfg, err := a.Host.ComposeOptions(opts)
			switch err = setup.UsageError(err); {
			case err == nil:
				chosen = cfg.Choices()
			case exit.Has(err): // the command line's mistake
				return err
			}
			if asJSON {
				return a.JSON(map[string]any{"groups": groups, "choices": chosen})
			}
			return printGroups(a.Out, groups, chosen)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printGroups(w io.Writer, groups []config.Group, chosen map[string]string) error {
	out := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, g := range groups {
		for _, o := range g.Options {
			mark := " "
			if chosen[g.Name] == o.Name {
				mark = "*"
			}
			from := o.File
			if len(o.Shadows) > 0 {
				from += " (instead of " + strings.Join(o.Shadows, ", ") + ")"
			}
			fmt.Fprintf(out, "%s %s=%s\t%s\n", mark, g.Name, o.Name, from)
		}
	}
	return out.Flush()
}
