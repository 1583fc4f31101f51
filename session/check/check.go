// Package check holds an answer against the task, the files and the results of a
// run, without a model: [Doubts] says what plainly speaks against it.
//
// Promise: its functions are pure and read a bounded part of any text. A doubtful
// case counts as fine, since an agent that is sent back for nothing may do harm.
package check

import (
	"encoding/json"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"agent/session/prose"
	"agent/session/workdir"
)

// Evidence is what an answer is held against.
type Evidence struct {
	Task, Answer string
	Exists       func(name string) bool       // in the work dir now
	Existed      func(name string) bool       // when the work on the task began
	Changed      func(name string) bool       // created or changed since then
	Spoiled      map[string]bool              // by path: a command that failed changed it last
	Seen         string                       // all that the model was shown: files and results
	HoldsText    func(name, text string) bool // a file of the work dir has this text in it, in any case
	Files        []string                     // in the work dir now
	Examples     []string                     // files that only the examples of the system prompt name
	Told         string                       // why the last answer was held back
	CanWrite     bool                         // a command that writes or runs code is allowed
	CanCompute   bool                         // one that runs code is
	Worked       bool                         // a command was carried out, or the task names a file
}

// Bounds of what the checks read: the beginning of a long task or answer, and
// the end of what was shown.
const (
	checkedBytesMax = 8 << 10
	seenBytesMax    = 128 << 10
)

// bounded cuts the texts to what is read.
func (e Evidence) bounded() Evidence {
	head := func(text string) string { return strings.ToValidUTF8(text[:min(len(text), checkedBytesMax)], "") }
	e.Task, e.Answer = head(e.Task), head(e.Answer)
	e.Seen = strings.ToValidUTF8(e.Seen[max(0, len(e.Seen)-seenBytesMax):], "")
	return e
}

// Doubt is what speaks against an answer.
type Doubt struct {
	Check  string // that found it
	Reason string // a template in checks.tmpl
	What   any    // the template's data
	Warn   bool   // worth telling a person, too little to send the answer back
	Work   bool   // not mended by other words: something has to be done or looked at first
}

// Doubts are what the checks find, but for those that were tried before.
func Doubts(e Evidence, tried map[string]bool) []Doubt {
	e = e.bounded()
	var out []Doubt
	for _, c := range checks() {
		if tried[c.name] {
			continue
		}
		if d, found := c.run(e); found {
			d.Check = c.name
			out = append(out, d)
		}
	}
	return out
}

// LacksFile reports that the task asks for a file that is not there, or is as it
// was.
func LacksFile(e Evidence) bool {
	_, lacks := checkAskedFile(e.bounded())
	return lacks
}

// check is one of the tests.
type check struct {
	name string
	run  func(e Evidence) (Doubt, bool)
}

// checks lists the tests in the order in which they are tried.
func checks() []check {
	return []check{
		{"asked_file", checkAskedFile},
		{"claimed_file", checkClaimedFile},
		{"which_file", checkWhichFile},
		{"wrong_file", checkWrongFile},
		{"example", checkExample},
		{"echo", checkEcho},
		{"format", checkFormat},
		{"number", checkNumber},
	}
}

// checkAskedFile: a file that the task asks to write is there and changed, by a
// command that did not fail. To own up to a failure is no false claim.
func checkAskedFile(e Evidence) (Doubt, bool) {
	if !e.CanWrite || ownsUp.MatchString(e.Answer) || leavesOpen.MatchString(e.Task) {
		return Doubt{}, false
	}
	for _, name := range AskedFiles(e.Task, e.Existed) {
		switch {
		case !e.Exists(name):
			return Doubt{Reason: "asked_missing", What: name, Work: true}, true
		case e.Existed(name) && !e.Changed(name):
			return Doubt{Reason: "asked_unchanged", What: name, Work: true}, true
		case e.Spoiled[path.Clean(name)]:
			return Doubt{Reason: "asked_spoiled", What: name, Work: true}, true
		}
	}
	return Doubt{}, false
}

// checkClaimedFile: a file that the answer says was written must be there. One
// that a result spoke of may be quoted, and may be anywhere.
func checkClaimedFile(e Evidence) (Doubt, bool) {
	for _, name := range claimedFiles(e.Answer) {
		if !e.Exists(name) && !strings.Contains(e.Seen, name) {
			return Doubt{Reason: "claimed", What: name}, true
		}
	}
	return Doubt{}, false
}

