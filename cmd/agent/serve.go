package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"agent/backend"
	"agent/internal/config"
	"agent/internal/serve"

	"github.com/spf13/cobra"
)

// serveSettings is the serve section of a configuration; flags win over it.
type serveSettings struct {
	Host              string         `yaml:"host"`
	Port              int            `yaml:"port"`
	APIKey            backend.Secret `yaml:"api_key"`
	ModelNames        []string       `yaml:"model_names"`
	Origins           []string       `yaml:"origins"`
	RequestsMax       int            `yaml:"max_requests"`
	FirstTokenWithin  time.Duration  `yaml:"timeout_first_token"`
	RequestWithin     time.Duration  `yaml:"timeout_request"`
	DrainWithin       time.Duration  `yaml:"timeout_drain"`
	FastChat          string         `yaml:"fastchat_controller"`
	WorkerAddress     string         `yaml:"worker_address"`
	WorkerAllow       []string       `yaml:"worker_allow"`
	FastChatHeartBeat time.Duration  `yaml:"fastchat_heart_beat"`
}

// portDefault is where `agent serve` listens when nothing is said.
const portDefault = 8080

// keyFileBytesMax bounds a file with an API key.
const keyFileBytesMax = 4096

func (a *app) serveCmd() *cobra.Command {
	var keyFile string
	var logJSON bool
	cmd := &cobra.Command{
		Use:   "serve [flags] [key=value …]",
		Short: "Serve any backend over HTTP as OpenAI does, or as a FastChat worker",
		Long: `Serve any backend over HTTP.

The protocol is OpenAI's: /v1/models, /v1/chat/completions, /v1/completions (with
echo and the prompt's log-probabilities), /v1/embeddings, /v1/decisions; and
/tokenize, /health, /metrics. With --fastchat-controller the server is a worker
of that FastChat cluster too. docs/serve.md has the details.

Only this machine is served unless there is an API key: in the environment
variable AGENT_API_KEY, in --api-key-file, or as serve.api_key.`,
		Example: `  agent serve
  agent serve --model qwen2.5-coder-0.5b-instruct --port 8000 llm.parallel=8
  AGENT_API_KEY=$(cat key) agent serve --host 0.0.0.0
  agent serve --fastchat-controller http://127.0.0.1:21001 --model-names smollm2`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.serveMain(cmd, withDash(cmd, args), keyFile, logJSON)
		},
	}
	f := cmd.Flags()
	f.String("host", "127.0.0.1", "address to listen on (serve.host)")
	f.Int("port", portDefault, "port to listen on; 0 takes a free one (serve.port)")
	f.StringVar(&keyFile, "api-key-file", "", "file with the key that clients must send")
	f.StringSlice("model-names", nil, "names under which the model is served (serve.model_names)")
	f.StringSlice("origin", nil, "web origins whose pages may call the server (serve.origins)")
	f.Int("max-requests", serve.RequestsMaxDefault, "most replies in work and waiting (serve.max_requests)")
	f.String("fastchat-controller", "", "URL of a FastChat controller to join as a worker (serve.fastchat_controller)")
	f.String("worker-address", "", "URL under which the cluster reaches this worker (serve.worker_address)")
	f.StringSlice("worker-allow", nil, "addresses or networks, besides the controller's, that may call the worker (serve.worker_allow)")
	f.BoolVar(&logJSON, "log-json", false, "log as JSON lines")
	return cmd
}

