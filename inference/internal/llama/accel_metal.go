//go:build cgo && metal && darwin

package llama

// #cgo LDFLAGS: -L${SRCDIR}/../../../build/lib -L${SRCDIR}/../../../build/lib/metal -lagent_llama -lstdc++ -lm -lpthread
// #cgo LDFLAGS: -framework Accelerate -framework Foundation -framework Metal -framework MetalKit
import "C"
