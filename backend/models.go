package backend

import (
	_ "embed"
	"fmt"
	"path"
	"strings"

	"gopkg.in/yaml.v3"
)

//go:embed models.yaml
var modelsYAML []byte

// modelInfo is what models.yaml says of a model; zero fields are not known.
type modelInfo struct {
	Name          string `yaml:"name"`
	ContextLength int    `yaml:"context_length"`
	Encoding      string `yaml:"encoding"`
	Reasoning     bool   `yaml:"reasoning"`
}

// lookupModel finds a model by the longest matching name. Fine-tuned models
// ("ft:gpt-4o:…") and names with an owner ("openai/gpt-4o") are known by their
// base.
func lookupModel(id string) (info modelInfo, known bool, err error) {
	var table struct {
		Models []modelInfo `yaml:"models"`
	}
	if err := yaml.Unmarshal(modelsYAML, &table); err != nil {
		return modelInfo{}, false, fmt.Errorf("models.yaml: %w", err)
	}
	id = path.Base(strings.TrimPrefix(id, "ft:"))
	for _, m := range table.Models {
		rest, ok := strings.CutPrefix(id, m.Name)
		if ok && (rest == "" || rest[0] == '-' || rest[0] == ':') && len(m.Name) > len(info.Name) {
			info, known = m, true
		}
	}
	return info, known, nil
}
