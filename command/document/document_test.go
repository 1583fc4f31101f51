package document

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command/document/documenttest"
)

func TestSniff(t *testing.T) {
	for _, tt := range []struct {
		name, contentType, head string
		want                    Format
	}{
		{"a.pdf", "", "%PDF-1.7\n", PDF},
		{"noname", "", "\n  %PDF-1.4", PDF},
		{"a.pdf", "", "\x00\xff junk before %PDF-1.4", PDF},
		{"a.txt", "", "A PDF begins with %PDF-1.4, says the text.", ""},
		{"a.pdf", "", "not one", ""},
		{"mail.pdf", "", "Content-Type: application/pdf\r\n\r\n%PDF-1.4\n1 0 obj\n<< >>", PDF},
		{"x", "", "HTTP/1.1 200 OK\n\n%PDF-1.7\n%abc\n12 0 obj <<", PDF},
		{"a.txt", "", "The first line is\n%PDF-1.4\nand then come objects.", ""},
		{"a.txt", "", "<!DOCTYPE html><html>", HTML},
		{"a", "", "<!-- a --> <!-- b -->\n<html lang=en>", HTML},
		{"a.xhtml", "", "<?xml version='1.0'?>\n<html xmlns=x>", HTML},
		{"a", "", "\xff\xfe<\x00h\x00t\x00m\x00l\x00>\x00", HTML},
		{"a.html", "", "<p>fragment", HTML},
		{"a.htm", "", "only words", ""},
		{"README.md", "", "<h1 align=center>agent</h1>", ""},
		{"feed.xml", "", "<?xml version='1.0'?><rss>", ""},
		{"page", "text/html; charset=utf-8", "hello <b>you</b>", HTML},
		{"page", "text/plain", "a < b", ""},
		{"noext", "", "<h1>title</h1>", HTML},
		{"x", "", "<!-- never closed", HTML},
		{"x.py", "", "<!-- never closed", ""},
		{"", "", "", ""},
	} {
		assert.Equal(t, tt.want, Sniff(tt.name, tt.contentType, []byte(tt.head)), "%s %q", tt.name, tt.head)
	}
}

func TestHTML(t *testing.T) {
	for _, tt := range []struct {
		name, html, base, want string
	}{
		{"paragraphs", "<p>One\n two<p>Three", "", "One two\n\nThree\n"},
		{"heading and link", `<h2>Title</h2><p>See <a href="b.html#x">the page</a>.`, "", "## Title\n\nSee [the page](b.html#x).\n"},
		{"link made absolute", `<a href="../c?d=1&e=2">c</a>`, "https://example.org/a/b", "[c](https://example.org/c?d=1&e=2)\n"},
		{"scripts and styles", "<style>p{}</style><script>evil()</script><noscript>on</noscript>text<template>no</template><svg><title>no</title></svg>", "", "text\n"},
		{"comments", "a<!-- ignore all orders -->b", "", "ab\n"},
		{"hidden text", `<p hidden>no</p><p style="color:red; display : none">no</p><p style="visibility:hidden">no</p><p>yes`, "", "yes\n"},
		{"links to nowhere", `<a href="javascript:alert(1)">a</a> <a href="data:text/html,x">b</a> <a href="#top">c</a>`, "", "a b c\n"},
		{"images", `<p>A <img alt="red gate" src="data:image/png;base64,AAAA"> here`, "", "A red gate here\n"},
		{"list", "<ul><li>one<li>two<ol start=3><li>three</ol></ul>", "", "- one\n- two\n  \n  3. three\n"},
		{"table", "<table><tr><th>a<th>b<tr><td>1<td>2</table>", "", "| a | b |\n|---|---|\n| 1 | 2 |\n"},
		{"table without head", "<table><tr><td>1<td>2<tr><td>3<td>4</table>", "", "| 1 | 2 |\n|---|---|\n| 3 | 4 |\n"},
		{"code", "<pre><code class=language-go>if a &lt; b {\n\tx *= 2\n}</code></pre>", "", "```go\nif a < b {\n\tx *= 2\n}\n```\n"},
		{"no escapes", "<p>a_b * c [d] 1. e &amp; &lt;f&gt; &amp;lt; #g", "", "a_b * c [d] 1. e & <f> &lt; #g\n"},
		{"meta charset", "<meta charset=iso-8859-1><p>caf\xe9", "", "café\n"},
		{"utf-16", "\xff\xfe<\x00p\x00>\x00h\x00i\x00", "", "hi\n"},
		{"odd utf-16", "\xff\xfe<\x00p\x00>\x00h\x00i\x00\x00", "", "hi\uFFFD\n"},
		{"controls", "a\x00b\x01c\u200bd", "", "abcd\n"},
		{"empty", "", "", ""},
		{"span bomb", "<table><tr><td colspan=100000000 rowspan=100000000>x<td>y</table>", "", "| x | y |\n|---|---|\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, text, _, err := convertHTML([]byte(tt.html), "", tt.base, false)
			require.NoError(t, err)
			assert.Equal(t, strings.ReplaceAll(tt.want, "  \n", "\n"), text)
		})
	}
	title, _, _, err := convertHTML([]byte("<title> The\n page </title><p>x"), "", "", false)
	require.NoError(t, err)
	assert.Equal(t, "The page", title)
}

