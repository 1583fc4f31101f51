package check

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/session/event"
)

// A number that nothing shows, and numbers that follow from what was shown.
func TestNumbers(t *testing.T) {
	const sales = "2026-01-01,south,pens,16.86\n2026-01-08,west,folders,22.82\n2026-01-15,north,paper,51.18\n"
	for _, tc := range []struct {
		task, seen, answer string
		want               string // the number in doubt
		warn               bool
	}{
		{"What is the total of amount?", sales, "The total is 4711.", "4711", false},
		{"What is the total of amount?", sales, "The total is 91.50.", "91.50", false}, // 90.86 is right
		{"What is the total of amount?", sales + "Result: 1007.39", "The total is 1007.39.", "", false},
		{"What is the total of amount?", sales + "Result: 1007.3899999999999", "It is 1,007.39 in all", "", false},
		{"What is the total of amount?", sales + "1007.39", "About 1007", "", false},
		{"What is the total of amount?", sales + "1007.39", "roughly 1000", "", false},
		{"What is the total of amount?", sales + "1007.39", "It is -1007.39", "", false},
		{"What is the average?", "total 1007.39 of 37 rows", "27.23", "", false},
		{"How many rows are there?", sales, "There are 3 rows.", "", false},
		{"How many percent is it? The total is 80.", "open: 20", "25%", "", false},
		{"How many of them are there?", "a b c", "There are 1.2 million.", "", false},
		{"What is the total?", sales, "See sales.csv of 2026-03-01, version 1.2.3, at 10:30, page 99.", "", false},
		{"Who signed the letter?", "Dear Ann", "Bob did, in 1881.", "1881", false},
		{"What is the total?", "", "4711, 4712, 4713 and 4714", "", false}, // a table
		{"What is the total of b2 and c3?", "b2 = 15", "b2 is 15", "", false},
	} {
		d, found := checkNumber(Evidence{Task: tc.task, Seen: tc.seen, Answer: tc.answer, Worked: true, CanCompute: true})
		assert.Equal(t, tc.want != "", found, "%s: %v", tc.answer, d.What)
		if tc.want != "" {
			assert.Equal(t, tc.want, d.What, tc.answer)
		}
		assert.Equal(t, tc.warn, d.Warn, tc.answer)
	}
	_, found := checkNumber(Evidence{Task: "What is the sum of 1 to 100?", Answer: "5050"})
	assert.False(t, found, "without files and results a number may well be known")
}

// The checks never take long, whatever they read.
func TestChecksAreBounded(t *testing.T) {
	long := strings.Repeat("write 12.5 to a.txt and save `b.csv` (", 20_000)
	e := evidence(event.Wants{}, nil, "a.csv")
	e.Task, e.Answer, e.Seen, e.Worked = long, long, long, true
	e = e.bounded()
	assert.LessOrEqual(t, len(e.Task)+len(e.Answer), 2*checkedBytesMax)
	assert.LessOrEqual(t, len(e.Seen), seenBytesMax)
	for _, c := range checks() {
		c.run(e)
	}
}

// evidence is that of a run in a folder that had a.txt, and that touched files.
func evidence(w event.Wants, content map[string]string, touched ...string) Evidence {
	there := func(name string) bool { return name == "a.txt" || slices.Contains(touched, name) }
	return Evidence{
		Wants: w, Exists: there, Existed: func(name string) bool { return name == "a.txt" }, Touched: touched, CanWrite: true,
		Read: func(name string) []byte { return []byte(content[name]) }, Spoiled: map[string]bool{"spoiled.txt": true},
	}
}

