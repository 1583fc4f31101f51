package setup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"agent/configs"
	"agent/internal/config"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDocumentedOutside reads the examples of docs/commands.md as a
// configuration.
func TestDocumentedOutside(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "commands.md"))
	require.NoError(t, err)
	for _, heading := range []string{"## Search\n", "## MCP servers\n"} {
		_, section, found := strings.Cut(string(page), heading)
		require.True(t, found, heading)
		_, example, found := strings.Cut(section, "```yaml\n")
		require.True(t, found, heading)
		example, _, _ = strings.Cut(example, "```")
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(example), 0o600))
		cfg, err := config.Compose(config.Options{Dirs: []string{dir}, Embedded: configs.FS, Environ: []string{}})
		require.NoError(t, err)
		_, err = decodeSearch(cfg)
		require.NoError(t, err)
		if heading == "## MCP servers\n" {
			servers, err := decodeMCP(cfg)
			require.NoError(t, err)
			assert.Equal(t, []string{"files", "tracker"}, sortedKeys(servers))
			assert.Equal(t, 2*time.Minute, servers["tracker"].Timeout)
			assert.Equal(t, []string{"read_text_file", "list_directory"}, servers["files"].ReadOnly)
		}
	}
}
