package inference

import "runtime"

func fallbackCores() int { return max(1, runtime.NumCPU()) }
