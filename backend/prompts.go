package backend

import (
	"embed"
	"strconv"
	"strings"
	"text/template"
)

// promptFiles are the words that models read.
//
//go:embed prompts/*.md
var promptFiles embed.FS

// prompt renders one of the embedded texts, without its last newline.
func prompt(name string, data any) (string, error) {
	t, err := template.ParseFS(promptFiles, "prompts/"+name)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	if err := t.Execute(&out, data); err != nil {
		return "", err
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// labelled is an option as a model sees it in a list.
type labelled struct{ Label, Text string }

// listOptions labels options with capital letters while these suffice, else
// with numbers. Order gives the option for each place.
func listOptions(options []Option, order []int) []labelled {
	out := make([]labelled, len(order))
	for place, i := range order {
		out[place] = labelled{label(place, len(order)), options[i].Text}
	}
	return out
}

// labelsMax is how many options have a letter.
const labelsMax = 26

func label(place, n int) string {
	if n <= labelsMax {
		return string(rune('A' + place))
	}
	return strconv.Itoa(place + 1)
}

// inOrder is 0, 1, … n-1, beginning at from.
func inOrder(n, from int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = (i + from) % n
	}
	return out
}

// appendToLast adds text to the last message of the user, or as a new one when
// somebody else spoke last. The messages given are not changed.
func appendToLast(msgs []Message, text string) []Message {
	out := append([]Message(nil), msgs...)
	if n := len(out); n > 0 && out[n-1].Role == RoleUser {
		out[n-1].Content += "\n\n" + text
		return out
	}
	return append(out, Message{Role: RoleUser, Content: text})
}
