// Package plan divides a task: [Texts] reads the parts that a call names,
// [Regroup] makes them parts, and [Of] says which must wait for which.
//
// Promise: its functions are pure. In doubt parts run one after another.
package plan

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"agent/command"
	"agent/session/prose"
	"agent/session/workdir"
)

// LinesMax is how long a list of parts may be; a longer one is no plan.
const LinesMax = 64

// Bounds of one delegation.
const (
	partsMax     = 8    // more are grouped, neighbours together
	partRunesMax = 2000 // of one subtask
)

// Part is one part of a task.
type Part struct {
	Number int    // from 1, as the model and the events name it
	Text   string // complete in itself
	After  []int  // indexes of the parts before it that it needs
}

// Texts are the subtasks that a call names, in whatever form: a list of
// lines, a list of strings, one entry for each.
func Texts(call *command.Call) []string {
	var out []string
	for _, entry := range call.Content {
		var named, rest []string
		for _, key := range slices.Sorted(maps.Keys(entry)) {
			texts := leaves(entry[key])
			if subtaskKey.MatchString(key) {
				named = append(named, texts...)
				continue
			}
			for _, text := range texts {
				rest = append(rest, key+": "+text)
			}
		}
		switch {
		case len(named) == 1 && len(rest) > 0: // one subtask with more about it
			out = append(out, named[0]+" ("+strings.Join(rest, ", ")+")")
		case len(named) > 0:
			out = append(out, named...)
		default:
			out = append(out, rest...)
		}
	}
	return out
}

var subtaskKey = regexp.MustCompile(`(?i)^(sub)?_?(tasks?|steps?)(_?\d+)?$|^(text|description|goals?)$`)

// leaves are the strings in a JSON value, in order.
func leaves(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, item := range v {
			out = append(out, leaves(item)...)
		}
		return out
	case map[string]any:
		var out []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			out = append(out, leaves(v[key])...)
		}
		return out
	}
	return nil
}

// listMark is what stands before an item of a list: a bullet or a number.
var listMark = regexp.MustCompile(`^(?:[-*•+]\s+|\(?\d{1,2}(?:[.:]\s+|\)\s*)|\(?[a-zA-Z][.)]\s+` +
	`|(?i:(?:sub)?(?:task|step)\s*\d{1,2}\s*[.):-]\s*))+`)

// Regroup makes subtasks of what the model listed: headings, empty lines and
// duplicates go, wrapped lines become whole, and what is too many is grouped.
func Regroup(texts []string) []string {
	var items []string
	for _, text := range texts {
		items = append(items, listItems(text)...)
	}
	seen := map[string]bool{}
	items = slices.DeleteFunc(items, func(item string) bool {
		key := Plain(item)
		if key == "" || seen[key] {
			return true
		}
		seen[key] = true
		return false
	})
	return grouped(items, partsMax)
}

// listItems reads the items of a list, one in a line. In a list with marks, a
// line without one goes on with the item before it.
func listItems(text string) []string {
	var items []string
	marked := false
	for line := range strings.Lines(text) {
		bare := strings.TrimSpace(line)
		if bare == "" || strings.HasPrefix(bare, prose.FenceMark) {
			continue
		}
		rest := strings.TrimSpace(listMark.ReplaceAllString(bare, ""))
		hasMark := rest != bare
		switch {
		case rest == "" || !hasMark && strings.HasSuffix(bare, ":"): // a heading
		case !hasMark && marked && len(items) > 0:
			items[len(items)-1] += " " + rest
		default:
			items = append(items, rest)
		}
		marked = marked || hasMark
	}
	for i := range items {
		items[i] = prose.Cut(items[i], partRunesMax)
	}
	return items
}

