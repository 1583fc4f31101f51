package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"agent/backend"
	"agent/backend/hf"
	"agent/configs"
	"agent/inference"
	"agent/internal/bench"
	"agent/internal/bench/engine"
	"agent/internal/exit"
	"agent/internal/legible"
	"agent/internal/setup"
)

// What `doctor --bench` measures, in llama-bench's terms.
const (
	benchPrompt = 512
	benchReplyN = 32
	// A choice other than the program's own must gain that much.
	benchGain = 1.05
)

// deviceSpeed is one way to run the model, and how quick it was.
type deviceSpeed struct {
	Device    string       `json:"device"`
	FlashAttn bool         `json:"flash_attn"`
	Prefill   bench.Spread `json:"prefill_tokens_per_second"`
	Decode    bench.Spread `json:"decode_tokens_per_second"`
	Error     string       `json:"error,omitempty"` // why there are no numbers
	Chosen    bool         `json:"chosen"`

	engine *engine.Engine
}

// seconds are those of a prompt and a reply as they were measured.
func (d *deviceSpeed) seconds() float64 {
	return benchPrompt/d.Prefill.Median + benchReplyN/d.Decode.Median
}

func (d *deviceSpeed) name() string {
	if d.FlashAttn {
		return d.Device
	}
	return d.Device + ", flash attention off"
}

// doctorBench measures the configured model on each device, in rounds in which
// all take their turn, and writes the choice down when asked.
func (a *app) doctorBench(cmd *cobra.Command, args []string, rounds int, write, asJSON bool) error {
	ctx := cmd.Context()
	var none engine.Flags
	values := none.Values(benchPrompt+benchReplyN+64, 1)
	cfg, err := engine.Compose(a.App, cmd, args, values)
	if err != nil {
		return err
	}
	sys, err := inference.System()
	if err != nil {
		return exit.With(exit.Backend, err)
	}
	ways, done, err := a.openWays(ctx, cfg, sys.Devices)
	model := cfg.LLM.ModelID
	defer done()
	if err != nil {
		return err
	}
	if err := measureWays(ctx, ways, rounds); err != nil {
		return err
	}
	best := chooseWay(ways)
	if best == nil {
		return exit.With(exit.Backend, fmt.Errorf("doctor: no device could run %s: %s", model, ways[0].Error))
	}
	best.Chosen = true
	if asJSON {
		err = a.JSON(map[string]any{"model": model, "rounds": rounds, "prompt_tokens": benchPrompt, "reply_tokens": benchReplyN, "ways": ways})
	} else {
		err = a.printWays(model, rounds, ways, best)
	}
	if err != nil || !write {
		return err
	}
	several := slices.ContainsFunc(ways, func(w *deviceSpeed) bool { return w.Device != ways[0].Device })
	return a.writeWay(best, several)
}

// openWays loads the model on each device. One that it can't be loaded on has an
// error and no engine. done closes all.
func (a *app) openWays(ctx context.Context, cfg *setup.Config, devices []inference.Device) (ways []*deviceSpeed, done func(), err error) {
	var closers []func()
	done = func() {
		for _, c := range slices.Backward(closers) {
			c()
		}
	}
	s := cfg.LLM.Local()
	for _, d := range devices {
		if !d.Accelerator && d.Name != inference.CPUDevice {
			continue // a library of the CPU, such as BLAS
		}
		s.Devices, s.GPULayers, s.FlashAttn = []string{d.Name}, nil, true
		way := &deviceSpeed{Device: d.Name, FlashAttn: true}
		ways = append(ways, way)
		m, err := a.Host.OpenLLM(ctx, cfg.LLM)
		if ctx.Err() != nil {
			return nil, done, context.Cause(ctx)
		}
		if err != nil {
			way.Error = legible.Line(err.Error(), 200)
			continue
		}
		closers = append(closers, m.Close)
		b, ok := backend.As[*hf.Backend](m)
		if !ok {
			return nil, done, engine.ErrNotLocal
		}
		if way.engine, err = engine.New(ctx, b, nil); err != nil {
			return nil, done, err
		}
		if d.Accelerator {
			continue
		}
		off, err := b.Model().NewEngine(&inference.EngineOptions{ContextLength: b.ContextLength(), Parallel: 1, Ubatch: s.Ubatch,
			Threads: s.Threads, ThreadsBatch: s.ThreadsBatch, NoFlashAttn: true})
		if err != nil {
			return nil, done, err
		}
		closers = append(closers, off.Close)
		ways = append(ways, &deviceSpeed{Device: d.Name, engine: engine.Of(b, off)})
	}
	return ways, done, nil
}

