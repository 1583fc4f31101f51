package inference

import (
	"cmp"
	"fmt"

	"agent/inference/gguf"
)

// Memory is an estimate of what a model needs, in bytes.
type Memory struct {
	Weights, KV, Compute, Available uint64
}

// Need is the sum of what is needed.
func (m Memory) Need() uint64 { return m.Weights + m.KV + m.Compute }

// kvElementBytes is the size of one cached number.
var kvElementBytes = map[string]float64{"f32": 4, "f16": 2, "bf16": 2, "q8_0": 34.0 / 32,
	"q4_0": 18.0 / 32}

// EstimateMemory adds up weights, KV cache and compute buffers. Compute is an
// upper estimate from the shapes that ggml reserves for one micro-batch.
func EstimateMemory(file *gguf.Info, o EngineOptions) Memory {
	element, ok := kvElementBytes[cmp.Or(o.KVType, "f16")]
	if !ok {
		element = 2
	}
	ubatch := float64(max(cmp.Or(o.Ubatch, ubatchDefault), outputsMax))
	cells := float64(cmp.Or(o.Cells, o.ContextLength+cellsSpare))
	activations := ubatch * 4 * (8*float64(file.EmbeddingLength) + cells/8)
	logits := 2 * float64(outputsMax+leavesMax) * float64(file.VocabSize) * 4
	return Memory{
		Weights:   uint64(file.WeightBytes),
		KV:        uint64(cells * file.KVBytesPerToken(element, element)),
		Compute:   uint64(activations + logits),
		Available: availableMemory(),
	}
}

// contextDefaultMax bounds a context length that nobody asked for.
const contextDefaultMax = 32768

// FittingContext is the context length used when none is configured: as
// trained, at most 32,768, and such that the KV cache takes at most half of
// the memory that weights leave free, on accelerators where these have room for
// the weights; at least 2,048.
func FittingContext(file *gguf.Info, on []Device, o EngineOptions) int {
	length := min(cmp.Or(file.ContextLengthTrain, 2048), contextDefaultMax)
	free := freeOn(on)
	for length > 2048 {
		o.ContextLength, o.Cells = length, 0
		m := EstimateMemory(file, o)
		if free > m.Weights {
			m.Available = free
		}
		if m.Available == 0 || m.Available < m.Weights || m.KV < (m.Available-m.Weights)/2 {
			break
		}
		length = max(length/2, 2048)
	}
	return length
}

// CheckMemory refuses, with the numbers, a model that won't fit. It is for
// host memory; accelerators report their own shortage when they allocate.
func CheckMemory(file *gguf.Info, o EngineOptions) error {
	if o.ContextLength == 0 {
		o.ContextLength = FittingContext(file, nil, o)
	}
	return checkMemory(file, o, uint64(file.WeightBytes))
}

// checkMemory checks the estimate, with the given bytes of weights still to load.
func checkMemory(file *gguf.Info, o EngineOptions, weights uint64) error {
	m := EstimateMemory(file, o)
	m.Weights = weights
	return m.check(o)
}

// check refuses what is more than the memory that is free.
func (m Memory) check(o EngineOptions) error {
	if m.Available == 0 || m.Need() <= m.Available {
		return nil
	}
	return &Error{Op: "memory",
		Err: fmt.Errorf("%s are needed (weights %s, KV cache for %d tokens %s, compute %s), but only %s are free",
			gib(m.Need()), gib(m.Weights), o.ContextLength, gib(m.KV), gib(m.Compute), gib(m.Available)),
		Advice: "use a smaller model or quantisation, a smaller llm.context_length, or llm.kv_type=q8_0"}
}

func gib(n uint64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
