package inference

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestThreadsBeside(t *testing.T) {
	for _, c := range []struct {
		most, cores int
		others      float64
		want        int
	}{
		{2, 2, 0, 2}, {2, 2, 0.4, 2}, {2, 2, 0.6, 1}, {2, 2, 2, 1}, {2, 2, 5, 1},
		{2, 2, -0.1, 2}, // clocks of different grain
		{1, 2, 0, 1},
		{4, 8, 3, 4}, {4, 8, 5, 3}, {4, 8, 8, 1}, // hyper-threads, or llm.threads below the cores
		{32, 64, 31.6, 32}, {32, 64, 40, 24},
	} {
		assert.Equal(t, c.want, threadsBeside(c.most, c.cores, c.others), "%+v", c)
	}
}

func TestCoreShare(t *testing.T) {
	var use cpuUse
	readable := true
	s := newCoreShare(2, func() (cpuUse, bool) { return use, readable })
	now := s.at
	step := func(own, others time.Duration) (int, bool) {
		use.cores, use.own, use.all = 2, use.own+own, use.all+own+others
		now = now.Add(time.Second)
		return s.threads(now)
	}
	check := func(n int, changed bool) func(int, bool) {
		return func(gotN int, gotChanged bool) {
			t.Helper()
			assert.Equal(t, n, gotN)
			assert.Equal(t, changed, gotChanged)
		}
	}
	check(2, false)(step(2*time.Second, 0))
	check(1, true)(step(time.Second, time.Second))
	check(1, false)(step(time.Second, time.Second))
	check(1, false)(s.threads(now.Add(shareEvery / 2))) // too soon to look
	readable = false
	check(1, false)(step(0, 0))
	readable = true
	check(2, true)(step(time.Second, 0))
}

// What others did while there was nothing to compute is no reason to take fewer threads.
func TestCoreShareAfterRest(t *testing.T) {
	var use cpuUse
	s := newCoreShare(2, func() (cpuUse, bool) { return use, true })
	use.cores, use.all = 2, 20*time.Second // another program had both cores for ten seconds
	now := s.at.Add(10 * time.Second)
	s.resume(now)
	n, changed := s.threads(now)
	assert.Equal(t, 2, n)
	assert.False(t, changed)
	use.all += time.Second // and now it has them while this one computes
	n, _ = s.threads(now.Add(500 * time.Millisecond))
	assert.Equal(t, 1, n)
	(*coreShare)(nil).resume(now)
}

// The kernel's own numbers: what this process burns is not taken for others' use.
func TestReadCPUUse(t *testing.T) {
	before, ok := readCPUUse()
	if !ok {
		t.Skip("needs /proc/stat")
	}
	for start := time.Now(); time.Since(start) < 300*time.Millisecond; {
	}
	after, ok := readCPUUse()
	assert.True(t, ok)
	assert.Positive(t, after.cores)
	assert.Greater(t, after.own-before.own, 20*time.Millisecond)
	assert.GreaterOrEqual(t, after.all-before.all, after.own-before.own-50*time.Millisecond)
}
