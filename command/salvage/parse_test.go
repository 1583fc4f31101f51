package salvage

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
	"agent/command/stock"
)

func standard(t testing.TB) *command.Registry {
	t.Helper()
	reg, err := stock.Standard()
	require.NoError(t, err)
	return reg
}

// shared returns a file of the shared fixtures, or skips the test.
func shared(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("AGENT_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("needs %s: set AGENT_SHARED to the folder of shared fixtures", name)
	}
	return path
}

// want is a call as one line: command, content as JSON, notes.
func oneLine(t *testing.T, c ParsedCall) string {
	t.Helper()
	content, err := command.JSON(c.Content)
	require.NoError(t, err)
	return c.Command + " " + string(content)
}

func TestParse(t *testing.T) {
	tests := []struct {
		name    string
		reply   string
		want    []string
		repairs []Repair
	}{
		// Valid input comes back as it is.
		{"canonical", `{"command":"reader","summary":"s","content":[{"file":"a.txt"}],"notes":["n"]}`, []string{`reader [{"file":"a.txt"}]`}, nil},
		{"numbers keep their form", `{"command":"x","content":[{"a":1.0,"b":1E5,"c":12345678901234567890,"d":-0}]}`, []string{`x [{"a":1.0,"b":1E5,"c":12345678901234567890,"d":-0}]`}, nil},
		{"unicode escapes", `{"command":"answer","content":[{"text":"\u00e9\ud83d\ude00\/"}]}`, []string{`answer [{"text":"é😀/"}]`}, nil},
		{"escaped backslash before underscore", `{"command":"answer","content":"a\\_b"}`, []string{`answer [{"text":"a\\_b"}]`}, nil},
		{"content a string", `{"command":"answer","content":"42"}`, []string{`answer [{"text":"42"}]`}, nil},
		{"content an object", `{"command":"reader","content":{"file":"a"}}`, []string{`reader [{"file":"a"}]`}, nil},
		{"content strings", `{"command":"python","content":["a=1","a"]}`, []string{`python [{"code":"a=1"},{"code":"a"}]`}, nil},
		{"content null", `{"command":"think","content":null}`, []string{`think []`}, nil},
		{"content of an unknown command", `{"command":"zzz","content":"q"}`, []string{`zzz [{"text":"q"}]`}, nil},
		{"list gives its entries", `[{"command":"think","content":"a"},{"command":"answer","content":"b"}]`, []string{`think [{"text":"a"}]`, `answer [{"text":"b"}]`}, nil},
		{"content that quotes a call", `{"command":"writer","content":{"file":"x","text":"{\"command\":\"python\"}"}}`, []string{`writer [{"file":"x","text":"{\"command\":\"python\"}"}]`}, nil},

		// Other grammars.
		{"escaped underscore", `{"command": "answer", "content": "my\_file"}`, []string{`answer [{"text":"my_file"}]`}, []Repair{RepairUnderscore}},
		{"python", `{'command': 'writer', 'content': [{'file': 'a', 'text': "it's", 'n': None, 'ok': True}], 'notes': ()}`, []string{`writer [{"file":"a","n":null,"ok":true,"text":"it's"}]`}, []Repair{RepairPythonLiteral}},
		{"python concatenation", "{'command': 'answer', 'content': ('one '\n 'two')}", []string{`answer [{"text":"one two"}]`}, []Repair{RepairPythonLiteral}},
		{"python concatenation in a list", "{'command': 'answer', 'content': ['one' 'two', \"three \"\n \"four\"]}", []string{`answer [{"text":"onetwo"},{"text":"three four"}]`}, []Repair{RepairPythonLiteral}},
		{"entries without a comma", `{"command": "answer", "content": ["one" "two"]}`, []string{`answer [{"text":"one"},{"text":"two"}]`}, []Repair{RepairMissingComma, RepairSurroundings}},
		{"colons forgotten", "{\"command\" \"reader\", \"content\" {\"file\" \"a.txt\"}}", []string{`reader [{"file":"a.txt"}]`}, []Repair{RepairMissingColon, RepairSurroundings}},
		{"quote forgotten at the end of a line", "{\"command\": \"reader\",\n\"summary\": \"look,\n\"content\": {\"file\": \"a.txt\"}}", []string{`reader [{"file":"a.txt"}]`}, []Repair{RepairMissingQuote, RepairSurroundings}},
		{"quote forgotten at the start", "{\"command\": \"answer\", \"content\": It is \"so\", I think\"}", []string{`answer [{"text":"It is \"so\", I think"}]`}, []Repair{RepairMissingQuote, RepairSurroundings}},
		{"quote forgotten before brackets", "{\"command\": \"answer\",\n\"content\": \"so\n}", []string{`answer [{"text":"so"}]`}, []Repair{RepairTruncated, RepairMissingQuote, RepairSurroundings}},
		{"python tuple", `{'command': 'answer', 'content': ('one', 'two',)}`, []string{`answer [{"text":"one"},{"text":"two"}]`}, []Repair{RepairPythonLiteral}},
		{"python raw string", `{'command': 'python', 'content': {'code': r'\d+\n'}}`, []string{`python [{"code":"\\d+\\n"}]`}, []Repair{RepairPythonLiteral}},
		{"python numbers", `{'command': 'x', 'content': {'a': 1_000, 'b': 0xff, 'c': .5, 'd': 5., 'e': +1}}`, []string{`x [{"a":1000,"b":255,"c":0.5,"d":5,"e":1}]`}, []Repair{RepairPythonLiteral}},
		{"json5", "{command: 'answer', /* c */ content: \"x\", // end\n}", []string{`answer [{"text":"x"}]`}, []Repair{RepairJSON5, RepairPythonLiteral, RepairTrailingComma}},
		{"triple quotes in JSON", "{\"command\": \"python\", \"content\": [{\"code\": \"\"\"import os\nprint(\"hi\")\"\"\"}]}", []string{`python [{"code":"import os\nprint(\"hi\")"}]`}, []Repair{RepairPythonLiteral}},
		{"fence in JSON", "{\"command\": \"python\", \"content\": {\"code\": ```python\nprint(1)\n```}}", []string{`python [{"code":"print(1)"}]`}, []Repair{RepairFence}},
		{"raw line breaks", "{\"command\": \"python\", \"content\": {\"code\": \"a = 1\nprint(a)\"}}", []string{`python [{"code":"a = 1\nprint(a)"}]`}, []Repair{RepairControl}},
		{"regular expression", `{"command": "python", "content": {"code": "re.sub('\d+', '')"}}`, []string{`python [{"code":"re.sub('\\d+', '')"}]`}, []Repair{RepairEscape}},
		{"smart quotes", `{“command”: “answer”, “content”: “yes”}`, []string{`answer [{"text":"yes"}]`}, []Repair{RepairQuotes}},

		// Broken values.
		{"inner quotes", `{"command": "answer", "content": "He said "no", then left"}`, []string{`answer [{"text":"He said \"no\", then left"}]`}, []Repair{RepairQuotes, RepairSurroundings}},
		{"missing comma", "{\"command\": \"answer\"\n\"content\": \"x\"}", []string{`answer [{"text":"x"}]`}, []Repair{RepairMissingComma, RepairSurroundings}},
		{"missing brackets", `{"command": "reader", "content": [{"file": "a.txt"}`, []string{`reader [{"file":"a.txt"}]`}, []Repair{RepairTruncated, RepairSurroundings}},
		{"mismatched brackets", `{"command": "reader", "content": [{"file": "a.txt"]}`, []string{`reader [{"file":"a.txt"}]`}, []Repair{RepairBrackets, RepairSurroundings}},
		{"cut in a string", `{"command": "writer", "content": {"file": "a.txt", "text": "one two`, []string{`writer [{"file":"a.txt","text":"one two"}]`}, []Repair{RepairTruncated, RepairSurroundings}},
		{"words without quotes", `{command: reader, content: {file: a.txt}}`, []string{`reader [{"file":"a.txt"}]`}, []Repair{RepairJSON5, RepairBareWord, RepairSurroundings}},
		{"code with a dict, cut", `{"command": "python", "content": {"code": "d = {'command': 'answer'}`, []string{`python [{"code":"d = {'command': 'answer'}"}]`}, []Repair{RepairTruncated, RepairSurroundings}},

		// Calls within other text.
		{"fence around", "```json\n{\"command\": \"think\", \"content\": \"x\"}\n```", []string{`think [{"text":"x"}]`}, []Repair{RepairFence}},
		{"fence of code", "```python\nprint(1)\n```", []string{`python [{"code":"print(1)"}]`}, []Repair{RepairFence, RepairAlias}[:1]},
		{"words around", "Sure! Here it is:\n{\"command\": \"reader\", \"content\": {\"file\": \"a\"}}\nHope it helps {smile}.", []string{`reader [{"file":"a"}]`}, []Repair{RepairSurroundings, RepairMaybeQuoted}},
		{"two in a row", `{"command":"think","content":"a"} {"command":"answer","content":"b"}`, []string{`think [{"text":"a"}]`, `answer [{"text":"b"}]`}, []Repair{RepairSurroundings}},
		{"tool_call tags", "<tool_call>\n{\"name\": \"reader\", \"arguments\": {\"file\": \"a\"}}\n</tool_call>", []string{`reader [{"file":"a"}]`}, []Repair{RepairOtherKeys, RepairSurroundings}},
		{"function tags", "<tool_call>\n<function=writer>\n<parameter=file>\na.txt\n</parameter>\n<parameter=text>\none\ntwo\n</parameter>\n</function>\n</tool_call>", []string{`writer [{"file":"a.txt","text":"one\ntwo"}]`}, []Repair{RepairXML}},
		{"command tags", "I am done. <answer>42</answer>", []string{`answer [{"text":"42"}]`}, []Repair{RepairXML, RepairMaybeQuoted}},
		{"function call", `reader(file="a.txt", lines="1-3")`, []string{`reader [{"file":"a.txt","lines":"1-3"}]`}, []Repair{RepairFunctionCall}},
		{"function call, positions", "writer('a.txt', '''one\ntwo''')", []string{`writer [{"file":"a.txt","text":"one\ntwo"}]`}, []Repair{RepairFunctionCall, RepairPythonLiteral}},
		{"function call in a fence", "I will read it.\n```\nread(\"a.txt\")\n```", []string{`reader [{"file":"a.txt"}]`}, []Repair{RepairFunctionCall, RepairAlias, RepairSurroundings, RepairMaybeQuoted}},
		{"react", "Thought: look first\nAction: reader\nAction Input: {\"file\": \"a.txt\"}\nObservation: made up", []string{`reader [{"file":"a.txt"}]`}, []Repair{RepairReAct}},
		{"react with text", "Action: python\nAction Input: print(1)", []string{`python [{"code":"print(1)"}]`}, []Repair{RepairReAct, RepairMaybeQuoted}},
		{"react with brackets", "Action: reader[a.txt]", []string{`reader [{"file":"a.txt"}]`}, []Repair{RepairReAct}},
		{"react with a function call", "Action: reader(file='a.txt')", []string{`reader [{"file":"a.txt"}]`}, []Repair{RepairReAct, RepairFunctionCall, RepairPythonLiteral}},
		{"wire form as lines", "command: python\nsummary: add\ncontent: print(1)", []string{`python [{"code":"print(1)"}]`}, []Repair{RepairReAct, RepairMaybeQuoted}},
		{"wire form as lines of slots", "Command: writer\nSummary: save\nfile: a.txt\ntext: hi", []string{`writer [{"file":"a.txt","text":"hi"}]`}, []Repair{RepairReAct, RepairMaybeQuoted}},
		{"end token", "{\"command\": \"think\", \"content\": \"x\"}<|im_end|>", []string{`think [{"text":"x"}]`}, []Repair{RepairMarks}},
		{"prose and an end token", "It is </s> done.<|im_end|>\n", []string{`answer [{"text":"It is </s> done."}]`}, []Repair{RepairMarks, RepairProse}},
		{"start token and prose", "<|im_start|>assistant\nYes.<|eot_id|></s>", []string{`answer [{"text":"Yes."}]`}, []Repair{RepairMarks, RepairProse}},
		{"struck out", "It is <s>here</s>", []string{`answer [{"text":"It is <s>here</s>"}]`}, []Repair{RepairProse}},
		{"name and object on the next line", "reader\n{\"file\": \"a.txt\"}", []string{`reader [{"file":"a.txt"}]`}, []Repair{RepairFirstWord}},
		{"list of tool calls after a tag", "[TOOL_CALLS] [{\"name\": \"reader\", \"arguments\": {\"file\": \"a\"}}]", []string{`reader [{"file":"a"}]`}, []Repair{RepairOtherKeys, RepairSurroundings}},
		{"final answer", "Thought: done\nFinal Answer: 42", []string{`answer [{"text":"42"}]`}, []Repair{RepairReAct}},
		{"first word with colon", "Answer: it is 42", []string{`answer [{"text":"it is 42"}]`}, []Repair{RepairFirstWord, RepairAlias, RepairMaybeQuoted}},
		{"first word", "reader notes.txt", []string{`reader [{"file":"notes.txt"}]`}, []Repair{RepairFirstWord, RepairMaybeQuoted}},
		{"first word and object", `reader {"file": "a.txt"}`, []string{`reader [{"file":"a.txt"}]`}, []Repair{RepairFirstWord}},
		{"first word and fence", "python\n```python\nprint({'command': 'answer'})\n```", []string{`python [{"code":"print({'command': 'answer'})"}]`}, []Repair{RepairFirstWord, RepairFence}},
		{"first word and slots", "writer\nfile: a.txt\ntext: one\ntwo", []string{`writer [{"file":"a.txt","text":"one\ntwo"}]`}, []Repair{RepairFirstWord, RepairMaybeQuoted}},
		{"reasoning", "<think>maybe {\"command\": \"python\"}</think>\n{\"command\": \"answer\", \"content\": \"x\"}", []string{`answer [{"text":"x"}]`}, []Repair{RepairReasoning}},
		{"reasoning only", "<think>hm {\"command\": \"python\"}", []string{`think [{"text":"hm {\"command\": \"python\"}"}]`}, []Repair{RepairReasoning}},

		// How calls are put together.
		{"openai", `{"tool_calls":[{"id":"1","type":"function","function":{"name":"reader","arguments":"{\"file\":\"a\"}"}}]}`, []string{`reader [{"file":"a"}]`}, []Repair{RepairOtherKeys, RepairNestedJSON, RepairWrapper}},
		{"openai, one", `{"type":"function","function":{"name":"search","arguments":{"query":"q"}}}`, []string{`search [{"query":"q"}]`}, []Repair{RepairOtherKeys, RepairWrapper}},
		{"other case", `{"Command": "answer", "Content": "x"}`, []string{`answer [{"text":"x"}]`}, []Repair{RepairOtherKeys}},
		{"missing command", `{"summary": "s", "content": "x"}`, []string{`answer [{"text":"x"}]`}, []Repair{RepairMissingCommand}},
		{"null command", `{"command": null, "content": "x"}`, []string{`answer [{"text":"x"}]`}, []Repair{RepairMissingCommand}},
		{"unknown keys", `{"command": "writer", "filename": "a", "text": "x"}`, []string{`writer [{"filename":"a","text":"x"}]`}, []Repair{RepairFolded}},
		{"unknown keys beside content", `{"command": "writer", "file": "a", "content": "x"}`, []string{`writer [{"file":"a","text":"x"}]`}, []Repair{RepairFolded}},
		{"command as key", `{"python": "print(1)"}`, []string{`python [{"code":"print(1)"}]`}, []Repair{RepairOtherKeys}},
		{"thought is all", `{"command": "think", "thought": "t"}`, []string{`think [{"thought":"t"}]`}, []Repair{RepairFolded}},
		{"alias", `{"command": "summarize", "content": "a"}`, []string{`reader [{"file":"a"}]`}, []Repair{RepairAlias}},
		{"alias of what is not there", `{"command": "google", "content": {"query": "q"}}`, []string{`search [{"query":"q"}]`}, []Repair{RepairAlias}},
		{"fuzzy, harmless", `{"command": "raeder", "content": {"file": "a"}}`, []string{`raeder [{"file":"a"}]`}, nil},
		{"fuzzy, one letter", `{"command": "readr", "content": "a"}`, []string{`reader [{"file":"a"}]`}, []Repair{RepairFuzzyName}},
		{"fuzzy, consequential", `{"command": "pyton", "content": "x"}`, []string{`pyton [{"text":"x"}]`}, nil},
		{"double encoded", `"{\"command\": \"think\", \"content\": \"x\"}"`, []string{`think [{"text":"x"}]`}, []Repair{RepairNestedJSON, RepairMaybeQuoted}},

		// Prose.
		{"prose", "I'm sorry, I can't.", []string{`answer [{"text":"I'm sorry, I can't."}]`}, []Repair{RepairProse}},
		{"prose with braces", "Use {x} and {\"a\": 1} in C.", []string{`answer [{"text":"Use {x} and {\"a\": 1} in C."}]`}, []Repair{RepairProse}},
		{"prose that starts like a command", "Read the file first.", []string{`answer [{"text":"Read the file first."}]`}, []Repair{RepairProse}},
		{"prose about actions", "Action: none needed.", []string{`answer [{"text":"Action: none needed."}]`}, []Repair{RepairProse}},
		{"a number", "42", []string{`answer [{"text":"42"}]`}, []Repair{RepairProse}},
		{"empty", " \n", nil, nil},
		{"invalid UTF-8", "caf\xe9", []string{"answer [{\"text\":\"caf\uFFFD\"}]"}, []Repair{RepairUTF8, RepairProse}},
	}
	reg := standard(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := Parse(tt.reply, reg)
			var got []string
			for _, c := range p.Calls {
				got = append(got, oneLine(t, c))
			}
			assert.Equal(t, tt.want, got)
			assert.ElementsMatch(t, tt.repairs, p.Repairs)
			checkCanonical(t, p, reg)
		})
	}
}

