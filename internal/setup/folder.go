package setup

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"agent/command/program"
	"agent/internal/config"
	"agent/internal/exit"
	"agent/internal/hub"
	"agent/internal/legible"
)

// A folder that a person works in may be a stranger's. What its configs and its
// .env say counts unasked only for the few settings of FolderMaySet; all else is
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
func (h *Host) readFolder() (folderFiles, error) {
	env, err := config.ReadDotEnv(".env")
	if err != nil {
		return folderFiles{}, err
	}
	var refused []string
	for _, name := range sortedKeys(env) {
		if isOwnVariable(name) && os.Getenv(name) == "" {
			refused = append(refused, name)
		}
	}
	if len(refused) > 0 && !h.toldRefused {
		h.toldRefused = true
		h.Warn(fmt.Sprintf(".env of this folder does not set %s; export what you mean yourself",
			legible.Visible(strings.Join(refused, ", "))))
	}
	return folderFiles{folderConfigs, env}, nil
}

// isOwnVariable knows variables that only the user's environment sets: where
// the user's folders, models and keys are, what programs load and whom they trust.
func isOwnVariable(name string) bool {
	if slices.Contains([]string{"HOME", "PATH", "TMPDIR", "AGENT_MODELS_DIR", "TRANSFORMERS_OFFLINE"},
		name) {
		return true
	}
	if slices.ContainsFunc([]string{"XDG_", "HF_", "HUGGING", "LD_", "DYLD_", "PYTHON", "PIP_",
		"GGML_", "GIT_", "SSL_CERT_"},
		func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
		return name != hubTokenVariable
	}
	return slices.Contains([]string{"http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy"},
		strings.ToLower(name))
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
func (h *Host) composeOwn(overrides []string, values []config.Value) (*config.Config, error) {
	own := func(overrides, environ []string) (*config.Config, error) {
		opts, err := h.optionsWith(folderFiles{}, overrides)
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
		environ = slices.DeleteFunc(environ,
			func(kv string) bool { return strings.HasPrefix(kv, "AGENT_") })
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

// FolderMaySet are the keys that a folder may set unasked; docs/configuration.md
// lists them.
func FolderMaySet() []string {
	keys := []string{"llm.context_length", "llm.max_tokens", "agent.max_steps"}
	for _, name := range samplingNames() {
		keys = append(keys, "llm."+name, "llm.generation_kwargs."+name)
	}
	for _, name := range transformersNames {
		keys = append(keys, "llm.generation_kwargs."+name)
	}
	return keys
}

// askedOf are the changes by the folder that somebody has to allow.
func (h *Host) askedOf(cfg, own, stock *config.Config) []config.Change {
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
			return !c.Removed && h.hasModel(cfg)
		}
		return slices.Contains(FolderMaySet(), c.Key)
	})
}

// backendFor is the backend that a configuration takes, by whatever name.
func backendFor(cfg *config.Config) string {
	target, err := cfg.Target("llm")
	if err != nil {
		return ""
	}
	return canonical(target)
}

// hasModel reports a model that the store has or that the catalog pins. A file
// that the folder brings is none.
func (h *Host) hasModel(cfg *config.Config) bool {
	ref, err := cfg.Get("llm.model_id")
	name, ok := ref.(string)
	if err != nil || !ok || backendFor(cfg) != localBackend {
		return false
	}
	store, done, err := h.store(nil)
	if err != nil {
		return false
	}
	defer done()
	m, err := store.Locate(context.Background(), name)
	return err == nil && m.Source != hub.SourcePath
}

// allowFolder allows what a folder asks for: once for each folder and content.
func (h *Host) allowFolder(ctx context.Context, asked []config.Change) error {
	if len(asked) == 0 || h.TrustFolder {
		return nil
	}
	folder, err := os.Getwd()
	if err != nil {
		return err
	}
	trust := FolderTrust()
	mark := markOf(asked)
	if trust.Holds(folder, mark) {
		return nil
	}
	if !h.Attended {
		return exit.With(exit.Refused, &folderError{asked})
	}
	shown := fmt.Sprintf("This folder, %s, asks for settings that are yours to make:\n%s",
		legible.Visible(folder), showAsked(asked))
	yes, err := h.Confirm(ctx, shown, "Use them here, as long as they stay the same?")
	if err != nil {
		return err
	}
	if !yes {
		return exit.With(exit.Refused, errors.New("the settings of this folder were not allowed"))
	}
	return trust.AddFile(folder, program.FoundFile{Name: keysOf(asked), Hash: mark})
}

// FolderTrust lists the folders whose settings were allowed.
func FolderTrust() *program.Trust {
	return program.OpenTrust(filepath.Join(StateDir(), "trusted_folders.json"))
}

// warnFolder says what a folder asks for where nothing comes of it.
func (h *Host) warnFolder(asked []config.Change) {
	if len(asked) > 0 && !h.TrustFolder {
		h.Warn((&folderError{asked}).Error())
	}
}

// WarnOfFolder says what the folder asks for with these overrides, where nothing
// comes of it; mistakes are told elsewhere.
func (h *Host) WarnOfFolder(overrides []string) {
	if _, asked, err := h.compose(overrides, nil); err == nil {
		h.warnFolder(asked)
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
func showAsked(asked []config.Change) string {
	var b strings.Builder
	for _, c := range asked {
		what := c.Value
		switch {
		case c.Removed:
			what = "taken away"
		case c.Now != "":
			what += " (now " + c.Now + ")"
		}
		b.WriteString("  " + oneVisible(c.Key+": "+what+"   "+c.From.String()) + "\n")
	}
	return b.String()
}

// oneVisible is text that stays on its line and can't act on a terminal.
func oneVisible(text string) string {
	return strings.ReplaceAll(legible.Visible(text), "\n", `\n`)
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
	return oneVisible("config: this folder asks for settings that are yours to make: " +
		strings.Join(parts, ", "))
}

// Hint says how to allow it.
func (e *folderError) Hint() string {
	return "look at them: agent config show --origin; then answer the question on a terminal, or add --trust-folder"
}
