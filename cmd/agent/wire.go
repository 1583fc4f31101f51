package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"agent/backend"
	"agent/backend/hf"
	"agent/inference"
	"agent/internal/config"
	"agent/internal/legible"
	"agent/tokenizer"
)

// opened is a backend with what a command needs around it. Close it.
type opened struct {
	backend.LanguageBackend
	settings *llmSettings
	device   string // where a local model runs; empty for a remote one
	close    func()
}

// Unwrap lets extras of the backend be found through it.
func (o *opened) Unwrap() backend.LanguageBackend { return o.LanguageBackend }

// open composes the configuration of a command line (see compose) and makes
// its backend. Flags that were given win over everything else.
func (a *app) open(ctx context.Context, args []string, flags ...config.Value) (o *opened, rest []string, err error) {
	cfg, rest, err := a.compose(args, flags...)
	if err != nil {
		return nil, nil, err
	}
	o, err = a.openBackend(ctx, cfg)
	return o, rest, err
}

// openBackend makes the backend that the configuration asks for.
func (a *app) openBackend(ctx context.Context, cfg *config.Config) (*opened, error) {
	s, err := decodeLLM(cfg, a.custom, a.warn)
	if err != nil {
		return nil, configError(err)
	}
	o, err := a.openSettings(ctx, cfg, s)
	if err != nil {
		return nil, err
	}
	o.settings = s
	for _, w := range cfg.Warnings() {
		a.warn(w)
	}
	return o, nil
}

func (a *app) openSettings(ctx context.Context, cfg *config.Config, s *llmSettings) (*opened, error) {
	if s.Custom {
		return openCustom(a.custom, s.Backend, cfg)
	}
	switch s.Backend {
	case backendHF:
		return a.openLocal(ctx, s)
	case backendOpenAI, backendFastChat:
		return a.openRemote(s)
	case backendHuman:
		return remote(backend.NewHuman(backend.HumanConfig{ModelID: s.ModelID, ContextLength: s.ContextLength, In: a.in, Out: undisguised(a.err)}), nil)
	case backendRandom:
		c := backend.ScriptedConfig{ModelID: s.ModelID, ContextLength: s.ContextLength}
		return remote(backend.NewRandom(c, uint64(value(s.Seed))), nil)
	default:
		c := backend.ScriptedConfig{ModelID: s.ModelID, ContextLength: s.ContextLength, Replies: s.Script.Replies,
			Choices: s.Script.Choices, DeltaDelay: s.Script.DeltaDelay}
		return remote(backend.NewScripted(c), nil)
	}
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// remote wraps a backend that holds nothing on this machine.
func remote(b backend.LanguageBackend, err error) (*opened, error) {
	if err != nil {
		return nil, err
	}
	return &opened{LanguageBackend: b, close: func() {}}, nil
}

// openRemote makes a backend that speaks to a server.
func (a *app) openRemote(s *llmSettings) (*opened, error) {
	c := *s.Remote
	c.Warn = a.warn
	if s.Tokenizer != "" {
		t, err := tokenizer.Open(s.Tokenizer)
		if err != nil {
			return nil, err
		}
		c.Tokenizer = textTokenizer{t}
	}
	if s.Backend == backendFastChat {
		b, err := backend.NewFastChat(backend.FastChatConfig(c))
		return remote(b, err)
	}
	b, err := backend.NewOpenAI(c)
	return remote(b, err)
}

// textTokenizer counts for remote backends with a model's own tokenizer.json.
type textTokenizer struct{ *tokenizer.Tokenizer }

// CountText implements backend.TextTokenizer.
func (t textTokenizer) CountText(text string) (int, error) {
	return t.Count(text, tokenizer.Options{})
}

// openLocal resolves the model's files, loads it and reports progress.
func (a *app) openLocal(ctx context.Context, s *llmSettings) (*opened, error) {
	c := s.Local
	template, err := templateText(c.ChatTemplate)
	if err != nil {
		return nil, err
	}
	path, err := a.resolveModel(ctx, s.ModelID)
	if err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own executable: %w", err)
	}
	if c.GPULayers != nil && *c.GPULayers < 0 {
		c.GPULayers = nil // all
	}
	vet, err := inference.VetInChild(ctx, exe, vetDir(), a.warn)
	if err != nil {
		return nil, withCode(exitBackend, err)
	}
	bar := a.loadProgress(s.ModelID)
	b, err := hf.Open(ctx, hf.Config{ModelID: s.ModelID, Path: path, TokenizerPath: s.Tokenizer, ChatTemplate: template,
		ContextLength: s.ContextLength, Sampling: &s.Sampling, TokensMax: s.TokensMax,
		Devices: c.Devices, GPULayers: c.GPULayers, CPUExperts: c.cpuExperts(), MainGPU: c.MainGPU, TensorSplit: c.TensorSplit, Threads: c.Threads, ThreadsBatch: c.ThreadsBatch,
		Parallel: c.Parallel, Ubatch: c.Ubatch, KVType: c.KVType, NoMmap: !c.Mmap, Mlock: c.Mlock,
		CheckTensors: c.CheckTensors, NoFlashAttn: !c.FlashAttn, CacheDir: kvDir(), CacheBytes: c.DiskCacheMiB << 20,
		Progress: bar.update, Warn: a.warn, Note: a.note, Vet: vet, RenderExecutable: exe})
	bar.finish()
	if err != nil {
		return nil, withCode(exitBackend, err)
	}
	if len(b.Model().Devices) == 0 {
		leaveCores(cmp.Or(c.Threads, inference.PhysicalCores()))
	}
	return &opened{LanguageBackend: b, device: b.Device(), close: func() { _ = b.Close() }}, nil
}

