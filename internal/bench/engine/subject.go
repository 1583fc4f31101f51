package engine

import (
	"cmp"
	"context"
	"errors"

	"agent/backend"
	"agent/backend/hf"
	"agent/inference"
	"agent/internal/bench"
	"agent/internal/cli"
	"agent/internal/config"
	"agent/internal/exit"
	"agent/internal/setup"

	"github.com/spf13/cobra"
)

// Flags are shared by all measurements of speed.
type Flags struct {
	JSON   bool
	values setup.Flags
}

// Add adds the flags to a command.
func (f *Flags) Add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVar(&f.JSON, "json", false, "print JSON")
	f.values.Bind(fs, "threads", "llm.threads", 0, "threads; default: one per physical core")
	f.values.Bind(fs, "ubatch", "llm.ubatch_size", 0, "prompt tokens evaluated at once")
	f.values.Bind(fs, "kv-type", "llm.kv_type", "", "type of the KV cache")
	f.values.Bind(fs, "flash-attn", "llm.flash_attn", false,
		"flash attention; --flash-attn=false switches it off")
}

// Values are the settings of the flags that were given, and those that a measurement needs.
func (f *Flags) Values(contextLength, parallel int) []config.Value {
	return append(f.values.Values(), Fixed("llm.context_length", contextLength),
		Fixed("llm.parallel", parallel))
}

// Fixed is a value that a measurement sets.
func Fixed(key string, value any) config.Value {
	return config.Value{Key: key, Value: value, Source: "the benchmark"}
}

// ErrNotLocal says that a measurement needs the engine of this program.
var ErrNotLocal = exit.With(exit.Usage,
	errors.New("bench: only a local model can be measured (llm=hf)"))

// Compose makes the configuration of a measurement. Another backend's model is
// refused before settings of a local one are put into its section.
func Compose(a *cli.App, cmd *cobra.Command, args []string, values []config.Value,
) (*setup.Config, error) {
	cfg, rest, err := a.Compose(cmd, args, nil)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, exit.Usagef("bench takes key=value arguments, got %q", rest[0])
	}
	if target, err := cfg.Target("llm"); err != nil {
		return nil, setup.UsageError(err)
	} else if a.Host.Known(target) && !setup.IsLocal(target) {
		return nil, ErrNotLocal
	}
	if cfg, _, err = a.Compose(cmd, args, values, setup.SectionLLM); err == nil &&
		cfg.LLM.Local() == nil {
		err = ErrNotLocal
	}
	return cfg, err
}

// Subject is an open model with what a measurement must know of it.
type Subject struct {
	Backend  *hf.Backend
	Engine   *Engine
	Settings bench.Settings
	close    func()
}

// Close lets go of the model.
func (s *Subject) Close() { s.close() }

// Open opens the configured local model with one sequence, and beside it an
// engine of several when requests are to run together.
func Open(a *cli.App, cmd *cobra.Command, f *Flags, args []string, contextLength, parallel int,
) (*Subject, error) {
	cfg, err := Compose(a, cmd, args, f.Values(contextLength, 1))
	if err != nil {
		return nil, err
	}
	// As many threads as the tool compared with: an engine that may choose leaves cores to that
	// tool for a moment after it has ended.
	local := cfg.LLM.Local()
	local.Threads = cmp.Or(local.Threads, inference.PhysicalCores())
	m, err := a.Host.OpenModel(cmd.Context(), cfg)
	if err != nil {
		return nil, err
	}
	s := &Subject{close: m.Close}
	if err := s.prepare(cmd.Context(), m, parallel); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Subject) prepare(ctx context.Context, m *setup.Model, parallel int) (err error) {
	b, ok := backend.As[*hf.Backend](m)
	if !ok {
		return ErrNotLocal
	}
	s.Backend = b
	s.Settings = SettingsOf(m.Local(), b.Model().Path)
	var together *inference.Engine
	if parallel > 1 {
		together, err = b.Model().NewEngine(&inference.EngineOptions{ContextLength: b.ContextLength(),
			Parallel: parallel,
			Cells:    max(b.ContextLength()*parallel, bench.CellsNeeded), Ubatch: s.Settings.Ubatch,
			Threads: s.Settings.Threads,
			KVType:  s.Settings.KVType, NoFlashAttn: s.Settings.FlashAttn == "off"})
		if err != nil {
			return err
		}
		s.close = func() { together.Close(); m.Close() }
	}
	s.Engine, err = New(ctx, b, together)
	return err
}

// SettingsOf are the settings in use, defaults filled in, in llama.cpp's terms.
func SettingsOf(c *setup.Local, path string) bench.Settings {
	s := bench.Settings{Model: path, Threads: cmp.Or(c.Threads, inference.PhysicalCores()),
		Ubatch: cmp.Or(c.Ubatch, 512),
		KVType: cmp.Or(c.KVType, "f16"), FlashAttn: "auto", LoadMode: "mmap", GPULayers: -1}
	if !c.FlashAttn {
		s.FlashAttn = "off"
	}
	switch {
	case !c.Mmap && c.Mlock:
		s.LoadMode = "mlock"
	case !c.Mmap:
		s.LoadMode = "none"
	case c.Mlock:
		s.LoadMode = "mmap+mlock"
	}
	if c.GPULayers != nil {
		s.GPULayers = *c.GPULayers
	}
	return s
}