var (
	asksWhichFile = regexp.MustCompile(`(?i)\b(?:which|what) (?:one )?(?:of (?:the|these|those|my|our|all) )?(?:\w+ )?files?( \w+)?`)
	aboutFiles    = set("format", "formats", "type", "types", "size", "sizes", "system", "systems", "extension", "extensions", "name", "names", "ending", "path", "mode", "modes", "permission", "permissions")
	saysNone      = regexp.MustCompile(`(?i)\b(?:(?:i|we) (?:can ?not|can['’]t|could|couldn['’]t|am|was|were|did|didn['’]t|do|don['’]t)|not (?:allowed|found|known|clear)|unable to|none|no(?: \w+)? files?|neither|not any|any of|all of|every|both|all(?: \w+)? files)\b`)
)

// checkWhichFile: where the task asks which file, the answer names one, or says
// that it is none or all of them. To list the folder is no answer.
func checkWhichFile(e Evidence) (Doubt, bool) {
	asked := asksWhichFile.FindStringSubmatch(e.Task)
	if asked == nil || aboutFiles[strings.ToLower(strings.TrimSpace(asked[1]))] || len(e.Files) < 2 ||
		!strings.Contains(e.Task, "?") || saysNone.MatchString(e.Answer) {
		return Doubt{}, false
	}
	named := 0
	for _, p := range e.Files {
		if e.names(p) {
			named++
		}
	}
	if named == len(e.Files) && named >= wholeFolderMin {
		return Doubt{Reason: "which_of_all", Work: true}, true
	}
	return Doubt{Reason: "which_file"}, named == 0 && len(workdir.Mentions(e.Answer)) == 0
}

// names reports an answer that names a file, with or without its extension.
func (e Evidence) names(file string) bool {
	base := strings.ToLower(path.Base(file))
	return strings.Contains(strings.ToLower(e.Answer), strings.TrimSuffix(base, path.Ext(base)))
}

// asksForText finds the word or quoted phrase that a file is asked for by, at
// the end of a question.
var asksForText = regexp.MustCompile(`(?i)\b(?:mentions?|contains?|includes?)\s+(?:(?:a|an|the|any|word|name|term|phrase|text|string)\s+){0,3}(?:["“]([^"”\n]{2,60})["”]|'([^'\n]{2,60})'|([\p{L}\p{N}][\p{L}\p{N}-]{2,40}))\s*\?`)

// turnsAround is a word with which a question means the other files.
var turnsAround = regexp.MustCompile(`(?i)\b(?:not|never|no|none|neither|nor|without|except|but|only|least|fewest|most)\b|n['’]t\b`)

// checkWrongFile: where the task asks which file mentions a word, a file that the
// answer names has it, if any has; to say that none has is wrong then, too.
func checkWrongFile(e Evidence) (Doubt, bool) {
	asked := asksForText.FindStringSubmatch(e.Task)
	if asked == nil || !asksWhichFile.MatchString(e.Task) || turnsAround.MatchString(e.Task) || len(e.Files) > searchedFilesMax {
		return Doubt{}, false
	}
	text := asked[1] + asked[2] + asked[3]
	found, named := foundText{Text: text}, false
	for _, p := range e.Files {
		there, names := e.HoldsText(p, text), e.names(p)
		if there && names {
			return Doubt{}, false
		}
		named = named || names
		if there {
			found.Files = append(found.Files, p)
		}
	}
	return Doubt{Reason: "wrong_file", What: found}, len(found.Files) > 0 && (named || saysNone.MatchString(e.Answer))
}

// foundText is a text that was looked for and the files that have it.
type foundText struct {
	Text  string
	Files []string
}

// searchedFilesMax is in how many files a word is looked for.
const searchedFilesMax = 200

// wholeFolderMin is from how many files on naming each of them is a list of the
// folder rather than an answer.
const wholeFolderMin = 3

// checkExample: an answer is about the task at hand, and not about that of an
// example, which a small model tells at times when it has nothing else to tell.
func checkExample(e Evidence) (Doubt, bool) {
	for _, m := range workdir.Mentions(e.Answer) {
		if slices.Contains(e.Examples, m.Name) && !e.Exists(m.Name) && !strings.Contains(e.Seen, m.Name) {
			return Doubt{Reason: "example", What: m.Name}, true
		}
	}
	return Doubt{}, false
}

// checkEcho: an answer is more than what the model was told about the last one.
func checkEcho(e Evidence) (Doubt, bool) {
	told := prose.Folded(e.Told)
	return Doubt{Reason: "echo"}, told != "" && strings.Contains(prose.Folded(e.Answer), told)
}

