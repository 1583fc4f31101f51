package inference

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// doubling is a chain of n rules, each of which can begin with the next in two ways.
func doubling(n int) string {
	var b strings.Builder
	b.WriteString("root ::= a0\n")
	for i := range n {
		fmt.Fprintf(&b, "a%d ::= a%d | a%d\n", i, i+1, i+1)
	}
	fmt.Fprintf(&b, "a%d ::= \"x\"\n", n)
	return b.String()
}

// chain is n rules, each of which begins with the next.
func chain(n int) string {
	var b strings.Builder
	b.WriteString("root ::= a0\n")
	for i := range n {
		fmt.Fprintf(&b, "a%d ::= a%d\n", i, i+1)
	}
	fmt.Fprintf(&b, "a%d ::= \"x\"\n", n)
	return b.String()
}

var refusedGrammars = map[string]struct{ gbnf, want string }{
	"bounds in the wrong order":      {`root ::= "a"{5,2}`, "repetition {5,2}: at least 5 can't be at most 2"},
	"at most nothing":                {`root ::= "a"{3,0}`, "repetition {3,0}"},
	"a bound that overflows":         {`root ::= "a"{18446744073709551615}`, "numbers of 0 to 2000"},
	"more than llama.cpp repeats":    {`root ::= "a"{0,2001}`, "numbers of 0 to 2000"},
	"doubling beginnings":            {doubling(40), "too many ways lead from rule to rule"},
	"a long chain":                   {chain(50_000), "chain of more than"},
	"left recursion":                 {`root ::= root "a" | "b"`, `rule "root" is left-recursive (root → root)`},
	"left recursion by a round":      {"root ::= x\nx ::= y \"a\"\ny ::= x | \"b\"", `rule "x" is left-recursive (x → y → x)`},
	"left recursion behind nothing":  {"root ::= y root \"b\" | \"a\"\ny ::= z\nz ::= \"\"", `rule "root" is left-recursive`},
	"left recursion behind a maybe":  {"root ::= (\"x\"? \"y\"*) root \"b\" | \"a\"", `rule "root" is left-recursive`},
	"nothing, again and again":       {"root ::= x* \"b\"\nx ::= \"a\" | \"\"", `rule "root" is left-recursive`},
	"nothing in the middle":          {"root ::= (\"a\"?) root (\"b\"?)", `rule "root" is left-recursive (root → root)`},
	"nothing behind a token":         {"root ::= <[1]>{0,3} root", `rule "root" is left-recursive`},
	"repetitions of many rules":      {`root ::= (("a"{0,50}){0,50})`, "repetitions within repetitions"},
	"repetitions of repetitions":     {`root ::= "a"{1000}{1000}`, "repetitions within repetitions"},
	"long literals repeated":         {`root ::= "` + strings.Repeat("a", 10_000) + `"{2000}`, "more than 1048576 symbols"},
	"long classes repeated":          {`root ::= [` + strings.Repeat("a", 10_000) + `]{2000}`, "more than 1048576 symbols"},
	"a long literal and many plus":   {`root ::= "` + strings.Repeat("a", 10_000) + `"` + strings.Repeat("+", 10_000), "more than 1048576 symbols"},
	"many ways through what is none": {`root ::= (("a"?){1000}){600} "b"`, "can begin in more than"},
	"nested too deep":                {"root ::= " + strings.Repeat("(", 65) + `"a"` + strings.Repeat(")", 65), "parentheses nested deeper than 64"},
	"an undefined rule":              {"root ::= x", `rule "x" is used but not defined`},
	"no root":                        {`x ::= "a"`, `no rule named "root"`},
	"a root in use only":             {`x ::= root`, `rule "root" is used but not defined`},
	"an open literal":                {"root ::= \"a", `rule "root": a literal or a class is not closed`},
	"an open class":                  {"root ::= [a", "not closed"},
	"an open group":                  {"root ::= (\"a\"\n", "a closing parenthesis"},
	"a stray bracket":                {"root ::= \"a\" )", `the end of the line should stand before ")"`},
	"an open brace":                  {`root ::= "a"{2`, "no closing brace"},
	"braces without numbers":         {`root ::= "a"{,2}`, "is not {m}, {m,} or {m,n}"},
	"nothing to repeat":              {`root ::= *`, "nothing before it to repeat"},
	"an empty text repeated":         {`root ::= ""{3}`, "nothing before it to repeat"},
	"an unknown escape":              {`root ::= "\d"`, `unknown escape \d`},
	"a short escape":                 {`root ::= "\x1"`, "2 hexadecimal digits"},
	"no definition":                  {"root\n", "::= should stand before"},
	"a token without end":            {"root ::= <a", "a token such as"},
	"a second line":                  {"root ::= x\nx ::= [a-z]{3,1}", `line 2, rule "x": repetition {3,1}`},
}

