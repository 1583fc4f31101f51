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

// manyProperties is an object with n properties of which the first few are required.
func manyProperties(n, required int) string {
	var names, wanted []string
	for i := range n {
		names = append(names, fmt.Sprintf(`"p%d":{"type":"string"}`, i))
		if i < required {
			wanted = append(wanted, fmt.Sprintf(`"p%d"`, i))
		}
	}
	return `{"type":"object","properties":{` + strings.Join(names, ",") + `},"required":[` + strings.Join(wanted, ",") + `]}`
}

// definitions is a schema of n definitions, each made of its own and the next number.
func definitions(n int, format, last string) string {
	var b strings.Builder
	b.WriteString(`{"$ref":"#/$defs/d0","$defs":{`)
	for i := range n {
		fmt.Fprintf(&b, `"d%d":`+strings.ReplaceAll(format, "NEXT", fmt.Sprintf("#/$defs/d%d", i+1))+",", i)
	}
	fmt.Fprintf(&b, `"d%d":%s}}`, n, last)
	return b.String()
}

func TestDangerousSchemasAreRefused(t *testing.T) {
	nested := `{"type":"string"}`
	for range 25 {
		nested = `{"type":["object","object"],"properties":{"a":` + nested + `}}`
	}
	wide := manyProperties(150, 0)
	for range 10 {
		wide = `{"type":"object","properties":{"` + strings.Repeat("n", 250) + `":` + wide + `}}`
	}
	for name, tt := range map[string]struct{ schema, want string }{
		"length":                 {`{"type":"string","minLength":5,"maxLength":2}`, "#: minLength is 5, more than the 2 of maxLength"},
		"items":                  {`{"properties":{"a":{"type":"array","minItems":5,"maxItems":3}}}`, "#/properties/a: minItems is 5, more than the 3"},
		"items of none":          {`{"type":"array","minItems":3,"maxItems":0}`, "minItems is 3"},
		"a length beyond limits": {`{"type":"string","maxLength":4294967298}`, "maxLength is 4294967298; no more than 2000 can be enforced"},
		"a length of a half":     {`{"type":"string","maxLength":1.5}`, "maxLength must be a whole number"},
		"itself through allOf": {`{"$ref":"#/definitions/Node","definitions":{"Node":{"type":"object","properties":{"child":{"allOf":[{"$ref":"#/definitions/Node"}]}}}}}`,
			`$ref "#/definitions/Node" contains itself through allOf`},
		"a reference to itself":     {`{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}`, "refers to itself and to nothing else"},
		"the same in an allOf":      {`{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"$ref":"#/$defs/a"}}}`, "contains itself through allOf"},
		"the same behind anyOf":     {`{"allOf":[{"anyOf":[{"$ref":"#/$defs/a"}]}],"$defs":{"a":{"properties":{"x":{"allOf":[{"$ref":"#/$defs/a"}]}}}}}`, "contains itself"},
		"optional properties":       {manyProperties(20_000, 0), "20000 properties, more than 2000"},
		"a few less":                {manyProperties(300, 50), "250 of its properties are optional, more than 200"},
		"long ways to properties":   {wide, "too much to convert"},
		"types, twice at each step": {nested, "it has more than 10000 parts"},
		"allOf, twice at each step": {definitions(20, `{"properties":{"a":{"allOf":[{"$ref":"NEXT"},{"$ref":"NEXT"}]}}}`, `{"properties":{}}`), "more than 10000 parts"},
		"a long chain":              {definitions(5000, `{"$ref":"NEXT"}`, `{"type":"string"}`), "parts deep"},
		"a long way down":           {definitions(2000, `{"properties":{"a":{"$ref":"NEXT"}}}`, `{"type":"string"}`), "parts deep"},
		"a long name":               {`{"properties":{"` + strings.Repeat("é", 200) + `":{}}}`, "a property's name has 400 bytes, more than 256"},
		"a long reference":          {`{"$ref":"#/` + strings.Repeat(" ", 300) + `"}`, "$ref has 302 bytes"},
		"a reference elsewhere":     {`{"$ref":"https://example.com/a"}`, "only references within the schema"},
		"a reference to nothing":    {`{"properties":{"a":{"$ref":"#/$defs/b"}}}`, `#/properties/a: $ref "#/$defs/b" leads to no schema`},
		"no object":                 {`true`, "it must be an object"},
		"two":                       {`{} {}`, "something follows"},
		"no JSON":                   {"{\n\"a\":}", "line 2"},
		"deep brackets":             {strings.Repeat(`{"items":`, 70) + "{}" + strings.Repeat("}", 70), "nested deeper than 64"},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := SchemaToGrammar([]byte(tt.schema))
			assert.ErrorContains(t, err, tt.want)
			assert.Less(t, time.Since(start), 5*time.Second)
		})
	}
}

