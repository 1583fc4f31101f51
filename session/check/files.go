package check

import (
	"regexp"
	"slices"
	"strings"

	"agent/session/prose"
	"agent/session/workdir"
)

// Which files a text asks for or claims is read off the verb and the
// preposition before a name, in English.

// AskedFiles finds the files that a task plainly orders to be written. existed
// tells which were there before: "the names in people.txt" is a source then,
// and else where to put them. A file that is missed costs a check; one that is
// demanded against the task's words does harm. So only an order counts: a verb
// that opens its sentence or is linked to what does, in a sentence that is no
// question and negates nothing before it.
func AskedFiles(task string, existed func(string) bool) []string {
	var out []string
	verb := ""           // of the order that goes on over a name: "copy a.txt to b.txt"
	var earlier []string // the words before it in the sentence
	from := 0
	for _, m := range workdir.Mentions(task) {
		between := task[from:m.Start]
		if i := lastBreak(between); i >= 0 {
			between, verb, earlier = between[i:], "", nil
		}
		clause := readClause(between, earlier)
		earlier = append(earlier, prose.Words(between)...)
		if clause.verb == "" && clause.follows() {
			clause.verb = verb
		} else if clause.verb != "" {
			verb = clause.order()
		}
		from = m.End
		if clause.order() != "" && clause.asksFor(existed(m.Name)) && !endsInQuestion(task[m.End:]) && !slices.Contains(out, m.Name) {
			out = append(out, m.Name)
		}
	}
	return out
}

// endsInQuestion reports that the sentence which text goes on with is one.
func endsInQuestion(text string) bool {
	return strings.HasPrefix(text[prose.EndOfSentence(text):], "?")
}

// lastBreak is where the last sentence in text begins, -1 when it has one only.
func lastBreak(text string) int {
	all := prose.SentenceBreak.FindAllStringIndex(text, -1)
	if len(all) == 0 {
		return -1
	}
	return all[len(all)-1][1]
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
	words := prose.Words(strings.ReplaceAll(text, ",", " , "))
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
	all := workdir.Mentions(answer)
	for i, m := range all {
		from, to := 0, len(answer)
		if i > 0 {
			from = all[i-1].End
		}
		if i+1 < len(all) {
			to = all[i+1].Start
		}
		start := max(0, lastBreak(answer[:m.Start]))
		if claimBreaks.MatchString(answer[start:m.Start]) || claimBreaks.MatchString(answer[m.End:m.End+prose.EndOfSentence(answer[m.End:])]) {
			continue
		}
		before, after := answer[max(from, start):m.Start], answer[m.End:to]
		after = after[:prose.EndOfSentence(after)]
		if (claimsBefore(before) || claimsAfter(after)) && !slices.Contains(out, m.Name) {
			out = append(out, m.Name)
		}
	}
	return out
}

// claimsBefore: "… saved the list to", "… was written in", "created the file".
func claimsBefore(text string) bool {
	words := prose.Words(text)
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
	words := prose.Words(text)
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
