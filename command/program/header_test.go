package program

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
)

func TestHeader(t *testing.T) {
	d, err := parseHeader("commands/fahrenheit.py", fahrenheit+"\nneeds: [read]\nmetadata: [token]\ntimeout: 5s\n")
	require.NoError(t, err)
	assert.Equal(t, command.Spec{
		Name: "fahrenheit", Aliases: []string{"f_to_c"}, Effect: command.EffectRead,
		Description: "Convert a temperature from Fahrenheit to Celsius.",
		Slots:       []command.Slot{{Name: "degrees", Kind: command.SlotNumber, Help: "degrees Fahrenheit"}},
	}, d.spec)
	assert.Equal(t, []string{"token"}, d.metadata)
	assert.Equal(t, "5s", d.timeout.String())
	assert.Equal(t, map[string]any{"degrees": 212}, d.example)

	d, err = parseHeader("commands/Get-Weather.py", "description: Tell the weather.\nfields: [{name: city}]\nneeds: [network, write]")
	require.NoError(t, err)
	assert.Equal(t, "get_weather", d.spec.Name, "the file gives the name")
	assert.Equal(t, "city", d.spec.Slots[0].Help, "a field is its own help")
	assert.Equal(t, command.EffectNetwork, d.spec.Effect)

	d, err = parseHeader("x", `{"name":"x","description":"An executable answers with JSON.","fields":[{"name":"size","kind":"choice","options":["small","large"],"optional":true}]}`)
	require.NoError(t, err)
	assert.Equal(t, []string{"small", "large"}, d.spec.Slots[0].Options)
	assert.True(t, d.spec.Slots[0].Optional)
}

func TestHeaderErrors(t *testing.T) {
	const ok = "\n\nname: x\ndescription: Does it.\n" // line 3 and 4
	tests := []struct{ name, header, want string }{
		{"empty", "", `f.py: header: the header is empty`},
		{"no keys", "\njust words", `f.py:2: the header must be keys with values`},
		{"broken yaml", ok + "fields: [", `f.py:5: header: `},
		{"wrong type", ok + "aliases: {a: b}", `f.py:5: header: cannot unmarshal map into []string`},
		{"unknown key", ok + "fileds: []", `f.py:5: unknown key "fileds"; did you mean "fields"?`},
		{"unknown far key", ok + "author: me", `f.py:5: unknown key "author"; known are name, description`},
		{"unknown field key", ok + "fields:\n- name: a\n  hepl: b", `f.py:7: unknown key "hepl"; did you mean "help"?`},
		{"field without keys", ok + "fields:\n- a", `f.py:6: a field must have keys`},
		{"unknown kind", ok + "fields:\n- name: a\n  kind: nubmer", `f.py:6: field a: unknown kind "nubmer"; did you mean "number"?`},
		{"field name", ok + "fields:\n- name: a b", `f.py:6: the field's name "a b" must be letters`},
		{"field twice", ok + "fields:\n- name: a\n- name: a", `f.py:7: the field "a" is there twice`},
		{"choice without options", ok + "fields:\n- name: a\n  kind: choice", `f.py:6: field a: a choice needs two options`},
		{"options without choice", ok + "fields:\n- name: a\n  options: [b, c]", `f.py:6: field a: options are for kind: choice`},
		{"many fields", ok + "fields:" + strings.Repeat("\n- name: a", 9), `f.py:6: 9 fields; 8 are allowed`},
		{"name", "\nname: Two Words\ndescription: d", `f.py:2: the name "Two Words" must be small letters`},
		{"no description", "\nname: x", `f.py:2: the description is missing`},
		{"description of lines", "\ndescription: |\n  a\n  b", `f.py:2: the description must be one line`},
		{"long words", "\ndescription: " + strings.Repeat("a", 400), `the model reads in every prompt; 320 are allowed`},
		{"alias", ok + "aliases: [x]", `f.py:5: the alias "x" is there twice`},
		{"need", ok + "needs: [netwrok]", `f.py:5: unknown need "netwrok"; did you mean "network"?`},
		{"timeout", ok + "timeout: soon", `f.py:5: the timeout "soon" must be a time such as 10s`},
		{"example", ok + "fields: [{name: n, kind: number}]\nexample: {n: many}", `f.py:6: example: The field n must be a number, not "many".`},
		{"example of another field", ok + "example: {n: 1}", `f.py:5: example: there is no field "n"`},
		{"too large", ok + "metadata: [" + strings.Repeat("a, ", 8000) + "a]", `the header has more than 16384 bytes`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseHeader("f.py", tt.header)
			require.Error(t, err)
			assert.Contains(t, err.Error(), tt.want)
		})
	}
}

func TestDocstring(t *testing.T) {
	tests := []struct {
		name, code, want string
		ok               bool
	}{
		{"plain", "\"\"\"a: 1\"\"\"\n", "a: 1", true},
		{"after comments", "#!/usr/bin/env python3\n# words\n\n'''\na: 1\n'''\nx = 1\n", "\n\n\n\na: 1\n", true},
		{"raw", `r"""a: \d"""`, `a: \d`, true},
		{"byte order mark", "\xef\xbb\xbf\"\"\"a: 1\"\"\"", "a: 1", true},
		{"windows lines", "# x\r\n\"\"\"\r\na: 1\r\n\"\"\"\r\n", "\n\r\na: 1\r\n", true},
		{"code first", "import os\n\"\"\"a: 1\"\"\"", "", false},
		{"not closed", "\"\"\"a: 1", "", false},
		{"bytes", "b\"\"\"a: 1\"\"\"", "", false},
		{"empty", "", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := docstring([]byte(tt.code))
			assert.Equal(t, tt.ok, ok)
			assert.Equal(t, tt.want, got)
		})
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(fahrenheit)
	f.Add(`{"name":"x","fields":[{"name":"a","kind":"choice","options":["b","c"]}],"example":{"a":"b"}}`)
	f.Add("a: &a [*a, *a]\nb: !!binary x\n? [x]: y")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseHeader("f.py", text)
		if err == nil && (!nameForm.MatchString(d.spec.Name) || !plainLine(d.spec.Description)) {
			t.Errorf("accepted %q", text)
		}
		_, _ = docstring([]byte(text))
	})
}
