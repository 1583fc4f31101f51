package document

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/ledongthuc/pdf"
	"github.com/pdfcpu/pdfcpu/pkg/api"
	"github.com/pdfcpu/pdfcpu/pkg/pdfcpu"
	"github.com/pdfcpu/pdfcpu/pkg/pdfcpu/model"
)

// errLocked is a document that only opens with a password.
var errLocked = errors.New("it is encrypted, and opens only with a password")

// openPDF opens a PDF as viewers do: whatever stands around it, in any version, with
// every encryption that needs no password. What the reader of its objects does not
// take is written anew, plainly, by a library that takes more.
func openPDF(data []byte) (*pdf.Reader, error) {
	bare := unwrapPDF(data)
	r, err := pdf.NewReader(bytes.NewReader(bare), int64(len(bare)))
	if err == nil && r.NumPage() > 0 &&
		(r.NumPage() <= packedPagesMax || !bytes.Contains(bare, []byte("/ObjStm"))) {
		return r, nil
	}
	// offsets count from its mark or from the start of the file
	for _, form := range [][]byte{bare, data} {
		plain, rewriteErr := rewritePDF(form)
		if errors.Is(rewriteErr, pdfcpu.ErrWrongPassword) {
			return nil, errLocked
		}
		if rewriteErr != nil {
			continue
		}
		if again, err := pdf.NewReader(bytes.NewReader(plain), int64(len(plain))); err == nil &&
			again.NumPage() > 0 {
			return again, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("pdf: %w", err)
	}
	return r, nil
}

// packedPagesMax is from how many pages on a document whose objects are packed into
// streams is written anew: the reader unpacks a stream for each of its objects.
const packedPagesMax = 50

const pdfMark = "%PDF-"

// unwrapPDF takes off what stands before and after a PDF, and gives it the header of a
// version that the reader knows.
func unwrapPDF(data []byte) []byte {
	if at := bytes.Index(data[:min(len(data), sniffBytes)], []byte(pdfMark)); at >= 0 {
		data = data[at:]
	}
	if end := bytes.LastIndex(data, []byte("%%EOF")); end >= 0 {
		data = data[:end+len("%%EOF")]
	}
	const header = "%PDF-1.7\n"
	if len(data) > len(header) {
		data = append([]byte(header), data[len(header):]...)
	}
	return data
}

// rewritePDF writes a document without encryption and without packed objects.
func rewritePDF(data []byte) ([]byte, error) {
	api.DisableConfigDir()
	var out bytes.Buffer
	var err error
	// the one takes what is encrypted only
	for _, as := range []model.CommandMode{model.DECRYPT, model.OPTIMIZE} {
		conf := model.NewDefaultConfiguration()
		conf.Cmd, conf.ValidationMode = as, model.ValidationRelaxed
		conf.WriteObjectStream, conf.WriteXRefStream = false, false
		var ctx *model.Context
		if ctx, err = pdfcpu.Read(bytes.NewReader(data), conf); err == nil {
			err = api.WriteContext(ctx, &out)
			return out.Bytes(), err
		}
		if errors.Is(err, pdfcpu.ErrWrongPassword) {
			break
		}
	}
	return nil, err
}
