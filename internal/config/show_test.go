package config_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/internal/config"
)

// What is used as a text is shown as it was written, whatever YAML takes it for.
func TestShowsWhatIsUsed(t *testing.T) {
	for written, want := range map[string]string{
		"12E400": "'12E400'", "1_000": "'1_000'", ".5": "'.5'", "on": "'on'", "off": "'off'", "yes": "'yes'", "0x1F": "'0x1F'", "010": "'010'",
		"1:30": "'1:30'", "1e3": "'1e3'", "2024-01-02": `"2024-01-02"`, "plain": "plain", `"7"`: "'7'",
	} {
		cfg := compose(t, "model_id: "+written+"\nstream: on\nn: 1_000\nf: .5\n")
		missing := compose(t, "model_id: "+written+"\nkey: ${oc.env:NOT_SET_ANYWHERE}\n")
		assert.Error(t, missing.Decode("", &struct {
			ModelID string `yaml:"model_id"`
			Key     string `yaml:"key"`
		}{}))
		shown, err := missing.YAML(config.ShowOptions{})
		require.NoError(t, err)
		assert.Contains(t, string(shown), "model_id: "+want+"\n")
		var used struct {
			ModelID string  `yaml:"model_id"`
			Stream  bool    `yaml:"stream"`
			N       int     `yaml:"n"`
			F       float64 `yaml:"f"`
		}
		require.NoError(t, cfg.Decode("", &used))
		out, err := cfg.YAML(config.ShowOptions{})
		require.NoError(t, err)
		assert.Equal(t, "model_id: "+want+"\nstream: true\nn: 1000\nf: 0.5\n", string(out))
		again := compose(t, string(out))
		before := used
		require.NoError(t, again.Decode("", &used))
		assert.Equal(t, before, used, written)
	}
}
