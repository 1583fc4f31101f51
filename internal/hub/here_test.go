package hub_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/internal/hub"
	"agent/internal/hub/hubtest"
)

// A model that lies in the cache is found, whatever has become of its refs.
func TestModelOnTheDiskIsFound(t *testing.T) {
	newer := strings.Repeat("a", 40)
	for name, change := range map[string]func(t *testing.T, dir string){
		"as pulled":     func(*testing.T, string) {},
		"without a ref": func(t *testing.T, dir string) { require.NoError(t, os.RemoveAll(filepath.Join(dir, "refs"))) },
		"an empty ref":  func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "refs", "main"), "") },
		"a newer ref":   func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "refs", "main"), newer) },
		"a newer commit": func(t *testing.T, dir string) {
			writeFile(t, filepath.Join(dir, "refs", "main"), newer)
			writeFile(t, filepath.Join(dir, "snapshots", newer, "README.md"), "# new")
		},
		"a dangling link": func(t *testing.T, dir string) {
			snapshots, err := filepath.Glob(filepath.Join(dir, "snapshots", "*"))
			require.NoError(t, err)
			require.NoError(t, os.Symlink("../../blobs/gone", filepath.Join(snapshots[0], "a-Q4_K_M.gguf")))
		},
		"a dangling snapshot": func(t *testing.T, dir string) {
			require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "snapshots", newer)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			m, err := f.store().Resolve(t.Context(), repo)
			require.NoError(t, err)
			change(t, filepath.Join(f.cfg.CacheDir, "models--"+strings.ReplaceAll(repo, "/", "--")))
			f.cfg.Offline = true
			for _, ref := range []string{repo, "hf://" + repo, repo + ":Q4_K_M"} {
				again, err := f.store().Resolve(t.Context(), ref)
				require.NoError(t, err, ref)
				assert.Equal(t, m.Path, again.Path, ref)
			}
			_, err = f.store().Resolve(t.Context(), "hf://"+repo+"@v2")
			assert.ErrorIs(t, err, hub.ErrOffline, "what was named is not replaced")
		})
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// A hub that takes connections and says nothing is waited for once.
func TestSilentHubIsGivenUp(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	var asked atomic.Int32
	go func() {
		for c, err := silent.Accept(); err == nil; c, err = silent.Accept() {
			asked.Add(1)
			defer c.Close()
		}
	}()
	f := setUp(t)
	f.cfg.Endpoint, f.cfg.IdleTimeout = "http://"+silent.Addr().String(), 300*time.Millisecond
	_, err = f.store().Resolve(t.Context(), repo)
	assert.ErrorIs(t, err, hub.ErrUnavailable)
	assert.EqualValues(t, 1, asked.Load())
}