func TestDangerousGrammarsAreRefused(t *testing.T) {
	for name, tt := range refusedGrammars {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			assert.ErrorContains(t, CheckGrammar(tt.gbnf), tt.want)
			assert.Less(t, time.Since(start), 2*time.Second)
		})
	}
}

// usualGrammars must stay allowed: those at the limits, and ways of writing.
var usualGrammars = map[string]string{
	"the most repetitions":        `root ::= "a"{2000}`,
	"the most optional ones":      `root ::= "ab"{0,2000}`,
	"no more than nothing":        `root ::= "a"{0} "b"{0,0}`,
	"optional ones that may be":   `root ::= ("a"? "b"){0,300}`,
	"large but few symbols":       `root ::= ((("a"{1000}){1000}){1000})`,
	"right recursion":             `root ::= "a" root | "b"`,
	"an empty beginning":          "root ::= ws \"a\" root? \nws ::= [ \\t]* | \"\"",
	"a chain":                     chain(2000),
	"some doubling":               doubling(10),
	"many alternatives":           "root ::= " + strings.TrimSuffix(strings.Repeat(`"word" | `, 8000), " | "),
	"comments and line ends":      "# a grammar\r\nroot ::= # what follows\r\n  x | (\n \"b\" # more\n | \"c\"\n)\r\n\r\nx ::= \"a\"\n",
	"classes":                     `root ::= [^"\\\x7F\x00-\x1F] [-a] [a-] [\]\[] [] "x" .`,
	"escapes":                     `root ::= "\"\\\[\]\-\t\r\n\x41\u00e9\U0001F600"`,
	"characters of many bytes":    `root ::= "é€😀" [α-ω]`,
	"tokens":                      `root ::= <[1]> !<[2]>* "a"`,
	"nothing behind nothing":      `root ::= ("a"? "b"?)* ((("c"?))*)* "d"`,
	"a round that leaves no rest": "root ::= x\nx ::= y \"a\" | (y? z?) x\ny ::= \"b\"\nz ::= \"c\"",
	"a rule given twice":          "root ::= x\nx ::= \"a\"\nx ::= \"b\"",
}

func TestUsualGrammarsPass(t *testing.T) {
	for name, gbnf := range usualGrammars {
		assert.NoError(t, CheckGrammar(gbnf), name)
	}
	for _, path := range upstreamGrammars(t) {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.NoError(t, CheckGrammar(string(text)), path)
	}
}

// upstreamGrammars are llama.cpp's own examples, where its sources are.
func upstreamGrammars(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob("../third_party/llama.cpp/grammars/*.gbnf")
	require.NoError(t, err)
	return paths
}

func FuzzCheckGrammar(f *testing.F) {
	for _, tt := range refusedGrammars {
		f.Add(tt.gbnf)
	}
	for _, gbnf := range usualGrammars {
		f.Add(gbnf)
	}
	f.Fuzz(func(t *testing.T, gbnf string) {
		g, err := parseGBNF(gbnf)
		if err != nil {
			return
		}
		size := 0
		for id, rule := range g.rules {
			require.NotEmpty(t, g.names[id])
			for _, s := range rule {
				require.Less(t, int(s), len(g.rules))
			}
			size += len(rule)
		}
		assert.LessOrEqual(t, size, 2*grammarSizeMax)
		_ = CheckGrammar(gbnf)
	})
}
