package session

import (
	"regexp"
	"slices"
	"strings"
)

// Which files a text asks for or claims is read off the verb and the
// preposition before a name, in English. A name is a word with a known ending,
// or a quoted one that is called a file.

// mention is a file's name in a text.
type mention struct {
	name       string
	start, end int // of the name with its quotes
}

const fileEndings = `txt|text|md|markdown|rst|csv|tsv|json|jsonl|ndjson|ya?ml|toml|ini|cfg|conf|env|xml|html?|css|js|ts|jsx|tsx|py|ipynb|go|rs|c|h|cc|cpp|hpp|java|kt|rb|php|pl|lua|r|sh|bash|bat|ps1|sql|log|out|dat|bin|bak|tmp|diff|patch|tex|bib|pdf|docx?|xlsx?|pptx?|odt|ods|png|jpe?g|gif|svg|bmp|webp|mp3|wav|mp4|zip|tar|gz|tgz|bz2|xz|7z|db|sqlite3?|parquet`

var (
	fileWord   = regexp.MustCompile(`(?i)(?:\./)?[\p{L}\p{N}_][\p{L}\p{N}_.\-/]*\.(?:` + fileEndings + `)\b`)
	quotedWord = regexp.MustCompile("[`\"“]([^`\"“”\n]{1,120})[`\"”]|(?:^|[\\s(])'([^'\n]{1,120})'")
	fileEnding = regexp.MustCompile(`(?i)\.(?:` + fileEndings + `)$`)
	saysFile   = regexp.MustCompile(`(?i)\bfile(?: called| named)?\s*$`)
)

// mentionsMax bounds how many names are looked at in one text.
const mentionsMax = 50

// fileMentions finds the names of files of the work dir in a text, in order.
// What looks like an absolute path or a URL is none of them.
func fileMentions(text string) []mention {
	var out []mention
	for _, at := range quotedWord.FindAllStringSubmatchIndex(text, mentionsMax) {
		from, to := at[2], at[3]
		if from < 0 {
			from, to = at[4], at[5]
		}
		name := text[from:to]
		if fileEnding.MatchString(name) && !strings.HasPrefix(name, "/") && !strings.HasPrefix(name, "~") && !strings.ContainsAny(name, ":=()\\*") ||
			saysFile.MatchString(text[:from-1]) && !strings.ContainsAny(name, " /:=()\\*") {
			out = append(out, mention{strings.TrimPrefix(name, "./"), from - 1, to + 1})
		}
	}
	for _, at := range fileWord.FindAllStringIndex(text, mentionsMax) {
		inQuotes := slices.ContainsFunc(out, func(m mention) bool { return at[0] >= m.start && at[0] < m.end })
		if inQuotes || at[0] > 0 && strings.ContainsRune("/~:@\\.*=-", rune(text[at[0]-1])) || at[1] < len(text) && strings.ContainsRune("/(:", rune(text[at[1]])) && !endsThere(text[at[1]:]) {
			continue
		}
		out = append(out, mention{strings.TrimPrefix(text[at[0]:at[1]], "./"), at[0], at[1]})
	}
	slices.SortFunc(out, func(a, b mention) int { return a.start - b.start })
	return out
}

// mentionedFiles are the names of files in a text, each once.
func mentionedFiles(text string) []string {
	var out []string
	for _, m := range fileMentions(text) {
		if !slices.Contains(out, m.name) {
			out = append(out, m.name)
		}
	}
	return out
}

// endsThere reports that a colon or bracket after a name only ends a phrase.
func endsThere(rest string) bool {
	return rest[0] == ':' && (len(rest) == 1 || rest[1] == ' ' || rest[1] == '\n')
}

// askedFile is a file that a task asks to make or to change.
type askedFile struct{ name string }

// askedFiles finds the files that a task plainly orders to be written. existed
// tells which were there before: "the names in people.txt" is a source then,
// and else where to put them. A file that is missed costs a check; one that is
// demanded against the task's words does harm. So only an order counts: a verb
// that opens its sentence or is linked to what does, in a sentence that is no
// question and negates nothing before it.
func askedFiles(task string, existed func(string) bool) []askedFile {
	var out []askedFile
	verb := ""           // of the order that goes on over a name: "copy a.txt to b.txt"
	var earlier []string // the words before it in the sentence
	from := 0
	for _, m := range fileMentions(task) {
		between := task[from:m.start]
		if i := lastBreak(between); i >= 0 {
			between, verb, earlier = between[i:], "", nil
		}
		clause := readClause(between, earlier)
		earlier = append(earlier, wordsOf(between)...)
		if clause.verb == "" && clause.follows() {
			clause.verb = verb
		} else if clause.verb != "" {
			verb = clause.order()
		}
		from = m.end
		if clause.order() != "" && clause.asksFor(existed(m.name)) && !endsInQuestion(task[m.end:]) && !slices.Contains(out, askedFile{m.name}) {
			out = append(out, askedFile{m.name})
		}
	}
	return out
}

