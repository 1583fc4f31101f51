//go:build cgo

package llama

import (
	"runtime"
	"sync"
)

// computing is the one OS thread of this process on which models compute.
//
// OpenMP gives each calling thread a team of its own. Once there are two teams
// (two engines, or an engine and an embedder) it counts more threads than
// cores, and its threads sleep at each barrier instead of spinning: decoding
// was measured at 0.55 of its speed from then on, with the other team idle.
var computing = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// compute runs f on the compute thread and waits for it.
func compute(f func()) {
	done := make(chan struct{})
	computing() <- func() {
		defer close(done)
		f()
	}
	<-done
}
