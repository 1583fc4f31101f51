package bench

import (
	"os"
	"os/exec"
	"syscall"
)

// asOwnGroup gives a process a group, so that all of it can be ended, and lets
// the kernel end it if this program is killed before it could do so.
func asOwnGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func killGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }
