package setup

import (
	"slices"
	"time"

	"agent/command/mcp"
	"agent/command/search"
	"agent/internal/config"
	"agent/internal/exit"
)

// Search is the section search.
type Search struct {
	Provider string        `yaml:"provider"`
	URL      string        `yaml:"url"`
	APIKey   string        `yaml:"api_key"`
	Results  int           `yaml:"results"`
	Timeout  time.Duration `yaml:"timeout"`
}

func (c *Search) searcher() (*search.Searcher, error) {
	return search.New(search.Config{Provider: c.Provider, URL: c.URL, APIKey: c.APIKey,
		Results: c.Results, Timeout: c.Timeout})
}

func decodeSearch(cfg *config.Config) (*Search, error) {
	c := &Search{}
	if err := decode(cfg, SectionSearch, c); err != nil {
		return nil, err
	}
	least := []atLeast{{"results", int64(c.Results), 0}, {"timeout", int64(c.Timeout), 0}}
	if err := checkLeast(cfg, "search", least); err != nil {
		return nil, err
	}
	if c.Provider == search.Brave && c.APIKey == "" &&
		!cfg.Has("agent.metadata."+search.APIKeyMetadata) {
		return nil, notSet(cfg, "search.api_key", "is not set; Brave wants a key")
	}
	s, err := c.searcher()
	if err != nil {
		key := "search.provider"
		if slices.Contains(search.Providers(), c.Provider) && c.URL != "" {
			key = "search.url"
		}
		return nil, badValue(cfg, key, "%s", err).Advise("%s", exit.Hint(err))
	}
	return c, s.Close()
}

// decodeMCP reads the section mcp.
func decodeMCP(cfg *config.Config) (map[string]mcp.Server, error) {
	var c struct {
		Servers map[string]mcp.Server `yaml:"servers"`
	}
	if err := decode(cfg, SectionMCP, &c); err != nil {
		return nil, err
	}
	for _, name := range sortedKeys(c.Servers) { // one by one: an error has the place of its server
		if err := mcp.Check(map[string]mcp.Server{name: c.Servers[name]}); err != nil {
			return nil, badValue(cfg, "mcp.servers."+name, "%s", err)
		}
	}
	if err := mcp.Check(c.Servers); err != nil {
		return nil, badValue(cfg, "mcp.servers", "%s", err)
	}
	return c.Servers, nil
}
