package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"agent/configs"
	"agent/internal/config"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// files makes a folder of configuration of name, text pairs.
func files(pairs ...string) fstest.MapFS {
	out := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return out
}

// compose composes one config.yaml without an environment.
func compose(t *testing.T, text string, overrides ...string) *config.Config {
	t.Helper()
	cfg, err := config.Compose(config.Options{Embedded: files("config.yaml", text), Overrides: overrides, Environ: []string{}})
	require.NoError(t, err)
	return cfg
}

func get(t *testing.T, cfg *config.Config, path string) any {
	t.Helper()
	v, err := cfg.Get(path)
	require.NoError(t, err)
	return v
}

func TestStockConfigurationComposes(t *testing.T) {
	groups, err := config.Groups(config.Options{Embedded: configs.FS})
	require.NoError(t, err)
	require.Len(t, groups, 1)
	require.GreaterOrEqual(t, len(groups[0].Options), 6)
	for _, o := range groups[0].Options {
		cfg, err := config.Compose(config.Options{Embedded: configs.FS, Overrides: []string{"llm=" + o.Name, "llm.temperature=0"}, Environ: []string{"OPENAI_API_KEY=k"}})
		require.NoError(t, err, o.Name)
		assert.NoError(t, cfg.Check(), o.Name)
		assert.EqualValues(t, 0, get(t, cfg, "llm.temperature"), "every backend must know llm.temperature")
		target, err := cfg.Target("llm")
		assert.NoError(t, err)
		assert.Equal(t, o.Name, target)
		assert.Empty(t, cfg.Warnings())
	}
}