// A reasoning tag ends a block of reasoning only where it is one: not in a value,
// a fence or a sentence.
func TestParseReasoningTags(t *testing.T) {
	reg := standard(t)
	for _, tags := range reasoningTags {
		for reply, want := range map[string]string{
			"so be it\nEND\n\n42":                                           `answer [{"text":"42"}]`,
			`so be itEND{"command":"think"}`:                                `think []`,
			"BEGINso be itEND 42":                                           `answer [{"text":"42"}]`,
			"BEGINEND is no end\nEND\n42":                                   `answer [{"text":"42"}]`,
			"The tag END closes it.":                                        `answer [{"text":"The tag END closes it."}]`,
			"So:\n```\nx\nEND\n```\nSo it is.":                              "answer [{\"text\":\"So:\\n```\\nx\\nEND\\n```\\nSo it is.\"}]",
			`{"command": "writer", "content": {"file": "a", "text": "x END`: `writer [{"file":"a","text":"x END"}]`,
			"{\"command\": \"writer\", \"content\": {\"file\": \"a\", \"text\": \"x\nEND\ny\"}":              `writer [{"file":"a","text":"x\nEND\ny"}]`,
			"writer('a', \"\"\"x\nEND\ny\"\"\")":                                                             `writer [{"file":"a","text":"x\nEND\ny"}]`,
			"<function=writer><parameter=file>a</parameter><parameter=text>x\nEND\ny</parameter></function>": `writer [{"file":"a","text":"x\nEND\ny"}]`,
			"python\n```python\nx = 1\nEND\ny\n```":                                                          `python [{"code":"x = 1\nEND\ny"}]`,
			"Action: writer\nAction Input: {'file': 'a', 'text': \"\"\"x\nEND\ny\"\"\"}":                     `writer [{"file":"a","text":"x\nEND\ny"}]`,
		} {
			tag := strings.NewReplacer("BEGIN", tags[0], "END", tags[1])
			p := Parse(tag.Replace(reply), reg)
			require.Len(t, p.Calls, 1, reply)
			assert.Equal(t, tag.Replace(want), oneLine(t, p.Calls[0]), reply)
		}
	}
}

