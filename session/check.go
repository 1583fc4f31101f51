package session

import (
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"

	"agent/session/prose"
)

// Checks of an answer that need no model. Each says of an answer, the task and
// what is known of the run whether something plainly speaks against it. They
// are pure functions; each holds an answer back at most once, and a doubtful
// case counts as fine, since an agent that is sent back for nothing may do harm.

// evidence is what an answer is held against.
type evidence struct {
	task, answer string
	exists       func(name string) bool       // in the work dir now
	existed      func(name string) bool       // when the work on the task began
	changed      func(name string) bool       // created or changed since then
	spoiled      map[string]bool              // by path: a command that failed changed it last
	seen         string                       // all that the model was shown: files and results
	holdsText    func(name, text string) bool // a file of the work dir has this text in it, in any case
	files        []string                     // in the work dir now
	examples     []string                     // files that only the examples of the system prompt name
	told         string                       // why the last answer was held back
	canWrite     bool                         // a command that writes or runs code is allowed
	canCompute   bool                         // one that runs code is
	worked       bool                         // a command was carried out, or the task names a file
}

// Bounds of what the checks read: the beginning of a long task or answer, and
// the end of what was shown.
const (
	checkedBytesMax = 8 << 10
	seenBytesMax    = 128 << 10
)

// bounded cuts the texts to what is read.
func (e evidence) bounded() evidence {
	head := func(text string) string { return strings.ToValidUTF8(text[:min(len(text), checkedBytesMax)], "") }
	e.task, e.answer = head(e.task), head(e.answer)
	e.seen = strings.ToValidUTF8(e.seen[max(0, len(e.seen)-seenBytesMax):], "")
	return e
}

// check is one of the tests. It returns the name of a template in checks.tmpl
// and what fills it.
type check struct {
	name string
	run  func(e evidence) (doubt, bool)
}