// measureWays lets all take turns: what else happens on the machine meets all.
// The first round warms up and is not counted.
func measureWays(ctx context.Context, ways []*deviceSpeed, rounds int) error {
	prefill, decode := map[*deviceSpeed][]float64{}, map[*deviceSpeed][]float64{}
	for round := range rounds + 1 {
		for i := range ways {
			w := ways[(i+round)%len(ways)]
			if w.engine == nil || w.Error != "" {
				continue
			}
			p, err := w.engine.Prefill(ctx, benchPrompt)
			var d bench.Work
			if err == nil {
				d, err = w.engine.Decode(ctx, benchReplyN)
			}
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case err != nil:
				w.Error = legible.Line(err.Error(), 200)
			case round > 0:
				prefill[w] = append(prefill[w], float64(p.Tokens)/p.Wall.Seconds())
				decode[w] = append(decode[w], float64(d.Tokens)/d.Wall.Seconds())
			}
		}
	}
	for _, w := range ways {
		w.Prefill, w.Decode = bench.NewSpread(prefill[w]), bench.NewSpread(decode[w])
	}
	return nil
}

// chooseWay finds the quickest way. What gains little loses against what the
// program does by itself: the accelerator before the CPU, flash attention on.
func chooseWay(ways []*deviceSpeed) (best *deviceSpeed) {
	ordered := slices.DeleteFunc(slices.Clone(ways), func(w *deviceSpeed) bool { return w.Error != "" })
	slices.SortStableFunc(ordered, func(x, y *deviceSpeed) int { return preference(y) - preference(x) })
	for _, w := range ordered {
		if best == nil || best.seconds() > w.seconds()*benchGain {
			best = w
		}
	}
	return best
}

func preference(w *deviceSpeed) (n int) {
	if w.Device != inference.CPUDevice {
		n += 2
	}
	if w.FlashAttn {
		n++
	}
	return n
}

func (a *app) printWays(model string, rounds int, ways []*deviceSpeed, best *deviceSpeed) error {
	fmt.Fprintf(a.Out, "%s, %d rounds, medians in tokens/s (quartiles)\n", model, rounds)
	w := tabwriter.NewWriter(a.Out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "device\tflash attention\tprompt of %d\treply of %d\t\n", benchPrompt, benchReplyN)
	for _, d := range ways {
		attention, mark := "on", ""
		if !d.FlashAttn {
			attention = "off"
		}
		if d == best {
			mark = "chosen"
		}
		if d.Error != "" {
			fmt.Fprintf(w, "%s\t%s\t%s\t\t\n", d.Device, attention, d.Error)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", d.Device, attention, spreadText(d.Prefill), spreadText(d.Decode), mark)
	}
	return w.Flush()
}

func spreadText(s bench.Spread) string {
	return fmt.Sprintf("%.1f (%.1f–%.1f)", s.Median, s.Low, s.High)
}

// writeWay puts the choice into the user's llm/hf.yaml, which stands for the
// built-in one from then on. devices: there is more than one to choose from.
func (a *app) writeWay(best *deviceSpeed, devices bool) error {
	dir := setup.ConfigDir()
	if dir == "" {
		return errors.New("doctor: there is no home folder to write the choice to; set XDG_CONFIG_HOME")
	}
	path := filepath.Join(dir, "llm", "hf.yaml")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		text, err = configs.FS.ReadFile("llm/hf.yaml")
	}
	if err != nil {
		return fmt.Errorf("doctor: %w", err)
	}
	set := map[string]any{"flash_attn": best.FlashAttn}
	if devices {
		set["devices"] = []any{best.Device}
	}
	changed, err := setTopKeys(string(text), set)
	if err != nil {
		return fmt.Errorf("doctor: %s: %w; set llm.devices and llm.flash_attn there yourself", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("doctor: %w", err)
	}
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		return fmt.Errorf("doctor: %w", err)
	}
	_, err = fmt.Fprintf(a.Err, "agent: %s is the choice in %s\n", best.name(), path)
	return err
}

// setTopKeys replaces the lines of top-level keys, or adds them, and leaves all
// other text as it is.
func setTopKeys(text string, set map[string]any) (string, error) {
	for key, value := range set {
		raw, err := yaml.Marshal(map[string]any{key: flow(value)})
		if err != nil {
			return "", err
		}
		line := strings.TrimSuffix(string(raw), "\n")
		at := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(key) + `:[^#\n]*?([ \t]*#.*)?$`)
		if m := at.FindStringSubmatchIndex(text); m != nil {
			comment := ""
			if m[2] >= 0 {
				comment = text[m[2]:m[3]]
			}
			text = text[:m[0]] + line + comment + text[m[1]:]
		} else {
			text = strings.TrimSuffix(text, "\n") + "\n" + line + "\n"
		}
	}
	var got map[string]any
	if err := yaml.Unmarshal([]byte(text), &got); err != nil {
		return "", err
	}
	for key, value := range set {
		if fmt.Sprint(got[key]) != fmt.Sprint(value) {
			return "", fmt.Errorf("%s is written in a way that can't be changed line by line", key)
		}
	}
	return text, nil
}

// flow makes yaml write a list in one line.
func flow(value any) any {
	list, ok := value.([]any)
	if !ok {
		return value
	}
	node := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, v := range list {
		item := &yaml.Node{}
		item.SetString(fmt.Sprint(v))
		node.Content = append(node.Content, item)
	}
	return node
}