// leavesOpen is a task that may be done without what it asks to write.
var leavesOpen = regexp.MustCompile(`(?i)\b(?:or (?:else|say|answer|tell|reply|report)|if (?:it|there|you|that|no|not|possible|any|so|they|one|none|the)|unless|otherwise|in case|only when)\b`)

// ownsUp is an answer that says that something was not possible.
var ownsUp = regexp.MustCompile(`(?i)\b(can ?not|can['’]t|could not|couldn['’]t|unable|not (allowed|permitted|possible)|(was|were|did|has|have)(n['’]t| not)|fail(ed|s)?|impossible|sorry|refused|no such|there (?:is|are|was|were) (?:no|none|nothing)|does(?:n['’]t| not))\b`)

// answerFormats are the forms that a task may ask for, with the words that do so.
// Words that also fit a file or a part of the answer are left out.
func answerFormats() []answerFormat {
	return []answerFormat{
		{"format_json", formatJSON, isJSON},
		{"format_yes_no", formatYesNo, isYesNo},
		{"format_word", formatWord, isWord},
		{"format_number", formatNumber, isNumber},
	}
}

type answerFormat struct {
	reason string
	asks   *regexp.Regexp
	met    func(answer string) bool
}

const answerVerb = `(?:answer|reply|respond|return|output|print)`

var (
	formatJSON   = regexp.MustCompile(`(?i)\b(?:` + answerVerb + `|give me|give)\b(?: me)?(?: the)?(?: (?:answer|result|results|list|data|it|them))? ?(?:only )?(?:as|in|with)(?: only)?(?: (?:a|an|one|valid|plain|pure))* json\b`)
	formatYesNo  = regexp.MustCompile(`(?i)\b` + answerVerb + `\b(?: \w+){0,3}? ["'` + "`" + `]?yes["'` + "`" + `]?(?: or |/)["'` + "`" + `]?no\b`)
	formatWord   = regexp.MustCompile(`(?i)(?:\b` + answerVerb + `\b(?: \w+){0,2}? (?:with|in|using)(?: only| just| exactly)? (?:one|a single|1)(?: single)? word\b|\bin one word\b|\bone[- ]word answer\b)`)
	formatNumber = regexp.MustCompile(`(?i)(?:\b` + answerVerb + `\b(?: \w+){0,2}? (?:with )?(?:only|just) (?:the|a|one) (?:number|integer|figure)\b|\b` + answerVerb + ` with (?:the|a|one) (?:single )?(?:number|integer)(?: only| alone)?\s*[.!]?\s*$)`)
	notIn        = regexp.MustCompile(`(?i)\b(?:do not|don['’]t|never|not|no need to)(?: \w+)?\s*$`)
)

// checkFormat: where the task asks for a form, the answer has it. A form asked
// for beside another ("one word or a number") is not unambiguous.
func checkFormat(e Evidence) (Doubt, bool) {
	var found []answerFormat
	for _, f := range answerFormats() {
		if at := f.asks.FindStringIndex(e.Task); at != nil && !notIn.MatchString(e.Task[:at[0]]) && !namesFileAfter(e.Task[at[1]:]) {
			found = append(found, f)
		}
	}
	if len(found) != 1 || found[0].met(e.Answer) {
		return Doubt{}, false
	}
	return Doubt{Reason: found[0].reason}, true
}

// namesFileAfter reports that a file is named in the rest of the sentence:
// then the form may be the file's.
func namesFileAfter(rest string) bool {
	end := prose.EndOfSentence(rest)
	m := workdir.Mentions(rest)
	return len(m) > 0 && m[0].Start < end
}

func isJSON(answer string) bool {
	answer = prose.Unfenced(strings.TrimSpace(answer))
	return json.Valid([]byte(answer))
}

func isYesNo(answer string) bool {
	words := prose.Words(answer)
	return len(words) > 0 && slices.ContainsFunc(words, func(w string) bool { return w == "yes" || w == "no" })
}

// isWord takes a name of several parts, such as New York, for a word: what
// counts as one is not ours to say. A sentence is none.
func isWord(answer string) bool {
	return len(strings.Fields(answer)) <= 3
}

func isNumber(answer string) bool {
	return len(numbersIn(answer)) > 0 && len(strings.Fields(answer)) <= 3
}

// number is a number in a text, with how exactly it is written.
type number struct {
	text     string
	value    float64
	decimals int
}

