package gguf

import (
	"fmt"
	"math"
)

// Has reports whether the file has the key.
func (f *File) Has(key string) bool { return f.entry(key) != nil }

// Type is the type of a key's value and, for an array, of its elements and
// their number; ok is false when the key is absent.
func (f *File) Type(key string) (typ, elem ValueType, n uint64, ok bool) {
	e := f.entry(key)
	if e == nil {
		return 0, 0, 0, false
	}
	return e.typ, e.elem, e.n, true
}

// String is the text of key; false when absent, not a text, or over 1 MiB.
func (f *File) String(key string) (string, bool) {
	e := f.entry(key)
	if e == nil || e.typ != String || !e.kept {
		return "", false
	}
	return e.text, true
}

// Uint is the whole number of key, of any integer type; false when absent,
// negative, or of another type.
func (f *File) Uint(key string) (uint64, bool) {
	e := f.entry(key)
	if e == nil {
		return 0, false
	}
	v, ok := e.int()
	if !ok || (v < 0 && e.typ != Uint64) {
		return 0, false
	}
	return uint64(v), true
}

// Bool is the truth value of key; false, false when absent or not a bool.
func (f *File) Bool(key string) (value, ok bool) {
	e := f.entry(key)
	if e == nil || e.typ != Bool {
		return false, false
	}
	return e.bits == 1, true
}

// Strings reads an array of strings; nil when the key is absent.
func (f *File) Strings(key string) ([]string, error) {
	e, d, err := f.array(key, String)
	if e == nil || err != nil {
		return nil, err
	}
	out := make([]string, 0, e.n) // n*8 bytes were seen to exist
	for i := uint64(0); i < e.n && d.fault == nil; i++ {
		out = append(out, d.text(stringBytesMax, key))
	}
	return out, f.ended(d)
}

// Floats reads an array of numbers; nil when the key is absent.
func (f *File) Floats(key string) ([]float32, error) {
	var out []float32
	err := f.numbers(key, func(v entry) bool {
		x, ok := v.float()
		out = append(out, float32(x))
		return ok
	})
	return out, err
}

// Ints reads an array of whole numbers or bools; nil when the key is absent.
func (f *File) Ints(key string) ([]int64, error) {
	var out []int64
	err := f.numbers(key, func(v entry) bool {
		x, ok := v.int()
		if v.typ == Bool {
			x, ok = int64(v.bits), true
		}
		out = append(out, x)
		return ok
	})
	return out, err
}

// numbers hands each element of a numeric array to add.
func (f *File) numbers(key string, add func(entry) bool) error {
	e := f.entry(key)
	if e == nil {
		return nil
	}
	if e.typ != Array || e.elem == String {
		return f.wrongType(e, "an array of numbers")
	}
	d := newDecoder(f.r, e.offset, f.Size)
	for i := uint64(0); i < e.n && d.fault == nil; i++ {
		if !add(entry{typ: e.elem, bits: d.scalar(e.elem, key)}) {
			return f.wrongType(e, "an array of another type")
		}
	}
	return f.ended(d)
}

// array finds an array of the given element type and a decoder at its start.
func (f *File) array(key string, elem ValueType) (*entry, *decoder, error) {
	e := f.entry(key)
	if e == nil {
		return nil, nil, nil
	}
	if e.typ != Array || e.elem != elem {
		return nil, nil, f.wrongType(e, "an array of "+elem.String())
	}
	return e, newDecoder(f.r, e.offset, f.Size), nil
}

func (f *File) wrongType(e *entry, want string) error {
	return faultf(adviceReconvert, "%s must be %s, and is %s", e.key, want, e.display()).in(f.Path)
}

// ended is the decoder's fault as an error.
func (f *File) ended(d *decoder) error {
	if d.fault == nil {
		return nil
	}
	return d.fault.in(f.Path)
}

func (f *File) entry(key string) *entry {
	i, ok := f.index[key]
	if !ok {
		return nil
	}
	return &f.entries[i]
}

// int is the value of an integer type, sign-extended; an Uint64 beyond an int64
// comes out negative.
func (e *entry) int() (int64, bool) {
	switch e.typ {
	case Uint8, Uint16, Uint32, Uint64, Int64:
		return int64(e.bits), true
	case Int8:
		return int64(int8(e.bits)), true
	case Int16:
		return int64(int16(e.bits)), true
	case Int32:
		return int64(int32(e.bits)), true
	}
	return 0, false
}

func (e *entry) float() (float64, bool) {
	switch e.typ {
	case Float32:
		return float64(math.Float32frombits(uint32(e.bits))), true
	case Float64:
		return math.Float64frombits(e.bits), true
	case Uint64:
		return float64(e.bits), true
	}
	v, ok := e.int()
	return float64(v), ok
}

// display shows a value with its type.
func (e *entry) display() string {
	switch {
	case e.typ == Array:
		return fmt.Sprintf("array of %d %v", e.n, e.elem)
	case e.typ == String && !e.kept:
		return fmt.Sprintf("string of %d bytes", e.n)
	case e.typ == String && len(e.text) > 200:
		return fmt.Sprintf("%.200q… (%d bytes)", e.text, len(e.text))
	case e.typ == String:
		return fmt.Sprintf("%q", e.text)
	case e.typ == Bool:
		return fmt.Sprint(e.bits == 1)
	case e.typ == Uint64:
		return fmt.Sprintf("%d", e.bits)
	case e.typ.isInteger():
		v, _ := e.int()
		return fmt.Sprintf("%d", v)
	}
	v, _ := e.float()
	return fmt.Sprintf("%g", v)
}
