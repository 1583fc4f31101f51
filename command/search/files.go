package search

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"agent/command/document"
	"agent/internal/bounded"
	"agent/internal/legible"
)

// passedOver are folders of what others wrote or programs made.
func passedOver(name string) bool {
	return strings.HasPrefix(name, ".") || name == "node_modules" || name == "__pycache__"
}

// survey lists the files to index, those nearest to the top first, so that bounds
// cut off what lies deep. Links are not followed. Hidden files and folders, and
// files withheld by rules, are skipped.
func survey(ctx context.Context, root *os.Root, b bounds, withheld func(path string) bool,
) (seen, error) {
	var out seen
	type folder struct {
		path  string
		depth int
	}
	queue, total, looked := []folder{{".", 0}}, int64(0), 0
	for len(queue) > 0 && looked < b.entries {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		f := queue[0]
		queue = queue[1:]
		entries, err := bounded.Folder(root, f.path, b.entries-looked)
		if err != nil {
			if f.depth == 0 {
				return out, err
			}
			continue // a folder that can't be read has nothing to find
		}
		looked += len(entries)
		for _, e := range entries {
			name := path.Join(f.path, e.Name())
			switch {
			case passedOver(e.Name()):
			case e.IsDir() && f.depth < b.depth:
				queue = append(queue, folder{name, f.depth + 1})
			case e.Type().IsRegular() && withheld(name):
				out.withheld++
			case e.Type().IsRegular():
				total = out.add(root, name, e, total, b)
			}
		}
	}
	out.cut = looked >= b.entries
	return out, nil
}

// sniffedOver is the size from which a file's start is checked before it counts,
// so that pictures and archives do not use up the bounds.
const sniffedOver = 64 << 10

// add adds a file if the bounds allow it, and returns the bytes used so far.
func (s *seen) add(root *os.Root, name string, e fs.DirEntry, total int64, b bounds) int64 {
	info, err := e.Info()
	if err != nil {
		return total // it is gone
	}
	if info.Size() > sniffedOver {
		start, err := readStart(root, name, sniffedBytes)
		if err != nil {
			return total
		}
		if _, text := decode(start); !text && document.Sniff(name, "", start) == "" {
			s.binary++
			return total
		}
	}
	read := min(info.Size(), b.fileBytes)
	if len(s.files) >= b.files || total+read > b.totalBytes {
		s.left++
		return total
	}
	if info.Size() > b.fileBytes {
		s.partly++
	}
	s.files = append(s.files, file{name, info.Size(), info.ModTime()})
	return total + read
}

// chunk is some lines of a file; first is the number of the first one.
type chunk struct {
	first int
	lines []string
}

// Bounds of the documents that are converted.
const (
	documentBytesMax  = 32 << 20         // of each
	convertedBytesMax = 64 << 20         // of texts that are held
	documentsWall     = 20 * time.Second // for all in one search; a later one goes on
	documentWall      = 10 * time.Second // for each
)

// content is what is indexed of a file.
type content struct {
	text   string
	isText bool
	page   bool // in HTML: the text is its words, without the lines of the reader
}

// textOf is a file's text as the reader shows it: what has another encoding decoded, and
// documents converted. Of a page, which costs a process to convert, only the words are
// read at first. It is not there when the file is binary or gone.
func (x *index) textOf(ctx context.Context, root *os.Root, name string) (content, error) {
	data, err := readStart(root, name, x.bounds.fileBytes)
	if err != nil {
		return content{}, nil
	}
	switch format := document.Sniff(path.Base(name), "", data); {
	case format == "":
		text, isText := decode(data)
		return content{text: text, isText: isText}, nil
	case format == document.HTML:
		return content{text: document.Words(data), isText: true, page: true}, nil
	case time.Since(x.began) > documentsWall:
		return content{}, errLater
	default:
		text, err := x.convert(ctx, root, name, format)
		return content{text: text, isText: err == nil}, err
	}
}

// convert is the text of a document with the lines of the reader.
func (x *index) convert(ctx context.Context, root *os.Root, name string, format document.Format,
) (string, error) {
	if converted, ok := x.converted[name]; ok {
		return converted, nil
	}
	data, err := readStart(root, name, documentBytesMax)
	if err != nil {
		return "", err
	}
	read, err := x.documents.Convert(ctx, document.Source{Format: format, Data: data},
		document.Limits{Wall: documentWall})
	if err != nil {
		return "", err
	}
	lines, _ := read.Lines(format, func(int, int) string { return "" })
	text := strings.Join(lines, "\n")
	if x.held+len(text) <= convertedBytesMax {
		x.converted[name] = text
		x.held += len(text)
	}
	return text, nil
}

// errLater puts a document off to the next search.
var errLater = errors.New("later")

// chunksOf splits a text into chunks; none when it is empty.
func chunksOf(text string) []chunk {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	var out []chunk
	current, size, number := chunk{first: 1}, 0, 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if len(current.lines) == chunkLines || size > 0 && size+len(line) > chunkBytes {
			out = append(out, current)
			current, size = chunk{first: number}, 0
		}
		current.lines = append(current.lines, line)
		size += len(line)
	}
	return append(out, current)
}

const (
	shownAround   = 1   // lines before and after the best one
	lineBytesMax  = 200 // of each line shown
	analyzedBytes = 64 << 10
)

// show finds the line of a chunk that has most of the wanted words, and shows
// it with its neighbours.
func (x *index) show(name string, c chunk, wanted map[string]bool) hit {
	best, bestCount := 0, -1
	for i, line := range c.lines {
		n := 0
		for term := range x.terms(analyzer, line[:min(len(line), analyzedBytes)]) {
			if wanted[term] {
				n++
			}
		}
		if n > bestCount {
			best, bestCount = i, n
		}
	}
	var shown []string
	for i := max(0, best-shownAround); i <= min(len(c.lines)-1, best+shownAround); i++ {
		if line := x.excerpt(c.lines[i], wanted); line != "" {
			shown = append(shown, line)
		}
	}
	return hit{Place: fmt.Sprintf("%s:%d", plainPath(name), c.first+best),
		Text: strings.Join(shown, "\n")}
}

// firstWanted is where the first wanted word of a line stands, 0 if it is not found. A
// long line is looked at piece by piece, each cut at a space.
func (x *index) firstWanted(line string, wanted map[string]bool) int {
	for at := 0; at < len(line); {
		end := min(len(line), at+analyzedBytes)
		if space := strings.LastIndexAny(line[at:end], " \t,;"); end < len(line) && space > 0 {
			end = at + space
		}
		tokens, _ := x.mapping.AnalyzeText(analyzer, []byte(searchable(line[at:end])))
		for _, t := range tokens {
			if wanted[string(t.Term)] {
				return at + t.Start
			}
		}
		at = end
	}
	return 0
}

// excerpt is a line, or the part of a long one around the first wanted word.
func (x *index) excerpt(line string, wanted map[string]bool) string {
	if len(line) > lineBytesMax {
		from := max(0, x.firstWanted(line, wanted)-lineBytesMax/4)
		for from > 0 && !utf8.RuneStart(line[from]) {
			from--
		}
		if from > 0 {
			return "…" + legible.Clip(plainLine(line[from:]), lineBytesMax)
		}
	}
	return legible.Clip(plainLine(line), lineBytesMax)
}
