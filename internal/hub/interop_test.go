package hub_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"agent/internal/hub/hubtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// python returns an interpreter that has huggingface_hub.
func python(t *testing.T) string {
	t.Helper()
	name := os.Getenv("AGENT_TEST_PYTHON")
	if name == "" {
		name = "python3"
	}
	if err := exec.Command(name, "-c", "import huggingface_hub").Run(); err != nil {
		t.Skipf("needs a Python with huggingface_hub; set AGENT_TEST_PYTHON to one: %v", err)
	}
	return name
}

// runPython runs a program against the fixture's hub and cache.
func (f *fixture) runPython(t *testing.T, program string, env ...string) string {
	t.Helper()
	cmd := exec.Command(python(t), "-c", program)
	cmd.Env = append(os.Environ(), append([]string{"HF_ENDPOINT=" + f.URL(), "HF_HUB_CACHE=" + f.cfg.CacheDir,
		"HF_HOME=" + filepath.Dir(f.cfg.CacheDir), "HF_HUB_DISABLE_XET=1", "HF_HUB_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_PROGRESS_BARS=1"}, env...)...)
	out, err := cmd.Output()
	if err != nil {
		detail := ""
		if e, ok := err.(*exec.ExitError); ok {
			detail = string(e.Stderr)
		}
		require.NoError(t, err, detail)
	}
	return strings.TrimSpace(string(out))
}

func TestPythonFindsWhatWePulled(t *testing.T) {
	f := setUp(t)
	m, err := f.store().Resolve(t.Context(), repo)
	require.NoError(t, err)
	f.Misbehave(hubtest.Faults{})
	got := f.runPython(t, `
from huggingface_hub import hf_hub_download, scan_cache_dir
print(hf_hub_download("owner/Small-GGUF", "small-Q4_K_M.gguf"))
info = scan_cache_dir()
assert not info.warnings, info.warnings
print(*sorted(f.file_name for r in info.repos for v in r.revisions for f in v.files))
`, "HF_HUB_OFFLINE=1")
	assert.Equal(t, m.Path+"\nsmall-Q4_K_M.gguf tokenizer.json", got)
	assert.Empty(t, f.Requests())

	f.runPython(t, `
from huggingface_hub import hf_hub_download
hf_hub_download("owner/Small-GGUF", "small-Q4_K_M.gguf")`)
	assert.Empty(t, lastContent(f.Requests()).Path, "online, too, nothing is fetched again")
}

func TestWeFindWhatPythonPulled(t *testing.T) {
	f := setUp(t)
	want := f.runPython(t, `
from huggingface_hub import hf_hub_download
hf_hub_download("owner/Small-GGUF", "tokenizer.json")
print(hf_hub_download("owner/Small-GGUF", "small-Q8_0.gguf"))`)
	f.Misbehave(hubtest.Faults{})
	f.cfg.Offline = true
	m, err := f.store().Resolve(t.Context(), repo)
	require.NoError(t, err)
	assert.Equal(t, want, m.Path)
	assert.FileExists(t, m.Tokenizer)
	assert.Empty(t, f.Requests())
	checks, err := f.store().Verify(t.Context(), repo)
	require.NoError(t, err)
	require.Len(t, checks, 2)
	for _, c := range checks {
		assert.True(t, c.OK)
		assert.NotEmpty(t, c.Want, c.Path)
	}
	items := f.store().List()
	require.Len(t, items, 1)
	assert.Equal(t, "hf://owner/Small-GGUF/small-Q8_0.gguf", items[0].Name)

	plan, err := f.store().PlanRemoval(repo)
	require.NoError(t, err)
	require.NoError(t, plan.Do())
	assert.Empty(t, f.store().List())
	assert.Equal(t, "tokenizer.json", f.runPython(t, `
from huggingface_hub import scan_cache_dir
info = scan_cache_dir()
assert not info.warnings, info.warnings
print(*sorted(f.file_name for r in info.repos for v in r.revisions for f in v.files))`), "only model files were removed")
}

// TestBothAtOnce lets Python and us fetch the same file at the same time.
func TestBothAtOnce(t *testing.T) {
	name := python(t)
	f := setUp(t)
	lock := `
import sys, time
from pathlib import Path
from filelock import FileLock
p = Path(sys.argv[1]); p.parent.mkdir(parents=True, exist_ok=True)
with FileLock(str(p)):
    print("held", flush=True)
    sys.stdin.readline()
`
	path := filepath.Join(f.cfg.CacheDir, ".locks", "models--owner--Small-GGUF", hubtest.File{Data: f.data, LFS: true}.ETag()+".lock")
	cmd := exec.Command(name, "-c", lock, path)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = stdout.Read(make([]byte, 16))
	require.NoError(t, err)

	waiting := make(chan struct{})
	f.cfg.Note = func(s string) {
		if strings.HasPrefix(s, "waiting for another process") {
			close(waiting)
		}
	}
	done := make(chan error)
	go func() {
		_, err := f.store().Resolve(t.Context(), repo)
		done <- err
	}()
	<-waiting
	require.NoError(t, stdin.Close())
	require.NoError(t, cmd.Wait())
	require.NoError(t, <-done, "the lock of huggingface_hub was respected, and its release seen")
}