// leaveCores keeps Go's scheduler to the cores that threads of computing leave,
// and to one at least. Its monitor otherwise wakes some 2,000 times a second
// while a thread is in native code and another core looks idle to it; each time
// a computing thread has to make room and the others wait for it: 2 to 3 % of
// the speed of decoding on two cores. GOMAXPROCS in the environment is heeded.
func leaveCores(threads int) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.NumCPU()-threads))
	}
}

// resolveModel finds a model's file on this machine, or fetches it.
func (a *app) resolveModel(ctx context.Context, ref string) (string, error) {
	store, done, err := a.modelStore()
	if err != nil {
		return "", err
	}
	defer done()
	m, err := store.Resolve(ctx, ref)
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

// progressLine is one line on a terminal that is written over.
type progressLine struct {
	w     io.Writer // nil: nothing is shown
	what  string
	start time.Time
	shown bool
}

// loadProgress shows loading on a terminal, when it takes noticeable time.
func (a *app) loadProgress(model string) *progressLine {
	p := &progressLine{what: "loading " + legible.OneLine(model), start: time.Now()}
	if f, ok := terminalFile(a.err); ok && !a.flags.quiet {
		p.w = f
	}
	return p
}

func (p *progressLine) update(done float64) {
	if p.w == nil || time.Since(p.start) < 300*time.Millisecond {
		return
	}
	p.shown = true
	fmt.Fprintf(p.w, "\r\x1b[K%s: %3.0f %%", p.what, done*100)
}

func (p *progressLine) finish() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// cacheDir is for what can be made again.
func cacheDir() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "agent")
	}
	return filepath.Join(os.TempDir(), "agent-cache")
}

// vetDir keeps what was found of this machine's native code, and of model files.
func vetDir() string { return filepath.Join(cacheDir(), "vetted") }

// kvBytesDefault is how much they may take; configs/llm/hf.yaml says the same.
const kvBytesDefault = 2 << 30

// kvDir keeps parts of KV caches for later processes.
func kvDir() string { return filepath.Join(cacheDir(), "kv") }

// stateDir is for what a person may want to see again: session files.
func stateDir() string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "agent")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "state", "agent")
	}
	return filepath.Join(os.TempDir(), "agent-state")
}

// warn tells a person something that is no error.
func (a *app) warn(msg string) {
	if !a.flags.quiet {
		fmt.Fprintf(a.err, "agent: warning: %s\n", msg)
	}
}
