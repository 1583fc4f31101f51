package setup

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"agent/command"
	"agent/internal/config"
	"agent/session"
)

// overseerSelf is the overseer that is the working model.
const overseerSelf = "self"

// Agent is the section agent: how a run works.
type Agent struct {
	Workdir          string        `yaml:"workdir"`
	StepsMax         int           `yaml:"max_steps"`
	TokensMax        int           `yaml:"max_tokens"`
	Timeout          time.Duration `yaml:"timeout"`
	Approve          string        `yaml:"approve"` // "": ask on a terminal, else never
	Disable          []string      `yaml:"disable"`
	AllowUnsandboxed bool          `yaml:"allow_unsandboxed"`
	SmallModel       int64         `yaml:"small_model"` // parameters
	QA               bool          `yaml:"qa"`

	ApproveRules session.Rules         `yaml:"approve_rules"`
	Overseer     string                `yaml:"overseer"` // "", "self", or a model as --llm names it
	Aids         map[session.Aid]*bool `yaml:"aids"`     // null: by the model's size
	Without      []session.Aid         `yaml:"without"`  // an older form of aids that are false

	ResultTokensMax  int `yaml:"result_tokens"`
	HistoryTokensMax int `yaml:"history_tokens"`

	Guides         bool `yaml:"guides"` // AGENTS.md and skills
	GuideTokensMax int  `yaml:"guide_tokens"`

	LongResults session.LongResults `yaml:"long_results"` // "": cut
	DelegateMax struct {
		Depth int `yaml:"depth"`
		Width int `yaml:"width"`
	} `yaml:"delegate"`

	Limits struct {
		Timeout     time.Duration `yaml:"timeout"`
		MemoryBytes int64         `yaml:"memory_bytes"`
		OutputBytes int           `yaml:"output_bytes"`
		FileBytes   int64         `yaml:"file_bytes"`
	} `yaml:"limits"`
	Web struct {
		Allow   bool     `yaml:"allow"`
		Hosts   []string `yaml:"hosts"`
		Private []string `yaml:"private"`
	} `yaml:"web"`
	Metadata map[string]string `yaml:"metadata"`

	web command.Web // what Web says
}

func decodeAgent(cfg *config.Config) (*Agent, error) {
	d := session.DefaultLimits()
	c := &Agent{Workdir: ".", StepsMax: d.StepsMax, ResultTokensMax: d.ResultTokensMax, Guides: true,
		GuideTokensMax: d.GuideTokensMax}
	c.DelegateMax.Depth, c.DelegateMax.Width = d.DepthMax, d.WidthMax
	if err := decode(cfg, SectionAgent, c); err != nil {
		return nil, err
	}
	return c, c.check(cfg)
}

// check refuses what no type can rule out.
func (c *Agent) check(cfg *config.Config) error {
	switch {
	case c.Workdir == "":
		return badValue(cfg, "agent.workdir", "is empty; name a folder, or leave it out for this one")
	case !slices.Contains([]string{"", "ask", "auto", "never"}, c.Approve):
		return badValue(cfg, "agent.approve", "is %q; it must be ask, auto or never", c.Approve)
	case !slices.Contains([]session.LongResults{"", session.ResultsCut, session.ResultsSummary},
		c.LongResults):
		return badValue(cfg, "agent.long_results", "is %q; it must be cut or summary", c.LongResults)
	}
	if err := c.ApproveRules.Check(nil); err != nil {
		return checkRules(cfg, err)
	}
	if err := c.checkAids(cfg); err != nil {
		return err
	}
	if err := checkLeast(cfg, "agent", []atLeast{
		{"max_steps", int64(c.StepsMax), 1}, {"max_tokens", int64(c.TokensMax), 0},
		{"timeout", int64(c.Timeout), 0},
		{"result_tokens", int64(c.ResultTokensMax), 1}, {"history_tokens", int64(c.HistoryTokensMax), 0},
		{"guide_tokens", int64(c.GuideTokensMax), 1},
		{"delegate.depth", int64(c.DelegateMax.Depth), 1},
		{"delegate.width", int64(c.DelegateMax.Width), 1},
		{"limits.timeout", int64(c.Limits.Timeout), 0}, {"limits.memory_bytes", c.Limits.MemoryBytes, 0},
		{"limits.output_bytes", int64(c.Limits.OutputBytes), 0},
		{"limits.file_bytes", c.Limits.FileBytes, 0},
	}); err != nil {
		return err
	}
	return c.checkWeb(cfg)
}

