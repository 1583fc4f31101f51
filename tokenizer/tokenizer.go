// Package tokenizer counts and encodes text exactly as a model's own
// tokenizer.json does, through the Hugging Face tokenizers library, and builds a
// tokenizer.json from the vocabulary of a GGUF file when a repository has none.
//
// Use [Open] or [FromBytes], then [Tokenizer.Encode] and [Tokenizer.Count].
// [FromGGUF] makes the bytes for FromBytes. [Compare] finds the first text on
// which two tokenizers differ; [Probes] is a set of texts that tells them apart.
//
// Promises: a count is exact or an error, never silently short: text after a
// NUL byte counts, truncation and padding settings of the file are not applied, a
// failure inside the library is an error. Text that looks like a special
// token is ordinary text unless [Options].ParseSpecial is set. All methods are
// safe for concurrent use.
//
// The library is linked when cgo is on (see scripts/build-tokenizers.sh);
// without cgo, opening a tokenizer is an error that says what to do, and
// FromGGUF, Probes and Compare work all the same.
package tokenizer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// fileBytesMax bounds a tokenizer.json; the largest published are under 40 MB.
const fileBytesMax = 256 << 20

// Options say how a text is encoded. The zero value encodes plain text.
type Options struct {
	// AddSpecial adds what the tokenizer puts around a whole text, such as a
	// beginning-of-sequence token. Leave it off for text in the middle.
	AddSpecial bool
	// ParseSpecial lets the text of a special token, such as <|im_start|>, become
	// that token. Only for text that no user or model wrote.
	ParseSpecial bool
}

// Tokenizer is an open tokenizer.json. The zero value is not usable.
type Tokenizer struct {
	mu       sync.RWMutex // held for reading while encoding, for writing while opening or closing
	def      definition
	variants map[variant]native
	closed   bool
}

// variant is a way of loading the same definition; each is a separate object of
// the library, made when first needed.
type variant struct {
	parseSpecial bool
	escapeNUL    bool
}

// native is one loaded tokenizer of the library.
type native interface {
	encode(text string, addSpecial bool) []uint32
	decode(ids []uint32, skipSpecial bool) string
	vocabSize() int
	close()
}

// live counts the native objects that exist, for tests.
var live atomic.Int64

// ErrClosed is returned by a Tokenizer after Close.
var ErrClosed = errors.New("tokenizer is closed")

// Error is a tokenizer that can't be opened or a text that can't be encoded.
type Error struct {
	Op     string
	What   string
	Advice string
}

func (e *Error) Error() string { return e.Op + ": " + e.What }

// Hint says what a person can do about it; empty when there is no advice.
func (e *Error) Hint() string { return e.Advice }

// InvalidUTF8Error is a text that is not UTF-8. No token stands for it.
type InvalidUTF8Error struct {
	Offset int // of the first bad byte
	Byte   byte
}

func (e *InvalidUTF8Error) Error() string {
	return fmt.Sprintf("encode text: byte %d (0x%02x) is not valid UTF-8", e.Offset, e.Byte)
}

// Hint says what a person can do about it.
func (e *InvalidUTF8Error) Hint() string { return "convert the text to UTF-8 first" }

// Open loads a tokenizer.json file. The caller closes it.
func Open(path string) (*Tokenizer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open tokenizer: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("open tokenizer: %w", err)
	}
	t, err := FromBytes(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// FromBytes loads the contents of a tokenizer.json. It keeps data, which must
// not be changed afterwards.
func FromBytes(data []byte) (*Tokenizer, error) {
	def, err := parseDefinition(data)
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{def: def, variants: make(map[variant]native)}
	if err := t.load(variant{}); err != nil {
		return nil, err
	}
	return t, nil
}

// Close frees the tokenizer after the calls in flight. It may be called more
// than once, and on nil.
func (t *Tokenizer) Close() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.variants {
		n.close()
		live.Add(-1)
	}
	t.variants, t.closed = nil, true
	return nil
}

// VocabSize is the number of ids, added tokens included; 0 after Close.
func (t *Tokenizer) VocabSize() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if n := t.variants[variant{}]; n != nil {
		return n.vocabSize()
	}
	return 0
}

// Encode returns the ids of text.
func (t *Tokenizer) Encode(text string, o Options) ([]int, error) {
	ids, err := t.encode(text, o)
	if err != nil {
		return nil, err
	}
	out := make([]int, len(ids))
	for i, id := range ids {
		out[i] = int(id)
	}
	return out, nil
}

// Count is the number of ids of text.
func (t *Tokenizer) Count(text string, o Options) (int, error) {
	ids, err := t.encode(text, o)
	return len(ids), err
}

func (t *Tokenizer) encode(text string, o Options) ([]uint32, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	pieces := t.def.pieces(text)
	if len(pieces) == 1 {
		return t.encodePiece(text, o)
	}
	before, after, err := t.around(o)
	if err != nil {
		return nil, err
	}
	ids := slices.Clone(before)
	for _, piece := range pieces {
		more, err := t.encodePiece(piece, Options{ParseSpecial: o.ParseSpecial})
		if err != nil {
			return nil, err
		}
		ids = append(ids, more...)
	}
	return append(ids, after...), nil
}