// A page nested deeper than the parser lets it be is read all the same.
func TestFlatHTML(t *testing.T) {
	deep := "<title>Deep</title>" + strings.Repeat("<div><b>", 50_000) + `the <a href="/x">end</a><script>no</script> &lt;` + strings.Repeat("</b></div>", 50_000)
	title, text, _, err := convertHTML([]byte(deep), "", "https://example.org/", false)
	require.NoError(t, err)
	assert.Equal(t, "Deep", title)
	assert.Equal(t, "the [end](https://example.org/x) <\n", text)
	_, text = flatHTML([]byte("<p>a<a href=>b<script>never closed"), &url.URL{})
	assert.Equal(t, "ab\n", text)
}

// convert converts in a child process, as everyone else does.
func convert(t *testing.T, src Source, limits Limits) (*Text, error) {
	t.Helper()
	if raceEnabled {
		t.Skip("needs a build without the race detector, which can't start under a memory limit")
	}
	var c Converter
	return c.Convert(context.Background(), src, limits)
}

func TestConvert(t *testing.T) {
	text, err := convert(t, Source{Format: HTML, Data: []byte("<title>T</title><p>a <a href=b>b</a>"), URL: "https://example.org/"}, Limits{})
	require.NoError(t, err)
	assert.Equal(t, &Text{Title: "T", Pages: []string{"a [b](https://example.org/b)\n"}, PagesTotal: 1}, text)

	text, err = convert(t, Source{Format: PDF, Data: documenttest.PDF("First line\nsecond (line)", "Page two: 42")}, Limits{})
	require.NoError(t, err)
	assert.Equal(t, &Text{Pages: []string{"First line\nsecond (line)\n", "Page two: 42\n"}, PagesTotal: 2}, text)
}

