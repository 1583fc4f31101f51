// Package workdir sees the folder that an agent works in: [Take] its state,
// compare two, view the head of a file, and find the names of files in a text.
//
// Promise: nothing outside of the folder is read, what is read is bounded, and
// what can't be read is left out.
package workdir

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"agent/internal/legible"
	"agent/session/prose"
)

// Bounds of looking at a work dir. What lies beyond them is told, not read.
const (
	filesMax     = 2000    // files in one Snapshot
	dirDepthMax  = 6       // folders below the work dir
	hashBytesMax = 1 << 20 // larger files are compared by size and time
	peekBytes    = 2048    // read of a file for its first lines
)

// fileState is what is compared to see whether a file changed.
type fileState struct {
	size    int64
	modTime time.Time
	sum     [sha256.Size]byte // of the content, or of size and time if large
}

// Snapshot is the state of a work dir: its files by slash-separated path.
type Snapshot struct {
	files map[string]fileState
	More  bool // there were more than filesMax
}

// Take looks at dir. Files whose size and time are those of prev are
// not read again. Hidden files and caches are left out, and names that would
// not stay on their line: a prompt lists names outside of fences.
func Take(dir string, prev Snapshot) Snapshot {
	snap := Snapshot{files: map[string]fileState{}}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return snap
	}
	defer root.Close()
	// Unreadable folders are skipped: the model can't work in them anyway.
	_ = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if d.IsDir() {
			if path != "." && (skippedDir(d.Name()) || strings.Count(path, "/") >= dirDepthMax) {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || strings.HasPrefix(d.Name(), ".") ||
			strings.ContainsFunc(path, legible.BreaksLine) {
			return nil
		}
		if len(snap.files) >= filesMax {
			snap.More = true
			return fs.SkipAll
		}
		if info, err := d.Info(); err == nil {
			snap.files[path] = stateOf(root, path, info, prev)
		}
		return nil
	})
	return snap
}

func skippedDir(name string) bool {
	return strings.HasPrefix(name, ".") || name == "__pycache__" || name == "node_modules"
}

func stateOf(root *os.Root, path string, info fs.FileInfo, prev Snapshot) fileState {
	st := fileState{size: info.Size(), modTime: info.ModTime()}
	if old, ok := prev.files[path]; ok && old.size == st.size && old.modTime.Equal(st.modTime) {
		return old
	}
	h := sha256.New()
	if st.size <= hashBytesMax {
		if f, err := root.Open(path); err == nil {
			_, err = io.Copy(h, io.LimitReader(f, hashBytesMax))
			f.Close()
			if err == nil {
				h.Sum(st.sum[:0])
				return st
			}
		}
		h.Reset()
	}
	binary.Write(h, binary.LittleEndian, [2]int64{st.size, st.modTime.UnixNano()})
	h.Sum(st.sum[:0])
	return st
}

// Paths lists the files in order.
func (s Snapshot) Paths() []string { return slices.Sorted(maps.Keys(s.files)) }

