package terminal

import (
	"os"

	"golang.org/x/sys/unix"
)

// flushInput drops what waits to be read from a terminal; of other files, nothing.
func flushInput(f *os.File) {
	const read = 1 // FREAD
	_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.TIOCFLUSH, read)
}