// endsInQuestion reports that the sentence which text goes on with is one.
func endsInQuestion(text string) bool {
	return strings.HasPrefix(text[endOfSentence(text):], "?")
}

// lastBreak is where the last sentence in text begins, -1 when it has one only.
func lastBreak(text string) int {
	all := sentenceBreak.FindAllStringIndex(text, -1)
	if len(all) == 0 {
		return -1
	}
	return all[len(all)-1][1]
}

// missingFilesMax bounds the names offered of files that are not there.
const missingFilesMax = 4

// missingFiles are those that the task names as if they were there. They can
// be chosen too: what comes of it is that there is no such file, where another
// file in its place would be read for the wrong one.
func (s *Session) missingFiles() []string {
	var out []string
	asked := askedFiles(s.task, s.snap.holds)
	for _, m := range fileMentions(s.task) {
		if !s.snap.holds(m.name) && !slices.Contains(asked, askedFile{m.name}) && !slices.Contains(out, m.name) && len(out) < missingFilesMax {
			out = append(out, m.name)
		}
	}
	return out
}

// clause is what stands before a name, as far as it says what happens to the
// file.
type clause struct {
	verb    string   // the last verb of writing or changing
	after   []string // the words between it and the preposition
	prep    string   // the preposition right before the name
	noOrder bool     // the verb is negated, or only spoken of
}

var (
	makeVerbs      = set("create", "make", "write", "generate", "produce", "build", "save", "store", "export", "output", "append", "copy", "dump", "record", "put", "print", "insert", "add", "redirect", "collect")
	objectVerbs    = set("create", "make", "write", "generate", "produce", "build", "add")
	transformVerbs = set("rename", "move", "copy", "convert", "sort", "merge", "transform", "combine", "join", "concatenate", "compress", "translate", "append", "export", "transpose")
	changeVerbs    = set("update", "edit", "modify", "fix", "overwrite", "rewrite", "extend", "complete", "correct", "change", "replace", "refactor", "reformat")
	changeInVerbs  = set("fix", "replace", "correct", "change", "rename", "edit", "modify", "update", "insert")
	targetPreps    = set("to", "into", "as")
	placePreps     = set("in", "at", "under", "inside")
	sourcePreps    = set("from", "of", "in", "on", "with", "for", "about", "than", "using", "between", "by", "through", "that", "which", "whether", "after", "before", "like", "per", "without")
	fillers        = set("the", "a", "an", "new", "file", "files", "text", "called", "named", "same", "existing", "my", "your", "its", "markdown", "csv", "json", "python", "output")
	negations      = set("not", "no", "never", "without", "cannot", "avoid", "nothing")
	linkWords      = set("and", "then", "finally", "also", "afterwards", "please")
)

func set(words ...string) map[string]bool {
	out := make(map[string]bool, len(words))
	for _, w := range words {
		out[w] = true
	}
	return out
}

// readClause reads the text before a name, back from its end; earlier are the
// words before it in the same sentence.
func readClause(text string, earlier []string) clause {
	words := wordsOf(strings.ReplaceAll(text, ",", " , "))
	for len(words) > 0 && fillers[words[len(words)-1]] {
		words = words[:len(words)-1]
	}
	var c clause
	if n := len(words); n > 0 && (targetPreps[words[n-1]] || placePreps[words[n-1]] || words[n-1] == "from") {
		c.prep, words = words[n-1], words[:n-1]
	}
	at := -1
	for i, w := range words {
		up := i+1 < len(words) && (words[i+1] == "up" || words[i+1] == "together") // to add up is no writing
		if (makeVerbs[w] || transformVerbs[w] || changeVerbs[w]) && !up && (i == 0 || !nounBefore(words[i-1])) {
			at = i
		}
	}
	if at < 0 {
		c.after = words
		return c
	}
	c.verb, c.after = words[at], words[at+1:]
	before := slices.Concat(earlier, words[:at])
	c.noOrder = len(before) > 0 && !linkWords[before[len(before)-1]] || slices.ContainsFunc(before, negates)
	return c
}

// nounBefore tells "the copy" and "a record" from the verbs.
func nounBefore(word string) bool {
	return slices.Contains([]string{"the", "a", "an", "this", "that", "each", "every", "one", "no", "any", "my", "your", "of"}, word)
}

