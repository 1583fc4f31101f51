// Package hf is a local GGUF model as a language backend: the model runs
// inside this process. It is the one edge through which native code is
// reached. The name is that of HEBO's HuggingFace backend, whose
// configuration it takes.
//
// Open loads the model; the backend then counts with the vocabulary that the
// engine really uses, generates by continuous batching, and chooses by
// log-probability. Close frees everything.
package hf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"

	"agent/backend"
	"agent/inference"
	"agent/inference/gguf"
)

// Config says which model and how. The zero value of a field is its default.
type Config struct {
	ModelID       string // as the user named it, for logs and results
	Path          string // the GGUF file, or the first of a split model
	TokenizerPath string // tokenizer.json; empty: found beside the model, or built from it
	ChatTemplate  string // jinja text; empty: the file's own
	ContextLength int    // 0: as trained, within memory
	Sampling      *backend.Sampling
	TokensMax     int // most tokens of a reply when a request does not say; 0: no limit
	// ReasoningBudget is how many tokens a model whose template opens a thought may think
	// before a reply; 0: none, the thought is closed at once. nil: reasoningDefault.
	ReasoningBudget *int

	Devices      []string // accelerators by name, or "CPU"; none: those that inference.DevicesFor picks
	GPULayers    *int     // nil: all that fit
	CPUExperts   *int     // the experts of that many layers stay on the CPU; nil: of as many as must
	MainGPU      int
	TensorSplit  []float32
	Threads      int // 0: the physical cores, fewer while other programs compute
	ThreadsBatch int
	Parallel     int
	Ubatch       int
	KVType       string
	NoMmap       bool
	Mlock        bool
	CheckTensors bool
	NoFlashAttn  bool

	Progress func(done float64) // loading, 0 to 1
	Warn     func(msg string)   // what a person should know
	// Vet runs before native code sees the file; [inference.VetInChild] makes one. May be nil.
	Vet func(ctx context.Context, t inference.Trial) error
	// RenderExecutable renders chat templates in processes of its own; see
	// [inference.ModelOptions].
	RenderExecutable string
	// CacheDir, if set, is a folder of the user's own in which parts of the KV cache are
	// kept for later processes, CacheBytes of it at most; see [inference.PrefixStore].
	CacheDir   string
	CacheBytes int64
}

// Sampling used where neither the request nor the configuration says
// otherwise; llama.cpp's own defaults.
const (
	temperatureDefault = 0.8
	topKDefault        = 40
	topPDefault        = 0.95
	minPDefault        = 0.05
)

// Backend is a loaded model. It is safe for concurrent use.
type Backend struct {
	cfg      Config
	model    *inference.Model
	engine   *inference.Engine
	store    *inference.PrefixStore // nil: nothing is kept on disk
	system   systemPart
	calls    toolSyntax
	habits   templateHabits
	thoughts thoughts

	counter  counter
	embedMu  sync.Mutex
	embed    *inference.Embedder // nil until first needed
	embedEnd bool                // no embedder is made any more
	endsMu   sync.Mutex
	endsOf   map[string][]int32
	warnOnce sync.Once
	closing  sync.Once
}

// Open checks, loads and prepares a model. Cancelling ctx ends the load.
func Open(ctx context.Context, cfg Config) (*Backend, error) {
	cfg.ModelID = cmp.Or(cfg.ModelID, cfg.Path)
	if cfg.Warn == nil {
		cfg.Warn = func(string) {}
	}
	options, sizes := modelOptions(&cfg), engineOptions(&cfg)
	if cfg.CacheDir != "" && cfg.CacheBytes > 0 {
		sizes.Store = inference.OpenPrefixStore(cfg.CacheDir, cfg.CacheBytes)
	}
	if err := precheck(&cfg, options, sizes); err != nil {
		return nil, err
	}
	if cfg.Vet != nil {
		options.Vet = func(ctx context.Context) error {
			return cfg.Vet(ctx, inference.Trial{Path: cfg.Path, Model: *options, Engine: *sizes})
		}
	}
	model, err := inference.Load(ctx, cfg.Path, options)
	if err != nil {
		return nil, err
	}
	engine, err := model.NewEngine(sizes)
	if err != nil {
		model.Close()
		return nil, err
	}
	b := &Backend{cfg: cfg, model: model, engine: engine, store: sizes.Store,
		endsOf: map[string][]int32{}}
	b.counter.model = model
	b.cfg.Sampling = cfg.Sampling.Merge(cardSampling(model.File))
	if trained := model.Info.ContextLength; cfg.ContextLength == 0 &&
		engine.ContextLength() < trained {
		cfg.Warn(fmt.Sprintf(
			"using a context length of %d of the %d that %s was trained for; set llm.context_length for more",
			engine.ContextLength(), trained, cfg.ModelID))
	}
	if model.HasTemplate() {
		b.templateHabits(ctx) // what it refuses is better known now than at the tenth request
	}
	if cfg.TokenizerPath != "" {
		if err := b.counter.prepare(&b.cfg); err != nil {
			b.Close()
			return nil, err
		}
	}
	return b, nil
}

// precheck refuses, before anything is loaded, what can't chat or won't fit. It
// fills in what is to lie on accelerators.
func precheck(cfg *Config, options *inference.ModelOptions, sizes *inference.EngineOptions) error {
	if !inference.Built() {
		return nil // Load says what to do
	}
	file, err := inference.CheckFile(cfg.Path)
	if err != nil {
		return err
	}
	if err := file.RequireChat(); err != nil {
		return err
	}
	for _, w := range file.Warnings {
		cfg.Warn(w)
	}
	on, err := inference.DevicesFor(options)
	if err != nil {
		return err
	}
	if len(on) == 0 {
		cfg.sayMissing()
		return inference.CheckMemory(file, *sizes)
	}
	return cfg.place(file, options, sizes, on)
}

// sayMissing tells of accelerators that this build is for and that are not here.
// It is for who left the choice to the program.
func (c *Config) sayMissing() {
	if len(c.Devices) > 0 || c.GPULayers != nil && *c.GPULayers == 0 {
		return
	}
	if sys, err := inference.System(); err == nil && sys.Missing() != "" {
		c.Warn(sys.Missing() + "; the model runs on the CPU")
	}
}

// place decides how much lies on the accelerators, and says so where it is not all.
func (c *Config) place(file *gguf.Info, options *inference.ModelOptions,
	sizes *inference.EngineOptions, on []inference.Device,
) error {
	if sizes.ContextLength == 0 {
		sizes.ContextLength = inference.FittingContext(file, on, *sizes)
	}
	if c.CPUExperts != nil && *c.CPUExperts > 0 && file.Experts == 0 {
		c.Warn(fmt.Sprintf("llm.n_cpu_moe and llm.cpu_moe have no effect: %s has no experts", c.ModelID))
	}
	p := inference.Place(file, options, *sizes, on)
	switch {
	case len(c.TensorSplit) > 0: // each device has its own limit
	case !p.Fits():
		c.Warn(p.String() + ", which may be more than fits; lower llm.gpu_layers, or leave it out")
	case p.Layers < p.LayersAll && c.GPULayers == nil, p.CPUExperts > 0 && c.CPUExperts == nil:
		c.Warn(p.String())
	}
	options.GPULayers, options.CPUExperts = &p.Layers, &p.CPUExperts
	return p.CheckHost(*sizes)
}

func modelOptions(c *Config) *inference.ModelOptions {
	return &inference.ModelOptions{Devices: c.Devices, GPULayers: c.GPULayers,
		CPUExperts: c.CPUExperts,
		MainGPU:    c.MainGPU, TensorSplit: c.TensorSplit, NoMmap: c.NoMmap, Mlock: c.Mlock,
		CheckTensors: c.CheckTensors,
		ChatTemplate: c.ChatTemplate, Progress: c.Progress, RenderExecutable: c.RenderExecutable}
}

func engineOptions(cfg *Config) *inference.EngineOptions {
	return &inference.EngineOptions{ContextLength: cfg.ContextLength, Parallel: cfg.Parallel,
		Ubatch: cfg.Ubatch, Threads: cfg.Threads, ThreadsBatch: cfg.ThreadsBatch,
		ShareCores: cfg.Threads == 0 && cfg.ThreadsBatch == 0, KVType: cfg.KVType,
		NoFlashAttn: cfg.NoFlashAttn}
}

