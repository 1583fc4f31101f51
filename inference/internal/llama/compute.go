//go:build cgo

package llama

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// computer is the one OS thread of this process on which models load and compute.
//
// OpenMP gives each calling thread a team of its own. Once there are two teams (two
// engines, or one thread that converts weights and one that computes) it counts more
// threads than cores, and its threads sleep at each barrier instead of spinning: decoding
// was measured at 0.55 of its speed from then on, with the other team idle.
type computer struct {
	work    chan func()
	waiting atomic.Int32
}

var theComputer = sync.OnceValue(func() *computer {
	c := &computer{work: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range c.work {
			f()
		}
	}()
	return c
})

// hold runs f on the compute thread and waits for it. f may compute as long as
// it likes while contended is false; then it should soon return.
func (c *computer) hold(f func(contended func() bool)) {
	done := make(chan struct{})
	c.waiting.Add(1)
	c.work <- func() {
		defer close(done)
		c.waiting.Add(-1)
		f(func() bool { return c.waiting.Load() > 0 })
	}
	<-done
}

// Hold runs f with the right to compute, which is the whole process's: [Context.Step]
// may be called in f only. contended says that another context waits for it.
func (c *Context) Hold(f func(contended func() bool)) { theComputer().hold(f) }
