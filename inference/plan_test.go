package inference

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPlanTick(t *testing.T) {
	decode := workView{pending: 1, decode: true}
	prompt := func(n int) workView { return workView{pending: n} }
	for _, c := range []struct {
		name           string
		jobs           []workView
		budget, enough int
		want           []int
	}{
		{"nothing to do", []workView{prompt(0)}, 64, 64, []int{0}},
		{"a prompt whole", []workView{prompt(40)}, 64, 64, []int{40}},
		{"a prompt in chunks", []workView{prompt(100)}, 64, 64, []int{64}},
		{"replies go first", []workView{prompt(100), decode}, 64, 64, []int{63, 1}},
		{"replies alone fill it", []workView{decode, decode, decode, prompt(9)}, 2, 64, []int{1, 1, 0, 0}},
		{"a device that takes all has all", []workView{prompt(20), prompt(20), prompt(40)}, 64, 64, []int{20, 20, 24}},
		{"the first prompt does not wait for the second", []workView{prompt(40), prompt(40)}, 512, 32, []int{40, 0}},
		{"short prompts are put together", []workView{prompt(10), prompt(20), prompt(30), prompt(5)}, 512, 32, []int{10, 20, 30, 0}},
		{"a long prompt is not cut at enough", []workView{prompt(300), decode}, 512, 32, []int{300, 1}},
		{"replies do not count as enough", []workView{decode, decode, prompt(40)}, 512, 2, []int{1, 1, 40}},
	} {
		assert.Equal(t, c.want, planTick(c.jobs, c.budget, c.enough), c.name)
	}
}

func TestChooseSlot(t *testing.T) {
	seq := func(n int) []int32 {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = int32(i)
		}
		return ids
	}
	other := []int32{-1, -2, -3}
	for _, c := range []struct {
		name   string
		slots  []slotView
		prompt []int32
		want   slotPlan
	}{
		{"all are busy", []slotView{{tokens: seq(5), busy: true}}, seq(9), slotPlan{-1, -1, 0}},
		{"an empty slot first", []slotView{{tokens: other, used: 1}, {used: 9}}, seq(9), slotPlan{1, 1, 0}},
		{"the longest unused when none is empty", []slotView{{tokens: other, used: 3}, {tokens: other, used: 2}}, seq(9), slotPlan{1, 1, 0}},
		{"a conversation goes on in place", []slotView{{}, {tokens: seq(6)}}, seq(9), slotPlan{1, 1, 6}},
		{"the longest prefix wins", []slotView{{tokens: seq(4)}, {tokens: seq(6)}}, seq(9), slotPlan{1, 1, 6}},
		{"the last token is computed again", []slotView{{tokens: seq(9)}}, seq(9), slotPlan{0, 0, 8}},
		{"a busy slot shares its prefix", []slotView{{tokens: seq(6), busy: true}, {}}, seq(9), slotPlan{1, 0, 6}},
		{"of equal prefixes the free one", []slotView{{tokens: seq(6), busy: true}, {tokens: seq(6)}}, seq(9), slotPlan{1, 1, 6}},
		{"a longer conversation is kept", []slotView{{tokens: seq(100)}, {}}, append(seq(20), -1, -2), slotPlan{1, 0, 20}},
		{"but not when it is the only free slot", []slotView{{tokens: seq(100)}, {tokens: other, busy: true}}, append(seq(20), -1, -2), slotPlan{0, 0, 20}},
	} {
		assert.Equal(t, c.want, chooseSlot(c.slots, c.prompt, len(c.prompt)-1), c.name)
	}
}

func TestEvictionOrder(t *testing.T) {
	held := []int32{1, 2}
	assert.Equal(t, []int{4, 0, 3}, evictionOrder([]slotView{
		{tokens: held, used: 5}, {tokens: held, used: 1, busy: true}, {used: 2}, {tokens: held, used: 9}, {tokens: held, used: 4},
	}), "longest unused first; busy and empty slots never")
}