// Plain is text without what makes no difference: case, spaces and the
// signs around words.
func Plain(text string) string {
	words := strings.FieldsFunc(strings.ToLower(text), workdir.NotInPaths)
	for i, w := range words {
		words[i] = strings.Trim(w, ".!?-*_")
	}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

// grouped joins neighbours until there are at most n.
func grouped(items []string, n int) []string {
	if len(items) <= n {
		return items
	}
	out := make([]string, 0, n)
	for i := range n {
		out = append(out, strings.Join(items[i*len(items)/n:(i+1)*len(items)/n], "\n"))
	}
	return out
}

var (
	// dottedName is a word with an ending, at least one side of whose dot has a
	// letter: a.c, prices.7z, and no 3.5.
	dottedName = regexp.MustCompile(`^[^/]*(?:[^/]*/)*(?:[^/]*\pL[^/]*\.[\pL\pN]{1,12}|[^/]*[^/.]\.\pL[\pL\pN]{0,11})$`)
	// abbreviation is one letter, a dot, one letter, a dot, within a sentence.
	abbreviation = regexp.MustCompile(`(^|[\s(])\pL\.\pL\.(?:,|\s+[\p{Ll}\pN])`)
	// buildFile is Makefile, Dockerfile, Gemfile and their like.
	buildFile = regexp.MustCompile(`^(?:GNUm|\p{Lu})\pL*file$`)
	// capitals is a word such as README or LICENSE, which may be a file or not.
	capitals = regexp.MustCompile(`^\p{Lu}{2}[\p{Lu}\pN_-]{2,}$`)
	// quotedName is a word in quotes, whatever it looks like.
	quotedName = regexp.MustCompile("[`\"'“„«]([^\\s`\"'“”„«»]{1,80})[`\"'”“»]")
)

// filesIn are the names of files in a text, whether they exist or not: words
// with an ending or a folder, words in quotes, and those that exist.
func filesIn(text string, exists func(string) bool) []string {
	var out []string
	add := func(name string) {
		if name = path.Clean(name); name != "." && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for _, m := range quotedName.FindAllStringSubmatch(text, -1) {
		add(m[1])
	}
	for _, w := range namesIn(abbreviation.ReplaceAllString(text, "$1 ")) {
		isPath := strings.Contains(w, "/")
		if !strings.HasPrefix(w, "//") && (isPath || dottedName.MatchString(w) ||
			buildFile.MatchString(w) || exists(path.Clean(w))) {
			add(w)
		}
	}
	return out
}

// namesIn are the words of a text as far as they may be names.
func namesIn(text string) []string {
	words := strings.FieldsFunc(text, workdir.NotInPaths)
	for i, w := range words {
		words[i] = strings.TrimPrefix(strings.TrimRight(w, ".?!*"), "./")
	}
	return slices.DeleteFunc(words, func(w string) bool { return w == "" })
}

// related reports names that may mean one file, or a folder and what is in it.
func related(a, b string) bool {
	if strings.Contains(a, "/") != strings.Contains(b, "/") && path.Base(a) == path.Base(b) {
		return true
	}
	return a == b || strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/")
}

var (
	// changing are the words of a subtask that changes a file. One that is not
	// seen costs order only when the file exists already: see mustFollow.
	changing = regexp.MustCompile(`(?i)\b(?:writ|overwrit|sav|store|put|creat|mak|generat|append|add|insert|` +
		`edit|chang|replac|updat|fix|correct|mend|delet|remov|renam|mov|sort|convert|translat|clean|format)\w*`)
	// refersBack are the words of a subtask that needs all before it.
	refersBack = regexp.MustCompile(
		`(?i)^(then|afterwards?|finally|lastly|next|after that|with (that|this|these))\b` +
			`|\b(previous|above|earlier|preceding)\b` +
			`|\b(all|these|both|those) (the )?(results|answers|outputs|findings)\b`)
	// refersTo are the words of one that needs a certain one.
	refersTo = regexp.MustCompile(`(?i)\b(?:step|(?:sub)?task|part|result|number)\s*#?(\d{1,2})\b`)
)

// Of finds for each part the earlier ones that it needs. exists tells which files
// are there.
func Of(texts []string, exists func(file string) bool) []Part {
	var parts []Part
	for i, text := range texts {
		p := Part{Number: i + 1, Text: text}
		for j, earlier := range parts {
			if mustFollow(earlier.Text, text, exists) || namesPart(text, earlier.Number) {
				p.After = append(p.After, j)
			}
		}
		parts = append(parts, p)
	}
	return parts
}

// mustFollow reports whether the later of two subtasks needs the earlier to be
// done. It does when it says so, when both name a file that one of them is to
// make, and when both name a file that one of them is to change. In doubt they
// run one after another.
func mustFollow(earlier, later string, exists func(string) bool) bool {
	if refersBack.MatchString(later) {
		return true
	}
	first, second := filesIn(earlier, exists), filesIn(later, exists)
	for _, f := range second {
		for _, g := range first {
			if related(f, g) && (!exists(f) || !exists(g) || changing.MatchString(earlier) ||
				changing.MatchString(later)) {
				return true
			}
		}
	}
	if slices.ContainsFunc(first, exists) && slices.ContainsFunc(second, exists) {
		return false // each says what it works on: a word in capitals is more than likely no file
	}
	words := namesIn(earlier)
	return slices.ContainsFunc(namesIn(later), func(w string) bool {
		return capitals.MatchString(w) && slices.Contains(words, w)
	})
}

func namesPart(text string, number int) bool {
	for _, m := range refersTo.FindAllStringSubmatch(text, -1) {
		if n, err := strconv.Atoi(m[1]); err == nil && n == number {
			return true
		}
	}
	return false
}
