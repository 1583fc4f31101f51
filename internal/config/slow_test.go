package config

import (
	"strings"
	"testing"
)

// longPieces are repeated to values as long as is allowed: each once took time
// quadratic in its length, or recursed as deep.
var longPieces = []string{"1 ", "a-", "1.", ": ", `\,`, "${a}", "'x',", "[", "x,", "_", " ", "{a:", "f(", "1e", `\`}

func readLong(piece string, size int) {
	text := strings.Repeat(piece, size/len(piece)-4)
	_, _ = parseOverride("a=" + text)
	_, _ = parseElement(text)
	_, _ = parseText("${oc.env:X," + text + "}")
}

// Whatever is repeated, reading it ends, without a panic.
func TestLongValuesEnd(t *testing.T) {
	size := overrideBytesMax
	if testing.Short() {
		size /= 8
	}
	for _, piece := range longPieces {
		readLong(piece, size)
	}
}

// BenchmarkLongValues shows whether time is linear: ns/byte is to be the same
// for both sizes.
func BenchmarkLongValues(b *testing.B) {
	for _, piece := range longPieces {
		for name, size := range map[string]int{"small": overrideBytesMax / 8, "large": overrideBytesMax} {
			b.Run(piece+"/"+name, func(b *testing.B) {
				for range b.N {
					readLong(piece, size)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(size), "ns/byte")
			})
		}
	}
}
