package terminal

import (
	"os"

	"golang.org/x/sys/unix"
)

// flushInput drops what waits to be read from a terminal; of other files, nothing.
func flushInput(f *os.File) {
	_ = unix.IoctlSetInt(int(f.Fd()), unix.TCFLSH, unix.TCIFLUSH)
}
