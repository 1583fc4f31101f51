//go:build cgo && metal

package llama

// #cgo LDFLAGS: -L${SRCDIR}/../../../build/lib -L${SRCDIR}/../../../build/lib/metal -lagent_llama -lstdc++ -lm -lpthread
// #cgo darwin LDFLAGS: -framework Accelerate -framework Foundation -framework Metal -framework MetalKit
import "C"

// accelerators are what this build is for; see [SystemInfo].
const accelerators = "Metal"
