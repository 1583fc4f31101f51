//go:build unix

package group

import (
	"os"
	"os/exec"
	"syscall"
)

// Own gives a program that is to be started a process group of its own, so that
// it can be ended with all that it starts. Ctrl-C at the terminal does not reach
// it: whoever started it ends it.
func Own(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}

// Kill ends a process that leads a group, with the group.
func Kill(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }
