package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pdfcpu/pdfcpu/pkg/api"
	"github.com/pdfcpu/pdfcpu/pkg/pdfcpu/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/simplifiedchinese"

	"agent/command/document/documenttest"
)

// read reads a document in this process.
func read(t *testing.T, data []byte) Text {
	t.Helper()
	var out bytes.Buffer
	w := partWriter{out: json.NewEncoder(&out), left: 8 << 20}
	require.NoError(t, readPDF(data, w.emit))
	return collect(out.Bytes()).text
}

// What viewers open is read, whatever stands around it and however it is encrypted.
func TestPDFsThatViewersOpen(t *testing.T) {
	plain := documenttest.PDF("Anyone can read this.")
	encrypted := func(aes bool, bits int) []byte {
		conf := model.NewAESConfiguration("", "owner", bits)
		if !aes {
			conf = model.NewRC4Configuration("", "owner", bits)
		}
		var out bytes.Buffer
		require.NoError(t, api.Encrypt(bytes.NewReader(plain), &out, conf))
		return out.Bytes()
	}
	api.DisableConfigDir()
	for name, data := range map[string][]byte{
		"plain":                plain,
		"behind a mail's head": append([]byte("Content-Type: application/pdf\r\n\r\n"), plain...),
		"behind blank lines":   append([]byte("\n\n  "), plain...),
		"before rubbish":       append(bytes.Clone(plain), strings.Repeat("\x00", 500)...),
		"version 2.0":          bytes.Replace(plain, []byte("%PDF-1.4\n"), []byte("%PDF-2.0\n"), 1),
		"odd header":           bytes.Replace(plain, []byte("%PDF-1.4\n"), []byte("%PDF-1.4 "), 1),
		"wrong startxref":      bytes.Replace(plain, []byte("startxref\n"), []byte("startxref\n9"), 1),
		"RC4, 128 bits":        encrypted(false, 128),
		"AES, 128 bits":        encrypted(true, 128),
		"AES, 256 bits":        encrypted(true, 256),
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, []string{"Anyone can read this.\n"}, read(t, data).Pages)
		})
	}
	var locked bytes.Buffer
	require.NoError(t, api.Encrypt(bytes.NewReader(plain), &locked, model.NewAESConfiguration("user", "owner", 256)))
	assert.ErrorContains(t, readPDF(locked.Bytes(), func(part) bool { return true }), "only with a password")
}

// The time for a page does not grow with their number.
func TestManyPages(t *testing.T) {
	took := func(n int) time.Duration {
		pages := make([]string, n)
		for i := range pages {
			pages[i] = fmt.Sprintf("This is page number %d of the ledger.", i+1)
		}
		data, least := documenttest.PDF(pages...), time.Hour
		for range 3 { // of a busy machine the best moment counts
			began := time.Now()
			text := read(t, data)
			least = min(least, time.Since(began))
			require.Len(t, text.Pages, n)
			assert.Equal(t, pages[n-2]+"\n", text.Pages[n-2])
		}
		return least
	}
	assert.Less(t, took(2000), 40*took(200), "ten times the pages, not a hundred times the time")
}

