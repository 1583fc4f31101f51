package bench

import (
	_ "embed"
	"strings"
)

// What models are asked in benchmarks.
var (
	// ListPrompt asks for a list long enough that no benchmark sees its end.
	//
	//go:embed workload/list.md
	ListPrompt string
	// ListSchema is a JSON Schema of that list, typical of what agents use.
	//
	//go:embed workload/list.schema.json
	ListSchema []byte
	//go:embed workload/options.txt
	optionTexts string
)

// Options are names of commands to choose from, as an agent has them.
func Options() []string { return strings.Fields(optionTexts) }
