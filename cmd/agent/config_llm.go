package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"agent/backend"
	"agent/command"
	"agent/internal/config"
	"agent/session"

	"github.com/agnivade/levenshtein"
)

// The backends that llm._target_ can name.
const (
	backendHF       = "hf"
	backendOpenAI   = "openai"
	backendFastChat = "fschat"
	backendHuman    = "human"
	backendRandom   = "random"
	backendScripted = "scripted"
)

// backendTargets maps what a configuration may write as _target_ to a backend:
// our own names, and the class paths in files written for HEBO's Agent.
func backendTargets() map[string]string {
	return map[string]string{
		backendHF:       backendHF,
		backendOpenAI:   backendOpenAI,
		backendFastChat: backendFastChat,
		backendHuman:    backendHuman,
		backendRandom:   backendRandom,
		backendScripted: backendScripted,

		"agent.models.HuggingFaceLanguageBackend":      backendHF,
		"agent.models.OpenAIAPILanguageBackend":        backendOpenAI,
		"agent.models.FastChatAPILanguageBackend":      backendFastChat,
		"agent.models.StdinLanguageBackend":            backendHuman,
		"tests.utils.random_llm.RandomLanguageBackend": backendRandom,
	}
}

// llmSettings is the llm section of a configuration, decoded for the backend
// that it names. Of Local, Remote and Script the one that applies is set.
type llmSettings struct {
	Backend string
	Custom  bool // Backend is one of the user's own, which decodes by itself
	llmCommon
	Local  *localSettings
	Remote *backend.OpenAIConfig // also FastChat's, which has the same keys
	Script *scriptSettings
}

// llmCommon is what every backend's section may hold.
type llmCommon struct {
	ModelID          string `yaml:"model_id"`
	ContextLength    int    `yaml:"context_length"` // 0: as the model has it
	Tokenizer        string `yaml:"tokenizer"`      // path of a tokenizer.json
	backend.Sampling `yaml:",inline"`
	TokensMax        int           `yaml:"max_tokens"` // of one reply; 0: no limit
	Price            priceSettings `yaml:"price"`
}

// priceSettings are what a million tokens cost, for `agent compare`.
type priceSettings struct {
	Input       *float64 `yaml:"input"`
	CachedInput *float64 `yaml:"cached_input"` // nil: as Input
	Output      *float64 `yaml:"output"`
	Currency    string   `yaml:"currency"`
}

// localSettings are the further keys of a model in this process.
type localSettings struct {
	Devices      []string  `yaml:"devices"`
	GPULayers    *int      `yaml:"gpu_layers"` // nil and -1: all that fit
	CPUExperts   *int      `yaml:"n_cpu_moe"`  // nil: as many as must
	AllExperts   bool      `yaml:"cpu_moe"`
	MainGPU      int       `yaml:"main_gpu"`
	TensorSplit  []float32 `yaml:"tensor_split"`
	Threads      int       `yaml:"threads"`
	ThreadsBatch int       `yaml:"threads_batch"`
	Parallel     int       `yaml:"parallel"`
	Ubatch       int       `yaml:"ubatch_size"`
	KVType       string    `yaml:"kv_type"`
	FlashAttn    bool      `yaml:"flash_attn"`
	Mmap         bool      `yaml:"mmap"`
	Mlock        bool      `yaml:"mlock"`
	CheckTensors bool      `yaml:"check_tensors"`
	DiskCacheMiB int64     `yaml:"disk_cache_mib"`
	ChatTemplate string    `yaml:"chat_template"` // jinja text, or a file of it

	ModelKwargs      map[string]any `yaml:"model_kwargs"`
	TokenizerKwargs  map[string]any `yaml:"tokenizer_kwargs"`
	GenerationKwargs map[string]any `yaml:"generation_kwargs"`
}

// cpuExperts are the layers whose experts stay on the CPU; nil: as many as must.
func (s *localSettings) cpuExperts() *int {
	if s.AllExperts {
		all := math.MaxInt32
		return &all
	}
	return s.CPUExperts
}

// scriptSettings are the further keys of the scripted backend.
type scriptSettings struct {
	Replies    []string      `yaml:"replies"`
	Choices    []string      `yaml:"choices"`
	DeltaDelay time.Duration `yaml:"delta_delay"`
}

// localModelDefault is used where a configuration names no model, as HEBO's own
// hf.yaml does not; it is that of configs/llm/hf.yaml.
const localModelDefault = "smollm2-135m-instruct"

