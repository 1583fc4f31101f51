//go:build unix && !linux

package bench

import (
	"os"
	"os/exec"
	"syscall"
)

// asOwnGroup gives a process a group, so that all of it can be ended.
func asOwnGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func killGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }
