// Package policy says which calls may run: [Policy.Decide] asks the rules that a
// user wrote, and where none speaks about a call the mode.
//
// Promise: its functions are pure; what a call names is looked up on disk by
// [command.TargetsOf] alone.
package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"agent/command"
	"agent/internal/near"
)

// Action is the effect of a [Rule].
type Action string

// What a rule does with a call that it speaks about.
const (
	Allow Action = "allow"
	Ask   Action = "ask"
	Deny  Action = "deny"
)

// Rule decides about calls before the approval mode does. An empty field
// speaks about every call; of several rules the first that matches decides.
//
// Where a call names several files or hosts, Allow needs all of them to
// match, the others one. What code touches can't be seen before it runs, so
// Allow with a Path or Host never covers a command that runs code. Files
// that a call does not name, such as those of a list, it is not shown where a
// rule forbids them, or asks about them and nobody was asked.
type Rule struct {
	Command string `yaml:"command" json:"command,omitempty"` // a name or alias
	Path    string `yaml:"path" json:"path,omitempty"`       // a glob, relative to the work dir; ** crosses folders
	Host    string `yaml:"host" json:"host,omitempty"`       // a glob; * crosses dots
	Do      Action `yaml:"do" json:"do"`
}

// String is the rule as it would stand in a configuration.
func (r Rule) String() string {
	var parts []string
	for _, f := range []struct{ key, value string }{{"command", r.Command}, {"path", r.Path},
		{"host", r.Host}, {"do", string(r.Do)}} {
		if f.value != "" {
			parts = append(parts, f.key+": "+f.value)
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// Rules are asked in order.
type Rules []Rule

// RuleError is a rule that can't be used.
type RuleError struct {
	Index   int    // of the rule, from 0
	Key     string // of its field
	Problem string
	Advice  string
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("approval rule %d: %s: %s", e.Index+1, e.Key, e.Problem)
}

// Hint says what could stand there.
func (e *RuleError) Hint() string { return e.Advice }

// Check finds the first rule that can't be used: one with an unknown command
// or action, or a glob that is none. Names of commands become canonical. A nil
// registry leaves them unchecked.
func (r Rules) Check(reg *command.Registry) error {
	for i := range r {
		if err := r[i].check(reg); err != nil {
			err.Index = i
			return err
		}
	}
	return nil
}

func (r *Rule) check(reg *command.Registry) *RuleError {
	actions := []string{string(Allow), string(Ask), string(Deny)}
	switch {
	case r.Do == "":
		return &RuleError{Key: "do", Problem: "is not set", Advice: "it must be allow, ask or deny"}
	case !slices.Contains(actions, string(r.Do)):
		return &RuleError{Key: "do", Problem: fmt.Sprintf("is %q", r.Do) +
			near.Hint(string(r.Do), actions), Advice: "it must be allow, ask or deny"}
	case !doublestar.ValidatePattern(r.Path):
		return &RuleError{Key: "path", Problem: fmt.Sprintf("%q is no glob", r.Path),
			Advice: `for example "out/**" or "*.txt"`}
	case strings.HasPrefix(r.Path, "/") || strings.HasPrefix(r.Path, ".."):
		return &RuleError{Key: "path", Problem: fmt.Sprintf("%q leads out of the work dir", r.Path),
			Advice: "paths are relative to the work dir"}
	}
	if _, err := path.Match(r.Host, ""); err != nil || strings.Contains(r.Host, "/") {
		return &RuleError{Key: "host", Problem: fmt.Sprintf("%q is no host name with *", r.Host),
			Advice: `for example "*.example.org", without https://`}
	}
	if r.Command == "" || reg == nil {
		return nil
	}
	look := reg.Lookup(r.Command)
	if look.Match != command.MatchExact && look.Match != command.MatchAlias {
		return &RuleError{
			Key: "command", Problem: fmt.Sprintf("unknown command %q", r.Command) +
				near.Hint(r.Command, reg.Names()),
			Advice: "known are " + strings.Join(reg.Names(), ", "),
		}
	}
	r.Command = look.Name
	return nil
}

// match finds the first rule that speaks about a call.
func (r Rules) match(call *command.Call, spec command.Spec, workDir string) (Rule, bool) {
	if len(r) == 0 || spec.Final {
		return Rule{}, false
	}
	return r.first(spec, command.TargetsOf(spec, call, workDir))
}

// first finds the first rule that speaks about a command with these targets.
func (r Rules) first(spec command.Spec, targets command.Targets) (Rule, bool) {
	for _, rule := range r {
		if rule.matches(spec, targets) {
			return rule, true
		}
	}
	return Rule{}, false
}

func (r Rule) matches(spec command.Spec, t command.Targets) bool {
	switch {
	case r.Command != "" && r.Command != spec.Name:
		return false
	case r.Path == "" && r.Host == "":
		return true
	case r.Do == Allow:
		return spec.Effect != command.EffectExecute && r.covers(t)
	}
	return t.Cut || (r.Path == "" || slices.ContainsFunc(t.All(), r.hasPath)) &&
		(r.Host == "" || slices.ContainsFunc(t.Hosts, r.hasHost))
}

// Withholds finds the rule for which a command that only reads must not show a
// file that its call does not name: one that forbids it, or one that asks.
func (r Rules) Withholds(name, path string) (Rule, bool) {
	rule, found := r.first(command.Spec{Name: name, Effect: command.EffectRead},
		command.Targets{Paths: []string{path}})
	return rule, found && rule.Do != Allow
}

// covers reports that everything that a call names is what the rule allows.
func (r Rule) covers(t command.Targets) bool {
	beside := func(names []string, has func(string) bool) bool {
		return slices.ContainsFunc(names, func(name string) bool { return !has(name) })
	}
	return !t.Unclear && len(t.All())+len(t.Hosts) > 0 && !beside(t.All(), r.hasPath) &&
		!beside(t.Hosts, r.hasHost)
}

func (r Rule) hasPath(p string) bool {
	ok, err := doublestar.Match(r.Path, p)
	return r.Path != "" && ok && err == nil
}

func (r Rule) hasHost(h string) bool {
	ok, err := path.Match(strings.ToLower(r.Host), h)
	return r.Host != "" && ok && err == nil
}

// denies reports that no call of a command is ever allowed: a rule without
// conditions says so before any other lets a call through.
func (r Rules) denies(name string) bool {
	for _, rule := range r {
		switch {
		case rule.Command != "" && rule.Command != name:
		case rule.Do != Deny:
			return false
		case rule.Path == "" && rule.Host == "":
			return true
		}
	}
	return false
}

// allows reports that some call of a command is allowed without asking.
func (r Rules) allows(name string) bool {
	for _, rule := range r {
		switch {
		case rule.Command != "" && rule.Command != name:
		case rule.Do == Allow:
			return true
		case rule.Path == "" && rule.Host == "":
			return false
		}
	}
	return false
}

// Mode says what happens before a consequential call: one that writes, runs code
// or reaches out.
type Mode string

// The modes.
const (
	ModeAsk   Mode = "ask"   // a person decides each call
	ModeAuto  Mode = "auto"  // allowed, inside the sandbox and the work dir
	ModeNever Mode = "never" // refused, whatever a rule says
)

// Check refuses a mode that there is not.
func (m Mode) Check() error {
	switch m {
	case ModeAsk, ModeAuto, ModeNever:
		return nil
	}
	return fmt.Errorf("unknown approval mode %q: known are ask, auto, never", m)
}

// Policy decides about calls.
type Policy struct {
	Mode     Mode
	Rules    Rules
	Attended bool // a person can be asked
}

// Decide says what happens with a call, and by which rule; the zero rule stands
// for the mode. A call that changes nothing needs no decision but that of a
// rule. Nothing allows one that may have run before a second time unasked.
func (p Policy) Decide(call *command.Call, spec command.Spec, workDir string, mayHaveRun bool,
) (Action, Rule) {
	consequential := spec.Effect.Consequential()
	if p.Mode == ModeNever && consequential {
		return Deny, Rule{}
	}
	rule, found := p.Rules.match(call, spec, workDir)
	switch {
	case found && rule.Do == Deny:
		return Deny, rule
	case mayHaveRun:
		return Ask, Rule{}
	case found:
		return rule.Do, rule
	case !consequential || p.Mode == ModeAuto:
		return Allow, Rule{}
	}
	return Ask, Rule{}
}

// Hopeless reports a command that is never allowed.
func (p Policy) Hopeless(spec command.Spec) bool {
	consequential := spec.Effect.Consequential()
	switch {
	case spec.Final:
		return false
	case p.Rules.denies(spec.Name), consequential && p.Mode == ModeNever:
		return true
	}
	nobody := len(p.Rules) > 0 && p.Mode == ModeAsk && !p.Attended
	return consequential && nobody && !p.Rules.allows(spec.Name)
}

// KeepsBack reports a file of which a prompt must not show the contents, as far
// as that would be reading: a rule about its path speaks against it.
func (p Policy) KeepsBack(path string) bool {
	rule, found := p.Rules.Withholds(command.ReaderName, path)
	return found && rule.Path != ""
}
