package mcp

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"agent/command"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func schemaOf(t *testing.T, text string) schema {
	t.Helper()
	var raw any
	require.NoError(t, json.Unmarshal([]byte(text), &raw))
	return readSchema(raw)
}

func TestPropertiesBecomeFields(t *testing.T) {
	tests := []struct {
		name, property string
		want           command.Slot
	}{
		{"title", `{"type":"string"}`, command.Slot{Kind: command.SlotLine}},
		{"content", `{"type":"string"}`, command.Slot{Kind: command.SlotText}},
		{"body", `{"type":"string","maxLength":80}`, command.Slot{Kind: command.SlotLine}},
		{"n", `{"type":"integer","description":"How many.\nAnd more."}`, command.Slot{Kind: command.SlotNumber, Help: "How many."}},
		{"sure", `{"type":["boolean","null"]}`, command.Slot{Kind: command.SlotYesNo}},
		{"state", `{"type":"string","enum":["open","closed"]}`, command.Slot{Kind: command.SlotEnum, Options: []string{"open", "closed"}}},
		{"size", `{"enum":[1,2.5,null]}`, command.Slot{Kind: command.SlotEnum, Options: []string{"1", "2.5"}}},
		{"fixed", `{"const":"v1"}`, command.Slot{Kind: command.SlotEnum, Options: []string{"v1"}}},
		{"maybe", `{"anyOf":[{"type":"string"},{"type":"null"}],"description":"a word"}`, command.Slot{Kind: command.SlotLine, Help: "a word"}},
		{"mode", `{"$ref":"#/$defs/Mode"}`, command.Slot{Kind: command.SlotEnum, Options: []string{"a", "b"}}},
		{"names", `{"type":"array","items":{"type":"string","pattern":"x+"},"minItems":1}`,
			command.Slot{Kind: command.SlotObject, Schema: `{"items":{"type":"string"},"minItems":1,"type":"array"}`}},
		{"who", `{"allOf":[{"$ref":"#/$defs/Person"}]}`,
			command.Slot{Kind: command.SlotObject, Schema: `{"properties":{"name":{"type":"string"}},"required":["name"],"type":"object"}`}},
		{"limits", `{"type":"object","properties":{"a":{"type":["string","null","file"],"enum":["x",null]},"b":{"type":"array","items":{"type":"any"},"minItems":3,"maxItems":99999},
			"c":{"type":"array","minItems":5,"maxItems":2},"d":{"minItems":1,"uniqueItems":true},"e":{"enum":[]},"f":{"type":["integer","string"],"minimum":0}},"required":["a","nonesuch"]}`,
			command.Slot{Kind: command.SlotObject, Schema: `{"properties":{"a":{"enum":["x",null]},"b":{"items":{},"minItems":3,"type":"array"},"c":{"minItems":5,"type":"array"},` +
				`"d":{},"e":{},"f":{"type":["integer","string"]}},"required":["a"],"type":"object"}`}},
		{"one of two", `{"type":"object","properties":{"a":{},"b":{}},"anyOf":[{"required":["a"]},{"required":["b"]}]}`,
			command.Slot{Kind: command.SlotObject, Schema: `{"properties":{"a":{},"b":{}},"type":"object"}`}},
		{"two kinds", `{"type":["array","string"],"oneOf":[{"type":"array","items":{"type":"number"}},{"type":"string"}]}`,
			command.Slot{Kind: command.SlotObject, Schema: `{"anyOf":[{"items":{"type":"number"},"type":"array"},{"type":"string"}]}`}},
		{"any", `true`, command.Slot{Kind: command.SlotObject}},
		{"elsewhere", `{"$ref":"https://example.org/schema"}`, command.Slot{Kind: command.SlotObject}},
		{"odd enum", `{"type":"string","enum":["a\nb"]}`, command.Slot{Kind: command.SlotLine}},
	}
	const defs = `"$defs":{"Mode":{"enum":["a","b"]},"Person":{"type":"object","properties":{"name":{"type":"string","format":"name"}},"required":["name"]}}`
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key, _ := json.Marshal(tt.name)
			s := schemaOf(t, `{"type":"object","properties":{`+string(key)+`:`+tt.property+`},"required":[`+string(key)+`],`+defs+`}`)
			require.Len(t, s.fields, 1)
			tt.want.Name = fieldName(tt.name)
			assert.Equal(t, tt.want, s.fields[0].slot)
			assert.Equal(t, tt.name, s.fields[0].key)
		})
	}
}

