package setup

import (
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"agent/backend"
	"agent/internal/config"
	"agent/internal/exit"
	"agent/internal/near"
)

// LLM is the section llm, decoded by the factory of the backend that it names.
type LLM struct {
	Common
	Target string // the backend's name in the registry

	settings any // what its factory reads
}

// Common are the keys that the section of every built-in backend has.
type Common struct {
	ModelID          string `yaml:"model_id"`
	ContextLength    int    `yaml:"context_length"` // 0: as the model has it
	Tokenizer        string `yaml:"tokenizer"`      // path of a tokenizer.json
	backend.Sampling `yaml:",inline"`
	TokensMax        int   `yaml:"max_tokens"` // of one reply; 0: no limit
	Price            Price `yaml:"price"`

	remote bool // the model is on a server
}

// Price is the price of a million tokens, for `agent compare`.
type Price struct {
	Input       *float64 `yaml:"input"`
	CachedInput *float64 `yaml:"cached_input"` // nil: as Input
	Output      *float64 `yaml:"output"`
	Currency    string   `yaml:"currency"`
}

// The settings of a factory may say more than their types do.
type (
	// hasCommon are settings that hold what is common.
	hasCommon interface{ common() *Common }
	// checked are settings that know what is wrong with their values.
	checked interface{ check(s *section) error }
)

// section is the section llm while it is decoded.
type section struct {
	*config.Config
	warn func(string)
}

// ignored warns of one key that has no effect.
func (s *section) ignored(key, why string) {
	place := ""
	if o, ok := s.Origin(key); ok {
		place = o.String() + ": "
	}
	s.warn(place + key + " has no effect here: " + why)
}

// errDecoded stops a factory when its settings were read.
var errDecoded = errors.New("the settings are decoded")

// decodeLLM runs the factory of the backend up to where it has read its
// settings: to open a backend may reach out.
func (h *Host) decodeLLM(c *Config) (*LLM, error) {
	target, err := c.Target("llm")
	if err != nil {
		return nil, err
	}
	l := &LLM{Target: canonical(target)}
	backends := h.registry(context.Background())
	factory, ok := backends[l.Target]
	if !ok {
		return nil, unknownBackend(c.Config, target, backends)
	}
	var wrong error
	b, err := factory(func(into any) error {
		if wrong = l.decode(into, &section{c.Config,
			func(w string) { c.own = append(c.own, w) }}); wrong != nil {
			return wrong
		}
		return errDecoded
	})
	closeBackend(b)
	if wrong != nil || errors.Is(err, errDecoded) {
		return l, wrong
	}
	return l, err
}

// decode fills in the settings of a factory. It is strict, but passes over what
// only a stock file says, since that was meant for the backend of that file:
// llm._target_=NAME works on top of any option.
func (l *LLM) decode(into any, s *section) error {
	err := s.Decode("llm", into)
	problems := config.Problems{err}
	if errors.As(err, &problems); err != nil {
		problems = slices.DeleteFunc(slices.Clone(problems), func(p error) bool {
			var e *config.Error
			return errors.As(p, &e) && errors.Is(e, config.ErrUnknownKey) &&
				strings.HasPrefix(e.Origin.File, stockFile)
		})
		switch len(problems) {
		case 0:
		case 1:
			return problems[0]
		default:
			return problems
		}
	}
	if check, ok := into.(checked); ok {
		if err := check.check(s); err != nil {
			return err
		}
	}
	if has, ok := into.(hasCommon); ok {
		l.Common = *has.common()
		if err := l.Common.check(s.Config); err != nil {
			return err
		}
	}
	l.settings = into
	return nil
}

// stockFile begins the names of files that are built in.
const stockFile = "embedded:"

// refill gives a factory the settings that were decoded for it.
func (l *LLM) refill(into any) error {
	to, from := reflect.ValueOf(into), reflect.ValueOf(l.settings)
	if !from.IsValid() || to.Type() != from.Type() {
		return errors.New("the factory asks for other settings than when they were checked")
	}
	to.Elem().Set(from.Elem())
	return nil
}

// unknownBackend names the known backends, and the nearest.
func unknownBackend(cfg *config.Config, target string, backends backend.Registry) error {
	names := backends.Names()
	for _, e := range builtin() {
		if e.hebo != "" {
			names = append(names, e.hebo)
		}
	}
	e := badValue(cfg, "llm._target_", "unknown backend %q", target)
	e.Advice = "known: " + strings.Join(names, ", ")
	e.Msg += near.Hint(target, names)
	return e
}

