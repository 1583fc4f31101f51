package bench

import (
	"os/exec"
	"syscall"

	"agent/internal/group"
)

// asOwnGroup gives a process a group, so that all of it can be ended, and lets
// the kernel end it if this program is killed before it could do so.
func asOwnGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	group.Own(cmd)
}