// Close frees the model; requests in flight end with an error. Idempotent.
func (b *Backend) Close() error {
	if b == nil {
		return nil
	}
	b.closing.Do(func() {
		b.engine.Close()
		b.closeEmbedder()
		b.model.Close()
		b.counter.close()
		if err := b.store.Close(); err != nil {
			b.cfg.Warn(err.Error() + "; the next run evaluates it again")
		}
	})
	return nil
}

// ModelID implements backend.LanguageBackend.
func (b *Backend) ModelID() string { return b.cfg.ModelID }

// ContextLength implements backend.LanguageBackend.
func (b *Backend) ContextLength() int { return b.engine.ContextLength() }

// Capabilities implements backend.Capable: everything, since the model is here.
func (b *Backend) Capabilities() backend.Capabilities {
	return backend.Capabilities{Prefill: true, Grammar: true, Schema: true, Logprobs: true,
		ExactChoice: true, StopTokens: true}
}

// Parameters is the number of weights of the model.
func (b *Backend) Parameters() int64 { return int64(b.model.Info.Parameters) }

// Model is the loaded model, for benchmarks and inspection.
func (b *Backend) Model() *inference.Model { return b.model }

// Engine is the running engine, for benchmarks and inspection.
func (b *Backend) Engine() *inference.Engine { return b.engine }

// Device says where the model runs: "CPU", or the accelerators' names.
func (b *Backend) Device() string {
	var names []string
	for _, d := range b.model.Devices {
		names = append(names, d.Name+" "+d.Description)
	}
	if len(names) == 0 {
		return "CPU"
	}
	return strings.Join(names, ", ")
}

// encode renders and tokenises a chat; the result is what the engine computes.
// A prompt of far more than tokensMax tokens is an error before it is read; 0: any.
func (b *Backend) encode(ctx context.Context, msgs []backend.Message, tools []backend.Tool,
	prefill string, tokensMax int,
) ([]inference.Part, []int32, error) {
	chat, err := b.chat(ctx, msgs, tools)
	if err != nil {
		return nil, nil, err
	}
	parts, err := b.model.Render(ctx, chat, prefill)
	if err != nil && ctx.Err() == nil && !errors.Is(err, inference.ErrTemplate) {
		err = &backend.ChatRefusedError{Err: err}
	}
	if err != nil {
		return nil, nil, err
	}
	if prefill != "" {
		parts = b.closedThought(ctx, parts, prefill)
	}
	ids, err := b.model.EncodeWithin(parts, tokensMax)
	return parts, ids, b.translate(ctx, err)
}

// closedThought puts the end of a thought into the parts of a prompt, in front of the
// beginning of the reply, if the template has opened one.
func (b *Backend) closedThought(ctx context.Context, parts []inference.Part, prefill string,
) []inference.Part {
	end := b.thinking(ctx).closed()
	if end == "" {
		return parts
	}
	b.sayClosed()
	if prefill == "" {
		return append(parts, inference.Part{Text: end})
	}
	last := len(parts) - 1
	return append(parts[:last:last], inference.Part{Text: end}, parts[last])
}

// ChatCompletion implements backend.LanguageBackend.
func (b *Backend) ChatCompletion(ctx context.Context, req *backend.Request,
) iter.Seq2[backend.Delta, error] {
	return b.thinking(ctx).splitThought(func(yield func(backend.Delta, error) bool) {
		call, parts, trim, err := b.prepare(ctx, req)
		if err != nil {
			yield(backend.Delta{}, err)
			return
		}
		spent, ok := b.thought(ctx, req, call, parts, yield)
		if !ok {
			return
		}
		for out, err := range b.engine.Generate(ctx, call) {
			if err != nil {
				yield(backend.Delta{}, b.translate(ctx, err))
				return
			}
			d := delta(out)
			if trim && d.Text != "" {
				d.Text = strings.TrimPrefix(d.Text, " ")
				trim = false
			}
			d.Usage.AddThought(spent)
			if !yield(d, nil) {
				return
			}
		}
		b.reportPaging()
	})
}

