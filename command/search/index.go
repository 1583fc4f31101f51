package search

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/analysis/analyzer/custom"
	"github.com/blevesearch/bleve/v2/analysis/lang/en"
	"github.com/blevesearch/bleve/v2/analysis/token/lowercase"
	"github.com/blevesearch/bleve/v2/analysis/token/porter"
	"github.com/blevesearch/bleve/v2/analysis/tokenizer/unicode"
	"github.com/blevesearch/bleve/v2/index/scorch"
	"github.com/blevesearch/bleve/v2/mapping"
	"github.com/blevesearch/bleve/v2/search/query"

	"agent/command/document"
)

// bounds limit what is indexed.
type bounds struct {
	files      int   // indexed
	fileBytes  int64 // read of each
	totalBytes int64 // of all together
	entries    int   // of folders, looked at
	depth      int   // of folders
}

// defaultBounds keep a first search of a large folder near four seconds on a
// laptop: bleve takes a second for about four million bytes of text.
func defaultBounds() bounds {
	return bounds{files: 5000, fileBytes: 1 << 20, totalBytes: 16 << 20, entries: 50_000, depth: 32}
}

const (
	chunkLines   = 20   // of a file are one document, so that a hit has a place
	chunkBytes   = 4096 // a chunk ends early when it has so many
	batchChunks  = 200  // given to the index at once
	hitsPerFile  = 2    // shown, so that one file does not hide the others
	hitsLookedAt = 8    // candidates for each result shown
	fuzzyEdits   = 1    // of words, when nothing matches exactly
)

// The index's fields, and how they are analyzed.
const (
	fieldText = "text"
	fieldPath = "path"
	analyzer  = "words"
	asked     = "asked" // of queries: leaves out "the" and "of", which are in every file
)

// index is a full-text index over the text files of one folder, in memory.
// Each search first brings it up to date with the folder.
type index struct {
	bounds  bounds
	mapping *mapping.IndexMappingImpl

	mu    sync.Mutex
	dir   string
	text  bleve.Index // nil before the first search
	files map[string]indexed

	documents document.Converter
	converted map[string]string // texts of documents, by path
	held      int               // bytes of them
	began     time.Time         // of this search
}

// indexed is what the index knows about a file.
type indexed struct {
	size     int64
	modified time.Time
	chunks   int
	binary   bool
	page     bool // in HTML: what is indexed are its words
	unread   bool // a document that could not be read
}

func newIndex(b bounds) *index { return &index{bounds: b} }

func (x *index) close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.reset("")
}

// reset forgets everything.
func (x *index) reset(dir string) error {
	old := x.text
	x.dir, x.text, x.files, x.converted = dir, nil, map[string]indexed{}, map[string]string{}
	x.held = 0
	if old == nil {
		return nil
	}
	return old.Close()
}

// open makes the empty index for a folder, unless it is there already.
func (x *index) open(dir string) error {
	if x.text != nil && x.dir == dir {
		return nil
	}
	if err := x.reset(dir); err != nil {
		return err
	}
	var err error
	if x.mapping, err = newMapping(); err != nil {
		return err
	}
	x.text, err = bleve.NewUsing("", x.mapping, scorch.Name, scorch.Name, nil)
	return err
}

// newMapping indexes a text and a path, stemmed, and keeps neither: what is
// shown is read from the file.
func newMapping() (*mapping.IndexMappingImpl, error) {
	m := bleve.NewIndexMapping()
	for name, filters := range map[string][]string{
		analyzer: {en.PossessiveName, lowercase.Name, porter.Name},
		asked:    {en.PossessiveName, lowercase.Name, en.StopName, porter.Name},
	} {
		err := m.AddCustomAnalyzer(name, map[string]any{"type": custom.Name, "tokenizer": unicode.Name,
			"token_filters": filters})
		if err != nil {
			return nil, err
		}
	}
	field := bleve.NewTextFieldMapping()
	field.Analyzer = analyzer
	field.Store, field.IncludeInAll, field.IncludeTermVectors, field.DocValues = false, false, false,
		false
	m.DefaultMapping = bleve.NewDocumentStaticMapping()
	m.DefaultMapping.AddFieldMappingsAt(fieldText, field)
	m.DefaultMapping.AddFieldMappingsAt(fieldPath, field)
	m.DefaultAnalyzer = analyzer
	return m, nil
}

