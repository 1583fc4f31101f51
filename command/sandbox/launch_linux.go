package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// launchMain is the second re-execution: it confines itself step by step and then
// becomes the program. Everything applies to this thread, the one that survives
// execve.
func launchMain() int {
	runtime.LockOSThread()
	debug.SetGCPercent(-1) // it would only get in the way of the few steps to come
	problems := os.NewFile(4, "problems")
	unix.CloseOnExec(4)
	o, err := readOrder()
	if err == nil {
		err = o.launch()
	}
	fmt.Fprint(problems, err) // only reached when the program was not started
	return 125
}

func (o *order) launch() error {
	if err := limitProcess(o); err != nil {
		return fmt.Errorf("set limits: %w", err)
	}
	dir := o.Job.startFolder()
	if o.Plan.View {
		if err := o.enterView(); err != nil {
			return fmt.Errorf("private root: %w", err)
		}
		giveTmp()
		boundPIDs(o.Job.Limits.Processes)
		if err := sealProc(); err != nil {
			return fmt.Errorf("private root: %w", err)
		}
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	if err := dropPrivileges(); err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	if err := o.landlock(); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	if err := o.seccomp(); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	if o.Canary != "" {
		o.selfTest()
	}
	// Files that this program inherited without knowing must not be passed on.
	if err := unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC); err != nil && err != unix.ENOSYS {
		return fmt.Errorf("close files: %w", err)
	}
	if err := o.become(); err != nil {
		return fmt.Errorf("run %s: %w", o.Job.Path, err)
	}
	return nil // not reached
}

// become limits the memory and executes the program in two system calls with
// nothing between: the Go runtime uses more address space than many jobs may
// have, and gets no more once the limit is set.
func (o *order) become() error {
	if err := unix.Access(o.Job.Path, unix.X_OK); err != nil {
		return err // while there is memory to say so
	}
	path, err := unix.BytePtrFromString(o.Job.Path)
	if err != nil {
		return err
	}
	argv, err := syscall.SlicePtrFromStrings(append([]string{o.Job.Path}, o.Job.Args...))
	if err != nil {
		return err
	}
	envv, err := syscall.SlicePtrFromStrings(o.Env)
	if err != nil {
		return err
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_AS, &old); err != nil {
		return err
	}
	memory := min(uint64(o.Job.Limits.MemoryBytes), old.Max)
	limit := unix.Rlimit{Cur: memory, Max: memory}
	if _, _, errno := unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_AS,
		uintptr(unsafe.Pointer(&limit)), 0, 0, 0); errno != 0 {
		return errno
	}
	_, _, errno := unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envv[0])))
	return errno
}

const openFilesMax = 1024 // of a process

// limitProcess sets the limits that do not disturb this program itself.
func limitProcess(o *order) error {
	l := o.Job.Limits
	seconds := uint64(l.Wall/time.Second) + 2
	limits := map[int]uint64{
		unix.RLIMIT_CPU:    seconds,
		unix.RLIMIT_FSIZE:  uint64(l.FileBytes),
		unix.RLIMIT_CORE:   0,
		unix.RLIMIT_NOFILE: openFilesMax,
		unix.RLIMIT_NPROC:  uint64(l.Processes),
	}
	if !o.Plan.User { // then all processes of the user count
		limits[unix.RLIMIT_NPROC] += ownTasks()
	}
	for what, value := range limits {
		if err := setLimit(what, value); err != nil {
			return err
		}
	}
	// When memory runs out, the job goes first.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	return nil
}

// setLimit lowers a limit for good; it never raises one.
func setLimit(what int, value uint64) error {
	var old unix.Rlimit
	if err := unix.Getrlimit(what, &old); err != nil {
		return err
	}
	value = min(value, old.Max)
	return unix.Setrlimit(what, &unix.Rlimit{Cur: value, Max: value})
}

