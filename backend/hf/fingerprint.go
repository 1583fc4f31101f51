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
	sum := sha256.Sum256(fmt.Append(nil, b.cfg.Path, "\x00", inference.BuildID, "\x00", runtime.GOARCH, "\x00", b.cfg.KVType, "\x00",
		b.cfg.Threads, b.cfg.ThreadsBatch, b.cfg.Ubatch, b.cfg.NoFlashAttn, b.cfg.Devices, b.ContextLength()))
	const shown = 6 // bytes
	return "fp_" + hex.EncodeToString(sum[:shown]) + "_varies"
}
