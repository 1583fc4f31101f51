//go:build cgo && cuda

package llama

// cuBLAS is looked for beside the program, where it was when this was built, and where
// NVIDIA's installer puts it.

// #cgo LDFLAGS: -L${SRCDIR}/../../../build/lib -L${SRCDIR}/../../../build/lib/cuda -lagent_llama
// #cgo LDFLAGS: -lcublas -lstdc++ -lm -lpthread -Wl,--as-needed -lgomp -ldl -lrt
// #cgo LDFLAGS: -Wl,-rpath,$ORIGIN -Wl,-rpath,${SRCDIR}/../../../build/lib/cuda -Wl,-rpath,/usr/local/cuda/lib64
import "C"

// accelerators are what this build is for; see [SystemInfo].
const accelerators = "CUDA"
