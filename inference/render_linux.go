package inference

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// limitRenderer bounds the memory of a child that renders, and keeps its
// end from leaving a dump.
func limitRenderer(bytes uint64) error {
	if err := unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: bytes, Max: bytes}); err != nil {
		return fmt.Errorf("limit the renderer's memory: %w", err)
	}
	return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}

// rendererPriority is the nice value of a template that takes long: what other
// requests compute goes first.
const rendererPriority = 10

// lowerPriority returns a function for another thread that lowers the priority
// of this one and tells. It can't be raised again.
func lowerPriority(done chan<- bool) func() {
	thread := unix.Gettid()
	return func() {
		_ = unix.Setpriority(unix.PRIO_PROCESS, thread, rendererPriority)
		done <- true
	}
}

// rendererAttr keeps Ctrl-C in a terminal from the child: the parent decides.
func rendererAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
