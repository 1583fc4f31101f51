package config

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// FuzzParseOverride: any argument is an override or an error, and its value can
// be written out and read again as the same.
func FuzzParseOverride(f *testing.F) {
	for _, c := range loadGolden(f).Cases {
		for _, o := range c.Overrides {
			f.Add(o)
		}
	}
	for _, s := range loadGolden(f).Sweeps {
		for _, a := range s.Args {
			f.Add(a)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := parseOverride(text)
		if err != nil || o.value == nil || o.value.kind != kindString {
			return
		}
		again, err := parseOverride("k=" + Quote(o.value.text))
		if err != nil || again.value == nil || !again.value.equal(o.value) {
			t.Fatalf("%q: %q reads back as something else: %v", text, Quote(o.value.text), err)
		}
	})
}

// FuzzCompose: any files and overrides end in a tree or an error, soon.
func FuzzCompose(f *testing.F) {
	g := loadGolden(f)
	for i, c := range g.Cases {
		if i%7 != 0 {
			continue
		}
		other := ""
		for name, text := range c.Files {
			if name != "config.yaml" {
				other = g.Texts[text]
			}
		}
		f.Add(g.Texts[c.Files["config.yaml"]], other, strings.Join(c.Overrides, "\n"))
	}
	f.Add("a: &a [1]\nb: *a\nc: ${a}\n", "# @package _global_\nx: 1\n", "db=one")
	f.Fuzz(func(t *testing.T, config, option, overrides string) {
		files := fstest.MapFS{
			"config.yaml": {Data: []byte(config)},
			"db/one.yaml": {Data: []byte(option)},
			"db/two.yaml": {Data: []byte("defaults:\n  - one\nport: 1\n")},
		}
		opts := Options{Embedded: files, Environ: []string{"X=1", "MY_TOKEN=secret-value", "AGENT_DB__PORT=" + option}}
		if overrides != "" {
			opts.Overrides = strings.Split(overrides, "\n")
		}
		start := time.Now()
		cfg, err := Compose(opts)
		if err == nil {
			_ = cfg.Check()
			_, _ = cfg.Get("")
			var into struct {
				A int            `yaml:"a"`
				D map[string]any `yaml:"db"`
			}
			_ = cfg.Decode("", &into)
			out, err := cfg.YAML(ShowOptions{Origin: true})
			if err == nil && strings.Contains(string(out), "secret-value") {
				t.Fatalf("a secret is shown:\n%s", out)
			}
			_, _ = cfg.JSON(ShowOptions{})
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Fatalf("took %s", d)
		}
	})
}