// serveMain composes, opens, listens and serves until interrupted.
func (a *app) serveMain(cmd *cobra.Command, args []string, keyFile string, logJSON bool) error {
	ctx := cmd.Context()
	cfg, rest, err := a.compose(args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("serve takes key=value arguments, got %q", rest[0])
	}
	c, err := serveSettingsOf(cfg, cmd, keyFile)
	if err != nil {
		return err
	}
	// The port is taken before the model is loaded, so that a mistake shows at
	// once; clients that come early wait in the listener's queue.
	l, err := listen(ctx, c)
	if err != nil {
		return err
	}
	defer l.Close()
	b, err := a.openBackend(ctx, cfg)
	if err != nil {
		return err
	}
	defer b.close()
	s, err := serve.New(b.LanguageBackend, c.config(a.serveLog(logJSON)))
	if err != nil {
		return withCode(exitUsage, err)
	}
	if !a.flags.quiet {
		fmt.Fprintf(a.err, "agent: serving %s at http://%s/v1\n", strings.Join(s.Names(), ", "), l.Addr())
	}
	return s.Serve(ctx, l)
}

// serveLog logs requests to stderr; with --quiet only what is wrong.
func (a *app) serveLog(asJSON bool) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelInfo}
	if a.flags.quiet {
		opts.Level = slog.LevelWarn
	}
	if asJSON {
		return slog.New(slog.NewJSONHandler(a.err, opts))
	}
	return slog.New(slog.NewTextHandler(a.err, opts))
}

// decodeServe reads the section serve strictly; a config.yaml of the user's own
// need not have it.
func decodeServe(cfg *config.Config) (*serveSettings, error) {
	c := &serveSettings{Host: "127.0.0.1", Port: portDefault, RequestsMax: serve.RequestsMaxDefault, FirstTokenWithin: serve.FirstTokenWithinDefault,
		RequestWithin: serve.RequestWithinDefault, DrainWithin: serve.DrainWithinDefault, FastChatHeartBeat: serve.HeartBeatDefault}
	if !cfg.Has("serve") {
		return c, nil
	}
	return c, cfg.Decode("serve", c)
}

// checkServe checks the section serve as `agent serve` does without flags.
func checkServe(cfg *config.Config) error {
	c, err := decodeServe(cfg)
	if err != nil {
		return err
	}
	return c.check(func(key, msg string) error { return badValue(cfg, "serve."+key, msg) })
}

// serveSettingsOf reads the section serve, the flags and the key.
func serveSettingsOf(cfg *config.Config, cmd *cobra.Command, keyFile string) (*serveSettings, error) {
	c, err := decodeServe(cfg)
	if err != nil {
		return nil, configError(err)
	}
	f := cmd.Flags()
	fromFlag(f.Changed("host"), &c.Host, f.GetString, "host")
	fromFlag(f.Changed("port"), &c.Port, f.GetInt, "port")
	fromFlag(f.Changed("model-names"), &c.ModelNames, f.GetStringSlice, "model-names")
	fromFlag(f.Changed("origin"), &c.Origins, f.GetStringSlice, "origin")
	fromFlag(f.Changed("max-requests"), &c.RequestsMax, f.GetInt, "max-requests")
	fromFlag(f.Changed("fastchat-controller"), &c.FastChat, f.GetString, "fastchat-controller")
	fromFlag(f.Changed("worker-address"), &c.WorkerAddress, f.GetString, "worker-address")
	fromFlag(f.Changed("worker-allow"), &c.WorkerAllow, f.GetStringSlice, "worker-allow")
	c.Host = cmp.Or(c.Host, "127.0.0.1")
	err = c.check(func(key, msg string) error {
		if name := strings.ReplaceAll(key, "_", "-"); f.Changed(name) {
			return usagef("--%s %s", name, msg)
		}
		return configError(badValue(cfg, "serve."+key, msg))
	})
	if err != nil {
		return nil, err
	}
	return c, c.readKey(keyFile)
}

