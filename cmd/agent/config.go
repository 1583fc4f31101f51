package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"agent/configs"
	"agent/internal/config"

	"github.com/spf13/cobra"
)

// overrideArgument is what an override looks like among other arguments: a key
// without spaces and "=", or a deletion. Text that looks the same goes after --.
var overrideArgument = regexp.MustCompile(`^(?:\+{0,2}|~)[A-Za-z_][\w./@$-]*=|^~[A-Za-z_][\w./@-]*$`)

// splitOverrides separates overrides from the other arguments of a command.
// What comes after "--" is never an override.
func splitOverrides(args []string) (overrides, rest []string) {
	for i, arg := range args {
		switch {
		case arg == "--":
			return overrides, append(rest, args[i+1:]...)
		case overrideArgument.MatchString(arg):
			overrides = append(overrides, arg)
		default:
			rest = append(rest, arg)
		}
	}
	return overrides, rest
}

// shownArgs are arguments in one line, without the secrets in them.
func shownArgs(args []string) string {
	shown := make([]string, 0, len(args))
	for _, arg := range args {
		shown = append(shown, config.Shown(arg))
	}
	return strings.Join(shown, " ")
}

// withDash puts back the "--" that the flag parser took out of args.
func withDash(cmd *cobra.Command, args []string) []string {
	if n := cmd.ArgsLenAtDash(); n >= 0 {
		return slices.Insert(slices.Clone(args), n, "--")
	}
	return args
}

// compose makes the configuration of one command line: the stock one, the
// user's folders, the environment with .env, --model and the overrides among
// args. The other arguments are returned. Flags are set after everything else.
//
// Pass the arguments through [withDash], so that what follows "--" is never an
// override. Warnings are in the configuration, for who uses it to print.
func (a *app) compose(args []string, flags ...config.Value) (cfg *config.Config, rest []string, err error) {
	overrides, rest := splitOverrides(args)
	cfg, err = a.composeOverrides(overrides, flags...)
	return cfg, rest, err
}

// composeOverrides is compose for overrides that are already separate, as those
// of one job of a sweep. What the folder asks for must be allowed.
func (a *app) composeOverrides(overrides []string, values ...config.Value) (*config.Config, error) {
	cfg, asked, err := a.composeAsked(overrides, values)
	if err != nil {
		return nil, err
	}
	return cfg, a.allowFolder(asked)
}

// composeAsked composes, and tells what the folder asks for.
func (a *app) composeAsked(overrides []string, values []config.Value) (*config.Config, []config.Change, error) {
	opts, err := a.configOptions(overrides)
	if err != nil {
		return nil, nil, err
	}
	opts.Values = append(opts.Values, values...)
	cfg, err := a.composeOptions(opts)
	if err != nil {
		return nil, nil, configError(err)
	}
	own, err := a.composeOwn(overrides, values)
	if err != nil {
		return nil, nil, configError(err)
	}
	stock, err := config.Compose(config.Options{Embedded: configs.FS, Environ: []string{}})
	if err != nil {
		return nil, nil, err
	}
	return cfg, a.askedOf(cfg, own, stock), nil
}

// look is compose for what only shows a configuration: what the folder asks for
// is a warning.
func (a *app) look(args []string) (cfg *config.Config, rest []string, err error) {
	overrides, rest := splitOverrides(args)
	cfg, asked, err := a.composeAsked(overrides, nil)
	if err == nil {
		a.warnFolder(asked)
	}
	return cfg, rest, err
}

// sweep expands overrides with several values (--multirun) into the overrides
// of each job, and returns the other arguments.
func (a *app) sweep(args []string) (jobs [][]string, rest []string, err error) {
	overrides, rest := splitOverrides(args)
	jobs, err = config.Sweep(overrides)
	return jobs, rest, configError(err)
}

// configOptions gives the search path and what the environment, the folder and
// --model say.
func (a *app) configOptions(overrides []string) (config.Options, error) {
	folder, err := a.readFolder()
	if err != nil {
		return config.Options{}, err
	}
	return a.optionsWith(folder, overrides)
}

// optionsWith is configOptions with what the current folder may have.
func (a *app) optionsWith(folder folderFiles, overrides []string) (config.Options, error) {
	opts := config.Options{Dirs: a.flags.configDirs, Folder: folder.config(), OptionalDirs: userConfigDirs(), Embedded: configs.FS, Overrides: overrides}
	return opts, a.chooseModel(&opts, folder)
}

// userConfigDirs are searched after those of the command line and the folder.
func userConfigDirs() []string {
	var dirs []string
	base := os.Getenv("XDG_CONFIG_HOME")
	if home, err := os.UserHomeDir(); base == "" && err == nil {
		base = filepath.Join(home, ".config")
	}
	if filepath.IsAbs(base) {
		dirs = append(dirs, filepath.Join(base, "agent", "configs"))
	}
	return dirs
}

