package legible

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// CheckJSON refuses JSON in which a text has half of a character or bytes that are not UTF-8.
// Readers of JSON put U+FFFD in their place without a word.
func CheckJSON(data []byte) error {
	inText := false
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return fmt.Errorf("byte %d (0x%02x) is not valid UTF-8", i+1, data[i])
		case r == '"':
			inText = !inText
		case r == '\\' && inText:
			unit, ok := escaped(data[i:])
			switch {
			case !ok:
				size = min(2, len(data)-i) // any other escape
			case unit < 0xD800 || unit > 0xDFFF:
				size = 6
			default:
				low, ok := escaped(data[i+6:])
				if unit > 0xDBFF || !ok || low < 0xDC00 || low > 0xDFFF {
					return fmt.Errorf("the escape %s at byte %d is half of a character", data[i:i+6], i+1)
				}
				size = 12
			}
		}
		i += size
	}
	return nil
}

// escaped reads an escape of four hexadecimal digits.
func escaped(data []byte) (unit rune, ok bool) {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	return rune(n), err == nil
}
