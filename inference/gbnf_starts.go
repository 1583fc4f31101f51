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
// the symbol after it. A rule that comes to itself in this way never ends, and
// many ways to the same place are each gone one by one.

// starts is what is known of a rule's beginnings.
type starts struct {
	next  []int // rules it may begin with, as often as it does
	ways  int   // to the characters it may begin with, all steps counted
	chain int   // rules one after the other on the longest way
	cost  int   // of the native search for left recursion from here
}

// checkStarts refuses left recursion, and beginnings that are too many or too long.
func (g *gbnf) checkStarts() error {
	empty := g.mayBeEmpty()
	known := make([]starts, len(g.rules))
	for id := range g.rules {
		known[id].next = g.beginnings(id, empty)
	}
	order, loop := bottomUp(known)
	if loop != nil {
		return g.leftRecursion(loop)
	}
	for _, id := range order {
		g.sum(id, known, empty)
		if s := known[id]; s.ways > grammarWaysMax {
			return fmt.Errorf("grammar: rule %q can begin in more than %d ways; let fewer alternatives begin with other rules, or fewer rules be empty",
				g.names[id], grammarWaysMax)
		} else if s.chain > grammarChainMax {
			return fmt.Errorf("grammar: rule %q begins with a chain of more than %d rules; use fewer rules", g.names[id], grammarChainMax)
		}
	}
	return g.checkSearch(known)
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

// bottomUp orders rules so that each comes after those it begins with. Where
// there is no such order, loop is a rule's way back to itself.
func bottomUp(known []starts) (order, loop []int) {
	const (
		fresh = iota
		open
		done
	)
	state := make([]int8, len(known))
	at := make([]int, len(known)) // next beginning to look at
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

// sum adds a rule's beginnings up from those of the rules it begins with.
func (g *gbnf) sum(id int, known []starts, empty []bool) {
	s := &known[id]
	s.ways, s.chain, s.cost = 1, 1, len(g.rules[id])+1
	for alt := range splitAlternatives(g.rules[id]) {
		s.ways = saturated(s.ways, 1)
		for _, sym := range alt {
			if sym < 0 {
				s.ways = saturated(s.ways, 1)
				break
			}
			s.ways = saturated(s.ways, known[sym].ways)
			if !empty[sym] {
				break
			}
		}
	}
	for _, next := range s.next {
		s.chain = max(s.chain, 1+known[next].chain)
		s.cost = saturated(s.cost, known[next].cost)
	}
}

func saturated(a, b int) int { return min(a+b, math.MaxInt32) }

// checkSearch bounds the native search for left recursion. It starts from each
// rule that it has not come to before, and in one search it walks every way, not
// every rule.
func (g *gbnf) checkSearch(known []starts) error {
	visited := make([]bool, len(known))
	total := 0
	for id := range known {
		if visited[id] {
			continue
		}
		if total = saturated(total, known[id].cost); total > grammarSearchMax {
			return fmt.Errorf("grammar: too many ways lead from one rule to another, %q among them; let fewer alternatives begin with other rules", g.names[id])
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
	return nil
}
