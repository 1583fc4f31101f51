// Package setuptest makes configurations for tests.
package setuptest

import (
	"strings"
	"testing"

	"agent/configs"
	"agent/internal/config"

	"github.com/stretchr/testify/require"
)

// StockKeys are all keys that any stock option has, and the option.
func StockKeys(t *testing.T) map[string]string {
	t.Helper()
	keys := map[string]string{}
	opts := config.Options{Embedded: configs.FS, Environ: []string{}}
	groups, err := config.Groups(opts)
	require.NoError(t, err)
	for _, g := range groups {
		for _, o := range g.Options {
			each := opts
			each.Overrides = []string{g.Name + "=" + o.Name}
			cfg, err := config.Compose(each)
			require.NoError(t, err)
			for key := range cfg.Origins() {
				if keys[key] == "" || o.Name == "hf" {
					keys[key] = o.Name
				}
			}
		}
	}
	require.Greater(t, len(keys), 80)
	return keys
}

// Nested writes a dotted key as YAML.
func Nested(key, value string) string {
	var b strings.Builder
	parts := strings.Split(key, ".")
	for i, p := range parts {
		b.WriteString(strings.Repeat("  ", i) + p + ":")
		if i < len(parts)-1 {
			b.WriteString("\n")
		}
	}
	return b.String() + " " + value + "\n"
}