// TestHEBOFilesLoadUnchanged composes the files of HEBO's Agent over ours.
func TestHEBOFilesLoadUnchanged(t *testing.T) {
	dirs := []string{"testdata/hebo"}
	shared := os.Getenv("AGENT_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	if dir := filepath.Join(shared, "fixtures", "hebo-configs"); isDir(dir) {
		dirs = append(dirs, dir)
	}
	want := map[string]map[string]any{
		"hf":                  {"_target_": "agent.models.HuggingFaceLanguageBackend", "model_kwargs.device_map": "cuda", "_partial_": true},
		"hf/openchat_3.5":     {"_target_": "agent.models.HuggingFaceLanguageBackend", "model_id": "openchat/openchat-3.5-0106", "context_length": int64(8192)},
		"fschat":              {"server_ip": "http://127.0.0.1:8000/v1", "api_key": "EMPTY"},
		"fschat/mistral-7b":   {"server_ip": "http://127.0.0.1:8000/v1", "model_id": "Mistral-7B-Instruct-v0.1", "context_length": int64(4096)},
		"fschat/openchat_3.5": {"model_id": "openchat/openchat_3.5", "context_length": int64(4096)},
		"openai":              {"api_key": "the-key", "server_ip": "https://api.openai.com/v1"},
		"openai/gpt3.5":       {"api_key": "the-key", "model_id": "gpt-3.5-turbo", "context_length": int64(4096)},
		"human":               {"model_id": "human", "context_length": int64(9999)},
		"random":              {"_target_": "tests.utils.random_llm.RandomLanguageBackend"},
	}
	for _, dir := range dirs {
		for option, values := range want {
			cfg, err := config.Compose(config.Options{Dirs: []string{dir}, Embedded: configs.FS, Overrides: []string{"llm=" + option, "llm.temperature=0"}, Environ: []string{"OPENAI_API_KEY=the-key"}})
			require.NoError(t, err, option)
			require.NoError(t, cfg.Check(), option)
			for key, v := range values {
				assert.Equal(t, v, get(t, cfg, "llm."+key), "%s: %s", option, key)
			}
		}
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func TestPrecedence(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	write(t, filepath.Join(first, "g", "o.yaml"), "v: first\n")
	write(t, filepath.Join(second, "g", "o.yaml"), "v: second\n")
	write(t, filepath.Join(second, "g", "p.yaml"), "v: second p\n")
	opts := config.Options{
		Dirs: []string{first}, OptionalDirs: []string{filepath.Join(first, "absent"), second},
		Embedded: files("config.yaml", "defaults:\n  - g: o\n", "g/o.yaml", "v: embedded\n", "g/q.yaml", "v: embedded q\n"),
	}
	for _, c := range []struct {
		name      string
		environ   []string
		overrides []string
		want      any
		origin    string
	}{
		{"an earlier folder hides a later one", nil, nil, "first", filepath.ToSlash(first) + "/g/o.yaml:1:1"},
		{"a later folder adds options", nil, []string{"g=p"}, "second p", filepath.ToSlash(second) + "/g/p.yaml:1:1"},
		{"what is built in is last", nil, []string{"g=q"}, "embedded q", "embedded:/g/q.yaml:1:1"},
		{"the environment wins over files", []string{"AGENT_G__V=env"}, nil, "env", "environment AGENT_G__V"},
		{"the environment chooses an option", []string{"AGENT_G=q"}, nil, "embedded q", "embedded:/g/q.yaml:1:1"},
		{"the command line wins over it", []string{"AGENT_G__V=env", "AGENT_G=q"}, []string{"g=p", "g.v=1"}, int64(1), "command line"},
		{"variables are typed as in a file", []string{"AGENT_G__V=1e-3"}, nil, 1e-3, "environment AGENT_G__V"},
		{"and may be lists", []string{"AGENT_G__V=[1, x]"}, nil, []any{int64(1), "x"}, "environment AGENT_G__V"},
	} {
		opts.Environ, opts.Overrides = append([]string{}, c.environ...), c.overrides
		cfg, err := config.Compose(opts)
		require.NoError(t, err, c.name)
		assert.Equal(t, c.want, get(t, cfg, "g.v"), c.name)
		at, ok := cfg.Origin("g.v")
		assert.True(t, ok)
		assert.Equal(t, c.origin, at.String(), c.name)
	}
	opts.Environ, opts.Overrides = []string{"AGENT_G__W=1"}, nil
	cfg, err := config.Compose(opts)
	require.NoError(t, err, "a variable for another option is no error")
	assert.Contains(t, strings.Join(cfg.Warnings(), "\n"), "environment AGENT_G__W: g.w: there is no such key")

	opts.Dirs = []string{filepath.Join(first, "absent")}
	_, err = config.Compose(opts)
	assert.ErrorContains(t, err, "does not exist")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

func TestValuesAreTakenAsTheyAre(t *testing.T) {
	for _, text := range []string{"${a}", `\${a}`, `C:\\${x}`, "plain", "a,b=[c", ""} {
		cfg, err := config.Compose(config.Options{
			Embedded: files("config.yaml", "a: 1\n"), Environ: []string{},
			Values: []config.Value{{Key: "new.key", Value: text, Source: "--flag"}},
		})
		require.NoError(t, err)
		assert.Equal(t, text, get(t, cfg, "new.key"))
		at, _ := cfg.Origin("new.key")
		assert.Equal(t, "--flag", at.String())
	}
}

func TestQuoteReadsBack(t *testing.T) {
	for _, text := range []string{"", "a b", "it's", `"`, `\`, `\\`, `\'`, `a\\'b\`, "é,=[{(", "C:\\x\\"} {
		cfg := compose(t, "a: 1\n", "a="+config.Quote(text))
		assert.Equal(t, text, get(t, cfg, "a"))
	}
}

func TestDecode(t *testing.T) {
	type inner struct {
		Timeout time.Duration `yaml:"timeout"`
	}
	type section struct {
		inner       `yaml:",inline"`
		Name        string             `yaml:"name"`
		Temperature *float64           `yaml:"temperature"`
		Threads     int                `yaml:"threads"`
		Seed        *uint32            `yaml:"seed"`
		Flag        bool               `yaml:"flag"`
		List        []string           `yaml:"list"`
		Weights     map[string]float64 `yaml:"weights"`
		Any         any                `yaml:"any"`
		Device      string             `yaml:"device_map" inapplicable:"layers are placed by gpu_layers"`
	}
	cfg := compose(t, `
s:
  _target_: x
  _partial_: true
  name: 3.10
  temperature: 0
  threads: ${oc.decode:'4'}
  seed: "7"
  flag: yes
  list: [a, 1, true]
  weights: {a: 1, b: 2.5}
  any: {x: [1, null]}
  timeout: 90s
  device_map: cuda
  other: null
`)
	got := section{Threads: 9}
	require.NoError(t, cfg.Decode("s", &got))
	zero, seed := 0.0, uint32(7)
	assert.Equal(t, section{
		inner: inner{90 * time.Second}, Name: "3.10", Temperature: &zero, Threads: 4, Seed: &seed, Flag: true,
		List: []string{"a", "1", "true"}, Weights: map[string]float64{"a": 1, "b": 2.5}, Any: map[string]any{"x": []any{int64(1), nil}}, Device: "cuda",
	}, got)
	assert.Equal(t, []string{"embedded:/config.yaml:14:3: s.device_map has no effect here: layers are placed by gpu_layers"}, cfg.Warnings())
}

func TestDecodeReportsEverything(t *testing.T) {
	var into struct {
		Temperature float64         `yaml:"temperature"`
		Threads     uint8           `yaml:"threads"`
		APIKey      struct{ X int } `yaml:"api_key"`
		List        []int           `yaml:"list"`
	}
	cfg := compose(t, "temprature: 1\ntemperature: warm\nthreads: 300\napi_key: hunter22\nlist: [1, x]\n")
	err := cfg.Decode("", &into)
	require.Error(t, err)
	for _, want := range []string{
		`config.yaml:1:1: temprature: unknown key (did you mean "temperature"?)`,
		`config.yaml:2:1: temperature: must be a number, got a string (warm)`,
		`config.yaml:3:1: threads: 300 is out of range`,
		`config.yaml:4:1: api_key: must be a mapping, got a string`,
		`config.yaml:5:11: list.1: must be an integer, got a string (x)`,
	} {
		assert.ErrorContains(t, err, want)
	}
	assert.NotContains(t, err.Error(), "hunter22")
}

func TestMissingValuesAreAllNamed(t *testing.T) {
	cfg := compose(t, "a: ???\nb:\n  c: ???\n  d: 1\ne: ${a}\n")
	_, err := cfg.Get("b")
	require.ErrorIs(t, err, config.ErrMissing)
	assert.ErrorContains(t, err, "b.c: mandatory value is not set")
	err = cfg.Check()
	for _, want := range []string{"1:1: a: mandatory", "b.c: mandatory", "e: refers to a, which is mandatory and not set"} {
		assert.ErrorContains(t, err, want)
	}
	v, err := cfg.Get("b.d")
	require.NoError(t, err, "values beside a missing one can be read")
	assert.Equal(t, int64(1), v)
	assert.NoError(t, compose(t, "a: ???\n", "a=1").Check())
}

func TestInterpolationErrors(t *testing.T) {
	for text, want := range map[string]string{
		"a: ${b}\nb: ${c}\nc: ${a}\n":        "depends on itself: a → b → c → a",
		"a: {b: {c: '${a}'}}\n":              "refers to a, which contains it",
		"llm: {model: x}\na: ${llm.modl}\n":  `refers to llm.modl, which does not exist (did you mean "model"?)`,
		"a: ${oc.env:NOT_SET}\n":             "environment variable NOT_SET is not set",
		"a: ${oc.enf:X}\n":                   `unknown resolver "oc.enf" (did you mean "oc.env"?)`,
		"a: ${..b}\n":                        "goes above the top",
		"a: ${now:%Y}\n":                     `unknown resolver "now"`,
		"a: x${b}\nb: y${b}\n":               "depends on itself: b → b",
		"a: \"${oc.decode:'{x: '}\"\n":       "oc.decode",
		"a: {x: '${b}'}\nb: {y: '${a.x.y}'}": "depends on itself",
	} {
		err := compose(t, text).Check()
		require.Error(t, err, text)
		assert.ErrorContains(t, err, want, text)
		assert.ErrorContains(t, err, "config.yaml:", "a place")
	}
}

// A key of several words is text, also in an argument of an interpolation.
func TestKeysOfSeveralWords(t *testing.T) {
	cfg := compose(t, "a: \"${oc.decode:'{x y: 1}'}\"\n")
	assert.Equal(t, map[string]any{"x y": int64(1)}, get(t, cfg, "a"))
}

// TestSecretsNeverShow puts a secret wherever one can come from, and looks for
// it in everything that can be printed.
func TestSecretsNeverShow(t *testing.T) {
	const secret = "flying-squirrel-0815"
	text := `
api_key: ` + secret + `
header: Bearer ${api_key}
nested: {hf_token: [` + secret + `], Authorization: {x: ` + secret + `}}
from_env: ${oc.env:MY_TOKEN}
in_text: "key=${oc.env:MY_TOKEN};"
default: ${oc.env:OTHER_KEY,` + secret + `}
url: http://user:` + secret + `@host/v1
copy: ${nested}
picked: ${oc.select:api_key}
max_tokens: 12
pad_token: "<pad>"
empty: {api_key: EMPTY}
password: ${oc.env:NOT_SET,'` + secret + `'}
`
	cfg, err := config.Compose(config.Options{
		Embedded: files("config.yaml", text), Environ: []string{"MY_TOKEN=" + secret},
		Overrides: []string{"+client.password=" + secret},
	})
	require.NoError(t, err)
	yaml, err := cfg.YAML(config.ShowOptions{Origin: true})
	require.NoError(t, err)
	json, err := cfg.JSON(config.ShowOptions{})
	require.NoError(t, err)
	part, err := cfg.YAML(config.ShowOptions{Path: "nested.hf_token"})
	require.NoError(t, err)
	for _, out := range []string{string(yaml), string(json), string(part), cfg.Redact("a " + secret + " b")} {
		assert.NotContains(t, out, secret)
		assert.Contains(t, out, "[redacted]")
	}
	assert.Contains(t, string(yaml), "max_tokens: 12")
	assert.Contains(t, string(yaml), "<pad>")
	assert.Contains(t, string(yaml), "api_key: EMPTY")
	assert.Contains(t, cfg.Secrets(), secret)
	assert.NotContains(t, cfg.Secrets(), "EMPTY")
	assert.Equal(t, secret, get(t, cfg, "api_key"), "programs get the value")
	assert.Equal(t, "Bearer "+secret, get(t, cfg, "header"))
	shown, err := cfg.YAML(config.ShowOptions{Secrets: true})
	require.NoError(t, err)
	assert.Contains(t, string(shown), secret)
}

// TestTextWithSettingsIsRedacted: a text may name a model with its settings.
func TestTextWithSettingsIsRedacted(t *testing.T) {
	cfg := compose(t, "overseer: openai api_key=hunter2 model_id=m\nshort: openai api_key=x\nfrom: openai api_key=${oc.env:NOT_SET}\nplain: a=b token\n")
	yaml, err := cfg.YAML(config.ShowOptions{})
	require.NoError(t, err)
	assert.Contains(t, string(yaml), "overseer: openai api_key=[redacted] model_id=m")
	assert.Contains(t, string(yaml), "short: openai api_key=[redacted]")
	assert.Contains(t, string(yaml), "${oc.env:NOT_SET}")
	assert.Contains(t, string(yaml), "plain: a=b token")
	assert.Contains(t, cfg.Secrets(), "hunter2")
}

func TestShown(t *testing.T) {
	for text, want := range map[string]string{
		"llm.temperature=0":                               "llm.temperature=0",
		"llm.max_tokens=12":                               "llm.max_tokens=12",
		"llm=hf":                                          "llm=hf",
		"agent.metadata={a: 1, b: [x, y]}":                "agent.metadata={a: 1, b: [x, y]}",
		"search.api_key=hunter2":                          "search.api_key=[redacted]",
		"+x.Authorization.y=hunter2":                      "+x.Authorization.y=[redacted]",
		"serve={api_key: hunter2":                         "serve={…}",
		`mcp.servers.t={url: u, h: {X-Api-Key: hunter2}}`: "mcp.servers.t={…}",
		`x=choice({a: 1, "password": hunter2},{a: 2})`:    "x={…}",
		`agent.overseer="openai api_key=hunter2"`:         `agent.overseer="openai api_key=[redacted]`,
		"openai api_key=hunter2 modell_id=y":              "openai api_key=[redacted] modell_id=y",
		"openai llm.api_key=hun ter2 +model_id=y":         "openai llm.api_key=[redacted] +model_id=y",
		"openai modell_id=y api_key=hunter2":              "openai modell_id=y api_key=[redacted]",
		"llm.server_ip=http://u:hunter2@h/v1":             "llm.server_ip=[redacted]",
		"http://u:hunter2@h/v1?a=b":                       "[redacted]",
		"a=hf_hunter2hunter2hunter2":                      "a=[redacted]",
		"a=" + strings.Repeat("é", 200):                   "a=" + strings.Repeat("é", 99) + "…",
	} {
		assert.Equal(t, want, config.Shown(text), text)
	}
}

func TestErrorsHideSecrets(t *testing.T) {
	const secret = "flying-squirrel-0815"
	for _, override := range []string{"api_key=" + secret + ";", "x.api_key=" + secret, "api_key=" + secret + ",b", "~api_key=" + secret, "+a=1;sk-" + secret, "a=http://u:" + secret + "@h!",
		"b={api_key: " + secret + "}", "a={api_key: " + secret, "a={api_key: " + secret + "(1)}", "api_key=" + secret + "(1)", "a.b={headers: {Authorization: 'Bearer " + secret + "'}}"} {
		_, err := config.Compose(config.Options{Embedded: files("config.yaml", "api_key: other-"+secret+"\na: 1\n"), Overrides: []string{override}, Environ: []string{}})
		require.Error(t, err, override)
		assert.NotContains(t, err.Error(), secret)
		var hinter interface{ Hint() string }
		if errors.As(err, &hinter) {
			assert.NotContains(t, hinter.Hint(), secret)
		}
	}
}

func TestUntrustedFilesAreBounded(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 12; i++ {
		p, n := string(rune('a'+i-1)), string(rune('a'+i))
		prev := p + "0"
		if i == 1 {
			prev = "a0"
		}
		bomb += n + "0: &" + n + "0 [" + strings.Repeat("*"+prev+", ", 9) + "x]\n"
	}
	laughs := "s0: xxxxxxxxxx\n"
	for i := 1; i < 30; i++ {
		laughs += "s" + itoa(i) + ": '" + strings.Repeat("${s"+itoa(i-1)+"}", 10) + "'\n"
	}
	maps := "m0: {a: 1, b: 2}\n"
	for i := 1; i < 30; i++ {
		maps += "m" + itoa(i) + ": {a: '${m" + itoa(i-1) + "}', b: '${m" + itoa(i-1) + "}'}\n"
	}
	for name, text := range map[string]string{
		"aliases":         bomb,
		"strings":         laughs,
		"mappings":        maps,
		"size":            "a: " + strings.Repeat("x", 2<<20),
		"flow depth":      "a: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"depth":           "a: " + strings.Repeat("{a: ", 80) + "1" + strings.Repeat("}", 80),
		"self alias":      "a: &a [*a]\n",
		"nested braces":   "a: '" + strings.Repeat("${", 5000) + strings.Repeat("}", 5000) + "'",
		"nested lists":    "a: ${oc.decode:" + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}",
		"not UTF-8":       "a: \xff\n",
		"huge integer":    "a: 99999999999999999999\n",
		"a list":          "- a\n",
		"leaves folder":   "defaults:\n  - ../../etc/passwd\n",
		"absolute folder": "defaults:\n  - //etc/passwd\n",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			cfg, err := config.Compose(config.Options{Embedded: files("config.yaml", text), Environ: []string{}})
			if err == nil {
				err = cfg.Check()
				_, _ = cfg.YAML(config.ShowOptions{})
			}
			assert.Error(t, err)
			assert.Less(t, len(err.Error()), 8<<10)
			assert.Less(t, time.Since(start), 30*time.Second)
		})
	}
}