// around finds what the tokenizer puts before and after a text.
func (t *Tokenizer) around(o Options) (before, after []uint32, err error) {
	if !o.AddSpecial {
		return nil, nil, nil
	}
	const word = "a"
	bare, err := t.encodePiece(word, Options{})
	if err != nil {
		return nil, nil, err
	}
	whole, err := t.encodePiece(word, o)
	if err != nil {
		return nil, nil, err
	}
	for i := range whole {
		if slices.Equal(whole[i:min(i+len(bare), len(whole))], bare) {
			return whole[:i], whole[i+len(bare):], nil
		}
	}
	return nil, nil, &Error{Op: "encode text",
		What: "the tokenizer changes a text when it adds special tokens"}
}

// encodePiece hands text to the library in one call.
func (t *Tokenizer) encodePiece(text string, o Options) ([]uint32, error) {
	if len(text) > t.def.pieceMax {
		return nil, &Error{Op: "encode text",
			What: fmt.Sprintf("a stretch of %d bytes has no place where it may be cut; %d are allowed",
				len(text), t.def.pieceMax),
			Advice: "encode the text in pieces, or break it into lines"}
	}
	v := variant{parseSpecial: o.ParseSpecial, escapeNUL: strings.IndexByte(text, 0) >= 0}
	if v.escapeNUL {
		text = escapeNUL.Replace(text)
	}
	var ids []uint32
	err := t.with(v, func(n native) {
		ids = n.encode(text, o.AddSpecial)
		if len(ids) == 0 && text != "" && failed(n, text) {
			ids = nil
		} else if ids == nil {
			ids = []uint32{}
		}
	})
	if err == nil && ids == nil {
		err = &Error{Op: "encode text", What: fmt.Sprintf("the tokenizer failed on %d bytes", len(text)),
			Advice: "it has no token for a word of the text, and none for unknown words"}
	}
	return ids, err
}

// failed tells an error, which the library reports as no ids, from a text whose
// characters have no tokens and are left out (as some control characters are by
// many models): only the latter still works as part of a longer text.
func failed(n native, text string) bool { return len(n.encode("a "+text, false)) == 0 }

// checkText refuses bytes that the library would replace in silence.
func checkText(text string) error {
	if utf8.ValidString(text) {
		return nil
	}
	for i, r := range text {
		if _, n := utf8.DecodeRuneInString(text[i:]); r == utf8.RuneError && n == 1 {
			return &InvalidUTF8Error{Offset: i, Byte: text[i]}
		}
	}
	return nil
}

// Decode returns the text of ids; skipSpecial leaves out special tokens. Bytes
// that are no whole character come out as U+FFFD.
func (t *Tokenizer) Decode(ids []int, skipSpecial bool) (string, error) {
	size := t.VocabSize()
	raw := make([]uint32, len(ids))
	for i, id := range ids {
		if id < 0 || id >= size {
			return "", &Error{Op: "decode tokens",
				What: fmt.Sprintf("id %d is not in the vocabulary of %d", id, size)}
		}
		raw[i] = uint32(id)
	}
	return t.decode(raw, skipSpecial)
}

// decode works around the binding's empty result for a text with a NUL in it:
// an empty text is only believed after the copy of the tokenizer that escapes
// NULs gave none either.
func (t *Tokenizer) decode(ids []uint32, skipSpecial bool) (string, error) {
	if len(ids) == 0 {
		return "", nil
	}
	for _, skip := range []bool{skipSpecial, false} {
		text, err := t.decodeWith(variant{}, ids, skip)
		if err != nil || (text != "" && skip == skipSpecial) {
			return text, err
		}
		if text != "" {
			return "", nil // all of it is special
		}
	}
	text, err := t.decodeWith(variant{escapeNUL: true}, ids, skipSpecial)
	return unescapeNUL.Replace(text), err
}

func (t *Tokenizer) decodeWith(v variant, ids []uint32, skipSpecial bool) (text string, err error) {
	err = t.with(v, func(n native) { text = n.decode(ids, skipSpecial) })
	return text, err
}

// with runs f on the variant, which cannot be closed meanwhile.
func (t *Tokenizer) with(v variant, f func(native)) error {
	for {
		t.mu.RLock()
		n, closed := t.variants[v], t.closed
		if n != nil {
			f(n)
		}
		t.mu.RUnlock()
		switch {
		case closed:
			return ErrClosed
		case n != nil:
			return nil
		}
		if err := t.load(v); err != nil {
			return err
		}
	}
}

// load makes a variant unless another call already has.
func (t *Tokenizer) load(v variant) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return ErrClosed
	case t.variants[v] != nil:
		return nil
	}
	data, err := t.def.bytes(v.escapeNUL)
	if err != nil {
		return err
	}
	n, err := openNative(data, v.parseSpecial)
	if err != nil {
		return err
	}
	live.Add(1)
	t.variants[v] = n
	return nil
}
