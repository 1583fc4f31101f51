package sandbox

import (
	"runtime"
	"slices"
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
		unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP,
		unix.SYS_PIDFD_GETFD,
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_MOVE_MOUNT,
		unix.SYS_OPEN_TREE,
		unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
		unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT,
		unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
		unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
		unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD,
		unix.SYS_KEXEC_FILE_LOAD,
		unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL,
		unix.SYS_SYSLOG,
		unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_ADJTIMEX, unix.SYS_CLOCK_ADJTIME,
		unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_VHANGUP, unix.SYS_FANOTIFY_INIT,
		unix.SYS_QUOTACTL_FD,
		unix.SYS_OPEN_TREE_ATTR, unix.SYS_LOOKUP_DCOOKIE,
		unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_SHMCTL, unix.SYS_MSGGET, unix.SYS_MSGSND,
		unix.SYS_MSGRCV, unix.SYS_MSGCTL,
		unix.SYS_SEMGET, unix.SYS_SEMOP, unix.SYS_SEMTIMEDOP, unix.SYS_SEMCTL, unix.SYS_MQ_OPEN,
		unix.SYS_MQ_UNLINK,
	}
}

// absent are system calls that fail as on a kernel without them, so that programs
// use something else: a filter can't see their flags, or they use memory that
// belongs to no visible process.
func absent() []uint32 {
	return []uint32{
		unix.SYS_CLONE3, unix.SYS_OPENAT2, unix.SYS_MEMFD_CREATE, unix.SYS_MEMFD_SECRET,
		unix.SYS_LANDLOCK_CREATE_RULESET,
		unix.SYS_FILE_SETATTR,
	}
}

// newestKnown is the newest system call that was reviewed; later ones are absent.
const newestKnown = unix.SYS_RSEQ_SLICE_YIELD

// otherOwner are the mode bits that let whoever runs a file act as its owner. A
// job run as root could use them to make others root.
const otherOwner = unix.S_ISUID | unix.S_ISGID

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
	seccompArgs   = 16 // lower half, little endian
	seccompArg    = 8  // from one to the next
)

