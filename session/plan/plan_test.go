package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"agent/command"
)

func TestTexts(t *testing.T) {
	for _, tc := range []struct {
		name    string
		content []map[string]any
		want    []string
	}{
		{"lines", []map[string]any{{"tasks": "a\nb"}}, []string{"a\nb"}},
		{"list", []map[string]any{{"tasks": []any{"a", "b"}}}, []string{"a", "b"}},
		{"entries", []map[string]any{{"task": "a"}, {"subtask": "b"}, {"text": "c"}}, []string{"a", "b", "c"}},
		{"numbered keys", []map[string]any{{"step1": "a", "step2": "b"}}, []string{"a", "b"}},
		{"more about it", []map[string]any{{"task": "sum up", "file": "a.txt"}}, []string{"sum up (file: a.txt)"}},
		{"objects", []map[string]any{{"tasks": []any{map[string]any{"task": "a"}, 7.0}}}, []string{"a"}},
		{"unknown keys", []map[string]any{{"who": "b"}}, []string{"who: b"}},
		{"nothing", []map[string]any{{}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, Texts(&command.Call{Content: tc.content}))
		})
	}
}

func TestRegroup(t *testing.T) {
	var many []string
	for i := range 20 {
		many = append(many, fmt.Sprintf("do thing %c", 'a'+i))
	}
	for _, tc := range []struct {
		name string
		in   []string
		want []string
	}{
		{"lines", []string{"Count a.txt\nCount b.txt\n"}, []string{"Count a.txt", "Count b.txt"}},
		{"marks", []string{"1. Count\n2) Sort\n- Add\n* Cut\nTask 5: Join\n(b) Mend"}, []string{"Count", "Sort", "Add", "Cut", "Join", "Mend"}},
		{"numbers stay", []string{"10:30 is when?\n3.5 of what?\n2024 totals"}, []string{"10:30 is when?", "3.5 of what?", "2024 totals"}},
		{"headings and blanks go", []string{"Subtasks:\n\n- Count\n   \n- Sort"}, []string{"Count", "Sort"}},
		{"a wrapped line", []string{"- Count the rows\n  of a.csv\n- Sort"}, []string{"Count the rows of a.csv", "Sort"}},
		{"duplicates", []string{"Count a.txt.", "count  a.txt", "Sort"}, []string{"Count a.txt.", "Sort"}},
		{"fences", []string{"```\nCount\n```"}, []string{"Count"}},
		{"nothing", []string{"", " \n-"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, nilIfEmpty(Regroup(tc.in)))
		})
	}
	groups := Regroup(many)
	assert.Len(t, groups, partsMax)
	assert.Equal(t, many, strings.Split(strings.Join(groups, "\n"), "\n"), "nothing is lost, and the order stays")
}

func TestOf(t *testing.T) {
	there := func(file string) bool {
		return slices.Contains([]string{"a.csv", "b.csv", "a.log", "b.log", "x/n.md", "y/n.md", "notes", "src"}, file)
	}
	for _, tc := range []struct {
		name  string
		texts []string
		after [][]int
	}{
		{"independent", []string{"Count a.csv", "Count b.csv"}, [][]int{nil, nil}},
		{"both read one file", []string{"Count the rows of a.csv", "Find the largest price in a.csv"}, [][]int{nil, nil}},
		{"one makes what the other reads", []string{"Count a.csv into n.txt", "Count b.csv", "Double the number in n.txt"}, [][]int{nil, nil, {0}}},
		{"both change one file", []string{"Sort a.csv by name", "Remove empty rows of a.csv"}, [][]int{nil, {0}}},
		{"one changes what the other reads", []string{"Count a.csv", "Remove the last row of ./a.csv."}, [][]int{nil, {0}}},
		{"by number", []string{"Count a.csv", "Count b.csv", "Use the result 2 for a letter"}, [][]int{nil, nil, {1}}},
		{"by word", []string{"Count a.csv", "Count b.csv", "Then add both up"}, [][]int{nil, nil, {0, 1}}},
		{"a short name", []string{"Write a.c", "Compile a.c"}, [][]int{nil, {0}}},
		{"a short name at the end of a sentence", []string{"Write x.h. It has one line.", "Show x.h."}, [][]int{nil, {0}}},
		{"no extension", []string{"Write a Makefile for both", "Run what the Makefile builds"}, [][]int{nil, {0}}},
		{"no extension, first word", []string{"Dockerfile: make one", "Say what Dockerfile holds"}, [][]int{nil, {0}}},
		{"no extension, other languages", []string{"Schreibe ein Makefile", "Exécute le Makefile"}, [][]int{nil, {0}}},
		{"capitals", []string{"Write LICENSE", "Count the words of LICENSE"}, [][]int{nil, {0}}},
		{"capitals where each has a file", []string{"Count ERROR in a.log", "Count ERROR in b.log"}, [][]int{nil, nil}},
		{"in quotes", []string{"Write the total to `out`", "Double the number in 'out'"}, [][]int{nil, {0}}},
		{"in other quotes", []string{"Schreibe die Summe nach „summe“", "Verdopple die Zahl in „summe“"}, [][]int{nil, {0}}},
		{"a name that exists", []string{"Sort the lines of notes", "Show the first of notes"}, [][]int{nil, {0}}},
		{"a folder", []string{"Write tests/one", "List what is in tests/"}, [][]int{nil, {0}}},
		{"a folder that exists", []string{"Fix the code in src", "Run src/main.go"}, [][]int{nil, {0}}},
		{"with its folder and without", []string{"Write out/n.txt", "Read n.txt"}, [][]int{nil, {0}}},
		{"same name in two folders", []string{"Count x/n.md", "Count y/n.md"}, [][]int{nil, nil}},
		{"letters of other scripts", []string{"Write résumé.md", "Count résumé.md"}, [][]int{nil, {0}}},
		{"an ending of digits", []string{"Pack all into a.7z", "List a.7z"}, [][]int{nil, {0}}},
		{"words that both have", []string{"Name the capital of Italy", "Name the capital of Spain"}, [][]int{nil, nil}},
		{"addresses and numbers are no files", []string{"Read https://example.com/x.html, e.g. 3.5", "Look at https://example.com/x.html, e.g. 3.5"}, [][]int{nil, nil}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var after [][]int
			for i, s := range Of(tc.texts, there) {
				assert.Equal(t, i+1, s.Number)
				after = append(after, s.After)
			}
			assert.Equal(t, tc.after, after)
		})
	}
}

func nilIfEmpty(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	return s
}
