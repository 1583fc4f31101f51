package inference

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"agent/inference/internal/llama"
)

// own is the owner goroutine: it alone touches the device.
func (e *Engine) own() {
	defer close(e.done)
	for e.admit() {
		if len(e.active) == 0 {
			<-e.wake
			e.share.resume(time.Now())
			continue
		}
		e.dev.Hold(func(contended func() bool) {
			for more := true; more; more = !contended() && e.admit() && len(e.active) > 0 {
				e.shareCores()
				e.tick()
			}
		})
	}
	e.callers.Wait()
	e.keepNewest()
	e.dev.Close()
	if e.release != nil {
		e.release()
	}
}

// shareCores computes with as many threads as other programs leave cores for.
func (e *Engine) shareCores() {
	if e.share == nil {
		return
	}
	if n, changed := e.share.threads(time.Now()); changed {
		e.dev.SetThreads(n, n)
	}
}

// admit retires cancelled jobs and starts waiting ones. False: closing.
func (e *Engine) admit() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		for _, j := range append(e.active, e.queue...) {
			e.retire(j, ErrClosed)
		}
		e.active, e.queue = nil, nil
		return false
	}
	e.active = e.sweep(e.active)
	e.queue = e.sweep(e.queue)
	if len(e.active) > 0 {
		e.dev.Abort(false)
	}
	for len(e.queue) > 0 && e.mayStart(e.queue[0]) && e.start(e.queue[0]) {
		if j := e.queue[0]; !j.retired {
			e.active = append(e.active, j)
			e.dev.Abort(false)
		}
		e.queue = e.queue[1:]
	}
	return true
}

// mayStart: a job that was put back for want of room waits until another ends.
func (e *Engine) mayStart(j *job) bool {
	return j.startBelow == 0 || len(e.active) < j.startBelow
}

// sweep retires the jobs whose context has ended and returns the others.
func (e *Engine) sweep(jobs []*job) []*job {
	kept := jobs[:0]
	for _, j := range jobs {
		if j.ctx.Err() != nil {
			e.retire(j, context.Cause(j.ctx))
		} else if !j.retired {
			kept = append(kept, j)
		}
	}
	clear(jobs[len(kept):])
	return kept
}

// retire frees what a job holds and tells its caller.
func (e *Engine) retire(j *job, err error) {
	if j.retired {
		return
	}
	j.retired = true
	if j.unwatch != nil {
		j.unwatch()
	}
	if j.slot != nil {
		e.keepPrefix(j)
		j.slot.job = nil
		j.slot = nil
	}
	j.finish(err)
}

// start gives a job a slot with as much of its prompt as is cached, or retires
// it. False: all slots are busy.
func (e *Engine) start(j *job) bool {
	plan := chooseSlot(e.views(), j.tokens, j.reusable)
	if plan.host < 0 {
		return false
	}
	e.turn.clock++
	host, donor := e.slots[plan.host], e.slots[plan.donor]
	reuse, restored := e.restore(j, host, plan.reuse)
	if !restored {
		e.noteFork(j, donor, plan.reuse)
		var err error
		if reuse, err = e.adopt(host, donor, plan.reuse); err != nil {
			e.retire(j, &Error{Op: "start a request", Err: err})
			return true
		}
	}
	host.job, host.used = j, e.turn.clock
	j.slot = host
	if j.started.IsZero() {
		j.started = time.Now()
		j.stats.Reused = reuse
		e.stats.Reused += reuse
	}
	return true
}

