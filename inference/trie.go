package inference

// trieNode is one token that some options share. Children follow their parent
// in depth-first order, so that any cut of the node list computes parents first.
type trieNode struct {
	token  int32
	pos    int32
	parent int   // index of the parent node; -1: the last shared token
	leaves []int // options (indices into the chunk) that pass through here
}

// optionTrie is the tokens of some options after their shared part, each once.
type optionTrie struct {
	nodes []trieNode
	// path[i] lists the nodes of option i in order.
	path [][]int
}

// buildTrie makes the trie of tails; the first tail token has position pos.
// Without share each option gets a chain of its own, for models whose state
// can't be shared between sequences.
func buildTrie(tails [][]int32, pos int32, share bool) optionTrie {
	t := optionTrie{path: make([][]int, len(tails))}
	all := make([]int, len(tails))
	for i := range tails {
		all[i] = i
	}
	if share {
		t.grow(tails, all, -1, 0, pos)
		return t
	}
	for i := range tails {
		t.grow(tails, []int{i}, -1, 0, pos)
	}
	return t
}

// grow adds the subtree of the options in group, which agree on their first
// depth tokens.
func (t *optionTrie) grow(tails [][]int32, group []int, parent, depth int, pos int32) {
	for len(group) > 0 {
		if len(tails[group[0]]) == depth {
			group = group[1:]
			continue
		}
		token := tails[group[0]][depth]
		var same, rest []int
		for _, i := range group {
			if len(tails[i]) > depth && tails[i][depth] == token {
				same = append(same, i)
			} else {
				rest = append(rest, i)
			}
		}
		node := len(t.nodes)
		t.nodes = append(t.nodes, trieNode{token: token, pos: pos, parent: parent, leaves: same})
		for _, i := range same {
			t.path[i] = append(t.path[i], node)
		}
		t.grow(tails, same, node, depth+1, pos+1)
		group = rest
	}
}

// sharedPrefix is the number of leading tokens that all of seqs agree on.
func sharedPrefix(seqs [][]int32) int {
	n := len(seqs[0])
	for _, s := range seqs[1:] {
		n = min(n, commonPrefix(seqs[0], s))
	}
	return n
}