// Values of fields and notes are read where they stand, shown or not.
func TestPDFForms(t *testing.T) {
	for name, tt := range map[string]struct{ annotation, want string }{
		"text":            {"/Subtype /Widget /FT /Tx /T (name) /V (Mia)", "[name: Mia]"},
		"of a parent":     {"/Subtype /Widget /T (first) /Parent << /T (person) /FT /Tx /V (Mia) >>", "[person.first: Mia]"},
		"a choice":        {"/Subtype /Widget /FT /Ch /T (town) /V [(Oslo) (Rome)]", "[town: Oslo, Rome]"},
		"a named choice":  {"/Subtype /Widget /FT /Ch /T (land) /V (DE) /Opt [[(FR) (France)] [(DE) (Germany)]]", "[land: Germany]"},
		"named choices":   {"/Subtype /Widget /FT /Ch /T (land) /V [(DE) (FR)] /Opt [[(FR) (France)] [(DE) (Germany)]]", "[land: Germany, France]"},
		"a plain choice":  {"/Subtype /Widget /FT /Ch /T (land) /V (DE) /Opt [(FR) (DE)]", "[land: DE]"},
		"a stamp":         {"/Subtype /Stamp /Contents (APPROVED)", "[note: APPROVED]"},
		"a ticked box":    {"/Subtype /Widget /FT /Btn /T (agree) /V /Yes /AS /Yes", "[agree: Yes]"},
		"an unticked box": {"/Subtype /Widget /FT /Btn /T (agree) /V /Off /AS /Off", ""},
		"another button":  {"/Subtype /Widget /FT /Btn /T (size) /V /Large /AS /Off", ""},
		"a named button":  {"/Subtype /Widget /FT /Btn /T (pay) /V /1 /AS /1 /Opt [(Cash) (Card)]", "[pay: Card]"},
		"a number":        {"/Subtype /Widget /FT /Tx /T (sum) /V 42.5", "[sum: 42.5]"},
		"a signature":     {"/Subtype /Widget /FT /Sig /T (by) /V << /Type /Sig /Name (Mia Muster) >>", "[by: signed Mia Muster]"},
		"what it asks":    {"/Subtype /Widget /FT /Tx /T (f1_01[0]) /TU (First name) /V (Mia)", "[f1_01[0] (First name): Mia]"},
		"asks its name":   {"/Subtype /Widget /FT /Tx /T (name) /TU (name) /V (Mia)", "[name: Mia]"},
		"a password":      {"/Subtype /Widget /FT /Tx /Ff 8192 /T (pin) /V (1234)", ""},
		"empty":           {"/Subtype /Widget /FT /Tx /T (name)", ""},
		"wide":            {"/Subtype /Widget /FT /Tx /T (name) /V <FEFF004D00EF>", "[name: Mï]"},
		"free text":       {"/Subtype /FreeText /Contents (Please call back)", "[note: Please call back]"},
		"a sticky note":   {"/Subtype /Text /Contents (Check this)", "[note: Check this]"},
		"a highlight":     {"/Subtype /Highlight /Contents (why?)", "[note: why?]"},
		"a link":          {"/Subtype /Link /Contents (tip) /A << /S /URI /URI (https://example.org/) >>", "<https://example.org/>"},
	} {
		t.Run(name, func(t *testing.T) {
			data := bytes.Replace(documenttest.PDF("Form"), []byte("/MediaBox"), []byte("/Annots [<< /Type /Annot "+tt.annotation+" >>] /MediaBox"), 1)
			want := "Form\n"
			if tt.want != "" {
				want += tt.want + "\n"
			}
			assert.Equal(t, []string{want}, read(t, data).Pages)
		})
	}
}

// So are values of fields that stand on no page.
func TestPDFFormsWithoutAPage(t *testing.T) {
	form := " /AcroForm << /Fields [<< /FT /Tx /T (hidden) /V (Oslo) >> << /FT /Tx /T (b) /V (Rome) >>] >>"
	data := bytes.Replace(documenttest.PDF("Form"), []byte("/Type /Catalog"), []byte("/Type /Catalog"+form), 1)
	assert.Equal(t, "values of its form that stand on no page: hidden: Oslo, b: Rome", read(t, data).Note)
}

// Where a font does not tell what its codes mean, that is said.
func TestPDFLettersWithoutMeaning(t *testing.T) {
	const standard = "/Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding"
	for name, tt := range map[string]struct{ font, note string }{
		"standard":            {standard, ""},
		"known names":         {"/Subtype /Type1 /BaseFont /ABCDEF+X /Encoding << /Differences [65 /B /C /space /one] >>", ""},
		"names of numbers":    {"/Subtype /Type1 /BaseFont /ABCDEF+X /Encoding << /Differences [65 /g1 /g2 /g3] >>", "3 characters of it guessed"},
		"an order of its own": {"/Subtype /TrueType /BaseFont /ABCDEF+X", "3 characters of it guessed"},
		"symbols":             {"/Subtype /Type1 /BaseFont /X /FontDescriptor << /Flags 4 >>", "3 characters of it guessed"},
		"drawn":               {"/Subtype /Type3 /Name /X", "3 characters of it guessed"},
		"of two bytes":        {"/Subtype /Type0 /BaseFont /X /Encoding /Identity-H", "1 character left out"},
	} {
		t.Run(name, func(t *testing.T) {
			data := documenttest.PDF("ABC")
			require.Contains(t, string(data), standard)
			text := read(t, bytes.Replace(data, []byte(standard), []byte(tt.font), 1))
			if tt.note == "" {
				assert.Empty(t, text.Note)
			} else {
				assert.Contains(t, text.Note, tt.note)
			}
		})
	}
}

