package config

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestLongValuesTakeLinearTime reads values that are as long as is allowed.
func TestLongValuesTakeLinearTime(t *testing.T) {
	for _, piece := range []string{"1 ", "a-", "1.", ": ", `\,`, "${a}", "'x',", "[", "x,", "_", " ", "{a:", "f(", "1e", `\`} {
		text := strings.Repeat(piece, overrideBytesMax/len(piece)-4)
		start := time.Now()
		_, _ = parseOverride("a=" + text)
		_, _ = parseElement(text)
		_, _ = parseText("${oc.env:X," + text + "}")
		assert.Less(t, time.Since(start), 2*time.Second, "%q repeated", piece)
	}
}
