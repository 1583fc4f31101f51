package salvage

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The forms in which today's models write one call. Each stands alone, so that it
// may run.
func TestParseDialects(t *testing.T) {
	const list = `list [{"pattern":"*.md"}]`
	reg := standard(t)
	for reply, want := range map[string]string{
		`[TOOL_CALLS]list[ARGS]{"pattern": "*.md"}`:                                                                        list,
		`[TOOL_CALLS]list[CALL_ID]a1b2[ARGS]{"pattern": "*.md"}`:                                                           list,
		`[TOOL_CALLS]list{"pattern": "*.md"}</s>`:                                                                          list,
		`[TOOL_CALLS] [{"name": "list", "arguments": {"pattern": "*.md"}}]`:                                                list,
		`<|channel|>commentary to=functions.list<|message|>{"pattern":"*.md"}<|call|>`:                                     list,
		`<|start|>assistant<|channel|>commentary to=functions.list <|constrain|>json<|message|>{"pattern":"*.md"}<|call|>`: list,
		`<|start|>assistant to=functions.list<|channel|>commentary json<|message|>{"pattern":"*.md"}`:                      list,
		`<|channel|>final<|message|>It is 42.<|return|>`:                                                                   `answer [{"text":"It is 42."}]`,
		"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>list\n```json\n{\"pattern\":\"*.md\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>": list,
		`<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>list<｜tool▁sep｜>{"pattern":"*.md"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>`:                             list,
		`<|tool_calls_section_begin|><|tool_call_begin|>functions.list:0<|tool_call_argument_begin|>{"pattern":"*.md"}<|tool_call_end|>`:           list,
		"<tool_call>list\n<arg_key>pattern</arg_key>\n<arg_value>*.md</arg_value>\n</tool_call>":                                                   list,
		`<tool_call>list{"pattern": "*.md"}</tool_call>`:                                                                                                             list,
		"<function_calls>\n<invoke name=\"list\">\n<parameter name=\"pattern\">*.md</parameter>\n</invoke>\n</function_calls>":                                       list,
		`<minimax:tool_call><invoke name="list"><parameter name="pattern">*.md</parameter></invoke></minimax:tool_call>`:                                             list,
		`<｜DSML｜function_calls><｜DSML｜invoke name="list"><｜DSML｜parameter name="pattern" string="true">*.md</｜DSML｜parameter></｜DSML｜invoke></｜DSML｜function_calls>`: list,
		"<seed:tool_call><function=list><parameter=pattern>*.md</parameter></function></seed:tool_call>":                                                             list,
		`<function=list>{"pattern": "*.md"}</function>`:                                                                                                              list,
		`[list(pattern="*.md")]`:                                                                                                                               list,
		`<|tool_call_start|>[list(pattern="*.md")]<|tool_call_end|>`:                                                                                           list,
		`<|python_tag|>list.call(pattern="*.md")`:                                                                                                              list,
		"```tool_code\ndefault_api.list(pattern=\"*.md\")\n```":                                                                                                list,
		`<|tool_call>call:list{pattern:<|"|>*.md<|"|>}<tool_call|>`:                                                                                            list,
		`<start_function_call>call:list{pattern:<escape>*.md<escape>}<end_function_call>`:                                                                      list,
		`<TOOLCALL>[{"name": "list", "arguments": {"pattern": "*.md"}}]</TOOLCALL>`:                                                                            list,
		`<|tools_prefix|>[{"list": {"pattern": "*.md"}}]<|tools_suffix|>`:                                                                                      list,
		`functools[{"name": "list", "arguments": {"pattern": "*.md"}}]`:                                                                                        list,
		`<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "list", "parameters": {"pattern": "*.md"}}]<|END_ACTION|>`:                                        list,
		`[TOOL_REQUEST]{"name": "list", "arguments": {"pattern": "*.md"}}[END_TOOL_REQUEST]`:                                                                   list,
		">>>list\n{\"pattern\": \"*.md\"}":                                                                                                                     list,
		"Plan: see what is there.\n{\"command\":\"list\",\"content\":[{\"pattern\":\"*.md\"}]}":                                                                list,
		"**Thought:** look first.\n```json\n{\"command\":\"list\",\"content\":[{\"pattern\":\"*.md\"}]}\n```":                                                  list,
		"Thought: look first.\nAction:\n{\"command\":\"list\",\"content\":[{\"pattern\":\"*.md\"}]}\n":                                                         list,
		"Notes: look.\n<function=list><parameter=pattern>*.md</parameter></function>":                                                                          list,
		"Think: look\nlist(pattern=\"*.md\")":                                                                                                                  list,
		"Thought: look.\n{\"command\":\"list\",\"content\":[{\"pattern\":\"*.md\"}]}\nObservation: a.md":                                                       list,
		`<tool_code>list(pattern="*.md")</tool_code>`:                                                                                                          list,
		"```tool_code\nprint(default_api.list(pattern=\"*.md\"))\n```":                                                                                         list,
		`print(default_api.list(pattern="*.md"))`:                                                                                                              list,
		`commentary to=functions.list json{"pattern":"*.md"}`:                                                                                                  list,
		`{"tool_uses":[{"recipient_name":"functions.list","parameters":{"pattern":"*.md"}}]}`:                                                                  list,
		`{"name":"functions.list","arguments":{"pattern":"*.md"}}`:                                                                                             list,
		`<function name="list">{"pattern":"*.md"}</function>`:                                                                                                  list,
		`<function name="list"><parameter name="pattern">*.md</parameter></function>`:                                                                          list,
		"<list>\n<pattern>*.md</pattern>\n</list>":                                                                                                             list,
		"<writer>\n<file>a</file>\n<text>\n<b>x</b>\n</text>\n</writer>":                                                                                       `writer [{"file":"a","text":"<b>x</b>"}]`,
		"Action: ```json\n[\n    {\n        \"tool_name\": \"list\",\n        \"parameters\": {\"pattern\": \"*.md\"}\n    }\n]\n```":                          list,
		"Plan: look.\nAction: ```json\n[{\"tool_name\": \"list\", \"parameters\": {\"pattern\": \"*.md\"}}]\n```":                                              list,
		`<|START_THINKING|>Look.<|END_THINKING|><|START_ACTION|>[{"tool_call_id": "0", "tool_name": "list", "parameters": {"pattern": "*.md"}}]<|END_ACTION|>`: list,
		`[THINK]Look.[/THINK][TOOL_CALLS]list[ARGS]{"pattern": "*.md"}`:                                                                                        list,
		"<seed:think>Look.</seed:think><seed:tool_call><function=list><parameter=pattern>*.md</parameter></function></seed:tool_call>":                         list,
		"◁think▷Look.◁/think▷{\"name\": \"list\", \"arguments\": {\"pattern\": \"*.md\"}}":                                                                     list,
		`analysisLook first.assistantcommentary to=functions.list json{"pattern":"*.md"}`:                                                                      list,
		`analysisLook first.assistantfinalIt is 42.`:                                                                                                           `answer [{"text":"It is 42."}]`,
		"```tool_code\nprint(list(pattern=\"*.md\"))\n```":                                                                                                     list,
		`<tool_code>print(list(pattern="*.md"))</tool_code>`:                                                                                                   list,
		"<|assistant|>list\n{\"pattern\": \"*.md\"}":                                                                                                           list,
		"<|im_start|>assistant\n<tool_call>\n{\"name\": \"list\", \"arguments\": {\"pattern\": \"*.md\"}}\n</tool_call><|im_end|>":                             list,
		"<|start_header_id|>assistant<|end_header_id|>\n\n{\"name\": \"list\", \"parameters\": {\"pattern\": \"*.md\"}}<|eot_id|>":                             list,
		`<xai:function_call name="list"><parameter name="pattern">*.md</parameter></xai:function_call>`:                                                        list,
		`{"functionCall":{"name":"list","args":{"pattern":"*.md"}}}`:                                                                                           list,
		`{"thought":"look","tool_name":"list","tool_args":{"pattern":"*.md"}}`:                                                                                 list,
		`[{"type":"text","text":"I look."},{"type":"tool_use","id":"toolu_1","name":"list","input":{"pattern":"*.md"}}]`:                                       list,
		`{"type":"tool_use","id":"toolu_1","name":"list","input":{"pattern":"*.md"}}`:                                                                          list,
		`<TOOLCALL>[list(pattern="*.md")]</TOOLCALL>`:                                                                                                          list,
		`<|tool_call|>[{"name": "list", "arguments": {"pattern": "*.md"}}]<|/tool_call|>`:                                                                      list,
		"<functioncall> {\"name\": \"list\", \"arguments\": '{\"pattern\": \"*.md\"}'} <|endoftext|>":                                                          list,
		`<|action_start|><|plugin|>{"name": "list", "parameters": {"pattern": "*.md"}}<|action_end|>`:                                                          list,
		"<longcat_tool_call>list\n<longcat_arg_key>pattern</longcat_arg_key>\n<longcat_arg_value>*.md</longcat_arg_value>\n</longcat_tool_call>":               list,
		"<|from|>assistant\n<|recipient|>list\n<|content|>{\"pattern\": \"*.md\"}<|stop|>":                                                                     list,
		`<|tool_call:begin|>a1<|tool_call:name|>list<|tool_call:args|>{"pattern": "*.md"}<|tool_call:end|>`:                                                    list,
		`<execute_tool>list(pattern="*.md")</execute_tool>`:                                                                                                    list,
		`<|python_tag|>{"type": "function", "name": "list", "parameters": {"pattern": "*.md"}}<|eom_id|>`:                                                      list,
		`<steptml:toolcall><steptml:invoke name="list"><steptml:parameter name="pattern">*.md</steptml:parameter></steptml:invoke></steptml:toolcall>`:         list,
		"<function_calls>\nlist(pattern=\"*.md\")\n</function_calls>":                                                                                          list,
		`{"command":"list","content":"{\"pattern\": \"*.md\"}"}`:                                                                                               list,
		`{"command":"list","content":"[{\"pattern\": \"*.md\"}]"}`:                                                                                             list,
		`{"command":"list","content":["{\"pattern\": \"*.md\"}"]}`:                                                                                             list,
		`{"command":"reader","content":"[{\"file\": \"a.txt\"}]"}`:                                                                                             `reader [{"file":"a.txt"}]`,
	} {
		p := Parse(reply, reg)
		require.Len(t, p.Calls, 1, reply)
		assert.Equal(t, want, oneLine(t, p.Calls[0]), reply)
		assert.NotContains(t, p.Repairs, RepairMaybeQuoted, reply)
		checkCanonical(t, p, reg)
	}
}

