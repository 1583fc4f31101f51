//go:build cgo

package llama

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"sync"
	"unsafe"
)

// Cores lists the processors that this process was started with, by the system's
// numbers; none where that is unknown.
func Cores() []int32 {
	ids := make([]int32, 1024)
	return ids[:C.ag_cores((*C.int32_t)(&ids[0]), C.int32_t(len(ids)))]
}

// Instructions are the instruction sets that the native code needs, and those missing on this
// processor or its system.
func Instructions() (needed, lacking string, err error) {
	var n, l, buf C.ag_buf
	code := C.ag_instructions(&n, &l, &buf)
	return string(take(&n)), string(take(&l)), callError("ask the processor", code, &buf)
}

// checkProcessor refuses to compute where an instruction would trap.
var checkProcessor = sync.OnceValue(func() error {
	needed, lacking, err := Instructions()
	if err != nil || lacking == "" {
		return err
	}
	return &Error{Op: "native engine", Detail: "it was compiled for" + needed +
		"; this processor lacks " + lacking,
		Advice: "build it on this machine (`make agent`), or use the portable package"}
})

// DieBySignal lets a trap in native code end the process by its signal instead of a
// stack trace of Go's. It is for child processes whose parent reads that signal.
func DieBySignal() { C.ag_die_by_signal() }

// BufferTypes lists where weights may lie and which types can be tested.
func BufferTypes() (all Buffers, err error) {
	if err := ready(); err != nil {
		return all, err
	}
	err = described("list buffer types", &all,
		func(json, err *C.ag_buf) C.int { return C.ag_buffer_types(json, err) })
	return all, err
}

// SelfTest multiplies random weights of one type in one buffer type by so many rows
// each. errors are mean squares relative to a scalar reference's; taken is false where
// such weights are never put there. It may end the process.
func SelfTest(buffer string, weightType int, rows []int32, threads int,
) (errors []float32, taken bool, err error) {
	if err := ready(); err != nil {
		return nil, false, err
	}
	name := C.CString(buffer)
	defer C.free(unsafe.Pointer(name))
	errors = make([]float32, len(rows))
	var buf C.ag_buf
	var code C.int
	theComputer().hold(func(func() bool) {
		code = C.ag_selftest(name, C.int32_t(weightType), (*C.int32_t)(&rows[0]), C.int32_t(len(rows)),
			C.int32_t(threads), (*C.float)(&errors[0]), &buf)
	})
	if code == C.AG_NOT_TAKEN {
		C.ag_buf_free(&buf)
		return nil, false, nil
	}
	return errors, true, callError("self-test of "+buffer, code, &buf)
}

// DisableBuffer keeps the weights of models that are loaded later out of a buffer type.
func DisableBuffer(name string) error {
	if err := ready(); err != nil {
		return err
	}
	c := C.CString(name)
	defer C.free(unsafe.Pointer(c))
	var buf C.ag_buf
	return callError("switch off "+name, C.ag_disable_buffer(c, &buf), &buf)
}
