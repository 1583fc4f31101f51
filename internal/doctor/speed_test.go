package doctor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/configs"
	"agent/internal/bench"
	"agent/internal/config"
	"agent/internal/setup"
)

func TestTheQuickestWayIsChosen(t *testing.T) {
	way := func(device string, flash bool, prefill, decode float64) *Way {
		return &Way{Device: device, FlashAttn: flash,
			Prefill: bench.NewSpread([]float64{prefill}), Decode: bench.NewSpread([]float64{decode})}
	}
	broken := &Way{Device: "CUDA9", FlashAttn: true, Error: "out of memory"}
	for name, c := range map[string]struct {
		ways []*Way
		want string
	}{
		"the quicker device":                {[]*Way{way("CUDA0", true, 900, 90), way("CPU", true, 90, 9), broken}, "CUDA0"},
		"the CPU where it is quicker":       {[]*Way{way("Vulkan0", true, 50, 5), way("CPU", true, 90, 9)}, "CPU"},
		"no attention where that is":        {[]*Way{way("CPU", true, 100, 10), way("CPU", false, 300, 10)}, "CPU, flash attention off"},
		"a little is no reason":             {[]*Way{way("CPU", false, 103, 10.3), way("CPU", true, 100, 10)}, "CPU"},
		"a little slower an accelerator is": {[]*Way{way("CPU", true, 103, 10.3), way("CUDA0", true, 100, 10)}, "CUDA0"},
		"the reply weighs as well":          {[]*Way{way("CUDA0", true, 1000, 1), way("CPU", true, 100, 10)}, "CPU"},
		"none":                              {[]*Way{broken}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			best := quickest(c.ways)
			if c.want == "" {
				assert.Nil(t, best)
				return
			}
			require.NotNil(t, best)
			assert.Equal(t, c.want, best.String())
		})
	}
}

func TestTheChoiceIsWrittenIntoTheFileThatIsThere(t *testing.T) {
	stock, err := configs.FS.ReadFile("llm/hf.yaml")
	require.NoError(t, err)
	set := map[string]any{"devices": []any{"CPU"}, "flash_attn": false}
	for name, c := range map[string]struct{ text, want string }{
		"values":        {"a: 1\ndevices: [X, Y]\nflash_attn: true\nb: 2\n", "a: 1\ndevices: [CPU]\nflash_attn: false\nb: 2\n"},
		"comments stay": {"devices: []   # mine\nflash_attn: true # so\n", "devices: [CPU]   # mine\nflash_attn: false # so\n"},
		"deeper keys":   {"a:\n  devices: 1\ndevices: null\nflash_attn:\n", "a:\n  devices: 1\ndevices: [CPU]\nflash_attn: false\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := setTopKeys(c.text, set)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
	got, err := setTopKeys("a: 1", map[string]any{"devices": []any{"Vulkan0"}})
	require.NoError(t, err)
	assert.Equal(t, "a: 1\ndevices: [Vulkan0]\n", got, "missing keys are added")
	_, err = setTopKeys("devices:\n  - X\n  - Y\n", set)
	assert.Error(t, err, "what can't be changed line by line is left alone")

	// And it is what a run then reads.
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	best := &Way{Device: "CPU"}
	path, err := (&Speeds{Best: best, Ways: []*Way{{Device: "CUDA0"}, best}}).Write()
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(home, "agent", "configs", "llm", "hf.yaml"), path)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Len(t, string(text), len(stock)+len("CPU")+len("false")-len("true"))
	cfg, err := config.Compose(config.Options{OptionalDirs: []string{setup.ConfigDir()}, Embedded: configs.FS})
	require.NoError(t, err)
	decoded, err := (&setup.Host{}).Decode(cfg, setup.SectionLLM)
	require.NoError(t, err)
	assert.Equal(t, []string{"CPU"}, decoded.LLM.Local().Devices)
	assert.False(t, decoded.LLM.Local().FlashAttn)
}
