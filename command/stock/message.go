package stock

import (
	"fmt"
	"strings"
	"text/template"
)

// messages are the results that a model reads, one template each.
var messages = template.Must(template.New("").Funcs(template.FuncMap{
	"count": count,
	"size":  size,
	"join":  func(names []string) string { return strings.Join(names, ", ") },
}).ParseFS(prompts, "prompts/*.tmpl"))

// message renders one of the messages. The templates are embedded and tested,
// so that a failure is a defect of the program.
func message(name string, data any) string {
	var out strings.Builder
	if err := messages.ExecuteTemplate(&out, name, data); err != nil {
		panic(fmt.Sprintf("command message %s: %v", name, err))
	}
	return strings.TrimSpace(out.String())
}

// count writes a number with its noun: "1 line", "2 lines".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// size writes a number of bytes as a person would.
func size(bytes int64) string {
	switch {
	case bytes < 10_000:
		return count(int(bytes), "byte")
	case bytes < 10_000_000:
		return fmt.Sprintf("%d KB", bytes/1000)
	default:
		return fmt.Sprintf("%d MB", bytes/1_000_000)
	}
}
