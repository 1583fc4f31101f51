package prose

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"unicode"
)

// FirstChunk is at most n characters from the start of text, to the end of a
// line where there is one in its second half.
func FirstChunk(text string, n int) string {
	count := 0
	for i := range text {
		if count == n {
			if at := strings.LastIndexByte(text[:i], '\n'); at >= i/2 {
				return text[:at+1]
			}
			return text[:i]
		}
		count++
	}
	return text
}

const (
	commonWord = 0.2 // of all lines: a word in more of them does not tell one line from another
	rareWord   = 0.01
	oddLines   = 0.1 // of all lines: where more have rare words, all are different and none is odd
)

// LinesAbout are the lines of text that share the rarest words with a query,
// and those that are unlike all others, as a failure is in a log: in their
// order, as far as tokensMax allows.
func LinesAbout(query, text string, tokensMax int, counted func(string) int) []string {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	if len(lines) < 2 {
		return nil
	}
	scores := aboutScores(query, lines)
	for i, odd := range oddOnes(lines) {
		if odd {
			scores[i] += math.Log(float64(len(lines))) / 2
		}
	}
	best := make([]int, len(lines))
	for i := range best {
		best[i] = i
	}
	slices.SortStableFunc(best, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	var chosen []int
	for _, i := range best {
		if tokensMax -= counted(shortLine(lines[i])) + 1; scores[i] == 0 || tokensMax < 0 {
			break
		}
		chosen = append(chosen, i)
	}
	slices.Sort(chosen)
	out := make([]string, len(chosen))
	for i, n := range chosen {
		out[i] = shortLine(lines[n])
	}
	return out
}

// BestWindow is the part of at most n lines, from one up to before another, from 0,
// that shares the most different words with a query, rare ones counting more, and how
// much that is. Of equals it is the shortest, and the first.
func BestWindow(query string, lines []string, n int) (from, to int, score float64) {
	wanted, inLines := wordSet(query), map[string]int{}
	words := make([]map[string]bool, len(lines))
	for i, line := range lines {
		words[i] = wordSet(line)
		for w := range words[i] {
			inLines[w]++
		}
	}
	for start := range lines {
		seen, sum := map[string]bool{}, 0.0
		for end := start; end < min(start+n, len(lines)); end++ {
			for w := range words[end] {
				if wanted[w] && !seen[w] {
					seen[w] = true
					sum += math.Log(float64(len(lines)+1) / float64(inLines[w]))
				}
			}
			if better := sum - score; better > 1e-9 || better > -1e-9 && sum > 0 && end+1-start < to-from {
				from, to, score = start, end+1, sum
			}
		}
	}
	return from, to, score
}

func shortLine(line string) string { return Cut(strings.TrimSpace(line), 2*LineRunes) }

// aboutScores weighs the words that lines share with a query by how few lines
// have them.
func aboutScores(query string, lines []string) []float64 {
	wanted, inLines, words := wordSet(query), map[string]int{}, make([]map[string]bool, len(lines))
	for i, line := range lines {
		words[i] = wordSet(line)
		for w := range words[i] {
			inLines[w]++
		}
	}
	scores := make([]float64, len(lines))
	for i := range lines {
		for w := range words[i] {
			if n := inLines[w]; wanted[w] && float64(n) <= max(commonWord*float64(len(lines)), 1) {
				scores[i] += math.Log(float64(len(lines)) / float64(n))
			}
		}
	}
	return scores
}

// oddOnes finds the few lines with words that hardly any other line has, where
// lines are alike otherwise. Numbers differ anyway and do not count.
func oddOnes(lines []string) []bool {
	inLines, words := map[string]int{}, make([]map[string]bool, len(lines))
	for i, line := range lines {
		words[i] = wordSet(strings.Map(dropDigits, line))
		for w := range words[i] {
			inLines[w]++
		}
	}
	odd, count := make([]bool, len(lines)), 0
	for i := range lines {
		for w := range words[i] {
			odd[i] = odd[i] || float64(inLines[w]) <= max(rareWord*float64(len(lines)), 1)
		}
		if odd[i] {
			count++
		}
	}
	if float64(count) > max(oddLines*float64(len(lines)), 1) {
		return make([]bool, len(lines))
	}
	return odd
}

func dropDigits(r rune) rune {
	if unicode.IsDigit(r) {
		return -1
	}
	return r
}

// stemRunes is how much of a word is compared: "failed" and "failing" are the
// same.
const stemRunes = 5

// wordSet are the words of text, lower case and cut to their stems. Short ones
// tell too little, numbers a lot.
func wordSet(text string) map[string]bool {
	set := map[string]bool{}
	apart := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	for w := range strings.FieldsFuncSeq(strings.ToLower(text), apart) {
		runes := []rune(w)
		if len(runes) >= 3 || unicode.IsDigit(runes[0]) {
			set[string(runes[:min(len(runes), stemRunes)])] = true
		}
	}
	return set
}
