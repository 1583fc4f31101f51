//go:build unix

package mcp

import (
	"os/exec"
	"syscall"
)

// ownGroup lets a program and all that it starts be ended together; it also
// keeps Ctrl-C at the terminal from the program, which the agent ends itself.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func killGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
