package hf

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"

	"agent/inference"
)

// Fingerprint names what computes replies: the model, the native code, the processor
// and the settings. It says that a reply may vary all the same: near ties are decided
// by last digits, and those by how many threads compute, by which requests share a
// batch, and by how much of a prompt is cached.
func (b *Backend) Fingerprint() string {
	c := &b.cfg
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %v %d %d %d %d %t", c.Path, inference.BuildID,
		runtime.GOARCH, c.KVType, c.Devices, c.Threads, c.ThreadsBatch, c.Ubatch, b.ContextLength(),
		c.NoFlashAttn))
	const shown = 6 // bytes
	return "fp_" + hex.EncodeToString(sum[:shown]) + "_varies"
}
