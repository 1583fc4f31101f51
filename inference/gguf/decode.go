package gguf

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// decoder reads little-endian values and knows how much of the file is left,
// so that no length in the file is believed before the file could hold it. The
// first fault sticks; reads after it give zeros.
type decoder struct {
	r     *bufio.Reader
	off   int64
	size  int64
	fault *fault
}

func newDecoder(r io.ReaderAt, off, size int64) *decoder {
	return &decoder{r: bufio.NewReaderSize(io.NewSectionReader(r, off, size-off), 64<<10), off: off,
		size: size}
}

func (d *decoder) left() uint64 { return uint64(d.size - d.off) }

// fail records the first fault, at the current byte.
func (d *decoder) fail(advice, format string, args ...any) {
	if d.fault == nil {
		d.fault = &fault{offset: d.off, what: fmt.Sprintf(format, args...), advice: advice}
	}
}

// has reports whether n more bytes exist, and fails naming what they were for.
func (d *decoder) has(n uint64, what string) bool {
	if d.fault != nil {
		return false
	}
	if n > d.left() {
		d.fail(adviceDamaged, "the file ends inside %s: %d bytes are needed and %d are left", what, n,
			d.left())
		return false
	}
	return true
}

// take returns the next n bytes, valid until the next read; n is at most 8.
func (d *decoder) take(n int, what string) []byte {
	var zero [8]byte
	if !d.has(uint64(n), what) {
		return zero[:n]
	}
	b, err := d.r.Peek(n)
	if err != nil {
		d.fail("check the disk", "reading %s: %v", what, err)
		return zero[:n]
	}
	d.advance(n, what)
	return b
}

// advance consumes bytes that has() allowed.
func (d *decoder) advance(n int, what string) {
	if _, err := d.r.Discard(n); err != nil {
		d.fail("check the disk", "reading %s: %v", what, err)
		return
	}
	d.off += int64(n)
}

func (d *decoder) u8(what string) uint8   { return d.take(1, what)[0] }
func (d *decoder) u16(what string) uint16 { return binary.LittleEndian.Uint16(d.take(2, what)) }
func (d *decoder) u32(what string) uint32 { return binary.LittleEndian.Uint32(d.take(4, what)) }
func (d *decoder) u64(what string) uint64 { return binary.LittleEndian.Uint64(d.take(8, what)) }

// skip passes over n bytes.
func (d *decoder) skip(n uint64, what string) {
	const step = 1 << 30 // Discard takes an int
	for n > 0 && d.has(n, what) {
		k := min(n, step)
		d.advance(int(k), what)
		n -= k
	}
}

// length reads the length of a string and checks it against the file and limit.
func (d *decoder) length(limit uint64, what string) uint64 {
	n := d.u64(what)
	if d.fault == nil && n > limit && n <= d.left() {
		d.fail(adviceDamaged, "%s has %d bytes, more than the %d allowed", what, n, limit)
	}
	if !d.has(n, what) {
		return 0
	}
	return n
}

// text reads a string of at most limit bytes.
func (d *decoder) text(limit uint64, what string) string {
	return d.bytes(d.length(limit, what), what)
}

// bytes reads n bytes that length allowed.
func (d *decoder) bytes(n uint64, what string) string {
	if n == 0 || d.fault != nil {
		return ""
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(d.r, buf); err != nil {
		d.fail("check the disk", "reading %s: %v", what, err)
		return ""
	}
	d.off += int64(n)
	return string(buf)
}