// decodeLLM reads the llm section strictly. warn is told what has no effect.
func decodeLLM(cfg *config.Config, custom backend.Registry, warn func(string)) (*llmSettings, error) {
	target, err := cfg.Target("llm")
	if err != nil {
		return nil, err
	}
	if _, ok := custom[target]; ok {
		return &llmSettings{Backend: target, Custom: true}, checkCustom(custom, target, cfg)
	}
	s := &llmSettings{}
	if s.Backend, err = backendOf(cfg, target, custom.Names()); err != nil {
		return nil, err
	}
	switch s.Backend {
	case backendHF:
		err = s.decodeLocal(cfg, warn)
	case backendOpenAI, backendFastChat:
		err = s.decodeRemote(cfg)
	case backendScripted:
		s.Script = &scriptSettings{}
		err = cfg.Decode("llm", &struct {
			*llmCommon      `yaml:",inline"`
			*scriptSettings `yaml:",inline"`
		}{&s.llmCommon, s.Script})
	default:
		err = cfg.Decode("llm", &s.llmCommon)
	}
	if err != nil {
		return nil, err
	}
	return s, s.complete(cfg)
}

// backendOf finds the built-in backend of a _target_; custom ones are only
// named when there is none.
func backendOf(cfg *config.Config, target string, custom []string) (string, error) {
	targets := backendTargets()
	if name, ok := targets[target]; ok {
		return name, nil
	}
	names := slices.Sorted(maps.Keys(targets))
	names = append(names, custom...)
	e := badValue(cfg, "llm._target_", fmt.Sprintf("unknown backend %q", target))
	e.Advice = "known: " + strings.Join(names, ", ")
	near := slices.MinFunc(names, func(x, y string) int {
		return cmp.Compare(levenshtein.ComputeDistance(target, x), levenshtein.ComputeDistance(target, y))
	})
	if levenshtein.ComputeDistance(target, near) <= max(2, len(target)/3) {
		e.Msg += fmt.Sprintf(" (did you mean %q?)", near)
	}
	return "", e
}

func (s *llmSettings) decodeLocal(cfg *config.Config, warn func(string)) error {
	s.Local = &localSettings{Mmap: true, FlashAttn: true, DiskCacheMiB: kvBytesDefault >> 20}
	s.ModelID = localModelDefault
	err := cfg.Decode("llm", &struct {
		*llmCommon     `yaml:",inline"`
		*localSettings `yaml:",inline"`
	}{&s.llmCommon, s.Local})
	if err != nil {
		return err
	}
	k := kwargs{cfg: cfg, warn: warn}
	k.model(s.Local)
	k.ignore("llm.tokenizer_kwargs", s.Local.TokenizerKwargs, "the tokenizer is the model's own")
	return k.generation(&s.llmCommon, s.Local.GenerationKwargs)
}

func (s *llmSettings) decodeRemote(cfg *config.Config) error {
	s.Remote = &backend.OpenAIConfig{}
	own := struct {
		*backend.OpenAIConfig `yaml:",inline"`
		Tokenizer             string        `yaml:"tokenizer"`
		Price                 priceSettings `yaml:"price"`
	}{OpenAIConfig: s.Remote}
	if err := cfg.Decode("llm", &own); err != nil {
		return err
	}
	s.llmCommon = llmCommon{
		ModelID: s.Remote.ModelID, ContextLength: s.Remote.ContextLength, Tokenizer: own.Tokenizer,
		Sampling: s.Remote.Sampling, TokensMax: s.Remote.TokensMax, Price: own.Price,
	}
	return nil
}

// complete checks what no key's type can say.
func (s *llmSettings) complete(cfg *config.Config) error {
	switch {
	case (s.Local != nil || s.Remote != nil) && s.ModelID == "":
		return notSet(cfg, "llm.model_id", "is not set; it names the model")
	case s.Backend == backendFastChat && s.ContextLength == 0:
		return notSet(cfg, "llm.context_length", "is not set, and a FastChat server does not tell it")
	case s.ContextLength < 0:
		return badValue(cfg, "llm.context_length", "must not be negative")
	case s.TokensMax < 0:
		return badValue(cfg, "llm.max_tokens", "must not be negative")
	}
	if err := checkSampling(cfg, &s.Sampling); err != nil {
		return err
	}
	if err := s.Price.check(cfg); err != nil || s.Local == nil {
		return err
	}
	if s.TopK != nil && *s.TopK < 0 { // to some servers it means that all tokens count
		return badValue(cfg, "llm.top_k", "must not be negative")
	}
	return s.Local.check(cfg)
}

// checkSampling refuses what no backend can draw tokens by.
func checkSampling(cfg *config.Config, s *backend.Sampling) error {
	for _, v := range []struct {
		key   string
		value *float64
		most  float64
	}{{"temperature", s.Temperature, 100}, {"top_p", s.TopP, 1}, {"min_p", s.MinP, 1}, {"repeat_penalty", s.RepeatPenalty, 10}} {
		switch {
		case v.value == nil:
		case *v.value < 0:
			return badValue(cfg, "llm."+v.key, "must not be negative")
		case !(*v.value <= v.most): // NaN included
			return badValue(cfg, "llm."+v.key, fmt.Sprintf("is %v; it must be 0 to %v", *v.value, v.most))
		}
	}
	return nil
}

