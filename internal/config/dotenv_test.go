package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Values as python-dotenv reads them, but that an unknown variable is not made of a secret.
func TestDotEnvValues(t *testing.T) {
	for text, want := range map[string]string{
		"K=pa$WORD1-${X}-end\n":         "pa$WORD1-${X}-end",
		"K=\"pa$WORD1-${X}-end\"\n":     "pa$WORD1-${X}-end",
		"K='pa$WORD1-${X}-end'\n":       "pa$WORD1-${X}-end",
		"\uFEFFK=x\n":                   "x",
		"A=1\nK=${A}2$A\n":              "12$A",
		"K=${A}\nA=1\n":                 "${A}",
		"K=$2y$10$abc/def\n":            "$2y$10$abc/def",
		"K=a\\$b\n":                     "a$b",
		"K=$(whoami)`id`\n":             "$(whoami)`id`",
		"K=a#b # a comment\n":           "a#b",
		"K=\"a # b\"\n":                 "a # b",
		"export K=a=b==\n":              "a=b==",
		"K='line $1\nline ${X}'\nB=$\n": "line $1\nline ${X}",
		"K=\n":                          "",
		"K=ends with $":                 "ends with $",
	} {
		file := filepath.Join(t.TempDir(), ".env")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		vars, err := ReadDotEnv(file)
		if assert.NoError(t, err, "%q", text) {
			assert.Equal(t, want, vars["K"], "%q", text)
		}
	}
}