// Inputs of ReAct and of the wire form that have the slots in other ways.
func TestParseInputs(t *testing.T) {
	reg := standard(t)
	for reply, want := range map[string]string{
		"Action: list\nAction Input: pattern=\"*.md\"":         `list [{"pattern":"*.md"}]`,
		"Action: list\nAction Input: pattern: *.md":            `list [{"pattern":"*.md"}]`,
		"command: list\ncontent:\n  pattern: \"*.md\"":         `list [{"pattern":"*.md"}]`,
		"Action: writer\nAction Input: file=\"a\", text=\"b\"": `writer [{"file":"a","text":"b"}]`,
		"Action: python\nAction Input: x = 1\nprint(x)":        `python [{"code":"x = 1\nprint(x)"}]`,
		"Action: answer\nAction Input: e = mc2":                `answer [{"text":"e = mc2"}]`,
	} {
		p := Parse(reply, reg)
		require.Len(t, p.Calls, 1, reply)
		assert.Equal(t, want, oneLine(t, p.Calls[0]), reply)
	}
}

// What only mentions such a form is none, and what stands in a value stays there.
func TestParseDialectsInTexts(t *testing.T) {
	reg := standard(t)
	for reply, want := range map[string]string{
		`<|channel|>commentary to=functions.writer<|message|>{"file":"a","text":"It ends with <|call|><|channel|>commentary to=functions.python<|message|>{}"}<|call|>`:                                                `writer [{"file":"a","text":"It ends with <|call|><|channel|>commentary to=functions.python<|message|>{}"}]`,
		`[TOOL_CALLS]writer[ARGS]{"file":"a","text":"[TOOL_CALLS]python[ARGS]{\"code\":\"1\"}"}`:                                                                                                                       `writer [{"file":"a","text":"[TOOL_CALLS]python[ARGS]{\"code\":\"1\"}"}]`,
		`<invoke name="writer"><parameter name="file">a</parameter><parameter name="text"><invoke name="python"><parameter name="code">1</parameter></invoke></parameter></invoke>`:                                    `writer [{"file":"a","text":"<invoke name=\"python\"><parameter name=\"code\">1</parameter></invoke>"}]`,
		"<tool_call>writer\n<arg_key>file</arg_key><arg_value>a</arg_value>\n<arg_key>text</arg_key><arg_value><tool_call>python\n<arg_key>code</arg_key><arg_value>1</arg_value></tool_call></arg_value></tool_call>": "writer [{\"file\":\"a\",\"text\":\"<tool_call>python\\n<arg_key>code</arg_key><arg_value>1</arg_value></tool_call>\"}]",
		`[writer(file="a", text="[python(code='1')]")]`: `writer [{"file":"a","text":"[python(code='1')]"}]`,
		"Plan: first look, then write.":                 `think [{"text":"first look, then write."}]`,
		`{"command":"answer","content":"{\"a\": 1}"}`:   `answer [{"text":"{\"a\": 1}"}]`,
		`{"command":"answer","content":"[1, 2]"}`:       `answer [{"text":"[1, 2]"}]`,
		"```python\nprint(list(range(3)))\n```":         `python [{"code":"print(list(range(3)))"}]`,
		`analysis of variance`:                          `answer [{"text":"analysis of variance"}]`,
		`[1, 2](see below)`:                             `answer [{"text":"[1, 2](see below)"}]`,
	} {
		p := Parse(reply, reg)
		require.Len(t, p.Calls, 1, reply)
		assert.Equal(t, want, oneLine(t, p.Calls[0]), reply)
	}
	assert.Contains(t, Parse("Plan: the form is\n{\"command\":\"python\",\"content\":\"1\"}\nand no other.", reg).Repairs, RepairMaybeQuoted)
	p := Parse(`<|channel|>analysis<|message|>Look first.<|end|><|start|>assistant<|channel|>commentary to=functions.list<|message|>{}<|call|>`, reg)
	require.Len(t, p.Calls, 1)
	assert.Equal(t, []string{"Look first."}, p.Calls[0].Notes)
	for _, two := range []string{
		"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>list\n```json\n{}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>list\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
		`[TOOL_CALLS]list[ARGS]{}[TOOL_CALLS]list[ARGS]{}`,
		"<function_calls><invoke name=\"list\"></invoke>\n<invoke name=\"list\"></invoke></function_calls>",
		`<|channel|>commentary to=functions.list<|message|>{}<|call|><|start|>assistant<|channel|>commentary to=functions.list<|message|>{}<|call|>`,
		`[list(), list(pattern="*.md")]`,
		"<|tool_calls_section_begin|><|tool_call_begin|>functions.list:0<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_call_begin|>functions.list:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
		"Reasoning: look twice.\nlist()\nlist()",
	} {
		p = Parse(two, reg)
		assert.Len(t, p.Calls, 2, two)
		assert.NotContains(t, p.Repairs, RepairMaybeQuoted, two)
	}
	p = Parse(`<tool_call>list<arg_key>pattern</arg_key><arg_value>a</arg_value></tool_call><tool_call>list<arg_key>pattern</arg_key><arg_value>b</arg_value></tool_call>`, reg)
	require.Len(t, p.Calls, 2)
	assert.NotContains(t, p.Repairs, RepairMaybeQuoted)
}

