package inference

// Planning is pure: what to compute next follows from the state of the slots
// and jobs alone, so that every decision of the scheduler has a table test.

// slotView is what choosing a slot needs to know of each.
type slotView struct {
	tokens []int32 // what its sequence holds in the KV cache
	whole  int     // leading tokens that are of use together only
	busy   bool
	used   int64 // when it was last used; larger is later
}

// slotPlan says where a prompt is to be computed, and what is reused.
type slotPlan struct {
	host  int // slot to use; -1: all are busy
	donor int // slot whose cells are shared; equal to host for reuse in place
	reuse int // tokens at the start that need no computing
}

// chooseSlot picks the free slot for a prompt and the slot, busy or not, that
// shares the longest prefix with it. At most limit tokens are reused, because
// the last one must be computed to have logits.
//
// Its own slot is continued in place, unless that would throw away a longer
// conversation that merely begins the same way and another free slot exists:
// then the prefix is shared by copying, which moves no data.
func chooseSlot(slots []slotView, prompt []int32, limit int) slotPlan {
	plan := slotPlan{host: -1, donor: -1}
	idle := -1 // free slot that is cheapest to lose
	for i, s := range slots {
		n := min(commonPrefix(s.tokens, prompt), limit)
		if n < s.whole {
			n = 0
		}
		if plan.donor < 0 || n > plan.reuse || (n == plan.reuse && !s.busy && slots[plan.donor].busy) {
			plan.donor, plan.reuse = i, n
		}
		if !s.busy && (idle < 0 || cheaper(s, slots[idle])) {
			idle = i
		}
	}
	switch {
	case idle < 0:
		return slotPlan{host: -1, donor: -1}
	case plan.reuse == 0:
		return slotPlan{host: idle, donor: idle}
	case slots[plan.donor].busy:
		plan.host = idle
	case idle != plan.donor && 2*plan.reuse < len(slots[plan.donor].tokens):
		plan.host = idle // keep the longer conversation
	default:
		plan.host = plan.donor
	}
	return plan
}

// cheaper: an empty slot before a full one, else the longest unused.
func cheaper(a, b slotView) bool {
	if (len(a.tokens) == 0) != (len(b.tokens) == 0) {
		return len(a.tokens) == 0
	}
	return a.used < b.used
}

// commonPrefix is the number of leading tokens that a and b share.
func commonPrefix(a, b []int32) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// evictionOrder lists free slots with tokens, longest unused first.
func evictionOrder(slots []slotView) []int {
	var order []int
	for i, s := range slots {
		if s.busy || len(s.tokens) == 0 {
			continue
		}
		at := len(order)
		for at > 0 && slots[order[at-1]].used > s.used {
			at--
		}
		order = append(order[:at], append([]int{i}, order[at:]...)...)
	}
	return order
}

// workView is what planning a tick needs to know of each active job.
type workView struct {
	pending int  // prompt tokens that are not computed yet
	decode  bool // has a sampled token to compute
}

// planTick shares the rows of one tick out: one for each decoding job first,
// then prefill in the order of arrival, up to budget rows in all. Once a tick
// has enough rows of prompts to keep the device busy, no further prompt joins
// it: together they would all have their first token after the last of them.
// The result has the rows of each job.
func planTick(jobs []workView, budget, enough int) []int {
	rows := make([]int, len(jobs))
	for i, j := range jobs {
		if j.decode && budget > 0 {
			rows[i] = 1
			budget--
		}
	}
	for i, j := range jobs {
		if !j.decode && enough > 0 {
			rows[i] = min(j.pending, budget)
			budget -= rows[i]
			enough -= rows[i]
		}
	}
	return rows
}