// check refuses prices of which no cost can be told: a reply that is left out
// would cost nothing.
func (p priceSettings) check(cfg *config.Config) error {
	for _, v := range []struct {
		key   string
		value *float64
	}{{"input", p.Input}, {"cached_input", p.CachedInput}, {"output", p.Output}} {
		if v.value != nil && !(*v.value >= 0 && *v.value <= math.MaxFloat64) {
			return badValue(cfg, "llm.price."+v.key, "must not be negative")
		}
	}
	switch {
	case p.Input == nil && p.Output != nil:
		return lonePrice(cfg, "output", "input")
	case p.Input == nil && p.CachedInput != nil:
		return lonePrice(cfg, "cached_input", "input")
	case p.Output == nil && p.Input != nil:
		return lonePrice(cfg, "input", "output")
	}
	return nil
}

func lonePrice(cfg *config.Config, given, missing string) error {
	e := badValue(cfg, "llm.price."+given, fmt.Sprintf("is set, but llm.price.%s is not", missing))
	e.Advice = "give both llm.price.input and llm.price.output; 0 is free"
	return e
}

// check refuses counts below zero, which would be read as "not set".
func (l *localSettings) check(cfg *config.Config) error {
	for _, n := range []struct {
		key   string
		value int
	}{{"main_gpu", l.MainGPU}, {"threads", l.Threads}, {"threads_batch", l.ThreadsBatch}, {"parallel", l.Parallel}, {"ubatch_size", l.Ubatch}} {
		if n.value < 0 {
			return badValue(cfg, "llm."+n.key, "must not be negative")
		}
	}
	if l.CPUExperts != nil && *l.CPUExperts < 0 {
		return badValue(cfg, "llm.n_cpu_moe", "must not be negative")
	}
	return nil
}

func notSet(cfg *config.Config, key, msg string) error {
	e := badValue(cfg, key, msg)
	e.Err, e.Advice = config.ErrMissing, "add "+key+"=VALUE"
	return e
}

func badValue(cfg *config.Config, key, msg string) *config.Error {
	e := &config.Error{Key: key, Msg: msg}
	e.Origin, _ = cfg.Origin(key)
	return e
}

// kwargs reads the keyword arguments of transformers in files written for
// HEBO's Agent: what has an equal here is used, the rest is named in a warning.
type kwargs struct {
	cfg  *config.Config
	warn func(string)
}

// ignored warns of one key that has no effect.
func (k kwargs) ignored(key, why string) {
	place := ""
	if o, ok := k.cfg.Origin(key); ok {
		place = o.String() + ": "
	}
	k.warn(fmt.Sprintf("%s%s has no effect here: %s", place, key, why))
}

func (k kwargs) ignore(section string, args map[string]any, why string) {
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if args[name] != nil {
			k.ignored(section+"."+name, why)
		}
	}
}

// model maps model_kwargs. A device_map of "cpu" means no layers on a GPU, any
// other all that fit.
func (k kwargs) model(s *localSettings) {
	rest := maps.Clone(s.ModelKwargs)
	if device, ok := rest["device_map"].(string); ok {
		delete(rest, "device_map")
		if device == "cpu" && s.GPULayers == nil {
			s.GPULayers = new(int)
		}
	}
	for _, name := range []string{"torch_dtype", "dtype", "load_in_8bit", "load_in_4bit", "quantization_config"} {
		if rest[name] != nil {
			k.ignored("llm.model_kwargs."+name, "the precision is that of the GGUF file; choose another file for another one")
			delete(rest, name)
		}
	}
	k.ignore("llm.model_kwargs", rest, "it is an argument of transformers")
}

// generation fills in from generation_kwargs what llm itself leaves open.
func (k kwargs) generation(s *llmCommon, args map[string]any) error {
	known := []string{"temperature", "top_k", "top_p", "min_p", "seed", "repeat_penalty", "repetition_penalty",
		"max_tokens", "max_new_tokens", "do_sample"}
	rest := maps.Clone(args)
	maps.DeleteFunc(rest, func(name string, _ any) bool { return slices.Contains(known, name) })
	k.ignore("llm.generation_kwargs", rest, "it is an argument of transformers")
	// Decoded by the same strict rules as llm, under names that both know.
	var from struct {
		backend.Sampling  `yaml:",inline"`
		RepetitionPenalty *float64       `yaml:"repetition_penalty"`
		MaxTokens         int            `yaml:"max_tokens"`
		MaxNewTokens      int            `yaml:"max_new_tokens"`
		DoSample          *bool          `yaml:"do_sample"`
		Rest              map[string]any `yaml:",inline"`
	}
	if len(args) == 0 {
		return nil
	}
	if err := k.cfg.DecodeKnown("llm.generation_kwargs", &from); err != nil {
		return err
	}
	if from.RepeatPenalty == nil {
		from.RepeatPenalty = from.RepetitionPenalty
	}
	if from.DoSample != nil && !*from.DoSample {
		from.Temperature = new(float64) // greedy
	}
	s.Sampling = *s.Sampling.Merge(&from.Sampling)
	s.TokensMax = cmp.Or(s.TokensMax, from.MaxTokens, from.MaxNewTokens)
	return nil
}

