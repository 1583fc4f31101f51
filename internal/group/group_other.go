//go:build !unix

package group

import (
	"os"
	"os/exec"
)

// Own does nothing: there are no process groups.
func Own(*exec.Cmd) {}

// Kill ends the process alone.
func Kill(p *os.Process) error { return p.Kill() }