// A page is read in the character set that it has, late or wrong as it may say so, and
// a guess is told.
func TestCharacterSets(t *testing.T) {
	gb, err := simplifiedchinese.GBK.NewEncoder().String("图书馆")
	require.NoError(t, err)
	russian, err := charmap.Windows1251.NewEncoder().String("Поезд")
	require.NoError(t, err)
	jis, err := japanese.ISO2022JP.NewEncoder().String("図書館")
	require.NoError(t, err)
	late := "<html><head><!--" + strings.Repeat("x", 1500) + "-->"
	for name, tt := range map[string]struct{ page, contentType, want, note string }{
		"late":                    {late + "<meta charset=gb2312></head><body>" + gb, "", "图书馆\n", ""},
		"late, the old way":       {late + `<meta http-equiv="Content-Type" content="text/html; charset=windows-1251"><body>` + russian, "", "Поезд\n", ""},
		"declared":                {"<meta charset=windows-1251><p>" + russian, "", "Поезд\n", ""},
		"by the server":           {"<p>" + russian, "text/html; charset=windows-1251", "Поезд\n", ""},
		"of XML":                  {"<?xml version='1.0' encoding='windows-1251'?><html><p>" + russian, "", "Поезд\n", ""},
		"none, and UTF-8":         {late + "<body>häuser", "", "häuser\n", ""},
		"wrong, and UTF-8":        {"<meta charset=iso-8859-1><p>häuser 图", "", "häuser 图\n", "though it says iso-8859-1"},
		"none":                    {"<p>caf\xe9", "", "café\n", "which is a guess"},
		"UTF-8 with one bad byte": {"<meta charset=utf-8><p>häuser \xff", "", "häuser \uFFFD\n", "1 byte"},
		"seven bits":              {"<meta charset=iso-2022-jp><p>" + jis, "", "図書館\n", ""},
		"unknown name":            {"<meta charset=klingon><p>caf\xe9", "", "café\n", "which is a guess"},
		"does not fit":            {"<meta charset=gb2312><p>" + gb + "\xff\xff.", "", "", "no meaning"},
	} {
		t.Run(name, func(t *testing.T) {
			_, text, note, err := convertHTML([]byte(tt.page), tt.contentType, "", false)
			require.NoError(t, err)
			if tt.want != "" {
				assert.Equal(t, tt.want, text)
			}
			if tt.note == "" {
				assert.Empty(t, note)
			} else {
				assert.Contains(t, note, tt.note)
			}
		})
	}
}

// Lines are told apart in whichever direction they run.
func TestPDFTurnedText(t *testing.T) {
	const at = "BT /F1 12 Tf MATRIX Tm (LINE) Tj ET "
	for name, matrices := range map[string][3]string{
		"upright":     {"1 0 0 1 20 200", "1 0 0 1 20 180", "1 0 0 1 70 180"},
		"to the top":  {"0 1 -1 0 100 20", "0 1 -1 0 120 20", "0 1 -1 0 120 70"},
		"to the foot": {"0 -1 1 0 120 200", "0 -1 1 0 100 200", "0 -1 1 0 100 150"},
		"to the left": {"-1 0 0 -1 280 100", "-1 0 0 -1 280 120", "-1 0 0 -1 230 120"},
		"slanted":     {"1 .2 -.2 1 20 200", "1 .2 -.2 1 20 180", "1 .2 -.2 1 68 182"},
		"scaled":      {"0 2 -2 0 100 20", "0 2 -2 0 140 20", "0 2 -2 0 140 120"},
	} {
		var drawn strings.Builder
		for i, m := range matrices {
			drawn.WriteString(strings.NewReplacer("MATRIX", m, "LINE", []string{"First", "Second", "more"}[i]).Replace(at))
		}
		assert.Equal(t, []string{"First\nSecond more\n"}, read(t, documenttest.PDFOf([]byte(drawn.String()))).Pages, name)
	}
}
