//go:build race

package stock

// raceEnabled: the race detector needs more address space than any job may have.
const raceEnabled = true
