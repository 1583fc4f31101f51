//go:build cgo && !rpc && !package

package llama

// addDevices does nothing: the binary has all its devices.
func addDevices() error { return nil }