// Named are the files that a text names: by path, or by base name, of which
// the one nearest to the top is meant.
func (s Snapshot) Named(text string) []string {
	words := map[string]bool{}
	for _, w := range strings.FieldsFunc(text, NotInPaths) {
		words[strings.TrimRight(w, ".?!")] = true
	}
	byBase, out := map[string]string{}, []string(nil)
	for _, p := range s.Paths() {
		base := path.Base(p)
		if words[p] {
			out = append(out, p)
		} else if words[base] && (byBase[base] == "" ||
			strings.Count(p, "/") < strings.Count(byBase[base], "/")) {
			byBase[base] = p
		}
	}
	for base, p := range byBase {
		if !slices.Contains(out, base) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// NotInPaths reports a character that ends the name of a file.
func NotInPaths(r rune) bool {
	return unicode.IsSpace(r) ||
		strings.ContainsRune("\"'`,;:()[]<>", r)
}

// Hash identifies the state: two snapshots with the same files of the same
// content have the same hash, whenever they were written.
func (s Snapshot) Hash() string {
	h := sha256.New()
	for _, p := range s.Paths() {
		fmt.Fprintf(h, "%d:%s", len(p), p)
		sum := s.files[p].sum
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// Changes lists the files that are new or different in after.
func Changes(before, after Snapshot) []string {
	return slices.DeleteFunc(after.Paths(), func(p string) bool { return !after.differs(before, p) })
}

// Gone lists the files of before that are not in after.
func Gone(before, after Snapshot) []string {
	return slices.DeleteFunc(before.Paths(), after.There)
}

// differs reports a file that is new or not what it was.
func (s Snapshot) differs(before Snapshot, path string) bool {
	old, ok := before.files[path]
	return !ok || old.sum != s.files[path].sum
}

// View is a file as a prompt shows it.
type View struct {
	Path   string
	Size   string
	Lines  []string // the first ones, each cut to lineCharsMax
	More   bool     // there are more lines
	Binary bool
}

// ViewOf reads the head of a file: at most linesMax lines.
func ViewOf(dir, path string, linesMax int) View {
	view := View{Path: path}
	head, size, err := readHead(dir, path, peekBytes+1)
	if size >= 0 {
		view.Size = sizeText(size)
	}
	if err == nil {
		cut := len(head) > peekBytes
		view.Lines, view.More, view.Binary = headLines(head[:min(len(head), peekBytes)], linesMax, cut)
	}
	return view
}

// readHead reads at most n bytes of a file, whose size is -1 when it can't be
// opened.
func readHead(dir, path string, n int64) (head []byte, size int64, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, -1, err
	}
	defer root.Close()
	f, err := root.Open(filepath.FromSlash(path))
	if err != nil {
		return nil, -1, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, -1, err
	}
	head, err = io.ReadAll(io.LimitReader(f, n))
	return head, info.Size(), err
}

// headLines gives the first lines of data; cut says that data itself was cut.
func headLines(data []byte, linesMax int, cut bool) (lines []string, more, isBinary bool) {
	if cut { // the last rune may be torn
		for i := 0; i < utf8.UTFMax && len(data) > 0 && !utf8.Valid(data); i++ {
			data = data[:len(data)-1]
		}
	}
	if bytes.IndexByte(data, 0) >= 0 || !utf8.Valid(data) {
		return nil, false, true
	}
	text := strings.TrimRight(string(data), "\r\n")
	if text == "" {
		return nil, cut, false
	}
	all := strings.Split(text, "\n")
	for _, l := range all[:min(len(all), linesMax)] {
		lines = append(lines, prose.Cut(strings.TrimRight(l, "\r"), prose.LineRunes))
	}
	return lines, cut || len(all) > linesMax, false
}

// sizeText is a size as a person says it.
func sizeText(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
}

// Holds reports a file by its path, or by its base name wherever it lies.
func (s Snapshot) Holds(name string) bool { return s.find(name) != "" }

// find is the path of the file that a name means, empty when there is none.
func (s Snapshot) find(name string) string { return Find(s.Paths(), name) }

// Find is the path among paths that a name means: by path, or by its base name
// wherever it lies. Empty: there is none.
func Find(paths []string, name string) string {
	name = path.Clean(name)
	if slices.Contains(paths, name) {
		return name
	}
	for _, p := range paths {
		if !strings.Contains(name, "/") && path.Base(p) == name {
			return p
		}
	}
	return ""
}

// ChangedSince reports a file that is new or different from what it was.
func (s Snapshot) ChangedSince(first Snapshot, name string) bool {
	p := s.find(name)
	return p != "" && s.differs(first, p)
}

// searchedBytesMax is the largest file that is looked through.
const searchedBytesMax = 1 << 20

// Read gives the content of a file, nil where it can't be read or is larger than
// 1 MiB.
func Read(dir, name string) []byte {
	data, size, err := readHead(dir, name, searchedBytesMax)
	if err != nil || size > searchedBytesMax {
		return nil
	}
	return data
}

// Has reports a file, by its path or by its name alone, or a folder.
func (s Snapshot) Has(file string) bool {
	if s.There(file) {
		return true
	}
	for p := range s.files {
		if strings.HasPrefix(p, file+"/") {
			return true
		}
	}
	return len(s.Named(file)) > 0
}

// There reports a file by its path.
func (s Snapshot) There(path string) bool { _, ok := s.files[path]; return ok }

// Size is the size of a file in bytes.
func (s Snapshot) Size(path string) int64 { return s.files[path].size }

// Len is how many files there are.
func (s Snapshot) Len() int { return len(s.files) }

// Sum stands for the content of a file, or for its size and time if it is large.
func Sum(root *os.Root, path string, info fs.FileInfo) [sha256.Size]byte {
	return stateOf(root, path, info, Snapshot{}).sum
}

// Which files a text asks for or claims is read off the verb and the
// preposition before a name, in English. A name is a word with a known ending,
// or a quoted one that is called a file.

// Mention is a file's name in a text.
type Mention struct {
	Name       string
	Start, End int // of the name with its quotes
}

const fileEndings = `txt|text|md|markdown|rst|log|out|diff|patch|tex|bib|` +
	`csv|tsv|json|jsonl|ndjson|ya?ml|toml|ini|cfg|conf|env|xml|html?|css|` +
	`js|ts|jsx|tsx|py|ipynb|go|rs|c|h|cc|cpp|hpp|java|kt|rb|php|pl|lua|r|sh|bash|bat|ps1|sql|` +
	`pdf|docx?|xlsx?|pptx?|odt|ods|png|jpe?g|gif|svg|bmp|webp|mp3|wav|mp4|` +
	`dat|bin|bak|tmp|zip|tar|gz|tgz|bz2|xz|7z|db|sqlite3?|parquet`

var (
	fileWord = regexp.MustCompile(`(?i)(?:\./)?[\p{L}\p{N}_][\p{L}\p{N}_.\-/]*\.(?:` + fileEndings +
		`)\b`)
	quotedWord = regexp.MustCompile("[`\"“]([^`\"“”\n]{1,120})[`\"”]|(?:^|[\\s(])'([^'\n]{1,120})'")
	fileEnding = regexp.MustCompile(`(?i)\.(?:` + fileEndings + `)$`)
	saysFile   = regexp.MustCompile(`(?i)\bfile(?: called| named)?\s*$`)
)

// mentionsMax bounds how many names are looked at in one text.
const mentionsMax = 50

// Mentions finds the names of files of the work dir in a text, in order.
// What looks like an absolute path or a URL is none of them.
func Mentions(text string) []Mention {
	var out []Mention
	for _, at := range quotedWord.FindAllStringSubmatchIndex(text, mentionsMax) {
		from, to := at[2], at[3]
		if from < 0 {
			from, to = at[4], at[5]
		}
		name := text[from:to]
		switch {
		case strings.ContainsAny(name, ":=()\\*"):
		case fileEnding.MatchString(name) && !strings.HasPrefix(name, "/") &&
			!strings.HasPrefix(name, "~"),
			saysFile.MatchString(text[:from-1]) && !strings.ContainsAny(name, " /"):
			out = append(out, Mention{strings.TrimPrefix(name, "./"), from - 1, to + 1})
		}
	}
	for _, at := range fileWord.FindAllStringIndex(text, mentionsMax) {
		before, after := text[:at[0]], text[at[1]:]
		inQuotes := slices.ContainsFunc(out,
			func(m Mention) bool { return at[0] >= m.Start && at[0] < m.End })
		begun := before != "" && strings.IndexByte("/~:@\\.*=-", before[len(before)-1]) >= 0
		goesOn := after != "" && strings.IndexByte("/(:", after[0]) >= 0 && !endsThere(after)
		if inQuotes || begun || goesOn {
			continue
		}
		out = append(out, Mention{strings.TrimPrefix(text[at[0]:at[1]], "./"), at[0], at[1]})
	}
	slices.SortFunc(out, func(a, b Mention) int { return a.Start - b.Start })
	return out
}

// Mentioned are the names of files in a text, each once.
func Mentioned(text string) []string {
	var out []string
	for _, m := range Mentions(text) {
		if !slices.Contains(out, m.Name) {
			out = append(out, m.Name)
		}
	}
	return out
}

// endsThere reports that a colon or bracket after a name only ends a phrase.
func endsThere(rest string) bool {
	return rest[0] == ':' && (len(rest) == 1 || rest[1] == ' ' || rest[1] == '\n')
}