// adopt makes host hold exactly the first n tokens of donor and returns how
// many it could keep. After an error host is empty.
func (e *Engine) adopt(host, donor *slot, n int) (kept int, err error) {
	removed := true
	switch {
	case host.dirty:
		removed = false
	case n == len(host.cache) && host == donor:
	case !e.traits.partial:
		// A recurrent state can't be cut, only continued.
		removed = false
	case host == donor:
		removed, err = e.dev.SeqRemove(host.seq, int32(n), -1)
	default:
		if err = e.drop(host); err == nil && n > 0 {
			err = e.dev.SeqCopy(donor.seq, host.seq, 0, int32(n))
		}
	}
	if err != nil || !removed {
		n, err = 0, errors.Join(err, e.empty(host))
	}
	host.cache = append(host.cache[:0], donor.cache[:n]...)
	if n > 0 {
		host.whole = donor.whole
	}
	return n, err
}

// drop empties a slot that holds anything.
func (e *Engine) drop(s *slot) error {
	if len(s.cache) == 0 && !s.dirty {
		return nil
	}
	return e.empty(s)
}

// empty makes a slot hold nothing. Where the device fails at that, the slot is
// not used before it has been emptied.
func (e *Engine) empty(s *slot) error {
	s.cache, s.whole = s.cache[:0], 0
	_, err := e.dev.SeqRemove(s.seq, -1, -1)
	s.dirty = err != nil
	return err
}

func (e *Engine) views() []slotView {
	views := make([]slotView, len(e.slots))
	for i, s := range e.slots {
		views[i] = slotView{tokens: s.cache, whole: s.whole, busy: s.job != nil, used: s.used}
	}
	return views
}

// tick computes one step: an exclusive one when a job is ready for it, else
// rows of all jobs together. The two take turns, so that a stream of decisions
// can't starve replies.
func (e *Engine) tick() {
	e.turn.clock++
	if j := e.readyJob(); j != nil && !(e.turn.exclusive && e.anyPending()) {
		e.turn.exclusive = true
		e.runExclusive(j)
		return
	}
	e.turn.exclusive = false
	shares := e.fill()
	if err := e.compute(); err != nil {
		e.recover(shares, err)
		return
	}
	e.deliver(shares)
}

// readyJob is the oldest job that waits for an exclusive step, or nil.
func (e *Engine) readyJob() *job {
	for _, j := range e.active {
		if j.ready() {
			return j
		}
	}
	return nil
}

// anyPending reports whether some job has tokens to compute.
func (e *Engine) anyPending() bool {
	return slices.ContainsFunc(e.active, func(j *job) bool { return j.pending() > 0 })
}

// runExclusive does one exclusive step of a job and retires it after the last.
func (e *Engine) runExclusive(j *job) {
	done, err := j.after(e)
	if err == nil && !done {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.resync()
	}
	if errors.Is(err, llama.ErrAborted) {
		switch {
		case e.closing:
			err = ErrClosed
		case j.ctx.Err() != nil:
			err = context.Cause(j.ctx)
		default: // meant for another request: do it again
			return
		}
	}
	e.retire(j, err)
}

// share is what one job has in a step.
type share struct {
	job    *job
	rows   int
	sample int // index into step.Samples; -1: none
}

// fill plans the rows of one tick into e.step.
func (e *Engine) fill() []share {
	views := make([]workView, len(e.active))
	for i, j := range e.active {
		views[i] = workView{pending: e.untilKept(j), decode: j.decoding()}
	}
	e.step = llama.Step{Rows: e.step.Rows[:0], Samples: e.step.Samples[:0]}
	var shares []share
	for i, n := range planTick(views, e.ubatch, cmp.Or(e.traits.enough, e.ubatch)) {
		if n == 0 {
			continue
		}
		j := e.active[i]
		s := share{job: j, rows: n, sample: -1}
		from := len(j.slot.cache)
		for k := range n {
			e.step.Rows = append(e.step.Rows, llama.Row{Token: j.tokens[from+k], Pos: int32(from + k),
				Seqs: []int32{j.slot.seq}})
		}
		if from+n == len(j.tokens) && j.sampler != nil {
			s.sample = len(e.step.Samples)
			e.step.Rows[len(e.step.Rows)-1].Output = true
			e.step.Samples = append(e.step.Samples,
				llama.Sample{Row: len(e.step.Rows) - 1, Sampler: j.sampler})
		}
		shares = append(shares, s)
	}
	return shares
}

