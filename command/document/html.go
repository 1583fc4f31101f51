package document

import (
	"bytes"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/JohannesKaufmann/html-to-markdown/v2/converter"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/base"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/commonmark"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/table"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"agent/internal/legible"
)

// spanMax bounds the columns and rows that one cell of a table may claim.
const spanMax = 50

// convertHTML makes Markdown of a page. Addresses become absolute where base,
// the address of the page, is given. A page that is nested too deep for a tree
// is read as a flat stream of words and links, as any is when flat is set.
func convertHTML(data []byte, contentType, baseURL string, flat bool,
) (title, text, note string, err error) {
	utf8Data, note, err := toUTF8(data, contentType)
	if err != nil {
		return "", "", "", err
	}
	pageURL, err := url.Parse(baseURL)
	if err != nil {
		return "", "", "", fmt.Errorf("html: address of the page: %w", err)
	}
	if flat {
		title, text = flatHTML(utf8Data, pageURL)
		return title, text, note, nil
	}
	doc, err := html.Parse(bytes.NewReader(utf8Data))
	if err != nil {
		title, text = flatHTML(utf8Data, pageURL)
		return title, text, note, nil
	}
	p := page{base: pageURL}
	p.prune(doc)
	out, err := newConverter().ConvertNode(doc)
	if err != nil {
		return "", "", "", fmt.Errorf("html: %w", err)
	}
	return p.title, tidy(angles.restore(string(out))), note, nil
}

func newConverter() *converter.Converter {
	return converter.NewConverter(
		// The text is for reading, not for rendering again: no backslashes.
		converter.WithEscapeMode(converter.EscapeModeDisabled),
		converter.WithPlugins(
			base.NewBasePlugin(),
			commonmark.NewCommonmarkPlugin(
				commonmark.WithListEndComment(false),
				commonmark.WithLinkEmptyContentBehavior(commonmark.LinkBehaviorSkip),
				commonmark.WithLinkEmptyHrefBehavior(commonmark.LinkBehaviorSkip),
			),
			table.NewTablePlugin(
				table.WithCellPaddingBehavior(table.CellPaddingBehaviorMinimal),
				table.WithNewlineBehavior(table.NewlineBehaviorPreserve),
				table.WithHeaderPromotion(true),
				table.WithSkipEmptyRows(true),
			),
		),
	)
}

// hiddenAngles carries angle brackets of a page's text through the converter,
// which would write them as entities: "a < b" is to stay what it is.
type hiddenAngles struct{ hide, show *strings.Replacer }

// Two private characters, which the text itself loses.
var angles = hiddenAngles{
	hide: strings.NewReplacer("\uE0F0", "", "\uE0F1", "", "<", "\uE0F0", ">", "\uE0F1"),
	show: strings.NewReplacer("\uE0F0", "<", "\uE0F1", ">"),
}

func (a hiddenAngles) restore(text string) string { return a.show.Replace(text) }

// page prepares the tree of a page for the converter.
type page struct {
	base  *url.URL
	title string
}

// unread are elements whose content nobody reads.
var unread = map[atom.Atom]bool{
	atom.Script: true, atom.Style: true, atom.Template: true, atom.Noscript: true, atom.Iframe: true,
	atom.Object: true, atom.Embed: true, atom.Svg: true, atom.Canvas: true, atom.Audio: true,
	atom.Video: true,
	atom.Map:   true, atom.Datalist: true, atom.Select: true,
}

// prune takes away what a reader does not see, shortens what only a browser
// needs, and resolves addresses. The tree is at most as deep as the parser lets
// it be.
func (p *page) prune(n *html.Node) {
	for child := n.FirstChild; child != nil; {
		next := child.NextSibling
		switch {
		case child.Type == html.CommentNode || child.Type == html.ElementNode && p.drops(child):
			n.RemoveChild(child)
		case child.Type == html.TextNode:
			child.Data = angles.hide.Replace(child.Data)
		case child.Type == html.ElementNode && child.DataAtom == atom.Img:
			n.InsertBefore(&html.Node{Type: html.TextNode,
				Data: angles.hide.Replace(attribute(child, "alt"))}, child)
			n.RemoveChild(child)
		case child.Type == html.ElementNode:
			p.clean(child)
			p.prune(child)
		}
		child = next
	}
}

// drops reports elements that are not shown. Text that only a machine sees is a
// favourite place for orders to one.
func (p *page) drops(n *html.Node) bool {
	if n.DataAtom == atom.Title && n.Namespace == "" && p.title == "" {
		p.title = legible.OneLine(textOf(n))
	}
	if unread[n.DataAtom] {
		return true
	}
	for _, a := range n.Attr {
		style := strings.ToLower(strings.ReplaceAll(a.Val, " ", ""))
		if a.Key == "hidden" || a.Key == "style" &&
			(strings.Contains(style, "display:none") || strings.Contains(style, "visibility:hidden")) {
			return true
		}
	}
	return false
}

