package inference

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"sync/atomic"

	"agent/inference/internal/llama"
)

// The fake device keeps cells as llama.cpp's unified KV cache does, and
// "predicts" by hashing what a sequence really holds. So a reply is right only
// if the scheduler kept every sequence whole, whatever it reused, shared,
// dropped, preempted or computed again on the way.

const (
	fakeVocab = 1000
	fakeEnd   = 0 // the only end token

	grammarRefused = `root ::= "refused"` // can't be compiled
	grammarSlow    = `root ::= "slow"`    // takes until the test goes on
)

// fakeCell is one token of the cache and the sequences that it is part of.
type fakeCell struct {
	token, pos int32
	seqs       map[int32]bool
}

type fakeDevice struct {
	mu       sync.Mutex
	cells    []fakeCell
	capacity int
	steps    []fakeStep // what was computed, in order
	faults   []string   // what the scheduler did wrong
	closed   bool

	// before runs at the start of each step, without the lock; an error fails
	// the step after partial of its rows were computed.
	before  func(n int, s *llama.Step) (partial int, err error)
	aborted chan struct{} // closed while Abort is on
	slow    chan struct{} // what a slow grammar waits for
	live    atomic.Int32  // samplers

	throws map[string]error // by function: what its native code throws
}

// fakeStep is what a test wants to know of a step.
type fakeStep struct {
	rows map[int32]int // of each sequence; a row of several counts for the first
	err  error
}

func newFakeDevice(capacity int) *fakeDevice {
	return &fakeDevice{capacity: capacity, aborted: make(chan struct{})}
}

func (d *fakeDevice) fault(format string, args ...any) {
	d.faults = append(d.faults, fmt.Sprintf(format, args...))
}

// Hold lets others in after every second tick.
func (d *fakeDevice) Hold(f func(contended func() bool)) {
	asked := 0
	f(func() bool { asked++; return asked%2 == 0 })
}

func (d *fakeDevice) SetThreads(decode, prefill int) {}

func (d *fakeDevice) Abort(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.aborted:
		if !on {
			d.aborted = make(chan struct{})
		}
	default:
		if on {
			close(d.aborted)
		}
	}
}

func (d *fakeDevice) abort() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.aborted
}

func (d *fakeDevice) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		d.fault("closed twice")
	}
	d.closed = true
}

func (d *fakeDevice) Step(s *llama.Step) error {
	partial, err := 0, error(nil)
	if d.before != nil {
		partial, err = d.before(len(d.steps), s)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && len(d.cells)+len(s.Rows) > d.capacity {
		err = fmt.Errorf("fake: %w", llama.ErrKVFull)
	}
	step := fakeStep{rows: map[int32]int{}, err: err}
	for _, r := range s.Rows {
		step.rows[r.Seqs[0]]++
	}
	d.steps = append(d.steps, step)
	if d.closed || len(s.Rows) == 0 {
		d.fault("a step with %d rows, closed: %v", len(s.Rows), d.closed)
	}
	if err != nil {
		for _, r := range s.Rows[:min(partial, len(s.Rows))] {
			d.append(r)
		}
		return err
	}
	d.compute(s)
	return nil
}

// lose forgets the last n cells, as a device may after a failure.
func (d *fakeDevice) lose(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cells = d.cells[:max(0, len(d.cells)-n)]
}

// append puts one row into the cache, where it must continue its sequences.
func (d *fakeDevice) append(r llama.Row) {
	c := fakeCell{token: r.Token, pos: r.Pos, seqs: map[int32]bool{}}
	for _, seq := range r.Seqs {
		if held := len(d.held(seq)); held != int(r.Pos) {
			d.fault("row at position %d of sequence %d, which holds %d tokens", r.Pos, seq, held)
		}
		c.seqs[seq] = true
	}
	d.cells = append(d.cells, c)
}

// held are the tokens of a sequence in order; gaps and doubles are faults.
func (d *fakeDevice) held(seq int32) []int32 {
	var cells []fakeCell
	for _, c := range d.cells {
		if c.seqs[seq] {
			cells = append(cells, c)
		}
	}
	slices.SortFunc(cells, func(a, b fakeCell) int { return int(a.pos - b.pos) })
	out := make([]int32, len(cells))
	for i, c := range cells {
		if int(c.pos) != i {
			d.fault("sequence %d has position %d where %d belongs", seq, c.pos, i)
		}
		out[i] = c.token
	}
	return out
}

// compute fills the results in, each from the tokens up to its row.
func (d *fakeDevice) compute(s *llama.Step) {
	contexts := make([][]int32, len(s.Rows))
	for i, r := range s.Rows {
		d.append(r)
		if r.Output {
			contexts[i] = d.held(r.Seqs[0])
		}
	}
	for i := range s.Samples {
		x := &s.Samples[i]
		if contexts[x.Row] == nil {
			d.fault("a sample from row %d, which has no logits", x.Row)
		}
		x.Token = fakeNext(contexts[x.Row])
		x.IsEnd = x.Token == fakeEnd
	}
	for i := range s.Wants {
		w := &s.Wants[i]
		w.Logprob = fakeLogprob(contexts[w.Row], w.Token)
	}
}

func (d *fakeDevice) SeqRemove(seq, p0, p1 int32) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.throws["SeqRemove"]; err != nil {
		return false, err
	}
	for i := range d.cells {
		c := &d.cells[i]
		if c.pos >= p0 && (p1 < 0 || c.pos < p1) {
			delete(c.seqs, seq)
		}
	}
	d.cells = slices.DeleteFunc(d.cells, func(c fakeCell) bool { return len(c.seqs) == 0 })
	return true, nil
}

