// Package mcp makes the tools of MCP servers commands of the agent. A server is
// a program that speaks over its standard input and output, or a URL
// (streamable HTTP).
//
// [Open] connects to the configured servers; register what
// [Servers.Commands] gives and close the servers at the end.
//
// A server is not trusted. Every tool is consequential, whatever its
// annotations say, unless the configuration names it read-only. What a server
// says about a tool is cut and cleaned before a model reads it, and its
// definition is remembered when the tool first runs: one that changes later
// keeps its old words and runs only after somebody accepted the new ones. A
// program gets a small environment and the variables configured for it. The
// values of those, and of HTTP headers, are taken out of everything that a
// server answers or prints. Answers, definitions, waiting times and restarts
// have limits.
package mcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"agent/command"
	"agent/internal/legible"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// Server configures one server: either Command or URL.
type Server struct {
	Command string            `yaml:"command"`
	Args    []string          `yaml:"args"`
	Env     map[string]string `yaml:"env"`
	Dir     string            `yaml:"dir"` // where it runs; default: a folder of its own

	URL     string            `yaml:"url"`
	Headers map[string]string `yaml:"headers"`

	// ReadOnly names the tools, as the server calls them, that change nothing
	// and may run unasked.
	ReadOnly []string `yaml:"read_only"`
	// Timeout of one call; default: the time limit of commands.
	Timeout time.Duration `yaml:"timeout"`
	// TimeoutStart is how long a run waits until it is connected and its tools
	// are listed; default: startTimeout.
	// what was accepted without it stays so
	TimeoutStart time.Duration `yaml:"timeout_start" json:",omitempty"`
}

// Options configure [Open].
type Options struct {
	Servers map[string]Server // by a name of a-z, 0-9 and _
	// Taken reports a name that another command has; nil: none is taken.
	Taken func(name string) bool
	// StateDir is where it is remembered how tools were when they were approved,
	// and where servers run. Needed.
	StateDir string
	// Accept is asked when a tool is not what was approved; nil: it is refused.
	Accept func(ctx context.Context, c Change) (bool, error)
	// Warn is told what a person should know but what ends nothing; nil: no one.
	Warn    func(string)
	Version string // of this program, for the servers' logs
}

const (
	serversMax   = 16
	toolsMax     = 64               // of one server
	definedMax   = 4 * toolsMax     // definitions looked at, unfit ones too
	startTimeout = 10 * time.Second // to start a server and list its tools
	restartsMax  = 1                // of one server in a run
	entriesMax   = 8                // calls of a tool in one command
)

var serverName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// Check says what is wrong with the configuration, without starting anything.
func Check(servers map[string]Server) error {
	if len(servers) > serversMax {
		return fmt.Errorf("mcp: %d servers; at most %d can be used", len(servers), serversMax)
	}
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		if err := servers[name].check(name); err != nil {
			return fmt.Errorf("mcp server %q: %w", name, err)
		}
	}
	return nil
}

func (s Server) check(name string) error {
	switch {
	case !serverName.MatchString(name):
		return errors.New("its name must begin with a-z and have only a-z, 0-9 and _, 32 at most")
	case s.Command == "" && s.URL == "":
		return errors.New("give a command or a url")
	case s.Command != "" && s.URL != "":
		return errors.New("it has both a command and a url; leave one out")
	case s.URL != "" && (len(s.Args) > 0 || len(s.Env) > 0 || s.Dir != ""):
		return errors.New("args, env and dir are for a command, not for a url")
	case s.Command != "" && len(s.Headers) > 0:
		return errors.New("headers are for a url, not for a command")
	case s.Timeout < 0:
		return errors.New("timeout must not be negative")
	case s.TimeoutStart < 0:
		return errors.New("timeout_start must not be negative")
	}
	if s.URL == "" {
		return nil
	}
	u, err := url.Parse(s.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("url is no http or https URL")
	}
	return nil
}

