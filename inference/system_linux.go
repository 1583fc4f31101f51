package inference

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"agent/inference/internal/llama"
)

// availableMemory is what can be allocated without swapping, in bytes: the
// kernel's estimate, or what the control group leaves if that is less. 0:
// unknown.
func availableMemory() uint64 {
	free := memAvailable()
	if left, ok := cgroupLeft("/sys/fs/cgroup"); ok && (free == 0 || left < free) {
		free = left
	}
	return free
}

func memAvailable() uint64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var kib uint64
		if n, _ := fmt.Sscanf(s.Text(), "MemAvailable: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}

// cgroupLeft reads what a version 2 control group leaves of its limit, as
// containers have it. Pages of files count as used there, but the kernel drops
// them when memory is asked for: right after a model file was copied into a
// container, they are most of it.
func cgroupLeft(dir string) (uint64, bool) {
	limit, err := readNumber(dir + "/memory.max")
	if err != nil {
		return 0, false
	}
	used, err := readNumber(dir + "/memory.current")
	if err != nil {
		return 0, false
	}
	used -= min(used, cgroupFilePages(dir))
	return limit - min(limit, used), true
}

// cgroupFilePages are the bytes of files that a control group keeps in memory;
// 0 where that is not told.
func cgroupFilePages(dir string) (total uint64) {
	f, err := os.Open(dir + "/memory.stat")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var n uint64
		key, value, _ := strings.Cut(s.Text(), " ")
		if key == "active_file" || key == "inactive_file" {
			n, _ = strconv.ParseUint(value, 10, 64)
		}
		total += n
	}
	return total
}

func readNumber(path string) (uint64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}

// majorFaults counts the page faults of this process that needed the disk.
func majorFaults() int64 {
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &ru) != nil {
		return 0
	}
	return int64(ru.Majflt)
}

// clockTick is the unit of /proc/stat, the same on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// readCPUUse adds up the processor time of the cores that this process may use, that of
// programs with low priority too: the kernel groups programs by session, and they do not
// give way to those of another one.
func readCPUUse() (u cpuUse, ok bool) {
	var own unix.Rusage
	allowed := allowedCores()
	f, err := os.Open("/proc/stat")
	if err != nil || unix.Getrusage(unix.RUSAGE_SELF, &own) != nil {
		return u, false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan() && strings.HasPrefix(s.Text(), "cpu"); {
		var cpu, user, nice, system, idle, wait, irq, softirq int
		if n, _ := fmt.Sscanf(s.Text(), "cpu%d %d %d %d %d %d %d %d", &cpu, &user, &nice, &system, &idle,
			&wait,
			&irq, &softirq); n < 8 || !allowed.IsSet(cpu) {
			continue
		}
		u.cores++
		u.all += time.Duration(user+nice+system+irq+softirq) * clockTick
	}
	u.own = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	return u, u.cores > 0
}

// allowedCores are the processors that this process may use.
func allowedCores() (allowed unix.CPUSet) {
	cores := llama.Cores()
	for _, cpu := range cores {
		allowed.Set(int(cpu))
	}
	if len(cores) == 0 {
		_ = unix.SchedGetaffinity(0, &allowed) // then none is known, and callers fall back
	}
	return allowed
}

// PhysicalCores counts cores that this process may use, hyper-threads once.
func PhysicalCores() int {
	allowed := allowedCores()
	cores := map[string]bool{}
	for cpu := range 1024 {
		if !allowed.IsSet(cpu) {
			continue
		}
		siblings, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu))
		if err != nil {
			return fallbackCores()
		}
		cores[strings.TrimSpace(string(siblings))] = true
	}
	if len(cores) == 0 {
		return fallbackCores()
	}
	return len(cores)
}

// processor names this processor and its features, for verdicts that hold for it alone.
func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	var about []string
	lines := bufio.NewScanner(f)
	for lines.Scan() && lines.Text() != "" { // the first of them
		key, value, _ := strings.Cut(lines.Text(), ":")
		switch strings.TrimSpace(key) {
		case "model name", "stepping", "microcode", "flags", "CPU part", "Features":
			about = append(about, strings.TrimSpace(value))
		}
	}
	return strings.Join(append(about, runtime.GOARCH), "; ")
}
