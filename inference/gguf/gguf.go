// Package gguf reads the header of a GGUF model file and checks it before
// native code ever sees the file.
//
// [Check] is the pre-check: it reads header, metadata and tensor table (of every
// part of a split model), compares them with the file's size and with what
// llama.cpp can load, and returns an [Info] or an [Error] that says what is
// wrong, where, and what to do. [Open] gives access to the metadata itself.
//
// Promises: no input makes it panic; memory stays in proportion to what the file
// really holds, whatever its lengths claim (arrays are read only when asked
// for); nothing is written; tensor data is never read.
//
// The format is described by ggml's docs/gguf.md; where that and llama.cpp
// v0.5.0 (ggml/src/gguf.cpp) differ, llama.cpp's reading is the one checked,
// since it is the one that will load the file.
package gguf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"strings"
)

// Limits on what a header may claim. llama.cpp compares each key and each
// tensor name with all before it, so a large count is also a slow load.
const (
	kvMax            = 1 << 14 // metadata pairs; models have under 200
	tensorsMax       = 1 << 17 // models have under 10,000
	keyBytesMax      = 1<<16 - 1
	nameBytesMax     = 63 // GGML_MAX_NAME less its NUL
	stringBytesMax   = 1 << 30
	arrayMax         = 1 << 30 // elements
	dimsMax          = 4       // GGML_MAX_DIMS
	keptStringMax    = 1 << 20 // longer text values are passed over
	keptStringsMax   = 1 << 24 // bytes of text values kept in all
	alignmentDefault = 32
)

// File is an open GGUF file whose structure has been checked. Metadata arrays
// are read from the file when they are asked for, so keep it open as long as
// they may be. Safe for concurrent use.
type File struct {
	Path      string
	Size      int64 // bytes
	Version   uint32
	Alignment int64 // bytes
	Tensors   []Tensor

	r          *os.File
	entries    []entry
	index      map[string]int
	dataOffset int64
	keptBytes  uint64
}

// Tensor is one row of the tensor table.
type Tensor struct {
	Name   string
	Type   TensorType
	Shape  []uint64 // elements per dimension, fastest first
	Offset int64    // bytes from the start of the tensor data
	Bytes  int64
}

// Elements is the number of weights.
func (t Tensor) Elements() uint64 {
	n := uint64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// entry is one metadata pair. Arrays, and strings too long to keep, stay in the
// file at offset.
type entry struct {
	key    string
	typ    ValueType
	elem   ValueType // of an array
	n      uint64    // elements of an array, bytes of a string
	bits   uint64    // a scalar, as read
	text   string
	kept   bool // text holds the string
	offset int64
}

// Open reads the header of a GGUF file and checks its structure. The caller
// closes the file. For the meaning of its contents, use [Check].
func Open(path string) (*File, error) {
	r, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	f := &File{Path: path, Size: size, r: r}
	if fault := f.parse(); fault != nil {
		r.Close()
		return nil, fault.in(path)
	}
	return f, nil
}

// Close releases the file. It may be called more than once, and on nil.
func (f *File) Close() error {
	if f == nil || f.r == nil {
		return nil
	}
	if err := f.r.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close %s: %w", f.Path, err)
	}
	return nil
}

// openRegular opens a file that can be read at any place, and no other thing.
func openRegular(path string) (*os.File, int64, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, 0, openError(path, err)
	}
	if !st.Mode().IsRegular() {
		what, advice := "not a regular file", "copy the model into a file first"
		if st.IsDir() {
			what, advice = "it is a directory, not a model file", "name the .gguf file inside it"
		}
		return nil, 0, &Error{Path: path, Offset: -1, What: what, Advice: advice}
	}
	r, err := os.Open(path)
	if err != nil {
		return nil, 0, openError(path, err)
	}
	if st, err = r.Stat(); err != nil {
		r.Close()
		return nil, 0, openError(path, err)
	}
	return r, st.Size(), nil
}

// openError keeps the cause, so that errors.Is(err, fs.ErrNotExist) holds.
func openError(path string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Errorf("open %s: %w", path, err)
}

// parse reads everything before the tensor data.
func (f *File) parse() *fault {
	head := make([]byte, min(sniffBytes, f.Size))
	if _, err := f.r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return faultf("check the disk", "reading the start of the file: %v", err)
	}
	if fault := sniff(head, f.Size); fault != nil {
		return fault
	}
	d := newDecoder(f.r, 4, f.Size)
	tensors, kvs := f.header(d)
	f.metadata(d, kvs)
	f.align(d)
	f.tensorTable(d, tensors)
	f.layout(d)
	return d.fault
}

// header reads version and counts.
func (f *File) header(d *decoder) (tensors, kvs uint64) {
	f.Version = d.u32("the version")
	switch v := f.Version; {
	case d.fault != nil:
	case v == 1:
		d.fail(adviceReconvert, "GGUF version 1 is no longer supported")
	case v != 0 && v&0xffff == 0:
		d.fail("get the little-endian file of this model",
			"big-endian GGUF files are not supported (version reads as %d, byte-swapped %d)", v,
			bits.ReverseBytes32(v))
	case v < 2 || v > 3:
		d.fail(adviceNotLoaded, "GGUF version %d is not supported (2 and 3 are)", v)
	}
	tensors = d.count("the tensor count", tensorsMax, 8+4+4+8)
	kvs = d.count("the metadata count", kvMax, 8+1+4+1)
	return tensors, kvs
}

