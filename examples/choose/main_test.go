package main

import (
	"context"
	"os"

	"agent/backend"
)

func Example_choose() {
	b := backend.NewScripted(backend.ScriptedConfig{Choices: []string{"Paris"}})
	err := choose(context.Background(), b, os.Stdout, "What is the capital of France?", []string{"Paris", "Rome"})
	if err != nil {
		panic(err)
	}
	// Output:
	// Paris        100.0 %
	// Rome           0.0 %
	// Paris, by scripted
}
