package inference

import "encoding/json"

// restoreGainMin is how many tokens a state on disk must save to be read.
const restoreGainMin = 64

// stateShareMax: one state may take that part of a store. What is larger, of a long
// conversation with a large model, would push out all others and hold up the end of a run.
const stateShareMax = 4

// stateKey names all that a state depends on: the model, the native code, and what chooses
// kernels and layout. Empty: they are not known well enough.
func (m *Model) stateKey(o EngineOptions) string {
	if BuildID == "unknown" || o.Store == nil {
		return ""
	}
	file, err := fileIdentity(m.Path)
	if err != nil {
		return ""
	}
	long := m.File.ContextLengthShort > 0 && o.Cells > m.File.ContextLengthShort
	var on []string
	for _, d := range m.Devices {
		on = append(on, d.Name, d.Description)
	}
	key, err := json.Marshal([]any{file, processor(), o.KVType, o.NoFlashAttn, long, on})
	if err != nil {
		return ""
	}
	return string(key)
}

// uncuttable: a state on disk can only be continued.
func (e *Engine) uncuttable() bool { return !e.traits.partial || e.traits.window }

// restore fills a slot from disk when that saves more than the reuse that there is in memory.
func (e *Engine) restore(j *job, host *slot, reuse int) (tokens int, ok bool) {
	p, n := e.disk.find(j.tokens, j.reusable)
	if n < reuse+restoreGainMin {
		return 0, false
	}
	state := e.disk.load(p)
	if state == nil {
		return 0, false
	}
	if e.drop(host) != nil {
		return 0, false // adopt tries again, and tells
	}
	set, err := e.dev.SetSeqState(host.seq, state)
	if err != nil {
		e.disk.forget(p)
		_ = e.empty(host)
	}
	if !set || err != nil {
		return 0, false // for want of cells, most likely
	}
	held, cut := int(e.dev.SeqPosMax(host.seq))+1, true
	if held == len(p.tokens) && held > n {
		cut, err = e.dev.SeqRemove(host.seq, int32(n), -1)
	}
	if held != len(p.tokens) || !cut || err != nil {
		_ = e.empty(host)
		return 0, false
	}
	host.cache = append(host.cache, p.tokens[:n]...)
	if e.uncuttable() {
		host.whole = n
	}
	return n, true
}

// noteFork sees where prompts part from what is cached. What two in a row part after is
// shared by more than a conversation: it is kept.
func (e *Engine) noteFork(j *job, donor *slot, n int) {
	if e.disk.prefixShelf == nil || n < prefixTokensMin || n == len(donor.cache) ||
		n == len(j.tokens) {
		return
	}
	const near = 16 // tokens that happen to be the same after it
	common := commonPrefix(e.disk.fork, j.tokens[:n])
	if common >= prefixTokensMin && common+near >= max(n, len(e.disk.fork)) {
		j.keep = max(j.keep, common)
	}
	e.disk.fork = append(e.disk.fork[:0], j.tokens[:n]...)
}

// untilKept is how many tokens of a job may be computed before its state has to be kept.
func (e *Engine) untilKept(j *job) int {
	n := j.pending()
	if held := len(j.slot.cache); e.disk.prefixShelf != nil && e.uncuttable() && held < j.keep {
		return min(n, j.keep-held)
	}
	return n
}

// keepPrefix writes the shared part of a job's prompt to disk, unless it is there.
func (e *Engine) keepPrefix(j *job) {
	held, n := j.slot.cache, j.keep
	j.keep = 0
	if e.disk.prefixShelf == nil || n < prefixTokensMin || len(held) < n ||
		e.uncuttable() && len(held) > n ||
		e.disk.has(held[:n]) {
		return
	}
	state := e.stateOf(j.slot, n)
	if len(state) > 0 {
		e.disk.keep(held[:n], state, e.flags()|prefixShared)
	}
}

func (e *Engine) flags() uint32 {
	if e.uncuttable() {
		return prefixWhole
	}
	return 0
}

// stateOf is the state of a slot's first n tokens. nil: it can't be read, which costs time
// and nothing else.
func (e *Engine) stateOf(s *slot, n int) []byte {
	seq := s.seq
	if n != len(s.cache) {
		leaf := e.leaves.seqs[:1]
		if e.leaves.unclean && e.clearLeaves(e.leaves.seqs) != nil {
			return nil
		}
		defer func() { _ = e.clearLeaves(leaf) }()
		if e.dev.SeqCopy(s.seq, leaf[0], 0, int32(n)) != nil {
			return nil
		}
		seq = leaf[0]
	}
	state, err := e.dev.SeqState(seq, e.disk.store.bytesMax/stateShareMax)
	if err != nil {
		return nil
	}
	return state
}

// KeepNewest makes Close write the conversation that was served last to disk, so that it
// can go on in another process without being evaluated again.
func (e *Engine) KeepNewest() {
	e.mu.Lock()
	e.disk.newest = true
	e.mu.Unlock()
}

// keepNewest does it; nothing is being computed any more.
func (e *Engine) keepNewest() {
	if !e.disk.newest || e.disk.prefixShelf == nil {
		return
	}
	newest := e.slots[0]
	for _, s := range e.slots {
		if s.used > newest.used {
			newest = s
		}
	}
	if n := len(newest.cache); n >= prefixTokensMin && int(e.dev.SeqPosMax(newest.seq)) == n-1 &&
		!e.disk.has(newest.cache) {
		if state := e.stateOf(newest, n); len(state) > 0 {
			e.disk.keep(newest.cache, state, e.flags())
		}
	}
}
