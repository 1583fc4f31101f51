package inference

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"agent/inference/internal/llama"
)

// EngineOptions size an engine; nil means the defaults, zero fields too.
type EngineOptions struct {
	ContextLength int    // most tokens of one request; 0: as trained, within memory
	Parallel      int    // requests computed at a time (default 4)
	Cells         int    // KV cache shared by all; 0: ContextLength and room for options
	Ubatch        int    // most rows of one tick (default 512)
	Threads       int    // while decoding (default: physical cores)
	ThreadsBatch  int    // while prefilling (default: Threads)
	ShareCores    bool   // take fewer threads while other programs compute; scores may then differ in the last digits
	KVType        string // f16 (default), bf16, f32, q8_0, q4_0
	NoFlashAttn   bool

	Store *PrefixStore `json:"-"` // KV caches on disk; nil: none
}

// Named limits of every engine.
const (
	parallelDefault = 4
	parallelMax     = 128
	ubatchDefault   = 512
	leavesMax       = 64  // options scored in one batch
	outputsMax      = 128 // rows with logits in one step
	queueMax        = 4096
	faultsPerToken  = 64 // major page faults per tick that mean thrashing
	// Prompt rows from which a processor gains little by more in one tick; see
	// docs/dev/design.md. An accelerator takes as many as there are.
	prefillEnough = 32
)

// ErrClosed: the engine was closed.
var ErrClosed = errors.New("the engine is closed")

// ErrBusy: too many requests are waiting.
var ErrBusy = fmt.Errorf("more than %d requests are waiting", queueMax)

// ContextError reports a prompt that does not fit. Nothing was truncated.
type ContextError struct {
	Tokens int // tokens of the prompt
	Max    int // context length
	// AtLeast: it was too long by far, and not read to its end.
	AtLeast bool
}

func (e *ContextError) Error() string {
	if e.AtLeast {
		return fmt.Sprintf("prompt has at least %d tokens, more than the context length of %d allows", e.Tokens, e.Max)
	}
	return fmt.Sprintf("prompt has %d tokens, more than the context length of %d allows", e.Tokens, e.Max)
}

// device is what the scheduler drives; *llama.Context, or a fake in tests.
type device interface {
	Hold(func(contended func() bool)) // Step is called in it only
	Step(*llama.Step) error
	NewSampler(llama.SamplerParams) (llama.Sampler, error)
	SeqRemove(seq, p0, p1 int32) (bool, error)
	SeqCopy(src, dst, p0, p1 int32) error
	SeqPosMax(seq int32) int32
	SeqState(seq int32, bytesMax int64) ([]byte, error)
	SetSeqState(seq int32, state []byte) (bool, error)
	Abort(on bool)
	SetThreads(decode, prefill int)
	Close()
}

// traits are what the scheduler must know of a model.
type traits struct {
	vocabSize  int
	contextMax int
	ends       []int32
	piece      func(int32) []byte // text of a token; nil for control tokens
	partial    bool               // sequences can be shared and cut at any token
	window     bool               // of a state on disk only the newest part is there: it can't be cut
	mapped     bool               // weights are memory-mapped
	enough     int                // prompt rows that keep the device busy; 0: as many as there are
}

// Engine serves requests on one model. One goroutine owns the native context,
// and computes on the thread that all engines of the process share. All methods
// are safe for concurrent use.
type Engine struct {
	traits   traits
	dev      device
	parallel int
	ubatch   int
	slots    []*slot
	leaves   leaves
	release  func()
	share    *coreShare // nil: threads are as configured
	disk     diskCache
	scored   scoredPrompts

	mu      sync.Mutex
	queue   []*job
	active  []*job
	closing bool
	stats   EngineStats
	wake    chan struct{}
	done    chan struct{}
	// callers make samplers outside the owner; the device outlives them.
	callers sync.WaitGroup

	// Of the owner goroutine only.
	turn turn
	step llama.Step
}

// leaves are scratch sequences for options.
type leaves struct {
	seqs    []int32
	unclean bool // some could not be emptied
}

// diskCache is what an engine keeps of its caches on disk; without a shelf, nothing.
type diskCache struct {
	*prefixShelf
	fork   []int32 // where the last two prompts parted; of the owner goroutine
	newest bool    // the newest conversation is kept when the engine is closed; under Engine.mu
}