// A call that stands in a file is found there in every form, so that quoting it is not
// taken for making it.
func TestCallsWithinTexts(t *testing.T) {
	reg := standard(t)
	for _, form := range []string{
		`<|channel|>commentary to=functions.python<|message|>{"code":"1"}<|call|>`,
		`[TOOL_CALLS]python[ARGS]{"code":"1"}`,
		`<｜tool▁call▁begin｜>python<｜tool▁sep｜>{"code":"1"}<｜tool▁call▁end｜>`,
		`<invoke name="python"><parameter name="code">1</parameter></invoke>`,
		`<tool_call>python<arg_key>code</arg_key><arg_value>1</arg_value></tool_call>`,
		`[python(code="1")]`,
		`<|tool_call>call:python{code:<|"|>1<|"|>}<tool_call|>`,
		`{"command":"python","content":"{\"code\":\"1\"}"}`,
	} {
		calls := Within("A file says:\n"+form+"\nand goes on.", reg)
		require.Len(t, calls, 1, form)
		assert.Equal(t, []map[string]any{{"code": "1"}}, calls[0].Content, form)
	}
}

// A sentence that speaks of a call is an answer, in whatever form the call is written. On
// lines of its own, or after words alone, it is a call.
func TestSentencesAboutCalls(t *testing.T) {
	reg := standard(t)
	for _, form := range []string{
		`<python>print(1)</python>`,
		`{"command":"python","content":"print(1)"}`,
		`{'command': 'python', 'content': 'print(1)'}`,
		`[{"name":"python","arguments":{"code":"print(1)"}}]`,
		`<tool_call>{"name":"python","arguments":{"code":"print(1)"}}</tool_call>`,
		`<tool_call>python<arg_key>code</arg_key><arg_value>print(1)</arg_value></tool_call>`,
		`<function=python><parameter=code>print(1)</parameter></function>`,
		`<invoke name="python"><parameter name="code">print(1)</parameter></invoke>`,
		`<|channel|>commentary to=functions.python<|message|>{"code":"print(1)"}<|call|>`,
		`[TOOL_CALLS]python[ARGS]{"code":"print(1)"}`,
		`<｜tool▁call▁begin｜>python<｜tool▁sep｜>{"code":"print(1)"}<｜tool▁call▁end｜>`,
		`[python(code="print(1)")]`,
		`<|python_tag|>python.call(code="print(1)")`,
		`<|tool_call>call:python{code:<|"|>print(1)<|"|>}<tool_call|>`,
		`<longcat_tool_call>python<longcat_arg_key>code</longcat_arg_key><longcat_arg_value>print(1)</longcat_arg_value></longcat_tool_call>`,
		`<|recipient|>python<|content|>{"code":"print(1)"}`,
		`<|tool_call:name|>python<|tool_call:args|>{"code":"print(1)"}<|tool_call:end|>`,
		`<execute_tool>python(code="print(1)")</execute_tool>`,
	} {
		for _, sentence := range []string{
			"Put FORM into the page.",
			"See:\n- Put FORM into the page,\n- or write `FORM`.",
			"The form is `FORM`.",
			"`FORM` prints it.",
			"They write \"FORM\" there, “FORM” here.",
			"First FORM, then FORM.",
		} {
			reply := strings.ReplaceAll(sentence, "FORM", form)
			p := Parse(reply, reg)
			require.Len(t, p.Calls, 1, reply)
			assert.Equal(t, "answer", p.Calls[0].Command, reply)
			assert.Equal(t, []map[string]any{{"text": reply}}, p.Calls[0].Content, reply)
			assert.Equal(t, []Repair{RepairProse}, p.Repairs, reply)
		}
		for _, reply := range []string{"I do it: " + form, "I do it.\n" + form, form + "\nIt prints 1."} {
			p := Parse(reply, reg)
			require.Len(t, p.Calls, 1, reply)
			assert.Equal(t, `python [{"code":"print(1)"}]`, oneLine(t, p.Calls[0]), reply)
			assert.Contains(t, p.Repairs, RepairMaybeQuoted, reply)
		}
	}
	p := Parse("Put <python>print(1)</python> into the page.\n{\"command\":\"list\",\"content\":[]}", reg)
	require.Len(t, p.Calls, 1)
	assert.Equal(t, "list []", oneLine(t, p.Calls[0]))
}