func TestParseKeepsNotesAndSummary(t *testing.T) {
	p := Parse("Thought: look first\nAction: reader\nAction Input: a", standard(t))
	require.Len(t, p.Calls, 1)
	assert.Equal(t, []string{"look first"}, p.Calls[0].Notes)

	p = Parse(`{"command":"think","summary":"plan","content":"x","notes":"one"}`, standard(t))
	assert.Equal(t, "plan", p.Calls[0].Summary)
	assert.Equal(t, []string{"one"}, p.Calls[0].Notes)
}

func TestParseReportsGuesses(t *testing.T) {
	reg := standard(t)
	p := Parse(`{"command": "pyton", "content": "x"}`, reg)
	require.Len(t, p.Calls, 1)
	assert.Equal(t, command.MatchFuzzy, p.Calls[0].Match)
	assert.Equal(t, "python", p.Calls[0].Suggestion)
	_, err := reg.Resolve(p.Calls[0].Command)
	assert.ErrorContains(t, err, `unknown command "pyton"`)

	p = Parse(`{"command": "readr", "content": "x"}`, reg)
	assert.Equal(t, command.MatchFuzzy, p.Calls[0].Match)
	assert.Equal(t, "reader", p.Calls[0].Command)
}

func TestParsedJSON(t *testing.T) {
	out, err := json.Marshal(Parse(`{"command":"answer","content":"a<b"}`, standard(t)))
	require.NoError(t, err)
	assert.JSONEq(t, `{"calls":[{"command":"answer","summary":"","content":[{"text":"a<b"}],"notes":[],"match":"exact"}],"repairs":[]}`, string(out))
	out, err = json.Marshal(Parse("", nil))
	require.NoError(t, err)
	assert.JSONEq(t, `{"calls":[],"repairs":[]}`, string(out))
}

