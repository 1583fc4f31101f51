//go:build unix && !linux

package sandbox

import (
	"os/exec"
	"syscall"
)

func signalName(e *exec.ExitError) string {
	if ws, ok := e.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return ws.Signal().String()
	}
	return ""
}

func requiredEnvironment() []string { return nil }
