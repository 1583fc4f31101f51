// Package stock has the built-in commands: think, list, reader, writer, edit, replace,
// python, decide and answer. Its list also names those that other packages make: delegate,
// create_command and search.
package stock

import (
	"context"
	"embed"
	"strings"

	"agent/command"
	"agent/internal/words"
)

//go:embed prompts
var prompts embed.FS

// texts is what a model reads about the built-in commands.
var texts = words.Open(prompts)

// Parts are built-in commands that other packages make. A nil one is left out.
type Parts struct {
	Delegate command.Command   // of package session
	Create   command.Command   // of package program
	Search   []command.Command // of package search
}

// Standard returns a registry of the built-in commands that need nothing else.
func Standard() (*command.Registry, error) {
	reg := command.NewRegistry()
	if err := register(reg, Think(), List(), Reader(), Writer(), Edit(), Replace(), Python(), Decide(),
		Answer()); err != nil {
		return nil, err
	}
	// What models call a command that may be registered later, or not at all.
	for _, alias := range []string{"google", "web_search"} {
		if err := reg.Alias(alias, "search"); err != nil {
			return nil, err
		}
	}
	return reg, nil
}

// Add registers further built-in commands.
func Add(reg *command.Registry, p Parts) error {
	return register(reg, append([]command.Command{p.Delegate, p.Create}, p.Search...)...)
}

func register(reg *command.Registry, commands ...command.Command) error {
	for _, c := range commands {
		if c == nil {
			continue
		}
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// Think returns the command that only reasons. Its result is short: the thought
// is in the conversation already.
func Think() command.Command {
	spec := describe(command.Spec{
		Name:    "think",
		Aliases: []string{"plan", "thought", "reason"},
		Slots:   []command.Slot{{Name: "text", Kind: command.SlotLine}},
		Effect:  command.EffectNone,
	})
	return command.Func(spec, func(context.Context, *command.Env, *command.Call) (*command.Result, error) {
		return &command.Result{Text: texts.Say("thought", nil)}, nil
	})
}

// Answer returns the command that ends the task.
func Answer() command.Command {
	spec := describe(command.Spec{
		Name:      "answer",
		Aliases:   []string{"final_answer", "final", "finish", "respond", "reply"},
		Slots:     []command.Slot{{Name: "text", Kind: command.SlotText}},
		Effect:    command.EffectNone,
		Essential: true,
		Final:     true,
	})
	return command.Func(spec, func(_ context.Context, _ *command.Env, call *command.Call) (*command.Result, error) {
		return answer(call), nil
	})
}

// answer joins the texts of all entries. An entry without a known field is added
// as JSON, so that nothing is lost.
func answer(call *command.Call) *command.Result {
	var parts []string
	for _, entry := range call.Content {
		part, ok := command.TextOf(entry, "text", "answer", "content", "message", "response", "result")
		if !ok || len(entry) > 1 {
			part = command.AsText(entryValue(entry))
		}
		parts = append(parts, part)
	}
	whole := strings.TrimSpace(strings.Join(parts, "\n"))
	if whole == "" {
		whole = strings.TrimSpace(call.Summary)
	}
	if whole == "" {
		return &command.Result{Text: texts.Say("empty_answer", nil), Failed: true}
	}
	return &command.Result{Text: whole, Answer: whole}
}

// entryValue is the only value of an entry, or the entry itself.
func entryValue(entry map[string]any) any {
	if len(entry) == 1 {
		for _, v := range entry {
			return v
		}
	}
	return entry
}

// describe fills in the words that the model reads, from the embedded files.
func describe(spec command.Spec) command.Spec {
	spec.Description = texts.Text(spec.Name + ".md")
	help := texts.Help()
	for i := range spec.Slots {
		spec.Slots[i].Help = help[spec.Name+"."+spec.Slots[i].Name]
	}
	return spec
}
