package prose

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRut(t *testing.T) {
	numbers := ""
	for i := range 200 {
		numbers += fmt.Sprintf("%d. item number %d\n", i, i*i)
	}
	same := "The chat server is a server that accepts text. "
	for _, tc := range []struct {
		name, text, keep string // keep: what stays; "": all, for it is no rut
		r                Rut
	}{
		{"empty", "", "", ProseRut()},
		{"a word", "yes", "", ProseRut()},
		{"numbered list", numbers, "", ProseRut()},
		{"a refrain", same + "One. " + same + "Two. " + same + "Three. ", "", ProseRut()},
		{"table", strings.Repeat("| ---- | ---- | ---- | ---- |\n| a | b | c | d |\n", 2), "", ProseRut()},
		{"sentence", "It is so. " + strings.Repeat(same, 4), "It is so. " + strings.TrimSuffix(same, ". "), ProseRut()},
		{"lines", "a\n" + strings.Repeat("## a fork of [AgNOv1.2](https://example.com)\n\n", 5), "a\n## a fork of [AgNOv1.2](https://example.com)\n", ProseRut()},
		{"lines with others between", "First of all, look at it.\nOne.\nFirst of all, look at it.\nTwo.\nFirst of all, look at it.\n3\nFirst of all, look at it.\n",
			"First of all, look at it.\nOne.\n", ProseRut()},
		{"no sentence", "x: " + strings.Repeat("ha ", 60), "x: ha", ProseRut()},
		{"dashes", strings.Repeat("-", 100), "", ProseRut()},
		{"a row of zeros in data", strings.Repeat("0,0,0,0\n", 60), "", BlockRut()},
		{"code without end", "import os\n" + strings.Repeat("print(os.listdir())\nprint(os.getcwd())\n", 30), "import os\nprint(os.listdir())\nprint(os.getcwd())", BlockRut()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			at := tc.r.End(tc.text)
			if tc.keep == "" {
				assert.Equal(t, -1, at)
				return
			}
			if assert.GreaterOrEqual(t, at, 0) {
				assert.Equal(t, tc.keep, tc.text[:at])
			}
		})
	}
}

func TestRutIsSeenWhileItIsWritten(t *testing.T) {
	until, text := ProseRut().Until(), ""
	for i := range 200 {
		text += "the same old story "
		if until(text) {
			assert.Less(t, i, 12)
			assert.Equal(t, "the same old story ", text[:ProseRut().End(text)])
			return
		}
	}
	t.Fatal("not seen")
}