// Those at the limits and with every usual keyword are converted, and soon.
func TestUsualSchemasPass(t *testing.T) {
	tree := `{"$ref":"#/$defs/Tree","$defs":{"Base":{"type":"object","properties":{"name":{"type":"string"},"children":{"type":"array","items":{"$ref":"#/$defs/Tree"}}}},
		"Tree":{"allOf":[{"$ref":"#/$defs/Base"},{"type":"object","properties":{"size":{"type":"integer","minimum":0}}}]}}}`
	for name, schema := range map[string]string{
		"optional ones":   manyProperties(200, 0),
		"required ones":   manyProperties(2000, 2000),
		"a tree":          tree,
		"a tree in place": strings.Replace(tree, `"$ref":"#/$defs/Tree"`, `"allOf":[{"$ref":"#/$defs/Base"}]`, 1),
		"definitions":     definitions(100, `{"type":"object","properties":{"a":{"$ref":"NEXT"}}}`, `{"type":"string"}`),
		"bounds":          `{"type":"object","properties":{"a":{"type":"array","items":{"enum":[1,"b",null]},"minItems":1,"maxItems":2000},"b":{"type":"string","minLength":0,"maxLength":2000}},"required":["a","b"]}`,
		"a list":          `{"type":["array","null"],"prefixItems":[{"const":1},{"type":"boolean"}]}`,
		"anything":        `{}`,
	} {
		start := time.Now()
		decoded, err := decodeSchema([]byte(schema))
		require.NoError(t, err, name)
		assert.NoError(t, checkSchema(decoded), name)
		if Built() {
			gbnf, err := SchemaToGrammar([]byte(schema))
			assert.NoError(t, err, name)
			assert.Contains(t, gbnf, "root ::= ", name)
		}
		assert.Less(t, time.Since(start), 5*time.Second, name)
	}
}

func TestWhatIsNotEnforcedIsRefused(t *testing.T) {
	for schema, want := range map[string]string{
		`{"type":"number","minimum":1}`:                   `#: "minimum" can't be enforced for numbers that may have fractions`,
		`{"type":["number","null"],"exclusiveMaximum":1}`: `"exclusiveMaximum" can't be enforced`,
		`{"minimum":1}`: `"minimum" can't be enforced without a type beside it`,
		`{"type":"object","properties":{"a":{"type":"integer","multipleOf":5}}}`: `#/properties/a: "multipleOf" can't be enforced here`,
		`{"type":"integer","minimum":5,"maximum":2}`:                             "no whole number is between",
		`{"type":"integer","minimum":1,"exclusiveMinimum":3}`:                    `"exclusiveMinimum" can't be enforced beside minimum`,
		`{"type":"integer","maximum":1e30}`:                                      "maximum must be a number between",
		`{"type":"integer","minimum":"1"}`:                                       "minimum must be a number between",
		`{"type":"array","items":{"type":"string"},"uniqueItems":true}`:          `"uniqueItems" can't be enforced`,
		`{"type":"array","contains":{"const":1}}`:                                `"contains" can't be enforced`,
		`{"prefixItems":[{},{}],"minItems":3}`:                                   `"minItems" can't be enforced beside a list of 2 prefixItems`,
		`{"prefixItems":[{}],"items":{"type":"string"}}`:                         `"prefixItems" can't be enforced beside items`,
		`{"minItems":3}`: `"minItems" can't be enforced without a type`,
		`{"type":"object","properties":{"a":{}},"minProperties":1}`:                                `"minProperties" can't be enforced`,
		`{"type":"object","maxProperties":1}`:                                                      `"maxProperties" can't be enforced`,
		`{"type":"object","patternProperties":{"^a":{}}}`:                                          `"patternProperties" can't be enforced`,
		`{"type":"object","propertyNames":{"maxLength":3}}`:                                        `"propertyNames" can't be enforced`,
		`{"properties":{"a":{},"b":{}},"dependentRequired":{"a":["b"]}}`:                           `"dependentRequired" can't be enforced`,
		`{"type":"object","required":["a"]}`:                                                       `required names "a", which is not under properties`,
		`{"required":["a"]}`:                                                                       `"required" can't be enforced without a type`,
		`{"type":"object","unevaluatedProperties":false}`:                                          `"unevaluatedProperties" can't be enforced`,
		`{"not":{"type":"string"}}`:                                                                `"not" can't be enforced`,
		`{"if":{"type":"string"},"then":{"maxLength":3}}`:                                          `"if" can't be enforced`,
		`{"type":"string","format":"email"}`:                                                       `format "email" can't be enforced; known are date`,
		`{"format":"uri"}`:                                                                         `format "uri" can't be enforced`,
		`{"type":"string","pattern":"^a$","maxLength":3}`:                                          `"maxLength" can't be enforced beside pattern`,
		`{"type":"string","format":"uuid","pattern":"^a$"}`:                                        `"format" can't be enforced beside pattern`,
		`{"type":"string","format":"date","minLength":3}`:                                          `"minLength" can't be enforced beside format`,
		`{"type":"string","enum":["a",1]}`:                                                         `enum holds 1, which is not of the type beside it`,
		`{"type":"integer","const":1.5}`:                                                           `const holds 1.5`,
		`{"enum":["a","bb"],"maxLength":1}`:                                                        `"maxLength" can't be enforced beside enum`,
		`{"const":"a","enum":["b"]}`:                                                               `"enum" can't be enforced beside const`,
		`{"type":"object","properties":{"a":{}},"anyOf":[{"required":["a"]}]}`:                     `"type" can't be enforced beside anyOf`,
		`{"properties":{"a":{}},"oneOf":[{"type":"string"}]}`:                                      `"properties" can't be enforced beside oneOf`,
		`{"$ref":"#/$defs/a","maxLength":3,"$defs":{"a":{"type":"string"}}}`:                       `"maxLength" can't be enforced beside $ref`,
		`{"$ref":"#/$defs/a","$defs":{"a":{"type":"number","maximum":3}}}`:                         `#/$defs/a: "maximum" can't be enforced`,
		`{"properties":{"a":{}},"allOf":[{"properties":{"b":{}}}]}`:                                `"allOf" can't be enforced beside the properties`,
		`{"type":"integer","allOf":[{"minimum":3}]}`:                                               `"allOf" can't be enforced for the type integer`,
		`{"allOf":[{"type":"string","maxLength":3}]}`:                                              `#/allOf/0: a part of allOf must be an object with properties`,
		`{"allOf":[{"properties":{"a":{}}},{"properties":{"b":{}},"additionalProperties":false}]}`: `#/allOf/1: "additionalProperties" can't be enforced in allOf`,
		`{"allOf":[{"properties":{"a":{}}}],"required":["a"]}`:                                     `"required" can't be enforced beside allOf`,
		`{"allOf":[{"enum":["a"]},{"enum":["b"]}]}`:                                                `an enum is one of several parts`,
		`{"allOf":[{"enum":["a","a"]}]}`:                                                           `its enum has a value twice`,
		`{"allOf":[{"anyOf":[{"properties":{"a":{}}}]}]}`:                                          `a part of allOf must be`,
		`{"items":{"type":"array","items":{"type":"number","multipleOf":0.5}}}`:                    `#/items/items: "multipleOf"`,
		`{"type":"object","additionalProperties":{"type":"string","format":"ipv4"}}`:               `#/additionalProperties: format "ipv4"`,
		`{"properties":{"*":{}}}`:                                                                  `can't have the name`,
	} {
		_, err := SchemaToGrammar([]byte(schema))
		assert.ErrorContains(t, err, want, schema)
	}
}

