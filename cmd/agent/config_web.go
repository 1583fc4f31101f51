package main

import (
	"fmt"
	"strings"

	"agent/command"
	"agent/internal/config"
)

// webConfig is agent.web: what commands may fetch.
type webConfig struct {
	Allow   bool     `yaml:"allow"`
	Hosts   []string `yaml:"hosts"`
	Private []string `yaml:"private"`
}

// web checks what was written. A mistake here would open or close more than
// was meant, so that each is an error.
func (c *webConfig) web(cfg *config.Config) (command.Web, error) {
	web := command.Web{Allow: c.Allow}
	for i, host := range c.Hosts {
		if host == "" || strings.ContainsAny(host, "/:*@ ") {
			e := badValue(cfg, fmt.Sprintf("agent.web.hosts.%d", i), fmt.Sprintf("%q is no name of a host", host))
			e.Advice = "write it like example.org; it stands for the hosts below it, too"
			return web, e
		}
		web.Hosts = append(web.Hosts, host)
	}
	for i, text := range c.Private {
		prefix, err := parsePrefix(text)
		if err != nil {
			e := badValue(cfg, fmt.Sprintf("agent.web.private.%d", i), fmt.Sprintf("%q is no address and no network", text))
			e.Advice = "write it like 192.168.1.20 or 10.0.0.0/8"
			return web, e
		}
		web.Private = append(web.Private, prefix)
	}
	return web, nil
}
