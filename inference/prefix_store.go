package inference

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// PrefixStore keeps parts of KV caches on disk, so that a new process evaluates only what no
// process before it has evaluated. Each is found by its token ids, all of which are compared,
// and used only by an engine of the same model, native code and settings.
//
// Its folder must belong to the user alone: what lies in it is trusted once its hash is right.
// A file that is torn, damaged or of someone else is as good as none. Several processes may
// use a folder at the same time.
type PrefixStore struct {
	dir      string
	bytesMax int64
	writes   chan func() // nil until the first one
	writing  sync.WaitGroup
	mu       sync.Mutex
	dropped  bool // closed: no more writes
	err      error
}

const (
	prefixTokensMin = 128       // fewer are evaluated sooner than they are read
	prefixWritesMax = 4         // that wait to be written; more are left out
	prefixSuffix    = ".kv"     // of a whole file
	prefixStale     = time.Hour // after which a file that never became whole is removed
)

// OpenPrefixStore returns the store in dir, which is made when the first prefix is kept.
// bytesMax is the most that all its files may take; what was unused the longest goes first.
func OpenPrefixStore(dir string, bytesMax int64) *PrefixStore {
	return &PrefixStore{dir: dir, bytesMax: bytesMax}
}

// Prefix is a part of a KV cache on disk.
type Prefix struct {
	Path   string    `json:"path"`
	Model  string    `json:"model"` // the model's file
	Tokens int       `json:"tokens"`
	Bytes  int64     `json:"bytes"` // of the file
	Used   time.Time `json:"used"`
}

// prefixHead begins a file. Token ids follow, then the state, then the SHA-256 of all that.
type prefixHead struct {
	Magic  [8]byte
	Key    [sha256.Size]byte // model, native code and settings
	Name   [64]byte          // of the model's file, for people
	Flags  uint32
	Tokens uint32
	State  uint64 // bytes
}

const (
	prefixWhole  = 1 << iota // the state can't be cut, only continued
	prefixShared             // many prompts begin so; it is not replaced by a longer one
)

var prefixMagic = [8]byte{'a', 'g', 'e', 'n', 't', 'k', 'v', '1'}

// prefixEntry is what is known of a file without reading its state.
type prefixEntry struct {
	path   string
	tokens []int32
	flags  uint32
	used   time.Time
}

// fits is how many leading tokens of prompt the entry has the state of.
func (p *prefixEntry) fits(prompt []int32, limit int) int {
	n := commonPrefix(p.tokens, prompt)
	if p.flags&prefixWhole != 0 && (n < len(p.tokens) || n > limit) {
		return 0
	}
	return min(n, limit)
}

// prefixShelf is the part of a store that one engine uses. A nil shelf is empty.
type prefixShelf struct {
	store *PrefixStore
	dir   string
	key   [sha256.Size]byte
	name  string

	mu      sync.Mutex
	entries []*prefixEntry
	listed  time.Time // of the folder, when entries was made
}

// shelf is the part of the store for what key names; name is for people.
func (s *PrefixStore) shelf(key, name string) *prefixShelf {
	if s == nil || s.bytesMax <= 0 || key == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(key))
	return &prefixShelf{store: s, key: sum, name: name,
		dir: filepath.Join(s.dir, hex.EncodeToString(sum[:8]))}
}

