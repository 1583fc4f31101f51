package program

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
)

// replaceFile writes a file of a folder in one step, so that nobody reads half
// of it and a full disk loses nothing.
func replaceFile(root *os.Root, name string, data []byte) error {
	var id [6]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	temporary := ".new-" + hex.EncodeToString(id[:])
	f, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = root.Rename(temporary, name)
	}
	if err != nil {
		_ = root.Remove(temporary)
	}
	return err
}
