package bench

import (
	_ "embed"
	"strconv"
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
	//go:embed workload/story.md
	storyText string
	//go:embed workload/subjects.txt
	storySubjects string
)

// Options are names of commands to choose from, as an agent has them.
func Options() []string { return strings.Fields(optionTexts) }

// storyPrompts are n prompts that ask for long replies. They differ from one
// another, and from those of other rounds, in their first words, so that no
// server finds more of them in its cache than the chat template's start.
func storyPrompts(n, round int) []string {
	subjects := strings.Split(strings.TrimSpace(storySubjects), "\n")
	prompts := make([]string, n)
	for i := range prompts {
		number := strconv.Itoa(100*round + i + 1)
		prompts[i] = strings.NewReplacer("{{.Number}}", number, "{{.Subject}}",
			subjects[i%len(subjects)]).Replace(strings.TrimSpace(storyText))
	}
	return prompts
}
