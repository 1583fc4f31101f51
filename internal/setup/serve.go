package setup

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"agent/backend"
	"agent/internal/config"
	"agent/internal/exit"
	"agent/internal/serve"
)

// Serve is the section serve of a configuration.
type Serve struct {
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

	workerAllow []netip.Prefix // what WorkerAllow says
}

// HostDefault and PortDefault are where a server listens when nothing is said.
const (
	HostDefault = "127.0.0.1"
	PortDefault = 8080
)

// keyFileBytesMax bounds a file with an API key.
const keyFileBytesMax = 4096

func decodeServe(cfg *config.Config) (*Serve, error) {
	c := &Serve{Host: HostDefault, Port: PortDefault, RequestsMax: serve.RequestsMaxDefault,
		FirstTokenWithin: serve.FirstTokenWithinDefault,
		RequestWithin:    serve.RequestWithinDefault, DrainWithin: serve.DrainWithinDefault,
		FastChatHeartBeat: serve.HeartBeatDefault}
	if err := decode(cfg, SectionServe, c); err != nil {
		return nil, err
	}
	c.Host = cmp.Or(c.Host, HostDefault)
	return c, c.check(func(key, format string, args ...any) error { return badValue(cfg, "serve."+key, format, args...) })
}

// check refuses what no server can be made of; bad makes the error of a key.
func (c *Serve) check(bad func(key, format string, args ...any) error) error {
	switch {
	case c.Port < 0 || c.Port > 1<<16-1:
		return bad("port", "is %d, not between 0 and 65535; 0 takes any free one", c.Port)
	case c.RequestsMax < 1:
		return bad("max_requests", "is %d; it must be at least 1", c.RequestsMax)
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"timeout_first_token", c.FirstTokenWithin}, {"timeout_request", c.RequestWithin},
		{"timeout_drain", c.DrainWithin},
		{"fastchat_heart_beat", c.FastChatHeartBeat},
	} {
		if d.value <= 0 {
			return bad(d.key, "is %s; it must be more than 0, such as 30s", d.value)
		}
	}
	for _, u := range []struct{ key, url string }{{"fastchat_controller", c.FastChat},
		{"worker_address", c.WorkerAddress}} {
		if p, err := url.Parse(u.url); u.url != "" &&
			(err != nil || p.Host == "" || p.Scheme != "http" && p.Scheme != "https") {
			return bad(u.key, "%q is not an http or https URL like http://127.0.0.1:21001",
				backend.ShownURL(u.url))
		}
	}
	for _, text := range c.WorkerAllow {
		prefix, err := parsePrefix(text)
		if err != nil {
			return bad("worker_allow", "%q is neither an address nor a network like 10.0.0.0/8", text)
		}
		c.workerAllow = append(c.workerAllow, prefix)
	}
	const needs = "needs --fastchat-controller (serve.fastchat_controller)"
	switch {
	case c.FastChat != "":
		return nil
	case c.WorkerAddress != "":
		return bad("worker_address", needs)
	case len(c.WorkerAllow) > 0:
		return bad("worker_allow", needs)
	}
	return nil
}

// ReadKey takes the API key from the file, else the environment, else the
// configuration.
func (c *Serve) ReadKey(file string) error {
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
		return exit.Usagef("--api-key-file: %s must hold one key of at most %d bytes", file,
			keyFileBytesMax)
	}
	c.APIKey = backend.Secret(key)
	return nil
}

// Server is the server's own configuration.
func (c *Serve) Server(log *slog.Logger) serve.Config {
	out := serve.Config{ModelNames: c.ModelNames, APIKey: c.APIKey, Origins: c.Origins,
		RequestsMax:      c.RequestsMax,
		FirstTokenWithin: c.FirstTokenWithin, RequestWithin: c.RequestWithin, DrainWithin: c.DrainWithin,
		Log: log}
	if c.FastChat != "" {
		out.Worker = &serve.WorkerConfig{Controller: c.FastChat, Address: c.WorkerAddress,
			HeartBeat: c.FastChatHeartBeat, Allow: c.workerAllow}
	}
	return out
}
