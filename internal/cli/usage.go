package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"agent/internal/config"
	"agent/internal/exit"
	"agent/internal/near"
	"agent/internal/setup"
)

// What cobra leaves vague about a wrong command line is made one clear line
// with the exit code of a usage error, for every command in the same way.

// strictUsage prepares a whole command tree, the commands that cobra adds
// itself included.
func strictUsage(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.SetFlagErrorFunc(flagError)
	strictCommand(root)
	if help, _, err := root.Find([]string{"help"}); err == nil && help != root {
		strictHelp(root, help)
	}
}

// strictCommand makes wrong arguments of a command, and of those below it,
// usage errors. A command that only holds others takes none.
func strictCommand(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		strictCommand(sub)
	}
	if cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.Args = subcommandOnly
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error { return argumentError(cmd, args, check(cmd, args)) }
	}
}

func argumentError(cmd *cobra.Command, args []string, err error) error {
	switch {
	case err == nil, exit.Has(err):
		return err
	// cobra.NoArgs
	case !cmd.HasSubCommands() && cmd.Name() != "help" &&
		strings.HasPrefix(err.Error(), "unknown command"):
		return exit.Usagef("%s takes no arguments, got %q", cmd.CommandPath(), config.Shown(args[0]))
	}
	return exit.Usagef("%w (usage: %s)", err, cmd.UseLine())
}

// strictHelp makes help for an unknown command an error, with the nearest name.
func strictHelp(root, help *cobra.Command) {
	help.Run = nil
	help.RunE = func(_ *cobra.Command, args []string) error {
		cmd, rest, err := root.Find(args)
		if err != nil {
			return exit.With(exit.Usage, err)
		}
		if len(rest) > 0 && cmd.HasSubCommands() {
			return unknownSubcommand(cmd, rest[0])
		}
		cmd.InitDefaultHelpFlag()
		return cmd.Help()
	}
}

// flagError says what is wrong with a flag. In a command that only holds others
// the mistake is the name before the flag.
func flagError(cmd *cobra.Command, err error) error {
	if args := cmd.Flags().Args(); cmd.HasSubCommands() && len(args) > 0 {
		return unknownSubcommand(cmd, args[0])
	}
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		name := unknown.GetSpecifiedName()
		if strings.Contains(name, " ") && takesText(cmd) {
			return exit.Usagef("unknown flag: --%s; text that begins with - goes after --", name)
		}
		return exit.Usagef("unknown flag: --%s%s", name, nearestFlag(cmd, name))
	case errors.As(err, &unknown) && takesText(cmd):
		return exit.Usagef("unknown flag: -%s; text that begins with - goes after --",
			unknown.GetSpecifiedShortnames())
	case errors.As(err, &invalid):
		return exit.Usagef("--%s: %q is not %s", invalid.GetFlag().Name, invalid.GetValue(),
			flagWords(invalid.GetFlag().Value.Type()))
	}
	return exit.With(exit.Usage, err)
}

// takesText reports a command among whose arguments is text, such as a task.
func takesText(cmd *cobra.Command) bool {
	return cmd.Args == nil && (cmd.Name() == "run" || cmd.Name() == "chat" ||
		cmd.Name() == "choose") ||
		cmd.Name() == "resume"
}

// nearestFlag suggests the flag that was meant, if any is near.
func nearestFlag(cmd *cobra.Command, name string) string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	meant := near.Name(name, names)
	if meant == "" {
		return fmt.Sprintf(" (%s --help lists those that there are)", cmd.CommandPath())
	}
	return fmt.Sprintf("; did you mean --%s?", meant)
}

// namingFlags name a file, a folder, a model or a run.
var namingFlags = []string{"model", "config-dir", "workdir", "tokenizer", "chat", "html", "resume",
	"api-key-file", "tasks", "out", "output", "transcripts", "tools"}

// refuseEmpty refuses a flag that was given and names nothing, as an unset
// variable of a shell does: it would be taken for one that was not given.
func refuseEmpty(flags *pflag.FlagSet) error {
	for _, name := range namingFlags {
		f := flags.Lookup(name)
		if f == nil || !f.Changed {
			continue
		}
		given := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			given = list.GetSlice()
		}
		if slices.Contains(given, "") {
			return exit.Usagef("--%s is empty; name something, or leave it out", name)
		}
	}
	return nil
}

// flagWords says in words what a flag of a type takes.
func flagWords(typ string) string {
	switch typ {
	case "int", "uint", "int64", "uint64", "int32", "uint32":
		return "a whole number"
	case "float64", "float32":
		return "a number"
	case "duration":
		return "a time such as 90s or 10m"
	case "bool":
		return "true or false"
	}
	return "a " + typ
}

// subcommandOnly refuses the arguments of a command that only holds others.
func subcommandOnly(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownSubcommand(cmd, args[0])
	}
	return nil
}

// unknownSubcommand is a usage error with the nearest name.
func unknownSubcommand(cmd *cobra.Command, name string) error {
	if setup.IsOverride(name) {
		return exit.Usagef("%q comes before the command; write %s COMMAND %[1]s", config.Shown(name),
			cmd.CommandPath())
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		return exit.Usagef("unknown command %q for %q; did you mean %q?", name, cmd.CommandPath(),
			near[0])
	}
	return exit.Usagef("unknown command %q for %q (%s --help lists those that there are)", name,
		cmd.CommandPath(), cmd.CommandPath())
}

// AtLeastOne refuses flags below 1.
func AtLeastOne(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		if n, err := cmd.Flags().GetInt(name); err != nil || n < 1 {
			return exit.Usagef("--%s is %d; it must be at least 1", name, n)
		}
	}
	return nil
}