func (d *fakeDevice) SeqCopy(src, dst, p0, p1 int32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.throws["SeqCopy"]; err != nil {
		return err
	}
	if len(d.held(dst)) > 0 {
		d.fault("copy into sequence %d, which is not empty", dst)
	}
	for _, c := range d.cells {
		if c.seqs[src] && c.pos >= p0 && (p1 < 0 || c.pos < p1) {
			c.seqs[dst] = true
		}
	}
	return nil
}

// SeqState is the tokens of a sequence, eight bytes each with their check.
func (d *fakeDevice) SeqState(seq int32, _ int64) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []byte
	for i, id := range d.held(seq) {
		out = binary.LittleEndian.AppendUint32(out, uint32(id))
		out = binary.LittleEndian.AppendUint32(out, uint32(i))
	}
	return out, d.throws["SeqState"]
}

func (d *fakeDevice) SetSeqState(seq int32, state []byte) (bool, error) {
	if _, err := d.SeqRemove(seq, -1, -1); err != nil {
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.throws["SetSeqState"]; err != nil {
		return false, err
	}
	if len(d.cells)+len(state)/8 > d.capacity {
		return false, nil
	}
	for i := 0; i < len(state); i += 8 {
		id, pos := binary.LittleEndian.Uint32(state[i:]), binary.LittleEndian.Uint32(state[i+4:])
		d.append(llama.Row{Token: int32(id), Pos: int32(pos), Seqs: []int32{seq}})
	}
	return true, nil
}

func (d *fakeDevice) SeqPosMax(seq int32) int32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return int32(len(d.held(seq))) - 1
}

func (d *fakeDevice) NewSampler(p llama.SamplerParams) (llama.Sampler, error) {
	switch p.Grammar {
	case grammarRefused:
		return nil, &llama.Error{Op: "prepare sampling", Detail: "refused"}
	case grammarSlow:
		<-d.slow // begun
		<-d.slow // and done
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.closed {
			d.fault("a sampler is made of a closed device")
		}
	}
	d.live.Add(1)
	return &fakeSampler{live: &d.live}, nil
}

type fakeSampler struct {
	live *atomic.Int32
	once sync.Once
}

func (s *fakeSampler) Accept([]int32, bool) error { return nil }
func (s *fakeSampler) Close()                     { s.once.Do(func() { s.live.Add(-1) }) }

func fakeHash(context []int32) uint64 {
	h := fnv.New64a()
	for _, id := range context {
		_ = binary.Write(h, binary.LittleEndian, id)
	}
	return h.Sum64()
}

// fakeNext is the token after a context: an end now and then.
func fakeNext(context []int32) int32 {
	h := fakeHash(context)
	if h%40 == 0 {
		return fakeEnd
	}
	return int32(1 + h>>8%(fakeVocab-1))
}

// fakeLogprob is the number of a token, or of the end set, after a context.
func fakeLogprob(context []int32, token int32) float32 {
	return -float32(fakeHash(append(slices.Clone(context), token))%1000) / 100
}

// fakeReply is what a request must bring: at most most tokens.
func fakeReply(prompt []int32, most int) (text string) {
	context := slices.Clone(prompt)
	for range most {
		id := fakeNext(context)
		if id == fakeEnd {
			break
		}
		text += string(fakePiece(id))
		context = append(context, id)
	}
	return text
}

func fakePiece(id int32) []byte { return fmt.Appendf(nil, "%d ", id) }

// newFakeEngine runs the scheduler on a fake device.
func newFakeEngine(d *fakeDevice, contextMax, parallel, ubatch int) *Engine {
	tr := traits{vocabSize: fakeVocab, contextMax: contextMax, partial: true, piece: fakePiece}
	return newEngine(d, tr, parallel, ubatch, 8, nil, nil, nil)
}

// fakePrompt is n tokens; those with equal seeds share their beginning.
func fakePrompt(seed, n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(1 + (seed*7919+i*104729)%(fakeVocab-1))
	}
	return out
}
