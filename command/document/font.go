package document

import (
	"bytes"
	"encoding/hex"
	"io"
	"regexp"
	"unicode/utf16"

	"github.com/ledongthuc/pdf"
)

// Bounds of one font.
const (
	codesMax       = 1 << 16 // codes that a map or a table of widths may hold
	unknownWidth   = 0.5     // of a glyph whose font does not say, in units of its size
	compositeWidth = 1.0
)

// font turns the codes of a string into text and knows how wide they are.
type font struct {
	codeBytes int // 1, or 2 in composite fonts
	unicode   map[uint32]string
	encoder   pdf.TextEncoding // where there is no map to Unicode
	widths    map[uint32]float64
	width     float64 // of a code that widths lacks

	unknown map[byte]bool // codes of bytes whose meaning is not told
	private bool          // none is: the font has an order of its own
	mute    bool          // of two bytes, without any text
}

// fontCache keeps each font of a document once read. The key is the font's
// dictionary as text, which is short: what is large in it are references.
type fontCache map[string]*font

func (c fontCache) get(v pdf.Value) *font {
	if v.Kind() != pdf.Dict {
		return nil
	}
	key := v.String()
	if f, ok := c[key]; ok {
		return f
	}
	f := newFont(v)
	c[key] = f
	return f
}

func newFont(v pdf.Value) *font {
	f := &font{codeBytes: 1, widths: map[uint32]float64{}, width: unknownWidth}
	if v.Key("Subtype").Name() == "Type0" {
		f.codeBytes, f.width = 2, compositeWidth
		f.compositeWidths(v.Key("DescendantFonts").Index(0))
	} else {
		f.simpleWidths(v)
	}
	if m := v.Key("ToUnicode"); m.Kind() == pdf.Stream {
		f.unicode = readUnicodeMap(m)
	}
	if len(f.unicode) == 0 && f.codeBytes == 1 {
		f.encoder = (&pdf.Font{V: v}).Encoder()
		f.findUnknown(v)
	}
	f.mute = len(f.unicode) == 0 && f.codeBytes == 2
	return f
}

// Names of glyphs that tell nothing, and of fonts of which only the used glyphs are
// there, often in an order of their own.
var (
	namedByNumber = regexp.MustCompile(`[0-9]`)
	namedByCode   = regexp.MustCompile(`^uni[0-9A-F]{4}$`)
	subsetName    = regexp.MustCompile(`^[A-Z]{6}\+`)
)

// findUnknown finds the codes whose meaning neither a map nor a standard encoding nor
// the name of the glyph tells.
func (f *font) findUnknown(v pdf.Value) {
	encoding := v.Key("Encoding")
	const symbolic = 1 << 2
	own := v.Key("Subtype").Name() == "Type3" || subsetName.MatchString(v.Key("BaseFont").Name()) ||
		v.Key("FontDescriptor").Key("Flags").Int64()&symbolic != 0
	f.private = own && encoding.Kind() == pdf.Null
	f.unknown = map[byte]bool{}
	differences, code := encoding.Key("Differences"), int64(0)
	for i := range min(differences.Len(), 2*256) {
		switch x := differences.Index(i); x.Kind() {
		case pdf.Integer:
			code = x.Int64()
		case pdf.Name:
			tells := !namedByNumber.MatchString(x.Name()) || namedByCode.MatchString(x.Name())
			if code >= 0 && code < 256 && !tells &&
				f.encoder.Decode(string([]byte{byte(code)})) == string(rune(code)) {
				f.unknown[byte(code)] = true
			}
			code++
		}
	}
}

// guesses counts the codes of a string that are shown as what they would be in an
// encoding that the font does not have.
func (f *font) guesses(raw string) (n int) {
	if f.encoder == nil {
		return 0
	}
	for i := range len(raw) {
		if f.private && raw[i] != ' ' || f.unknown[raw[i]] {
			n++
		}
	}
	return n
}

// simpleWidths reads the widths of a font whose codes are bytes.
func (f *font) simpleWidths(v pdf.Value) {
	first, widths := v.Key("FirstChar").Int64(), v.Key("Widths")
	for i := range min(widths.Len(), 256) {
		f.widths[uint32(first)+uint32(i)] = widths.Index(i).Float64() / 1000
	}
}

// compositeWidths reads "first [w w w]" and "first last w" of the array W.
func (f *font) compositeWidths(v pdf.Value) {
	if dw := v.Key("DW"); dw.Kind() == pdf.Integer || dw.Kind() == pdf.Real {
		f.width = dw.Float64() / 1000
	}
	w := v.Key("W")
	for i := 0; i+1 < w.Len(); {
		first, second := uint32(w.Index(i).Int64()), w.Index(i+1)
		if second.Kind() == pdf.Array {
			for j := range min(second.Len(), codesMax-len(f.widths)) {
				f.widths[first+uint32(j)] = second.Index(j).Float64() / 1000
			}
			i += 2
			continue
		}
		width := w.Index(i+2).Float64() / 1000
		for code := first; code <= uint32(second.Int64()) && len(f.widths) < codesMax &&
			code < codesMax; code++ {
			f.widths[code] = width
		}
		i += 3
	}
}