// checkAids refuses names that are no aids.
func (c *Agent) checkAids(cfg *config.Config) error {
	unknown := func(key string, aid session.Aid) error {
		return badValue(cfg, "agent."+key, "unknown aid %q", aid).
			Advise("%s", (&session.UnknownAidError{}).Hint())
	}
	for _, aid := range slices.Sorted(maps.Keys(c.Aids)) {
		if !slices.Contains(session.Aids(), aid) {
			return unknown("aids."+string(aid), aid)
		}
	}
	for i, aid := range c.Without {
		if !slices.Contains(session.Aids(), aid) {
			return unknown(fmt.Sprintf("without.%d", i), aid)
		}
	}
	return nil
}

// aids are those that the configuration switches.
func (c *Agent) aids() map[session.Aid]bool {
	out := map[session.Aid]bool{}
	for _, aid := range c.Without {
		out[aid] = false
	}
	for aid, on := range c.Aids {
		if on != nil {
			out[aid] = *on
		}
	}
	return out
}

// checkWeb reads what commands may fetch. A mistake there would open or close
// more than was meant, so that each is an error.
func (c *Agent) checkWeb(cfg *config.Config) error {
	c.web = command.Web{Allow: c.Web.Allow, Hosts: c.Web.Hosts}
	for i, host := range c.Web.Hosts {
		if host == "" || strings.ContainsAny(host, "/:*@ ") {
			return badValue(cfg, fmt.Sprintf("agent.web.hosts.%d", i), "%q is no name of a host", host).
				Advise("write it like example.org; it stands for the hosts below it, too")
		}
	}
	for i, text := range c.Web.Private {
		prefix, err := parsePrefix(text)
		if err != nil {
			return badValue(cfg, fmt.Sprintf("agent.web.private.%d", i), "%q is no address and no network",
				text).
				Advise("write it like 192.168.1.20 or 10.0.0.0/8")
		}
		c.web.Private = append(c.web.Private, prefix)
	}
	return nil
}

// commandLimits bound what one command may use.
func (c *Agent) commandLimits() command.Limits {
	return command.Limits{TimeoutMS: int(c.Limits.Timeout.Milliseconds()),
		MemoryBytes: c.Limits.MemoryBytes,
		OutputBytes: c.Limits.OutputBytes, FileBytes: c.Limits.FileBytes}
}

// runLimits bound a run.
func (c *Agent) runLimits() session.Limits {
	return session.Limits{StepsMax: c.StepsMax, TokensMax: c.TokensMax, Timeout: c.Timeout,
		ResultTokensMax: c.ResultTokensMax, HistoryTokensMax: c.HistoryTokensMax,
		GuideTokensMax: c.GuideTokensMax,
		DepthMax:       c.DelegateMax.Depth, WidthMax: c.DelegateMax.Width}
}

// approval decides how consequential calls are allowed: asked for on a
// terminal, refused where nobody could answer, unless configured. Where rules
// are configured and nobody is there, they decide alone. asks says that a
// person is asked.
func (c *Agent) approval(attended bool) (mode session.ApproveMode, asks bool) {
	mode = session.ApproveMode(c.Approve)
	switch {
	case mode == "" && attended:
		return session.ApproveAsk, true
	case mode == "" && len(c.ApproveRules) > 0:
		return session.ApproveAsk, false
	case mode == "":
		return session.ApproveNever, false
	}
	// With auto, a rule that asks finds somebody only on a terminal.
	return mode, mode == session.ApproveAsk || mode == session.ApproveAuto && attended
}

// checkRules finds what is wrong with the approval rules, with its place in
// the configuration.
func checkRules(cfg *config.Config, err error) error {
	var bad *session.RuleError
	if !errors.As(err, &bad) {
		return err
	}
	rule := fmt.Sprintf("agent.approve_rules.%d", bad.Index)
	e := badValue(cfg, rule+"."+bad.Key, "%s", bad.Problem)
	if e.Origin.File == "" {
		e.Origin, _ = cfg.Origin(rule)
	}
	e.Advice = bad.Advice
	return UsageError(e)
}
