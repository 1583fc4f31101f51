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
		return fmt.Sprintf("prompt has at least %d tokens, more than the context length of %d allows",
			e.Tokens, e.Max)
	}
	return fmt.Sprintf("prompt has %d tokens, more than the context length of %d allows", e.Tokens,
		e.Max)
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
	traits  traits
	dev     device
	ubatch  int
	slots   []*slot
	leaves  leaves
	release func()
	share   *coreShare // nil: threads are as configured
	disk    diskCache
	scored  scoredPrompts

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
		return nil, fmt.Errorf("engine: unknown KV cache type %q; known are f16, bf16, f32, q8_0, q4_0",
			o.KVType)
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
	ctx, err := m.native.NewContext(llama.ContextParams{Cells: o.Cells, Batch: max(o.Ubatch, outputs),
		Ubatch:    max(o.Ubatch, outputs),
		Sequences: seqs, Outputs: outputs, Threads: o.Threads, ThreadsBatch: o.ThreadsBatch, KVType: kv,
		FlashAttn: flash})
	if err != nil {
		m.users.Done()
		return nil, &Error{Op: "start engine", Err: err,
			Advice: "a smaller llm.context_length or llm.kv_type=q8_0 needs less memory"}
	}
	tr := traits{vocabSize: m.Info.VocabSize, contextMax: o.ContextLength,
		partial: !m.Info.Recurrent && !m.Info.Hybrid, window: m.Info.SlidingWindow > 0, mapped: m.Mapped,
		piece: m.replyPiece}
	if len(m.Devices) == 0 {
		tr.enough = prefillEnough
	}
	var share *coreShare
	if o.ShareCores {
		share = newCoreShare(o.Threads, readCPUUse)
	}
	return newEngine(ctx, tr, o.Parallel, o.Ubatch, leaves, share,
		o.Store.shelf(m.stateKey(o), filepath.Base(m.Path)), m.users.Done), nil
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
		return o, &Error{Op: "engine",
			Err: fmt.Errorf("context length %d is larger than the %d the model was trained for",
				o.ContextLength, trained),
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
func newEngine(dev device, tr traits, parallel, ubatch, leaves int, share *coreShare,
	disk *prefixShelf, release func(),
) *Engine {
	e := &Engine{traits: tr, dev: dev, ubatch: ubatch, share: share,
		disk: diskCache{prefixShelf: disk}, release: release, wake: make(chan struct{}, 1),
		done: make(chan struct{})}
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
	if !e.closing {
		e.closing = true
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
	wanted := slices.ContainsFunc(e.active, func(j *job) bool { return j.ctx.Err() == nil })
	if !wanted && len(e.active) > 0 && !e.closing {
		e.dev.Abort(true)
	}
	e.nudge()
}