// read decodes a string: its text, its width in units of the size, its number
// of codes and how many of them are the space that word spacing widens.
func (f *font) read(raw string) (text string, width float64, codes, spaces int) {
	var out []byte
	for i := 0; i+f.codeBytes <= len(raw); i += f.codeBytes {
		code := uint32(raw[i])
		if f.codeBytes == 2 {
			code = code<<8 | uint32(raw[i+1])
		} else if code == ' ' {
			spaces++
		}
		codes++
		if w, ok := f.widths[code]; ok {
			width += w
		} else {
			width += f.width
		}
		out = append(out, f.unicode[code]...)
	}
	if f.encoder != nil {
		return f.encoder.Decode(raw), width, codes, spaces
	}
	return string(out), width, codes, spaces
}

// mapBytesMax bounds a map to Unicode.
const mapBytesMax = 4 << 20

// mapToken finds what matters in a map to Unicode, which is a PostScript
// program: codes in hexadecimal, lists of them, and the operators around.
var mapToken = regexp.MustCompile(`<([0-9A-Fa-f\s]*)>|[\[\]]|[A-Za-z]+`)

// readUnicodeMap reads the bfchar and bfrange lists of a ToUnicode map. One
// that is damaged gives what was read before the damage.
func readUnicodeMap(stream pdf.Value) map[uint32]string {
	r := mapReader{codes: map[uint32]string{}}
	r.read(streamBytes(stream, mapBytesMax))
	return r.codes
}

func (r *mapReader) read(program []byte) {
	for _, token := range mapToken.FindAllSubmatch(program, -1) {
		switch word := string(token[0]); {
		case word[0] == '<':
			r.value(hexBytes(token[1]))
		case word == "[":
			r.list = []string{}
		case word == "]":
			r.entry(r.list)
			r.list = nil
		default:
			r.within, r.pending, r.list = word, nil, nil
		}
	}
}

// streamBytes reads at most max bytes of a stream, as far as it is whole.
func streamBytes(stream pdf.Value, max int64) (data []byte) {
	defer func() { _ = recover() }() // the parser panics on filters that it does not know
	r := stream.Reader()
	defer r.Close()
	data, _ = io.ReadAll(io.LimitReader(r, max))
	return data
}

func hexBytes(digits []byte) string {
	digits = bytes.Join(bytes.Fields(digits), nil)
	out := make([]byte, len(digits)/2)
	_, _ = hex.Decode(out, digits[:len(out)*2]) // only digits get here
	return string(out)
}

// mapReader collects the entries of the lists in a map.
type mapReader struct {
	codes   map[uint32]string
	within  string   // the operator that began the list
	pending []string // values of an entry that is not whole
	list    []string // of the array that is open, nil outside
}

func (r *mapReader) value(raw string) {
	if r.list != nil {
		r.list = append(r.list, raw)
		return
	}
	r.pending = append(r.pending, raw)
	switch {
	case r.within == "beginbfchar" && len(r.pending) == 2:
		r.add(codeOf(r.pending[0]), utf16Text(r.pending[1]))
		r.pending = nil
	case r.within == "beginbfrange" && len(r.pending) == 3:
		r.addRange(codeOf(r.pending[0]), codeOf(r.pending[1]), utf16Text(r.pending[2]))
		r.pending = nil
	}
}

// entry ends a range whose texts are listed.
func (r *mapReader) entry(list []string) {
	if r.within == "beginbfrange" && len(r.pending) == 2 {
		for n, raw := range list {
			r.add(codeOf(r.pending[0])+uint32(n), utf16Text(raw))
		}
	}
	r.pending = nil
}

func (r *mapReader) add(code uint32, text string) {
	if len(r.codes) < codesMax {
		r.codes[code] = text
	}
}

// addRange maps the codes first..last to texts that count up from one.
func (r *mapReader) addRange(first, last uint32, text string) {
	runes := []rune(text)
	for code := uint64(first); len(runes) > 0 && code <= uint64(last) &&
		code-uint64(first) < codesMax; code++ {
		r.add(uint32(code), string(runes))
		runes[len(runes)-1]++
	}
}

func codeOf(raw string) uint32 {
	code := uint32(0)
	for _, b := range []byte(raw) {
		code = code<<8 | uint32(b)
	}
	return code
}

// utf16Text decodes big-endian UTF-16; a single byte is itself.
func utf16Text(raw string) string {
	if len(raw) == 1 {
		return string(rune(raw[0]))
	}
	units := make([]uint16, 0, len(raw)/2)
	for i := 0; i+1 < len(raw); i += 2 {
		units = append(units, uint16(raw[i])<<8|uint16(raw[i+1]))
	}
	return string(utf16.Decode(units))
}