// rules are what a filter refuses beside denied.
type rules struct {
	// network lets the job make sockets of the internet and use them. Local ones
	// are for nobody: they lead to services outside, by way of the work dir too.
	network bool
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

// rulesFor makes the filter close what the plan's other mechanisms leave open.
func (o *order) rulesFor() rules {
	p := o.Plan
	return rules{
		outsiders: !p.Namespaces,
		signals:   !p.Namespaces && p.Landlock < 6,
		metadata:  !p.View,
		truncate:  !p.View && p.Landlock < 3,
		network:   o.Job.Network,
	}
}

// refused lists further system calls that fail with EPERM.
func (r rules) refused() []uint32 {
	var out []uint32
	if r.outsiders {
		out = append(out,
			unix.SYS_SETPRIORITY, unix.SYS_IOPRIO_SET, unix.SYS_SCHED_SETAFFINITY,
			unix.SYS_SCHED_SETSCHEDULER,
			unix.SYS_SCHED_SETPARAM,
			unix.SYS_SCHED_SETATTR, unix.SYS_PROCESS_MADVISE, unix.SYS_PROCESS_MRELEASE,
			unix.SYS_MIGRATE_PAGES,
			unix.SYS_MOVE_PAGES)
	}
	if r.signals {
		out = append(out, unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_TGKILL, unix.SYS_RT_SIGQUEUEINFO,
			unix.SYS_RT_TGSIGQUEUEINFO, unix.SYS_PIDFD_SEND_SIGNAL)
	}
	if r.metadata {
		out = append(out, unix.SYS_FCHOWNAT, unix.SYS_INOTIFY_ADD_WATCH)
		out = append(out, legacyOwnerCalls()...)
	}
	if r.truncate {
		out = append(out, unix.SYS_TRUNCATE)
	}
	if !r.network {
		out = append(out, unix.SYS_SOCKET, unix.SYS_CONNECT, unix.SYS_BIND)
	}
	return out
}

// ignored lists system calls that do nothing and report success: common programs
// copy a file's mode and times, and would otherwise fail.
func (r rules) ignored() []uint32 {
	if !r.metadata {
		return nil
	}
	return append([]uint32{unix.SYS_FCHOWN, unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2,
		unix.SYS_UTIMENSAT}, legacyModeCalls()...)
}

// attributeCalls change attributes beside the content of a file.
func attributeCalls() []uint32 {
	return []uint32{
		unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_SETXATTRAT,
		unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_FREMOVEXATTR, unix.SYS_REMOVEXATTRAT,
	}
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
	f.jump(unix.BPF_JGE, newestKnown+1, 0, 1)
	f.ret(failure(unix.ENOSYS))
	f.refuse(unix.ENOSYS, absent()...)
	f.refuse(unix.EPERM, append(denied(), r.refused()...)...)
	for _, c := range append([]modeCall{{unix.SYS_FCHMOD, 1}, {unix.SYS_FCHMODAT, 2},
		{unix.SYS_FCHMODAT2, 2},
		{unix.SYS_MKNODAT, 2}}, legacyModeArguments()...) {
		f.refuseIf(c.number, unix.EPERM, hasBits(c.argument, otherOwner))
	}
	// without O_CREAT the mode means nothing
	for _, c := range append([]modeCall{{unix.SYS_OPENAT, 3}}, legacyOpenCalls()...) {
		f.refuseIf(c.number, unix.EPERM, hasBits(c.argument-1,
			unix.O_CREAT|unix.O_TMPFILE&^unix.O_DIRECTORY), hasBits(c.argument, otherOwner))
	}
	f.refuse(0, r.ignored()...)
	f.refuseIf(unix.SYS_CLONE, unix.EPERM, hasBits(0, namespaceFlags))
	if r.outsiders { // limits of others; 0 is the caller itself
		f.refuseIf(unix.SYS_PRLIMIT64, unix.EPERM, none(0, all, 0))
	}
	if r.metadata {
		f.refuse(unix.EOPNOTSUPP, attributeCalls()...) // as on a disk without them
		f.refuseIf(unix.SYS_IOCTL, unix.EPERM, one(1, setFlags, setAttributes))
	}
	if r.network {
		f.refuseIf(unix.SYS_SOCKET, unix.EACCES, none(0, all, unix.AF_INET, unix.AF_INET6))
	}
	// A pair of sockets that belong together reaches nobody else, but with
	// datagrams either end can send to any address.
	f.refuseIf(unix.SYS_SOCKETPAIR, unix.EACCES, none(0, all, unix.AF_UNIX))
	f.refuseIf(unix.SYS_SOCKETPAIR, unix.EACCES,
		none(1, socketType, unix.SOCK_STREAM, unix.SOCK_SEQPACKET))
	f.ret(unix.SECCOMP_RET_ALLOW)
	return f
}

// ioctls that change what is kept of a file beside its content.
const (
	setFlags      = unix.FS_IOC_SETFLAGS
	setAttributes = 0x401c5820 // FS_IOC_FSSETXATTR
)

const (
	all        = 0xffffffff
	socketType = 0xf // the rest are flags
)

// modeCall is a system call that gives a file a mode.
type modeCall struct{ number, argument uint32 }

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

// failure makes a system call give an error; error 0 is a success that did
// nothing.
func failure(errno unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(errno) }

// refuse makes system calls give an error.
func (f *program) refuse(errno unix.Errno, numbers ...uint32) {
	for _, number := range numbers {
		f.jump(unix.BPF_JEQ, number, 0, 1)
		f.ret(failure(errno))
	}
}

// condition is what an argument of a system call is like: after the mask it is
// one of the values, or none of them.
type condition struct {
	argument, mask uint32
	values         []uint32
	not            bool
}

func one(argument uint32, values ...uint32) condition {
	return condition{argument: argument, mask: all, values: values}
}

func none(argument, mask uint32, values ...uint32) condition {
	return condition{argument, mask, values, true}
}

// hasBits is an argument that has some of the bits.
func hasBits(argument, bits uint32) condition { return none(argument, bits, 0) }

// code compares the argument, and where the condition does not hold jumps over
// what is left of it and after more.
func (c condition) code(after int) program {
	var f program
	f.load(seccompArgs + seccompArg*c.argument)
	f = append(f, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: c.mask})
	for i, value := range c.values {
		rest := len(c.values) - 1 - i
		switch {
		case c.not:
			f.jump(unix.BPF_JEQ, value, uint8(rest+after), 0)
		case rest > 0:
			f.jump(unix.BPF_JEQ, value, uint8(rest), 0)
		default:
			f.jump(unix.BPF_JEQ, value, 0, uint8(after))
		}
	}
	return f
}

// refuseIf makes a system call give an error when all conditions hold.
func (f *program) refuseIf(number uint32, errno unix.Errno, conditions ...condition) {
	var body program
	body.ret(failure(errno))
	for _, c := range slices.Backward(conditions) {
		body = append(c.code(len(body)), body...)
	}
	f.jump(unix.BPF_JEQ, number, 0, uint8(len(body)))
	*f = append(*f, body...)
	f.load(seccompNumber)
}

// seccomp applies the filter to this thread and what it becomes.
func (o *order) seccomp() error {
	if !o.Plan.Seccomp {
		return nil
	}
	f := filter(o.rulesFor())
	fprog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0,
		uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(f)
	if errno != 0 {
		return errno
	}
	return nil
}