const (
	numbersMax      = 4000 // of one text that are looked at
	pairNumbersMax  = 80   // newest numbers of which pairs are tried
	smallNumberMax  = 12   // whole numbers up to it are counted by eye, or number a list
	statedNumberMax = 3    // an answer with more of them is a table, not a result
)

var (
	numberWord = regexp.MustCompile(`[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?`)
	// noQuantity is what has digits and is no number: names, dates, times,
	// versions, positions in a list.
	noQuantity = regexp.MustCompile(`(?m)\b\d{4}-\d{2}(?:-\d{2})?\b|\b\d{1,2}:\d{2}(?::\d{2})?\b|\b\d+(?:\.\d+){2,}\b|\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b|[\p{L}_]+[\d_][\w]*|\b\d+(?:st|nd|rd|th)\b|^\s*\d+[.)]\s|(?i:\b(?:line|lines|row|page|step|year|version|number)s? \d+(?:\.\d+)*)`)
	scaled     = regexp.MustCompile(`^\s*(?i:million|thousand|billion|[kmb]n?\b)`)
	asksNumber = regexp.MustCompile(`(?i)\b(?:how many|how much|total|sum|add up|adds? together|average|mean|median|count|maximum|minimum|difference|percentage|calculate|compute|number of)\b`)
)

// numbersIn finds the quantities in a text.
func numbersIn(text string) []number {
	masked := []byte(text)
	blank := func(from, to int) {
		for i := from; i < to; i++ {
			masked[i] = ' '
		}
	}
	for _, m := range workdir.Mentions(text) {
		blank(m.Start, m.End)
	}
	for _, at := range noQuantity.FindAllIndex(masked, -1) {
		blank(at[0], at[1])
	}
	var out []number
	for _, at := range numberWord.FindAllIndex(masked, numbersMax) {
		if at[1] < len(masked) && scaled.Match(masked[at[1]:min(len(masked), at[1]+12)]) {
			continue // rounded so roughly that nothing can be said
		}
		plain := strings.NewReplacer(",", "", "−", "-", "+", "").Replace(string(masked[at[0]:at[1]]))
		v, err := strconv.ParseFloat(plain, 64)
		if err != nil || math.IsInf(v, 0) {
			continue
		}
		n := number{text: string(masked[at[0]:at[1]]), value: math.Abs(v)}
		if dot := strings.IndexByte(plain, '.'); dot >= 0 {
			n.decimals = len(plain) - dot - 1
		}
		out = append(out, n)
	}
	return out
}

// checkNumber: a number in an answer stands in the task or in what was shown, as
// it is, rounded, or as the outcome of one operation. It is only a warning where
// no quantity is asked for, or nothing could compute it.
func checkNumber(e Evidence) (Doubt, bool) {
	if !e.Worked {
		return Doubt{}, false
	}
	stated := numbersIn(e.Answer)
	if len(stated) == 0 || len(stated) > statedNumberMax {
		return Doubt{}, false
	}
	known := numbersIn(e.Task + "\n" + e.Seen)
	for _, n := range stated {
		if n.decimals == 0 && n.value <= smallNumberMax || derivable(n, known) {
			continue
		}
		return Doubt{Reason: "number", What: n.text, Warn: !e.CanCompute || !asksNumber.MatchString(e.Task)}, true
	}
	return Doubt{}, false
}

// derivable reports that n is one of the known numbers, rounded to as many
// places as n has, or what an operation on two of them gives.
func derivable(n number, known []number) bool {
	if slices.ContainsFunc(known, func(k number) bool { return n.rounds(k.value) }) {
		return true
	}
	newest := known[max(0, len(known)-pairNumbersMax):]
	for i, a := range newest {
		for _, b := range newest[i+1:] {
			x, y := a.value, b.value
			for _, v := range []float64{x + y, x - y, x * y, x / y, y / x, (x + y) / 2, 100 * x / y, 100 * y / x, 100 * (x - y) / y, 100 * (y - x) / x} {
				if n.rounds(v) {
					return true
				}
			}
		}
	}
	return false
}

// rounds reports that v, rounded as n is written, is n. Zeros at the end of a
// whole number may be rounding too.
func (n number) rounds(v float64) bool {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return false
	}
	unit := math.Pow(10, -float64(n.decimals))
	if n.decimals == 0 && n.value >= 100 {
		for scale := 10.0; math.Mod(n.value, scale) == 0 && scale < n.value; scale *= 10 {
			unit = scale
		}
	}
	return math.Abs(math.Abs(v)-n.value) <= unit/2*1.000001
}
