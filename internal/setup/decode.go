package setup

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"agent/command/mcp"
	"agent/internal/config"
	"agent/internal/exit"
)

// Section is a key at the top of the configuration.
type Section string

// The sections that commands read.
const (
	SectionAgent  Section = "agent"
	SectionLLM    Section = "llm"
	SectionMCP    Section = "mcp"
	SectionSearch Section = "search"
	SectionServe  Section = "serve"
)

// Sections are all of them.
func Sections() []Section {
	return []Section{SectionAgent, SectionLLM, SectionMCP, SectionSearch, SectionServe}
}

// Config is a configuration with the sections that were asked for, decoded and
// checked; the others are nil.
type Config struct {
	*config.Config
	LLM     *LLM
	Agent   *Agent
	Search  *Search
	Servers map[string]mcp.Server
	Serve   *Serve

	own []string // warnings of decoding
}

// Warnings come from composing and decoding.
func (c *Config) Warnings() []string { return append(c.Config.Warnings(), c.own...) }

// Decode decodes sections; only llm must be there.
func (h *Host) Decode(cfg *config.Config, sections ...Section) (*Config, error) {
	c := &Config{Config: cfg}
	var err error
	for _, s := range sections {
		switch s {
		case SectionLLM:
			c.LLM, err = h.decodeLLM(c)
		case SectionAgent:
			c.Agent, err = decodeAgent(cfg)
		case SectionMCP:
			c.Servers, err = decodeMCP(cfg)
		case SectionSearch:
			c.Search, err = decodeSearch(cfg)
		case SectionServe:
			c.Serve, err = decodeServe(cfg)
		}
		if err != nil {
			return nil, UsageError(err)
		}
	}
	return c, nil
}

// Check evaluates everything and decodes every section, as a run does, without
// the commands that only a run gets to know. A group that is tried may be for
// something else than this program. The warnings of decoding are returned.
func (h *Host) Check(cfg *config.Config, group string) (warnings []string, err error) {
	var known []string
	for _, s := range Sections() {
		known = append(known, string(s))
	}
	if top, _, _ := strings.Cut(group, "/"); top != "" {
		known = append(known, top)
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if err := cfg.CheckSections(known...); err != nil {
		return nil, err
	}
	c, err := h.Decode(cfg, SectionServe, SectionSearch, SectionMCP, SectionAgent)
	if err != nil {
		return nil, err
	}
	if err := h.checkOverseer(c); err != nil {
		return nil, err
	}
	if err := c.checkNames(); err != nil {
		return nil, err
	}
	if cfg.Has(string(SectionLLM)) {
		c.LLM, err = h.decodeLLM(c)
	}
	return c.own, err
}

// checkOverseer composes and decodes the model that is to oversee a run.
func (h *Host) checkOverseer(c *Config) error {
	spec := c.Agent.Overseer
	if spec == "" || spec == overseerSelf {
		return nil
	}
	overrides, err := SpecOverrides(spec)
	if err == nil {
		var second *config.Config
		if second, _, err = h.without().compose(overrides, nil); err == nil {
			_, err = h.Decode(second, SectionLLM)
		}
	}
	if err == nil {
		return nil
	}
	msg := err.Error()
	if inner, ok := errors.AsType[*config.Error](err); ok {
		msg = inner.Key + ": " + inner.Msg // its place is within the text
	}
	e := badValue(c.Config, "agent.overseer", "%s", msg)
	e.Err, e.Advice = err, exit.Hint(err)
	return e
}

// checkNames finds names of unknown commands. The commands of files and of MCP
// servers are known only in a run: where there are any, a name may be one of them.
func (c *Config) checkNames() error {
	dir, err := filepath.Abs(c.Agent.Workdir)
	if err != nil {
		return err
	}
	commands, err := c.gather(dir)
	if err != nil {
		return err
	}
	defer commands.Close()
	more := len(c.Servers) > 0 || commands.anyFiles()
	for i, name := range c.Agent.Disable {
		if err := commands.Registry.Disable(name); err != nil && !(more && commands.unknown(name)) {
			return badValue(c.Config, fmt.Sprintf("agent.disable.%d", i), "%s", err).
				Advise("%s", exit.Hint(err))
		}
	}
	if more {
		return nil
	}
	return checkRules(c.Config, c.Agent.ApproveRules.Check(commands.Registry))
}

// decode fills in a section strictly. One that a config.yaml of the user's own
// does not have keeps its defaults.
func decode(cfg *config.Config, s Section, into any) error {
	if !cfg.Has(string(s)) {
		return nil
	}
	return cfg.Decode(string(s), into)
}

// badValue is a problem with a value, at its place.
func badValue(cfg *config.Config, key, format string, args ...any) *config.Error {
	e := &config.Error{Key: key, Msg: fmt.Sprintf(format, args...)}
	e.Origin, _ = cfg.Origin(key)
	return e
}

// notSet is a value that the user has to supply.
func notSet(cfg *config.Config, key, msg string) error {
	e := badValue(cfg, key, "%s", msg)
	e.Err, e.Advice = config.ErrMissing, "add "+key+"=VALUE"
	return e
}

// atLeast is a number that must not be below least.
type atLeast struct {
	key   string
	value int64
	least int64
}

// checkLeast refuses numbers that are too small; below zero they would be read
// as "not set".
func checkLeast(cfg *config.Config, section string, numbers []atLeast) error {
	for _, n := range numbers {
		switch {
		case n.value >= n.least:
		case n.least > 0:
			return badValue(cfg, section+"."+n.key, "must be at least %d", n.least)
		default:
			return badValue(cfg, section+"."+n.key, "must not be negative")
		}
	}
	return nil
}

// parsePrefix reads a network, or an address as a network of one.
func parsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr.Prefix(addr.BitLen())
	}
	return netip.ParsePrefix(text)
}
