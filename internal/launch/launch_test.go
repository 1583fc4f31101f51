package launch

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// TestSettings: whatever a model is called, files are valid, lie in the private folder and
// are for its owner alone.
func TestSettings(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			c, err := Find(name)
			require.NoError(t, err)
			dir := filepath.Join(t.TempDir(), "private")
			on := Server{
				URL:     "http://127.0.0.1:4711",
				Key:     "sesame",
				Model:   "a \"quoted\"\\ model: {x}\n",
				Context: 32768,
				Reply:   8192,
				Dir:     dir,
			}
			s, err := c.Settings(on)
			require.NoError(t, err)
			require.NoError(t, s.Write())
			require.NotEmpty(t, s.Files)
			all := strings.Join(s.Env, "\n") + strings.Join(s.Args, "\n")
			for path, text := range s.Files {
				all += text
				info, err := os.Stat(path)
				require.NoError(t, err)
				assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
				rel, err := filepath.Rel(dir, path)
				require.NoError(t, err)
				assert.True(t, filepath.IsLocal(rel))
				var v any
				switch filepath.Ext(path) {
				case ".json":
					require.NoError(t, json.Unmarshal([]byte(text), &v), text)
				case ".yml":
					require.NoError(t, yaml.Unmarshal([]byte(text), &v), text)
				}
				assert.NotContains(t, text, "sesame", "the key is in the environment alone")
			}
			assert.Contains(t, all, "http://127.0.0.1:4711")
			assert.Contains(t, all, "sesame")
			assert.NotContains(t, all, "<no value>")
		})
	}
}