// The marks of the first word are taken off, those of what follows it stay.
func TestFirstWordKeepsMarks(t *testing.T) {
	reg := standard(t)
	for reply, want := range map[string]string{
		"list *.md":               `list [{"pattern":"*.md"}]`,
		"list: *.md":              `list [{"pattern":"*.md"}]`,
		"list **/*.md":            `list [{"pattern":"**/*.md"}]`,
		"**list**: *.md":          `list [{"pattern":"*.md"}]`,
		"**list:** *.md":          `list [{"pattern":"*.md"}]`,
		"**list: *.md**":          `list [{"pattern":"*.md"}]`,
		"`list` *.md":             `list [{"pattern":"*.md"}]`,
		"`list *.md`":             `list [{"pattern":"*.md"}]`,
		"* list *":                `list [{"pattern":"*"}]`,
		"# list\n*.md":            `list [{"pattern":"*.md"}]`,
		"reader `a.txt`":          `reader [{"file":"a.txt"}]`,
		`reader "a b.txt"`:        `reader [{"file":"a b.txt"}]`,
		"answer: *Yes*, it is.":   `answer [{"text":"*Yes*, it is."}]`,
		"answer: `ls` lists":      "answer [{\"text\":\"`ls` lists\"}]",
		"answer: \"A\" and \"B\"": `answer [{"text":"\"A\" and \"B\""}]`,
		"python: **kwargs":        `python [{"code":"**kwargs"}]`,
	} {
		p := Parse(reply, reg)
		require.Len(t, p.Calls, 1, reply)
		assert.Equal(t, want, oneLine(t, p.Calls[0]), reply)
	}
}

