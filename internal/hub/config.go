package hub

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"agent/internal/bounded"
)

// DefaultEndpoint is the hub that is asked unless HF_ENDPOINT names another.
const DefaultEndpoint = "https://huggingface.co"

// Config says where models lie and how they are fetched. The zero value of a
// field means its default; [ConfigFromEnv] fills it the way huggingface_hub
// reads its environment, so that both find the same files.
type Config struct {
	Endpoint string // base URL of the hub
	Token    string // sent to Endpoint only, never to where it redirects
	Offline  bool   // nothing is fetched

	CacheDir   string   // the Hugging Face cache: models--OWNER--REPO/…
	ModelDirs  []string // searched for catalog models; the first is written to
	StateDir   string   // notes about verified files; "": none are kept
	NoSymlinks bool     // files are hard-linked or copied into snapshots

	Catalog *Catalog // models known by name; nil means none
	Python  string   // interpreter with pip, for wheels; default python3

	// Progress is told how a download goes, a few times a second; nil is silent.
	Progress func(Progress)
	// Note is told what a person may want to know, such as which of several
	// quantisations was taken; nil is silent.
	Note func(string)

	IdleTimeout time.Duration // without a byte, then the connection is retried; default 30 s
	RetryMax    int           // tries after the first, without progress; default 4
	RetryWait   time.Duration // first wait, doubled each time up to 16 times; default 500 ms
}

// retryAfterMax bounds how long a server may make us wait; beyond it the
// error is returned at once.
const retryAfterMax = 120 * time.Second

// tokenFileBytesMax bounds the token file.
const tokenFileBytesMax = 64 << 10

// ConfigFromEnv reads HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME,
// HF_HUB_CACHE, XDG_CACHE_HOME, HF_HUB_OFFLINE, HF_HUB_DISABLE_SYMLINKS, their
// older names, and AGENT_MODELS_DIR and XDG_DATA_HOME for catalog models.
// getenv is os.Getenv outside tests.
func ConfigFromEnv(getenv func(string) string) (Config, error) {
	env := environment{getenv}
	home, err := env.home()
	if err != nil {
		return Config{}, err
	}
	hfHome := env.path(filepath.Join(env.first(filepath.Join(home, ".cache"), "XDG_CACHE_HOME"),
		"huggingface"), "HF_HOME")
	token, err := env.token(hfHome)
	if err != nil {
		return Config{}, err
	}
	dataDir := filepath.Join(env.first(filepath.Join(home, ".local", "share"), "XDG_DATA_HOME"),
		"agent")
	return Config{
		Endpoint:   strings.TrimRight(env.first(DefaultEndpoint, "HF_ENDPOINT"), "/"),
		Token:      token,
		Offline:    env.truth("HF_HUB_OFFLINE") || env.truth("TRANSFORMERS_OFFLINE"),
		CacheDir:   env.path(filepath.Join(hfHome, "hub"), "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"),
		ModelDirs:  env.modelDirs(dataDir),
		StateDir:   filepath.Join(dataDir, "verified"),
		NoSymlinks: env.truth("HF_HUB_DISABLE_SYMLINKS"),
	}, nil
}

// ProgressDisabled reports whether HF_HUB_DISABLE_PROGRESS_BARS asks for
// silence.
func ProgressDisabled(getenv func(string) string) bool {
	return environment{getenv}.truth("HF_HUB_DISABLE_PROGRESS_BARS")
}

func (c Config) withDefaults() Config {
	if c.Endpoint == "" {
		c.Endpoint = DefaultEndpoint
	}
	if c.Catalog == nil {
		c.Catalog = &Catalog{}
	}
	if c.Python == "" {
		c.Python = "python3"
	}
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	if c.Note == nil {
		c.Note = func(string) {}
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = 30 * time.Second
	}
	if c.RetryMax == 0 {
		c.RetryMax = 4
	}
	if c.RetryWait == 0 {
		c.RetryWait = 500 * time.Millisecond
	}
	return c
}

// environment reads variables with the rules of huggingface_hub.
type environment struct{ getenv func(string) string }

// first returns the first variable that is set, else the fallback.
func (e environment) first(fallback string, names ...string) string {
	for _, name := range names {
		if v := e.getenv(name); v != "" {
			return v
		}
	}
	return fallback
}

// path is first with ~ and $VARIABLES expanded.
func (e environment) path(fallback string, names ...string) string {
	p := os.Expand(e.first(fallback, names...), e.getenv)
	if rest, ok := strings.CutPrefix(p, "~"); ok && (rest == "" || os.IsPathSeparator(rest[0])) {
		if home, err := e.home(); err == nil {
			p = filepath.Join(home, rest)
		}
	}
	return filepath.Clean(p)
}

// truth reads a switch: 1, ON, YES or TRUE.
func (e environment) truth(name string) bool {
	switch strings.ToUpper(e.getenv(name)) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

func (e environment) home() (string, error) {
	if h := e.getenv("HOME"); h != "" {
		return h, nil
	}
	h, err := os.UserHomeDir()
	if err != nil {
		return "", &Error{Op: "find the model store", Err: err,
			Advice: "set HOME, or HF_HOME and AGENT_MODELS_DIR"}
	}
	return h, nil
}

// token reads HF_TOKEN, else the file that `hf auth login` writes.
func (e environment) token(hfHome string) (string, error) {
	if t := strings.TrimSpace(e.first("", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")); t != "" {
		return t, nil
	}
	if e.truth("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
		return "", nil
	}
	path := e.path(filepath.Join(hfHome, "token"), "HF_TOKEN_PATH")
	raw, err := bounded.File(path, tokenFileBytesMax)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", &Error{Op: "read the hub token", Err: err,
			Advice: "fix the file's permissions, or set HF_TOKEN"}
	}
	token := strings.TrimSpace(string(raw))
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fail("read the hub token", nil, "log in again with `hf auth login`, or set HF_TOKEN",
			"%s holds something else than a token", path)
	}
	return token, nil
}

// modelDirs lists where catalog models may lie: AGENT_MODELS_DIR alone when it
// is set; else models/ of the checkout that the program was built in, then the
// user's data folder. The current folder, which may be a stranger's, is none.
func (e environment) modelDirs(dataDir string) []string {
	if dir := e.path("", "AGENT_MODELS_DIR"); e.getenv("AGENT_MODELS_DIR") != "" {
		return []string{dir}
	}
	var dirs []string
	if exe, err := os.Executable(); err == nil {
		dir := filepath.Join(filepath.Dir(filepath.Dir(exe)), "models")
		if isFile(filepath.Join(dir, "catalog.yaml")) {
			dirs = append(dirs, dir)
		}
	}
	return append(dirs, filepath.Join(dataDir, "models"))
}
