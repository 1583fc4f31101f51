//go:build cgo && !cuda && !metal && !rpc && !vulkan && !package

package llama

// #cgo LDFLAGS: -L${SRCDIR}/../../../build/lib -L${SRCDIR}/../../../build/lib/cpu -lagent_llama -lstdc++ -lm -lpthread
// #cgo linux LDFLAGS: -Wl,--as-needed -lgomp -ldl
// #cgo darwin LDFLAGS: -framework Accelerate
import "C"

// accelerators are what this build is for; see [SystemInfo].
const accelerators = ""
