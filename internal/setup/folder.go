package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"agent/command/program"
	"agent/internal/config"
	"agent/internal/hub"
	"agent/internal/legible"
)

// A folder that a person works in may be a stranger's. What its configs and its
// .env say counts unasked only for the few settings of folderMaySet; all else is
// shown, and needs a yes that is kept in the user's own state folder.

// folderConfigs is where a folder keeps its configuration.
const folderConfigs = "configs"

// folderFiles is what configures the agent in the current folder.
type folderFiles struct {
	dir string            // of files
	env map[string]string // of .env, for interpolation; it never gets into the environment
}

// readFolder reads the .env of the current folder, and says which of its names
// are not taken though this program knows them.
func (a *app) readFolder() (folderFiles, error) {
	env, err := config.ReadDotEnv(".env")
	if err != nil {
		return folderFiles{}, err
	}
	var refused []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if isOwnVariable(name) && os.Getenv(name) == "" {
			refused = append(refused, name)
		}
	}
	if len(refused) > 0 && !a.toldRefused {
		a.toldRefused = true
		a.warn(fmt.Sprintf(".env of this folder does not set %s; export what you mean yourself", legible.Visible(strings.Join(refused, ", "))))
	}
	return folderFiles{folderConfigs, env}, nil
}

// isOwnVariable knows variables that only the user's environment sets: where
// the user's folders, models and keys are, what programs load and whom they trust.
func isOwnVariable(name string) bool {
	if slices.Contains([]string{"HOME", "PATH", "TMPDIR", "AGENT_MODELS_DIR", "TRANSFORMERS_OFFLINE"}, name) {
		return true
	}
	if slices.ContainsFunc([]string{"XDG_", "HF_", "HUGGING", "LD_", "DYLD_", "PYTHON", "PIP_", "GGML_", "GIT_", "SSL_CERT_"},
		func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
		return name != hubTokenVariable
	}
	return slices.Contains([]string{"http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy"}, strings.ToLower(name))
}

// hubTokenVariable is a provider's key that no configuration names.
const hubTokenVariable = "HF_TOKEN"

// config is what composing makes of the files.
func (f folderFiles) config() config.Folder {
	out := config.Folder{Dir: f.dir}
	for name, value := range f.env {
		if name == "AGENT_API_KEY" { // else it would be no key of the configuration
			name = "AGENT_SERVE__API_KEY"
		}
		out.Environ = append(out.Environ, name+"="+value)
	}
	return out
}

// composeOwn composes what would hold without the folder. What the command line
// says of things that only the folder has is left out.
func (a *app) composeOwn(overrides []string, values []config.Value) (*config.Config, error) {
	own := func(overrides, environ []string) (*config.Config, error) {
		opts, err := a.optionsWith(folderFiles{}, overrides)
		if err != nil {
			return nil, err
		}
		opts.Values = append(opts.Values, values...)
		opts.Environ = environ
		return config.Compose(opts)
	}
	cfg, err := own(overrides, nil)
	if err == nil {
		return cfg, nil
	}
	environ := os.Environ()
	if _, err := own(nil, environ); err != nil {
		environ = slices.DeleteFunc(environ, func(kv string) bool { return strings.HasPrefix(kv, "AGENT_") })
	}
	if cfg, err = own(nil, environ); err != nil {
		return nil, err
	}
	var kept []string
	for _, o := range overrides {
		if with, err := own(append(slices.Clone(kept), o), environ); err == nil {
			kept, cfg = append(kept, o), with
		}
	}
	return cfg, nil
}

// folderMaySet are the keys that a folder may set unasked; docs/configuration.md
// lists them.
func folderMaySet() []string {
	keys := []string{"llm.context_length", "llm.max_tokens", "agent.max_steps"}
	for _, name := range []string{"temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed"} {
		keys = append(keys, "llm."+name, "llm.generation_kwargs."+name)
	}
	for _, name := range []string{"repetition_penalty", "max_tokens", "max_new_tokens", "do_sample"} { // as transformers say
		keys = append(keys, "llm.generation_kwargs."+name)
	}
	return keys
}

// askedOf are the changes by the folder that somebody has to allow.
func (a *app) askedOf(cfg, own, stock *config.Config) []config.Change {
	return slices.DeleteFunc(cfg.Changes(own, stock), func(c config.Change) bool {
		switch {
		case c.Environ: // the user asks for a variable, and .env has it
			if c.Secret || c.Key == "llm.organization" {
				return true
			}
		case !c.Plain && !c.Removed:
			return false
		}
		switch c.Key {
		case "llm._target_":
			return backendFor(cfg) != "" && backendFor(cfg) == backendFor(own)
		case "llm.model_id":
			return !c.Removed && a.hasModel(cfg)
		}
		return slices.Contains(folderMaySet(), c.Key)
	})
}

