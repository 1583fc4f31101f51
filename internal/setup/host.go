// Package setup makes a run ready from what a person configured: it composes
// the configuration, decodes it once, asks about what a stranger's folder wants,
// opens the backend and gathers the commands. [Host.Compose] comes first, [Open]
// last; what talks to a terminal is handed in.
package setup

import (
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"agent/backend"
	"agent/internal/hub"
	"agent/models"
)

// Host is the program that a configuration is for: its flags that hold for all
// subcommands, and how it talks to a person.
type Host struct {
	Model       string           // --model
	ConfigDirs  []string         // --config-dir
	TrustFolder bool             // --trust-folder
	Backends    backend.Registry // the user's own
	Version     string
	Serving     bool // requests of others must not wait while a model computes

	In       io.Reader // of llm=human
	Out      io.Writer // of llm=human
	Attended bool      // a person can be asked
	Warn     func(msg string)
	Tell     func(msg string) // something that is no warning
	// Confirm shows something and asks a question about it.
	Confirm  func(ctx context.Context, shown, question string) (bool, error)
	Loading  func(what string) (update func(done float64), end func())
	Fetching func() *hub.Renderer // nil, or gives nil: no progress of downloads

	toldRefused bool // which names of .env are not taken
}

// without is the host without --model, for a further model beside the one
// that it names.
func (h *Host) without() *Host {
	other := *h
	other.Model = ""
	return &other
}

// Store opens the store of local models as the environment describes it. Call
// done when its work is over, also after errors.
func (h *Host) Store() (store *hub.Store, done func(), err error) { return h.store(h.Fetching) }

func (h *Host) store(fetching func() *hub.Renderer) (store *hub.Store, done func(), err error) {
	cfg, err := hub.ConfigFromEnv(os.Getenv)
	if err != nil {
		return nil, nil, err
	}
	if cfg.Catalog, err = hub.ParseCatalog(models.Catalog); err != nil {
		return nil, nil, err
	}
	if cfg.Token == "" {
		if folder, err := h.readFolder(); err == nil {
			cfg.Token = strings.TrimSpace(folder.env[hubTokenVariable])
		}
	}
	var show *hub.Renderer
	if fetching != nil {
		show = fetching()
	}
	if show == nil {
		return hub.New(cfg), func() {}, nil
	}
	cfg.Note = func(s string) { show.Note("agent: " + s) }
	if !hub.ProgressDisabled(os.Getenv) {
		cfg.Progress = show.Show
	}
	return hub.New(cfg), show.Close, nil
}

// configHome is the folder of the user's own configuration, "" where there is
// no home.
func configHome() string {
	base := os.Getenv("XDG_CONFIG_HOME")
	if home, err := os.UserHomeDir(); base == "" && err == nil {
		base = filepath.Join(home, ".config")
	}
	if !filepath.IsAbs(base) {
		return ""
	}
	return filepath.Join(base, "agent")
}

// ConfigDir is where the user's own configuration lies, "" where there is no
// home. It is searched after the folders of the command line and of the folder.
func ConfigDir() string { return below(configHome(), "configs") }

// userCommandsDir is where the user's own commands lie, "" where there is no home.
func userCommandsDir() string { return below(configHome(), commandsFolder) }

func below(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

// cacheDir is for what can be made again.
func cacheDir(name string) string {
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "agent", name)
	}
	return filepath.Join(os.TempDir(), "agent-cache", name)
}

// VetDir keeps what was found of this machine's native code, and of model files.
func VetDir() string { return cacheDir("vetted") }

// KVDir keeps parts of KV caches for later processes.
func KVDir() string { return cacheDir("kv") }

// StateDir is for what a person may want to see again: session files.
func StateDir() string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "agent")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "state", "agent")
	}
	return filepath.Join(os.TempDir(), "agent-state")
}

// SessionsDir keeps session files.
func SessionsDir() string { return filepath.Join(StateDir(), "sessions") }

// sortedKeys are the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
