package inference

import (
	"math"
	"time"
)

// Threads that compute wait for each other hundreds of times a token. Where another
// program holds a core that one of them needs, all wait for it: two processes with two
// threads each on two cores take five times as long as one. So an engine that may choose
// leaves others the cores that they use, and takes them back when they stop.

// shareEvery is how often the use of the cores is looked at.
const shareEvery = 200 * time.Millisecond

// shareStale is the age from which a look says nothing of now.
const shareStale = time.Second

// coreShare follows what other programs leave of the cores. It is of one goroutine.
type coreShare struct {
	most   int // threads without anybody else
	read   func() (cpuUse, bool)
	last   cpuUse
	at     time.Time
	active int
}

// cpuUse is processor time since some moment, of the cores that this process may use.
type cpuUse struct {
	all, own time.Duration
	cores    int
}

func newCoreShare(most int, read func() (cpuUse, bool)) *coreShare {
	s := &coreShare{most: most, read: read, active: most, at: time.Now()}
	s.last, _ = read()
	return s
}

// resume begins to look anew after a time without work: what others did long before says
// nothing of now, and the first step of a prompt may take seconds. What was found last holds.
func (s *coreShare) resume(now time.Time) {
	if s == nil || now.Sub(s.at) < shareStale {
		return
	}
	if use, ok := s.read(); ok {
		s.last, s.at = use, now
	}
}

// threads is how many threads should compute now; changed is true when that is not what
// the call before said.
func (s *coreShare) threads(now time.Time) (n int, changed bool) {
	passed := now.Sub(s.at)
	if s.most == 1 || passed < shareEvery {
		return s.active, false
	}
	use, ok := s.read()
	if !ok {
		return s.active, false
	}
	n = threadsBeside(s.most, use.cores,
		(use.all-s.last.all-(use.own-s.last.own)).Seconds()/passed.Seconds())
	s.last, s.at = use, now
	changed, s.active = n != s.active, n
	return n, changed
}

// threadsBeside is how many of at most `most` threads others leave that use so many of
// the cores.
func threadsBeside(most, cores int, others float64) int {
	return min(most, max(1, cores-int(math.Round(others))))
}
