package legible

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A bad byte does not turn a text into something else, and a guess is told.
func TestDecode(t *testing.T) {
	for data, want := range map[string][2]string{
		"plain":                          {"plain", ""},
		"Gr\u00f6\u00dfe":                {"Größe", ""},
		"\ufeffa":                        {"a", ""},
		"Gr\u00f6\u00dfe \u00fcber \xff": {"Größe über \uFFFD", "UTF-8 with 1 byte that is no text, shown as \uFFFD"},
		"\u0434\u0430 \xd0 \xff \u043d\u0435\u0442": {"да \uFFFD \uFFFD нет", "UTF-8 with 2 bytes that are no text, shown as \uFFFD"},
		"caf\xe9":         {"café", "not UTF-8, read as Windows-1252, which is a guess"},
		"\x93quoted\x94":  {"“quoted”", "not UTF-8, read as Windows-1252, which is a guess"},
		"\xe9\xe8 \u00e9": {"éè Ã©", "not UTF-8, read as Windows-1252, which is a guess"},
		"\xff\xfea\x00":   {"a", "UTF-16"},
	} {
		text, encoding, ok := Decode([]byte(data))
		assert.True(t, ok)
		assert.Equal(t, want, [2]string{text, encoding}, "%q", data)
	}
	for _, data := range []string{"plain é", "\ufeffa\n", "\xff\xfea\x00\n\x00", "\xfe\xff\x00a\x00\n", "a\x00b\x00c\x00d\x00", "\xff\xfe\x3d\xd8\x00\xde"} {
		text, _, _ := Decode([]byte(data))
		assert.Equal(t, data, string(Encode(text, []byte(data))), "%q", data)
	}
}
