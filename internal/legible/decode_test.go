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

		"<?xml version=\"1.0\" encoding=\"windows-1251\"?><a>\xcf\xee\xe5\xe7\xe4</a>": {"<?xml version=\"1.0\" encoding=\"windows-1251\"?><a>Поезд</a>", "windows-1251"},
		"<?xml version='1.0' encoding='Shift_JIS'?><a>\x90\x7d\x8f\x91</a>":            {"<?xml version='1.0' encoding='Shift_JIS'?><a>図書</a>", "Shift_JIS"},
		"@charset \"koi8-r\";\n/* \xc4\xc1 */":                                         {"@charset \"koi8-r\";\n/* да */", "koi8-r"},
		"#!/usr/bin/python\n# -*- coding: iso-8859-2 -*-\nx = '\xb1'":                  {"#!/usr/bin/python\n# -*- coding: iso-8859-2 -*-\nx = 'ą'", "iso-8859-2"},
		"<?xml version='1.0' encoding='x-none'?>\xe9":                                  {"<?xml version='1.0' encoding='x-none'?>é", guessed1252},
		"<?xml version='1.0' encoding='utf-8'?>\xe9":                                   {"<?xml version='1.0' encoding='utf-8'?>é", guessed1252},
		"<?xml version='1.0' encoding='latin1'?>\u00e9":                                {"<?xml version='1.0' encoding='latin1'?>é", ""},
	} {
		text, encoding, ok := Decode([]byte(data))
		assert.True(t, ok)
		assert.Equal(t, want, [2]string{text, encoding}, "%q", data)
	}
	for _, data := range []string{"\xff\xfe\x00\x00a\x00\x00\x00", "a\x00\x01b", "\x1f\x04>\x045\x04"} {
		_, _, ok := Decode([]byte(data))
		assert.False(t, ok, "%q", data)
	}
	for _, data := range []string{"plain é", "\ufeffa\n", "\xff\xfea\x00\n\x00", "\xfe\xff\x00a\x00\n", "a\x00b\x00c\x00d\x00", "\xff\xfe\x3d\xd8\x00\xde"} {
		text, _, _ := Decode([]byte(data))
		assert.Equal(t, data, string(Encode(text, []byte(data))), "%q", data)
	}
}