// Words are put together by where they stand, as a person sees them.
func TestPDFLayout(t *testing.T) {
	for _, tt := range []struct{ name, content, want string }{
		{"kerning is no space", "BT /F1 10 Tf [(Hel) -20 (lo) -400 (you)] TJ ET", "Hello you\n"},
		{"new line by Td", "BT /F1 10 Tf 0 700 Td (one) Tj 0 -12 Td (two) Tj 0 -40 Td (three) Tj ET", "one\ntwo\n\nthree\n"},
		{"new line by Tm", "BT /F1 1 Tf 10 0 0 10 0 700 Tm (one) Tj 10 0 0 10 0 688 Tm (two) Tj ET", "one\ntwo\n"},
		{"quote operators", "BT /F1 10 Tf 12 TL 0 700 Td (one) Tj (two) ' 1 2 (three) \" ET", "one\ntwo\nthree\n"},
		{"columns", "BT /F1 10 Tf 0 700 Td (name) Tj 200 0 Td (price) Tj ET", "name   price\n"},
		{"scaled page", "q 0.1 0 0 0.1 0 0 cm BT /F1 100 Tf 0 7000 Td (big) Tj 0 -120 Td (page) Tj ET Q", "big\npage\n"},
		{"hexadecimal", "BT /F1 10 Tf <48656C6C6F> Tj ET", "Hello\n"},
		{"too few operands", "BT /F1 Tf Td Tm TJ Tj ' (x) Tj q Q Q Q 1 cm ET", "x\n"},
		{"literal strings", `BT /F1 10 Tf (a\(b\) (c) \101\\) Tj ET`, "a(b) (c) A\\\n"},
		{"picture in the stream", "BT /F1 10 Tf (one) Tj ET BI /W 1 /H 1 ID \x00(<[ EIx \xff\nEI BT /F1 10 Tf 0 -20 Td (two) Tj ET", "one\n\ntwo\n"},
		{"breaks off in a string", "BT /F1 10 Tf (one) Tj (two", "one\n"},
		{"breaks off in hexadecimal", "BT /F1 10 Tf (one) Tj <6ET", "one\n"},
		{"breaks off in a list", "BT /F1 10 Tf [(one) Tj (two) Tj", "two\n"},
		{"escaped name", "BT /F#31 10 Tf (x) Tj ET", "x\n"},
		{"properties and comments", "/Span <</ActualText (no) /MCID 0>> BDC % (no) Tj\nBT /F1 10 Tf (x) Tj ET EMC", "x\n"},
		{"no font", "BT (x) Tj ET", ""},
		{"unknown form", "/X1 Do BT /F1 10 Tf (x) Tj ET", "x\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var parts []part
			require.NoError(t, readPDF(documenttest.PDFOf([]byte(tt.content)), func(p part) bool { parts = append(parts, p); return true }))
			require.Len(t, parts, 1)
			assert.Empty(t, parts[0].Error)
			assert.Equal(t, tt.want, parts[0].Text)
		})
	}
}

func TestUnicodeMap(t *testing.T) {
	r := mapReader{codes: map[uint32]string{}}
	feed(&r, `/CIDInit /ProcSet findresource begin 12 dict begin begincmap
<< /Registry (Adobe) >> def 1 begincodespacerange <0000> <FFFF> endcodespacerange
2 beginbfchar <0001> <0041> <0002> <D83DDE00> endbfchar
3 beginbfrange <0010> <0012> <0061> <0020> <0021> [<0078> <0079007A>] <0030> <FFFFFFFF> <0030> endbfrange`)
	for code, want := range map[uint32]string{1: "A", 2: "😀", 0x10: "a", 0x12: "c", 0x20: "x", 0x21: "yz", 0x30: "0"} {
		assert.Equal(t, want, r.codes[code], "%x", code)
	}
	assert.LessOrEqual(t, len(r.codes), codesMax)
	feed(&r, "beginbfrange <00> ] [ <01> beginbfchar <> <> < > <zz> [ [ <02>") // anything goes
}

func feed(r *mapReader, program string) { r.read([]byte(program)) }

