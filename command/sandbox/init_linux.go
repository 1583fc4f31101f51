package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// initMain is the first re-execution: the ancestor of every process of the job.
// It kills them all when the program ends or when its parent goes away.
func initMain() int {
	runtime.LockOSThread() // the launcher dies with the thread that started it
	report := os.NewFile(4, "status")
	lifeline := os.NewFile(5, "lifeline")
	for _, f := range []*os.File{report, lifeline} {
		unix.CloseOnExec(int(f.Fd()))
	}
	o, err := readOrder()
	if err != nil {
		return writeStatus(report, status{Error: err.Error()})
	}
	if err := adoptOrphans(o.Plan); err != nil {
		return writeStatus(report, status{Error: err.Error()})
	}
	go func() {
		_, _ = io.Copy(io.Discard, lifeline) // until the parent closes it or dies
		endAll(o.Plan)
		_ = os.RemoveAll(o.Scratch) // the parent may not be there to do it
		os.Exit(1)
	}()
	st := superviseLauncher(o)
	endAll(o.Plan)
	return writeStatus(report, st)
}

func writeStatus(report *os.File, st status) int {
	if err := json.NewEncoder(report).Encode(st); err != nil {
		return 1
	}
	return 0
}

// adoptOrphans makes this process the parent of processes whose own parent has
// ended, and hides it from the job.
func adoptOrphans(p plan) error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hide init: %w", err)
	}
	if p.Namespaces {
		if pid := os.Getpid(); pid != 1 {
			return fmt.Errorf("no PID namespace: init has PID %d", pid)
		}
		return nil
	}
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// superviseLauncher starts the launcher and waits for the end of the program that
// it becomes.
func superviseLauncher(o *order) status {
	orderR, orderW, err := os.Pipe()
	if err != nil {
		return status{Error: err.Error()}
	}
	errorR, errorW, err := os.Pipe()
	if err != nil {
		return status{Error: err.Error()}
	}
	exe, err := os.Executable()
	if err != nil {
		return status{Error: err.Error()}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return status{Error: err.Error()}
	}
	theirs := os.NewFile(uintptr(pair[1]), "tmp")
	attr := &os.ProcAttr{
		Env:   os.Environ(),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, orderR, errorW, theirs},
		Sys:   &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	}
	if o.Plan.View {
		attr.Sys.Cloneflags = unix.CLONE_NEWNS
	}
	process, err := os.StartProcess(exe, []string{launchName}, attr)
	if err != nil {
		return status{Error: "start launcher: " + err.Error()}
	}
	orderR.Close()
	errorW.Close()
	theirs.Close()
	_ = json.NewEncoder(orderW).Encode(o)
	orderW.Close()
	// The pipe ends when the launcher becomes the program, or with its error.
	problem, _ := io.ReadAll(io.LimitReader(errorR, 16<<10))
	tmp := o.openTmp(pair[0])
	ws := reap(process.Pid)
	left := o.left(tmp)
	if len(problem) > 0 {
		return status{Error: string(problem)}
	}
	if ws.Signaled() {
		return status{Signal: int(ws.Signal()), Left: left}
	}
	return status{ExitCode: ws.ExitStatus(), Left: left}
}

// reap waits for every child, adopted ones too, until the given one has ended.
func reap(pid int) unix.WaitStatus {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, 0, nil)
		if got == pid && (ws.Exited() || ws.Signaled()) {
			return ws
		}
		if err != nil && err != unix.EINTR {
			return ws
		}
	}
}

// endAll kills every process of the job. In a PID namespace one call does that,
// as would the end of this process.
func endAll(p plan) {
	if p.Namespaces && os.Getpid() == 1 {
		_ = unix.Kill(-1, unix.SIGKILL)
		return
	}
	const roundsMax = 200
	for range roundsMax {
		victims := descendants(os.Getpid())
		if len(victims) == 0 {
			return
		}
		for _, pid := range victims {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		for {
			if got, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); got <= 0 || err != nil {
				break
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// descendants lists the living processes below pid.
func descendants(pid int) []int {
	children := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if id, err := strconv.Atoi(e.Name()); err == nil {
			if parent, zombie, ok := parentOf(id); ok && !zombie {
				children[parent] = append(children[parent], id)
			}
		}
	}
	var out []int
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		out = append(out, children[queue[0]]...)
		queue = append(queue, children[queue[0]]...)
	}
	return out
}

func parentOf(pid int) (parent int, zombie, ok bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false, false
	}
	// pid (name) state ppid ...; the name may hold spaces and parentheses
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return 0, false, false
	}
	parent, err = strconv.Atoi(fields[1])
	return parent, fields[0] == "Z", err == nil
}
