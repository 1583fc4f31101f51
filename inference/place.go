package inference

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"agent/inference/gguf"
)

// CPUDevice is the name of the processor in [ModelOptions].Devices.
const CPUDevice = "CPU"

// DevicesFor are the accelerators that a model loaded with these options runs
// on; none: it runs on the processor. Without a wish they are all that have
// memory of their own, else those that share the processor's. A name that no
// device has is an error.
func DevicesFor(o *ModelOptions) ([]Device, error) {
	sys, err := System()
	if err != nil {
		return nil, err
	}
	at, err := o.devices(sys.Devices)
	var out []Device
	for _, i := range at {
		out = append(out, sys.Devices[i])
	}
	return out, err
}

// devices picks from what there is, by index.
func (o *ModelOptions) devices(all []Device) (at []int, err error) {
	if len(o.Devices) > 0 {
		at, err = namedDevices(o.Devices, all)
	} else {
		at = automaticDevices(all)
	}
	if err != nil || o.GPULayers != nil && *o.GPULayers == 0 {
		return nil, err
	}
	return at, nil
}

func automaticDevices(all []Device) []int {
	var own, shared []int
	for i, d := range all {
		switch {
		case d.Accelerator && d.Integrated:
			shared = append(shared, i)
		case d.Accelerator:
			own = append(own, i)
		}
	}
	if len(own) > 0 {
		return own
	}
	return shared
}

func namedDevices(names []string, all []Device) (at []int, err error) {
	var known []string
	for _, d := range all {
		if d.Accelerator || d.Name == CPUDevice {
			known = append(known, d.Name)
		}
	}
	fail := func(format string, args ...any) error {
		return &Error{Op: "llm.devices", Err: fmt.Errorf(format, args...),
			Advice: "here are " + strings.Join(known, ", ")}
	}
	for _, name := range names {
		i := slices.IndexFunc(all, func(d Device) bool { return strings.EqualFold(d.Name, name) })
		switch {
		case strings.EqualFold(name, CPUDevice):
			if len(names) > 1 {
				return nil, fail("%s stands for no accelerator and can't be one of several", CPUDevice)
			}
			return nil, nil
		case i < 0 || !all[i].Accelerator:
			return nil, fail("there is no device %q", name)
		case slices.Contains(at, i):
			return nil, fail("%s is named twice", all[i].Name)
		}
		at = append(at, i)
	}
	return at, nil
}

// Placement is the part of a model that lies on accelerators, and the bytes needed there and on
// the host.
type Placement struct {
	Layers     int // as llama.cpp counts them: the output is the last one
	LayersAll  int
	CPUExperts int // layers whose experts stay on the host
	Device     Memory
	Host       Memory
}

// deviceSpare is memory of each accelerator that is left to its driver, to
// rounding, and to other programs.
const deviceSpare = 512 << 20

func freeOn(on []Device) (free uint64) {
	for _, d := range on {
		free += d.FreeBytes - min(d.FreeBytes, deviceSpare)
	}
	return free
}

// Fits reports whether the accelerators have room for their part.
func (p Placement) Fits() bool { return p.Device.Need() <= p.Device.Available }

// CheckHost refuses, with the numbers, what won't fit into the host's memory.
func (p Placement) CheckHost(e EngineOptions) error { return p.Host.check(e) }

func (p Placement) String() string {
	s := fmt.Sprintf("%d of %d layers on accelerators", p.Layers, p.LayersAll)
	if p.CPUExperts > 0 {
		s += fmt.Sprintf(", the experts of %d on the CPU", p.CPUExperts)
	}
	return fmt.Sprintf("%s: %s of %s there (weights %s, KV cache %s, compute %s), weights of %s on the CPU", s,
		gib(p.Device.Need()), gib(p.Device.Available), gib(p.Device.Weights), gib(p.Device.KV),
		gib(p.Device.Compute), gib(p.Host.Weights))
}

// Place decides how much of a model lies on these accelerators. What the options
// leave open becomes as much as fits: all layers; else all but the experts of
// some; else some layers, from the last.
func Place(file *gguf.Info, o *ModelOptions, e EngineOptions, on []Device) Placement {
	if len(on) == 0 {
		return placed(file, e, 0, 0, 0)
	}
	free := freeOn(on)
	layers, experts := file.Layers+1, 0
	if o.GPULayers != nil {
		layers = min(layers, *o.GPULayers)
	}
	if o.CPUExperts != nil {
		experts = min(*o.CPUExperts, file.Layers)
	}
	p := placed(file, e, layers, experts, free)
	if o.CPUExperts == nil && file.Experts > 0 {
		for ; !p.Fits() && experts < file.Layers; experts++ {
			p = placed(file, e, layers, experts+1, free)
		}
	}
	if o.GPULayers == nil {
		for ; !p.Fits() && layers > 0; layers-- {
			p = placed(file, e, layers-1, experts, free)
		}
	}
	return p
}

// placed adds up what the given layers need, counted from the last one as
// llama.cpp does.
func placed(file *gguf.Info, e EngineOptions, layers, experts int, free uint64) Placement {
	p := Placement{Layers: layers, LayersAll: file.Layers + 1, CPUExperts: experts}
	whole := EstimateMemory(file, e)
	first := p.LayersAll - layers // the first layer that is on an accelerator
	for _, t := range file.Tensors {
		layer, expert := layerOf(t.Name)
		onDevice := layer >= first && layer < file.Layers && !(expert && layer < experts)
		if layer < 0 {
			onDevice = layers > 0 && strings.HasPrefix(t.Name, "output")
		}
		if onDevice {
			p.Device.Weights += uint64(t.Bytes)
		} else {
			p.Host.Weights += uint64(t.Bytes)
		}
	}
	if layers > 0 && !slices.ContainsFunc(file.Tensors,
		func(t gguf.Tensor) bool { return t.Name == "output.weight" }) {
		p.Device.Weights += embeddingBytes(file) // they serve as the output, too, and lie in both places
	}
	if n := min(layers, file.Layers); n > 0 && file.Layers > 0 {
		p.Device.KV = whole.KV * uint64(n) / uint64(file.Layers)
		p.Device.Compute = whole.Compute
	}
	p.Host.KV, p.Host.Compute = whole.KV-p.Device.KV, whole.Compute
	p.Device.Available, p.Host.Available = free, whole.Available
	return p
}

func embeddingBytes(file *gguf.Info) uint64 {
	for _, t := range file.Tensors {
		if t.Name == "token_embd.weight" {
			return uint64(t.Bytes)
		}
	}
	return 0
}

// The names of weights: what llama.cpp's --n-cpu-moe means by experts.
var (
	layerName  = regexp.MustCompile(`^blk\.(\d+)\.`)
	expertName = regexp.MustCompile(`^blk\.\d+\.ffn_(up|down|gate|gate_up)_(ch|)exps`)
)

// layerOf is the layer of a tensor; -1: it is of none.
func layerOf(name string) (layer int, expert bool) {
	m := layerName.FindStringSubmatch(name)
	if m == nil {
		return -1, false
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return -1, false
	}
	return n, expertName.MatchString(name)
}