// prepare turns a request into the engine's terms. trim: see [prefilled].
func (b *Backend) prepare(ctx context.Context, req *backend.Request,
) (call *inference.GenerateRequest, parts []inference.Part, trim bool, err error) {
	if err := backend.CheckRequest(req); err != nil {
		return nil, nil, false, err
	}
	grammar := req.Grammar
	if len(req.Schema) > 0 {
		if grammar, err = inference.SchemaToGrammar(req.Schema); err != nil {
			return nil, nil, false, err
		}
	}
	prefill, trim := prefilled(req)
	parts, ids, err := b.encode(ctx, req.Messages, req.Tools, prefill, b.ContextLength())
	if err != nil {
		return nil, nil, false, err
	}
	if len(ids) >= b.ContextLength() {
		return nil, nil, false, &backend.ContextError{Tokens: len(ids), Max: b.ContextLength()}
	}
	return &inference.GenerateRequest{Prompt: ids,
		Shared:   b.systemTokens(ctx, req.Messages, req.Tools, ids),
		Sampling: b.sampling(req.Sampling), TokensMax: cmp.Or(req.TokensMax, b.cfg.TokensMax),
		Stop: req.Stop, StopTokens: int32s(req.StopTokens), Until: req.Until, Grammar: grammar,
		Logprobs: req.Logprobs, TopLogprobs: req.TopLogprobs}, parts, trim, nil
}

// prefilled is the start of the reply as it is computed. trim: a space that ends it was
// left to the model, because most vocabularies glue it to the next word, and its first
// one must not be shown twice.
func prefilled(req *backend.Request) (prefill string, trim bool) {
	if len(req.Schema) == 0 && req.Grammar == "" && strings.HasSuffix(req.Prefill, " ") {
		return strings.TrimSuffix(req.Prefill, " "), true
	}
	return req.Prefill, false
}

// sampling merges a request's settings over the configured ones.
func (b *Backend) sampling(s *backend.Sampling) inference.Sampling {
	m := s.Merge(b.cfg.Sampling)
	return inference.Sampling{
		Temperature: or(m.Temperature, temperatureDefault), TopK: or(m.TopK, topKDefault),
		TopP: or(m.TopP, topPDefault),
		MinP: or(m.MinP, minPDefault), RepeatPenalty: or(m.RepeatPenalty, 1), Seed: m.Seed,
		Frequency: or(m.FrequencyPenalty, 0), Presence: or(m.PresencePenalty, 0), Bias: m.LogitBias,
	}
}

func or[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}

// translate makes backend errors of the engine's.
func (b *Backend) translate(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*inference.ContextError](err); ok {
		return &backend.ContextError{Tokens: e.Tokens, Max: e.Max, AtLeast: e.AtLeast}
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// delta makes a backend.Delta of one sampled token.
func delta(out inference.Output) backend.Delta {
	d := backend.Delta{Text: out.Text, Finish: backend.FinishReason(out.Finish), Stop: out.Stop}
	if out.ID >= 0 {
		d.Count = 1
	}
	if out.Logprob != nil {
		d.Tokens = []backend.TokenLogprob{tokenLogprob(*out.Logprob)}
	}
	if out.Stats != nil {
		d.Usage = new(usage(*out.Stats))
	}
	return d
}

func tokenLogprob(t inference.TokenLogprob) backend.TokenLogprob {
	lp := backend.TokenLogprob{ID: int(t.ID), Text: strings.ToValidUTF8(string(t.Text), "\uFFFD"),
		Bytes: t.Text, Logprob: float64(t.Logprob)}
	for _, top := range t.Top {
		lp.Top = append(lp.Top, tokenLogprob(top))
	}
	return lp
}

func usage(s inference.RequestStats) backend.Usage {
	return backend.Usage{PromptTokens: s.Prompt, EvaluatedTokens: s.Evaluated, CachedTokens: s.Reused,
		CompletionTokens: s.Generated, Prefill: s.Prefill, Decode: s.Decode}
}

// reportPaging says once when memory-mapped weights are read again and again.
func (b *Backend) reportPaging() {
	if w := b.engine.Stats().Warnings; len(w) > 0 {
		b.warnOnce.Do(func() { b.cfg.Warn(w[0]) })
	}
}

// RenderChat is the chat as the model sees it, generation prompt included.
func (b *Backend) RenderChat(ctx context.Context, msgs []backend.Message) (string, error) {
	parts, _, err := b.encode(ctx, msgs, nil, "", 0)
	return inference.Text(parts), err
}

var _ interface {
	backend.LanguageBackend
	backend.Capable
	backend.Counter
} = (*Backend)(nil)
