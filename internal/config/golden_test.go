package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// golden is what testdata/gen_hydra.py wrote: cases and what the real Hydra
// makes of them.
type golden struct {
	Texts  []string
	Cases  []goldenCase
	Sweeps []struct {
		Args []string
		OK   bool
		Jobs [][]string
	}
}

type goldenCase struct {
	Group     string
	Files     map[string]int
	Overrides []string
	Env       map[string]string
	OK        bool
	Result    any
}

func loadGolden(t testing.TB) golden {
	data, err := os.ReadFile("testdata/hydra_golden.json")
	require.NoError(t, err)
	var g golden
	require.NoError(t, json.Unmarshal(data, &g))
	return g
}

func (c goldenCase) options(texts []string) Options {
	files := fstest.MapFS{}
	for name, text := range c.Files {
		files[name] = &fstest.MapFile{Data: []byte(texts[text])}
	}
	environ := []string{}
	for k, v := range c.Env {
		environ = append(environ, k+"="+v)
	}
	return Options{Embedded: files, Overrides: c.Overrides, Environ: environ}
}

// String shows the case so that a failure can be understood without the file.
func (c goldenCase) describe(texts []string) string {
	var b strings.Builder
	for _, name := range sortedKeys(c.Files) {
		fmt.Fprintf(&b, "--- %s\n%s\n", name, texts[c.Files[name]])
	}
	fmt.Fprintf(&b, "overrides: %q env: %v", c.Overrides, c.Env)
	return b.String()
}

// composeResolved is what Hydra's compose followed by to_container(resolve=True)
// gives: mandatory values that are not set stay "???".
func composeResolved(opts Options) (any, error) {
	cfg, err := Compose(opts)
	if err != nil {
		return nil, err
	}
	v, err := cfg.resolver().resolve(cfg.root)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	writeJSON(&out, v)
	var result any
	return result, json.Unmarshal(out.Bytes(), &result)
}

// TestSameAsHydra composes every golden case: the same tree, or both refuse.
func TestSameAsHydra(t *testing.T) {
	g := loadGolden(t)
	require.Greater(t, len(g.Cases), 1000)
	for i, c := range g.Cases {
		got, err := composeResolved(c.options(g.Texts))
		if why := knownDifference(c, g.Texts); why != "" {
			continue
		}
		if !c.OK {
			assert.Error(t, err, "case %d (%s): Hydra refuses, this gives %v\n%s", i, c.Group, got, c.describe(g.Texts))
			continue
		}
		if assert.NoError(t, err, "case %d (%s)\n%s", i, c.Group, c.describe(g.Texts)) {
			assert.Equal(t, c.Result, got, "case %d (%s)\n%s", i, c.Group, c.describe(g.Texts))
		}
	}
}

// knownDifference explains the cases in which this package differs on purpose.
func knownDifference(c goldenCase, texts []string) string {
	for _, i := range c.Files {
		if strings.Contains(texts[i], "hydra/job_logging") {
			return "what configures Hydra itself is ignored, wherever it stands"
		}
	}
	return ""
}

// TestSweepsSameAsHydra compares the jobs by what their overrides mean, since
// this package keeps values as typed and Hydra writes them anew.
func TestSweepsSameAsHydra(t *testing.T) {
	for _, s := range loadGolden(t).Sweeps {
		got, err := Sweep(s.Args)
		if !s.OK {
			assert.Error(t, err, "%q", s.Args)
			continue
		}
		if !assert.NoError(t, err, "%q", s.Args) || !assert.Len(t, got, len(s.Jobs), "%q", s.Args) {
			continue
		}
		for i := range got {
			assert.Equal(t, meanings(t, s.Jobs[i]), meanings(t, got[i]), "%q", s.Args)
		}
	}
}

func meanings(t *testing.T, overrides []string) []any {
	var out []any
	for _, text := range overrides {
		o, err := parseOverride(text)
		require.NoError(t, err)
		out = append(out, o.keyElement(), o.value.value())
	}
	return out
}

// TestGoldenIsCurrent runs the generator with the real Hydra, where there is
// one: AGENT_HYDRA_PYTHON names a Python that has hydra-core 1.3.8.
func TestGoldenIsCurrent(t *testing.T) {
	python := os.Getenv("AGENT_HYDRA_PYTHON")
	if python == "" {
		t.Skip("set AGENT_HYDRA_PYTHON to a Python with hydra-core==1.3.8 to run the real Hydra; the recorded results are compared anyway")
	}
	fresh, err := exec.CommandContext(t.Context(), python, "testdata/gen_hydra.py").Output()
	require.NoError(t, err)
	recorded, err := os.ReadFile("testdata/hydra_golden.json")
	require.NoError(t, err)
	assert.Equal(t, string(recorded), string(fresh), "run testdata/gen_hydra.py again")
}