// inClear reports that others on the network can read the headers.
func (s Server) inClear() bool {
	u, err := url.Parse(s.URL)
	if err != nil || u.Scheme != "http" || len(s.Headers) == 0 {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}

// Servers are the connections. Close them.
type Servers struct {
	servers []*server
	tools   []*tool
	close   sync.Once
}

// Open connects to all servers at once and lists their tools. A server that
// can't be used is told in a warning, and the others serve without it; an
// error means a wrong configuration or approvals that can't be read.
func Open(ctx context.Context, o Options) (*Servers, error) {
	if err := Check(o.Servers); err != nil {
		return nil, err
	}
	all := &Servers{}
	if len(o.Servers) == 0 {
		return all, nil
	}
	if !filepath.IsAbs(o.StateDir) {
		return nil, errors.New("mcp: no folder for state given")
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	pins := &pinFile{path: filepath.Join(o.StateDir, pinFileName)}
	approved, err := pins.load()
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(o.Servers)) {
		if o.Servers[name].inClear() {
			o.Warn(fmt.Sprintf("mcp server %q: its headers go over the network unencrypted; use https",
				name))
		}
		all.servers = append(all.servers, newServer(name, o.Servers[name], o))
	}
	lists := all.connect(ctx, o.Warn)
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(err, all.Close())
	}
	for i, s := range all.servers {
		for _, listed := range lists[i] {
			all.tools = append(all.tools, newTool(s, listed, pins, approved[pinKey(s.name, listed.Name)],
				o.Accept))
		}
		s.warnOfUnknownReadOnly(lists[i], o.Warn)
	}
	all.nameTools(o)
	all.warnOfLeftFields(o.Warn)
	return all, nil
}

// warnOfLeftFields names the tools that are offered without some of their fields.
func (a *Servers) warnOfLeftFields(warn func(string)) {
	for _, t := range a.tools {
		if left := t.input.left; left > 0 {
			warn(fmt.Sprintf("mcp server %q: of its tool %q %d optional fields are not offered, since it has so many",
				t.server.name, legible.OneLine(t.name), left))
		}
	}
}

// connect starts every server and lists the tools in the order of the servers. A
// problem is reported at once, not when the slowest server is done.
func (a *Servers) connect(ctx context.Context, warn func(string)) [][]*sdk.Tool {
	lists := make([][]*sdk.Tool, len(a.servers))
	var telling sync.Mutex
	var wait sync.WaitGroup
	for i, s := range a.servers {
		wait.Go(func() {
			tools, leftOut, err := s.start(ctx)
			lists[i] = tools
			telling.Lock()
			defer telling.Unlock()
			if err != nil && ctx.Err() == nil {
				warn(fmt.Sprintf("%v; going on without its tools%s", err, printedBy(err)))
			}
			for _, problem := range leftOut {
				warn(problem)
			}
		})
	}
	wait.Wait()
	return lists
}

// printedBy is what a program that failed to start printed.
func printedBy(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Advice != "" {
		return "; " + e.Advice
	}
	return ""
}

// nameTools gives each tool a command name: its own, made valid, or with the
// server's name before it if that one is taken.
func (a *Servers) nameTools(o Options) {
	taken := o.Taken
	if taken == nil {
		taken = func(string) bool { return false }
	}
	wanted := map[string]int{}
	for _, t := range a.tools {
		wanted[commandName(t.name)]++
	}
	used := map[string]bool{}
	var named []*tool
	for _, t := range a.tools {
		name := commandName(t.name)
		if wanted[name] > 1 || taken(name) {
			name = commandName(t.server.name + "_" + t.name)
		}
		if used[name] || taken(name) || wanted[name] > 1 {
			o.Warn(fmt.Sprintf("mcp server %q: its tool %q is left out: there is another command %q",
				t.server.name, legible.OneLine(t.name), name))
			continue
		}
		used[name] = true
		t.command = name
		named = append(named, t)
	}
	a.tools = named
}

// Commands gives the tools of all servers, those of one server together.
func (a *Servers) Commands() []command.Command {
	out := make([]command.Command, len(a.tools))
	for i, t := range a.tools {
		out[i] = t
	}
	return out
}

// Changed lists the tools that differ from what was approved.
func (a *Servers) Changed() []Change {
	var out []Change
	for _, t := range a.tools {
		if c, changed := t.change(t.listed()); changed {
			out = append(out, c)
		}
	}
	return out
}

// Accept approves a changed tool, by the name of its command, as it is now.
func (a *Servers) Accept(name string) error {
	for _, t := range a.tools {
		if t.command == name {
			return t.approve(t.listed())
		}
	}
	return fmt.Errorf("mcp: no tool %q", name)
}

// Close ends the connections and the programs. It may be called again.
func (a *Servers) Close() error {
	a.close.Do(func() {
		var wait sync.WaitGroup
		for _, s := range a.servers {
			wait.Go(s.close)
		}
		wait.Wait()
	})
	return nil
}

// commandName makes a name that a command can have: readFile and read-file
// become read_file.
func commandName(tool string) string {
	name := camelHump.ReplaceAllString(tool, "${1}_${2}")
	name = strings.Trim(unfit.ReplaceAllString(strings.ToLower(name), "_"), "_")
	return cmp.Or(strings.TrimRight(name[:min(len(name), commandBytesMax)], "_"), "tool")
}

const commandBytesMax = 64 // what a registry takes

var (
	camelHump = regexp.MustCompile(`([a-z0-9])([A-Z])`)
	unfit     = regexp.MustCompile(`[^a-z0-9]+`)
)