// The cause that is told is the one there is.
func TestCausesOfTheHub(t *testing.T) {
	part := func(n string) hubtest.File {
		return hubtest.File{Path: "m-BF16-0000" + n + "-of-00003.gguf", Data: content(7, 100), LFS: true}
	}
	for name, tt := range map[string]struct {
		files      []hubtest.File
		ref        string
		change     func(f *fixture)
		text, hint string
	}{
		"expired token": {ref: repo, change: func(f *fixture) {
			f.cfg.Token = "hf_old"
			f.Misbehave(hubtest.Faults{FailStatus: http.StatusUnauthorized, Fails: 1})
		}, text: "does not accept the token", hint: "log in again"},
		"no token, private": {ref: repo, change: func(f *fixture) {
			f.Misbehave(hubtest.Faults{FailStatus: http.StatusUnauthorized, Fails: 1})
		}, text: "no such repository, or a private one", hint: "set HF_TOKEN"},
		"taken down": {ref: repo, change: func(f *fixture) {
			f.Misbehave(hubtest.Faults{FailStatus: http.StatusUnavailableForLegalReasons, Fails: 1})
		}, text: "HTTP 451", hint: "/" + repo},
		"gone": {ref: repo, change: func(f *fixture) {
			f.Misbehave(hubtest.Faults{FailStatus: http.StatusGone, Fails: 1})
		}, text: "HTTP 410", hint: "/" + repo},
		"a part is missing":      {ref: "o/m:BF16", files: []hubtest.File{part("1"), part("3"), {Path: "m-Q4_0.gguf", Data: content(8, 100), LFS: true}}, text: "lacks m-BF16-00002-of-00003.gguf, which BF16 needs", hint: "Q4_0"},
		"a part of the only one": {ref: "o/m", files: []hubtest.File{part("1"), part("2")}, text: "lacks m-BF16-00003-of-00003.gguf", hint: "owner"},
		"pieces of split":        {ref: "o/m", files: []hubtest.File{{Path: "m.gguf-split-a", Data: content(9, 100), LFS: true}, {Path: "m.gguf-split-b", Data: content(9, 100), LFS: true}}, text: "cut into pieces", hint: "cat m.gguf-split-*"},
		"pieces with numbers":    {ref: "o/m", files: []hubtest.File{{Path: "m.gguf.part1of2", Data: content(9, 100), LFS: true}}, text: "cut into pieces", hint: "cat m.gguf.part*"},
		"no GGUF":                {ref: "o/m", files: []hubtest.File{{Path: "model.safetensors", Data: content(9, 100), LFS: true}}, text: "its weights are .safetensors", hint: "-GGUF"},
		"no such quantisation":   {ref: "o/m:Q9", files: []hubtest.File{{Path: "m-Q4_0.gguf", Data: content(8, 100), LFS: true}}, text: "there is no Q9", hint: "Q4_0"},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			f.Add("o/m", hubtest.Repo{Files: tt.files})
			if tt.change != nil {
				tt.change(f)
			}
			_, err := f.store().Resolve(t.Context(), tt.ref)
			require.ErrorContains(t, err, tt.text)
			assert.Contains(t, hint(err), tt.hint)
		})
	}
}

// A removal takes the model that the same tag pulls, and no other; what stands in for it
// is told.
func TestRemovalTakesWhatTheTagMeans(t *testing.T) {
	for tag, file := range map[string]string{
		"UD-Q4_K_M": "m-UD-Q4_K_M.gguf", "q4_k_m": "m-Q4_K_M.gguf", "pure": "m-Q4_K_M-pure.gguf", "I1-IQ3_M": "m.i1-IQ3_M.gguf", "m-Q4_K_M.gguf": "m-Q4_K_M.gguf",
	} {
		f := setUp(t)
		f.Add("o/m", hubtest.Repo{Files: []hubtest.File{
			{Path: "m-UD-Q4_K_M.gguf", Data: content(1, 100), LFS: true}, {Path: "m-Q4_K_M.gguf", Data: content(2, 100), LFS: true},
			{Path: "m-Q4_K_M-pure.gguf", Data: content(3, 100), LFS: true}, {Path: "m.i1-IQ3_M.gguf", Data: content(4, 100), LFS: true},
		}})
		for _, other := range []string{"Q4_K_M", "UD-Q4_K_M", "pure", "IQ3_M"} {
			_, err := f.store().Resolve(t.Context(), "o/m:"+other)
			require.NoError(t, err)
		}
		plan, err := f.store().PlanRemoval("o/m:" + tag)
		require.NoError(t, err)
		var models []string
		for _, p := range plan.Files {
			if filepath.Ext(p) == ".gguf" {
				models = append(models, filepath.Base(p))
			}
		}
		assert.Equal(t, []string{file}, models, tag)
		f.notes = nil
		m, err := f.store().Locate(t.Context(), "o/m:Q4_K_M")
		require.NoError(t, err)
		assert.Empty(t, f.notes)
		require.NoError(t, os.Remove(m.Path))
		_, err = f.store().Locate(t.Context(), "o/m:Q4_K_M")
		require.NoError(t, err)
		assert.Equal(t, []string{"o/m: taking m-Q4_K_M-pure.gguf, which is here, for Q4_K_M"}, f.notes)
	}
}