func itoa(i int) string { return string(rune('0'+i/10)) + string(rune('0'+i%10)) }

func TestSweep(t *testing.T) {
	for _, c := range []struct {
		args []string
		want [][]string
	}{
		{nil, [][]string{{}}},
		{[]string{"a=1"}, [][]string{{"a=1"}}},
		{[]string{"a=1,2", "b=x,y"}, [][]string{{"a=1", "b=x"}, {"a=1", "b=y"}, {"a=2", "b=x"}, {"a=2", "b=y"}}},
		{[]string{"a='x,y',\"z\""}, [][]string{{"a='x,y'"}, {"a=\"z\""}}},
		{[]string{"a=choice(1, 'b')"}, [][]string{{"a=1"}, {"a='b'"}}},
	} {
		got, err := config.Sweep(c.args)
		require.NoError(t, err, c.args)
		assert.Equal(t, c.want, got)
	}
	for _, arg := range []string{"a=choice()", "a=choice(choice(1))", "a=choice(1", "a=range(3)"} {
		_, err := config.Sweep([]string{arg})
		assert.Error(t, err, arg)
	}
	thousand := strings.TrimSuffix(strings.Repeat("1,", 1000), ",")
	_, err := config.Sweep([]string{"a=" + thousand, "b=" + thousand})
	assert.ErrorContains(t, err, "more than 10000 jobs")
}

