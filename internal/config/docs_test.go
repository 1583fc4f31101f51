package config_test

import (
	"os"
	"strings"
	"testing"

	"agent/internal/config"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDocumentedFile composes the long example of docs/configuration.md.
func TestDocumentedFile(t *testing.T) {
	doc, err := os.ReadFile("../../docs/configuration.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(doc), "## In the files")
	require.True(t, found)
	_, example, found := strings.Cut(section, "```yaml\n")
	require.True(t, found)
	example, _, _ = strings.Cut(example, "```")
	cfg, err := config.Compose(config.Options{
		Embedded: files(
			"config.yaml", example, "base.yaml", "from_base: 1\n",
			"llm/hf.yaml", "model_id: hf\n", "llm/openai.yaml", "model_id: openai\n", "llm/human.yaml", "model_id: human\n",
			"tools/files.yaml", "files: true\n", "tools/search.yaml", "search: true\n",
		),
		Overrides: []string{"must=given"}, Environ: []string{"MY_KEY=the-key"},
	})
	require.NoError(t, err)
	require.NoError(t, cfg.Check())
	for key, want := range map[string]any{
		"from_base": int64(1), "llm.model_id": "human", "judge.model_id": "openai", "tools.files": true, "tools.search": true,
		"model": "human", "title": "run on human", "key": "the-key", "port": int64(8000), "fallback": int64(1),
		"literal": "${not.evaluated}", "must": "given",
	} {
		assert.Equal(t, want, get(t, cfg, key), key)
	}
}