// count reads how many things follow, each of at least minBytes.
func (d *decoder) count(what string, limit, minBytes uint64) uint64 {
	n := d.u64(what)
	switch {
	case d.fault != nil:
	case n > limit:
		d.fail(adviceDamaged, "%s is %d, more than the %d allowed", what, n, limit)
	case n*minBytes > d.left():
		d.fail(adviceDamaged, "%s is %d, but only %d bytes are left", what, n, d.left())
	}
	if d.fault != nil {
		return 0
	}
	return n
}

func (f *File) metadata(d *decoder, n uint64) {
	f.index = make(map[string]int)
	for i := uint64(0); i < n && d.fault == nil; i++ {
		e := f.readEntry(d, i)
		if d.fault != nil {
			return
		}
		if _, dup := f.index[e.key]; dup {
			d.fail(adviceReconvert, "metadata key %q occurs twice", e.key)
			return
		}
		f.index[e.key] = len(f.entries)
		f.entries = append(f.entries, e)
	}
}

func (f *File) readEntry(d *decoder, i uint64) entry {
	e := entry{key: d.text(keyBytesMax, fmt.Sprintf("metadata key %d", i))}
	if d.fault == nil && (e.key == "" || strings.ContainsRune(e.key, 0)) {
		d.fail(adviceDamaged, "metadata key %d is %q", i, e.key)
	}
	what := "the value of " + quote(e.key)
	e.typ = ValueType(d.u32(what))
	switch {
	case d.fault != nil:
	case !e.typ.known():
		d.fail(adviceDamaged, "%s has an unknown %v", what, e.typ)
	case e.typ == Array:
		f.readArray(d, &e, what)
	case e.typ == String:
		f.readString(d, &e, what)
	default:
		e.bits = d.scalar(e.typ, what)
	}
	return e
}

// scalar reads a number or a boolean as its bits.
func (d *decoder) scalar(t ValueType, what string) uint64 {
	switch t.size() {
	case 1:
		v := d.u8(what)
		if t == Bool && v > 1 {
			d.fail(adviceDamaged, "%s is a bool with the byte %d", what, v)
		}
		return uint64(v)
	case 2:
		return uint64(d.u16(what))
	case 4:
		return uint64(d.u32(what))
	}
	return d.u64(what)
}

// readString keeps a text value of ordinary length and passes over longer ones.
func (f *File) readString(d *decoder, e *entry, what string) {
	e.offset = d.off + 8
	n := d.length(stringBytesMax, what)
	e.n = n
	if d.fault != nil {
		return
	}
	if n > keptStringMax || f.keptBytes+n > keptStringsMax {
		d.skip(n, what)
		return
	}
	f.keptBytes += n
	e.text, e.kept = d.bytes(n, what), true
}

// readArray checks an array's elements and remembers where they are.
func (f *File) readArray(d *decoder, e *entry, what string) {
	e.elem = ValueType(d.u32(what))
	e.n = d.u64(what)
	e.offset = d.off
	switch {
	case d.fault != nil:
	case e.elem == Array:
		d.fail(adviceReconvert, "%s is an array of arrays, which llama.cpp does not read", what)
	case !e.elem.known():
		d.fail(adviceDamaged, "%s is an array of an unknown %v", what, e.elem)
	case e.n > arrayMax:
		d.fail(adviceDamaged, "%s has %d elements, more than the %d allowed", what, e.n, arrayMax)
	case e.elem == String:
		d.skipStrings(e.n, what)
	case e.elem == Bool:
		d.skipBools(e.n, what)
	default:
		d.skip(e.n*e.elem.size(), what)
	}
}

func (d *decoder) skipStrings(n uint64, what string) {
	if !d.has(n*8, what) {
		return
	}
	for i := uint64(0); i < n && d.fault == nil; i++ {
		d.skip(d.length(stringBytesMax, what), what)
	}
}

func (d *decoder) skipBools(n uint64, what string) {
	if !d.has(n, what) {
		return
	}
	for i := uint64(0); i < n && d.fault == nil; i++ {
		d.scalar(Bool, what)
	}
}

// align takes the alignment of the tensor data from the metadata.
func (f *File) align(d *decoder) {
	f.Alignment = alignmentDefault
	e := f.entry("general.alignment")
	if d.fault != nil || e == nil {
		return
	}
	if e.typ != Uint32 || bits.OnesCount64(e.bits) != 1 {
		d.fail(adviceDamaged, "general.alignment must be a power of two of type uint32, and is %s",
			e.display())
		return
	}
	f.Alignment = int64(e.bits)
}