// check refuses what no server can be made of; bad makes the error of a key.
func (c *serveSettings) check(bad func(key, msg string) error) error {
	switch {
	case c.Port < 0 || c.Port > 1<<16-1:
		return bad("port", fmt.Sprintf("is %d, not between 0 and 65535; 0 takes any free one", c.Port))
	case c.RequestsMax < 1:
		return bad("max_requests", fmt.Sprintf("is %d; it must be at least 1", c.RequestsMax))
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"timeout_first_token", c.FirstTokenWithin}, {"timeout_request", c.RequestWithin}, {"timeout_drain", c.DrainWithin},
		{"fastchat_heart_beat", c.FastChatHeartBeat},
	} {
		if d.value <= 0 {
			return bad(d.key, fmt.Sprintf("is %s; it must be more than 0, such as 30s", d.value))
		}
	}
	return c.checkWorker(bad)
}

// checkWorker checks what is said of a FastChat cluster.
func (c *serveSettings) checkWorker(bad func(key, msg string) error) error {
	for _, u := range []struct{ key, url string }{{"fastchat_controller", c.FastChat}, {"worker_address", c.WorkerAddress}} {
		if p, err := url.Parse(u.url); u.url != "" && (err != nil || p.Host == "" || p.Scheme != "http" && p.Scheme != "https") {
			return bad(u.key, fmt.Sprintf("%q is not an http or https URL like http://127.0.0.1:21001", backend.ShownURL(u.url)))
		}
	}
	for _, text := range c.WorkerAllow {
		if _, err := parsePrefix(text); err != nil {
			return bad("worker_allow", fmt.Sprintf("%q is neither an address nor a network like 10.0.0.0/8", text))
		}
	}
	switch {
	case c.FastChat != "":
		return nil
	case c.WorkerAddress != "":
		return bad("worker_address", "needs --fastchat-controller (serve.fastchat_controller)")
	case len(c.WorkerAllow) > 0:
		return bad("worker_allow", "needs --fastchat-controller (serve.fastchat_controller)")
	}
	return nil
}

// fromFlag sets a value from a flag that was given.
func fromFlag[T any](given bool, v *T, get func(string) (T, error), name string) {
	if got, err := get(name); given && err == nil {
		*v = got
	}
}

// readKey takes the key from the file, else the environment, else the
// configuration.
func (c *serveSettings) readKey(file string) error {
	if file == "" {
		c.APIKey = cmp.Or(backend.Secret(os.Getenv("AGENT_API_KEY")), c.APIKey)
		return nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("--api-key-file: %w", err)
	}
	key := strings.TrimSpace(string(raw))
	if key == "" || len(raw) > keyFileBytesMax {
		return usagef("--api-key-file: %s must hold one key of at most %d bytes", file, keyFileBytesMax)
	}
	c.APIKey = backend.Secret(key)
	return nil
}

// config is the server's configuration, of settings that were checked.
func (c *serveSettings) config(log *slog.Logger) serve.Config {
	out := serve.Config{ModelNames: c.ModelNames, APIKey: c.APIKey, Origins: c.Origins, RequestsMax: c.RequestsMax,
		FirstTokenWithin: c.FirstTokenWithin, RequestWithin: c.RequestWithin, DrainWithin: c.DrainWithin, Log: log}
	if c.FastChat == "" {
		return out
	}
	out.Worker = &serve.WorkerConfig{Controller: c.FastChat, Address: c.WorkerAddress, HeartBeat: c.FastChatHeartBeat}
	for _, text := range c.WorkerAllow {
		if p, err := parsePrefix(text); err == nil {
			out.Worker.Allow = append(out.Worker.Allow, p)
		}
	}
	return out
}

// parsePrefix reads a network, or an address as a network of one.
func parsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr.Prefix(addr.BitLen())
	}
	return netip.ParsePrefix(text)
}

// listen takes the port, unless strangers could reach it without a key.
func listen(ctx context.Context, c *serveSettings) (net.Listener, error) {
	address := net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, &backend.Error{Op: "serve", Err: err, Advice: "another program may use the port; choose one with --port (0: any free one)"}
	}
	if err := serve.CheckBind(l.Addr(), c.APIKey); err != nil {
		l.Close()
		return nil, withCode(exitUsage, err)
	}
	return l, nil
}
