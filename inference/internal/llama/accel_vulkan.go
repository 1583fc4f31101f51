//go:build cgo && vulkan

package llama

// #cgo LDFLAGS: -L${SRCDIR}/../../../build/lib -L${SRCDIR}/../../../build/lib/vulkan -lagent_llama
// #cgo LDFLAGS: -lvulkan -lstdc++ -lm -lpthread -Wl,--as-needed -lgomp -ldl
import "C"

// accelerators are what this build is for; see [SystemInfo].
const accelerators = "Vulkan"