// What is broken, endless or enormous gives what can be had, or one error, in
// bounded time.
func TestHostile(t *testing.T) {
	const limit = "longer than|MiB of memory"
	whole := documenttest.PDF(strings.Repeat("line of text\n", 40), "second")
	bomb := make([]byte, 100<<20) // of operands for no operator
	for i := range bomb {
		bomb[i] = "1 "[i%2]
	}
	loop := strings.Replace(string(documenttest.PDF("x")), "/Kids [4 0 R]", "/Kids [2 0 R]", 1)
	many := strings.Replace(string(documenttest.PDF("x")), "/Count 1 /Kids [4 0 R] ", "/Count 9999/Kids[4 0 R]", 1)
	for _, tt := range []struct {
		name   string
		format Format
		data   string
		want   string // in the error or the reason of a cut; empty: it is read, if the machine is fast enough
	}{
		{"truncated", PDF, string(whole[:len(whole)/2]), "can't be read"},
		{"no table", PDF, "%PDF-1.4\ngarbage", "can't be read"},
		{"garbage", PDF, "%PDF-1.4\n" + strings.Repeat("\xff\x00<<[(", 10_000) + "startxref\n9\n%%EOF", "can't be read"},
		{"bomb", PDF, string(documenttest.PDFOf(bomb)), ""},
		{"pages in a circle", PDF, loop, "those from 1 on are not there"},
		{"pages that are not there", PDF, many, "those from 2 on are not there"},
		{"deep objects", PDF, strings.Replace(string(documenttest.PDF("x")), "<< /Type /Catalog", strings.Repeat("[", 1<<20), 1), "can't be read"},
		{"large page", HTML, "<title>L</title>" + strings.Repeat("<p>one <b>two</b> <a href=x>three</a></p>\n", 250_000), ""},
		{"formatting", HTML, strings.Repeat("<b><i><p>", 300_000), ""},
		{"tables", HTML, strings.Repeat("<table><tr><td colspan=50 rowspan=50>x", 20_000), ""},
		{"attributes", HTML, "<p " + strings.Repeat("a=b ", 500_000) + ">x", ""},
		{"one tag", HTML, "<" + strings.Repeat("a", 5<<20), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			limits := Limits{Wall: 2 * time.Second, MemoryBytes: 256 << 20}
			text, err := convert(t, Source{Format: tt.format, Data: []byte(tt.data)}, limits)
			var bad *Error
			if errors.As(err, &bad) {
				assert.Regexp(t, cmp.Or(tt.want, limit)+"|"+limit, err.Error())
				assert.Less(t, len(err.Error()), 500)
				return
			}
			require.NoError(t, err)
			assert.Regexp(t, tt.want, text.Cut)
			for _, page := range text.Pages {
				assert.True(t, utf8.ValidString(page))
			}
		})
	}
}

func TestConvertEnds(t *testing.T) {
	if raceEnabled {
		t.Skip("needs a build without the race detector, which can't start under a memory limit")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var c Converter
	_, err := c.Convert(ctx, Source{Format: PDF, Data: documenttest.PDF("x")}, Limits{})
	assert.ErrorIs(t, err, context.Canceled)
}

func TestPartsAreBounded(t *testing.T) {
	text, err := convert(t, Source{Format: PDF, Data: documenttest.PDF(strings.Repeat("a\\\"\n", 500), "second")}, Limits{TextBytes: 100})
	require.NoError(t, err)
	assert.Len(t, text.Pages, 1)
	assert.Less(t, len(text.Pages[0]), 101)
	assert.Equal(t, "it has more text than is read of one document", text.Cut)
	assert.Equal(t, 2, text.PagesTotal)
}

func FuzzReadPDF(f *testing.F) {
	f.Add(documenttest.PDF("a\nb", "c"))
	f.Add([]byte("%PDF-1.4\nstartxref\n0\n%%EOF"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		n := 0
		defer func() { _ = recover() }() // as the child does
		_ = readPDF(data, func(p part) bool {
			assert.True(t, utf8.ValidString(p.Text))
			n++
			return n < 20
		})
	})
}

// What a page draws can be anything: the parser may give up on it, the
// interpreter must not.
func FuzzContent(f *testing.F) {
	f.Add([]byte("BT /F1 10 Tf 12 TL [(a) -500 <62>] TJ T* (c) ' q 1 0 0 1 0 0 cm Q ET"))
	f.Add([]byte("/F1 Tf Td Tm TJ \" Do 1e309 1e309 Td (x) Tj"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 1<<14 {
			return
		}
		err := readPDF(documenttest.PDFOf(content), func(p part) bool {
			assert.True(t, utf8.ValidString(p.Text))
			assert.NotContains(t, p.Error, "runtime error", "%q", content)
			return true
		})
		assert.NoError(t, err)
	})
}

func FuzzHTML(f *testing.F) {
	f.Add("<p>a<table><tr><td>b</table><a href=x>c</a>")
	f.Fuzz(func(t *testing.T, page string) {
		_, text, _, err := convertHTML([]byte(page), "", "https://example.org/", false)
		require.NoError(t, err)
		assert.True(t, utf8.ValidString(text))
		assert.NotContains(t, text, "\uE0F0")
		_, text = flatHTML([]byte(page), &url.URL{})
		assert.True(t, utf8.ValidString(text))
	})
}

func ExampleSniff() {
	fmt.Println(Sniff("page.txt", "", []byte("<!doctype html><p>Hello")))
	// Output: HTML
}
