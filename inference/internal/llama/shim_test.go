package llama

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	guardedCall = regexp.MustCompile(`(.*)ag_guarded\((\w+),`)
	declared    = regexp.MustCompile(`(?m)^(\w+)\s+(ag_\w+)\(([^)]*)\);`)
)

// What native code throws reaches the caller as an error: every guard fills the
// message of the function's own `err`, and its code is not dropped. A buffer
// that carries a result never holds the text of an exception.
func TestNoExceptionIsSwallowed(t *testing.T) {
	sources, err := filepath.Glob("../../shim/*.cpp")
	require.NoError(t, err)
	guards := 0
	for _, file := range sources {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range guardedCall.FindAllStringSubmatch(string(text), -1) {
			guards++
			assert.Equal(t, "err", m[2], "%s: %s", file, m[0])
			assert.Regexp(t, `return |= `, m[1], "%s drops the code: %s", file, m[0])
		}
	}
	assert.Greater(t, guards, 10)

	header, err := os.ReadFile("../../shim/shim.h")
	require.NoError(t, err)
	found := declared.FindAllStringSubmatch(string(header), -1)
	require.Greater(t, len(found), 20)
	for _, m := range found {
		if fails := regexp.MustCompile(`ag_buf \*err\b`).MatchString(m[3]); fails {
			assert.Contains(t, []string{"int", "int32_t"}, m[1], "%s gives a message and no code", m[2])
		}
	}
}