// Model is an open backend. Close it.
type Model struct {
	backend.LanguageBackend
	*LLM
}

// Unwrap lets extras of the backend be found through it.
func (m *Model) Unwrap() backend.LanguageBackend { return m.LanguageBackend }

// ModelID is the backend's own name of the model.
func (m *Model) ModelID() string { return m.LanguageBackend.ModelID() }

// ContextLength is the backend's.
func (m *Model) ContextLength() int { return m.LanguageBackend.ContextLength() }

// Close lets go of what the backend holds.
func (m *Model) Close() { closeBackend(m.LanguageBackend) }

// Device is where a local model runs, "" for any other.
func (m *Model) Device() string {
	if d, ok := backend.As[interface{ Device() string }](m.LanguageBackend); ok {
		return d.Device()
	}
	return ""
}

// Place says where the model runs, to stand behind its name.
func (m *Model) Place() string {
	switch device := m.Device(); {
	case device != "":
		return " on " + device
	case m.remote:
		return " on a server"
	}
	return ""
}

// Human reports that a person plays the model.
func (m *Model) Human() bool {
	_, ok := backend.As[*backend.Human](m.LanguageBackend)
	return ok
}

// OpenModel makes the backend that a configuration asks for, and tells what is
// to be warned of in it.
func (h *Host) OpenModel(ctx context.Context, c *Config) (*Model, error) {
	for _, w := range c.Warnings() {
		h.Warn(w)
	}
	return h.OpenLLM(ctx, c.LLM)
}

// OpenLLM makes the backend of a section.
func (h *Host) OpenLLM(ctx context.Context, l *LLM) (*Model, error) {
	b, err := h.registry(ctx)[l.Target](l.refill)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, exit.With(exit.Backend,
			errors.New("_target_ "+l.Target+": its factory made no backend"))
	}
	return &Model{b, l}, nil
}

// OpenSecond opens a model beside the one that works, as --llm of `agent
// compare` names it.
func (h *Host) OpenSecond(ctx context.Context, spec string) (*Model, error) {
	overrides, err := SpecOverrides(spec)
	if err != nil {
		return nil, err
	}
	other := h.without()
	cfg, err := other.Compose(ctx, overrides, nil, SectionLLM)
	if err != nil {
		return nil, err
	}
	return other.OpenModel(ctx, cfg)
}

// closeBackend closes what can be closed.
func closeBackend(b backend.LanguageBackend) {
	if c, ok := backend.As[io.Closer](b); ok {
		_ = c.Close()
	}
}

// check refuses sampling settings that no backend can use, and prices from which
// no cost follows.
func (c *Common) check(cfg *config.Config) error {
	least := []atLeast{{"context_length", int64(c.ContextLength), 0},
		{"max_tokens", int64(c.TokensMax), 0}}
	if err := checkLeast(cfg, "llm", least); err != nil {
		return err
	}
	for _, v := range []struct {
		key   string
		value *float64
		most  float64
	}{{"temperature", c.Temperature, 100}, {"top_p", c.TopP, 1}, {"min_p", c.MinP, 1},
		{"repeat_penalty", c.RepeatPenalty, 10}} {
		switch {
		case v.value == nil:
		case *v.value < 0:
			return badValue(cfg, "llm."+v.key, "must not be negative")
		case !(*v.value <= v.most): // NaN included
			return badValue(cfg, "llm."+v.key, "is %v; it must be 0 to %v", *v.value, v.most)
		}
	}
	return c.Price.check(cfg)
}

// check refuses a price without its counterpart: what is left out would cost
// nothing.
func (p Price) check(cfg *config.Config) error {
	given := map[string]*float64{"input": p.Input, "cached_input": p.CachedInput, "output": p.Output}
	maps.DeleteFunc(given, func(_ string, v *float64) bool { return v == nil })
	for _, key := range sortedKeys(given) {
		if v := *given[key]; !(v >= 0 && v <= math.MaxFloat64) {
			return badValue(cfg, "llm.price."+key, "must not be negative")
		}
	}
	for _, need := range [][2]string{{"output", "input"}, {"cached_input", "input"},
		{"input", "output"}} {
		if given[need[0]] != nil && given[need[1]] == nil {
			return badValue(cfg, "llm.price."+need[0], "is set, but llm.price.%s is not", need[1]).
				Advise("give both llm.price.input and llm.price.output; 0 is free")
		}
	}
	return nil
}
