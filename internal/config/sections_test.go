package config_test

import (
	"errors"
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
