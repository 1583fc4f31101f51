//go:build !linux

package bench

import "runtime"

func cpuName() string { return runtime.GOARCH + " CPU" }

// OtherLoad is unknown here.
func OtherLoad() func() float64 { return func() float64 { return -1 } }

// OwnSeconds are unknown here.
func OwnSeconds() float64 { return -1 }