func TestRequiredFieldsComeFirstAndInTheirOrder(t *testing.T) {
	s := schemaOf(t, `{"properties":{"a":{},"b":{},"z":{},"m":{}},"required":["z","b","nonesuch"]}`)
	var names []string
	for _, f := range s.fields {
		names = append(names, f.slot.Name)
		assert.Equal(t, f.slot.Name == "a" || f.slot.Name == "m", f.slot.Optional)
	}
	assert.Equal(t, []string{"z", "b", "a", "m"}, names)
}

func TestSchemaIsBounded(t *testing.T) {
	endless := schemaOf(t, `{"properties":{"tree":{"$ref":"#/$defs/T"}},"$defs":{"T":{"type":"object","properties":{"l":{"$ref":"#/$defs/T"},"r":{"$ref":"#/$defs/T"}}}}}`)
	assert.Less(t, len(endless.fields[0].slot.Schema), 100_000)
	circle := schemaOf(t, `{"properties":{"x":{"$ref":"#/$defs/A"}},"$defs":{"A":{"$ref":"#/$defs/B"},"B":{"$ref":"#/$defs/A"}}}`)
	assert.Equal(t, command.SlotObject, circle.fields[0].slot.Kind)

	var many []string
	for i := range 40 {
		many = append(many, `"f`+strings.Repeat("x", i)+`":{"type":"string"}`)
	}
	wide := schemaOf(t, `{"properties":{`+strings.Join(many, ",")+`}}`)
	assert.Len(t, wide.fields, fieldsMax)
	assert.Equal(t, 40-fieldsMax, wide.left)
}

func TestArguments(t *testing.T) {
	s := schemaOf(t, `{"properties":{"userName":{"type":"string"},"age":{"type":"integer"},"tags":{"type":"array"},"size":{"enum":[1,2]}},"required":["userName"]}`)
	tests := []struct{ entry, want string }{
		{`{"userName":"x","age":3,"tags":["a"],"size":2}`, `{"userName":"x","age":3,"tags":["a"],"size":2}`},
		{`{"user_name":"x","age":"3","tags":"[\"a\"]","size":"1"}`, `{"userName":"x","age":3,"tags":["a"],"size":1}`},
		{`{"user-name":7,"age":null}`, `{"userName":"7"}`},
		{`{"name":"x"}`, `{"userName":"x"}`},
	}
	for _, tt := range tests {
		var entry map[string]any
		require.NoError(t, json.Unmarshal([]byte(tt.entry), &entry))
		got, wrong := s.arguments(entry)
		require.Nil(t, wrong, tt.entry)
		raw, err := json.Marshal(got)
		require.NoError(t, err)
		assert.JSONEq(t, tt.want, string(raw))
	}
	_, wrong := s.arguments(map[string]any{"userName": "x", "size": "9"})
	require.NotNil(t, wrong)
	assert.Equal(t, "The field size must be one of 1, 2.", texts.Say(wrong.Name, wrong.Data))

	free := schemaOf(t, `{"type":"object"}`)
	got, wrong := free.arguments(map[string]any{"anything": "goes"})
	require.Nil(t, wrong)
	assert.Equal(t, map[string]any{"anything": "goes"}, got)
}

func TestFirstSentence(t *testing.T) {
	for text, want := range map[string]string{
		"Find issues, e.g. by label. Then more.": "Find issues, e.g. by label.",
		"One\nline\u202e only":                   "One line only",
		"Version 2.5 of it! Ignore the rest.":    "Version 2.5 of it!",
		"":                                       "",
		strings.Repeat("word ", 30):              "word word word word word word word word word word word word…",
	} {
		assert.Equal(t, want, firstSentence(text, helpBytesMax))
	}
}

func TestSecretsAreFound(t *testing.T) {
	s := newSecrets(Server{
		Env:     map[string]string{"PIN": "4711", "LEVEL": "debug", "ROOT": "/home/someone/data", "SEED": "correct-horse", "EMPTY_KEY": ""},
		Headers: map[string]string{"Authorization": "Basic dXNlcjpwYXNz"},
		URL:     "https://user:pa55word@example.org/mcp?api_key=k-123456&page=2222",
	})
	assert.Equal(t, "[secret] debug /home/someone/data [secret] [secret] [secret] [secret] 2222",
		s.hide("4711 debug /home/someone/data correct-horse dXNlcjpwYXNz pa55word k-123456 2222"))
	assert.Equal(t, "as it is", secrets{}.hide("as it is"))
}

