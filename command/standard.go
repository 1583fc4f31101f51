package command

import (
	"context"
	"embed"
	"fmt"
	"strings"
)

// The words that a model reads about the builtin commands.
//
//go:embed prompts
var prompts embed.FS

// stockAliases are names that models use for commands which may be registered
// later, or not at all.
var stockAliases = map[string]string{"google": "search", "web_search": "search"}

// Standard returns a registry of the builtin commands: think, list, reader,
// writer, python and answer.
func Standard() (*Registry, error) {
	reg := NewRegistry()
	for _, c := range []Command{Think(), List(), Reader(), Writer(), Python(), Answer()} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	for alias, name := range stockAliases {
		if err := reg.Alias(alias, name); err != nil {
			return nil, err
		}
	}
	return reg, nil
}

// Think returns the command that only reasons. Its result is empty: the
// thought is in the conversation already.
func Think() Command {
	spec := describe(Spec{
		Name:    "think",
		Aliases: []string{"plan", "thought", "reason"},
		Slots:   []Slot{{Name: "text", Kind: SlotLine}},
		Effect:  EffectNone,
	})
	return Func(spec, func(context.Context, *Env, *Call) (*Result, error) {
		return &Result{Text: message("thought", nil)}, nil
	})
}

// Answer returns the command that ends the task.
func Answer() Command {
	spec := describe(Spec{
		Name:      answerName,
		Aliases:   []string{"final_answer", "final", "finish", "respond", "reply"},
		Slots:     []Slot{{Name: "text", Kind: SlotText}},
		Effect:    EffectNone,
		Essential: true,
		Final:     true,
	})
	return Func(spec, func(_ context.Context, _ *Env, call *Call) (*Result, error) {
		return answer(call), nil
	})
}

// answer joins the texts of all entries; an entry that has none counts as
// written, since an answer must not lose anything.
func answer(call *Call) *Result {
	var parts []string
	for _, entry := range call.Content {
		part, ok := stringField(entry, "text", "answer", "content", "message", "response", "result")
		if !ok || len(entry) > 1 {
			part = summary(entryValue(entry))
		}
		parts = append(parts, part)
	}
	whole := strings.TrimSpace(strings.Join(parts, "\n"))
	if whole == "" {
		whole = strings.TrimSpace(call.Summary)
	}
	if whole == "" {
		return &Result{Text: message("empty_answer", nil), Failed: true}
	}
	return &Result{Text: whole, Answer: whole}
}

// entryValue is an entry without the object around a single value.
func entryValue(entry map[string]any) any {
	if len(entry) == 1 {
		for _, v := range entry {
			return v
		}
	}
	return entry
}

// describe fills in the words that the model reads, from the embedded files.
func describe(spec Spec) Spec {
	text, err := prompts.ReadFile("prompts/" + spec.Name + ".md")
	if err != nil {
		panic(fmt.Sprintf("command %s: no embedded description: %v", spec.Name, err))
	}
	spec.Description = strings.TrimSpace(string(text))
	help := slotHelp()
	for i := range spec.Slots {
		spec.Slots[i].Help = help[spec.Name+"."+spec.Slots[i].Name]
	}
	return spec
}

// slotHelp reads the lines "command.slot: help".
func slotHelp() map[string]string {
	text, _ := prompts.ReadFile("prompts/slots.md")
	help := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, words, ok := strings.Cut(line, ":"); ok {
			help[name] = strings.TrimSpace(words)
		}
	}
	return help
}
