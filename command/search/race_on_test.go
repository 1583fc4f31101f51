//go:build race

package search

// raceEnabled: the race detector needs more address space than any job may have.
const raceEnabled = true
