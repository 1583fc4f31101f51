package backend_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"agent/backend"
)

func TestRegistry(t *testing.T) {
	r := backend.Registry{
		"scripted": func(decode func(any) error) (backend.LanguageBackend, error) {
			var cfg backend.ScriptedConfig
			err := decode(&cfg)
			return backend.NewScripted(cfg), err
		},
		"broken": nil,
	}
	var node yaml.Node
	require.NoError(t, yaml.Unmarshal([]byte("{model_id: m, context_length: 77, delta_delay: 3ms, replies: [a]}"), &node))
	b, err := r["scripted"](node.Decode)
	require.NoError(t, err)
	assert.Equal(t, 77, b.ContextLength())
	assert.Equal(t, []string{"broken", "scripted"}, r.Names())
}

func TestConfigKeys(t *testing.T) {
	var cfg backend.OpenAIConfig
	require.NoError(t, yaml.Unmarshal([]byte(`{model_id: m, context_length: 9, server_ip: u, api_key: sk-secret-key, temperature: 0,
		top_k: 1, top_p: 0.5, min_p: 0.1, repeat_penalty: 1.1, seed: 3, max_tokens: 4, timeout_idle: 5s, timeout_connect: 1s,
		timeout_first_byte: 2s, max_retries: 0, proxy: p, ca_file: f, organization: o, reasoning_effort: low}`), &cfg))
	assert.Equal(t, 0.0, *cfg.Temperature)
	assert.EqualValues(t, 3, *cfg.Seed)
	assert.Equal(t, 0, *cfg.RetriesMax)
	assert.Equal(t, "sk-secret-key", string(cfg.APIKey))
	assert.Equal(t, 4, cfg.TokensMax)
	out, err := yaml.Marshal(cfg)
	require.NoError(t, err)
	assert.NotContains(t, string(out), "sk-secret")
}
