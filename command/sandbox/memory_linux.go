package sandbox

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Processes hold memory that is not resident in any of them: shared mappings
// that were touched and let go of, what waits in sockets and pipes, files in
// memory that nobody has mapped, page tables. That it is held is seen by what
// the machine has left; that it is this job which holds it, by what its
// processes have open.

// fileBuffer is the most that may wait in a socket or a pipe.
const fileBuffer = 512 << 10

// availableMemory is the free memory of the machine, or 0 if unknown.
func availableMemory() uint64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	return kibField(string(data), "MemAvailable:")
}

// kibField reads a line such as "VmSwap:  12 kB".
func kibField(text, name string) uint64 {
	_, rest, found := strings.Cut(text, "\n"+name)
	if !found {
		return 0
	}
	line, _, _ := strings.Cut(rest, "\n")
	kib, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(line, "kB")), 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}

// mayHold is the most memory of the machine that processes can hold.
func mayHold(pids []int) uint64 {
	sum, seen := uint64(0), &shared{mappings: map[string]uint64{}, files: map[string]uint64{}}
	for _, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue // it ended
		}
		text := string(status)
		sum += kibField(text, "VmPTE:")
		if seen.addMappings(pid) && seen.addFiles(pid) {
			sum += kibField(text, "RssAnon:") + kibField(text, "VmSwap:")
		} else { // it hides them
			sum += kibField(text, "VmSize:") + openFilesMax*fileBuffer
		}
	}
	for _, bytes := range seen.mappings {
		sum += bytes
	}
	for _, bytes := range seen.files {
		sum += bytes
	}
	return sum
}

// shared is what several processes may have open, which counts once.
type shared struct {
	mappings map[string]uint64 // bytes, by inode
	files    map[string]uint64
}

// addMappings records the shared mappings of a process that are not on a disk.
func (s *shared) addMappings(pid int) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// 7f00-7f01 rw-s 00000000 00:01 1234 /dev/zero (deleted)
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || !strings.HasSuffix(fields[1], "s") || !strings.HasPrefix(fields[3], "00:") {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		offset, err3 := strconv.ParseUint(fields[2], 16, 64)
		if err1 == nil && err2 == nil && err3 == nil {
			key := fields[3] + " " + fields[4]
			s.mappings[key] = max(s.mappings[key], offset+end-start)
		}
	}
	return lines.Err() == nil
}

// addFiles records the sockets and pipes of a process.
func (s *shared) addFiles(pid int) bool {
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	files, err := os.ReadDir(folder)
	if err != nil {
		return false
	}
	for _, f := range files {
		name, err := os.Readlink(folder + "/" + f.Name())
		if err == nil && (strings.HasPrefix(name, "socket:") || strings.HasPrefix(name, "pipe:")) {
			s.files[name] = fileBuffer
		}
	}
	return true
}
