package main

import (
	"fmt"
	"slices"
	"strings"

	"agent/backend"
	"agent/command"
	"agent/command/program"
	"agent/command/stock"
	"agent/session"
)

// stockCommands are the commands that every run begins with: those that work
// by themselves, and those that work on the run itself.
func stockCommands() (*command.Registry, error) {
	reg, err := stock.Standard()
	if err != nil {
		return nil, err
	}
	return reg, stock.Add(reg, stock.Parts{Delegate: session.Delegate()})
}

// spareSmall takes away what a model of fewer than least parameters does not
// manage: to split a task and to program commands. Each command more that it
// can choose makes its choices worse.
func spareSmall(registry *command.Registry, b backend.LanguageBackend, least int64) (note string, err error) {
	parameters := backend.ParametersOf(b)
	if parameters <= 0 || parameters >= least {
		return "", nil
	}
	var spared []string
	for _, name := range []string{"delegate", program.CreateName} {
		if !slices.Contains(registry.Names(), name) {
			continue
		}
		if err := registry.Disable(name); err != nil {
			return "", err
		}
		spared = append(spared, name)
	}
	if len(spared) == 0 {
		return "", nil
	}
	return fmt.Sprintf("not offered to a model of %d million parameters: %s (agent.small_model=0 offers them)", parameters/1e6, strings.Join(spared, ", ")), nil
}
