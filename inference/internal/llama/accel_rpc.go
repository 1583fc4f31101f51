//go:build cgo && rpc

package llama

// #cgo LDFLAGS: -L${SRCDIR}/../../../build/lib -L${SRCDIR}/../../../build/lib/rpc -lagent_llama -lstdc++ -lm -lpthread
// #cgo linux LDFLAGS: -lgomp -ldl
import "C"
