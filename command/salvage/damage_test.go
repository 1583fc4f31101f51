package salvage

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
)

// damage is one way in which models break JSON. Applied to the real replies
// that are valid, whose meaning is known, it shows what a reader can mend.
type damage struct {
	name  string
	apply func(reply string, spans []span) string // the reply itself when it has nothing to break
	exact bool                                    // nothing is lost: all of the call must come back
}

// damages are ordered from common to rare.
func damages() []damage {
	return []damage{
		{"words around", func(r string, _ []span) string {
			return "Sure! I'll use {this} command:\n\n" + r + "\n\nLet me know if {it} works."
		}, true},
		{"fenced", func(r string, _ []span) string { return "```json\n" + r + "\n```" }, true},
		{"Python constants and quotes", pythonized, true},
		{"triple quotes", tripleQuoted, true},
		{"trailing commas", func(r string, s []span) string { return atClosers(r, s, ",") }, true},
		{"missing commas", func(r string, s []span) string { return outside(r, s, ",", "") }, true},
		{"keys without quotes", bareKeys, true},
		{"quotes not escaped", func(r string, s []span) string { return inside(quotedWord(r), stringSpans(quotedWord(r)), `\"`, `"`) }, true},
		{"line breaks not escaped", func(r string, s []span) string { return inside(r, s, `\n`, "\n") }, true},
		{"typographic quotes", func(r string, s []span) string { return requoted(r, s, "“", "”") }, true},
		{"last bracket missing", func(r string, _ []span) string { return strings.TrimRight(r, " \n}") }, true},
		{"bracket doubled", func(r string, _ []span) string { return r + "}" }, true},
		{"comments", func(r string, s []span) string { return outside(r, s, ",", ", // so\n") }, true},
		{"two calls in a row", func(r string, _ []span) string { return r + "\n" + r }, false},
		{"closing quote missing", func(r string, s []span) string { return without(r, valueSpan(s).end-1) }, false},
		{"opening quote missing", func(r string, s []span) string { return without(r, valueSpan(s).start) }, false},
		{"colon missing", func(r string, s []span) string { return outside(r, s, ":", " ") }, false},
		{"cut off at 90 %", func(r string, _ []span) string { return r[:len(r)*9/10] }, false},
		{"cut off at 60 %", func(r string, _ []span) string { return r[:len(r)*6/10] }, false},
	}
}

// span is a string of valid JSON, quotes included.
type span struct {
	start, end int
	key        bool
}

// stringSpans finds the strings of valid JSON.
func stringSpans(text string) []span {
	var out []span
	for i := 0; i < len(text); i++ {
		if text[i] != '"' {
			continue
		}
		start := i
		for i++; text[i] != '"'; i++ {
			if text[i] == '\\' {
				i++
			}
		}
		out = append(out, span{start, i + 1, strings.HasPrefix(strings.TrimLeft(text[i+1:], " \n\t"), ":")})
	}
	return out
}

// mapped rewrites the strings of a text and what stands between them.
func mapped(text string, spans []span, between func(string) string, str func(s string, key bool) string) string {
	var out strings.Builder
	at := 0
	for _, s := range spans {
		out.WriteString(between(text[at:s.start]))
		out.WriteString(str(text[s.start:s.end], s.key))
		at = s.end
	}
	out.WriteString(between(text[at:]))
	return out.String()
}

func same(s string) string               { return s }
func sameString(s string, _ bool) string { return s }

func outside(text string, spans []span, old, new string) string {
	return mapped(text, spans, func(b string) string { return strings.ReplaceAll(b, old, new) }, sameString)
}

func inside(text string, spans []span, old, new string) string {
	return mapped(text, spans, same, func(s string, _ bool) string {
		return s[:1] + strings.ReplaceAll(s[1:len(s)-1], old, new) + s[len(s)-1:]
	})
}

func atClosers(text string, spans []span, comma string) string {
	return mapped(text, spans, func(b string) string {
		if strings.ContainsAny(b, "{[") { // an empty container has no entry to put it after
			return b
		}
		return strings.NewReplacer("}", comma+"}", "]", comma+"]").Replace(b)
	}, sameString)
}

func bareKeys(text string, spans []span) string {
	return mapped(text, spans, same, func(s string, key bool) string {
		if key && !strings.ContainsAny(s, " \\-") {
			return s[1 : len(s)-1]
		}
		return s
	})
}

func requoted(text string, spans []span, open, end string) string {
	return mapped(text, spans, same, func(s string, _ bool) string {
		if strings.ContainsAny(s, open+end+"\\") {
			return s
		}
		return open + s[1:len(s)-1] + end
	})
}

