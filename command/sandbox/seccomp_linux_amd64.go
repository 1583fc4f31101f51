package sandbox

import "golang.org/x/sys/unix"

// System calls that newer architectures no longer have.

func legacyOwnerCalls() []uint32 { return []uint32{unix.SYS_CHOWN, unix.SYS_LCHOWN} }

func legacyModeCalls() []uint32 {
	return []uint32{unix.SYS_CHMOD, unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT}
}

func legacyModeArguments() []modeCall {
	return []modeCall{{unix.SYS_CHMOD, 1}, {unix.SYS_CREAT, 1}, {unix.SYS_MKNOD, 1}}
}

func legacyOpenCalls() []modeCall { return []modeCall{{unix.SYS_OPEN, 2}} }
