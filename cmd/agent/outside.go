package main

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"agent/command"
	"agent/command/mcp"
	"agent/command/search"
	"agent/command/stock"
	"agent/internal/config"
	"agent/session"
)

// searchConfig is the section search.
type searchConfig struct {
	Provider string        `yaml:"provider"`
	URL      string        `yaml:"url"`
	APIKey   string        `yaml:"api_key"`
	Results  int           `yaml:"results"`
	Timeout  time.Duration `yaml:"timeout"`
}

// decodeSearch reads the section search strictly; a config.yaml of the user's
// own need not have it. Close what it gives.
func decodeSearch(cfg *config.Config) (*search.Searcher, error) {
	var c searchConfig
	if !cfg.Has("search") {
		return search.New(search.Config{})
	}
	if err := cfg.Decode("search", &c); err != nil {
		return nil, err
	}
	switch {
	case c.Results < 0:
		return nil, badValue(cfg, "search.results", "must not be negative")
	case c.Timeout < 0:
		return nil, badValue(cfg, "search.timeout", "must not be negative")
	case c.Provider == search.Brave && c.APIKey == "" && !cfg.Has("agent.metadata."+search.APIKeyMetadata):
		return nil, notSet(cfg, "search.api_key", "is not set; Brave wants a key")
	}
	s, err := search.New(search.Config{Provider: c.Provider, URL: c.URL, APIKey: c.APIKey, Results: c.Results, Timeout: c.Timeout})
	if err != nil {
		key := "search.provider"
		if slices.Contains(search.Providers(), c.Provider) && c.URL != "" {
			key = "search.url"
		}
		e := badValue(cfg, key, err.Error())
		e.Advice = hintOf(err)
		return nil, e
	}
	return s, nil
}

// decodeMCP reads the section mcp strictly.
func decodeMCP(cfg *config.Config) (map[string]mcp.Server, error) {
	var c struct {
		Servers map[string]mcp.Server `yaml:"servers"`
	}
	if !cfg.Has("mcp") {
		return nil, nil
	}
	if err := cfg.Decode("mcp", &c); err != nil {
		return nil, err
	}
	for name := range c.Servers {
		if err := mcp.Check(map[string]mcp.Server{name: c.Servers[name]}); err != nil {
			return nil, badValue(cfg, "mcp.servers."+name, err.Error())
		}
	}
	if err := mcp.Check(c.Servers); err != nil {
		return nil, badValue(cfg, "mcp.servers", err.Error())
	}
	return c.Servers, nil
}

// checkOutside checks both sections without reaching out.
func checkOutside(cfg *config.Config) error {
	s, err := decodeSearch(cfg)
	if err != nil {
		return err
	}
	_ = s.Close()
	_, err = decodeMCP(cfg)
	return err
}

// addSearch gives a run the command search, and search_files where search asks
// the web.
func addSearch(cfg *config.Config, registry *command.Registry) (io.Closer, error) {
	s, err := decodeSearch(cfg)
	if err != nil {
		return nil, configError(err)
	}
	if err := stock.Add(registry, stock.Parts{Search: s.Commands()}); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// addServers gives a run the tools of the MCP servers that are configured. Its
// asker is nil where nobody can be asked.
func (a *app) addServers(ctx context.Context, cfg *config.Config, registry *command.Registry, ask *asker) (*mcp.Servers, error) {
	configured, err := decodeMCP(cfg)
	if err != nil {
		return nil, configError(err)
	}
	o := mcp.Options{
		Servers: configured, StateDir: stateDir(), Warn: a.warn, Version: version,
		Taken: func(name string) bool {
			match := registry.Lookup(name).Match
			return match == command.MatchExact || match == command.MatchAlias
		},
	}
	if ask != nil {
		o.Accept = ask.change
	}
	servers, err := mcp.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, c := range servers.Commands() {
		if err := registry.Register(c); err != nil {
			return nil, errors.Join(err, servers.Close())
		}
	}
	if ask == nil { // else a person is asked when the tool is wanted
		a.warnOfChanges(servers.Changed())
	}
	return servers, nil
}

func (a *app) warnOfChanges(changes []mcp.Change) {
	for _, c := range changes {
		a.warn((&mcp.ChangedError{Change: c}).Error() + "; see the change and accept it with: agent commands accept " + c.Command)
	}
}

// addOutside gives a run what reaches beyond its files, as configured. Call
// done at the end.
func (a *app) addOutside(ctx context.Context, cfg *config.Config, opts *session.Options) (done func(), err error) {
	s, err := addSearch(cfg, opts.Registry)
	if err != nil {
		return nil, err
	}
	var ask *asker
	if opts.Approve == session.ApproveAsk && opts.Approver != nil {
		ask = &asker{a.askChange}
	}
	servers, err := a.addServers(ctx, cfg, opts.Registry, ask)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return func() {
		_ = servers.Close()
		_ = s.Close()
	}, nil
}

// examineOutside says what is configured, without reaching out. err is why there
// is no configuration.
func examineOutside(cfg *config.Config, err error) []finding {
	var servers map[string]mcp.Server
	var settings searchConfig
	if err == nil {
		servers, err = decodeMCP(cfg)
	}
	if err == nil {
		err = checkOutside(cfg)
	}
	if err == nil && cfg.Has("search") {
		err = cfg.Decode("search", &settings)
	}
	if err != nil {
		return []finding{{"configuration", "warn", err.Error(), "agent config check tells more"}}
	}
	out := []finding{{What: "search", Status: "ok", Detail: "the files of the work dir; no web search is configured"}}
	if settings.Provider != "" && settings.Provider != search.Local {
		out[0].Detail = "the web with " + settings.Provider + ", and the files of the work dir"
	}
	if len(servers) > 0 {
		out = append(out, finding{What: "mcp servers", Status: "ok", Detail: strings.Join(slices.Sorted(maps.Keys(servers)), ", ") + "; agent commands list connects to them"})
	}
	return out
}