// filesReport is what a search of the files found.
type filesReport struct {
	Query       string
	Found       []hit
	Files       int      // searched
	NotSearched int      // beyond the bounds
	Withheld    int      // by the rules of the run
	Partly      int      // larger than what is read
	Cut         int      // entries of folders looked at, when there are more
	Binary      int      // are no text
	Unread      []string // documents that could not be read, or not yet
	Near        bool     // no word matched exactly
	NoWeb       bool
}

// search brings the index up to date and looks for the words of a query.
func (x *index) search(ctx context.Context, dir, words string, most int,
	withheld func(path string) bool,
) (filesReport, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return filesReport{}, fmt.Errorf("search the files: %w", err)
	}
	defer root.Close()
	x.began = time.Now()
	if err := x.open(dir); err != nil {
		return filesReport{}, fmt.Errorf("search the files: make an index: %w", err)
	}
	seen, err := survey(ctx, root, x.bounds, withheld)
	if err == nil {
		err = x.update(ctx, root, seen.files)
	}
	if err != nil {
		return filesReport{}, fmt.Errorf("search the files: %w", err)
	}
	report := x.report(words, seen)
	for _, edits := range []int{0, fuzzyEdits} {
		if report.Found, err = x.find(ctx, root, words, edits, most); err != nil {
			return report, fmt.Errorf("search the files: %w", err)
		}
		if report.Near = edits > 0; len(report.Found) > 0 {
			break
		}
	}
	return report, nil
}

// report begins a report with what is searched.
func (x *index) report(words string, s seen) filesReport {
	r := filesReport{Query: shown(words), NotSearched: s.left, Withheld: s.withheld, Partly: s.partly,
		Files: x.textFiles()}
	if s.cut {
		r.Cut = x.bounds.entries
	}
	r.Binary = s.binary
	for _, f := range s.files {
		switch known := x.files[f.path]; {
		case known.binary:
			r.Binary++
		case known.unread && len(r.Unread) < unreadShown:
			r.Unread = append(r.Unread, plainPath(f.path))
		}
	}
	return r
}

const unreadShown = 5 // documents that are named

// textFiles counts the files that have text in the index.
func (x *index) textFiles() int {
	n := 0
	for _, f := range x.files {
		if f.chunks > 0 {
			n++
		}
	}
	return n
}

// update indexes new and changed files, by size and time, and forgets those that
// are gone.
func (x *index) update(ctx context.Context, root *os.Root, files []file) error {
	there := make(map[string]bool, len(files))
	batch := x.text.NewBatch()
	for _, f := range files {
		there[f.path] = true
		old, known := x.files[f.path]
		if known && old.size == f.size && old.modified.Equal(f.modified) {
			continue
		}
		forget(batch, f.path, old.chunks)
		x.drop(f.path)
		c, err := x.textOf(ctx, root, f.path)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		chunks := chunksOf(c.text)
		for i, c := range chunks {
			err := batch.Index(chunkID(f.path, i),
				map[string]any{fieldText: searchable(strings.Join(c.lines, "\n")),
					fieldPath: searchable(f.path)})
			if err != nil {
				return err
			}
		}
		x.files[f.path] = indexed{f.size, f.modified, len(chunks), err == nil && !c.isText, c.page,
			err != nil}
		if errors.Is(err, errLater) {
			x.files[f.path] = indexed{size: -1, unread: true} // it is looked at again
		}
		if err := x.flush(ctx, batch, batchChunks); err != nil {
			return err
		}
	}
	for path, old := range x.files {
		if !there[path] {
			forget(batch, path, old.chunks)
			delete(x.files, path)
			x.drop(path)
		}
	}
	return x.flush(ctx, batch, 0)
}

// drop forgets the text of a document.
func (x *index) drop(path string) {
	x.held -= len(x.converted[path])
	delete(x.converted, path)
}

func forget(batch *bleve.Batch, path string, chunks int) {
	for i := range chunks {
		batch.Delete(chunkID(path, i))
	}
}

// flush writes a batch that is larger than some. If that fails or the search is
// cancelled, the state of the index is unknown, and the next search rebuilds it.
func (x *index) flush(ctx context.Context, batch *bleve.Batch, over int) error {
	if batch.Size() <= over {
		return nil
	}
	err := ctx.Err()
	if err == nil {
		err = x.text.Batch(batch)
	}
	if err != nil {
		return errors.Join(err, x.reset(""))
	}
	batch.Reset()
	return nil
}