// clean keeps the attributes that matter, within bounds.
func (p *page) clean(n *html.Node) {
	kept := n.Attr[:0]
	for _, a := range n.Attr {
		switch a.Key {
		case "href":
			if a.Val = resolve(p.base, a.Val); a.Val == "" {
				continue
			}
		case "colspan", "rowspan":
			if span, err := strconv.Atoi(strings.TrimSpace(a.Val)); err != nil || span > spanMax ||
				span < 1 {
				continue
			}
		case "start", "class": // numbering of lists; languages of code
		default:
			continue
		}
		kept = append(kept, a)
	}
	n.Attr = kept
}

// hrefBytesMax bounds an address that is worth showing.
const hrefBytesMax = 2000

// resolve makes an address absolute where it can. Addresses that lead nowhere
// for a reader are dropped: scripts, data and places on the same page.
func resolve(base *url.URL, href string) string {
	href = strings.TrimSpace(href)
	if href == "" || strings.HasPrefix(href, "#") || len(href) > hrefBytesMax {
		return ""
	}
	u, err := url.Parse(href)
	if err != nil {
		return ""
	}
	if base != nil && base.Scheme != "" {
		u = base.ResolveReference(u)
	}
	switch strings.ToLower(u.Scheme) {
	case "", "http", "https", "mailto", "ftp", "tel":
		return u.String()
	}
	return ""
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// textOf joins the text directly inside an element.
func textOf(n *html.Node) string {
	var b strings.Builder
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return b.String()
}

// flatHTML reads a page as a stream, whatever its nesting: words, line breaks
// at blocks, and links.
func flatHTML(data []byte, baseURL *url.URL) (title, text string) {
	f := flatPage{base: baseURL}
	z := html.NewTokenizer(bytes.NewReader(data))
	for {
		switch z.Next() {
		case html.ErrorToken: // the end, since the reader can't fail
			return legible.OneLine(f.title.String()), tidy(f.out.String())
		case html.TextToken:
			f.text(string(z.Text()))
		case html.StartTagToken, html.SelfClosingTagToken:
			f.open(z.Token())
		case html.EndTagToken:
			f.close(z.Token())
		}
	}
}

// Words are the words of a page, shown and hidden, found in one linear pass that does not
// recurse. It is safe to run in this process.
func Words(page []byte) string {
	text, _, err := toUTF8(page, "")
	if err != nil {
		return ""
	}
	title, words := flatHTML(text, &url.URL{})
	return title + "\n" + words
}

type flatPage struct {
	base       *url.URL
	out, title strings.Builder
	skip       atom.Atom // element whose content is left out
	href       string    // of the link that is open
	inTitle    bool
}

func (f *flatPage) text(s string) {
	switch {
	case f.inTitle:
		f.title.WriteString(s)
	case f.skip == 0:
		f.out.WriteString(html.UnescapeString(s))
	}
}

func (f *flatPage) open(t html.Token) {
	switch {
	case f.skip != 0:
	case unread[t.DataAtom] && t.Type == html.StartTagToken:
		f.skip = t.DataAtom
	case t.DataAtom == atom.Title:
		f.inTitle = f.title.Len() == 0
	case t.DataAtom == atom.A && f.href == "":
		for _, a := range t.Attr {
			if a.Key == "href" {
				f.href = resolve(f.base, a.Val)
			}
		}
		if f.href != "" {
			f.out.WriteByte('[')
		}
	case breaks[t.DataAtom]:
		f.out.WriteByte('\n')
	}
}

func (f *flatPage) close(t html.Token) {
	switch {
	case t.DataAtom == f.skip:
		f.skip = 0
	case f.skip != 0:
	case t.DataAtom == atom.Title:
		f.inTitle = false
	case t.DataAtom == atom.A && f.href != "":
		f.out.WriteString("](" + f.href + ")")
		f.href = ""
	case breaks[t.DataAtom]:
		f.out.WriteByte('\n')
	}
}

// breaks are elements that begin a new line.
var breaks = map[atom.Atom]bool{
	atom.P: true, atom.Div: true, atom.Br: true, atom.Li: true, atom.Ul: true, atom.Ol: true,
	atom.Tr: true, atom.Table: true,
	atom.H1: true, atom.H2: true, atom.H3: true, atom.H4: true, atom.H5: true, atom.H6: true,
	atom.Pre: true, atom.Blockquote: true,
	atom.Section: true, atom.Article: true, atom.Header: true, atom.Footer: true, atom.Nav: true,
	atom.Dt: true, atom.Dd: true,
}

// tidy drops what can't be read and more than one empty line in a row.
func tidy(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\u00a0':
			return ' '
		case r == '\u2028', r == '\u2029', r == '\f':
			return '\n'
		case r < ' ' && r != '\n' && r != '\t', r == 0x7f, r == '\u00ad', r == '\u200b', r == '\ufeff':
			return -1
		}
		return r
	}, text)
	var out strings.Builder
	empty := 2 // none at the start
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\n")
		if strings.TrimSpace(line) == "" {
			empty++
			continue
		}
		if out.Len() > 0 {
			out.WriteString(strings.Repeat("\n", min(empty, 1)))
		}
		out.WriteString(line + "\n")
		empty = 0
	}
	return out.String()
}
