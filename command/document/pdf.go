package document

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ledongthuc/pdf"

	"agent/internal/legible"
)

// Bounds of reading a PDF, each far beyond what people write.
const (
	pagesMax     = 20_000  // pages read of one document
	operatorsMax = 2 << 20 // drawing operators of one page
	formDepthMax = 8       // forms drawn within forms
	linksMax     = 40      // addresses listed of one page
)

// errOperators stops a page that only draws.
var errOperators = fmt.Errorf("it has more than %d drawing operators", operatorsMax)

// readPDF reads a PDF page by page and gives each page's text to emit, which
// says whether to go on. The title comes with the first page.
func readPDF(data []byte, emit func(part) bool) error {
	r, err := openPDF(data)
	if err != nil {
		return err
	}
	total := r.NumPage()
	if total <= 0 {
		return errors.New("pdf: it has no pages")
	}
	title := legible.OneLine(r.Trailer().Key("Info").Key("Title").Text())
	read, number := reader{fontCache{}, map[string]bool{}}, 0
	for page, resources := range pages(r) {
		if number++; number > pagesMax {
			emit(part{Cut: fmt.Sprintf("only its first %d pages are read", pagesMax)})
			return nil
		}
		p := read.page(page, resources)
		p.Title, p.Page, p.Pages, p.Text = title, number, max(total, number),
			tidy(ligatures.Replace(p.Text))
		title = ""
		if !emit(p) {
			return nil
		}
	}
	if number < total {
		emit(part{Cut: fmt.Sprintf("of its %d pages those from %d on are not there", total, number+1)})
	}
	form := r.Trailer().Key("Root").Key("AcroForm")
	if left := withoutPage(form, read.fields); len(left) > 0 {
		emit(part{Note: "values of its form that stand on no page: " + strings.Join(left, ", ")})
	}
	if !form.Key("XFA").IsNull() {
		emit(part{Note: "it has a form in XFA, of which only what is drawn is read"})
	}
	return nil
}

var ligatures = strings.NewReplacer("ﬀ", "ff", "ﬁ", "fi", "ﬂ", "fl", "ﬃ", "ffi", "ﬄ", "ffl", "ﬅ",
	"st", "ﬆ", "st")

// reader is what the pages of a document have in common.
type reader struct {
	fonts  fontCache
	fields map[string]bool // of forms, by name, that stand on the pages read
}

// page reads one page. The parser panics on what it does not understand; what it
// understood before that is kept.
func (r *reader) page(page, resources pdf.Value) (p part) {
	var out layout
	in := interpreter{out: &out, fonts: r.fonts}
	defer func() {
		if problem := recover(); problem != nil {
			p.Error = fmt.Sprint(problem)
		}
		p.Text, p.Guessed, p.Lost = out.String(), in.guessed, in.lost
	}()
	in.draw(page.Key("Contents"), resources)
	lines, addresses := r.margin(page)
	out.notes(lines)
	out.links(addresses)
	return p
}

// interpreter follows the operators that draw a page and notes where which
// text is put. Operators and their operands are those of ISO 32000-1, 9.4.
type interpreter struct {
	out       *layout
	fonts     fontCache
	g         graphics
	saved     []graphics
	tm, line  matrix // of the text, and of the start of its line
	depth     int    // forms within forms
	operators int

	guessed, lost int // codes whose meaning the document does not tell: shown, and not
}

// graphics is the part of the graphics state that moves text.
type graphics struct {
	ctm                                    matrix
	font                                   *font
	size, charSpace, wordSpace, lead, rise float64
	scale                                  float64 // horizontal, 1 for none
}

// draw follows a content stream.
func (in *interpreter) draw(contents, resources pdf.Value) {
	if contents.IsNull() {
		return
	}
	if in.depth == 0 {
		in.g = graphics{ctm: identity, scale: 1}
		in.tm, in.line = identity, identity
	}
	in.follow(contentBytes(contents), resources)
}

// follow carries out the operators of a content stream.
func (in *interpreter) follow(content []byte, resources pdf.Value) {
	l := lexer{data: content}
	var args operands
	for {
		o, ok := l.next()
		switch {
		case !ok:
			return
		case o.kind != operator:
			if len(args) < operandsMax {
				args = append(args, o)
			}
			continue
		case o.text == "BI":
			l.skipImage()
		default:
			if in.operators++; in.operators > operatorsMax {
				panic(errOperators) // through all forms, up to the page
			}
			in.do(o.text, args, resources)
		}
		args = args[:0]
	}
}

