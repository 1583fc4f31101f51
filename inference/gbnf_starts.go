package inference

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// What a rule begins with decides whether the native engine comes back. To know
// which characters may follow, it replaces the first symbol by its alternatives
// until each begins with a character; a rule that may be empty makes way for
// the symbol after it. What it has seen before it does not look at again, but a
// rule that comes to itself with something left behind it is new each time, and
// many ways to the same place are each gone one by one.
//
// Before that it searches for left recursion. That search is less exact, since
// it takes only those rules for empty that have an empty alternative themselves.

// checkStarts refuses left recursion, and beginnings that are too many or too long.
func (g *gbnf) checkStarts() error {
	if err := g.checkSearch(); err != nil {
		return err
	}
	empty := g.mayBeEmpty()
	next := make([][]int, len(g.rules))
	for id := range g.rules {
		next[id] = g.beginnings(id, empty)
	}
	rounds := components(next)
	group := make([]int, len(g.rules))
	for at, round := range rounds {
		for _, id := range round {
			group[id] = at
		}
	}
	ways := make([]int, len(rounds)) // to the characters that one of the group may begin with
	for at, round := range rounds {
		for _, id := range round {
			if to := g.growing(id, empty, group); to >= 0 {
				return g.leftRecursion([]int{id, to, id})
			}
			if ways[at] = saturated(ways[at], g.ways(id, empty, group, ways)); ways[at] > grammarWaysMax {
				return fmt.Errorf(
					"grammar: rule %q can begin in more than %d ways; let fewer alternatives begin with other rules, or "+
						"fewer rules be empty", g.names[id], grammarWaysMax)
			}
		}
	}
	return nil
}

// growing finds a rule that this one begins with, that comes back to it, and
// behind which something is left; -1 for none. A rule at the end of its
// alternative leaves nothing.
func (g *gbnf) growing(id int, empty []bool, group []int) int {
	for alt := range splitAlternatives(g.rules[id]) {
		for i, s := range alt {
			if s < 0 {
				break
			}
			if group[s] == group[id] && i < len(alt)-1 {
				return int(s)
			}
			if !empty[s] {
				break
			}
		}
	}
	return -1
}

// ways counts the steps from a rule to the characters that it may begin with,
// those through its own group left out, which that adds up.
func (g *gbnf) ways(id int, empty []bool, group, ways []int) int {
	n := 1
	for alt := range splitAlternatives(g.rules[id]) {
		n = saturated(n, 1)
		for _, s := range alt {
			if s < 0 {
				n = saturated(n, 1)
				break
			}
			if group[s] != group[id] {
				n = saturated(n, ways[group[s]])
			}
			if !empty[s] {
				break
			}
		}
	}
	return n
}

// mayBeEmpty tells for each rule whether it may produce nothing, itself or
// through others.
func (g *gbnf) mayBeEmpty() []bool {
	empty := make([]bool, len(g.rules))
	type alternative struct{ rule, left int } // left: references not known to be empty
	var alternatives []alternative
	usedIn := make([][]int32, len(g.rules))
	var found []int
	add := func(rule int) {
		if !empty[rule] {
			empty[rule] = true
			found = append(found, rule)
		}
	}
	for id, rule := range g.rules {
		for alt := range splitAlternatives(rule) {
			if slices.ContainsFunc(alt, func(s symbol) bool { return s < 0 }) {
				continue
			}
			if len(alt) == 0 {
				add(id)
			}
			for _, s := range alt {
				usedIn[s] = append(usedIn[s], int32(len(alternatives)))
			}
			alternatives = append(alternatives, alternative{id, len(alt)})
		}
	}
	for len(found) > 0 {
		id := found[len(found)-1]
		found = found[:len(found)-1]
		for _, at := range usedIn[id] {
			if a := &alternatives[at]; a.left == 1 {
				add(a.rule)
			} else {
				a.left--
			}
		}
	}
	return empty
}

// splitAlternatives yields the alternatives of a rule.
func splitAlternatives(rule []symbol) func(yield func([]symbol) bool) {
	return func(yield func([]symbol) bool) {
		for {
			end := slices.Index(rule, symAlternative)
			if end < 0 {
				yield(rule)
				return
			}
			if !yield(rule[:end]) {
				return
			}
			rule = rule[end+1:]
		}
	}
}

// beginnings lists the rules that a rule may begin with.
func (g *gbnf) beginnings(id int, empty []bool) []int {
	var next []int
	for alt := range splitAlternatives(g.rules[id]) {
		for _, s := range alt {
			if s < 0 {
				break
			}
			next = append(next, int(s))
			if !empty[s] {
				break
			}
		}
	}
	return next
}

