package legible

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCheckJSON(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":"b\n\"c\\","d":[1,"\u00e9\ud83d\ude00 😀"]}`: "",
		`"\\ud83d"`:        "",
		`{"a":"b\ud83d"}`:  `the escape \ud83d at byte 8 is half of a character`,
		`{"a":"\ude00b"}`:  `the escape \ude00 at byte 7`,
		`"\ud83d\u0041"`:   "half of a character",
		`"\ud83d\ud83d"`:   "half of a character",
		`"\\\ud83d"`:       "half of a character",
		"\"a\xffb\"":       "byte 3 (0xff) is not valid UTF-8",
		"{\"\xc3\":1}":     "byte 3 (0xc3)",
		"\"\xed\xa0\xbd\"": "not valid UTF-8", // half of a character, encoded
		`"\u12`:            "",                // that it ends early is told by who reads it
		"":                 "",
	} {
		err := CheckJSON([]byte(text))
		if want == "" {
			assert.NoError(t, err, text)
		} else {
			assert.ErrorContains(t, err, want, text)
		}
	}
}

// What passes is read without a replacement.
func FuzzCheckJSON(f *testing.F) {
	f.Add([]byte(`{"a":"\ud83d\ude00"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var v any
		if CheckJSON(data) != nil || json.Unmarshal(data, &v) != nil || strings.ContainsRune(string(data), 0xFFFD) || strings.Contains(strings.ToLower(string(data)), "fffd") {
			return
		}
		out, _ := json.Marshal(v)
		assert.NotContains(t, string(out), "\uFFFD", "%q", data)
		assert.NotContains(t, string(out), `\ufffd`, "%q", data)
	})
}