// What a task wants to be written is there, under its own name and no other.
func TestFilesThatTheTaskWants(t *testing.T) {
	file := func(name string) event.Wants { return event.Wants{Known: true, Writes: true, Result: name} }
	for name, tc := range map[string]struct {
		task    string
		wants   event.Wants
		touched []string
		want    string // the reason
		sure    bool
	}{
		"missing":                {"", file("b.txt"), nil, "asked_missing", true},
		"there":                  {"", file("b.txt"), []string{"b.txt"}, "", false},
		"under another name":     {"", file("summe.txt"), []string{"sum.txt"}, "asked_other", true},
		"beside one it names":    {"Put it into summe.txt by way of sum.txt", file("summe.txt"), []string{"sum.txt"}, "asked_missing", true},
		"left as it was":         {"", file("a.txt"), nil, "asked_unchanged", true},
		"changed":                {"", file("a.txt"), []string{"a.txt"}, "", false},
		"half written":           {"", file("spoiled.txt"), []string{"spoiled.txt"}, "asked_spoiled", true},
		"several, none of them":  {"", file(""), nil, "asked_nothing", true},
		"several":                {"", file(""), []string{"x.txt", "y.txt"}, "", false},
		"no file, and none made": {"", event.Wants{Known: true}, nil, "", false},
		"no file, and one made":  {"", event.Wants{Known: true}, []string{"b.txt"}, "unasked", false},
		"no file, one changed":   {"", event.Wants{Known: true}, []string{"a.txt"}, "", false},
		"one file, two made":     {"", file("b.txt"), []string{"b.txt", "c.txt"}, "unasked", false},
		"both are named":         {"b.txt by c.txt", file("b.txt"), []string{"b.txt", "c.txt"}, "", false},
		"nobody knows":           {"Write b.txt", event.Wants{}, []string{"c.txt"}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			e := evidence(tc.wants, nil, tc.touched...)
			e.Task = tc.task
			found := Doubts(e, func(string) bool { return false })
			if tc.want == "" {
				assert.Empty(t, found)
				return
			}
			require.NotEmpty(t, found)
			assert.Equal(t, tc.want, found[0].Reason)
			assert.Equal(t, tc.sure, found[0].Sure)
			assert.True(t, found[0].Work)
			e.CanWrite = false
			for _, d := range Doubts(e, func(string) bool { return false }) {
				assert.True(t, d.Warn, "what can't be mended is not asked for")
			}
		})
	}
}

// A file that an answer names is one that somebody spoke of or that is there.
func TestClaimedFiles(t *testing.T) {
	for answer, held := range map[string]bool{
		"I saved it as ghost.txt.": true, "Ich habe es in ghost.txt geschrieben.": true, "a.txt says so": false,
		"There is no asked.txt.": false, "It is in seen.csv.": false, "Done": false,
	} {
		e := evidence(event.Wants{}, nil)
		e.Task, e.Seen, e.Answer = "Read asked.txt", "seen.csv, 12 bytes", answer
		_, found := checkClaimedFile(e)
		assert.Equal(t, held, found, answer)
	}
}

// What was written has the form that its name says.
func TestMalformed(t *testing.T) {
	for text, tc := range map[string]struct {
		name, reason string
		line         int
	}{
		`{"a": 1}`:                   {"x.json", "", 0},
		"{\n\"a\": 1,\n}":            {"x.json", "no_json", 3},
		"[1, 2":                      {"x.JSON", "no_json", 1},
		"{\"a\": 1}\n\n{\"a\": 2}\n": {"x.jsonl", "", 0},
		"{\"a\": 1}\nno\n":           {"x.jsonl", "no_json", 2},
		"a,b\n1,2\n3,\"4,5\"\n":      {"x.csv", "", 0},
		"a,b\n1,2\n3\n":              {"x.csv", "columns", 3},
		"a,b\n1,2\na,b\n3,4\n":       {"x.csv", "header_again", 3},
		"a;b\n1,5;2\n":               {"x.csv", "", 0},
		"a\tb\n1\t2\t3\n":            {"x.tsv", "columns", 2},
		"a\nb\na\n":                  {"x.csv", "", 0}, // one column: a list
		"":                           {"x.json", "", 0},
		"{ no json":                  {"x.txt", "", 0},
	} {
		got := Malformed(tc.name, []byte(text))
		if tc.reason == "" {
			assert.Nil(t, got, text)
			continue
		}
		require.NotNil(t, got, text)
		assert.Equal(t, tc.reason, got.Reason, text)
		assert.Equal(t, tc.line, got.Line, text)
	}
	e := evidence(event.Wants{}, map[string]string{"x.json": "[1"}, "x.json")
	d, found := AtOnce(e)
	assert.True(t, found)
	assert.True(t, d.Sure)
	assert.Nil(t, Malformed("x.json", nil), "too large to be read")
}

// The model's own words, not those it was told.
func TestEcho(t *testing.T) {
	const told = "The task asks for the file total.txt, and there is no such file yet."
	for answer, want := range map[string]bool{
		"The answer was not accepted. " + told: true,
		"I could not make total.txt.":          false,
		"":                                     false,
	} {
		_, found := checkEcho(Evidence{Answer: answer, Told: told})
		assert.Equal(t, want, found, answer)
	}
	_, found := checkEcho(Evidence{Answer: "42"})
	assert.False(t, found)
}
