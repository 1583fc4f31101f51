//go:build !linux

package inference

import "runtime"

// availableMemory is unknown here, so nothing is refused on its account.
func availableMemory() uint64 { return 0 }

func majorFaults() int64 { return 0 }

// PhysicalCores counts the cores that this process may use.
func PhysicalCores() int { return fallbackCores() }

func processor() string { return runtime.GOARCH }

func readCPUUse() (cpuUse, bool) { return cpuUse{}, false }
