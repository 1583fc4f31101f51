package inference

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/inference/gguf"
)

func TestDevicesAreChosenByNameOrByKind(t *testing.T) {
	cpu := Device{Name: "CPU"}
	blas := Device{Name: "BLAS"}
	own0, own1 := Device{Name: "CUDA0", Accelerator: true}, Device{Name: "CUDA1", Accelerator: true}
	shared := Device{Name: "Vulkan1", Accelerator: true, Integrated: true}
	none, some := 0, 5
	for name, c := range map[string]struct {
		all    []Device
		names  []string
		layers *int
		want   []int
		wrong  string
	}{
		"only the processor":              {all: []Device{cpu}},
		"all with their own memory":       {all: []Device{own0, own1, cpu}, want: []int{0, 1}},
		"shared memory only where alone":  {all: []Device{shared, own0, cpu}, want: []int{1}},
		"shared memory alone":             {all: []Device{blas, shared, cpu}, want: []int{1}},
		"no layers":                       {all: []Device{own0, cpu}, layers: &none},
		"some layers":                     {all: []Device{own0, cpu}, layers: &some, want: []int{0}},
		"by name, in that order":          {all: []Device{own0, own1, cpu}, names: []string{"cuda1", "CUDA0"}, want: []int{1, 0}},
		"shared memory, asked for":        {all: []Device{shared, own0, cpu}, names: []string{"Vulkan1"}, want: []int{0}},
		"the processor, asked for":        {all: []Device{own0, cpu}, names: []string{"cpu"}},
		"no layers of a named one":        {all: []Device{own0, cpu}, names: []string{"CUDA0"}, layers: &none},
		"a name that is not here":         {all: []Device{own0, cpu}, names: []string{"CUDA7"}, wrong: `there is no device "CUDA7"`},
		"also where no layers are wanted": {all: []Device{own0, cpu}, names: []string{"CUDA7"}, layers: &none, wrong: "no device"},
		"twice":                           {all: []Device{own0, cpu}, names: []string{"CUDA0", "CUDA0"}, wrong: "named twice"},
		"the processor and another":       {all: []Device{own0, cpu}, names: []string{"CUDA0", "CPU"}, wrong: "can't be one of several"},
		"a library of the processor":      {all: []Device{blas, cpu}, names: []string{"BLAS"}, wrong: "no device"},
		"empty":                           {all: []Device{own0, cpu}, names: []string{""}, wrong: "no device"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := (&ModelOptions{Devices: c.names, GPULayers: c.layers}).devices(c.all)
			if c.wrong != "" {
				assert.ErrorContains(t, err, c.wrong)
				assert.Contains(t, hintOf(err), "CPU")
				assert.NotContains(t, hintOf(err), "BLAS")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

const mib = 1 << 20

// sizes is a model of ten layers of 100 MiB, 80 of them experts where there are
// any, with embeddings and an output of 50 MiB.
func sizes(experts, tied bool) *gguf.Info {
	in := &gguf.Info{Layers: 10, ContextLengthTrain: 4096, EmbeddingLength: 64, VocabSize: 100, KeyLength: 64, ValueLength: 64}
	add := func(name string, n int64) {
		in.Tensors = append(in.Tensors, gguf.Tensor{Name: name, Bytes: n * mib})
		in.WeightBytes += n * mib
	}
	add("token_embd.weight", 50)
	if !tied {
		add("output.weight", 50)
	}
	for i := range in.Layers {
		in.HeadsKV = append(in.HeadsKV, 8)
		if !experts {
			add(fmt.Sprintf("blk.%d.attn_q.weight", i), 100)
			continue
		}
		in.Experts = 8
		add(fmt.Sprintf("blk.%d.attn_q.weight", i), 20)
		add(fmt.Sprintf("blk.%d.ffn_up_exps.weight", i), 40)
		add(fmt.Sprintf("blk.%d.ffn_gate_up_exps.weight", i), 40)
	}
	return in
}

func TestPlaceTakesWhatFits(t *testing.T) {
	sized := EngineOptions{ContextLength: 1024, Cells: 1024, Ubatch: 128}
	kv := uint64(1024 * 10 * 8 * 128 * 2) // 20 MiB
	compute := EstimateMemory(sizes(false, false), sized).Compute
	n := func(i int) *int { return &i }
	for name, c := range map[string]struct {
		experts, tied  bool
		free           uint64 // beside the spare, for weights
		layers, cpu    *int
		wantLayers     int
		wantCPU        int
		device, onHost uint64 // MiB of weights
	}{
		"all":                              {free: 1050, wantLayers: 11, device: 1050, onHost: 50},
		"one byte short loses a layer":     {free: 1049, wantLayers: 10, device: 950, onHost: 150},
		"half":                             {free: 500, wantLayers: 5, device: 450, onHost: 650},
		"nothing":                          {free: 10, wantLayers: 0, device: 0, onHost: 1100},
		"tied embeddings lie in both":      {tied: true, free: 1050, wantLayers: 11, device: 1050, onHost: 50},
		"as asked, though too much":        {free: 500, layers: n(8), wantLayers: 8, device: 750, onHost: 350},
		"as asked, and no more than all":   {free: 2000, layers: n(99), wantLayers: 11, device: 1050, onHost: 50},
		"experts of some layers":           {experts: true, free: 900, wantLayers: 11, wantCPU: 2, device: 890, onHost: 210},
		"all experts, then layers":         {experts: true, free: 200, wantLayers: 8, wantCPU: 10, device: 190, onHost: 910},
		"as many experts as asked":         {experts: true, free: 2000, cpu: n(3), wantLayers: 11, wantCPU: 3, device: 810, onHost: 290},
		"all experts, asked for":           {experts: true, free: 2000, cpu: n(1 << 30), wantLayers: 11, wantCPU: 10, device: 250, onHost: 850},
		"experts as asked, layers by room": {experts: true, free: 500, cpu: n(0), wantLayers: 5, wantCPU: 0, device: 450, onHost: 650},
	} {
		t.Run(name, func(t *testing.T) {
			on := []Device{{Name: "X", Accelerator: true, FreeBytes: deviceSpare + c.free*mib + kv + compute}}
			if c.wantLayers < 10 && c.layers == nil { // fewer layers, less of the cache
				on[0].FreeBytes -= kv - kv*uint64(c.wantLayers)/10
			}
			p := Place(sizes(c.experts, c.tied), &ModelOptions{GPULayers: c.layers, CPUExperts: c.cpu}, sized, on)
			assert.Equal(t, [2]int{c.wantLayers, c.wantCPU}, [2]int{p.Layers, p.CPUExperts}, "%v", p)
			assert.Equal(t, [2]uint64{c.device, c.onHost}, [2]uint64{p.Device.Weights / mib, p.Host.Weights / mib}, "%v", p)
			assert.Equal(t, c.layers == nil || c.wantLayers == 11, p.Fits())
		})
	}
}

func TestPlaceCountsTheSpareOfEachDevice(t *testing.T) {
	two := []Device{{FreeBytes: deviceSpare + 100}, {FreeBytes: deviceSpare / 2}, {FreeBytes: deviceSpare + 11}}
	assert.Equal(t, uint64(111), freeOn(two), "one with less than the spare takes nothing from the others")
}