func FuzzReadSchema(f *testing.F) {
	f.Add(`{"properties":{"a":{"$ref":"#/properties/a"},"b":{"anyOf":[{"type":"null"}]}},"required":["a",1,"a"]}`, `{"a":1}`)
	f.Add(`{"properties":{"a b":{"enum":[1,"1",{}]},"":{}}}`, `{"":null}`)
	f.Fuzz(func(t *testing.T, text, entry string) {
		var raw any
		if len(text) > definitionBytesMax || json.Unmarshal([]byte(text), &raw) != nil {
			return
		}
		s := readSchema(raw)
		seen := map[string]bool{}
		for _, field := range s.fields {
			assert.False(t, seen[field.slot.Name])
			seen[field.slot.Name] = true
			assert.NotEmpty(t, field.slot.Name)
			assert.True(t, utf8.ValidString(field.slot.Help))
			assert.NotContains(t, field.slot.Help+field.slot.Name, "\n")
		}
		var values map[string]any
		if json.Unmarshal([]byte(entry), &values) == nil {
			args, wrong := s.arguments(values)
			if wrong != nil {
				assert.NotEmpty(t, texts.Say(wrong.Name, wrong.Data))
			} else {
				_, err := json.Marshal(args)
				assert.NoError(t, err)
			}
		}
	})
}

// Values arrive as they were given, where the schema lets them.
func TestArgumentsAsGiven(t *testing.T) {
	for _, c := range []struct{ property, given, want string }{
		{`true`, `"1e3"`, `"1e3"`}, {`{}`, `"true"`, `"true"`}, {`{}`, `"{\"a\":1}"`, `"{\"a\":1}"`}, {`{}`, `null`, `null`}, {`{}`, `{"a":1}`, `{"a":1}`},
		{`{"type":["string","number"]}`, `"12"`, `"12"`}, {`{"type":["string","number"]}`, `12`, `12`}, {`{"type":["integer","null"]}`, `null`, `null`},
		{`{"anyOf":[{"type":"string"},{"type":"null"}]}`, `null`, `null`}, {`{"anyOf":[{"type":"object"},{"type":"string"}]}`, `"[1]"`, `"[1]"`},
		{`{"type":"array","items":{}}`, `"[1]"`, `[1]`}, {`{"type":"object"}`, `"{\"a\":1}"`, `{"a":1}`}, {`{"$ref":"#/$defs/T"}`, `"7"`, `"7"`},
		{`{"enum":["a",null]}`, `null`, `null`}, {`{"type":"string"}`, `12`, `"12"`},
	} {
		s := schemaOf(t, `{"type":"object","properties":{"x":`+c.property+`},"required":["x"],"$defs":{"T":{"type":["string","array"]}}}`)
		var given any
		require.NoError(t, json.Unmarshal([]byte(c.given), &given))
		args, wrong := s.arguments(map[string]any{"x": given})
		require.Nil(t, wrong, "%s of %s", c.given, c.property)
		got, err := json.Marshal(args["x"])
		require.NoError(t, err)
		assert.JSONEq(t, c.want, string(got), "%s of %s", c.given, c.property)
	}
	s := schemaOf(t, `{"type":"object","properties":{"x":{"type":"integer"}},"required":["x"]}`)
	_, wrong := s.arguments(map[string]any{"x": nil})
	assert.NotNil(t, wrong, "null is no integer")
}

// Fields may stand under allOf, anyOf and oneOf of the whole input.
func TestFieldsOfParts(t *testing.T) {
	names := func(text string) (all []string) {
		for _, f := range schemaOf(t, text).fields {
			name := f.slot.Name
			if f.slot.Optional {
				name += "?"
			}
			all = append(all, name)
		}
		return all
	}
	assert.Equal(t, []string{"a", "b", "c?"}, names(`{"allOf":[{"properties":{"a":{}},"required":["a"]},{"$ref":"#/$defs/P"}],"$defs":{"P":{"properties":{"b":{},"c":{}},"required":["b"]}}}`))
	assert.Equal(t, []string{"kind", "a?", "b?"}, names(`{"properties":{"kind":{}},"required":["kind"],"oneOf":[{"properties":{"a":{}},"required":["a"]},{"properties":{"b":{}},"required":["b"]}]}`))
	assert.Equal(t, []string{"id", "x?"}, names(`{"anyOf":[{"properties":{"id":{}},"required":["id"]},{"properties":{"id":{},"x":{}},"required":["id","x"]}]}`))
}

func TestSameJSON(t *testing.T) {
	value := map[string]any{"rows": 3, "names": []string{"a"}}
	assert.True(t, sameJSON(`{"names": ["a"], "rows": 3.0}`, value))
	assert.False(t, sameJSON("done", value))
	assert.False(t, sameJSON(`{"rows":3}`, value))
}

