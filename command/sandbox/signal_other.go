//go:build !unix

package sandbox

import (
	"os"
	"os/exec"
)

func signalName(*exec.ExitError) string { return "" }

// requiredEnvironment is what Windows needs to start any program.
func requiredEnvironment() []string { return []string{"SYSTEMROOT=" + os.Getenv("SYSTEMROOT")} }