func (f *File) tensorTable(d *decoder, n uint64) {
	seen := make(map[string]bool)
	for i := uint64(0); i < n && d.fault == nil; i++ {
		t := d.tensor(i)
		if d.fault == nil && seen[t.Name] {
			d.fail(adviceReconvert, "tensor %q occurs twice", t.Name)
		}
		seen[t.Name] = true
		f.Tensors = append(f.Tensors, t)
	}
}

func (d *decoder) tensor(i uint64) Tensor {
	t := Tensor{Name: d.text(nameBytesMax, fmt.Sprintf("the name of tensor %d", i))}
	if d.fault == nil && (t.Name == "" || strings.ContainsRune(t.Name, 0)) {
		d.fail(adviceDamaged, "the name of tensor %d is %q", i, t.Name)
	}
	what := "tensor " + quote(t.Name)
	n := d.u32(what)
	if d.fault == nil && n > dimsMax {
		d.fail(adviceDamaged, "%s has %d dimensions, more than %d", what, n, dimsMax)
	}
	for j := uint32(0); j < n && d.fault == nil; j++ {
		t.Shape = append(t.Shape, d.u64(what))
	}
	t.Type = TensorType(d.u32(what))
	offset := d.u64(what)
	if d.fault != nil {
		return t
	}
	if offset > math.MaxInt64 {
		d.fail(adviceDamaged, "%s lies at offset %d", what, offset)
	}
	t.Offset = int64(offset)
	if fault := t.measure(); fault != nil {
		d.fail(fault.advice, "%s", fault.what)
	}
	return t
}

// measure checks type and shape, and computes the tensor's bytes.
func (t *Tensor) measure() *fault {
	switch {
	case t.Type.removed():
		return faultf(adviceReconvert, "tensor %q has type %d, which llama.cpp no longer reads", t.Name,
			uint32(t.Type))
	case !t.Type.known():
		return faultf(adviceNotLoaded, "tensor %q has unknown type %d", t.Name, uint32(t.Type))
	}
	row := uint64(1)
	if len(t.Shape) > 0 {
		row = t.Shape[0]
	}
	info := tensorTypes[t.Type]
	if row%info.block != 0 {
		return faultf(adviceDamaged, "tensor %q has rows of %d elements, not a multiple of the %d of type %v",
			t.Name, row, info.block, t.Type)
	}
	elements, ok := product(t.Shape)
	if !ok {
		return faultf(adviceDamaged, "tensor %q has an impossible shape %v", t.Name, t.Shape)
	}
	hi, n := bits.Mul64(elements/info.block, info.blockBytes)
	if hi != 0 || n > math.MaxInt64 {
		return faultf(adviceDamaged, "tensor %q with shape %v is too large", t.Name, t.Shape)
	}
	t.Bytes = int64(n)
	return nil
}

// product multiplies dimensions; false when an element count that fits an int64
// does not come out.
func product(dims []uint64) (uint64, bool) {
	n := uint64(1)
	for _, d := range dims {
		hi, lo := bits.Mul64(n, d)
		if hi != 0 || lo >= math.MaxInt64 || d >= math.MaxInt64 {
			return 0, false
		}
		n = lo
	}
	return n, true
}

// layout checks that the tensors lie one after the other, each padded to the
// alignment, as llama.cpp requires, and that the file holds them all.
func (f *File) layout(d *decoder) {
	if d.fault != nil {
		return
	}
	f.dataOffset = d.off
	if len(f.Tensors) == 0 {
		return
	}
	start, ok := pad(d.off, f.Alignment)
	if !ok || start > f.Size {
		d.fail(adviceDamaged, "the file ends before its tensor data, which begins at byte %d", start)
		return
	}
	f.dataOffset = start
	next := int64(0)
	for _, t := range f.Tensors {
		if t.Offset != next {
			d.fail(adviceDamaged,
				"tensor %q lies at offset %d of the tensor data, not at %d where the one before it ends",
				t.Name,
				t.Offset, next)
			return
		}
		if t.Bytes > f.Size-start-next {
			d.fail(adviceDamaged, "the file ends inside tensor %q: it has %d bytes and needs at least %d",
				t.Name, f.Size, need(start, next, t.Bytes))
			return
		}
		// The padding after the last tensor may be missing from the file.
		if next, ok = pad(next+t.Bytes, f.Alignment); !ok {
			d.fail(adviceDamaged, "tensor %q ends beyond any file", t.Name)
			return
		}
	}
}

// need adds sizes that may overflow.
func need(parts ...int64) uint64 {
	n := uint64(0)
	for _, p := range parts {
		n += uint64(p)
	}
	return n
}

// pad rounds n up to a multiple of the alignment, a power of two.
func pad(n, alignment int64) (int64, bool) {
	if n > math.MaxInt64-alignment {
		return n, false
	}
	return (n + alignment - 1) &^ (alignment - 1), true
}

// quote shows a name from the file, shortened if it is absurdly long.
func quote(s string) string {
	if len(s) > 100 {
		return fmt.Sprintf("%.100q…", s)
	}
	return fmt.Sprintf("%q", s)
}
