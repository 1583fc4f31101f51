package sandbox

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// How often a running job is looked at: rarely while it has little, and the
// oftener the sooner it could have all that it may.
const (
	watchLongest  = 100 * time.Millisecond
	watchShortest = 5 * time.Millisecond
	watchShare    = 10 // the looking takes at most this part of the time

	// memoryPerSecond is what a core can fill of memory.
	memoryPerSecond = 2 << 30
)

// What a job can take too much of; see Outcome.Exceeded.
const (
	exceededMemory    = "memory"
	exceededProcesses = "processes"
	exceededDisk      = "disk"
	exceededFiles     = "files"
)

// watch ends a job whose processes together use too much. The kernel's limits
// hold for each process alone, and some not at all for root. It runs outside the
// job's namespaces, where the job can't starve it.
type watch struct {
	init      int // process above all of the job
	limits    Limits
	inMemory  uint64          // at most taken by the job's folders in memory
	disks     map[string]room // at the start, by a path on the disk
	available uint64          // memory of the machine at the start
	reason    atomic.Pointer[string]
	done      chan struct{}
}

// startWatch watches the processes below init until stop is called. It calls kill
// once if they use too much.
func startWatch(init int, o *order, kill func(pids []int)) *watch {
	w := &watch{init: init, limits: o.Job.Limits, disks: map[string]room{},
		available: availableMemory(), done: make(chan struct{})}
	if o.Plan.View {
		w.inMemory = uint64(tmpMemory().bytes(w.limits) + shmMemory().bytes(w.limits))
	}
	for _, path := range append([]string{o.Job.Dir, o.Scratch}, o.Job.Writable...) {
		if left, ok := roomOf(path); ok && !w.knows(left.disk) {
			w.disks[path] = left
		}
	}
	go func() {
		timer := time.NewTimer(watchShortest)
		defer timer.Stop()
		for {
			select {
			case <-w.done:
				return
			case <-timer.C:
			}
			start := time.Now()
			reason, left := w.exceeded()
			if reason != "" {
				w.reason.Store(&reason)
				kill(processesBelow(w.init))
				return
			}
			timer.Reset(max(untilFull(left), watchShare*time.Since(start)))
		}
	}()
	return w
}

func (w *watch) knows(disk unix.Fsid) bool {
	for _, r := range w.disks {
		if r.disk == disk {
			return true
		}
	}
	return false
}

// untilFull is how soon to check a job again that may use so much more memory.
func untilFull(left uint64) time.Duration {
	perSecond := memoryPerSecond * uint64(runtime.NumCPU())
	soon := time.Duration(left*uint64(time.Second/time.Microsecond)/perSecond) * time.Microsecond
	return min(max(soon, watchShortest), watchLongest)
}

// stop ends the watch and returns what was exceeded, if anything.
func (w *watch) stop() string {
	close(w.done)
	if reason := w.reason.Load(); reason != nil {
		return *reason
	}
	return ""
}

// exceeded returns what the job uses too much of, and how much more memory it may
// use.
func (w *watch) exceeded() (reason string, left uint64) {
	inMemory := w.inMemory
	for path, before := range w.disks {
		now, ok := roomOf(path)
		bytes, files := before.bytes-min(now.bytes, before.bytes),
			before.files-min(now.files, before.files)
		switch {
		case !ok:
		case bytes > uint64(w.limits.DiskBytes):
			return exceededDisk, 0
		case files > uint64(w.limits.Files):
			return exceededFiles, 0
		case before.inMemory:
			inMemory += bytes
		}
	}
	pids := processesBelow(w.init)
	tasks, private := 0, uint64(0)
	for _, pid := range pids {
		tasks += countTasks(pid)
		private += privateBytes(pid)
	}
	most, gone := uint64(w.limits.MemoryBytes), w.gone()
	switch {
	case tasks > 2*w.limits.Processes: // the kernel's own limit is a little less exact
		return exceededProcesses, 0
	case private > most && w.proportional(pids) > most, gone > most && inMemory+mayHold(pids) > most:
		return exceededMemory, 0
	}
	return "", most - min(max(private, gone), most)
}

// gone is how much less memory the machine has than at the start, whoever took
// it.
func (w *watch) gone() uint64 {
	now := availableMemory()
	return w.available - min(now, w.available)
}

// proportional counts shared memory only once. It is expensive, and used only if
// the quick count is too high.
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

// room is the free space of a disk.
type room struct {
	bytes, files uint64
	disk         unix.Fsid
	inMemory     bool
}

func roomOf(path string) (room, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return room{}, false
	}
	return room{st.Bfree * uint64(st.Bsize), st.Ffree, st.Fsid, st.Type == unix.TMPFS_MAGIC}, true
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