// chooseModel applies --model, and AGENT_MODEL where the command line says
// nothing of the model.
func (a *app) chooseModel(opts *config.Options, folder folderFiles) error {
	model, source := a.flags.model, "--model"
	llm := ""
	for _, o := range opts.Overrides {
		if v, ok := strings.CutPrefix(o, "llm="); ok {
			llm = v
		}
		if strings.HasPrefix(strings.TrimLeft(o, "+"), "llm.model_id=") && model != "" {
			return usagef("--model %s and %s both name a model; leave one out", model, o)
		}
	}
	if model == "" {
		model, source = os.Getenv("AGENT_MODEL"), "environment AGENT_MODEL"
		if model == "" {
			model, source = folder.env["AGENT_MODEL"], ".env AGENT_MODEL"
		}
		if model == "" || llm != "" || cmp.Or(os.Getenv("AGENT_LLM"), folder.env["AGENT_LLM"]) != "" || slices.ContainsFunc(opts.Overrides, namesModel) {
			return nil
		}
	}
	if llm == "" {
		opts.Overrides = append([]string{"llm=hf"}, opts.Overrides...)
	}
	opts.Values = append(opts.Values, config.Value{Key: "llm.model_id", Value: model, Source: source})
	return nil
}

// composeOptions composes, and holds --model against the backend that came of it.
func (a *app) composeOptions(opts config.Options) (*config.Config, error) {
	cfg, err := config.Compose(opts)
	if err != nil {
		return nil, err
	}
	return cfg, a.checkModel(cfg, opts.Values)
}

// checkModel refuses --model for what is no local model. An option of the user's
// own is one if its file says so.
func (a *app) checkModel(cfg *config.Config, values []config.Value) error {
	i := slices.IndexFunc(values, func(v config.Value) bool { return v.Key == "llm.model_id" })
	target, err := cfg.Target("llm")
	if i < 0 || err != nil || backendTargets()[target] == backendHF {
		return nil
	}
	if _, custom := a.custom[target]; backendTargets()[target] == "" && !custom {
		return nil // decoding says that there is no such backend
	}
	return withCode(exitUsage, &config.Error{Msg: fmt.Sprintf("%s is a local model, but llm=%s is not", values[i].Source, cfg.Choices()["llm"]),
		Advice: "name a model of another backend with llm.model_id=NAME"})
}

func namesModel(override string) bool {
	return strings.HasPrefix(strings.TrimLeft(override, "+"), "llm.model_id=")
}

// configError makes a mistake on the command line a usage error.
func configError(err error) error {
	var e *config.Error
	if errors.As(err, &e) && (e.Origin.File == "command line" || strings.HasPrefix(e.Origin.File, "--")) {
		return withCode(exitUsage, err)
	}
	return err
}

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
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownSubcommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
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
			cfg, rest, err := a.look(withDash(cmd, args))
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings() {
				a.warn(w)
			}
			if len(rest) > 1 {
				return usagef("config show takes one section, got %q", rest)
			}
			section := ""
			if len(rest) == 1 {
				section = rest[0]
			}
			return configError(a.showConfig(cfg, config.ShowOptions{Path: section, Origin: origin}, asJSON))
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
		_, err = a.out.Write(out)
		return err
	}
	out, err := cfg.JSON(o)
	if err != nil {
		return err
	}
	if !o.Origin {
		return a.printJSON(json.RawMessage(out))
	}
	origins := map[string]string{}
	for key, at := range cfg.Origins() {
		if o.Path == "" || key == o.Path || strings.HasPrefix(key, o.Path+".") {
			origins[key] = at.String()
		}
	}
	return a.printJSON(map[string]any{"config": json.RawMessage(out), "origins": origins, "choices": cfg.Choices()})
}

// configCheck is the outcome for one composition.
type configCheck struct {
	Composition string   `json:"composition"` // the overrides, "" for none
	Status      string   `json:"status"`      // ok, needs or error
	Problem     string   `json:"problem,omitempty"`
	Hint        string   `json:"hint,omitempty"`
	Warnings    []string `json:"warnings,omitempty"`
}

