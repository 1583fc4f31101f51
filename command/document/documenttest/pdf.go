// Package documenttest makes documents for tests.
package documenttest

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"strings"
)

// PDF makes a PDF with these pages, in Helvetica, a line of text each line.
func PDF(pages ...string) []byte {
	contents := make([][]byte, len(pages))
	for i, page := range pages {
		var b bytes.Buffer
		b.WriteString("BT /F1 12 Tf 14 TL 72 720 Td\n")
		for line := range strings.Lines(page) {
			fmt.Fprintf(&b, "(%s) Tj T*\n", escape.Replace(strings.TrimSuffix(line, "\n")))
		}
		b.WriteString("ET\n")
		contents[i] = b.Bytes()
	}
	return PDFOf(contents...)
}

var escape = strings.NewReplacer(`\`, `\\`, "(", `\(`, ")", `\)`)

// PDFOf makes a PDF whose pages are drawn by these content streams. They can
// use the font /F1.
func PDFOf(contents ...[]byte) []byte {
	w := &writer{}
	w.out.WriteString("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
	var kids []string
	const first = 4 // after the catalog, the tree and the font
	for i := range contents {
		kids = append(kids, fmt.Sprintf("%d 0 R", first+2*i))
	}
	w.object("<< /Type /Catalog /Pages 2 0 R >>")
	w.object(fmt.Sprintf("<< /Type /Pages /Count %d /Kids [%s] >>", len(contents),
		strings.Join(kids, " ")))
	w.object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
	for i, content := range contents {
		w.object(fmt.Sprintf("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> /Contents %d 0 R >>", first+2*i+1))
		w.stream(content)
	}
	return w.finish()
}

// writer writes objects, counted from 1, and remembers where they are.
type writer struct {
	out     bytes.Buffer
	offsets []int
}

func (w *writer) object(body string) {
	w.offsets = append(w.offsets, w.out.Len())
	fmt.Fprintf(&w.out, "%d 0 obj\n%s\nendobj\n", len(w.offsets), body)
}

// stream writes a compressed stream.
func (w *writer) stream(data []byte) {
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	_, _ = z.Write(data) // a buffer takes everything
	_ = z.Close()
	w.object(fmt.Sprintf("<< /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream", packed.Len(),
		packed.String()))
}

// finish writes the table of objects.
func (w *writer) finish() []byte {
	at := w.out.Len()
	fmt.Fprintf(&w.out, "xref\n0 %d\n0000000000 65535 f \n", len(w.offsets)+1)
	for _, offset := range w.offsets {
		fmt.Fprintf(&w.out, "%010d 00000 n \n", offset)
	}
	fmt.Fprintf(&w.out, "trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n",
		len(w.offsets)+1, at)
	return w.out.Bytes()
}
