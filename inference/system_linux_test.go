package inference

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCgroupLeft(t *testing.T) {
	const stat = "anon 300\nfile 700\nkernel 5\ninactive_anon 7\nactive_anon 293\ninactive_file 400\nactive_file 200\nunevictable 0\n"
	for name, tt := range map[string]struct {
		max, current, stat string
		left               uint64
		ok                 bool
	}{
		"files are not in the way":  {"1000\n", "900\n", stat, 700, true},
		"no list of what is used":   {"1000\n", "900\n", "", 100, true},
		"nothing but files":         {"1000\n", "500\n", stat, 1000, true},
		"used beyond a new limit":   {"1000\n", "1900\n", stat, 0, true},
		"files make up for it":      {"1000\n", "1500\n", stat, 100, true},
		"a list that can't be read": {"1000\n", "900\n", "active_file x\ninactive_file\nactive_file_huge 9\n", 100, true},
		"no limit":                  {"max\n", "900\n", stat, 0, false},
		"no control group":          {"", "", "", 0, false},
		"no use":                    {"1000\n", "", stat, 0, false},
	} {
		dir := t.TempDir()
		for file, text := range map[string]string{"memory.max": tt.max, "memory.current": tt.current, "memory.stat": tt.stat} {
			if text != "" {
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
			}
		}
		left, ok := cgroupLeft(dir)
		assert.Equal(t, tt.ok, ok, name)
		assert.Equal(t, tt.left, left, name)
	}
	assert.Positive(t, availableMemory())
}

// With OMP_PROC_BIND the runtime of OpenMP binds a process to one core before any code of
// Go runs; the engine still computes on all that the process was started with.
func TestCoresDespiteBinding(t *testing.T) {
	const child = "AGENT_TEST_COUNT_CORES"
	if os.Getenv(child) != "" {
		fmt.Printf("cores=%d\n", PhysicalCores())
		return
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), child+"=1", "OMP_PROC_BIND=true")
	out, err := cmd.Output()
	require.NoError(t, err)
	assert.Contains(t, string(out), fmt.Sprintf("cores=%d\n", PhysicalCores()))
}
