package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"agent/command"
	"agent/command/program"
	"agent/internal/config"
)

// sections are the keys at the top of a configuration that commands read.
func sections() []string { return []string{"agent", "llm", "mcp", "search", "serve"} }

// checkSections evaluates everything and decodes what the commands will decode,
// as they do it. A group that is tried may be for something else than this
// program.
func (a *app) checkSections(cfg *config.Config, group string) error {
	known := sections()
	if top, _, _ := strings.Cut(group, "/"); top != "" && !slices.Contains(known, top) {
		known = append(known, top)
	}
	for _, check := range []func(*config.Config) error{
		func(cfg *config.Config) error { return cfg.Check() },
		func(cfg *config.Config) error { return cfg.CheckSections(known...) },
		checkServe, checkOutside, a.checkAgent,
	} {
		if err := check(cfg); err != nil {
			return err
		}
	}
	if !cfg.Has("llm") {
		return nil
	}
	_, err := decodeLLM(cfg, a.custom, a.warn)
	return err
}

// checkAgent checks the section agent as a run does, without the commands that
// only a run gets to know.
func (a *app) checkAgent(cfg *config.Config) error {
	c, err := decodeAgent(cfg)
	if err != nil {
		return err
	}
	if _, err := c.Web.web(cfg); err != nil {
		return err
	}
	if err := a.checkOverseer(cfg, c.Overseer); err != nil {
		return err
	}
	return a.checkNames(cfg, c)
}

// checkOverseer composes and decodes the model that is to oversee a run.
func (a *app) checkOverseer(cfg *config.Config, spec string) error {
	if spec == "" || spec == "self" {
		return nil
	}
	overrides, err := specOverrides(spec)
	if err == nil {
		other := *a
		other.flags.model = "" // it names the one that works
		var second *config.Config
		if second, _, err = other.composeAsked(overrides, nil); err == nil {
			_, err = decodeLLM(second, a.custom, func(string) {})
		}
	}
	if err == nil {
		return nil
	}
	msg := err.Error()
	var inner *config.Error
	if errors.As(err, &inner) {
		msg = inner.Key + ": " + inner.Msg // its place is within the text
	}
	e := badValue(cfg, "agent.overseer", msg)
	e.Err, e.Advice = err, hintOf(err)
	return e
}

// checkNames finds names of commands that there are not. Those of files and of
// MCP servers are known only in a run: where there are any, a name may be one.
func (a *app) checkNames(cfg *config.Config, c *agentConfig) error {
	registry, err := stockCommands()
	if err != nil {
		return err
	}
	search, err := addSearch(cfg, registry)
	if err != nil {
		return err
	}
	defer search.Close()
	dir, err := filepath.Abs(c.Workdir)
	if err != nil {
		return err
	}
	files, err := newFileCommands(registry, &command.Env{WorkDir: dir})
	if err != nil {
		return err
	}
	servers, err := decodeMCP(cfg)
	if err != nil {
		return err
	}
	more := len(servers) > 0 || files.any()
	for i, name := range c.Disable {
		known := registry.Lookup(name).Command != nil && registry.Lookup(name).Match != command.MatchFuzzy
		if err := registry.Disable(name); err != nil && (known || !more) {
			e := badValue(cfg, fmt.Sprintf("agent.disable.%d", i), err.Error())
			e.Advice = hintOf(err)
			return e
		}
	}
	if more {
		return nil
	}
	return checkRules(cfg, c.ApproveRules.Check(registry))
}

// any reports that there are command files, of the user or of the work dir.
func (f *fileCommands) any() bool {
	for _, folder := range []program.Folder{{Path: userCommandsDir()}, f.project} {
		if found, err := program.Find(folder); folder.Path != "" && (err != nil || len(found) > 0) {
			return true
		}
	}
	return false
}
