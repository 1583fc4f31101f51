package backend

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestChooseByText(t *testing.T) {
	files := []string{"read", "read_file", "write"}
	tests := []struct {
		name    string
		reply   string
		options []string
		want    string // empty: abstains
		reason  string
	}{
		{"exact", "read", files, "read", ""},
		{"exact, longer option", "read_file", files, "read_file", ""},
		{"space around", "  write\n", files, "write", ""},
		{"case, quotes, full stop", "\"Write\".", files, "write", ""},
		{"markdown", "**write**", files, "write", ""},
		{"number", "3", files, "write", ""},
		{"number with bracket", "(2)", files, "read_file", ""},
		{"option number", "Option 1", files, "read", ""},
		{"letter", "B.", files, "read_file", ""},
		{"letter and text", "B) read_file", files, "read_file", ""},
		{"letter and another text", "C: I would write.", files, "write", ""},
		{"a digit that is an option", "2", []string{"1", "3", "2"}, "2", ""},
		{"a number out of the list", "17", files, "", "edit distance"},
		{"begins with an option", "write, because it is needed", files, "write", ""},
		{"begins with the longest", "read_file please", files, "read_file", ""},
		{"only one mentioned", "I would choose write here", files, "write", ""},
		{"two mentioned", "read or write or what?", []string{"to read", "to write"}, "", "edit distance"},
		{"misspelt", "wirte", []string{"write", "delegate"}, "write", ""},
		{"empty", "", files, "", "empty"},
		{"blank", " \n\t", files, "", "empty"},
		{"distant", "bananas are yellow", files, "", "edit distance"},
		{"tie", "cat", []string{"cart", "chat"}, "", "equally near"},
		{"emoji", "👍", []string{"👎", "👍"}, "👍", ""},
		{"newlines in options", "a\nb", []string{"a\nb", "a b"}, "a\nb", ""},
		{"trailing space differs", "yes ", []string{"yes", "yes "}, "yes ", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := ChooseByText(tt.reply, Options(tt.options...))
			require.Len(t, c.Options, len(tt.options))
			assert.Equal(t, "text", c.Method)
			assert.Equal(t, tt.want == "", c.Abstained)
			assert.Equal(t, tt.want, c.Text)
			assert.Contains(t, c.Reason, tt.reason)
			if !c.Abstained {
				assert.Equal(t, tt.want, tt.options[c.Index])
			}
		})
	}
}

func TestChooseByTextIsBounded(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	options := make([]Option, 50)
	for i := range options {
		options[i].Text = long + string(rune('a'+i))
	}
	assert.NotNil(t, ChooseByText(long, options))
}

// FuzzChooseByText: always an answer, consistent in itself.
func FuzzChooseByText(f *testing.F) {
	f.Add("B) blue", "red", "blue")
	f.Add("\xff\n", " ", "\n")
	f.Fuzz(func(t *testing.T, reply, a, b string) {
		options := Options(a, b)
		if CheckOptions(options) != nil {
			t.Skip()
		}
		c := ChooseByText(reply, options)
		if c.Abstained != (c.Index < 0) || c.Abstained == (c.Reason == "") || !c.Abstained && options[c.Index].Text != c.Text {
			t.Fatalf("%+v", c)
		}
		if reply == b && c.Text != b {
			t.Fatalf("%q is not its own choice but %q", b, c.Text)
		}
	})
}
