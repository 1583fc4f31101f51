package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"agent/internal/config"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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
	var coded *codedError
	switch {
	case err == nil, errors.As(err, &coded):
		return err
	case !cmd.HasSubCommands() && cmd.Name() != "help" && strings.HasPrefix(err.Error(), "unknown command"): // cobra.NoArgs
		return usagef("%s takes no arguments, got %q", cmd.CommandPath(), config.Shown(args[0]))
	}
	return usagef("%w (usage: %s)", err, cmd.UseLine())
}

// strictHelp makes help for an unknown command an error, with the nearest name.
func strictHelp(root, help *cobra.Command) {
	help.Run = nil
	help.RunE = func(_ *cobra.Command, args []string) error {
		cmd, rest, err := root.Find(args)
		if err != nil {
			return withCode(exitUsage, err)
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
		return usagef("unknown flag: --%s%s", unknown.GetSpecifiedName(), nearestFlag(cmd, unknown.GetSpecifiedName()))
	case errors.As(err, &invalid):
		return usagef("--%s: %q is not %s", invalid.GetFlag().Name, invalid.GetValue(), flagWords(invalid.GetFlag().Value.Type()))
	}
	return withCode(exitUsage, err)
}

// nearestFlag suggests the flag that was meant, if any is near.
func nearestFlag(cmd *cobra.Command, name string) string {
	near, best := "", max(2, len(name)/3)+1
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if d := levenshtein.ComputeDistance(name, f.Name); d < best && !f.Hidden {
			near, best = f.Name, d
		}
	})
	if near == "" {
		return fmt.Sprintf(" (%s --help lists those that there are)", cmd.CommandPath())
	}
	return fmt.Sprintf("; did you mean --%s?", near)
}

// namingFlags name a file, a folder, a model or a run.
var namingFlags = []string{"model", "config-dir", "workdir", "tokenizer", "chat", "html", "resume", "api-key-file", "tasks", "out", "output", "transcripts", "tools"}

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
			return usagef("--%s is empty; name something, or leave it out", name)
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

// inputError is text from outside that no model can read.
type inputError struct {
	what string
	at   int // the first byte that is wrong
}

func (e *inputError) Error() string {
	return fmt.Sprintf("%s is not text: byte %d is not valid UTF-8", e.what, e.at)
}

// Hint says what a person can do about it.
func (e *inputError) Hint() string {
	return "convert it to UTF-8 first (iconv -f LATIN1 -t UTF-8); binary files can't be read by a model"
}

// checkText refuses what is not UTF-8, before a model is loaded for it.
func checkText(what, text string) error {
	if utf8.ValidString(text) {
		return nil
	}
	for at, r := range text {
		if _, size := utf8.DecodeRuneInString(text[at:]); r == utf8.RuneError && size == 1 {
			return &inputError{what, at}
		}
	}
	return nil
}

// output is standard output that remembers that writing to it failed, so that
// a full disk is an error of every command, wherever it printed.
type output struct {
	io.Writer
	err error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil && o.err == nil {
		o.err = fmt.Errorf("write standard output: %w", err)
	}
	return n, err
}
