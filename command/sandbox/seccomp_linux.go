package sandbox

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// namespaceFlags are those of clone that would give a process new privileges
// over its own namespaces, which is where kernel defects are found.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// denied are system calls that no script needs and that reach other processes,
// mounts, keys or rarely tested parts of the kernel.
func denied() []uint32 {
	return []uint32{
		unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD,
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE,
		unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
		unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT,
		unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
		unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
		unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD,
		unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SYSLOG,
		unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_ADJTIMEX, unix.SYS_CLOCK_ADJTIME,
		unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
	}
}

// auditArch names the architecture whose system call numbers the filter knows;
// 0 where there is no filter.
func auditArch() uint32 {
	switch runtime.GOARCH {
	case "amd64":
		return unix.AUDIT_ARCH_X86_64
	case "arm64":
		return unix.AUDIT_ARCH_AARCH64
	}
	return 0
}

func seccompWorks() bool {
	if auditArch() == 0 {
		return false
	}
	const actionAvailable = 2 // SECCOMP_GET_ACTION_AVAIL
	action := uint32(unix.SECCOMP_RET_ERRNO)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, actionAvailable, 0, uintptr(unsafe.Pointer(&action)))
	return errno == 0
}

// Offsets in struct seccomp_data.
const (
	seccompNumber = 0
	seccompArch   = 4
	seccompArg0   = 16 // lower half, little endian
)

// filter builds the program that decides on each system call. Sockets are
// refused but for local ones, and those too where a network namespace does not
// keep the job from the machine's own.
func filter(localSockets bool) []unix.SockFilter {
	var f []unix.SockFilter
	load := func(offset uint32) {
		f = append(f, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
	}
	jump := func(op uint16, k uint32, yes, no uint8) {
		f = append(f, unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: yes, Jf: no})
	}
	ret := func(k uint32) { f = append(f, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}) }
	refuse := func(errno unix.Errno) { ret(unix.SECCOMP_RET_ERRNO | uint32(errno)) }

	load(seccompArch)
	jump(unix.BPF_JEQ, auditArch(), 1, 0)
	ret(unix.SECCOMP_RET_KILL_PROCESS) // numbers of another architecture mean other calls
	load(seccompNumber)
	if runtime.GOARCH == "amd64" {
		const x32 = 0x40000000
		jump(unix.BPF_JGE, x32, 0, 1)
		ret(unix.SECCOMP_RET_KILL_PROCESS)
	}
	for _, number := range denied() {
		jump(unix.BPF_JEQ, number, 0, 1)
		refuse(unix.EPERM)
	}
	jump(unix.BPF_JEQ, unix.SYS_CLONE3, 0, 1)
	refuse(unix.ENOSYS) // its flags are out of sight; the C library falls back to clone
	jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 4)
	load(seccompArg0)
	jump(unix.BPF_JSET, namespaceFlags, 0, 1)
	refuse(unix.EPERM)
	ret(unix.SECCOMP_RET_ALLOW)
	if localSockets {
		jump(unix.BPF_JEQ, unix.SYS_SOCKET, 0, 3)
		load(seccompArg0)
		jump(unix.BPF_JEQ, unix.AF_UNIX, 1, 0)
		refuse(unix.EACCES)
	} else {
		jump(unix.BPF_JEQ, unix.SYS_SOCKET, 0, 1)
		refuse(unix.EACCES)
	}
	ret(unix.SECCOMP_RET_ALLOW)
	return f
}

// seccomp applies the filter to this thread and what it becomes.
func (o *order) seccomp() error {
	if !o.Plan.Seccomp {
		return nil
	}
	program := filter(o.Plan.Namespaces && o.Plan.View)
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return errno
	}
	return nil
}