// compute runs the step on the device and keeps count.
func (e *Engine) compute() error {
	faults := majorFaults()
	start := time.Now()
	err := e.dev.Step(&e.step)
	took := time.Since(start)
	faults = majorFaults() - faults
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Ticks++
	e.stats.Busy += took
	e.stats.PagingFaults += faults
	if e.traits.mapped && faults > faultsPerToken && e.stats.Ticks > 8 && len(e.stats.Warnings) == 0 {
		e.stats.Warnings = append(e.stats.Warnings, fmt.Sprintf(
			"memory-mapped weights are being read from disk again (%d page faults in one step): memory is short; "+
				"free some, use a smaller model, or set llm.mmap=false or llm.mlock=true", faults))
	}
	return err
}

// deliver books computed rows and hands sampled tokens out.
func (e *Engine) deliver(shares []share) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range shares {
		j := s.job
		from := len(j.slot.cache)
		prompt := min(s.rows, max(0, j.promptLen-from))
		j.stats.Evaluated += prompt
		e.stats.Evaluated += prompt
		j.slot.cache = append(j.slot.cache, j.tokens[from:from+s.rows]...)
		j.slot.used = e.turn.clock
		if e.uncuttable() && len(j.slot.cache) == j.keep {
			e.keepPrefix(j)
		}
		if s.sample >= 0 {
			e.stats.Generated++
			if done, err := j.taker(&e.step.Samples[s.sample]); done || err != nil {
				e.retire(j, err)
			}
		}
	}
}

// recover handles a step that failed. A full cache is relieved and tried
// again; after an abort or a failure the caches are brought in line with what
// the device really holds.
func (e *Engine) recover(shares []share, err error) {
	if errors.Is(err, llama.ErrKVFull) && e.makeRoom(shares[0].job) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.resync()
	for _, s := range shares {
		switch {
		case errors.Is(err, llama.ErrAborted):
			// The next admit retires those whose context ended.
		case errors.Is(err, llama.ErrKVFull):
			e.retire(s.job, &ContextError{Tokens: len(s.job.tokens), Max: e.traits.contextMax})
		default:
			e.retire(s.job, &Error{Op: "compute", Err: err})
		}
	}
}

// resync makes the slots' records agree with the device after a partial step.
func (e *Engine) resync() {
	for _, s := range e.slots {
		held := int(e.dev.SeqPosMax(s.seq)) + 1
		if held == len(s.cache) {
			continue
		}
		removed := false
		if e.traits.partial {
			removed, _ = e.dev.SeqRemove(s.seq, int32(len(s.cache)), -1)
		}
		if removed && held >= s.whole {
			s.cache = s.cache[:min(held, len(s.cache))]
			continue
		}
		_ = e.empty(s)
	}
}

// makeRoom frees cells for a job that found the cache full: the cached prefix
// that was unused the longest, else the cells of the youngest other job. False:
// the job has the whole cache to itself.
func (e *Engine) makeRoom(keep *job) bool {
	if order := evictionOrder(e.views()); len(order) > 0 {
		_ = e.drop(e.slots[order[0]]) // room that it does not make is missed at the next try
		return true
	}
	return e.preempt(keep)
}

// preempt puts the youngest running job but keep back into the queue; it goes
// on from where it was when there is room again.
func (e *Engine) preempt(keep *job) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := len(e.active) - 1; i >= 0; i-- {
		j := e.active[i]
		if j == keep || j.retired {
			continue
		}
		e.active = slices.Delete(e.active, i, i+1)
		j.startBelow = len(e.active)
		_ = e.drop(j.slot)
		j.slot.job, j.slot = nil, nil
		e.queue = append([]*job{j}, e.queue...)
		return true
	}
	return false
}