// agentConfig is the section agent: how a run works.
type agentConfig struct {
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
	Web      webConfig         `yaml:"web"`
	Metadata map[string]string `yaml:"metadata"`
}

// decodeAgent reads the agent section strictly; a config.yaml of the user's
// own need not have it.
func decodeAgent(cfg *config.Config) (*agentConfig, error) {
	d := session.DefaultLimits()
	c := &agentConfig{Workdir: ".", StepsMax: d.StepsMax, ResultTokensMax: d.ResultTokensMax}
	c.DelegateMax.Depth, c.DelegateMax.Width = d.DepthMax, d.WidthMax
	if !cfg.Has("agent") {
		return c, nil
	}
	if err := cfg.Decode("agent", c); err != nil {
		return nil, err
	}
	if c.Workdir == "" {
		return nil, badValue(cfg, "agent.workdir", "is empty; name a folder, or leave it out for this one")
	}
	if !slices.Contains([]string{"", "ask", "auto", "never"}, c.Approve) {
		return nil, badValue(cfg, "agent.approve", fmt.Sprintf("is %q; it must be ask, auto or never", c.Approve))
	}
	if err := c.ApproveRules.Check(nil); err != nil {
		return nil, checkRules(cfg, err)
	}
	if err := c.checkAids(cfg); err != nil {
		return nil, err
	}
	if !slices.Contains([]session.LongResults{"", session.ResultsCut, session.ResultsSummary}, c.LongResults) {
		return nil, badValue(cfg, "agent.long_results", fmt.Sprintf("is %q; it must be cut or summary", c.LongResults))
	}
	return c, c.check(cfg)
}

// checkAids refuses names that are no aids.
func (c *agentConfig) checkAids(cfg *config.Config) error {
	unknown := func(key string, aid session.Aid) error {
		e := badValue(cfg, key, fmt.Sprintf("unknown aid %q", aid))
		e.Advice = (&session.UnknownAidError{}).Hint()
		return e
	}
	for _, aid := range slices.Sorted(maps.Keys(c.Aids)) {
		if !slices.Contains(session.Aids(), aid) {
			return unknown("agent.aids."+string(aid), aid)
		}
	}
	for i, aid := range c.Without {
		if !slices.Contains(session.Aids(), aid) {
			return unknown(fmt.Sprintf("agent.without.%d", i), aid)
		}
	}
	return nil
}

// aids are those that the configuration switches.
func (c *agentConfig) aids() map[session.Aid]bool {
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

// commandLimits bound what one command may use.
func (c *agentConfig) commandLimits() command.Limits {
	return command.Limits{TimeoutMS: int(c.Limits.Timeout.Milliseconds()), MemoryBytes: c.Limits.MemoryBytes,
		OutputBytes: c.Limits.OutputBytes, FileBytes: c.Limits.FileBytes}
}

// check refuses limits that would be read as "not set": all below zero, and 0
// where it does not mean that there is no limit.
func (c *agentConfig) check(cfg *config.Config) error {
	for _, n := range []struct {
		key   string
		value int64
		least int64
	}{
		{"max_steps", int64(c.StepsMax), 1}, {"max_tokens", int64(c.TokensMax), 0}, {"timeout", int64(c.Timeout), 0},
		{"result_tokens", int64(c.ResultTokensMax), 1}, {"history_tokens", int64(c.HistoryTokensMax), 0},
		{"delegate.depth", int64(c.DelegateMax.Depth), 1}, {"delegate.width", int64(c.DelegateMax.Width), 1},
		{"limits.timeout", int64(c.Limits.Timeout), 0}, {"limits.memory_bytes", c.Limits.MemoryBytes, 0},
		{"limits.output_bytes", int64(c.Limits.OutputBytes), 0}, {"limits.file_bytes", c.Limits.FileBytes, 0},
	} {
		if n.value >= n.least {
			continue
		}
		if n.least > 0 {
			return badValue(cfg, "agent."+n.key, "must be at least 1")
		}
		return badValue(cfg, "agent."+n.key, "must not be negative")
	}
	return nil
}
