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
		"K=abc\r\nB=1\r\n":              "abc",
		"export K = abc \n":             "abc",
		"K: abc\n":                      "abc",
		"K= # nothing\n":                "",
		"K=#abc\n":                      "#abc",
		"K=a b\t#c # d\n":               "a b",
		"K=C:\\temp\\new\n":             `C:\temp\new`,
		"K=\"a\\tb\\dc\"\n":             "a\tb\\dc",
		"K=\"say \\\"x\\\"\"\n":         `say "x"`,
		"K=\"a\\\\nb\"\n":               `a\nb`,
		"K='it\\'s C:\\n'\n":            `it's C:\n`,
		"K=\"a # b\" # c\n":             "a # b",
		"K=\"line 1\r\nline 2\"\r\n":    "line 1\r\nline 2",
		"K={\"a\": 1}\n":                `{"a": 1}`,
		"A=1\rK=abc\r":                  "abc",
		"K=“abc”\n":                     "“abc”",
		"\xff\xfeK\x00=\x00x\x00\n\x00": "x", // as a Windows shell writes it
	} {
		file := filepath.Join(t.TempDir(), ".env")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		vars, err := ReadDotEnv(file)
		if assert.NoError(t, err, "%q", text) {
			assert.Equal(t, want, vars["K"], "%q", text)
		}
	}
}

// What can't be read as it was meant is refused, and not shown.
func TestDotEnvRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"A=1\nsecret\n":      ":2: is not a list",
		"K=\"secret\n":       ":1: is not a list",
		"K=\"secret\"more\n": ":1: is not a list",
		"K='a' 'secret'\n":   ":1: is not a list",
		"\n\nset K=secret\n": ":3: is not a list",
		"K=secret\xe9\n":     "is not UTF-8",
		"K=secret\x00\n":     "is not UTF-8",
	} {
		file := filepath.Join(t.TempDir(), ".env")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := ReadDotEnv(file)
		assert.ErrorContains(t, err, want, "%q", text)
		assert.NotContains(t, err.Error(), "secret")
	}
}