// backendFor is the built-in backend that a configuration takes, by whatever name.
func backendFor(cfg *config.Config) string {
	target, err := cfg.Target("llm")
	if err != nil {
		return ""
	}
	return backendTargets()[target]
}

// hasModel reports a model that the store has or that the catalog pins. A file
// that the folder brings is none.
func (a *app) hasModel(cfg *config.Config) bool {
	ref, err := cfg.Get("llm.model_id")
	name, ok := ref.(string)
	if err != nil || !ok || backendFor(cfg) != backendHF {
		return false
	}
	quiet := *a
	quiet.flags.quiet = true
	store, done, err := quiet.modelStore()
	if err != nil {
		return false
	}
	defer done()
	m, err := store.Locate(context.Background(), name)
	return err == nil && m.Source != hub.SourcePath
}

// allowFolder allows what a folder asks for: once for each folder and content.
func (a *app) allowFolder(asked []config.Change) error {
	if len(asked) == 0 || a.flags.trustFolder {
		return nil
	}
	folder, err := os.Getwd()
	if err != nil {
		return err
	}
	trust := folderTrust()
	mark := markOf(asked)
	if trust.Holds(folder, mark) {
		return nil
	}
	if !isTerminal(a.in) || !isTerminal(a.err) {
		return withCode(exitRefused, &folderError{asked})
	}
	fmt.Fprintf(a.err, "This folder, %s, asks for settings that are yours to make:\n", legible.Visible(folder))
	showAsked(a.err, asked)
	yes, err := a.confirm("Use them here, as long as they stay the same?")
	if err != nil {
		return err
	}
	if !yes {
		return withCode(exitRefused, errors.New("the settings of this folder were not allowed"))
	}
	return trust.AddFile(folder, program.FoundFile{Name: keysOf(asked), Hash: mark})
}

// folderTrust is what was allowed to folders.
func folderTrust() *program.Trust {
	return program.OpenTrust(filepath.Join(stateDir(), "trusted_folders.json"))
}

// warnFolder says what a folder asks for where nothing comes of it.
func (a *app) warnFolder(asked []config.Change) {
	if len(asked) > 0 && !a.flags.trustFolder {
		a.warn((&folderError{asked}).Error())
	}
}

// warnOfFolder is warnFolder for what these arguments give; mistakes are told
// elsewhere.
func (a *app) warnOfFolder(overrides []string) {
	if _, asked, err := a.composeAsked(overrides, nil); err == nil {
		a.warnFolder(asked)
	}
}

// markOf is another one for every other content.
func markOf(asked []config.Change) string {
	sum := sha256.New()
	for _, c := range asked {
		fmt.Fprintf(sum, "%d:%s", len(c.Mark()), c.Mark())
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

func keysOf(asked []config.Change) string {
	keys := make([]string, len(asked))
	for i, c := range asked {
		keys[i] = c.Key
	}
	return strings.Join(keys, ", ")
}

// showAsked shows keys and values. Nothing in them can act on the terminal.
func showAsked(w io.Writer, asked []config.Change) {
	for _, c := range asked {
		what := c.Value
		switch {
		case c.Removed:
			what = "taken away"
		case c.Now != "":
			what += " (now " + c.Now + ")"
		}
		line := fmt.Sprintf("%s: %s", c.Key, what)
		fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(legible.Visible(line+"   "+c.From.String()), "\n", `\n`))
	}
}

// confirm asks a question whose answer is no unless it is yes. Nothing counts
// that was typed before the question stood there.
func (a *app) confirm(question string) (bool, error) {
	a.forgetTyped()
	fmt.Fprint(a.err, question+" [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, _ := readLine(a.in) // the end of the input is no
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-a.stopped:
		return false, withCode(exitInterrupted, errors.New("interrupted"))
	case line := <-answer:
		a.answered()
		return line == "y" || line == "yes", nil
	}
}

// folderError is a folder that asks for more than it may have.
type folderError struct{ asked []config.Change }

func (e *folderError) Error() string {
	parts := make([]string, len(e.asked))
	for i, c := range e.asked {
		what := " ("
		if c.Removed {
			what = " taken away ("
		}
		parts[i] = c.Key + what + cmp.Or(c.From.String(), folderConfigs) + ")"
	}
	return strings.ReplaceAll(legible.Visible("config: this folder asks for settings that are yours to make: "+strings.Join(parts, ", ")), "\n", `\n`)
}

// Hint says how to allow it.
func (e *folderError) Hint() string {
	return "look at them: agent config show --origin; then answer the question on a terminal, or add --trust-folder"
}
