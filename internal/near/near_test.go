package near

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestName(t *testing.T) {
	known := []string{"temperature", "threads", "seed", "top_p", "top_k"}
	for name, want := range map[string]string{
		"temprature": "temperature", "TEMPERATURE": "temperature", "temper": "temperature", "sed": "seed", "top_q": "top_k", "threds": "threads",
		"": "", "x": "", "model": "", "te": "", strings.Repeat("temperature", 100): "",
	} {
		assert.Equal(t, want, Name(name, known), name)
	}
	assert.Equal(t, ` (did you mean "seed"?)`, Hint("sead", known))
	assert.Empty(t, Hint("model", known))
}