// turn counts what the owner goroutine does.
type turn struct {
	clock     int64 // for recency
	exclusive bool  // the last one was an exclusive step
}

// slot is one sequence of the KV cache that serves one request at a time and
// remembers its tokens for the next.
type slot struct {
	seq   int32
	cache []int32 // tokens whose cells are in the KV cache
	dirty bool    // it could not be emptied: other cells may be there
	whole int     // of them, those of a state that can't be cut
	job   *job
	used  int64
}

// EngineStats add up what an engine has done.
type EngineStats struct {
	Evaluated int           // prompt and option tokens computed
	Reused    int           // prompt tokens taken from the cache
	Generated int           // reply tokens
	Ticks     int           // native calls
	Busy      time.Duration // in native calls
	Waiting   int           // requests in the queue now
	Running   int           // requests being computed now
	// PagingFaults counts major page faults during ticks. Many of them mean
	// that memory-mapped weights are being read from disk again and again.
	PagingFaults int64
	Warnings     []string
}

// NewEngine makes an engine of m. Close it before the model.
func (m *Model) NewEngine(opts *EngineOptions) (*Engine, error) {
	o, err := m.resolve(opts)
	if err != nil {
		return nil, err
	}
	kv, ok := llama.KVType(o.KVType)
	if !ok {
		return nil, fmt.Errorf("engine: unknown KV cache type %q; known are f16, bf16, f32, q8_0, q4_0", o.KVType)
	}
	flash := -1
	if o.NoFlashAttn {
		flash = 0
	}
	leaves := leavesMax
	if m.Info.Recurrent || m.Info.Hybrid {
		leaves = 8 // each holds a whole state
	}
	seqs := o.Parallel + leaves
	outputs := max(outputsMax, seqs)
	if err := m.enter(); err != nil {
		return nil, fmt.Errorf("start engine: %w", err)
	}
	ctx, err := m.native.NewContext(llama.ContextParams{Cells: o.Cells, Batch: max(o.Ubatch, outputs), Ubatch: max(o.Ubatch, outputs),
		Sequences: seqs, Outputs: outputs, Threads: o.Threads, ThreadsBatch: o.ThreadsBatch, KVType: kv, FlashAttn: flash})
	if err != nil {
		m.users.Done()
		return nil, &Error{Op: "start engine", Err: err, Advice: "a smaller llm.context_length or llm.kv_type=q8_0 needs less memory"}
	}
	tr := traits{vocabSize: m.Info.VocabSize, contextMax: o.ContextLength, ends: m.ends,
		partial: !m.Info.Recurrent && !m.Info.Hybrid, window: m.Info.SlidingWindow > 0, mapped: m.Mapped, piece: m.replyPiece}
	if len(m.Devices) == 0 {
		tr.enough = prefillEnough
	}
	var share *coreShare
	if o.ShareCores {
		share = newCoreShare(o.Threads, readCPUUse)
	}
	return newEngine(ctx, tr, o.Parallel, o.Ubatch, leaves, share, o.Store.shelf(m.stateKey(o), filepath.Base(m.Path)), m.users.Done), nil
}

// replyPiece is the text of a token as part of a reply; nil for control tokens.
func (m *Model) replyPiece(id int32) []byte {
	if m.IsControl(id) {
		return nil
	}
	return m.vocab.Piece(id)
}

