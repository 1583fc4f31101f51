package outcome

import (
	"fmt"
	"runtime"

	"agent/command"
)

// threadMemory is what numerical libraries take for each of their threads at most.
const threadMemory = 128 << 20

// ThreadPools tells numerical libraries how many threads to start. By themselves they
// take one for each core of the machine, and memory for all of them at once.
func ThreadPools(l command.Limits) []string {
	n := max(1, min(int64(runtime.NumCPU()), l.MemoryBytes/2/threadMemory))
	var env []string
	for _, name := range []string{"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
		"BLIS_NUM_THREADS",
		"VECLIB_MAXIMUM_THREADS", "NUMEXPR_MAX_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS",
		"POLARS_MAX_THREADS"} {
		env = append(env, fmt.Sprintf("%s=%d", name, n))
	}
	return env
}
