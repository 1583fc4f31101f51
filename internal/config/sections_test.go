package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"agent/internal/config"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckSections(t *testing.T) {
	known := []string{"agent", "llm"}
	for name, c := range map[string]struct{ text, want string }{
		"known":              {"agent: {a: 1}\nllm: {b: 2}\n", ""},
		"typo":               {"agnet: {a: 1}\nllm: {b: 2}\n", `config.yaml:1:1: agnet: unknown key (did you mean "agent"?)`},
		"nothing like it":    {"cache: 1\n", "cache: unknown key"},
		"sets nothing":       {"agnet: null\n_target_: x\n", ""},
		"used":               {"mine: {dir: /x}\nagent: {a: '${mine.dir}/y'}\n", ""},
		"used by a list":     {"mine: 1\nagent: {a: [{b: '${mine}'}]}\n", ""},
		"used relatively":    {"mine: 1\nagent: {a: '${..mine}'}\n", ""},
		"used by a function": {"mine: 1\nagent: {a: '${oc.select:mine,2}'}\n", ""},
		"used by what is":    {"a: {x: 1}\nb: '${a}'\nagent: {c: '${b.x}'}\n", ""},
		"used by no one":     {"a: 1\nb: '${a}'\n", "b: unknown key"},
		"as a whole":         {"base: {x: 1}\nagent: ${base}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := compose(t, c.text).CheckSections(known...)
			if c.want == "" {
				assert.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, config.ErrUnknownKey)
			assert.ErrorContains(t, err, c.want)
			var hinter interface{ Hint() string }
			require.ErrorAs(t, err, &hinter)
			assert.Contains(t, hinter.Hint(), "known here: agent, llm")
		})
	}
	both := compose(t, "agnet: 1\nlmm: 2\n").CheckSections(known...)
	var all config.Problems
	require.True(t, errors.As(both, &all))
	assert.Len(t, all, 2)
}

// TestMergedReferenceIsUse: merging into an interpolation replaces it.
func TestMergedReferenceIsUse(t *testing.T) {
	cfg, err := config.Compose(config.Options{Environ: []string{}, Embedded: files(
		"config.yaml", "defaults: [first, second]\nbase: {x: 1}\n", "first.yaml", "base: {x: 1}\nllm: ${base}\n", "second.yaml", "llm: {y: 2}\n")})
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"x": int64(1), "y": int64(2)}, get(t, cfg, "llm"))
	assert.NoError(t, cfg.CheckSections("llm"))
}

// A choice that a later file undoes is told; what is built in gives way without a word.
func TestChoicesThatAreUndone(t *testing.T) {
	for name, tt := range map[string]struct {
		defaults, overrides string
		warned              bool
	}{
		"in the list, before":      {"[{speed: null}, _self_]", "speed=fast", true},
		"in the list, no _self_":   {"[{speed: slow}]", "speed=fast", true},
		"two of a list":            {"[{speed: []}]", "speed=[slow,fast]", true},
		"from the environment":     {"[{speed: slow}]", "env", true},
		"undone by another file":   {"[_self_, {speed: null}, more]", "speed=fast", true},
		"in the list, after":       {"[_self_, {speed: null}]", "speed=fast", false},
		"appended":                 {"[_self_]", "+speed=fast", false},
		"appended, no _self_":      {"[more]", "+speed=fast", false},
		"undone by another choice": {"[_self_, {speed: null}]", "speed=fast +speed@b=slow +speed/late=x", false},
		"nothing chosen":           {"[{speed: fast}]", "", false},
		"the same value":           {"[{speed: null}]", "speed=same", false},
		"nothing set":              {"[{speed: null}]", "speed=empty", false},
		"a built-in option":        {"[{speed: null}]", "speed=stock", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{
				"config.yaml": "defaults: " + tt.defaults + "\na: {n: 7}\n", "more.yaml": "a: {n: 7}\n", "speed/slow.yaml": "# @package a\nm: 1\n",
				"speed/fast.yaml": "# @package _global_\na: {n: 3, m: 2}\n", "speed/same.yaml": "# @package _global_\na: {n: 7}\n",
				"speed/empty.yaml": "# @package _global_\na: {n: null}\n", "speed/late/x.yaml": "# @package _global_\na: {n: 9}\n",
			} {
				require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
			}
			opts := config.Options{Dirs: []string{dir}, Embedded: files("speed/stock.yaml", "# @package _global_\na: {n: 1}\n"), Environ: []string{}}
			if opts.Overrides = strings.Fields(tt.overrides); tt.overrides == "env" {
				opts.Overrides, opts.Environ = nil, []string{"AGENT_SPEED=fast"}
			}
			cfg, err := config.Compose(opts)
			require.NoError(t, err)
			if !tt.warned {
				assert.Empty(t, cfg.Warnings())
				return
			}
			require.Len(t, cfg.Warnings(), 1)
			assert.Contains(t, cfg.Warnings()[0], "fast.yaml:2:5: a.n is not used, since ")
			assert.EqualValues(t, 7, get(t, cfg, "a.n"))
		})
	}
}

// What a key is called says whether its value is a secret.
func TestNamesOfSecrets(t *testing.T) {
	for name, secret := range map[string]bool{
		"timeout_first_token": false, "max_tokens": false, "eos_token": false, "pad_token": false, "token_budget": false, "tokenizer": false,
		"timeBeforeFirstToken": false, "tokens_per_second": false, "stop_token_ids": false, "key_words": false, "keyboard": false,
		"api_key": true, "hf_token": true, "HF-Token": true, "openaiApiKey": true, "access_token": true, "refresh_token": true, "auth_token": true,
		"client_secret": true, "db_password": true, "Authorization": true, "token": true,
		"first_token_timeout": false, "price_per_token": false, "time_to_first_token": false, "sep_token": false, "image_token": false,
		"max_token": false, "min_token": false, "cost_per_token": false, "bot_token": true, "session_token": true,
		"apikey": true, "secret_access_key": true, "aws_secret_access_key": true, "signing_key": true, "encryption_key": true, "account_key": true, "primary_key": false,
		"wait_for_token": false, "unk_token": false, "think_end_token": false, "bearer_token": true, "id_token": true, "webhook_secret": true, "passphrase": true,
	} {
		cfg := compose(t, name+": abcdefgh\n")
		out, err := cfg.YAML(config.ShowOptions{})
		require.NoError(t, err)
		assert.Equal(t, secret, strings.Contains(string(out), "[redacted]"), name)
	}
}