// The statuses of a check. An option that was not chosen and only wants
// something from the user is no error: stock openai needs a key, stock fschat a
// model.
const (
	checkOK    = "ok"
	checkNeeds = "needs"
	checkError = "error"
)

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
		RunE: func(cmd *cobra.Command, args []string) error {
			overrides, rest := splitOverrides(withDash(cmd, args))
			if len(rest) > 0 {
				return usagef("config check takes key=value arguments, got %q", rest[0])
			}
			a.warnOfFolder(overrides)
			checks, err := a.checkAll(overrides)
			if err != nil {
				return err
			}
			return a.printConfigChecks(checks, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// checkAll checks the composition of the arguments and each option.
func (a *app) checkAll(overrides []string) ([]configCheck, error) {
	opts, err := a.configOptions(overrides)
	if err != nil {
		return nil, err
	}
	groups, err := config.Groups(opts)
	if err != nil {
		return nil, err
	}
	first, cfg := a.checkComposition(opts, "", true, "")
	checks := []configCheck{first}
	var chosen map[string]string
	if cfg != nil {
		chosen = cfg.Choices()
	}
	for _, g := range groups {
		_, inDefaults := chosen[g.Name]
		prefix := "+"
		if inDefaults || cfg == nil {
			prefix = ""
		}
		for _, o := range g.Options {
			choice := g.Name + "=" + config.Quote(o.Name)
			each := opts
			each.Values = nil // --model belongs to the chosen option
			each.Overrides = append(withoutGroup(overrides, g.Name), prefix+choice)
			c, _ := a.checkComposition(each, prefix+g.Name+"="+o.Name, false, g.Name)
			checks = append(checks, c)
		}
	}
	return checks, nil
}

// withoutGroup drops the choice of a group and values below it, which may not
// exist with another option.
func withoutGroup(overrides []string, group string) []string {
	return slices.DeleteFunc(slices.Clone(overrides), func(o string) bool {
		key := strings.TrimLeft(o, "+~")
		return strings.HasPrefix(key, group+"=") || strings.HasPrefix(key, group+".") || key == group
	})
}

// checkComposition composes, evaluates and decodes one set of overrides, in
// which the option of a group is tried.
func (a *app) checkComposition(opts config.Options, name string, chosen bool, group string) (configCheck, *config.Config) {
	c := configCheck{Composition: name, Status: checkOK}
	cfg, err := a.composeOptions(opts)
	if err == nil {
		quiet := *a // warnings belong to the composition, not to stderr
		var warned bytes.Buffer
		quiet.err, quiet.flags.quiet = &warned, false
		err = quiet.checkSections(cfg, group)
		c.Warnings = append(cfg.Warnings(), warningLines(warned.String())...)
	}
	if err == nil {
		return c, cfg
	}
	c.Status, c.Problem = checkError, err.Error()
	if !chosen && onlyNeeds(err) {
		c.Status = checkNeeds
	}
	var hinter interface{ Hint() string }
	if errors.As(err, &hinter) {
		c.Hint = hinter.Hint()
	}
	return c, cfg
}

// warningLines takes printed warnings apart again.
func warningLines(printed string) []string {
	var out []string
	for line := range strings.Lines(printed) {
		out = append(out, strings.TrimPrefix(strings.TrimSpace(line), "agent: warning: "))
	}
	return out
}

// onlyNeeds reports whether the user only has to supply something.
func onlyNeeds(err error) bool {
	var several config.Problems
	if errors.As(err, &several) {
		return !slices.ContainsFunc(several, func(e error) bool { return !onlyNeeds(e) })
	}
	return errors.Is(err, config.ErrMissing) || errors.Is(err, config.ErrUndefinedEnv)
}

func (a *app) printConfigChecks(checks []configCheck, asJSON bool) error {
	failed := 0
	for _, c := range checks {
		if c.Status == checkError {
			failed++
		}
	}
	if asJSON {
		if err := a.printJSON(map[string]any{"ok": failed == 0, "checks": checks}); err != nil {
			return err
		}
	} else {
		a.printCheckLines(checks)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d configurations have problems", failed, len(checks))
	}
	return nil
}

func (a *app) printCheckLines(checks []configCheck) {
	for _, c := range checks {
		fmt.Fprintf(a.out, "%-5s  %s\n", c.Status, cmp.Or(c.Composition, "(as given)"))
		for _, line := range strings.Split(c.Problem, "\n") {
			if line != "" {
				fmt.Fprintf(a.out, "       %s\n", strings.TrimPrefix(line, "config: "))
			}
		}
		if c.Hint != "" {
			fmt.Fprintf(a.out, "       hint: %s\n", c.Hint)
		}
		for _, w := range c.Warnings {
			fmt.Fprintf(a.out, "       warning: %s\n", w)
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
		RunE: func(cmd *cobra.Command, args []string) error {
			overrides, rest := splitOverrides(withDash(cmd, args))
			if len(rest) > 0 {
				return usagef("config list takes key=value arguments, got %q", rest[0])
			}
			opts, err := a.configOptions(overrides)
			if err != nil {
				return err
			}
			a.warnOfFolder(overrides)
			groups, err := config.Groups(opts)
			if err != nil {
				return err
			}
			chosen := map[string]string{} // unknown where the configuration has problems
			cfg, err := a.composeOptions(opts)
			var coded *codedError
			switch err = configError(err); {
			case err == nil:
				chosen = cfg.Choices()
			case errors.As(err, &coded): // the command line's mistake
				return err
			}
			if asJSON {
				return a.printJSON(map[string]any{"groups": groups, "choices": chosen})
			}
			return a.printGroups(groups, chosen)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) printGroups(groups []config.Group, chosen map[string]string) error {
	out := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
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