// ownTasks counts the threads of this user.
func ownTasks() uint64 {
	tasks, _ := filepath.Glob("/proc/[0-9]*/task/[0-9]*")
	uid, n := uint32(os.Getuid()), uint64(0)
	for _, t := range tasks {
		var st unix.Stat_t
		if unix.Stat(t, &st) == nil && st.Uid == uid {
			n++
		}
	}
	return n
}

// boundPIDs bounds the processes of the namespace where the kernel can (Linux
// 6.14); RLIMIT_NPROC does not hold root back.
func boundPIDs(processes int) {
	const pidMaxMin = 301 // the kernel takes no less
	_ = os.WriteFile("/proc/sys/kernel/pid_max", []byte(strconv.Itoa(max(pidMaxMin, processes))), 0)
}

// dropPrivileges gives up every capability for good. Inside a user namespace this
// process still has them all.
func dropPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	for capability := 0; capability <= unix.CAP_LAST_CAP; capability++ {
		// refused without privileges, and not needed then
		_ = unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(capability), 0, 0, 0)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return unix.Capset(&header, &none[0])
}

// selfTest checks the confinement from inside and ends the process.
func (o *order) selfTest() {
	if f, err := os.Open(o.Canary); err == nil {
		f.Close()
		fmt.Println("a file outside of the work dir can be read")
		os.Exit(1)
	}
	if err := os.WriteFile("inside", []byte("x"), 0o644); err != nil {
		fmt.Println("the work dir can't be written:", err)
		os.Exit(1)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil && o.Listener > 0 {
		if unix.Connect(fd, &unix.SockaddrInet4{Port: o.Listener, Addr: [4]byte{127, 0, 0, 1}}) == nil {
			fmt.Println("a listening port of this machine can be reached")
			os.Exit(1)
		}
	}
	os.Exit(0)
}

const (
	landlockRead = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR |
		unix.LANDLOCK_ACCESS_FS_EXECUTE
	landlockFile = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE |
		unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	landlockWrite = landlockRead | landlockFile |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_DIR |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM |
		unix.LANDLOCK_ACCESS_FS_REFER
)

// landlockABI returns the version that the kernel has, 0 without Landlock.
func landlockABI() int {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0,
		unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(abi)
}

// handled lists the rights that a version of Landlock can take away from a job
// with or without network.
func handled(abi int, network bool) unix.LandlockRulesetAttr {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: 1<<13 - 1}
	if abi >= 2 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 && !network {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= 5 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	return attr
}

// landlock confines this thread and the program that it becomes. The system calls
// are made directly: go-landlock must reach all threads and brings C code for
// that; here one thread is enough.
func (o *order) landlock() error {
	if o.Plan.Landlock == 0 {
		return nil
	}
	attr := handled(o.Plan.Landlock, o.Job.Network)
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)),
		unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return errno
	}
	ruleset := int(fd)
	defer unix.Close(ruleset)
	if err := o.allowPaths(ruleset, attr.Handled_access_fs); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0,
		0); errno != 0 {
		return errno
	}
	return nil
}

func (o *order) allowPaths(ruleset int, rights uint64) error {
	for _, path := range o.readable() {
		if err := allowPath(ruleset, path, landlockRead&rights); err != nil {
			return err
		}
	}
	for _, path := range devices() {
		device := uint64(
			unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE)
		if err := allowPath(ruleset, path, device&rights); err != nil {
			return err
		}
	}
	written := append([]string{o.Job.Dir, o.tmp()}, o.Job.Writable...)
	if o.Plan.View {
		written = append(written, "/dev/shm")
		if err := allowPath(ruleset, "/proc", landlockRead&^unix.LANDLOCK_ACCESS_FS_EXECUTE); err != nil {
			return err
		}
	}
	for _, path := range written {
		if err := allowPath(ruleset, path, landlockWrite&rights); err != nil {
			return err
		}
	}
	return nil
}

// allowPath adds a rule for a path and what is below it. A path that does not
// exist needs no rule.
func allowPath(ruleset int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT || err == unix.EACCES || err == unix.ENOTDIR {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= landlockFile
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset),
		unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("%s: %w", path, errno)
	}
	return nil
}
