package inference

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// slowAbort is a device that takes its time to be told.
type slowAbort struct {
	on    atomic.Bool
	calls atomic.Int32
}

func (a *slowAbort) Abort(on bool) {
	time.Sleep(time.Millisecond)
	a.on.Store(on)
	a.calls.Add(1)
}

// However late a context ends, no abort is left over for the next computation,
// and none comes after the device may have been freed.
func TestNoAbortIsLeftOver(t *testing.T) {
	for i := range 50 {
		a := &slowAbort{}
		ctx, cancel := context.WithCancel(t.Context())
		stop := abortAfter(ctx, a)
		switch i % 3 {
		case 0:
			cancel()
		case 1:
			go cancel()
		}
		stop()
		calls := a.calls.Load()
		assert.False(t, a.on.Load(), i)
		cancel()
		time.Sleep(2 * time.Millisecond)
		assert.Equal(t, calls, a.calls.Load(), "an abort came after the end of round %d", i)
	}
}
