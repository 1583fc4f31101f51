package bench

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// cpuName is the processor's name as the kernel has it.
func cpuName() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}

// OtherLoad starts watching the machine. The function it returns tells which
// part of it other processes used since then, 0 to 1; -1 when unknown.
func OtherLoad() func() float64 {
	busy0, total0, ok0 := machineTicks()
	own0 := ownTicks()
	return func() float64 {
		busy, total, ok := machineTicks()
		if !ok0 || !ok || total <= total0 {
			return -1
		}
		other := busy - busy0 - (ownTicks() - own0)
		return max(0, other/(total-total0))
	}
}

// machineTicks are the clock ticks of all processors, busy and in all. Time
// that a hypervisor took away counts as busy: it too was not ours.
func machineTicks() (busy, total float64, ok bool) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, false
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	fields := strings.Fields(first) // cpu user nice system idle iowait irq softirq steal …
	if len(fields) < 9 {
		return 0, 0, false
	}
	for i, f := range fields[1:9] {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0, 0, false
		}
		total += n
		if i != 3 && i != 4 {
			busy += n
		}
	}
	return busy, total, true
}

// ticksPerSecond is the kernel's USER_HZ, 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// OwnSeconds are the processor seconds of this process and its children so far; -1 when unknown.
// On a busy machine they measure work better than wall time, which others share.
func OwnSeconds() float64 { return ownTicks() / ticksPerSecond }

// ownTicks are the ticks of this process and of the tools it ran.
func ownTicks() float64 {
	sum := 0.0
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var ru syscall.Rusage
		if syscall.Getrusage(who, &ru) != nil {
			continue
		}
		for _, t := range []syscall.Timeval{ru.Utime, ru.Stime} {
			sum += (float64(t.Sec) + float64(t.Usec)/1e6) * ticksPerSecond
		}
	}
	return sum
}
