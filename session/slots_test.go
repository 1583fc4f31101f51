package session

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A text for a file of code is asked for in a fence of its language.
func TestFencesOfFilesNameTheirLanguage(t *testing.T) {
	for name, fence := range map[string]string{"a.py": "```python\n", "a.json": "```json\n", "a.txt": "```\n", "README": "```\n"} {
		m := newModel(t, true, " write", " writer", " "+name, "x = 1", " done", " answer", "It is written.")
		r := newRig(t, m, nil)
		_, err := r.Run(context.Background(), "do it")
		require.NoError(t, err)
		assert.Contains(t, m.requests[3].Prefill, "path: "+name+"\ntext:\n"+fence, name)
	}
}