// searchable splits names in code into words: the tokenizer takes read_file for
// one.
func searchable(text string) string {
	return strings.NewReplacer("_", " ", "/", " ", ".", " ", "-", " ").Replace(text)
}

// chunkID names a chunk; no file name has a NUL.
func chunkID(path string, i int) string { return fmt.Sprintf("%s\x00%06d", path, i) }

func fromChunkID(id string) (path string, i int) {
	path, number, _ := strings.Cut(id, "\x00")
	i, _ = strconv.Atoi(number)
	return path, i
}

// request asks for the pieces that contain most of the words, and says which
// words count.
func (x *index) request(words string, edits, most int) (*bleve.SearchRequest, map[string]bool) {
	words = searchable(words)
	how, wanted := asked, x.terms(asked, words)
	if len(wanted) == 0 { // it has no other words
		how, wanted = analyzer, x.terms(analyzer, words)
	}
	inText, inPath := bleve.NewMatchQuery(words), bleve.NewMatchQuery(words)
	inText.SetField(fieldText)
	inPath.SetField(fieldPath)
	for _, q := range []*query.MatchQuery{inText, inPath} {
		q.Analyzer = how
		q.SetFuzziness(edits)
	}
	req := bleve.NewSearchRequestOptions(bleve.NewDisjunctionQuery(inText, inPath), most*hitsLookedAt,
		0, false)
	req.SortBy([]string{"-_score", "_id"}) // the same order every time
	return req, wanted
}

// find asks the index and shows the best places, as they stand in the files now.
func (x *index) find(ctx context.Context, root *os.Root, words string, edits, most int,
) ([]hit, error) {
	req, wanted := x.request(words, edits, most)
	answer, err := x.text.SearchInContext(ctx, req)
	if err != nil {
		return nil, err
	}
	perFile := map[string]int{}
	var out []hit
	for _, h := range answer.Hits {
		path, i := fromChunkID(h.ID)
		if perFile[path] == hitsPerFile {
			continue
		}
		chunks, i := x.place(ctx, root, path, i, wanted)
		if i == noPlace && edits > 0 {
			i = 0 // of words that are only like those wanted
		}
		if i < 0 || i >= len(chunks) {
			continue // it changed while it was searched
		}
		if perFile[path]++; x.files[path].page {
			perFile[path] = hitsPerFile
		}
		out = append(out, x.show(path, chunks[i], wanted))
		if len(out) == most {
			break
		}
	}
	return out, nil
}

const noPlace = -1

// place is where in a file's text a hit is shown. Of a page it is the piece that has most
// of the wanted words as the reader shows it, or none.
func (x *index) place(ctx context.Context, root *os.Root, path string, i int,
	wanted map[string]bool,
) ([]chunk, int) {
	if !x.files[path].page {
		c, _ := x.textOf(ctx, root, path)
		return chunksOf(c.text), i
	}
	text, err := x.convert(ctx, root, path, document.HTML)
	if err != nil {
		return nil, noPlace
	}
	chunks, best, most := chunksOf(text), noPlace, 0
	for i, c := range chunks {
		n := 0
		for term := range x.terms(analyzer, strings.Join(c.lines, "\n")) {
			if wanted[term] {
				n++
			}
		}
		if n > most {
			best, most = i, n
		}
	}
	return chunks, best
}

// terms are the words of a text as an analyzer gives them.
func (x *index) terms(how, text string) map[string]bool {
	tokens, err := x.mapping.AnalyzeText(how, []byte(searchable(text)))
	if err != nil {
		return nil
	}
	out := make(map[string]bool, len(tokens))
	for _, t := range tokens {
		out[string(t.Term)] = true
	}
	return out
}

// file is a text file to index.
type file struct {
	path     string // with slashes, below the folder
	size     int64
	modified time.Time
}

// seen is what survey found.
type seen struct {
	files    []file
	left     int  // files beyond the bounds
	withheld int  // files that the rules keep out
	binary   int  // large files that are no text
	partly   int  // files of which only the start is read
	cut      bool // there are more entries than were looked at
}

// readStart reads at most that many bytes of a regular file.
func readStart(root *os.Root, path string, most int64) ([]byte, error) {
	info, err := root.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("no regular file")
	}
	f, err := root.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}
