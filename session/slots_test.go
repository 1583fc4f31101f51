package session

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A text for a file of code is asked for in a fence of its language.
func TestFencesOfFilesNameTheirLanguage(t *testing.T) {
	for name, fence := range map[string]string{"a.py": "```python\n", "a.sh": "```bash\n", "a.txt": "```\n", "README": "```\n"} {
		m := newModel(t, true, " write", " writer", " "+name, "x = 1", " done", " answer", "It is written.")
		r := newRig(t, m, nil)
		_, err := r.Run(context.Background(), "do it")
		require.NoError(t, err)
		assert.Contains(t, m.requests[3].Prefill, "path: "+name+"\ntext:\n"+fence, name)
	}
}

// What follows a fence in the form is no part of the text when a model writes it
// inside the fence; anywhere else the same words are text.
func TestFormIsNotWrittenIntoFiles(t *testing.T) {
	for reply, want := range map[string]string{
		"{}\nmore: none":          "{}\n",
		"{}\nmore: none\n":        "{}\n",
		"more: none\nless: some":  "more: none\nless: some\n",
		"more: none":              "more: none\n",
		"a: 1\nmore: none so far": "a: 1\nmore: none so far\n",
	} {
		r := newRig(t, newModel(t, true, " write", " writer", " a.yaml", reply, " done", " answer", "It is written."), nil)
		_, err := r.Run(context.Background(), "do it")
		require.NoError(t, err)
		data, err := os.ReadFile(r.dir + "/a.yaml")
		require.NoError(t, err)
		assert.Equal(t, want, string(data))
		assert.Equal(t, want == "{}\n", strings.Contains(r.types(), "warning"))
	}
}

// A field that is filled with its own description was not understood.
func TestDescriptionIsNoValue(t *testing.T) {
	r := newRig(t, newModel(t, true,
		" write", " writer", " Which file",
		" again", " writer", " b.txt", "x",
		" done", " answer", "It is written."), nil)
	_, err := r.Run(context.Background(), "do it")
	require.NoError(t, err)
	assert.NoFileExists(t, r.dir+"/Which file")
	assert.FileExists(t, r.dir+"/b.txt")
	assert.Contains(t, prompt(&r.model.requests[3]), "it only says what the field is for")
}
