// Package words renders the texts that a model reads. Each package that says
// something embeds them in a folder prompts/: messages in files *.tmpl, other
// texts in files of their own.
package words

import (
	"fmt"
	"io/fs"
	"strings"
	"text/template"

	"agent/internal/legible"
)

// Book is the texts of one package.
type Book struct {
	files    fs.FS
	messages *template.Template
}

// Open reads embedded texts. They are part of the program and tested with it, so
// that one which can't be read or rendered is a defect, and panics.
func Open(files fs.FS) *Book {
	messages := template.Must(template.New("").Funcs(template.FuncMap{
		"count":  legible.Count,
		"size":   legible.Size,
		"join":   func(list []string) string { return strings.Join(list, ", ") },
		"inc":    func(i int) int { return i + 1 },
		"indent": func(text string) string { return strings.ReplaceAll(text, "\n", "\n   ") },
	}).ParseFS(files, "prompts/*.tmpl"))
	return &Book{files, messages}
}

// Say renders a message.
func (b *Book) Say(name string, data any) string {
	var out strings.Builder
	if err := b.messages.ExecuteTemplate(&out, name, data); err != nil {
		panic(fmt.Sprintf("message %s: %v", name, err))
	}
	return strings.TrimSpace(out.String())
}

// Text is a file as it is, without space around it.
func (b *Book) Text(file string) string {
	text, err := fs.ReadFile(b.files, "prompts/"+file)
	if err != nil {
		panic(fmt.Sprintf("no embedded text: %v", err))
	}
	return strings.TrimSpace(string(text))
}

// Help is the file slots.md: what to say of each field, by "command.field".
func (b *Book) Help() map[string]string {
	help := map[string]string{}
	for line := range strings.Lines(b.Text("slots.md")) {
		if name, about, ok := strings.Cut(line, ":"); ok {
			help[name] = strings.TrimSpace(about)
		}
	}
	return help
}
