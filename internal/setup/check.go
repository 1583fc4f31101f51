package setup

import (
	"errors"
	"slices"
	"strings"

	"agent/internal/config"
	"agent/internal/exit"
)

// Outcome says whether one composition could be used.
type Outcome struct {
	Composition string   `json:"composition"` // the overrides, "" for none
	Status      string   `json:"status"`      // ok, needs or error
	Problem     string   `json:"problem,omitempty"`
	Hint        string   `json:"hint,omitempty"`
	Warnings    []string `json:"warnings,omitempty"`
}

// The statuses of an outcome. An option that was not chosen and only wants
// something from the user is no error: stock openai needs a key, stock fschat a
// model.
const (
	OutcomeOK    = "ok"
	OutcomeNeeds = "needs"
	OutcomeError = "error"
)

// CheckAll composes, evaluates and decodes what the overrides give, and the same
// with each option of each group in turn.
func (h *Host) CheckAll(overrides []string) ([]Outcome, error) {
	opts, err := h.Options(overrides)
	if err != nil {
		return nil, err
	}
	groups, err := config.Groups(opts)
	if err != nil {
		return nil, err
	}
	first, cfg := h.try(opts, "", true, "")
	checks := []Outcome{first}
	var chosen map[string]string
	if cfg != nil {
		chosen = cfg.Choices()
	}
	for _, g := range groups {
		_, inDefaults := chosen[g.Name]
		prefix := "+"
		if inDefaults || cfg == nil {
			prefix = ""
		}
		for _, o := range g.Options {
			choice := g.Name + "=" + config.Quote(o.Name)
			each := opts
			each.Values = nil // --model belongs to the chosen option
			each.Overrides = append(withoutGroup(overrides, g.Name), prefix+choice)
			c, _ := h.try(each, prefix+g.Name+"="+o.Name, false, g.Name)
			checks = append(checks, c)
		}
	}
	return checks, nil
}

// withoutGroup drops the choice of a group and values below it, which may not
// exist with another option.
func withoutGroup(overrides []string, group string) []string {
	return slices.DeleteFunc(slices.Clone(overrides), func(o string) bool {
		key := strings.TrimLeft(o, "+~")
		return strings.HasPrefix(key, group+"=") || strings.HasPrefix(key, group+".") || key == group
	})
}

// try composes, evaluates and decodes one set of overrides, in which the option
// of a group is tried.
func (h *Host) try(opts config.Options, name string, chosen bool, group string,
) (Outcome, *config.Config) {
	c := Outcome{Composition: name, Status: OutcomeOK}
	cfg, err := h.ComposeOptions(opts)
	if err == nil {
		var warnings []string
		warnings, err = h.Check(cfg, group)
		c.Warnings = append(cfg.Warnings(), warnings...)
	}
	if err == nil {
		return c, cfg
	}
	c.Status, c.Problem = OutcomeError, err.Error()
	if !chosen && onlyNeeds(err) {
		c.Status = OutcomeNeeds
	}
	c.Hint = exit.Hint(err)
	return c, cfg
}

// onlyNeeds reports whether the user only has to supply something.
func onlyNeeds(err error) bool {
	if several, ok := errors.AsType[config.Problems](err); ok {
		return !slices.ContainsFunc(several, func(e error) bool { return !onlyNeeds(e) })
	}
	return errors.Is(err, config.ErrMissing) || errors.Is(err, config.ErrUndefinedEnv)
}
