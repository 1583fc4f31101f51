package workdir

import (
	"regexp"
	"slices"
	"strings"
)

// Which files a text asks for or claims is read off the verb and the
// preposition before a name, in English. A name is a word with a known ending,
// or a quoted one that is called a file.

// Mention is a file's name in a text.
type Mention struct {
	Name       string
	Start, End int // of the name with its quotes
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

// Mentions finds the names of files of the work dir in a text, in order.
// What looks like an absolute path or a URL is none of them.
func Mentions(text string) []Mention {
	var out []Mention
	for _, at := range quotedWord.FindAllStringSubmatchIndex(text, mentionsMax) {
		from, to := at[2], at[3]
		if from < 0 {
			from, to = at[4], at[5]
		}
		name := text[from:to]
		if fileEnding.MatchString(name) && !strings.HasPrefix(name, "/") && !strings.HasPrefix(name, "~") && !strings.ContainsAny(name, ":=()\\*") ||
			saysFile.MatchString(text[:from-1]) && !strings.ContainsAny(name, " /:=()\\*") {
			out = append(out, Mention{strings.TrimPrefix(name, "./"), from - 1, to + 1})
		}
	}
	for _, at := range fileWord.FindAllStringIndex(text, mentionsMax) {
		inQuotes := slices.ContainsFunc(out, func(m Mention) bool { return at[0] >= m.Start && at[0] < m.End })
		if inQuotes || at[0] > 0 && strings.ContainsRune("/~:@\\.*=-", rune(text[at[0]-1])) || at[1] < len(text) && strings.ContainsRune("/(:", rune(text[at[1]])) && !endsThere(text[at[1]:]) {
			continue
		}
		out = append(out, Mention{strings.TrimPrefix(text[at[0]:at[1]], "./"), at[0], at[1]})
	}
	slices.SortFunc(out, func(a, b Mention) int { return a.Start - b.Start })
	return out
}

// Mentioned are the names of files in a text, each once.
func Mentioned(text string) []string {
	var out []string
	for _, m := range Mentions(text) {
		if !slices.Contains(out, m.Name) {
			out = append(out, m.Name)
		}
	}
	return out
}

// endsThere reports that a colon or bracket after a name only ends a phrase.
func endsThere(rest string) bool {
	return rest[0] == ':' && (len(rest) == 1 || rest[1] == ' ' || rest[1] == '\n')
}
