package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

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

// What is measured, in llama-bench's terms.
const (
	promptTokens = 512
	replyTokens  = 32
	// TokensMax is the context that a measurement needs.
	TokensMax = promptTokens + replyTokens + 64
	// A choice other than the program's own must gain that much.
	gainMin = 1.05
	// Of an error that is told in a table.
	errorWidth = 200
)

// Speeds are the speeds of a model on each device.
type Speeds struct {
	Model        string `json:"model"`
	PromptTokens int    `json:"prompt_tokens"`
	ReplyTokens  int    `json:"reply_tokens"`
	Rounds       int    `json:"rounds"`
	Ways         []*Way `json:"ways"`
	Best         *Way   `json:"-"`
}

// Way is one way to run the model, and how quick it was.
type Way struct {
	Device    string       `json:"device"`
	FlashAttn bool         `json:"flash_attn"`
	Prefill   bench.Spread `json:"prefill_tokens_per_second"`
	Decode    bench.Spread `json:"decode_tokens_per_second"`
	Error     string       `json:"error,omitempty"` // why there are no numbers
	Chosen    bool         `json:"chosen"`

	engine *engine.Engine
}

// seconds are those of a prompt and a reply as they were measured.
func (w *Way) seconds() float64 {
	return promptTokens/w.Prefill.Median +
		replyTokens/w.Decode.Median
}

func (w *Way) String() string {
	if w.FlashAttn {
		return w.Device
	}
	return w.Device + ", flash attention off"
}

// Measure runs the configured model on each device, and on the CPU with and without flash
// attention. The ways take turns, `rounds` times.
func Measure(ctx context.Context, host *setup.Host, cfg *setup.Config, rounds int,
) (*Speeds, error) {
	sys, err := inference.System()
	if err != nil {
		return nil, exit.With(exit.Backend, err)
	}
	ways, done, err := openWays(ctx, host, cfg, sys.Devices)
	s := &Speeds{Model: cfg.LLM.ModelID, PromptTokens: promptTokens, ReplyTokens: replyTokens,
		Rounds: rounds, Ways: ways}
	defer done()
	if err == nil {
		err = measure(ctx, ways, rounds)
	}
	if err != nil {
		return nil, err
	}
	if s.Best = quickest(ways); s.Best == nil {
		return nil, exit.With(exit.Backend,
			fmt.Errorf("doctor: no device could run %s: %s", s.Model, ways[0].Error))
	}
	s.Best.Chosen = true
	return s, nil
}

// openWays loads the model on each device. One that it can't be loaded on has an
// error and no engine. done closes all.
func openWays(ctx context.Context, host *setup.Host, cfg *setup.Config,
	devices []inference.Device) (
	ways []*Way, done func(), err error,
) {
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
		way := &Way{Device: d.Name, FlashAttn: true}
		ways = append(ways, way)
		m, err := host.OpenLLM(ctx, cfg.LLM)
		if ctx.Err() != nil {
			return nil, done, context.Cause(ctx)
		}
		if err != nil {
			way.Error = legible.Line(err.Error(), errorWidth)
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
		off, err := b.Model().NewEngine(&inference.EngineOptions{ContextLength: b.ContextLength(),
			Parallel: 1,
			Ubatch:   s.Ubatch, Threads: s.Threads, ThreadsBatch: s.ThreadsBatch, NoFlashAttn: true})
		if err != nil {
			return nil, done, err
		}
		closers = append(closers, off.Close)
		ways = append(ways, &Way{Device: d.Name, engine: engine.Of(b, off)})
	}
	return ways, done, nil
}

// measure lets all take turns: what else happens on the machine meets all.
// The first round warms up and is not counted.
func measure(ctx context.Context, ways []*Way, rounds int) error {
	prefill, decode := map[*Way][]float64{}, map[*Way][]float64{}
	for round := range rounds + 1 {
		for i := range ways {
			w := ways[(i+round)%len(ways)]
			if w.engine == nil || w.Error != "" {
				continue
			}
			p, err := w.engine.Prefill(ctx, promptTokens)
			var d bench.Work
			if err == nil {
				d, err = w.engine.Decode(ctx, replyTokens)
			}
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case err != nil:
				w.Error = legible.Line(err.Error(), errorWidth)
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

// quickest finds the quickest way. What gains little loses against what the
// program does by itself: the accelerator before the CPU, flash attention on.
func quickest(ways []*Way) (best *Way) {
	ordered := slices.DeleteFunc(slices.Clone(ways), func(w *Way) bool { return w.Error != "" })
	slices.SortStableFunc(ordered, func(x, y *Way) int { return preference(y) - preference(x) })
	for _, w := range ordered {
		if best == nil || best.seconds() > w.seconds()*gainMin {
			best = w
		}
	}
	return best
}

func preference(w *Way) (n int) {
	if w.Device != inference.CPUDevice {
		n += 2
	}
	if w.FlashAttn {
		n++
	}
	return n
}

// Print writes a table for people.
func (s *Speeds) Print(out io.Writer) error {
	fmt.Fprintf(out, "%s, %d rounds, medians in tokens/s (quartiles)\n", s.Model, s.Rounds)
	table := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(table, "device\tflash attention\tprompt of %d\treply of %d\t\n", promptTokens,
		replyTokens)
	for _, w := range s.Ways {
		attention, mark := "on", ""
		if !w.FlashAttn {
			attention = "off"
		}
		if w.Chosen {
			mark = "chosen"
		}
		if w.Error != "" {
			fmt.Fprintf(table, "%s\t%s\t%s\t\t\n", w.Device, attention, w.Error)
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", w.Device, attention, spreadText(w.Prefill),
			spreadText(w.Decode), mark)
	}
	return table.Flush()
}

func spreadText(s bench.Spread) string {
	return fmt.Sprintf("%.1f (%.1f–%.1f)", s.Median, s.Low, s.High)
}

// Write puts the quickest way into the user's llm/hf.yaml, which stands for the
// built-in one from then on, and says where that is.
func (s *Speeds) Write() (path string, err error) {
	dir := setup.ConfigDir()
	if dir == "" {
		return "", errors.New("doctor: there is no home folder to write the choice to; set XDG_CONFIG_HOME")
	}
	path = filepath.Join(dir, "llm", "hf.yaml")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		text, err = configs.FS.ReadFile("llm/hf.yaml")
	}
	if err != nil {
		return "", fmt.Errorf("doctor: %w", err)
	}
	set := map[string]any{"flash_attn": s.Best.FlashAttn}
	if slices.ContainsFunc(s.Ways, func(w *Way) bool { return w.Device != s.Best.Device }) {
		set["devices"] = []any{s.Best.Device}
	}
	changed, err := setTopKeys(string(text), set)
	if err != nil {
		return "", fmt.Errorf("doctor: %s: %w; set llm.devices and llm.flash_attn there yourself", path,
			err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("doctor: %w", err)
	}
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		return "", fmt.Errorf("doctor: %w", err)
	}
	return path, nil
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