// negates reports a word of denial.
func negates(word string) bool {
	return negations[word] || strings.HasSuffix(word, "n't") || strings.HasSuffix(word, "n’t")
}

// order is the verb if it gives an order.
func (c clause) order() string {
	if c.noOrder {
		return ""
	}
	return c.verb
}

// follows reports a clause that tells the target of a verb before it: "… to
// b.txt", or more words and the preposition that can mean nothing else: "… of
// a.csv that are new into b.csv".
func (c clause) follows() bool {
	return targetPreps[c.prep] && len(c.after) == 0 || c.prep == "into"
}

// asksFor reports that the clause asks to write the file that it ends at.
func (c clause) asksFor(existed bool) bool {
	direct := c.prep == "" && !slices.ContainsFunc(c.after, func(w string) bool { return sourcePreps[w] || targetPreps[w] || w == "and" })
	switch {
	case c.verb == "":
		return false
	case targetPreps[c.prep] && len(c.after) == 0:
		return makeVerbs[c.verb] || transformVerbs[c.verb]
	case targetPreps[c.prep]:
		return makeVerbs[c.verb] || transformVerbs[c.verb] && !existed
	case placePreps[c.prep] && existed:
		return c.prep == "in" && changeInVerbs[c.verb]
	case placePreps[c.prep]:
		return makeVerbs[c.verb] && c.verb != "add"
	case direct && objectVerbs[c.verb]:
		return !existed || len(c.after) == 0
	case direct && changeVerbs[c.verb]:
		return existed
	}
	return false
}

var (
	claimVerbs  = set("wrote", "written", "saved", "stored", "created", "exported", "generated", "appended", "copied", "put", "placed", "recorded", "renamed", "moved", "produced")
	claimDirect = set("wrote", "created", "saved", "generated", "exported", "produced")
	claimBreaks = regexp.MustCompile(`(?i)\b(?:not|no|never|can ?not|could|can|may|might|should|would|will|if|unless|unable|fail(?:ed|s)?|error|without|need(?:s|ed)?|was to|to be|nothing|according|says?|states?|mentions?|script|function|program|code|command|before|earlier|once)\b|n['’]t\b`)
	passive     = set("was", "were", "has", "have", "is", "are")
)

// claimedFiles finds the files that an answer says were written. A sentence
// that negates, supposes, quotes or explains claims nothing.
func claimedFiles(answer string) []string {
	var out []string
	all := fileMentions(answer)
	for i, m := range all {
		from, to := 0, len(answer)
		if i > 0 {
			from = all[i-1].end
		}
		if i+1 < len(all) {
			to = all[i+1].start
		}
		start := max(0, lastBreak(answer[:m.start]))
		if claimBreaks.MatchString(answer[start:m.start]) || claimBreaks.MatchString(answer[m.end:m.end+endOfSentence(answer[m.end:])]) {
			continue
		}
		before, after := answer[max(from, start):m.start], answer[m.end:to]
		after = after[:endOfSentence(after)]
		if (claimsBefore(before) || claimsAfter(after)) && !slices.Contains(out, m.name) {
			out = append(out, m.name)
		}
	}
	return out
}

// claimsBefore: "… saved the list to", "… was written in", "created the file".
func claimsBefore(text string) bool {
	words := wordsOf(text)
	for len(words) > 0 && fillers[words[len(words)-1]] {
		words = words[:len(words)-1]
	}
	prep := ""
	if n := len(words); n > 0 && (targetPreps[words[n-1]] || placePreps[words[n-1]]) {
		prep, words = words[n-1], words[:n-1]
	}
	at := slices.IndexFunc(words, func(w string) bool { return claimVerbs[w] })
	if at < 0 || at > 0 && nounBefore(words[at-1]) {
		return false
	}
	between := words[at+1:]
	if prep != "" {
		return targetPreps[prep] || len(between) == 0 || !slices.ContainsFunc(between, func(w string) bool { return sourcePreps[w] })
	}
	return claimDirect[words[at]] && !slices.ContainsFunc(between, func(w string) bool { return sourcePreps[w] || targetPreps[w] || w == "and" })
}

// claimsAfter: "was created", "has been written".
func claimsAfter(text string) bool {
	words := wordsOf(text)
	if len(words) < 2 || !passive[words[0]] || strings.HasPrefix(strings.TrimSpace(text), ",") {
		return false
	}
	for _, w := range words[1:min(len(words), 4)] {
		if claimVerbs[w] {
			return !slices.Contains(words, "by") && !slices.Contains(words, "in") && !slices.Contains(words, "on")
		}
	}
	return false
}