// Backslashes of paths, formulas and expressions are no escapes.
func TestParseBackslashes(t *testing.T) {
	reg := standard(t)
	for written, want := range map[string]string{
		`D:\temp\novel\final`:                `D:\temp\novel\final`,
		`C:\new\table`:                       `C:\new\table`,
		`Look in C:\temp\new.txt, please`:    `Look in C:\temp\new.txt, please`,
		`c:\users\nora\report`:               `c:\users\nora\report`,
		`C:\Program Files\nginx`:             "C:\\Program Files\nginx", // nobody can tell
		`\\server\share\new`:                 `\server\share\new`,
		`%TEMP%\reports`:                     `%TEMP%\reports`,
		`$\frac{a}{b} \times \rho$`:          `$\frac{a}{b} \times \rho$`,
		`\alpha + \beta \neq \nu`:            `\alpha + \beta \neq \nu`,
		`3 \times 4, \theta, \nabla f, \rho`: `3 \times 4, \theta, \nabla f, \rho`,
		`one\r\ntwo\r\n`:                     "one\r\ntwo\r\n",
		`$a \to \text{b}$`:                   `$a \to \text{b}$`,
		`\bfoo\b`:                            `\bfoo\b`,
		`(\d+)\s\1`:                          `(\d+)\s\1`,
		`\x1b[31m`:                           `\x1b[31m`,
		`\0`:                                 `\0`,
		`\bell\a\v`:                          `\bell\a\v`,
		// These are what they say.
		`one\ntwo\tthree`:                "one\ntwo\tthree",
		`if x:\n\treturn 1`:              "if x:\n\treturn 1",
		`A:\nyes\nB:\nno`:                "A:\nyes\nB:\nno",
		`x:\t5\ny:\t6`:                   "x:\t5\ny:\t6",
		`C:\\dir\\new\nnext.txt`:         "C:\\dir\\new\nnext.txt",
		`$5\nnot paid, $6\ttotal`:        "$5\nnot paid, $6\ttotal",
		`$\\alpha$\nu and i\ne poi`:      "$\\alpha$\nu and i\ne poi",
		`re.findall('\\d+', s)\nprint()`: "re.findall('\\d+', s)\nprint()",
	} {
		for _, frame := range []string{`{"command":"writer","content":[{"file":"w.txt","text":"TEXT"}]}`, `{'command':'writer','content':[{'file':'w.txt','text':"TEXT"}]}`} {
			p := Parse(replaceText(frame, written), reg)
			require.Len(t, p.Calls, 1, written)
			require.Len(t, p.Calls[0].Content, 1, written)
			got := p.Calls[0].Content[0]["text"]
			assert.Equal(t, want, got, written)
			if got != plainly(written) {
				assert.Contains(t, p.Repairs, RepairEscape, written)
			}
		}
	}
	for written, want := range map[string]string{
		`src\new\table.py`: `src\new\table.py`,
		`src\notes.py`:     `src\notes.py`,
		`a.txt\nb.txt`:     "a.txt\nb.txt",
	} {
		p := Parse(replaceText(`{"command":"reader","content":[{"file":"TEXT"}]}`, written), reg)
		require.Len(t, p.Calls, 1, written)
		assert.Equal(t, want, p.Calls[0].Content[0]["file"], written)
	}
}

func replaceText(frame, text string) string { return strings.ReplaceAll(frame, "TEXT", text) }

// plainly is a text with its escapes as JSON has them, or nothing where it has none.
func plainly(text string) any {
	var out any
	_ = json.Unmarshal([]byte(`"`+text+`"`), &out)
	return out
}
