package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"agent/command"
	"agent/internal/bench/tasks"
)

// callWatch counts the calls that run although their command's description
// does not allow them.
type callWatch struct{ invalid atomic.Int64 }

// over puts the tools of the task into reg, and watches all commands but the
// essential ones, which nothing may replace.
func (w *callWatch) over(reg *command.Registry, task *tasks.Task) error {
	for _, tool := range task.Tools {
		if err := reg.Register(scriptedTool(tool)); err != nil {
			return err
		}
	}
	for _, spec := range reg.Specs() {
		inner, err := reg.Resolve(spec.Name)
		if err != nil {
			return err
		}
		if spec.Essential {
			continue
		}
		if err := reg.Replace(watchedCommand{inner, w}); err != nil {
			return err
		}
	}
	return nil
}

// watchedCommand is a command whose calls are looked at before they run.
type watchedCommand struct {
	command.Command
	watch *callWatch
}

func (c watchedCommand) Run(ctx context.Context, env *command.Env, call *command.Call,
) (*command.Result, error) {
	if checkCall(c.Spec(), env, call) != nil {
		c.watch.invalid.Add(1)
	}
	return c.Command.Run(ctx, env, call)
}

// CallEffect implements [command.Varied] for the command inside.
func (c watchedCommand) CallEffect(call *command.Call) command.Effect {
	return command.EffectOf(c.Command, call)
}

// checkCall holds a call against its command's description: required fields
// are there, and have values that the description allows.
func checkCall(spec command.Spec, env *command.Env, call *command.Call) error {
	if len(call.Content) == 0 && slices.ContainsFunc(spec.Slots,
		func(s command.Slot) bool { return !s.Optional }) {
		return errors.New("no content")
	}
	for _, entry := range call.Content {
		for _, slot := range spec.Slots {
			if err := checkSlot(slot, env, entry[slot.Name]); err != nil {
				return fmt.Errorf("%s: %w", slot.Name, err)
			}
		}
	}
	return nil
}

func checkSlot(slot command.Slot, env *command.Env, value any) error {
	text, isText := value.(string)
	switch {
	case value == nil && slot.Optional:
		return nil
	case value == nil:
		return errors.New("missing")
	case slot.Kind == command.SlotEnum && !slices.Contains(slot.Options, text):
		return errors.New("no such option")
	case slot.Kind == command.SlotFile:
		if !isText || !filepath.IsLocal(text) {
			return errors.New("no file of the work dir")
		}
		_, err := os.Stat(filepath.Join(env.WorkDir, text))
		return err
	}
	return nil
}

// scriptedTool plays the script of a task's tool. It counts as reaching out, as
// most tools that fail now and then do: the same call may be worth repeating.
func scriptedTool(tool tasks.Tool) command.Command {
	spec := command.Spec{Name: tool.Name, Description: tool.Description, Effect: command.EffectNetwork}
	for name, help := range tool.Fields {
		spec.Slots = append(spec.Slots, command.Slot{Name: name, Help: help, Kind: command.SlotLine})
	}
	slices.SortFunc(spec.Slots, func(a, b command.Slot) int { return strings.Compare(a.Name, b.Name) })
	var calls atomic.Int64
	return command.Func(spec, func(context.Context, *command.Env, *command.Call) (*command.Result, error) {
		n := min(int(calls.Add(1)), len(tool.Replies)) - 1
		reply := tool.Replies[n]
		if reply.Failed != "" {
			return &command.Result{Text: reply.Failed, Failed: true}, nil
		}
		return &command.Result{Text: reply.Text}, nil
	})
}
