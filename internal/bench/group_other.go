//go:build !linux

package bench

import (
	"os/exec"

	"agent/internal/group"
)

func asOwnGroup(cmd *exec.Cmd) { group.Own(cmd) }
