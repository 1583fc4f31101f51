package hub_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"agent/internal/hub"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestEnvironmentAgreesWithPython asks huggingface_hub itself what its
// environment means.
func TestEnvironmentAgreesWithPython(t *testing.T) {
	name := python(t)
	home := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(home, "hf"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(home, "hf", "token"), []byte(" hf_file\n"), 0o600))
	for _, env := range [][]string{
		{},
		{"HF_HOME=" + home + "/hf"},
		{"HF_HOME=~/hf"},
		{"HF_HOME=$HOME/hf", "HF_TOKEN=hf_env"},
		{"XDG_CACHE_HOME=" + home + "/xdg"},
		{"XDG_CACHE_HOME=" + home + "/xdg", "HF_HUB_CACHE=~/elsewhere"},
		{"HUGGINGFACE_HUB_CACHE=" + home + "/old"},
		{"HF_ENDPOINT=http://hub.example/", "HF_HUB_OFFLINE=yes"},
		{"TRANSFORMERS_OFFLINE=1", "HUGGING_FACE_HUB_TOKEN=hf_old"},
		{"HF_HUB_OFFLINE=0"},
		{"HF_TOKEN_PATH=" + home + "/hf/token", "HF_HUB_DISABLE_SYMLINKS=ON"},
	} {
		env = append(env, "HOME="+home)
		cmd := exec.Command(name, "-c", `
from huggingface_hub import constants as c, get_token
print(c.ENDPOINT, c.HF_HUB_CACHE, c.HF_HUB_OFFLINE, c.HF_HUB_DISABLE_SYMLINKS, get_token())`)
		cmd.Env = append(env, "PATH="+os.Getenv("PATH"))
		out, err := cmd.Output()
		require.NoError(t, err)
		cfg, err := hub.ConfigFromEnv(func(key string) string {
			for _, kv := range env {
				if v, ok := strings.CutPrefix(kv, key+"="); ok {
					return v
				}
			}
			return ""
		})
		require.NoError(t, err)
		word := map[bool]string{true: "True", false: "False"}
		token := cfg.Token
		if token == "" {
			token = "None"
		}
		ours := strings.Join([]string{cfg.Endpoint, cfg.CacheDir, word[cfg.Offline], word[cfg.NoSymlinks], token}, " ")
		assert.Equal(t, strings.TrimSpace(string(out)), ours, env)
	}
}

func TestBadTokenFileIsNotSent(t *testing.T) {
	home := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(home, "token"), []byte("two\nlines"), 0o600))
	_, err := hub.ConfigFromEnv(func(key string) string {
		return map[string]string{"HOME": home, "HF_HOME": home}[key]
	})
	require.ErrorContains(t, err, "something else than a token")
	assert.NotContains(t, err.Error(), "two")
}

func TestRendererOffATerminal(t *testing.T) {
	var out bytes.Buffer
	r := hub.NewRenderer(&out, false, 0)
	const total = 100_000_000
	for done := int64(0); done <= total; done += 1_000_000 {
		r.Show(hub.Progress{Name: "m.gguf", Phase: hub.PhaseDownload, DoneBytes: done, TotalBytes: total, Finished: done == total})
	}
	assert.Equal(t, 11, strings.Count(out.String(), "\n"), out.String())
	assert.Contains(t, out.String(), "downloading m.gguf   50%  50.0 MB of 100.0 MB\n")
	assert.NotContains(t, out.String(), "\x1b")
}

func TestRendererOnATerminal(t *testing.T) {
	var out bytes.Buffer
	r := hub.NewRenderer(&out, true, 80)
	r.Show(hub.Progress{Name: strings.Repeat("long", 20), Phase: hub.PhaseDownload, DoneBytes: 1, TotalBytes: 1e9, BytesPerSecond: 1e6})
	r.Note("a word")
	r.Show(hub.Progress{Name: "x", Phase: hub.PhaseDownload, DoneBytes: 5e8, TotalBytes: 1e9, BytesPerSecond: 5e7})
	r.Close()
	lines := strings.Split(out.String(), "\n")
	require.Len(t, lines, 4)
	first := strings.TrimPrefix(lines[0], "\r\x1b[K")
	assert.LessOrEqual(t, len([]rune(first)), 79)
	assert.Regexp(t, `^downloading long.*….*long +0%  1 B of 1.00 GB`, first, "the name gives way, not the numbers")
	assert.Equal(t, "a word", lines[1])
	assert.Contains(t, out.String(), (10 * time.Second).String())
}
