package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"agent/internal/bench/tasks"
	"agent/internal/exit"
	"agent/session"
)

// benchWay is a way of working.
type benchWay struct {
	name, about string
	change      func(*session.Options)
}

// withoutPrefix begins the name of a way that lacks an aid.
const withoutPrefix = "no_"

// benchWays are the ways of working that `bench agent` compares: that of `agent
// run`, and what differs from it in one thing.
func benchWays() []benchWay {
	ways := []benchWay{
		{"full", "as `agent run` works", func(*session.Options) {}},
		{"plain", "the plain protocol alone: each turn is one JSON reply, then parsed",
			func(o *session.Options) {
				o.Text = true
				switchAids(o, false, session.Aids()...)
			}},
		{"text", "full, but each turn is one JSON reply, then parsed",
			func(o *session.Options) { o.Text = true }},
		{"qa", "full, and the model checks its answers", func(o *session.Options) { o.QA = true }},
	}
	for _, n := range []int{8, 16, 32} {
		ways = append(ways, benchWay{fmt.Sprintf("note_%d", n),
			fmt.Sprintf("full, with notes of at most %d tokens", n),
			func(o *session.Options) { o.Limits.NoteTokensMax = n }})
	}
	for _, aid := range session.Aids() {
		ways = append(ways, benchWay{withoutPrefix + string(aid), "full without the aid " + string(aid),
			func(o *session.Options) { switchAids(o, false, aid) }})
	}
	return ways
}

// switchAids switches aids whatever the model's size.
func switchAids(o *session.Options, on bool, aids ...session.Aid) {
	o.Aids = maps.Clone(o.Aids)
	if o.Aids == nil {
		o.Aids = map[session.Aid]bool{}
	}
	for _, aid := range aids {
		o.Aids[aid] = on
	}
}

// screenWay has all aids on but those that the names take away, so that a
// screening says something of each aid with a model of any size.
func screenWay(off []string) (benchWay, error) {
	way, err := findWay(tasks.JoinWay(off))
	change := way.change
	way.change = func(o *session.Options) {
		switchAids(o, true, session.Aids()...)
		change(o)
	}
	return way, err
}

func benchWayNames() []string {
	var names []string
	for _, w := range benchWays() {
		names = append(names, w.name)
	}
	return names
}

// withoutEach names the ways that lack an aid.
func withoutEach() []string {
	var names []string
	for _, aid := range session.Aids() {
		names = append(names, withoutPrefix+string(aid))
	}
	return names
}

// findWay is the way of this name, or several at once: "no_note+no_restate".
func findWay(name string) (benchWay, error) {
	out := benchWay{name: name}
	var changes []func(*session.Options)
	for part := range strings.SplitSeq(name, "+") {
		known := benchWays()
		i := slices.IndexFunc(known, func(w benchWay) bool { return w.name == part })
		if i < 0 {
			return out, exit.Usagef("--ways: there is no way of working %q; known are %s", part,
				strings.Join(benchWayNames(), ", "))
		}
		changes = append(changes, known[i].change)
	}
	out.change = func(o *session.Options) {
		for _, change := range changes {
			change(o)
		}
	}
	return out, nil
}

func describeBenchWays() string {
	var b strings.Builder
	for _, w := range benchWays() {
		fmt.Fprintf(&b, "  %-16s %s\n", w.name, w.about)
	}
	return strings.TrimRight(b.String(), "\n")
}
