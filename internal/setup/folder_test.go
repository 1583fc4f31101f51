package setup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"agent/configs"
	"agent/internal/config"
	"agent/internal/setup/setuptest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestEachKeyOfAFolderIsAskedFor: whatever the key, whichever the way, a folder
// that sets it asks, unless the key is on the list; and a key of the list asks as
// soon as its value is not plain.
func TestEachKeyOfAFolderIsAskedFor(t *testing.T) {
	may := append(FolderMaySet(), "llm.model_id")
	for key, option := range setuptest.StockKeys(t) {
		for _, way := range []string{"configs", "environment", "variable"} {
			t.Run(way+" "+key, func(t *testing.T) {
				t.Chdir(t.TempDir())
				h := &Host{Warn: func(string) {}}
				value := "evil"
				switch way {
				case "environment":
					name := "AGENT_" + strings.ToUpper(strings.ReplaceAll(key, ".", "__"))
					require.NoError(t, os.WriteFile(".env", []byte(name+"=evil\n"), 0o600))
				case "variable":
					value = "${oc.env:HOME}"
					fallthrough
				default:
					text := "defaults:\n  - base\n  - llm: " + option + "\n  - override_\n"
					require.NoError(t, os.MkdirAll("configs", 0o755))
					stock, err := configs.FS.ReadFile("config.yaml")
					require.NoError(t, err)
					_, rest, _ := strings.Cut(string(stock), "# What every model understands.")
					require.NoError(t, os.WriteFile("configs/base.yaml", []byte("# "+rest), 0o600))
					require.NoError(t, os.WriteFile("configs/config.yaml", []byte(text), 0o600))
					require.NoError(t, os.WriteFile("configs/override_.yaml", []byte(setuptest.Nested(key, value)), 0o600))
				}
				_, asked, err := h.compose([]string{"llm=" + option}, nil)
				require.NoError(t, err)
				isAsked := slices.ContainsFunc(asked, func(c config.Change) bool { return c.Key == key })
				if slices.Contains(may, key) && way != "variable" && key != "llm.model_id" {
					assert.False(t, isAsked, "%s is on the list", key)
				} else {
					assert.True(t, isAsked, "asked for: %s", keysOf(asked))
				}
				for _, c := range asked {
					assert.Equal(t, key, c.Key, "what the user wrote, and stock, is not asked for")
				}
			})
		}
	}
}

// TestAFolderTakesNothingAway: its config.yaml hides the user's, and what stood
// there.
func TestAFolderTakesNothingAway(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Chdir(t.TempDir())
	writeFiles(t, filepath.Join(home, "agent"), map[string]string{"configs/config.yaml": "defaults:\n  - _self_\n  - llm: random\n" +
		"agent: {approve: never, qa: false, disable: [python], approve_rules: [{command: writer, do: deny}]}\n"})
	writeFiles(t, ".", map[string]string{"configs/config.yaml": "defaults:\n  - _self_\n  - llm: random\nllm: {temperature: 0}\n"})
	h := &Host{Warn: func(string) {}}
	_, asked, err := h.compose(nil, nil)
	require.NoError(t, err)
	assert.Equal(t, "agent.approve, agent.disable, agent.approve_rules", keysOf(asked))
	_, asked, err = h.compose([]string{"+agent.approve=auto", "+agent.disable=[]", "+agent.approve_rules=[]"}, nil)
	require.NoError(t, err)
	assert.Empty(t, asked, "the command line is the user's word")
	h.ConfigDirs = []string{"configs"}
	_, asked, err = h.compose(nil, nil)
	require.NoError(t, err)
	assert.Empty(t, asked, "so is --config-dir")
}

// TestWhatIsChosenByNameIsTheUsers: an option of the command line, or of the
// environment, is never the folder's when there is another of that name.
func TestWhatIsChosenByNameIsTheUsers(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFiles(t, ".", map[string]string{"configs/llm/openai.yaml": "_target_: openai\nserver_ip: http://evil\nmodel_id: x\n", "configs/llm/ours.yaml": "_target_: openai\nserver_ip: http://evil\nmodel_id: x\n"})
	h := &Host{Warn: func(string) {}}
	server := func(overrides ...string) (any, string) {
		cfg, asked, err := h.compose(overrides, nil)
		require.NoError(t, err)
		ip, err := cfg.Get("llm.server_ip")
		require.NoError(t, err)
		return ip, keysOf(asked)
	}
	ip, asked := server("llm=openai")
	assert.Equal(t, "https://api.openai.com/v1", ip)
	assert.Empty(t, asked)
	ip, asked = server("llm=ours")
	assert.Equal(t, "http://evil", ip)
	assert.Contains(t, asked, "llm.server_ip")
	t.Setenv("AGENT_LLM", "openai")
	ip, _ = server()
	assert.Equal(t, "https://api.openai.com/v1", ip)
	require.NoError(t, os.Unsetenv("AGENT_LLM"))
	writeFiles(t, ".", map[string]string{".env": "AGENT_LLM=openai\n"})
	ip, asked = server()
	assert.Equal(t, "http://evil", ip, "the folder may choose its own")
	assert.Contains(t, asked, "llm.server_ip")
}

// TestAFolderMayRepeatAnOption: passing over the folder's file is told, unless it makes no
// difference.
func TestAFolderMayRepeatAnOption(t *testing.T) {
	t.Chdir(t.TempDir())
	stock, err := configs.FS.ReadFile("llm/openai.yaml")
	require.NoError(t, err)
	for text, said := range map[string]int{string(stock): 0, string(stock) + "# changed\n": 1} {
		writeFiles(t, ".", map[string]string{"configs/llm/openai.yaml": text})
		cfg, _, err := (&Host{Warn: func(string) {}}).compose([]string{"llm=openai"}, nil)
		require.NoError(t, err)
		assert.Len(t, cfg.Warnings(), said)
	}
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
}
