package program

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
	"agent/command/stock"
)

func newCreateRig(t *testing.T) *rig {
	r := newRig(t)
	require.NoError(t, r.reg.Register(Create(r.Set, r.user)))
	return r
}

// create calls create_command with the fields in their order.
func (r *rig) create(fields ...string) *command.Result {
	content := map[string]any{}
	for i, name := range []string{"name", "description", "fields", "code", "test_call"} {
		if i < len(fields) {
			content[name] = fields[i]
		}
	}
	return r.call(CreateName, content)
}

const toCelsius = "def fahrenheit(degrees):\n    return (degrees - 32) * 5 / 9\n"

func TestCreate(t *testing.T) {
	r := newCreateRig(t)
	res := r.create("fahrenheit", "Convert Fahrenheit to Celsius.", "degrees", toCelsius, "degrees=212")
	assert.False(t, res.Failed, res.Text)
	assert.Equal(t, "Made the command fahrenheit. Its test fahrenheit(degrees=212) printed: 100.0\nUse it from the next step on. It is there in later runs too.", res.Text)
	assert.Equal(t, "added fahrenheit", r.refresh())
	assert.Equal(t, command.SlotNumber, r.Programs()[0].Spec().Slots[0].Kind, "by the value in the test")
	assert.Equal(t, "37.77777777777778", r.call("fahrenheit", map[string]any{"degrees": 100.0}).Text)

	later := NewSet(r.config)
	reg, err := stock.Standard()
	require.NoError(t, err)
	later.config.Registry = reg
	require.Len(t, later.Refresh(context.Background()), 1, "it is there in a later session")

	// The same name again: a new version, the old one is kept.
	res = r.create("fahrenheit", "Convert Fahrenheit to Celsius.", "degrees", strings.Replace(toCelsius, "return (degrees - 32) * 5 / 9", "return round((degrees - 32) * 5 / 9, 1)", 1), "98.6", "37")
	assert.Contains(t, res.Text, "It replaces the earlier command fahrenheit.")
	assert.Equal(t, "changed fahrenheit", r.refresh())
	versions, err := filepath.Glob(filepath.Join(r.user, ".history", "fahrenheit", "*"))
	require.NoError(t, err)
	assert.Len(t, versions, 2)
	newest, err := os.ReadFile(versions[1])
	require.NoError(t, err)
	current, err := os.ReadFile(filepath.Join(r.user, "fahrenheit.py"))
	require.NoError(t, err)
	assert.Equal(t, string(newest), string(current))
}

// What a person is shown before, what is tried and what is saved are the same bytes.
func TestCreateSavesWhatWasShown(t *testing.T) {
	r := newCreateRig(t)
	c, err := r.reg.Resolve(CreateName)
	require.NoError(t, err)
	call := &command.Call{Command: CreateName, Content: []map[string]any{{
		"name": "fahrenheit", "description": "Convert: \"F\" to C # really", "fields": "degrees: in Fahrenheit", "code": toCelsius, "test": "212",
	}}}
	shown, err := c.(command.Previewer).Preview(context.Background(), r.env, call)
	require.NoError(t, err)
	res, err := c.Run(context.Background(), r.env, call)
	require.NoError(t, err)
	require.False(t, res.Failed, res.Text)
	saved, err := os.ReadFile(filepath.Join(r.user, "fahrenheit.py"))
	require.NoError(t, err)
	assert.Equal(t, shown, string(saved))
	assert.Equal(t, `r"""
name: fahrenheit
description: 'Convert: "F" to C # really'
fields:
  - name: degrees
    help: in Fahrenheit
    kind: number
example:
  degrees: 212
"""
def fahrenheit(degrees):
    return (degrees - 32) * 5 / 9


def answer_request():
    import json
    import sys

    for entry in json.load(sys.stdin)["content"]:
        result = fahrenheit(**{name: entry[name] for name in ["degrees"] if name in entry})
        if result is not None:
            print(result)


if __name__ == "__main__":
    answer_request()
`, string(saved))
}

