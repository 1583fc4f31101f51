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
		unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_VHANGUP, unix.SYS_FANOTIFY_INIT, unix.SYS_QUOTACTL_FD,
		unix.SYS_OPEN_TREE_ATTR, unix.SYS_LOOKUP_DCOOKIE,
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

// rules are what a filter refuses beside denied.
type rules struct {
	families []uint32 // of sockets that may be made; none: no sockets at all
	// outsiders refuses what reaches processes that a PID namespace would hide.
	outsiders bool
	// signals refuses signals too, where Landlock does not keep them inside.
	signals bool
	// metadata keeps modes, owners and times of files as they are, which
	// Landlock does not guard.
	metadata bool
	// truncate refuses the call that shortens a file without opening it, which
	// Landlock guards since its third version.
	truncate bool
}

// rulesFor closes by the filter what the plan's other mechanisms leave open.
func (o *order) rulesFor() rules {
	p := o.Plan
	r := rules{
		outsiders: !p.Namespaces,
		signals:   !p.Namespaces && p.Landlock < 6,
		metadata:  !p.View,
		truncate:  !p.View && p.Landlock < 3,
	}
	switch {
	case o.Job.Network: // not local ones: abstract names belong to the network namespace
		r.families = []uint32{unix.AF_INET, unix.AF_INET6}
	case p.Namespaces && p.View:
		r.families = []uint32{unix.AF_UNIX}
	}
	return r
}

// refused lists further system calls that fail with EPERM.
func (r rules) refused() []uint32 {
	var out []uint32
	if r.outsiders {
		out = append(out,
			unix.SYS_SETPRIORITY, unix.SYS_IOPRIO_SET, unix.SYS_SCHED_SETAFFINITY, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_SETPARAM,
			unix.SYS_SCHED_SETATTR, unix.SYS_PROCESS_MADVISE, unix.SYS_PROCESS_MRELEASE, unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES,
			unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_SHMCTL, unix.SYS_MSGGET, unix.SYS_MSGSND, unix.SYS_MSGRCV, unix.SYS_MSGCTL,
			unix.SYS_SEMGET, unix.SYS_SEMOP, unix.SYS_SEMTIMEDOP, unix.SYS_SEMCTL, unix.SYS_MQ_OPEN, unix.SYS_MQ_UNLINK)
	}
	if r.signals {
		out = append(out, unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_TGKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO, unix.SYS_PIDFD_SEND_SIGNAL)
	}
	if r.metadata {
		out = append(out, unix.SYS_FCHOWNAT, unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_SETXATTRAT,
			unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_REMOVEXATTRAT, unix.SYS_INOTIFY_ADD_WATCH)
		out = append(out, legacyOwnerCalls()...)
	}
	if r.truncate {
		out = append(out, unix.SYS_TRUNCATE)
	}
	return out
}

// ignored lists system calls that do nothing and say that they did: common
// programs copy a file's mode and times, and would fail if they could not.
func (r rules) ignored() []uint32 {
	if !r.metadata {
		return nil
	}
	return append([]uint32{unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_UTIMENSAT}, legacyModeCalls()...)
}

// filter builds the program that decides on each system call.
func filter(r rules) []unix.SockFilter {
	var f program
	f.load(seccompArch)
	f.jump(unix.BPF_JEQ, auditArch(), 1, 0)
	f.ret(unix.SECCOMP_RET_KILL_PROCESS) // numbers of another architecture mean other calls
	f.load(seccompNumber)
	if runtime.GOARCH == "amd64" {
		const x32 = 0x40000000
		f.jump(unix.BPF_JGE, x32, 0, 1)
		f.ret(unix.SECCOMP_RET_KILL_PROCESS)
	}
	for _, number := range append(denied(), r.refused()...) {
		f.refuse(number, unix.EPERM)
	}
	for _, number := range r.ignored() {
		f.refuse(number, 0)
	}
	f.refuse(unix.SYS_CLONE3, unix.ENOSYS) // its flags are out of sight; the C library falls back to clone
	f.argument(unix.SYS_CLONE, unix.EPERM, unix.BPF_JSET, namespaceFlags)
	if r.outsiders { // limits of others; 0 is the caller itself
		f.argumentOther(unix.SYS_PRLIMIT64, unix.EPERM, 0)
	}
	f.argumentOther(unix.SYS_SOCKET, unix.EACCES, r.families...)
	f.ret(unix.SECCOMP_RET_ALLOW)
	return f
}

// program is a filter in the making. At the start of each part the number of
// the system call is loaded.
type program []unix.SockFilter

func (f *program) load(offset uint32) {
	*f = append(*f, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
}

func (f *program) jump(op uint16, k uint32, yes, no uint8) {
	*f = append(*f, unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: yes, Jf: no})
}

func (f *program) ret(k uint32) {
	*f = append(*f, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k})
}

// refuse makes a system call give an error; error 0 is a success that did
// nothing.
func (f *program) refuse(number uint32, errno unix.Errno) {
	f.jump(unix.BPF_JEQ, number, 0, 1)
	f.ret(unix.SECCOMP_RET_ERRNO | uint32(errno))
}

// argument refuses a system call whose first argument has the property.
func (f *program) argument(number uint32, errno unix.Errno, op uint16, k uint32) {
	f.jump(unix.BPF_JEQ, number, 0, 4)
	f.load(seccompArg0)
	f.jump(op, k, 0, 1)
	f.ret(unix.SECCOMP_RET_ERRNO | uint32(errno))
	f.ret(unix.SECCOMP_RET_ALLOW)
}

// argumentOther refuses a system call whose first argument is none of those
// allowed.
func (f *program) argumentOther(number uint32, errno unix.Errno, allowed ...uint32) {
	n := uint8(len(allowed))
	f.jump(unix.BPF_JEQ, number, 0, n+3)
	f.load(seccompArg0)
	for i, value := range allowed {
		f.jump(unix.BPF_JEQ, value, n-uint8(i), 0)
	}
	f.ret(unix.SECCOMP_RET_ERRNO | uint32(errno))
	f.ret(unix.SECCOMP_RET_ALLOW)
}

// seccomp applies the filter to this thread and what it becomes.
func (o *order) seccomp() error {
	if !o.Plan.Seccomp {
		return nil
	}
	f := filter(o.rulesFor())
	fprog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(f)
	if errno != 0 {
		return errno
	}
	return nil
}
