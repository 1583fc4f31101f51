//go:build !linux

package inference

import "syscall"

// limitRenderer: only time is limited here.
func limitRenderer(uint64) error { return nil }

func lowerPriority(done chan<- bool) func() { return func() { done <- false } }

func rendererAttr() *syscall.SysProcAttr { return nil }