// find is the entry that has the state of most of prompt's first limit tokens, and of how many.
func (s *prefixShelf) find(prompt []int32, limit int) (best *prefixEntry, tokens int) {
	if s == nil || len(prompt) < prefixTokensMin {
		return nil, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list()
	for _, p := range s.entries {
		n := p.fits(prompt, limit)
		if n > tokens || n == tokens && best != nil && len(p.tokens) < len(best.tokens) {
			best, tokens = p, n
		}
	}
	return best, tokens
}

// list brings entries up to date with the folder.
func (s *prefixShelf) list() {
	st, err := os.Lstat(s.dir)
	if err != nil || !st.IsDir() || !ownedAlone(st) {
		s.entries = nil
		return
	}
	if st.ModTime().Equal(s.listed) {
		return
	}
	s.listed = st.ModTime()
	known := map[string]*prefixEntry{}
	for _, p := range s.entries {
		known[p.path] = p
	}
	s.entries = nil
	files, _ := os.ReadDir(s.dir)
	for _, f := range files {
		path := filepath.Join(s.dir, f.Name())
		if filepath.Ext(path) != prefixSuffix {
			continue
		}
		p := known[path]
		if p == nil {
			p = s.readEntry(path)
		}
		if p != nil {
			s.entries = append(s.entries, p)
		}
	}
}

// readEntry reads what a file says it holds; nil: it is none of ours.
func (s *prefixShelf) readEntry(path string) *prefixEntry {
	f, st, err := openOwned(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	head, ids, err := s.readHead(f, st.Size())
	if err != nil {
		return nil
	}
	return &prefixEntry{path: path, tokens: ids, flags: head.Flags, used: st.ModTime()}
}

var errPrefixFile = errors.New("not a whole file of a KV cache")

// readHead reads all before the state, and checks it against the file's size.
func (s *prefixShelf) readHead(r io.Reader, size int64) (head prefixHead, ids []int32, err error) {
	if err := binary.Read(r, binary.LittleEndian, &head); err != nil {
		return head, nil, err
	}
	rest := size - int64(binary.Size(head)) - sha256.Size
	if head.Magic != prefixMagic || head.Key != s.key || int64(head.Tokens) > rest/4 ||
		head.State != uint64(rest-4*int64(head.Tokens)) {
		return head, nil, errPrefixFile
	}
	ids = make([]int32, head.Tokens)
	return head, ids, binary.Read(r, binary.LittleEndian, ids)
}

// load reads an entry's state. A file that is not as it was written is removed.
func (s *prefixShelf) load(p *prefixEntry) []byte {
	raw, err := s.read(p)
	if err != nil {
		s.forget(p)
		return nil
	}
	now := time.Now()
	_ = os.Chtimes(p.path, now, now) // what was used lately stays the longest
	return raw
}

func (s *prefixShelf) read(p *prefixEntry) ([]byte, error) {
	f, st, err := openOwned(p.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw := make([]byte, st.Size())
	if _, err := io.ReadFull(f, raw); err != nil {
		return nil, err
	}
	at := len(raw) - sha256.Size
	if at < 0 || sha256.Sum256(raw[:at]) != [sha256.Size]byte(raw[at:]) {
		return nil, errPrefixFile
	}
	head, ids, err := s.readHead(bytes.NewReader(raw), st.Size())
	if err != nil || !slices.Equal(ids, p.tokens) || head.Flags != p.flags {
		return nil, errors.Join(errPrefixFile, err)
	}
	return raw[at-int(head.State) : at], nil
}

// forget removes an entry and its file.
func (s *prefixShelf) forget(p *prefixEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = slices.DeleteFunc(s.entries, func(e *prefixEntry) bool { return e == p })
	_ = os.Remove(p.path)
}

// has reports whether the shelf holds all of tokens.
func (s *prefixShelf) has(tokens []int32) bool {
	_, n := s.find(tokens, len(tokens))
	return n == len(tokens)
}

// keep writes the state of tokens in the background.
func (s *prefixShelf) keep(tokens []int32, state []byte, flags uint32) {
	tokens = slices.Clone(tokens)
	s.store.later(func() error { return s.write(tokens, state, flags) })
}

// write makes a file of a prefix, and removes those that it stands for.
func (s *prefixShelf) write(tokens []int32, state []byte, flags uint32) error {
	for _, dir := range []string{s.store.dir, s.dir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if st, err := os.Lstat(dir); err != nil || !st.IsDir() || !ownedAlone(st) {
			return errors.Join(fmt.Errorf("%s is not a folder of this user alone", dir), err)
		}
	}
	f, err := os.CreateTemp(s.dir, "*.new")
	if err != nil {
		return err
	}
	sum := sha256.New()
	w := io.MultiWriter(f, sum)
	head := prefixHead{Magic: prefixMagic, Key: s.key, Flags: flags, Tokens: uint32(len(tokens)),
		State: uint64(len(state))}
	copy(head.Name[:], s.name)
	err = errors.Join(binary.Write(w, binary.LittleEndian, head),
		binary.Write(w, binary.LittleEndian, tokens))
	id := sum.Sum(nil)
	if err == nil {
		_, err = w.Write(state)
	}
	if err == nil {
		_, err = f.Write(sum.Sum(nil))
	}
	path := filepath.Join(s.dir, hex.EncodeToString(id[:12])+prefixSuffix)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	s.replace(path, tokens)
	return s.store.trim(path)
}

// replace removes states of the conversation that the file at path goes on with.
func (s *prefixShelf) replace(path string, tokens []int32) {
	s.mu.Lock()
	s.list()
	entries := slices.Clone(s.entries)
	s.mu.Unlock()
	for _, p := range entries {
		// The end of a reply may be written otherwise once it is history.
		if p.path != path && p.flags&prefixShared == 0 &&
			8*commonPrefix(p.tokens, tokens) > 7*len(p.tokens) {
			s.forget(p)
		}
	}
}

// later runs a write after those before it. One too many is left out.
func (s *PrefixStore) later(write func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dropped {
		return
	}
	if s.writes == nil {
		writes := make(chan func(), prefixWritesMax)
		s.writes = writes
		s.writing.Add(1)
		go func() {
			defer s.writing.Done()
			for w := range writes {
				w()
			}
		}()
	}
	select {
	case s.writes <- func() {
		if err := write(); err != nil {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
		}
	}:
	default:
	}
}

// Close waits until everything is written, and returns the last error of it.
func (s *PrefixStore) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	if !s.dropped && s.writes != nil {
		close(s.writes)
	}
	s.dropped = true
	s.mu.Unlock()
	s.writing.Wait()
	if s.err != nil {
		return fmt.Errorf("keep the KV cache on disk: %w", s.err)
	}
	return nil
}

// List tells what is kept, the newest first.
func (s *PrefixStore) List() ([]Prefix, error) {
	files, err := filepath.Glob(filepath.Join(globEscape(s.dir), "*", "*"+prefixSuffix))
	if err != nil {
		return nil, err
	}
	var list []Prefix
	for _, path := range files {
		f, st, err := openOwned(path)
		if err != nil {
			continue
		}
		var head prefixHead
		if binary.Read(f, binary.LittleEndian, &head) == nil && head.Magic == prefixMagic {
			list = append(list, Prefix{Path: path, Model: string(bytes.TrimRight(head.Name[:], "\x00")),
				Tokens: int(head.Tokens), Bytes: st.Size(), Used: st.ModTime()})
		}
		f.Close()
	}
	slices.SortFunc(list, func(a, b Prefix) int { return b.Used.Compare(a.Used) })
	return list, nil
}

// Clear removes everything and returns how many bytes that were.
func (s *PrefixStore) Clear() (freed int64, err error) {
	list, err := s.List()
	for _, p := range list {
		if rmErr := os.Remove(p.Path); rmErr == nil {
			freed += p.Bytes
		} else if !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
	}
	s.sweep(time.Now().Add(prefixStale))
	return freed, err
}

// trim removes what was unused the longest until the rest is within bounds, and never the
// file that was just made.
func (s *PrefixStore) trim(newest string) error {
	s.sweep(time.Now())
	list, err := s.List()
	var total int64
	for _, p := range list {
		if total += p.Bytes; total > s.bytesMax && p.Path != newest {
			_ = os.Remove(p.Path)
			total -= p.Bytes
		}
	}
	return err
}

// sweep removes what killed processes left, and folders that hold nothing.
func (s *PrefixStore) sweep(now time.Time) {
	files, _ := filepath.Glob(filepath.Join(globEscape(s.dir), "*", "*.new"))
	for _, path := range files {
		if st, err := os.Lstat(path); err == nil && now.Sub(st.ModTime()) >= prefixStale {
			_ = os.Remove(path)
		}
	}
	dirs, _ := os.ReadDir(s.dir)
	for _, d := range dirs {
		_ = os.Remove(filepath.Join(s.dir, d.Name())) // fails unless it is empty
	}
}

// globEscape makes a path stand for itself in a pattern.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// openOwned opens a plain file that nobody but this user can have written.
func openOwned(path string) (*os.File, fs.FileInfo, error) {
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() {
		return nil, nil, errors.Join(errPrefixFile, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || !ownedAlone(st) {
		f.Close()
		return nil, nil, errors.Join(errPrefixFile, err)
	}
	return f, st, nil
}