// Weak models write one thing in many forms.
func TestCreateIsLenient(t *testing.T) {
	tests := []struct {
		name               string
		fields, code, test string
		content            map[string]any
		want               string
	}{
		{"a call as test", "degrees", toCelsius, "fahrenheit(212)", map[string]any{"degrees": 32.0}, "0.0"},
		{"text in Python's quotes", "name", "def greet(name):\n    return f'Hello, {name}!'", `greet('Ann O\'Hara')`, nil, ""},
		{"a named call", "degrees", toCelsius, "fahrenheit(degrees=212)", nil, ""},
		{"an object as test", "degrees", toCelsius, `{"degrees": 212}`, nil, ""},
		{"the field by another name", "temperature in Fahrenheit", toCelsius, "temperature=212", map[string]any{"degrees": 32.0}, "0.0"},
		{"it prints", "degrees", "def run(degrees):\n    print((degrees - 32) * 5 / 9)", "212", nil, ""},
		{"it is tried in the code", "degrees", toCelsius + "\nprint(fahrenheit(50))\nif __name__ == '__main__':\n    print(fahrenheit(68))\n", "212", map[string]any{"degrees": 32.0}, "0.0"},
		{"no function", "degrees", "celsius = (degrees - 32) * 5 / 9\nprint(celsius)", "degrees=212", map[string]any{"degrees": 32.0}, "0.0"},
		{"fenced", "degrees", "```python\n" + toCelsius + "```", "212", nil, ""},
		{"a helper beside it", "degrees", "import math\ndef celsius(f):\n    return (f - 32) * 5 / 9\ndef fahrenheit(degrees):\n    return math.floor(celsius(degrees))", "212", map[string]any{"degrees": 33.0}, "0"},
		{"text", "name", "def greet(name):\n    return f'Hello, {name}!'", `name="Ann, it's you"`, nil, ""},
		{"two fields in order", "a, b", "def add(a, b):\n    return a + b", "2, 3", nil, ""},
		{"a default", "a, b", "def add(a, b=1):\n    return a + b", "a=2", nil, ""},
		{"a list", "numbers", "def total(numbers):\n    return sum(numbers)", "numbers=[1, 2, 3]", map[string]any{"numbers": []any{1, 1}}, "2"},
		{"no fields", "", "def six():\n    return 6", "", nil, ""},
	}
	r := newCreateRig(t)
	name := func(i int) string { return "made_" + string(rune('a'+i)) }
	for i, tt := range tests {
		res := r.create(name(i), "Does something.", tt.fields, tt.code, tt.test)
		require.False(t, res.Failed, "%s: %s", tt.name, res.Text)
	}
	assert.NotContains(t, r.refresh(), "broken")
	for i, tt := range tests {
		if tt.content != nil {
			assert.Equal(t, tt.want, r.call(name(i), tt.content).Text, tt.name)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	r := newCreateRig(t)
	r.writeUser("mine.py", script("description: A person's own.", "print('mine')\n"))
	require.Equal(t, "added mine", r.refresh())
	tests := []struct {
		name   string
		fields []string
		want   string
	}{
		{"no name", nil, `the name "" must be one word`},
		{"bad name", []string{"2 much!", "d", "", "x", ""}, `the name "2 much!" must be one word`},
		{"path as name", []string{"../../evil", "d", "", "x", ""}, "must be one word"},
		{"essential", []string{"answer", "d", "", "def f(): return 1", ""}, `the name "answer" belongs to the stock command answer. Choose another name.`},
		{"alias of the essential", []string{"finish", "d", "", "def f(): return 1", ""}, `the name "finish" belongs to the stock command answer`},
		{"alias of a stock command", []string{"cat", "d", "", "def f(): return 1", ""}, `belongs to the stock command reader`},
		{"itself", []string{"create_command", "d", "", "def f(): return 1", ""}, `belongs to the stock command create_command`},
		{"a person's", []string{"mine", "d", "", "def f(): return 1", ""}, `is taken by`},
		{"no description", []string{"new", " ", "", "def f(): return 1", ""}, "say in one line what it does"},
		{"no code", []string{"new", "d", "", "", ""}, "give its Python code"},
		{"syntax", []string{"new", "d", "a", "def f(a):\n    return (a", "1"}, "line 2 of the code: SyntaxError: '(' was never closed"},
		{"fixed", []string{"new", "d", "degrees", "degrees = 212\nprint((degrees - 32) * 5 / 9)", "212"}, "the code sets degrees itself"},
		{"no function", []string{"new", "d", "a, b", "import sys\nprint(sys.stdin.read())", "1, 2"}, "the code must define a function, such as: def new(a, b):"},
		{"no test", []string{"new", "d", "None", "def f(a):\n    return a", "None"}, "such as new(a=…)."},
		{"bad test", []string{"new", "d", "a, b", "def f(a, b):\n    return a", "1"}, `the test "1" can't be read. Write it like new(a=…, b=…).`},
		{"test raises", []string{"new", "d", "a", "def f(a):\n    b = 0\n    return a / b", "1"}, "its test new(a=1) failed:\nTraceback (most recent call last):\n  File \"new.py\", line 3, in f\n    return a / b\n           ~~^~~\nZeroDivisionError: division by zero"},
		{"out of the header", []string{"new", "a\"\"\"\nimport os\n\"\"\"", "a", "def f(a):\n    return a", "1"}, "must not have three quotes in a row"},
		{"control characters", []string{"new", "a\x1b]0;x\x07", "a", "def f(a):\n    return a", "1"}, "The command was not made"},
		{"needs by the back door", []string{"new", "d", "a", "r'''\nneeds: [network]\n'''\ndef f(a):\n    import socket\n    return socket.create_connection(('127.0.0.1', 1))", "1"}, "its test new(a=1) failed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := r.create(tt.fields...)
			assert.True(t, res.Failed)
			assert.Contains(t, res.Text, tt.want)
		})
	}
	assert.Empty(t, r.refresh(), "nothing was saved")
	entries, err := os.ReadDir(r.user)
	require.NoError(t, err)
	assert.Len(t, entries, 1)
}

func TestCreateKeepsWhatAPersonChanged(t *testing.T) {
	r := newCreateRig(t)
	res := r.create("fahrenheit", "Convert.", "degrees", toCelsius, "212")
	require.False(t, res.Failed, res.Text)
	require.Equal(t, "added fahrenheit", r.refresh())
	r.writeUser("fahrenheit.py", script(fahrenheit, fahrenheitCode))
	require.Equal(t, "changed fahrenheit", r.refresh())
	res = r.create("fahrenheit", "Convert.", "degrees", toCelsius, "212")
	assert.True(t, res.Failed, "a person has changed it: it is no longer the agent's own")
	assert.Contains(t, res.Text, "is taken by")
}

// A flaw in a full or protected folder is an error, not a half-made command.
func TestCreateCannotSave(t *testing.T) {
	r := newCreateRig(t)
	r.write(r.user, "a file where the folder should be", 0o600)
	c, err := r.reg.Resolve(CreateName)
	require.NoError(t, err)
	_, err = c.Run(context.Background(), r.env, &command.Call{Content: []map[string]any{{
		"name": "new", "description": "d", "fields": "", "code": "def f():\n    return 1",
	}}})
	assert.Error(t, err)
}

// The model reads the words of this command in every prompt.
func TestCreateIsTerse(t *testing.T) {
	assert.LessOrEqual(t, wordsOf(createSpec()), wordsMax)
	for _, slot := range createSpec().Slots {
		assert.NotEmpty(t, slot.Help, slot.Name)
	}
}