func TestReadDotEnv(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".env")
	set, err := config.ReadDotEnv(file)
	require.NoError(t, err, "a file that is absent is no error")
	assert.Empty(t, set)

	write(t, file, "LD_PRELOAD=./x.so\nexport AGENT_TEST_NEW='x y' # comment\n")
	set, err = config.ReadDotEnv(file)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"LD_PRELOAD": "./x.so", "AGENT_TEST_NEW": "x y"}, set)
	for name := range set {
		_, there := os.LookupEnv(name)
		assert.False(t, there, "%s is in the environment", name)
	}

	write(t, file, "A=1\nthis is hunter22, not a variable\n")
	_, err = config.ReadDotEnv(file)
	assert.ErrorContains(t, err, ".env:2: is not a list of NAME=value lines")
	assert.NotContains(t, err.Error(), "hunter22")

	for text, place := range map[string]string{
		"A=1\nhunter22\nB=2\n":                  ".env:2: ",
		"A=1\nhunter22":                         ".env:2: ",
		"hunter22\nB=2\n":                       ".env:1: ",
		"A='x\ny'\n\n# c\nhunter22\nB=2\n":      ".env:5: ",
		"A=1\nB='hunter22\nC=3\n":               ".env:2: ",
		"A=1\r\nhunter22\r\nB=2\r\n":            ".env:2: ",
		strings.Repeat("#\n", 600) + "hunter\n": ".env:601: ",
	} {
		write(t, file, text)
		_, err := config.ReadDotEnv(file)
		assert.ErrorContains(t, err, place+"is not a list", "%q", text)
		assert.NotContains(t, err.Error(), "hunter22")
	}
}

// TestBadLine: the place of a mistake, also in a document that should not be.
func TestBadLine(t *testing.T) {
	for text, place := range map[string]string{
		"a: 1\nb: [\n":                  "config.yaml:2: ",
		"a: 1\nb: }\nc: 1\n":            "config.yaml:2: ",
		"a: 1\n---\nb: 1\nc: }\nd: 1\n": "config.yaml:4: ",
		"a: 1\n---\nb: 1\n":             "config.yaml:2: file holds more than one",
	} {
		_, err := config.Compose(config.Options{Embedded: files("config.yaml", text), Environ: []string{}})
		assert.ErrorContains(t, err, place, "%q", text)
	}
}

// TestNestedInterpolationOnTheCommandLine is more than Hydra's lexer can read.
func TestNestedInterpolationOnTheCommandLine(t *testing.T) {
	cfg := compose(t, "a: 1\nb: {x: 2}\nk: x\n", "a=${b.${k}}")
	assert.Equal(t, int64(2), get(t, cfg, "a"))
}
