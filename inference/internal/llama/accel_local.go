//go:build cgo && !rpc

package llama

// addServers does nothing: only builds with the tag rpc use other machines.
func addServers() error { return nil }
