package setup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"agent/configs"
	"agent/internal/config"
	"agent/internal/exit"
)

// overrideArgument is what an override looks like among other arguments: a key
// without spaces and "=", or a deletion. Text that looks the same goes after --.
var overrideArgument = regexp.MustCompile(`^(?:\+{0,2}|~)[A-Za-z_][\w./@$-]*=|^~[A-Za-z_][\w./@-]*$`)

// IsOverride reports an argument that changes the configuration.
func IsOverride(arg string) bool { return overrideArgument.MatchString(arg) }

// SplitOverrides separates overrides from the other arguments of a command.
// What comes after "--" is never an override.
func SplitOverrides(args []string) (overrides, rest []string) {
	for i, arg := range args {
		switch {
		case arg == "--":
			return overrides, append(rest, args[i+1:]...)
		case IsOverride(arg):
			overrides = append(overrides, arg)
		default:
			rest = append(rest, arg)
		}
	}
	return overrides, rest
}

// SpecOverrides takes a value of --llm apart: an option and keys of llm. A value
// may have spaces; it goes on to the next key.
func SpecOverrides(spec string) ([]string, error) {
	words := strings.Fields(spec)
	if len(words) == 0 || strings.Contains(words[0], "=") {
		return nil, exit.Usagef("--llm %q: must be an option of llm, such as hf, and key=value after it",
			config.Shown(spec))
	}
	out := []string{"llm=" + words[0]}
	for _, word := range words[1:] {
		key := strings.TrimLeft(word, "+~")
		switch {
		case IsOverride(word):
			out = append(out, word[:len(word)-len(key)]+"llm."+strings.TrimPrefix(key, "llm."))
		case len(out) > 1:
			out[len(out)-1] += " " + word
		default:
			return nil, exit.Usagef("--llm %q: %q is not key=value", config.Shown(spec), word)
		}
	}
	return out, nil
}

// Compose makes the configuration of one command line and decodes the sections
// that the command reads: the stock one, the user's folders, the environment
// with .env, --model and the overrides. Flags are set after everything else.
// What the folder asks for must be allowed.
func (h *Host) Compose(ctx context.Context, overrides []string, flags []config.Value,
	sections ...Section,
) (*Config, error) {
	cfg, asked, err := h.compose(overrides, flags)
	if err != nil {
		return nil, err
	}
	if err := h.allowFolder(ctx, asked); err != nil {
		return nil, err
	}
	return h.Decode(cfg, sections...)
}

// Look composes for what only shows a configuration: what the folder asks for
// is a warning.
func (h *Host) Look(overrides []string) (*config.Config, error) {
	cfg, asked, err := h.compose(overrides, nil)
	if err == nil {
		h.warnFolder(asked)
	}
	return cfg, err
}

// compose composes, and tells what the folder asks for.
func (h *Host) compose(overrides []string, values []config.Value,
) (*config.Config, []config.Change, error) {
	opts, err := h.Options(overrides)
	if err != nil {
		return nil, nil, err
	}
	opts.Values = append(opts.Values, values...)
	cfg, err := h.ComposeOptions(opts)
	if err != nil {
		return nil, nil, UsageError(err)
	}
	own, err := h.composeOwn(overrides, values)
	if err != nil {
		return nil, nil, UsageError(err)
	}
	stock, err := config.Compose(config.Options{Embedded: configs.FS, Environ: []string{}})
	if err != nil {
		return nil, nil, err
	}
	return cfg, h.askedOf(cfg, own, stock), nil
}

// Sweep expands overrides with several values (--multirun) into the overrides
// of each job.
func (h *Host) Sweep(overrides []string) ([][]string, error) {
	jobs, err := config.Sweep(overrides)
	return jobs, UsageError(err)
}

// Options gives the search path and what the environment, the folder and
// --model say.
func (h *Host) Options(overrides []string) (config.Options, error) {
	folder, err := h.readFolder()
	if err != nil {
		return config.Options{}, err
	}
	return h.optionsWith(folder, overrides)
}

// optionsWith is Options with what the current folder may have.
func (h *Host) optionsWith(folder folderFiles, overrides []string) (config.Options, error) {
	opts := config.Options{Dirs: h.ConfigDirs, Folder: folder.config(), Embedded: configs.FS,
		Overrides: overrides}
	if dir := ConfigDir(); dir != "" {
		opts.OptionalDirs = []string{dir}
	}
	return opts, h.chooseModel(&opts, folder)
}

// chooseModel applies --model, and AGENT_MODEL where the command line says
// nothing of the model.
func (h *Host) chooseModel(opts *config.Options, folder folderFiles) error {
	model, source := h.Model, "--model"
	llm := ""
	for _, o := range opts.Overrides {
		if v, ok := strings.CutPrefix(o, "llm="); ok {
			llm = v
		}
		if namesModel(o) && model != "" {
			return exit.Usagef("--model %s and %s both name a model; leave one out", model, o)
		}
	}
	if model == "" {
		model, source = os.Getenv("AGENT_MODEL"), "environment AGENT_MODEL"
		if model == "" {
			model, source = folder.env["AGENT_MODEL"], ".env AGENT_MODEL"
		}
		if model == "" || llm != "" || cmp.Or(os.Getenv("AGENT_LLM"), folder.env["AGENT_LLM"]) != "" ||
			slices.ContainsFunc(opts.Overrides, namesModel) {
			return nil
		}
	}
	if llm == "" {
		opts.Overrides = append([]string{"llm=hf"}, opts.Overrides...)
	}
	opts.Values = append(opts.Values, config.Value{Key: "llm.model_id", Value: model, Source: source})
	return nil
}

func namesModel(override string) bool {
	return strings.HasPrefix(strings.TrimLeft(override, "+"), "llm.model_id=")
}

// ComposeOptions composes, and refuses --model for what is no local model.
func (h *Host) ComposeOptions(opts config.Options) (*config.Config, error) {
	cfg, err := config.Compose(opts)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(opts.Values, func(v config.Value) bool { return v.Key == "llm.model_id" })
	target, err := cfg.Target("llm")
	if i < 0 || err != nil || canonical(target) == localBackend {
		return cfg, nil
	}
	if _, known := h.registry(context.Background())[canonical(target)]; !known {
		return cfg, nil // decoding says that there is no such backend
	}
	return nil, exit.With(exit.Usage, &config.Error{
		Msg: fmt.Sprintf("%s is a local model, but llm=%s is not", opts.Values[i].Source,
			cfg.Choices()["llm"]),
		Advice: "name a model of another backend with llm.model_id=NAME"})
}

// UsageError makes a mistake on the command line a usage error.
func UsageError(err error) error {
	var e *config.Error
	if errors.As(err, &e) && (e.Origin.File == "command line" ||
		strings.HasPrefix(e.Origin.File, "--")) {
		return exit.With(exit.Usage, err)
	}
	return err
}

// WorkDir is the absolute work dir, which must exist.
func WorkDir(dir string) (string, error) {
	if dir == "" {
		return "", exit.Usagef("the work dir is empty: name a folder with --workdir, or leave it out for this one")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("work dir: %w", err)
	}
	st, err := os.Stat(abs)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("work dir: there is no folder %s; make it, or name another with --workdir",
			abs)
	}
	if err != nil {
		return "", fmt.Errorf("work dir: %w", err)
	}
	if !st.IsDir() {
		return "", fmt.Errorf("work dir: %s is not a folder", dir)
	}
	return abs, nil
}
