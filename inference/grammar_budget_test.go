package inference

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"agent/inference/gguf/gguftest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// grammarFamilies make grammars that leave much open at a time, each of a size.
var grammarFamilies = map[string]func(n int) string{
	"stacks that double": func(n int) string {
		var alts []string
		for i := range n {
			alts = append(alts, fmt.Sprintf(`"a" root "%d"`, i))
		}
		return "root ::= " + strings.Join(alts, " | ")
	},
	"optional characters": func(n int) string { return fmt.Sprintf("root ::= (.?){%d}", 10*n) },
	"optional words":      func(n int) string { return fmt.Sprintf(`root ::= ("a"? [a-z]? " "?){%d} "."`, 5*n) },
	"stars in a row":      func(n int) string { return "root ::= " + strings.Repeat("[a-z ]* ", n) },
	"trees": func(n int) string {
		return "root ::= t\nt ::= [a-z ]" + strings.Repeat(" t?", n)
	},
	"words of words": func(n int) string {
		return "root ::= w*\nw ::= [a-z ]" + strings.Repeat(" | [a-z ] [a-z ]", n)
	},
	"calls that keep their place": func(n int) string {
		var b strings.Builder
		b.WriteString("root ::= r0 r0\n")
		for i := range n {
			fmt.Fprintf(&b, "r%d ::= [a-z ] r%d [a-z] | [a-z ] r%d [^b] | [a-z ]\n", i, (i+1)%n, (i+1)%n)
		}
		return b.String()
	},
	"large classes": func(n int) string {
		var b strings.Builder
		for i := range 20 * n {
			fmt.Fprintf(&b, `\u%04x`, 0x4e00+2*i)
		}
		return "root ::= ([^" + b.String() + "] | [^x" + b.String() + "])* "
	},
	"alike alternatives": func(n int) string {
		var alts []string
		for i := range 20 * n {
			alts = append(alts, fmt.Sprintf(`[a-z ]* "%d"`, i))
		}
		return "root ::= " + strings.Join(alts, " | ")
	},
	"a pattern of optional characters": func(n int) string { return fmt.Sprintf(`{"type":"string","pattern":"^(.?){%d}$"}`, 10*n) },
	"a pattern of nested repetitions":  func(n int) string { return fmt.Sprintf(`{"type":"string","pattern":"^((a?b?){%d}c?){%d}$"}`, n, n) },
}

// tinyModel computes in no time, with few tokens: a, b, ab, a space, a line end and signs.
func tinyModel(t *testing.T) *Model {
	t.Helper()
	if !Built() {
		t.Skip("needs the native engine")
	}
	tokens := []string{"<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b", "ab", "Ġ", "Ċ", `"`, ".", "0", "1"}
	types := []int32{3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1}
	file := gguftest.Model().Set("llama.context_length", uint32(512)).Set("tokenizer.ggml.tokens", tokens).Set("tokenizer.ggml.token_type", types)
	file.Tensors[0] = gguftest.F32("token_embd.weight", 32, uint64(len(tokens)))
	m, err := Load(t.Context(), file.Write(t, "tiny.gguf"), nil)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return m
}

// tinyEngine computes with one thread: several wait for each other on a busy machine.
func tinyEngine(t *testing.T) *Engine {
	e, err := tinyModel(t).NewEngine(&EngineOptions{Parallel: 2, Threads: 1, ThreadsBatch: 1})
	require.NoError(t, err)
	t.Cleanup(e.Close)
	return e
}

// followed is a reply under a grammar.
func followed(t *testing.T, e *Engine, grammar string, seed uint32) (text string, err error) {
	for out, failed := range e.Generate(t.Context(), &GenerateRequest{Prompt: []int32{3}, TokensMax: 300, Grammar: grammar,
		Sampling: Sampling{Temperature: 1, Seed: &seed}}) {
		text += out.Text
		err = failed
	}
	return text, err
}

// A grammar that leaves too much open at a time ends its own reply with an
// error; others are followed. None holds up the reply beside it for long.
func TestGrammarsThatSwell(t *testing.T) {
	e := tinyEngine(t)
	count := 0
	for name, family := range grammarFamilies {
		for _, n := range []int{2, 5, 12, 40} {
			count++
			t.Run(fmt.Sprintf("%s of %d", name, n), func(t *testing.T) {
				grammar := family(n)
				if grammar[0] == '{' {
					var err error
					if grammar, err = SchemaToGrammar([]byte(grammar)); err != nil {
						t.Log(err)
						return
					}
				}
				done := make(chan error, 1)
				go func() {
					_, err := followed(t, e, "", 1)
					done <- err
				}()
				start := time.Now()
				for seed := range uint32(3) {
					text, err := followed(t, e, grammar, seed)
					t.Logf("%6s, %v, %.60q", time.Since(start).Round(time.Millisecond), err, text)
					if err != nil {
						assert.ErrorContains(t, err, "grammar")
					}
				}
				assert.NoError(t, <-done)
				assert.Less(t, time.Since(start), time.Minute)
			})
		}
	}
	assert.GreaterOrEqual(t, count, 40)
}

// What doubles with each token can't be followed for ever; that is said.
func TestGrammarBudgetIsAnError(t *testing.T) {
	e := tinyEngine(t)
	_, err := followed(t, e, grammarFamilies["stacks that double"](2), 1)
	require.ErrorIs(t, err, errGrammarBudget)
	assert.NotEmpty(t, hintOf(err))
	text, err := followed(t, e, `root ::= "ab" "b"{3} " "?`, 1)
	require.NoError(t, err)
	assert.Regexp(t, "^abbbb ?$", text)
}
