package sandbox

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// legacyOpens make a file of a mode by calls that newer architectures lack.
func legacyOpens(mode uint32) map[string]func(name string) {
	return map[string]func(string){
		"open": func(name string) {
			p, _ := unix.BytePtrFromString(name)
			_, _, _ = unix.Syscall(unix.SYS_OPEN, uintptr(unsafe.Pointer(p)), unix.O_CREAT|unix.O_WRONLY, uintptr(mode))
		},
		"creat": func(name string) {
			p, _ := unix.BytePtrFromString(name)
			_, _, _ = unix.Syscall(unix.SYS_CREAT, uintptr(unsafe.Pointer(p)), uintptr(mode), 0)
		},
	}
}