// do carries out one operator.
func (in *interpreter) do(op string, args operands, resources pdf.Value) {
	switch op {
	case "q":
		in.saved = append(in.saved, in.g)
	case "Q":
		if n := len(in.saved); n > 0 {
			in.g, in.saved = in.saved[n-1], in.saved[:n-1]
		}
	case "cm":
		in.g.ctm = args.matrix().times(in.g.ctm)
	case "Do":
		in.form(resources.Key("XObject").Key(args.text(0)), resources)
	case "Tf":
		in.g.font, in.g.size = in.fonts.get(resources.Key("Font").Key(args.text(0))), args.number(1)
	case "Tc":
		in.g.charSpace = args.number(0)
	case "Tw":
		in.g.wordSpace = args.number(0)
	case "Tz":
		in.g.scale = args.number(0) / 100
	case "TL":
		in.g.lead = args.number(0)
	case "Ts":
		in.g.rise = args.number(0)
	default:
		in.text(op, args)
	}
}

// text carries out the operators between BT and ET.
func (in *interpreter) text(op string, args operands) {
	switch op {
	case "BT":
		in.tm, in.line = identity, identity
	case "Tm":
		in.tm, in.line = args.matrix(), args.matrix()
	case "Td":
		in.newLine(args.number(0), args.number(1))
	case "TD":
		in.g.lead = -args.number(1)
		in.newLine(args.number(0), args.number(1))
	case "T*":
		in.newLine(0, -in.g.lead)
	case "Tj":
		in.show(args.text(0))
	case "'":
		in.newLine(0, -in.g.lead)
		in.show(args.text(0))
	case "\"":
		in.g.wordSpace, in.g.charSpace = args.number(0), args.number(1)
		in.newLine(0, -in.g.lead)
		in.show(args.text(2))
	case "TJ":
		in.showAll(args.at(0).list)
	}
}

func (in *interpreter) newLine(x, y float64) {
	in.line = matrix{1, 0, 0, 1, x, y}.times(in.line)
	in.tm = in.line
}

// showAll shows pieces with numbers between them that move the next one.
func (in *interpreter) showAll(pieces []operand) {
	for _, piece := range pieces {
		if piece.kind == stringOperand {
			in.show(piece.text)
			continue
		}
		in.advance(-piece.number / 1000 * in.g.size * in.g.scale)
	}
}

// show puts one string where the text matrix is, and moves on by its width.
func (in *interpreter) show(raw string) {
	if in.g.font == nil || raw == "" {
		return
	}
	text, width, codes, spaces := in.g.font.read(raw)
	in.guessed += in.g.font.guesses(raw)
	if in.g.font.mute {
		in.lost += codes
	}
	at := matrix{in.g.size * in.g.scale, 0, 0, in.g.size, 0, in.g.rise}.times(in.tm).times(in.g.ctm)
	in.advance((width*in.g.size + float64(codes)*in.g.charSpace +
		float64(spaces)*in.g.wordSpace) * in.g.scale)
	end := in.tm.times(in.g.ctm).upright(at)
	size := at.height()
	at = at.upright(at)
	in.out.add(run{text: text, x: at[4], y: at[5], end: end[4], size: size})
}

func (in *interpreter) advance(x float64) { in.tm = matrix{1, 0, 0, 1, x, 0}.times(in.tm) }

// form draws a form: a drawing with resources of its own.
func (in *interpreter) form(form, resources pdf.Value) {
	if form.Key("Subtype").Name() != "Form" || in.depth >= formDepthMax {
		return
	}
	own := form.Key("Resources")
	if own.IsNull() {
		own = resources
	}
	before, tm, line := in.g, in.tm, in.line
	saved := in.saved
	in.saved = nil
	if m := form.Key("Matrix"); m.Len() == 6 {
		in.g.ctm = matrix{m.Index(0).Float64(), m.Index(1).Float64(), m.Index(2).Float64(),
			m.Index(3).Float64(), m.Index(4).Float64(), m.Index(5).Float64()}.times(in.g.ctm)
	}
	in.depth++
	in.draw(form, own)
	in.depth--
	in.g, in.tm, in.line, in.saved = before, tm, line, saved
}
