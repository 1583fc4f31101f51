package main

import (
	"agent/internal/exit"
	"fmt"
	"slices"
	"strings"

	"agent/session"
)

// benchWay is a way of working.
type benchWay struct {
	name, about string
	change      func(*session.Options)
}

// withoutPrefix begins the name of a way that lacks a device.
const withoutPrefix = "no_"

// benchWays are the ways of working that `bench agent` compares: that of `agent
// run`, and what differs from it in one thing.
func benchWays() []benchWay {
	ways := []benchWay{
		{"full", "as `agent run` works", func(*session.Options) {}},
		{"plain", "the plain protocol alone: each turn is one JSON reply, then parsed", func(o *session.Options) { o.Text, o.Without = true, session.Devices() }},
		{"text", "full, but each turn is one JSON reply, then parsed", func(o *session.Options) { o.Text = true }},
		{"qa", "full, and the model checks its answers", func(o *session.Options) { o.QA = true }},
	}
	for _, device := range session.Devices() {
		ways = append(ways, benchWay{withoutPrefix + string(device), "full without the device " + string(device),
			func(o *session.Options) { o.Without = append(o.Without, device) }})
	}
	return ways
}

func benchWayNames() []string {
	var names []string
	for _, w := range benchWays() {
		names = append(names, w.name)
	}
	return names
}

// withoutEach names the ways that lack a device.
func withoutEach() []string {
	var names []string
	for _, device := range session.Devices() {
		names = append(names, withoutPrefix+string(device))
	}
	return names
}

// findWay is the way of this name, or several at once: "no_note+no_restate".
func findWay(name string) (benchWay, error) {
	out := benchWay{name: name}
	var changes []func(*session.Options)
	for _, part := range strings.Split(name, "+") {
		known := benchWays()
		i := slices.IndexFunc(known, func(w benchWay) bool { return w.name == part })
		if i < 0 {
			return out, exit.Usagef("--ways: there is no way of working %q; known are %s", part, strings.Join(benchWayNames(), ", "))
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
