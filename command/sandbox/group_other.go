//go:build !unix

package sandbox

import (
	"os"
	"os/exec"
)

// killGroup leaves the default: cancelling kills the process itself.
func killGroup(*exec.Cmd) {}

func signalName(*exec.ExitError) string { return "" }

// requiredEnvironment is what Windows needs to start any program.
func requiredEnvironment() []string { return []string{"SYSTEMROOT=" + os.Getenv("SYSTEMROOT")} }
