// Package document turns documents that people read (HTML and PDF) into plain
// text that a model reads: paragraphs, headings, lists and tables as Markdown,
// links as [text](address), scripts and styles left out.
//
// Use [Sniff] to tell what a file is by its content and [Converter.Convert] to
// read it. Whoever wrote the document is not trusted: it is parsed in a child
// process in the sandbox, with limits for time, memory and output, because the
// parsers are large, and an endless loop or a stack that overflows can't be
// stopped inside this process. What was read before a limit struck is kept,
// and [Text.Cut] says what struck.
package document

import (
	"bytes"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Format is a kind of document that is converted. The empty Format is any
// other file.
type Format string

// The formats that are converted.
const (
	HTML Format = "HTML"
	PDF  Format = "PDF"
)

// Text is what a document says.
type Text struct {
	Title string
	// Pages are the pages of a PDF; other documents have one.
	Pages []string
	// PagesTotal counts the pages that the document has, read or not.
	PagesTotal int
	// Cut says why not all of the document is here; empty when it is.
	Cut string
	// Note says what of the text is a guess; empty when nothing is.
	Note string
}

// Lines are the lines of a document as a reader numbers them. Before each page of a PDF
// stands the line that mark gives.
func (t *Text) Lines(format Format, mark func(page, pages int) string,
) (lines []string, pages []int) {
	for i, page := range t.Pages {
		if format == PDF {
			pages = append(pages, len(lines)+1)
			lines = append(lines, mark(i+1, t.PagesTotal))
		}
		if page = strings.TrimSuffix(page, "\n"); page != "" {
			lines = append(lines, strings.Split(page, "\n")...)
		}
	}
	return lines, pages
}

// sniffBytes is how much of a file tells what it is.
const sniffBytes = 1024

// Sniff tells the format of a file by how it begins. Its name and its content
// type (of a web server, or empty) decide only where the content leaves it open:
// Markdown may begin with a tag, and HTML without one.
func Sniff(name, contentType string, head []byte) Format {
	head = head[:min(len(head), sniffBytes)]
	if isPDF(head) {
		return PDF
	}
	text := strings.ToLower(decodeStart(head))
	if beginsPage(text) {
		return HTML
	}
	if !strings.Contains(text, "<") {
		return ""
	}
	switch strings.ToLower(filepath.Ext(name)) {
	case ".html", ".htm", ".xhtml", ".shtml":
		return HTML
	case "":
		if strings.HasPrefix(http.DetectContentType(head), "text/html") {
			return HTML
		}
	}
	if strings.HasPrefix(contentType, "text/html") ||
		strings.HasPrefix(contentType, "application/xhtml") {
		return HTML
	}
	return ""
}

// isPDF finds the mark of a PDF. Readers accept it anywhere in the first
// kilobyte; a text that only talks of it is none.
func isPDF(head []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(head, "\ufeff \t\r\n"), []byte(pdfMark)) ||
		bytes.Contains(head, []byte(pdfMark)) && !utf8.Valid(head) || pdfStart.Match(head)
}

// pdfStart is a mark on a line of its own, with the first object after it.
var pdfStart = regexp.MustCompile(`(?:^|[\r\n])%PDF-\d\.\d\s*[\r\n](?:%[^\r\n]*[\r\n]+)?\s*\d+ \d+ obj\b`)

// beginsPage reports text that is a whole page: a doctype or the root element,
// after comments and an XML declaration.
func beginsPage(text string) bool {
	for {
		text = strings.TrimLeft(text, " \t\r\n\ufeff")
		var end string
		switch {
		case strings.HasPrefix(text, "<!doctype html"), strings.HasPrefix(text, "<html>"),
			strings.HasPrefix(text, "<html "), strings.HasPrefix(text, "<html\n"):
			return true
		case strings.HasPrefix(text, "<!--"):
			end = "-->"
		case strings.HasPrefix(text, "<?xml"):
			end = "?>"
		default:
			return false
		}
		_, rest, ok := strings.Cut(text, end)
		if !ok {
			return false
		}
		text = rest
	}
}

// decodeStart makes ASCII of the start of a file in UTF-16, too.
func decodeStart(head []byte) string {
	if len(head) >= 2 && (head[0] == 0xff && head[1] == 0xfe || head[0] == 0xfe && head[1] == 0xff) {
		return string(bytes.ReplaceAll(head[2:], []byte{0}, nil))
	}
	return string(head)
}