// doubt is what speaks against an answer.
type doubt struct {
	reason string // a template in checks.tmpl
	what   any    // the template's data
	warn   bool   // worth telling a person, too little to send the answer back
	work   bool   // not mended by other words: something has to be done or looked at first
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

// checkAskedFile: a file that the task asks to write must be there, and if it
// was there before it must have changed, by a command that did not fail. An
// answer that owns up to a failure is no false claim.
func checkAskedFile(e evidence) (doubt, bool) {
	if !e.canWrite || ownsUp.MatchString(e.answer) || leavesOpen.MatchString(e.task) {
		return doubt{}, false
	}
	for _, t := range askedFiles(e.task, e.existed) {
		switch {
		case !e.exists(t.name):
			return doubt{reason: "asked_missing", what: t.name, work: true}, true
		case e.existed(t.name) && !e.changed(t.name):
			return doubt{reason: "asked_unchanged", what: t.name, work: true}, true
		case e.spoiled[path.Clean(t.name)]:
			return doubt{reason: "asked_spoiled", what: t.name, work: true}, true
		}
	}
	return doubt{}, false
}

// checkClaimedFile: a file that the answer says was written must be there. One
// that a result spoke of may be quoted, and may be anywhere.
func checkClaimedFile(e evidence) (doubt, bool) {
	for _, name := range claimedFiles(e.answer) {
		if !e.exists(name) && !strings.Contains(e.seen, name) {
			return doubt{reason: "claimed", what: name}, true
		}
	}
	return doubt{}, false
}

var (
	asksWhichFile = regexp.MustCompile(`(?i)\b(?:which|what) (?:one )?(?:of (?:the|these|those|my|our|all) )?(?:\w+ )?files?( \w+)?`)
	aboutFiles    = set("format", "formats", "type", "types", "size", "sizes", "system", "systems", "extension", "extensions", "name", "names", "ending", "path", "mode", "modes", "permission", "permissions")
	saysNone      = regexp.MustCompile(`(?i)\b(?:(?:i|we) (?:can ?not|can['’]t|could|couldn['’]t|am|was|were|did|didn['’]t|do|don['’]t)|not (?:allowed|found|known|clear)|unable to|none|no(?: \w+)? files?|neither|not any|any of|all of|every|both|all(?: \w+)? files)\b`)
)

// checkWhichFile: where the task asks which file, the answer names one, or says
// that it is none or all of them. To list the folder is no answer.
func checkWhichFile(e evidence) (doubt, bool) {
	asked := asksWhichFile.FindStringSubmatch(e.task)
	if asked == nil || aboutFiles[strings.ToLower(strings.TrimSpace(asked[1]))] || len(e.files) < 2 ||
		!strings.Contains(e.task, "?") || saysNone.MatchString(e.answer) {
		return doubt{}, false
	}
	named := 0
	for _, p := range e.files {
		if e.names(p) {
			named++
		}
	}
	if named == len(e.files) && named >= wholeFolderMin {
		return doubt{reason: "which_of_all", work: true}, true
	}
	return doubt{reason: "which_file"}, named == 0 && len(fileMentions(e.answer)) == 0
}

// names reports an answer that names a file, with or without its extension.
func (e evidence) names(file string) bool {
	base := strings.ToLower(path.Base(file))
	return strings.Contains(strings.ToLower(e.answer), strings.TrimSuffix(base, path.Ext(base)))
}

// asksForText finds the word or quoted phrase that a file is asked for by, at
// the end of a question.
var asksForText = regexp.MustCompile(`(?i)\b(?:mentions?|contains?|includes?)\s+(?:(?:a|an|the|any|word|name|term|phrase|text|string)\s+){0,3}(?:["“]([^"”\n]{2,60})["”]|'([^'\n]{2,60})'|([\p{L}\p{N}][\p{L}\p{N}-]{2,40}))\s*\?`)

// turnsAround is a word with which a question means the other files.
var turnsAround = regexp.MustCompile(`(?i)\b(?:not|never|no|none|neither|nor|without|except|but|only|least|fewest|most)\b|n['’]t\b`)

// checkWrongFile: where the task asks which file mentions something, a file
// that the answer names has it, if any has; to say that none has it is wrong
// then, too. The sentence ends there, so that
// what is looked for is a word and not its meaning.
func checkWrongFile(e evidence) (doubt, bool) {
	asked := asksForText.FindStringSubmatch(e.task)
	if asked == nil || !asksWhichFile.MatchString(e.task) || turnsAround.MatchString(e.task) || len(e.files) > searchedFilesMax {
		return doubt{}, false
	}
	text := asked[1] + asked[2] + asked[3]
	found, named := foundText{Text: text}, false
	for _, p := range e.files {
		there, names := e.holdsText(p, text), e.names(p)
		if there && names {
			return doubt{}, false
		}
		named = named || names
		if there {
			found.Files = append(found.Files, p)
		}
	}
	return doubt{reason: "wrong_file", what: found}, len(found.Files) > 0 && (named || saysNone.MatchString(e.answer))
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
func checkExample(e evidence) (doubt, bool) {
	for _, m := range fileMentions(e.answer) {
		if slices.Contains(e.examples, m.name) && !e.exists(m.name) && !strings.Contains(e.seen, m.name) {
			return doubt{reason: "example", what: m.name}, true
		}
	}
	return doubt{}, false
}

// checkEcho: an answer is more than what the model was told about the last one.
func checkEcho(e evidence) (doubt, bool) {
	told := prose.Folded(e.told)
	return doubt{reason: "echo"}, told != "" && strings.Contains(prose.Folded(e.answer), told)
}

// leavesOpen is a task that may be done without what it asks to write.
var leavesOpen = regexp.MustCompile(`(?i)\b(?:or (?:else|say|answer|tell|reply|report)|if (?:it|there|you|that|no|not|possible|any|so|they|one|none|the)|unless|otherwise|in case|only when)\b`)

// ownsUp is an answer that says that something was not possible.
var ownsUp = regexp.MustCompile(`(?i)\b(can ?not|can['’]t|could not|couldn['’]t|unable|not (allowed|permitted|possible)|(was|were|did|has|have)(n['’]t| not)|fail(ed|s)?|impossible|sorry|refused|no such|there (?:is|are|was|were) (?:no|none|nothing)|does(?:n['’]t| not))\b`)

// answerFormats are the forms that a task may ask an answer to have, each with
// the words that ask for it and the test of it. Words that also fit a file or
// a part of the answer are not among them.
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
func checkFormat(e evidence) (doubt, bool) {
	var found []answerFormat
	for _, f := range answerFormats() {
		if at := f.asks.FindStringIndex(e.task); at != nil && !notIn.MatchString(e.task[:at[0]]) && !namesFileAfter(e.task[at[1]:]) {
			found = append(found, f)
		}
	}
	if len(found) != 1 || found[0].met(e.answer) {
		return doubt{}, false
	}
	return doubt{reason: found[0].reason}, true
}

// namesFileAfter reports that a file is named in the rest of the sentence:
// then the form may be the file's.
func namesFileAfter(rest string) bool {
	end := prose.EndOfSentence(rest)
	m := fileMentions(rest)
	return len(m) > 0 && m[0].start < end
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