func pythonized(text string, spans []span) string {
	constants := strings.NewReplacer("null", "None", "true", "True", "false", "False")
	return mapped(text, spans, constants.Replace, func(s string, _ bool) string {
		if strings.Contains(s, `\u`) || strings.Contains(s, `\/`) {
			return s
		}
		body := strings.ReplaceAll(s[1:len(s)-1], `\"`, `"`)
		return "'" + strings.ReplaceAll(body, "'", `\'`) + "'"
	})
}

func tripleQuoted(text string, spans []span) string {
	return mapped(text, spans, same, func(s string, key bool) string {
		var value string
		if key || json.Unmarshal([]byte(s), &value) != nil || strings.ContainsAny(value, "\\") ||
			strings.HasSuffix(value, `"`) || !strings.Contains(value, "\n") {
			return s
		}
		return `"""` + value + `"""`
	})
}

// valueSpan is the last string that is no key.
func valueSpan(spans []span) span {
	for i := len(spans) - 1; i > 0; i-- {
		if !spans[i].key {
			return spans[i]
		}
	}
	return span{}
}

func without(text string, at int) string { return text[:at] + text[at+1:] }

// quotedWord puts a word of the last value in quotes; still valid JSON.
func quotedWord(text string) string {
	s := valueSpan(stringSpans(text))
	words := strings.Split(text[s.start:s.end], " ")
	if len(words) < 3 {
		return text
	}
	words[1] = `\"` + words[1] + `\"`
	return text[:s.start] + strings.Join(words, " ") + text[s.end:]
}

// decoded is the strict reading of valid JSON.
func decoded(t *testing.T, text string) []map[string]any {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	require.NoError(t, dec.Decode(&v))
	entries, ok := v.([]any)
	if !ok {
		entries = []any{v}
	}
	var out []map[string]any
	for _, e := range entries {
		out = append(out, e.(map[string]any))
	}
	return out
}

// score is how often a reader got the calls of damaged replies back.
type score struct{ tried, exact, named int }

func (s score) String() string { return fmt.Sprintf("%d/%d/%d", s.exact, s.named, s.tried) }

// damagedReply is a reply and what it means.
type damagedReply struct {
	kind  string
	text  string
	want  []map[string]any
	exact bool
	// evident are the commands that a person sees in a real reply without a
	// strict reading.
	evident string
}

// damagedReplies are all valid replies under all damages, without those that a
// damage leaves as they are.
func damagedReplies(t *testing.T) []damagedReply {
	var out []damagedReply
	for _, d := range damages() {
		for _, r := range realReplies(t) {
			if r.Kind != "json" || !json.Valid([]byte(r.Reply)) {
				continue
			}
			broken := d.apply(r.Reply, stringSpans(r.Reply))
			if broken == r.Reply {
				continue
			}
			want := r.Expect
			if d.name == "quotes not escaped" {
				want = decoded(t, quotedWord(r.Reply))
			}
			out = append(out, damagedReply{kind: d.name, text: broken, want: want, exact: d.exact})
		}
	}
	return out
}

// reader turns a reply into calls; Parse, or another program's repaired value.
type readFunc func(reply string) []command.Call

// parseCalls reads with Parse.
func parseCalls(reg *command.Registry) readFunc {
	return func(reply string) []command.Call {
		var out []command.Call
		for _, c := range Parse(reply, reg).Calls {
			out = append(out, c.Call)
		}
		return out
	}
}

// judge compares calls with what was meant. Named: the first call has the
// right command. Exact: the first calls are those that were meant, with all of
// their content.
func judge(reg *command.Registry, got []command.Call, want []map[string]any) (exact, named bool) {
	if len(got) == 0 || len(want) == 0 {
		return false, false
	}
	named = got[0].Command == want[0]["command"]
	if len(got) < len(want) {
		return false, named
	}
	for i, w := range want {
		if !assert.ObjectsAreEqual(strict(reg, w), got[i]) {
			return false, named
		}
	}
	return true, named
}

// TestParseMendsDamage keeps what Parse makes of each kind of damage. A change
// for the worse fails; one for the better is kept with -update.
func TestParseMendsDamage(t *testing.T) {
	reg := withStock(t)
	scores := map[string]score{}
	for _, d := range damagedReplies(t) {
		exact, named := judge(reg, parseCalls(reg)(d.text), d.want)
		s := scores[d.kind]
		s.tried++
		s.exact += count01(exact)
		s.named += count01(named)
		scores[d.kind] = s
		if testing.Verbose() && d.exact && !exact {
			t.Logf("%s not mended: %.300q", d.kind, d.text)
		}
	}
	var out strings.Builder
	out.WriteString("# damage: replies mended to exactly the call that was meant / with its command / tried\n")
	for _, d := range damages() {
		fmt.Fprintf(&out, "%-28s %s\n", d.name, scores[d.name])
	}
	checkGolden(t, "damage.golden", out.String())
}

func count01(b bool) int {
	if b {
		return 1
	}
	return 0
}
