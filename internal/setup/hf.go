package setup

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"

	"agent/backend"
	"agent/backend/hf"
	"agent/inference"
	"agent/internal/exit"
	"agent/internal/legible"
)

// Local are the settings of a model in this process.
type Local struct {
	Common `yaml:",inline"`

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
	Reasoning    *int      `yaml:"reasoning_budget"`

	// Keyword arguments of transformers, in files written for HEBO's Agent: what
	// has an equal here is used, the rest is named in a warning.
	ModelKwargs      map[string]any `yaml:"model_kwargs"`
	TokenizerKwargs  map[string]any `yaml:"tokenizer_kwargs"`
	GenerationKwargs map[string]any `yaml:"generation_kwargs"`
}

// DefaultModel is used where a configuration names no model, as HEBO's own
// hf.yaml does not; it is that of configs/llm/hf.yaml.
const DefaultModel = "smollm2-135m-instruct"

// diskCacheMiB is how much is kept of KV caches; configs/llm/hf.yaml says the same.
const diskCacheMiB = 2 << 10

// Local are the settings of a local model; nil for every other.
func (l *LLM) Local() *Local {
	s, _ := l.settings.(*Local)
	return s
}

func (s *Local) common() *Common { return &s.Common }

func (s *Local) check(in *section) error {
	s.takeModelKwargs(in)
	in.ignore("llm.tokenizer_kwargs", s.TokenizerKwargs, "the tokenizer is the model's own")
	if err := s.takeGenerationKwargs(in); err != nil {
		return err
	}
	if err := needModel(in.Config, s.ModelID); err != nil {
		return err
	}
	if s.TopK != nil && *s.TopK < 0 { // to some servers it means that all tokens count
		return badValue(in.Config, "llm.top_k", "must not be negative")
	}
	if s.Reasoning != nil && *s.Reasoning < 0 {
		return badValue(in.Config, "llm.reasoning_budget", "must not be negative; 0 is none")
	}
	experts := 0
	if s.CPUExperts != nil {
		experts = *s.CPUExperts
	}
	return checkLeast(in.Config, "llm", []atLeast{
		{"main_gpu", int64(s.MainGPU), 0}, {"threads", int64(s.Threads), 0},
		{"threads_batch", int64(s.ThreadsBatch), 0},
		{"parallel", int64(s.Parallel), 0}, {"ubatch_size", int64(s.Ubatch), 0},
		{"n_cpu_moe", int64(experts), 0}})
}

func (s *section) ignore(key string, args map[string]any, why string) {
	for _, name := range sortedKeys(args) {
		if args[name] != nil {
			s.ignored(key+"."+name, why)
		}
	}
}

// takeModelKwargs maps model_kwargs. A device_map of "cpu" means no layers on a
// GPU, any other all that fit.
func (s *Local) takeModelKwargs(in *section) {
	rest := maps.Clone(s.ModelKwargs)
	if device, ok := rest["device_map"].(string); ok {
		delete(rest, "device_map")
		if device == "cpu" && s.GPULayers == nil {
			s.GPULayers = new(int)
		}
	}
	for _, name := range []string{"torch_dtype", "dtype", "load_in_8bit", "load_in_4bit",
		"quantization_config"} {
		if rest[name] != nil {
			in.ignored("llm.model_kwargs."+name,
				"the precision is that of the GGUF file; choose another file for another one")
			delete(rest, name)
		}
	}
	in.ignore("llm.model_kwargs", rest, "it is an argument of transformers")
}

// transformersNames are the keys of generation_kwargs that llm knows by other
// names, or not at all.
var transformersNames = [...]string{"repetition_penalty", "max_tokens", "max_new_tokens",
	"do_sample"}

// takeGenerationKwargs fills in from generation_kwargs what llm itself leaves open.
func (s *Local) takeGenerationKwargs(in *section) error {
	if len(s.GenerationKwargs) == 0 {
		return nil
	}
	rest := maps.Clone(s.GenerationKwargs)
	maps.DeleteFunc(rest, func(name string, _ any) bool {
		return slices.Contains(samplingNames(), name) || slices.Contains(transformersNames[:], name)
	})
	in.ignore("llm.generation_kwargs", rest, "it is an argument of transformers")
	// Decoded by the same strict rules as llm.
	var from struct {
		backend.Sampling  `yaml:",inline"`
		RepetitionPenalty *float64 `yaml:"repetition_penalty"`
		MaxTokens         int      `yaml:"max_tokens"`
		MaxNewTokens      int      `yaml:"max_new_tokens"`
		DoSample          *bool    `yaml:"do_sample"`
	}
	if err := in.DecodeKnown("llm.generation_kwargs", &from); err != nil {
		return err
	}
	from.RepeatPenalty = cmp.Or(from.RepeatPenalty, from.RepetitionPenalty)
	if from.DoSample != nil && !*from.DoSample {
		from.Temperature = new(float64) // greedy
	}
	s.Sampling = *s.Sampling.Merge(&from.Sampling)
	s.TokensMax = cmp.Or(s.TokensMax, from.MaxTokens, from.MaxNewTokens)
	return nil
}

