//go:build cgo && cuda

package llama

// #cgo LDFLAGS: -L${SRCDIR}/../../../build/lib -L${SRCDIR}/../../../build/lib/cuda -L/usr/local/cuda/lib64 -L/usr/local/cuda/lib64/stubs
// #cgo LDFLAGS: -lagent_llama -lcudart -lcublas -lcublasLt -lcuda -lstdc++ -lm -lpthread -Wl,--as-needed -lgomp -ldl -lrt
import "C"
