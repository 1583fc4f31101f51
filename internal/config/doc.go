// Package config composes the program's configuration from YAML files and the
// command line with the semantics of Hydra and OmegaConf, so that files and
// habits of Hydra's users work unchanged.
//
// Call [Compose] once, then read the result with [Config.Decode] (strict, into
// a struct), [Config.Get] (one value) or [Config.YAML] (for a person):
//
//	cfg, err := config.Compose(config.Options{
//		Dirs:      []string{"./configs"},
//		Embedded:  configs.FS,
//		Overrides: []string{"llm=openai", "llm.temperature=0"},
//	})
//	var llm struct {
//		ModelID     string   `yaml:"model_id"`
//		Temperature *float64 `yaml:"temperature"`
//	}
//	err = cfg.Decode("llm", &llm)
//
// Promises: every error names the file, line, column and key it comes from and
// suggests the nearest known name ([Error]); every value knows where it was
// written ([Config.Origin]); secrets are never part of an error and are
// replaced when a configuration is shown; and input of any shape and size ends
// in a result or an error within the limits named in limits.go.
//
// The package follows Hydra 1.3 and OmegaConf 2.3 where a test against the
// real ones can see it (testdata/gen_hydra.py). It differs on purpose in a few
// places, listed in docs/configuration.md: duplicate keys of every type are
// errors, `_group_` and `_name_` in package headers keep their Hydra 1.1
// meaning, interpolations may nest on the command line, and the `hydra`
// section of a Hydra application is ignored with a warning.
package config