// samplingNames are the keys by which tokens are drawn.
func samplingNames() []string {
	return []string{"temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed"}
}

// cpuExperts are the layers whose experts stay on the CPU; nil: as many as must.
func (s *Local) cpuExperts() *int {
	if s.AllExperts {
		all := math.MaxInt32
		return &all
	}
	return s.CPUExperts
}

// hf runs a model in this process: it finds its files, loads it and shows how
// far that is.
func (o *opener) hf(decode func(any) error) (backend.LanguageBackend, error) {
	s := &Local{Common: Common{ModelID: DefaultModel}, Mmap: true, FlashAttn: true,
		DiskCacheMiB: diskCacheMiB}
	if err := decode(s); err != nil {
		return nil, err
	}
	template, err := templateText(s.ChatTemplate)
	if err != nil {
		return nil, err
	}
	path, err := o.findModel(s.ModelID)
	if err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own executable: %w", err)
	}
	layers := s.GPULayers
	if layers != nil && *layers < 0 {
		layers = nil // all
	}
	vet, err := inference.VetInChild(o.ctx, exe, VetDir(), o.Warn)
	if err != nil {
		return nil, exit.With(exit.Backend, err)
	}
	update, end := o.Loading("loading " + legible.OneLine(s.ModelID))
	b, err := hf.Open(o.ctx, hf.Config{ModelID: s.ModelID, Path: path, TokenizerPath: s.Tokenizer,
		ChatTemplate:  template,
		ContextLength: s.ContextLength, Sampling: &s.Sampling, TokensMax: s.TokensMax,
		ReasoningBudget: s.Reasoning,
		Devices:         s.Devices, GPULayers: layers, CPUExperts: s.cpuExperts(), MainGPU: s.MainGPU,
		TensorSplit: s.TensorSplit,
		Threads:     s.Threads, ThreadsBatch: s.ThreadsBatch,
		Parallel: s.Parallel, Ubatch: s.Ubatch, KVType: s.KVType, NoMmap: !s.Mmap, Mlock: s.Mlock,
		CheckTensors: s.CheckTensors, NoFlashAttn: !s.FlashAttn, CacheDir: KVDir(),
		CacheBytes: s.DiskCacheMiB << 20,
		Progress:   update, Warn: o.Warn, Vet: vet, RenderExecutable: exe})
	end()
	if err != nil {
		return nil, exit.With(exit.Backend, err)
	}
	if len(b.Model().Devices) == 0 {
		leaveCores(cmp.Or(s.Threads, inference.PhysicalCores()), o.Serving)
	}
	return b, nil
}

// findModel finds a model's file on this machine, or fetches it.
func (o *opener) findModel(ref string) (string, error) {
	store, done, err := o.Store()
	if err != nil {
		return "", err
	}
	defer done()
	m, err := store.Resolve(o.ctx, ref)
	if err != nil {
		return "", err
	}
	return m.Path, nil
}

// templateText takes a chat template as jinja text or as the name of a file.
func templateText(s string) (string, error) {
	if s == "" || strings.Contains(s, "{{") || strings.Contains(s, "{%") {
		return s, nil
	}
	raw, err := os.ReadFile(s)
	if err != nil {
		return "", fmt.Errorf("llm.chat_template: %w", err)
	}
	return string(raw), nil
}

// leaveCores keeps Go's scheduler to the cores that threads of computing leave.
// GOMAXPROCS in the environment is heeded.
func leaveCores(threads int, serving bool) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(coresForGo(runtime.NumCPU(), threads, serving))
	}
}

// coresForGo is one at least. Of more than computing leaves, Go's monitor wakes
// some 2,000 times a second while a thread is in native code and another core
// looks idle to it; each time a computing thread has to make room and the others
// wait for it: 2 to 3 % of the speed of decoding on two cores. A server keeps
// two: with one, requests wait until the monitor takes it from who computes.
func coresForGo(cores, threads int, serving bool) int {
	least := 1
	if serving {
		least = 2
	}
	return max(least, cores-threads)
}