// checkCanonical asserts that the canonical form of every call is read back as
// the same call, without any repair.
func checkCanonical(t testing.TB, p Parsed, reg *command.Registry) {
	t.Helper()
	for _, c := range p.Calls {
		wire, err := command.Marshal(&c.Call)
		require.NoError(t, err)
		again := Parse(string(wire), reg)
		require.Len(t, again.Calls, 1, "%s", wire)
		require.Empty(t, again.Repairs, "%s", wire)
		require.Equal(t, c.Call, again.Calls[0].Call, "%s", wire)
	}
}

// reply is one line of the fixture of real replies.
type reply struct {
	Source, Reply, Kind string
	Expect              []map[string]any
}

func realReplies(t *testing.T) []reply {
	t.Helper()
	f, err := os.Open(shared(t, "fixtures/model_replies.jsonl"))
	require.NoError(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	var out []reply
	for lines.Scan() {
		var r reply
		dec := json.NewDecoder(strings.NewReader(lines.Text()))
		dec.UseNumber()
		require.NoError(t, dec.Decode(&r))
		out = append(out, r)
	}
	require.NoError(t, lines.Err())
	require.NotEmpty(t, out)
	return out
}

// evident are the commands that a person sees in the broken replies, by line.
var evident = map[int]string{
	5: "search", 6: "think", 7: "answer", 27: "think search", 44: "think delegate", 52: "answer",
	54: "delegate", 55: "delegate", 56: "think answer delegate", 57: "think search", 59: "writer answer",
	60: "think reader", 64: "think reader", 66: "think writer", 77: "writer", 78: "writer", 79: "writer",
}

func TestParseRealReplies(t *testing.T) {
	reg := standard(t)
	for i, r := range realReplies(t) {
		p := Parse(r.Reply, reg)
		checkCanonical(t, p, reg)
		var names []string
		for _, c := range p.Calls {
			names = append(names, c.Command)
		}
		switch r.Kind {
		case "json", "python":
			require.Len(t, p.Calls, len(r.Expect), "reply %d", i)
			for j, want := range r.Expect {
				assert.Equal(t, strict(reg, want), p.Calls[j].Call, "reply %d", i)
			}
		case "broken":
			assert.Equal(t, evident[i], strings.Join(names, " "), "reply %d", i)
		case "prose":
			require.Equal(t, []string{"answer"}, names, "reply %d", i)
			assert.Equal(t, []map[string]any{{"text": strings.TrimSpace(r.Reply)}}, p.Calls[0].Content, "reply %d", i)
		default:
			t.Fatalf("reply %d: unknown kind %q", i, r.Kind)
		}
	}
}

// strict makes a call of a strict reading, independently of Parse: the fixture
// holds no aliases, and its only irregular call has its fields beside content.
func strict(reg *command.Registry, want map[string]any) command.Call {
	c := command.Call{Command: want["command"].(string), Content: []map[string]any{}}
	c.Summary, _ = want["summary"].(string)
	slot := "text"
	if l := reg.Lookup(c.Command); l.Command != nil {
		slot = l.Command.Spec().TextSlot()
	}
	add := func(v any) {
		if object, ok := v.(map[string]any); ok {
			c.Content = append(c.Content, object)
		} else {
			c.Content = append(c.Content, map[string]any{slot: v})
		}
	}
	switch content := want["content"].(type) {
	case nil:
	case []any:
		for _, v := range content {
			add(v)
		}
	default:
		add(content)
	}
	if notes, ok := want["notes"].([]any); ok {
		for _, n := range notes {
			c.Notes = append(c.Notes, n.(string))
		}
	} else if note, ok := want["notes"].(string); ok {
		c.Notes = []string{note}
	}
	extra := map[string]any{}
	for k, v := range want {
		if k != "command" && k != "summary" && k != "content" && k != "notes" {
			extra[k] = v
		}
	}
	if len(extra) > 0 {
		c.Content = append(c.Content, extra)
	}
	return c
}

// TestParseIsLinear bounds the work on hostile input by counting what was
// looked at, not by the clock: it grows as the input does.
func TestParseIsLinear(t *testing.T) {
	reg := standard(t)
	patterns := []string{
		"{", "[", "(", "{[", `{"a":`, `{"a":[`, `"`, `{"`, `{"a":"b" `, `{'`, "{\"\"\"", "{a:", "```", "`{", "{//", "{/*", "{#\n", `\`, `{"\u`,
		`{"command":"x","content":{`, `{"command":"x" `, "]}", "{]", "reader(", "reader('", "\nreader(", "<function=x>", "Action:\n", "<think>",
		`{"a":"b", `, `{"a":"x" "y" `, "{\"a\":\"\n", "{\"a\":\"x,\n\"", `{"a" "b" `, `["a" `, "[\"a\"\n", `{"a": b"`, `{"a": 1 b`, "{\"a\":\"}\n", `{"content":"`, "{ ", "“", `{“`, "1", "{1:", "{-", "r'", "{\"a\":r", `{"command":{`,
		"<|channel|>analysis<|message|>", "<|channel|>a to=b<|message|>", "<|end|>x", "[TOOL_CALLS]x{", "[TOOL_CALLS]reader[ARGS]{\"a\":", `<invoke name="x">`, "<tool_call>x<arg_key>",
		"<｜tool▁call▁begin｜>x", "[reader(", "Plan: x\n", "Plan: {", `\n`, `C:\n`, `{"a":"C:\new\n`, `{"a":"$\t`, `["\b", `,
	}
	work := func(pattern string, size int, frame func(string) string) int {
		reply := frame(strings.Repeat(pattern, size/len(pattern)))
		start := budgetFactor*len(reply) + budgetMin
		budget := start
		p := (&salvage{reg: reg, budget: &budget}).parse(reply)
		assert.NotNil(t, p.Calls, "%.20q", reply)
		// Past the budget every rung stops at its next step, so the
		// overdraft is at most one look at the whole text for each rung.
		assert.Greater(t, budget, -16*len(reply), "%.20q", reply)
		return start - budget
	}
	for _, frame := range []func(string) string{
		func(s string) string { return s },
		func(s string) string { return `{"command":"answer","content":"` + s },
		func(s string) string { return "x " + s },
	} {
		for _, pattern := range patterns {
			small, large := work(pattern, 4<<10, frame), work(pattern, 32<<10, frame)
			assert.LessOrEqual(t, large, 10*small+32*budgetMin, "%.40q: eight times the text must not be much more than eight times the work", frame(pattern))
		}
	}
}

func TestParseDeepNesting(t *testing.T) {
	reg := standard(t)
	for _, depth := range []int{10, depthMax - 5, depthMax + 5, 9_000, 200_000} {
		text := `{"command":"answer","content":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + "}"
		p := Parse(text, reg)
		require.NotEmpty(t, p.Calls, "depth %d", depth)
		checkCanonical(t, p, reg)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"command":"reader","summary":"s","content":[{"file":"a.txt"}],"notes":["n"]}`,
		"```json\n{\"command\": \"think\", 'content': \"\"\"x\ny\"\"\"}\n```", `{'command': 'x', "content": ('a' 'b', None, 0x1f, 1_0, .5)}`,
		`<tool_call>{"name": "reader", "arguments": "{\"file\": 1}"}</tool_call>`, "Thought: t\nAction: reader\nAction Input: {\"file\": \"a\"}",
		`writer(file="a", text='b')`, "{\"command\": \"answer\", \"content\": \"He said \"no\"", "answer: 42", "<think>x</think>{command: reader}",
		`{"python": "1"}`, "<function=writer><parameter=file>a</parameter></function>", `{"command":"a\_b","content":[[1.0,"\ud800"]]}`, "caf\xe9 {",
	} {
		f.Add(seed)
	}
	reg := standard(f)
	f.Fuzz(func(t *testing.T, reply string) {
		p := Parse(reply, reg)
		for _, c := range p.Calls {
			require.True(t, utf8.ValidString(c.Command))
		}
		checkCanonical(t, p, reg)
		checkCanonical(t, Parse(reply, nil), nil)
	})
}