// resolve fills the defaults in and checks sizes against the model and memory.
func (m *Model) resolve(opts *EngineOptions) (EngineOptions, error) {
	o := EngineOptions{}
	if opts != nil {
		o = *opts
	}
	o.KVType = cmp.Or(o.KVType, "f16")
	o.Parallel = cmp.Or(o.Parallel, parallelDefault)
	o.Ubatch = cmp.Or(o.Ubatch, ubatchDefault)
	o.Threads = cmp.Or(o.Threads, PhysicalCores())
	o.ThreadsBatch = cmp.Or(o.ThreadsBatch, o.Threads)
	trained := m.Info.ContextLength
	switch {
	case o.Parallel < 1 || o.Parallel > parallelMax:
		return o, fmt.Errorf("engine: parallel is %d, must be 1 to %d", o.Parallel, parallelMax)
	case o.Ubatch < 32 || o.Ubatch > 1<<16:
		return o, fmt.Errorf("engine: ubatch_size is %d, must be 32 to %d", o.Ubatch, 1<<16)
	case o.Threads < 1 || o.Threads > 512 || o.ThreadsBatch < 1 || o.ThreadsBatch > 512:
		return o, fmt.Errorf("engine: threads must be 1 to 512, not %d and %d", o.Threads, o.ThreadsBatch)
	case o.ContextLength < 0:
		return o, fmt.Errorf("engine: context length %d is negative", o.ContextLength)
	case o.ContextLength > trained && trained > 0:
		return o, &Error{Op: "engine", Err: fmt.Errorf("context length %d is larger than the %d the model was trained for", o.ContextLength, trained),
			Advice: fmt.Sprintf("set llm.context_length to at most %d", trained)}
	}
	if o.ContextLength == 0 {
		o.ContextLength = FittingContext(m.File, m.Devices, o)
	}
	if o.Cells == 0 {
		o.Cells = o.ContextLength + cellsSpare
	}
	o.Cells = max((o.Cells+255)/256*256, 256)
	if len(m.Devices) > 0 {
		return o, nil // it allocates there, and says itself when it is short
	}
	return o, checkMemory(m.File, o, 0)
}

// cellsSpare is room beside a full prompt, so that options can be scored after it.
const cellsSpare = 512

// newEngine starts the scheduler on a device. Sequences 0 … parallel-1 are
// slots, the following ones scratch.
func newEngine(dev device, tr traits, parallel, ubatch, leaves int, share *coreShare, disk *prefixShelf, release func()) *Engine {
	e := &Engine{traits: tr, dev: dev, parallel: parallel, ubatch: ubatch, share: share, disk: diskCache{prefixShelf: disk}, release: release,
		wake: make(chan struct{}, 1), done: make(chan struct{})}
	for i := range parallel {
		e.slots = append(e.slots, &slot{seq: int32(i)})
	}
	for i := range leaves {
		e.leaves.seqs = append(e.leaves.seqs, int32(parallel+i))
	}
	go e.own()
	return e
}

// ContextLength is the most tokens that one request may take.
func (e *Engine) ContextLength() int { return e.traits.contextMax }

// Stats are the engine's counters so far.
func (e *Engine) Stats() EngineStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Waiting, s.Running = len(e.queue), len(e.active)
	s.Warnings = append([]string(nil), s.Warnings...)
	return s
}

// Close ends all requests with ErrClosed, waits for the owner and frees the
// native context. It is idempotent and safe on nil.
func (e *Engine) Close() {
	if e == nil {
		return
	}
	e.mu.Lock()
	first := !e.closing
	e.closing = true
	if first {
		e.dev.Abort(true)
	}
	e.mu.Unlock()
	e.nudge()
	<-e.done
}

func (e *Engine) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// enter holds the device open for a caller until e.callers.Done. Without it a
// sampler could be made of a model that is being freed.
func (e *Engine) enter() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return ErrClosed
	}
	e.callers.Add(1)
	return nil
}

// submit queues a job. It is retired exactly once, by job.finish.
func (e *Engine) submit(j *job) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closing:
		return ErrClosed
	case len(e.queue) >= queueMax:
		return ErrBusy
	}
	j.submitted = time.Now()
	e.queue = append(e.queue, j)
	// A cancelled request must not wait for a long tick to end.
	j.unwatch = context.AfterFunc(j.ctx, e.cancelled)
	e.nudge()
	return nil
}

// cancelled runs when some request's context ends. When nobody is left who
// wants the running tick, it is aborted.
func (e *Engine) cancelled() {
	e.mu.Lock()
	defer e.mu.Unlock()
	wanted := false
	for _, j := range e.active {
		wanted = wanted || j.ctx.Err() == nil
	}
	if !wanted && len(e.active) > 0 && !e.closing {
		e.dev.Abort(true)
	}
	e.nudge()
}

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
			e.step.Rows = append(e.step.Rows, llama.Row{Token: j.tokens[from+k], Pos: int32(from + k), Seqs: []int32{j.slot.seq}})
		}
		if from+n == len(j.tokens) && j.sampler != nil {
			s.sample = len(e.step.Samples)
			e.step.Rows[len(e.step.Rows)-1].Output = true
			e.step.Samples = append(e.step.Samples, llama.Sample{Row: len(e.step.Rows) - 1, Sampler: j.sampler})
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
