package mcp

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"agent/internal/bounded"
)

const (
	definitionBytesMax = 32 << 10 // of a tool
	pinFileBytesMax    = 16 << 20
	pinVersion         = 1
	pinFileName        = "mcp-tools.json"
)

// definition is what a server says about a tool, as far as a model gets to
// read or to follow it.
type definition struct {
	Description string `json:"description"`
	Schema      any    `json:"schema"`
}

// definitionOf is the definition of a listed tool.
func definitionOf(t *sdk.Tool) definition { return definition{t.Description, t.InputSchema} }

// checkDefinition refuses what is too large to be meant well.
func checkDefinition(t *sdk.Tool) error {
	if t.Name == "" || len(t.Name) > commandBytesMax*2 {
		return fmt.Errorf("its name has %d bytes", len(t.Name))
	}
	raw, err := json.Marshal(definitionOf(t))
	if err != nil {
		return err
	}
	if len(raw) > definitionBytesMax {
		return fmt.Errorf("its definition has %d bytes, more than %d", len(raw), definitionBytesMax)
	}
	return nil
}

// hash is the same for equal definitions: maps are written with sorted keys.
func (d definition) hash() string {
	raw, err := json.Marshal(d)
	if err != nil { // it came as JSON
		return ""
	}
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// pin is a tool as it was approved.
type pin struct {
	Hash       string     `json:"hash"`
	Definition definition `json:"definition"`
	Approved   time.Time  `json:"approved"`
}

func pinKey(server, tool string) string { return server + "/" + tool }

// pinFile keeps the pins of all servers, for all runs.
type pinFile struct{ path string }

type pinDocument struct {
	Version int            `json:"version"`
	Tools   map[string]pin `json:"tools"`
}

// load reads the pins; a file that can't be read is an error, since going on
// without it would approve everything anew.
func (f *pinFile) load() (map[string]pin, error) {
	doc, err := f.read()
	if err != nil {
		return nil, &pinError{f.path, err}
	}
	return doc.Tools, nil
}

func (f *pinFile) read() (*pinDocument, error) {
	doc := &pinDocument{Version: pinVersion, Tools: map[string]pin{}}
	raw, err := bounded.File(f.path, pinFileBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return doc, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, doc); err != nil {
		return nil, err
	}
	if doc.Version != pinVersion {
		return nil, fmt.Errorf("its version is %d, not %d", doc.Version, pinVersion)
	}
	if doc.Tools == nil {
		doc.Tools = map[string]pin{}
	}
	return doc, nil
}

// put adds or changes one pin. Several agents may do so at once; the file is
// replaced whole.
func (f *pinFile) put(key string, p pin) error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return &pinError{f.path, err}
	}
	lock := flock.New(f.path + ".lock")
	if err := lock.Lock(); err != nil {
		return &pinError{f.path, err}
	}
	defer lock.Unlock()
	doc, err := f.read()
	if err == nil {
		doc.Tools[key] = p
		err = replaceFile(f.path, doc)
	}
	if err != nil {
		return &pinError{f.path, err}
	}
	return nil
}

func replaceFile(path string, doc *pinDocument) error {
	raw, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".mcp-*") // readable by its owner only
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(append(raw, '\n'))
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// pinError is a file of approvals that can't be used.
type pinError struct {
	path string
	err  error
}

func (e *pinError) Error() string { return fmt.Sprintf("mcp: approvals in %s: %v", e.path, e.err) }

func (e *pinError) Unwrap() error { return e.err }

func (e *pinError) Hint() string {
	return "mend the file, or remove it to approve every tool anew"
}
