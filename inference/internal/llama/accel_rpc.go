//go:build cgo && rpc

package llama

// #cgo LDFLAGS: -L${SRCDIR}/../../../build/lib -L${SRCDIR}/../../../build/lib/rpc -lagent_llama -lstdc++ -lm -lpthread
// #cgo linux LDFLAGS: -Wl,--as-needed -lgomp -ldl
// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"net"
	"os"
	"strings"
	"time"
	"unsafe"
)

// accelerators are what this build is for; see [SystemInfo]. Other machines'
// devices are only those that were asked for.
const accelerators = ""

// rpcServersEnv names the ggml-rpc-servers whose devices are used, as
// host:port[,host:port…].
const rpcServersEnv = "AGENT_RPC_SERVERS"

const rpcDialTimeout = 5 * time.Second

const rpcAdvice = "write host:port, start ggml-rpc-server there, or unset " + rpcServersEnv

// addDevices makes the devices of the configured servers usable. ggml ends the
// process when a server does not answer, so each is dialled here before.
func addDevices() error {
	for _, server := range strings.FieldsFunc(os.Getenv(rpcServersEnv),
		func(r rune) bool { return r == ',' || r == ' ' }) {
		conn, err := net.DialTimeout("tcp", server, rpcDialTimeout)
		if err != nil {
			return &Error{Op: rpcServersEnv + ": " + server, Detail: err.Error(), Advice: rpcAdvice}
		}
		conn.Close()
		if err := addServer(server); err != nil {
			return err
		}
	}
	return nil
}

func addServer(endpoint string) error {
	if strings.IndexByte(endpoint, 0) >= 0 {
		return errors.New(rpcServersEnv + " contains a NUL byte")
	}
	c := C.CString(endpoint)
	defer C.free(unsafe.Pointer(c))
	var buf C.ag_buf
	return callError(rpcServersEnv+": "+endpoint, C.ag_add_rpc_server(c, &buf), &buf)
}
