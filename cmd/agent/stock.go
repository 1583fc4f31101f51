package main

import (
	"agent/command"
	"agent/session"
)

// stockCommands are the commands that every run begins with: those that work
// by themselves, and those that work on the run itself.
func stockCommands() (*command.Registry, error) {
	reg, err := command.Standard()
	if err != nil {
		return nil, err
	}
	return reg, reg.Register(session.Delegate())
}