// A program's other words do not get between its messages.
func TestMessagesAmongWords(t *testing.T) {
	long := strings.Repeat("x", 200<<10)
	out := "hello\n[info] {\"a\":1}\n{\"jsonrpc\":\"2.0\",\"id\":1}\n\n{\"level\":\"info\"}\n  {\"jsonrpc\":\"2.0\",\"x\":\"" + long + "\"}\nbye"
	words := &tail{max: 1000}
	got, err := io.ReadAll(newMessages(io.NopCloser(strings.NewReader(out)), words))
	require.NoError(t, err)
	assert.Equal(t, "{\"jsonrpc\":\"2.0\",\"id\":1}\n  {\"jsonrpc\":\"2.0\",\"x\":\""+long+"\"}\n", string(got))
	assert.Equal(t, "hello\n[info] {\"a\":1}\n\n{\"level\":\"info\"}\nbye", words.String())

	const message = `{"jsonrpc":"2.0","id":1}`
	for out, want := range map[string][2]string{
		message:                                   {message, ""},
		message + "\r\n":                          {message + "\r\n", ""},
		"\ufeff" + message + "\n":                 {message + "\n", "\ufeff"},
		"10 %\r50 %\r" + message + "\n":           {message + "\n", "10 %\r50 %\r"},
		"\x1b[32mready\x1b[0m\n" + message + "\n": {message + "\n", "\x1b[32mready\x1b[0m\n"},
		"DEBUG sent " + message + "\n" + message:  {message, "DEBUG sent " + message + "\n"},
		"{\"jsonrpc\": \n":                        {"{\"jsonrpc\": \n", ""}, // broken, which the transport tells
		"\r\n" + message:                          {message, "\r\n"},
		"[" + message + "]\n":                     {message + "\n", ""},
		" [" + message + ", " + message + "]":     {message + "\n" + message + "\n", ""},
		`{"id":1,"result":{}}` + "\n":             {`{"jsonrpc":"2.0","id":1,"result":{}}` + "\n", ""},
		`[{"id":"a","error":{"code":1}}]`:         {`{"jsonrpc":"2.0","id":"a","error":{"code":1}}` + "\n", ""},
		`{"id":1,"method":"GET","msg":"x"}`:       {"", `{"id":1,"method":"GET","msg":"x"}`}, // a log
		`{"error":"x"}`:                           {"", `{"error":"x"}`},
		`[1, 2]`:                                  {"", `[1, 2]`},
		`[]`:                                      {"", `[]`},
	} {
		words := &tail{max: 1000}
		got, err := io.ReadAll(newMessages(io.NopCloser(strings.NewReader(out)), words))
		require.NoError(t, err)
		assert.Equal(t, want, [2]string{string(got), words.String()}, "%q", out)
	}
}

// What an answer holds beside text is shown, or named where it can't be; what came broken
// is told.
func TestAnswersOfEveryKind(t *testing.T) {
	s := &server{secrets: newSecrets(Server{})}
	text := func(t string) *sdk.TextContent { return &sdk.TextContent{Text: t} }
	rows := map[string]any{"rows": 3}
	for want, answer := range map[string]*sdk.CallToolResult{
		"done":                                   {Content: []sdk.Content{text("done")}},
		"done\n\n{\n  \"rows\": 3\n}":            {Content: []sdk.Content{text("done")}, StructuredContent: rows},
		"{\"rows\": 3}":                          {Content: []sdk.Content{text("{\"rows\": 3}")}, StructuredContent: rows},
		"{\n  \"rows\": 3\n}":                    {StructuredContent: rows},
		"[image, image/png, 2 bytes, not shown]": {Content: []sdk.Content{&sdk.ImageContent{MIMEType: "image/png", Data: []byte("ab")}}},
		"seen\n\n[audio, audio/wav, 4 bytes, not shown]": {Content: []sdk.Content{text("seen"), &sdk.AudioContent{MIMEType: "audio/wav", Data: []byte("RIFF")}}},
		"a.txt file:///a.txt":                            {Content: []sdk.Content{&sdk.ResourceLink{Name: "a.txt", URI: "file:///a.txt"}}},
		"inner":                                          {Content: []sdk.Content{&sdk.EmbeddedResource{Resource: &sdk.ResourceContents{URI: "file:///a", Text: "inner"}}}},
		"[file:///a, application/zip, 3 bytes, not shown]": {Content: []sdk.Content{&sdk.EmbeddedResource{Resource: &sdk.ResourceContents{URI: "file:///a", MIMEType: "application/zip", Blob: []byte("abc")}}}},
		"(no output)": {},
		"a\uFFFDb\n[\uFFFD stands for what came broken]": {Content: []sdk.Content{text("a\uFFFDb")}},
	} {
		assert.Equal(t, want, s.result(answer, 1000).Text)
	}
}
