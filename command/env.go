package command

import (
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
)

// Web says which addresses commands may fetch. The zero value allows none.
type Web struct {
	// Allow lets commands fetch http and https addresses, each call approved as
	// one that reaches out.
	Allow bool
	// Hosts are the only hosts that may be reached, each with those below it;
	// empty: every public one.
	Hosts []string
	// Private are addresses that may be reached although they are not public:
	// this machine, the local network. Without it they are refused, whatever
	// name leads to them.
	Private []netip.Prefix
}

// Allows reports whether commands may reach a host.
func (w Web) Allows(host string) bool {
	if len(w.Hosts) == 0 {
		return true
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, h := range w.Hosts {
		h = strings.ToLower(h)
		if host == h || strings.HasSuffix(host, "."+h) {
			return true
		}
	}
	return false
}

// Judgement is which of some options fits a text, by their probabilities.
type Judgement struct {
	Option        int       // -1: none was chosen
	Probabilities []float64 // of each option, among themselves
	Margin        float64   // lead over the next one, in nats
	Why           string    // why none was chosen
}

// filesDescribedMax bounds how many descriptions are kept.
const filesDescribedMax = 2000

// FileIndex keeps a description of each file that a command made. A nil
// *FileIndex keeps nothing. Its methods are safe for concurrent use.
type FileIndex struct {
	mu    sync.Mutex
	about map[string]string // by slash-separated path within the work dir
}

// NewFileIndex returns an index without files.
func NewFileIndex() *FileIndex { return &FileIndex{about: map[string]string{}} }

// Describe says what a file is, in one line. A later description replaces an
// earlier one.
func (x *FileIndex) Describe(path, about string) {
	about = strings.Join(strings.Fields(about), " ")
	if x == nil || about == "" {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	path = filepath.ToSlash(path)
	if _, known := x.about[path]; known || len(x.about) < filesDescribedMax {
		x.about[path] = about
	}
}

// About returns the description of a file, empty when it has none.
func (x *FileIndex) About(path string) string {
	if x == nil {
		return ""
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.about[filepath.ToSlash(path)]
}

// DescribeAll records what a call said about the files it made or changed.
func (x *FileIndex) DescribeAll(paths []string, about string) {
	for _, path := range paths {
		x.Describe(path, about)
	}
}