// components groups the rules that come to each other, each group after those
// that it comes to (Tarjan's algorithm, with a stack of its own).
func components(next [][]int) [][]int {
	var out [][]int
	number := make([]int, len(next)) // in order of discovery, from 1
	low := make([]int, len(next))    // the earliest that is reached from here
	at := make([]int, len(next))     // the next beginning to look at
	grouped := make([]bool, len(next))
	var path, open []int
	count := 0
	for root := range next {
		if number[root] == 0 {
			path = append(path, root)
		}
		for len(path) > 0 {
			id := path[len(path)-1]
			if number[id] == 0 {
				count++
				number[id], low[id] = count, count
				open = append(open, id)
			}
			if at[id] < len(next[id]) {
				to := next[id][at[id]]
				switch {
				case number[to] == 0:
					path = append(path, to) // and this beginning again, when that is done
				case !grouped[to]:
					low[id] = min(low[id], low[to])
					at[id]++
				default:
					at[id]++
				}
				continue
			}
			path = path[:len(path)-1]
			if low[id] == number[id] {
				from := len(open) - 1
				for open[from] != id {
					from--
				}
				for _, member := range open[from:] {
					grouped[member] = true
				}
				out = append(out, slices.Clone(open[from:]))
				open = open[:from]
			}
		}
	}
	return out
}

// leftRecursion names the rules of a loop.
func (g *gbnf) leftRecursion(loop []int) error {
	var names []string
	for _, id := range loop {
		if name := g.names[id]; len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	if len(names) == 1 {
		names = append(names, names[0])
	}
	if most := 8; len(names) > most {
		names = append(append(names[:most-2:most-2], "…"), names[len(names)-1])
	}
	return fmt.Errorf("grammar: rule %q is left-recursive (%s): it can come to itself before it reads a character; "+
		"put what it reads first, or use * instead", names[0], strings.Join(names, " → "))
}

func saturated(a, b int) int { return min(a+b, math.MaxInt32) }

// search is what the native search for left recursion does from a rule.
type search struct {
	next  []int // rules that it goes to
	chain int   // rules one after the other on the longest way; it recurses
	cost  int   // symbols looked at, on all ways
}

// checkSearch bounds the native search for left recursion. It starts from each
// rule that it has not come to before, and in one search it walks every way, not
// every rule.
func (g *gbnf) checkSearch() error {
	empty := make([]bool, len(g.rules))
	for id, rule := range g.rules {
		for alt := range splitAlternatives(rule) {
			empty[id] = empty[id] || len(alt) == 0
		}
	}
	known := make([]search, len(g.rules))
	for id := range g.rules {
		known[id].next = g.beginnings(id, empty)
	}
	order, loop := bottomUp(known)
	if loop != nil {
		return g.leftRecursion(loop)
	}
	for _, id := range order {
		s := &known[id]
		s.chain, s.cost = 1, len(g.rules[id])+1
		for _, next := range s.next {
			s.chain = max(s.chain, 1+known[next].chain)
			s.cost = saturated(s.cost, known[next].cost)
		}
		if s.chain > grammarChainMax {
			return fmt.Errorf("grammar: rule %q begins with a chain of more than %d rules; use fewer rules",
				g.names[id], grammarChainMax)
		}
	}
	if id := costly(known); id >= 0 {
		return fmt.Errorf(
			"grammar: too many ways lead from rule to rule, from %q among them; let fewer alternatives begin with "+
				"other rules", g.names[id])
	}
	return nil
}

// costly is a rule whose search, after those before it, takes too long; -1 for none.
func costly(known []search) int {
	visited := make([]bool, len(known))
	total := 0
	for id := range known {
		if visited[id] {
			continue
		}
		if total = saturated(total, known[id].cost); total > grammarSearchMax {
			return id
		}
		todo := []int{id}
		for len(todo) > 0 {
			at := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if !visited[at] {
				visited[at] = true
				todo = append(todo, known[at].next...)
			}
		}
	}
	return -1
}

// bottomUp orders rules so that each comes after those it begins with. Where
// there is no such order, loop is a rule's way back to itself.
func bottomUp(known []search) (order, loop []int) {
	const (
		fresh = iota
		open
		done
	)
	state := make([]int8, len(known))
	at := make([]int, len(known)) // the next beginning to look at
	for root := range known {
		path := []int{root}
		for state[root] != done {
			id := path[len(path)-1]
			state[id] = open
			if at[id] == len(known[id].next) {
				state[id] = done
				order = append(order, id)
				path = path[:len(path)-1]
				continue
			}
			next := known[id].next[at[id]]
			at[id]++
			switch state[next] {
			case open:
				return nil, append(path[slices.Index(path, next):], next)
			case fresh:
				path = append(path, next)
			}
		}
	}
	return order, nil
}
