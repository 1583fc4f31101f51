//go:build cgo && package

package llama

// The link line is in scripts/package.sh.

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"os"
	"path/filepath"
	"unsafe"
)

// moduleDir is where the CPU modules lie, seen from the executable's folder.
const moduleDir = "../lib/agent"

// addDevices loads the CPU module for this processor.
func addDevices() error {
	const op, advice = "load the CPU modules",
		"keep bin/agent and lib/agent together, as the package has them"
	exe, err := os.Executable()
	if err == nil {
		exe, err = filepath.EvalSymlinks(exe)
	}
	if err != nil {
		return &Error{Op: op, Err: err, Advice: advice}
	}
	dir := filepath.Join(filepath.Dir(exe), moduleDir)
	if _, err := os.Stat(dir); err != nil {
		return &Error{Op: op, Err: err, Advice: advice}
	}
	c := C.CString(dir)
	defer C.free(unsafe.Pointer(c))
	var buf C.ag_buf
	if C.ag_load_modules(c, &buf) != C.AG_OK {
		return &Error{Op: op + " in " + dir, Detail: string(take(&buf)), Advice: advice}
	}
	return nil
}