func TestWhatIsEnforcedOrMeansNothingPasses(t *testing.T) {
	for _, schema := range []string{
		`{"$schema":"https://json-schema.org/draft/2020-12/schema","$id":"x","title":"T","description":"D","$comment":"C","default":{},"examples":[1],"deprecated":true,"type":"object",
			"properties":{"a":{"type":"string","readOnly":true,"contentEncoding":"base64","x-order":1}},"required":["a"],"additionalProperties":false}`,
		`{"type":"integer","minimum":-5,"exclusiveMaximum":10.5,"format":"int32","multipleOf":1}`,
		`{"type":["integer","null"],"minimum":0}`,
		`{"type":["string","null"],"enum":["a",null]}`,
		`{"type":"number","const":3}`,
		`{"type":"string","minLength":1,"uniqueItems":true,"minimum":3}`,
		`{"type":"array","items":{"type":"string","format":"date-time"},"minItems":1,"uniqueItems":false}`,
		`{"type":"array","prefixItems":[{"type":"string"},{"type":"boolean"}],"minItems":2,"maxItems":2}`,
		`{"type":"object","oneOf":[{"type":"object","properties":{"a":{}},"required":["a"]},{"$ref":"#/$defs/b"}],"$defs":{"b":{"type":"object","properties":{"b":{}}}},"discriminator":{"propertyName":"a"}}`,
		`{"type":"object","properties":{"a":{},"b":{}},"required":["a"],"minProperties":1,"maxProperties":2,"patternProperties":{},"unevaluatedProperties":false}`,
		`{"type":"object","additionalProperties":{"type":"number"}}`,
		`{"allOf":[{"$ref":"#/$defs/a"},{"type":"object","properties":{"b":{"type":"string"}},"required":["b"]}],"$defs":{"a":{"type":"object","properties":{"a":{}}}}}`,
		`{"properties":{"color":{"allOf":[{"$ref":"#/$defs/color"}],"default":"red"}},"$defs":{"color":{"type":"string","enum":["red","green"]}}}`,
		`{"$ref":"#/$defs/n","description":"a tree","$defs":{"n":{"type":"object","properties":{"next":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}}}}}`,
		`{"if":{"type":"string"}}`,
	} {
		decoded, err := decodeSchema([]byte(schema))
		require.NoError(t, err, schema)
		require.NoError(t, checkSchema(decoded), schema)
		assert.NoError(t, checkEnforced(decoded), schema)
		if Built() {
			_, err := SchemaToGrammar([]byte(schema))
			assert.NoError(t, err, schema)
		}
	}
}
