package mcp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// mayStart reports whether a server is the user's own or was accepted, and asks
// where somebody can be asked.
func (o Options) mayStart(ctx context.Context, name string, pins *pinFile, approved map[string]pin) (bool, error) {
	if !slices.Contains(o.Foreign, name) {
		return true, nil
	}
	mark, err := o.Servers[name].fingerprint(name, o.Folder)
	if err != nil {
		return false, err
	}
	if approved[serverKey(mark)].Hash == mark {
		return true, nil
	}
	if o.AcceptServer == nil {
		o.Warn(fmt.Sprintf("mcp server %q is configured by this folder and is not started; look at it, then: agent commands accept --server %s", name, name))
		return false, nil
	}
	ok, err := o.AcceptServer(ctx, name, o.Servers[name])
	if err != nil || !ok {
		return false, err
	}
	return true, pins.put(serverKey(mark), pin{Hash: mark, Approved: time.Now().UTC()})
}

// AcceptServer lets a foreign server be started in a folder, as it is
// configured now.
func AcceptServer(stateDir, folder, name string, s Server) error {
	mark, err := s.fingerprint(name, folder)
	if err != nil {
		return err
	}
	pins := &pinFile{path: filepath.Join(stateDir, pinFileName)}
	return pins.put(serverKey(mark), pin{Hash: mark, Approved: time.Now().UTC()})
}

// fingerprint is another one for every other configuration and folder.
func (s Server) fingerprint(name, folder string) (string, error) {
	raw, err := json.Marshal(struct {
		Name, Folder string
		Server       Server
	}{name, folder, s})
	if err != nil {
		return "", fmt.Errorf("mcp server %q: %w", name, err)
	}
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// serverKey is no key of a tool: no server's name has a space.
func serverKey(mark string) string { return "server " + mark }
