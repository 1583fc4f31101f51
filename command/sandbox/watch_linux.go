package sandbox

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// watchEvery is how often a running job is looked at. In that time it can take
// some more than it may, but not a machine's memory or disk.
const watchEvery = 100 * time.Millisecond

// What a job can take too much of; see Outcome.Exceeded.
const (
	exceededMemory    = "memory"
	exceededProcesses = "processes"
	exceededDisk      = "disk"
)

// watch ends a job whose processes together take more than they may. The
// kernel's limits hold for each process alone, and some not at all for root. It
// runs outside of the job's namespaces, where a job can't starve it.
type watch struct {
	init   int // process above all of the job
	limits Limits
	disks  map[string]uint64 // bytes free at the start, by a path on the disk
	reason atomic.Pointer[string]
	done   chan struct{}
}

// startWatch looks at the processes below init until stop is called, and calls
// kill once when they have taken too much.
func startWatch(init int, o *order, kill func()) *watch {
	w := &watch{init: init, limits: o.Job.Limits, disks: map[string]uint64{}, done: make(chan struct{})}
	for _, path := range append([]string{o.Job.Dir, o.Scratch}, o.Job.Writable...) {
		if free, ok := freeBytes(path); ok {
			w.disks[path] = free
		}
	}
	go func() {
		ticker := time.NewTicker(watchEvery)
		defer ticker.Stop()
		for {
			select {
			case <-w.done:
				return
			case <-ticker.C:
			}
			if reason := w.exceeded(); reason != "" {
				w.reason.Store(&reason)
				kill()
				return
			}
		}
	}()
	return w
}

// stop ends the looking and tells what was exceeded, if anything.
func (w *watch) stop() string {
	close(w.done)
	if reason := w.reason.Load(); reason != nil {
		return *reason
	}
	return ""
}

func (w *watch) exceeded() string {
	for path, before := range w.disks {
		if now, ok := freeBytes(path); ok && now < before && before-now > uint64(w.limits.DiskBytes) {
			return exceededDisk
		}
	}
	pids := processesBelow(w.init)
	tasks, private := 0, uint64(0)
	for _, pid := range pids {
		tasks += countTasks(pid)
		private += privateBytes(pid)
	}
	switch {
	case tasks > 2*w.limits.Processes: // the kernel's own limit is a little less exact
		return exceededProcesses
	case private > uint64(w.limits.MemoryBytes) && w.proportional(pids) > uint64(w.limits.MemoryBytes):
		return exceededMemory
	}
	return ""
}

// proportional counts what processes share only once. It is dear, and asked
// for only where the quick count is too high.
func (w *watch) proportional(pids []int) uint64 {
	var sum uint64
	for _, pid := range pids {
		if n, ok := proportionalBytes(pid); ok {
			sum += n
		} else {
			sum += privateBytes(pid)
		}
	}
	return sum
}

func freeBytes(path string) (uint64, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, false
	}
	return st.Bfree * uint64(st.Bsize), true
}

// processesBelow lists the processes below one.
func processesBelow(pid int) []int {
	if _, err := os.Stat("/proc/thread-self/children"); err != nil { // a kernel without the list
		return descendants(pid)
	}
	const processesMax = 100_000
	var out []int
	for queue := []int{pid}; len(queue) > 0 && len(out) < processesMax; queue = queue[1:] {
		children := childrenOf(queue[0])
		out = append(out, children...)
		queue = append(queue, children...)
	}
	return out
}

func childrenOf(pid int) []int {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/children", pid))
	var out []int
	for _, list := range lists {
		data, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for _, word := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(word); err == nil {
				out = append(out, child)
			}
		}
	}
	return out
}

func countTasks(pid int) int {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0
	}
	return len(tasks)
}

// privateBytes is the resident memory of a process without that of files.
func privateBytes(pid int) uint64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, resident, shared uint64
	if _, err := fmt.Sscan(string(data), &size, &resident, &shared); err != nil || shared > resident {
		return 0
	}
	return (resident - shared) * uint64(os.Getpagesize())
}

// proportionalBytes is the resident memory of a process, that which it shares
// with n others by its nth part.
func proportionalBytes(pid int) (uint64, bool) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "Pss:"); ok {
			kib, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			return kib << 10, err == nil
		}
	}
	return 0, false
}
